//! Sixty-four networks with the same two MACs, on the same two hosts: every frame comes to its own network, once.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use vtep_abi::Verdict;
use vtep_api::MacAddr;
use vtep_tests::{
    deadline::wait_for,
    frame::{self, Endpoint},
    lab::{
        Agent, AgentConfig, AgentSource, Fabric, Machine,
        rig::{SOON, binding, network},
    },
    link::Link,
    netns::Netns,
    packet::PacketSocket,
};

const NETWORKS: usize = 64;
const FIRST_VNI: u32 = 6000;
/// A million in all.
const FRAMES_PER_PORT: u32 = 7816;
/// Where the same is shown of another path.
const FRAMES_PER_PORT_FEW: u32 = 160;
/// No queue on the way is that short, with all ports at it at once.
const FRAMES_AT_ONCE: u32 = 4;
const MACS: [MacAddr; 2] = [MacAddr::new([2, 0, 0, 0, 0, 1]), MacAddr::new([2, 0, 0, 0, 0, 2])];
const UNKNOWN: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 3]);

/// How frames get from host to host.
#[derive(Clone, Copy, Debug)]
struct Setting {
    /// The underlay.
    ipv6: bool,
    packet_rate: bool,
    decap: &'static str,
    frames_per_port: u32,
}

const SETTING: Setting =
    Setting { ipv6: false, packet_rate: false, decap: "auto", frames_per_port: FRAMES_PER_PORT };

struct Host {
    agent: Agent,
    stations: Vec<Station>,
    _vms: Netns,
    _machine: Machine,
}

/// Of one network, on one of the hosts.
struct Station {
    socket: PacketSocket,
    /// How often each frame of the other host's came.
    arrived: Vec<u8>,
}

/// What tells a frame from all others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Label {
    vni: u32,
    from: u32,
    number: u32,
}

#[test]
fn no_frame_crosses_into_another_network() {
    check(SETTING);
}

#[test]
fn no_frame_crosses_into_another_network_by_the_tunnel_device() {
    check(Setting { decap: "device", frames_per_port: FRAMES_PER_PORT_FEW, ..SETTING });
}

#[test]
fn no_frame_crosses_into_another_network_in_packet_rate_mode() {
    check(Setting { packet_rate: true, frames_per_port: FRAMES_PER_PORT_FEW, ..SETTING });
}

#[test]
fn no_frame_crosses_into_another_network_over_ipv6() {
    for (packet_rate, decap) in [(false, "program"), (false, "device"), (true, "auto")] {
        check(Setting { ipv6: true, packet_rate, decap, frames_per_port: FRAMES_PER_PORT_FEW });
    }
}

fn check(setting: Setting) {
    let mut fabric = Fabric::new().unwrap();
    let [one, other] = [1, 2].map(|number| {
        let machine = fabric.machine("host", number).unwrap();
        if setting.ipv6 {
            machine.add_ipv6(number.into()).unwrap();
            // Of the host's own nothing is at the ports.
            machine.netns.sysctl("net.ipv6.conf.default.disable_ipv6", "1").unwrap();
        }
        machine
    });
    if setting.packet_rate {
        fabric.set_offload("gro", true).unwrap();
    }
    let mut hosts = [Host::new(one, 0, setting), Host::new(other, 1, setting)];
    for first in (0..setting.frames_per_port).step_by(usize::try_from(FRAMES_AT_ONCE).unwrap()) {
        let numbers = first..first + FRAMES_AT_ONCE;
        for (from, host) in (0..).zip(&hosts) {
            for number in numbers.clone() {
                for (vni, station) in (FIRST_VNI..).zip(&host.stations) {
                    station.socket.send(&drawn(Label { vni, from, number })).unwrap();
                }
            }
        }
        let mut missing = 2 * NETWORKS * numbers.len();
        wait_for("the frames of all networks", SOON, || {
            for (other, host) in [1, 0].into_iter().zip(&mut hosts) {
                for (vni, station) in (FIRST_VNI..).zip(&mut host.stations) {
                    missing -= station.take(vni, other);
                }
            }
            (missing == 0).then_some(())
        })
        .unwrap();
    }
    for (other, host) in [1, 0].into_iter().zip(&mut hosts) {
        for (vni, station) in (FIRST_VNI..).zip(&mut host.stations) {
            assert_eq!(station.take(vni, other), 0, "more came than was sent");
            assert!(station.arrived.iter().all(|&times| times == 1), "VNI {vni}: {:?}", station.arrived);
        }
        host.check_counters(setting);
    }
}

impl Setting {
    fn address(self, number: u8) -> IpAddr {
        if self.ipv6 {
            Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number.into()).into()
        } else {
            Ipv4Addr::new(192, 0, 2, number).into()
        }
    }
}

impl Host {
    fn new(machine: Machine, number: u8, setting: Setting) -> Self {
        let vms = Netns::new("vms").unwrap();
        let mac = MACS[usize::from(number)];
        let mut links = String::new();
        for network in 0..NETWORKS {
            let peer = format!("name v{network} address {mac} netns {}", vms.name());
            writeln!(links, "link add p{network} type veth peer {peer}\nlink set dev p{network} up").unwrap();
        }
        machine.netns.ip_batch(&links).unwrap();
        let up = (0..NETWORKS).map(|network| format!("link set dev v{network} up\n"));
        vms.ip_batch(&up.collect::<String>()).unwrap();
        let mut port = format!("macs = [\"{mac}\"]");
        if setting.packet_rate {
            for network in 0..NETWORKS {
                vms.run(&format!("ethtool -K v{network} tx off gro on")).unwrap();
            }
            port += "\npacket_rate = true";
        }

        let names: Vec<_> = (0..NETWORKS).map(|network| format!("p{network}")).collect();
        let config = AgentConfig {
            name: "host",
            source: AgentSource::Table(table(number, setting, &names)),
            ports: names.iter().map(|name| (name.as_str(), port.as_str())).collect(),
            dataplane: &format!("macs_max = 1000\ndecap = \"{}\"", setting.decap),
        };
        let mut agent = Agent::new(&machine, &config).unwrap();
        let ours = setting.address(number + 1);
        let packet_rate = if setting.packet_rate { "packet_rate = [\"uplink\"]" } else { "" };
        agent
            .reconfigure(|text| {
                let underlay = format!("address = \"{ours}\"\n{packet_rate}\n");
                text.replace(&format!("address = \"{}\"\n", machine.address), &underlay)
            })
            .unwrap();
        agent.start().unwrap();
        let mode = if setting.packet_rate { "on".into() } else { serde_json::Value::Null };
        wait_for("all ports", SOON, || {
            let ports = agent.json(&["port", "show"]).ok()?;
            let vteps = agent.json(&["vtep", "show"]).ok()?;
            let attached = ports
                .as_array()?
                .iter()
                .filter(|row| row["attached"] == true && row["packet_rate"] == mode)
                .count();
            (attached == NETWORKS && vteps[0]["resolved"] == true).then_some(())
        })
        .unwrap();
        let station = |network| Station {
            socket: PacketSocket::bind(&Link::named(&vms, &format!("v{network}"))).unwrap(),
            arrived: vec![0; usize::try_from(setting.frames_per_port).unwrap()],
        };
        let stations = (0..NETWORKS).map(station).collect();
        Self { agent, stations, _vms: vms, _machine: machine }
    }

    /// What each network counted is what was sent in it, here and at the other host, by the same numbers.
    fn check_counters(&self, setting: Setting) {
        let rows = self.agent.json(&["stats"]).unwrap();
        let floods = (0..setting.frames_per_port).filter(|&number| is_flooded(number)).count() as u64;
        let known = u64::from(setting.frames_per_port) - floods;
        for vni in (FIRST_VNI..).take(NETWORKS) {
            let count = |verdict: Verdict| {
                let rows = rows.as_array().unwrap().iter();
                let mut rows = rows.filter(|row| row["vni"] == vni && row["verdict"] == verdict.name());
                rows.next().and_then(|row| row["packets"].as_u64()).unwrap_or(0)
            };
            let counted = [Verdict::Master, Verdict::Flooded, Verdict::Delivered, Verdict::DeliveredFlood];
            assert_eq!(counted.map(count), [known, floods, known, floods], "VNI {vni}: {counted:?}");
        }
        let drops = self.agent.json(&["stats", "--drops"]).unwrap();
        let of_ours = |row: &&serde_json::Value| row["vni"].is_u64();
        assert_eq!(drops.as_array().unwrap().iter().filter(of_ours).count(), 0, "{drops}");
    }
}

impl Station {
    /// Notes what came, and returns how many.
    fn take(&mut self, vni: u32, from: u32) -> usize {
        let Self { socket, arrived } = self;
        let mut came = 0;
        socket
            .drain(|frame| {
                let label = Label::of(frame);
                assert_eq!(label, Label { vni, from, ..label }, "a frame came to another network");
                arrived[usize::try_from(label.number).unwrap()] += 1;
                came += 1;
            })
            .unwrap();
        came
    }
}

impl Label {
    const LEN: usize = 12;

    fn of(frame: &[u8]) -> Self {
        let label = &frame[frame.len() - Self::LEN..];
        let word = |at: usize| u32::from_be_bytes(label[at..at + 4].try_into().unwrap());
        Self { vni: word(0), from: word(4), number: word(8) }
    }
}

/// To the other host's station, or to all, or to one that nobody knows; as IP, or as something else.
fn drawn(label: Label) -> Vec<u8> {
    let Label { vni, from, number } = label;
    let from_mac = MACS[usize::try_from(from).unwrap()];
    let to = match number % 16 {
        3 => MacAddr::BROADCAST,
        7 => UNKNOWN,
        _ => MACS[usize::try_from(1 - from).unwrap()],
    };
    let end = |mac: MacAddr| Endpoint { mac, address: [10, 1, 0, 1].into(), port: 7 };
    let mut frame = frame::udp(end(from_mac), end(to), &[vni, from, number].map(u32::to_be_bytes).concat());
    if number % 5 == 0 {
        // IEEE 802 local experiments.
        frame[12..14].copy_from_slice(&[0x88, 0xb5]);
    }
    frame
}

const fn is_flooded(number: u32) -> bool {
    matches!(number % 16, 3 | 7)
}

fn table(host: u8, setting: Setting, ports: &[String]) -> String {
    let (other, mac) = (setting.address(2 - host), MACS[usize::from(1 - host)]);
    let mut text = format!("version = 1\n[[vtep]]\nname = \"other\"\naddress = \"{other}\"\n");
    for (vni, port) in (FIRST_VNI..).zip(ports) {
        let name = format!("n{vni}");
        text += &network(&name, vni, &["other"]);
        text += &binding(port, 0, &name);
        write!(text, "\n[[mac]]\nlogical_switch = \"{name}\"\nmac = \"{mac}\"\nmaster = \"other\"\n")
            .unwrap();
    }
    text
}
