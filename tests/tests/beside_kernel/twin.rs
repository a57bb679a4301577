//! One of two hosts that differ in who forwards, between a port and a wire that are the test's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use vtep_api::{Encapsulation, MacAddr};
use vtep_tests::{
    deadline::wait_for,
    lab::{
        Agent, AgentConfig, AgentSource, Machine,
        rig::{SOON, VNI, binding, network},
    },
    link::{Link, Vxlan},
    netns::Netns,
    packet::PacketSocket,
    tunnel::Carrier,
};

pub(crate) const VM: [u8; 6] = [2, 0, 1, 0, 0, 1];
/// Behind the first far VTEP.
pub(crate) const FAR: [u8; 6] = [2, 0, 2, 0, 0, 1];
/// Behind the second.
pub(crate) const FAR_TOO: [u8; 6] = [2, 0, 2, 0, 0, 2];
/// Whom broadcasts are sent to.
pub(crate) const FAR_VTEPS: usize = 2;
const HOST_MAC: MacAddr = MacAddr::new([2, 0xaa, 0, 0, 0, 1]);
const WIRE_MAC: MacAddr = MacAddr::new([2, 0xbb, 0, 0, 0, 1]);

#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    /// The underlay.
    pub(crate) ipv6: bool,
    /// TTL, DSCP and DF are the inner packet's.
    pub(crate) inherit: bool,
    /// Lines of the agent's section.
    pub(crate) dataplane: &'static str,
    pub(crate) packet_rate: bool,
}

pub(crate) struct Twin {
    pub(crate) vm: PacketSocket,
    /// What is delivered to the VM.
    pub(crate) delivered: PacketSocket,
    pub(crate) wire: PacketSocket,
    /// Where frames enter: of the VM, and of VTEPs.
    pub(crate) entries: [Link; 2],
    _agent: Option<Agent>,
    _namespaces: [Netns; 3],
}

impl Setting {
    pub(crate) fn host(self) -> IpAddr {
        self.address(1)
    }

    pub(crate) fn far(self, number: u8) -> IpAddr {
        self.address(10 + number)
    }

    fn address(self, last: u8) -> IpAddr {
        if self.ipv6 {
            Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last.into()).into()
        } else {
            Ipv4Addr::new(192, 0, 2, last).into()
        }
    }

    /// The longest inner frame that the underlay's MTU has room for.
    pub(crate) fn inner_max(self) -> usize {
        // Outer IP, UDP and VXLAN headers.
        1500 - if self.ipv6 { 40 + 8 + 8 } else { 20 + 8 + 8 }
    }

    /// From a far VTEP to the host.
    pub(crate) fn carrier(self, far: u8, vni: u32) -> Carrier {
        Carrier {
            encapsulation: Encapsulation::Vxlan,
            from: (WIRE_MAC, self.far(far)),
            to: (HOST_MAC, self.host()),
            vni,
            options: Vec::new(),
        }
    }
}

impl Twin {
    pub(crate) fn of_agent(setting: Setting) -> Self {
        Self::new("ours", setting, |host, _| Some(forward_by_agent(host, setting)))
    }

    pub(crate) fn of_kernel(setting: Setting) -> Self {
        Self::new("kernel", setting, |host, port| {
            forward_by_kernel(host, port, setting);
            None
        })
    }

    fn new(name: &str, setting: Setting, forward: impl FnOnce(&Machine, &Link) -> Option<Agent>) -> Self {
        let host = Netns::with_ipv6(name).unwrap();
        // Neither has an address, so nobody answers.
        let [outside, inside] = ["wire", "vm"].map(|role| Netns::new(role).unwrap());
        let (uplink, wire) = Link::veth(&host, "uplink", &outside, "wire").unwrap();
        // Of the host's own there is nothing but on the wire.
        host.sysctl("net.ipv6.conf.default.disable_ipv6", "1").unwrap();
        let (port, eth0) = Link::veth(&host, "p1", &inside, "eth0").unwrap();
        uplink.set_mac(HOST_MAC).unwrap();
        wire.set_mac(WIRE_MAC).unwrap();
        eth0.set_mac(MacAddr::new(VM)).unwrap();
        uplink.add_address("192.0.2.1/24").unwrap();
        uplink.add_address("2001:db8::1/64 nodad").unwrap();
        for far in [setting.far(0), setting.far(1)] {
            uplink.add_neighbour(far, WIRE_MAC).unwrap();
        }
        if setting.packet_rate {
            eth0.set_offload("tx", false).unwrap();
            eth0.set_offload("gro", true).unwrap();
            wire.set_offload("gro", true).unwrap();
        }
        let machine = Machine { netns: host.clone(), uplink, address: Ipv4Addr::new(192, 0, 2, 1) };
        let agent = forward(&machine, &port);
        // What XDP redirects is not seen to leave; on arrival the kernel takes a tag out of a frame.
        let delivered =
            if setting.packet_rate { PacketSocket::bind(&eth0) } else { PacketSocket::leaving(&port) };
        Self {
            vm: PacketSocket::bind(&eth0).unwrap(),
            delivered: delivered.unwrap(),
            wire: PacketSocket::bind(&wire).unwrap(),
            entries: [port, machine.uplink],
            _agent: agent,
            _namespaces: [host, outside, inside],
        }
    }
}

fn forward_by_agent(host: &Machine, setting: Setting) -> Agent {
    let text = [
        "version = 1\n".to_owned(),
        format!("[[vtep]]\nname = \"a\"\naddress = \"{}\"\n", setting.far(0)),
        format!("[[vtep]]\nname = \"b\"\naddress = \"{}\"\n", setting.far(1)),
        network("blue", VNI, &["a", "b"]),
        binding("p1", 0, "blue"),
        mac(FAR, "a"),
        mac(FAR_TOO, "b"),
    ];
    let packet_rate = if setting.packet_rate { "packet_rate = true" } else { "" };
    let port = format!("macs = [\"{}\"]\nunbound_tag = \"keep\"\n{packet_rate}", MacAddr::new(VM));
    let dataplane = format!("macs_max = 1000\n{}", setting.dataplane);
    let config = AgentConfig {
        name: "host",
        source: AgentSource::Table(text.concat()),
        ports: vec![("p1", &port)],
        dataplane: &dataplane,
    };
    let mut agent = Agent::new(host, &config).unwrap();
    agent
        .reconfigure(|text| {
            // The kernel's device is strict.
            let mut underlay = format!("address = \"{}\"\nreserved_bits = \"drop\"\n", setting.host());
            if setting.inherit {
                underlay += "ttl = \"inherit\"\ndscp = \"inherit\"\ndf = \"inherit\"\n";
            }
            if setting.packet_rate {
                underlay += "packet_rate = [\"uplink\"]\n";
            }
            text.replace("address = \"192.0.2.1\"\n", &underlay)
        })
        .unwrap();
    agent.start().unwrap();
    let mode = if setting.packet_rate { "on".into() } else { serde_json::Value::Null };
    wait_for("forwarding", SOON, || {
        let port = agent.json(&["port", "show"]).ok()?[0].clone();
        let vteps = agent.json(&["vtep", "show"]).ok()?;
        let resolved = vteps.as_array()?.iter().filter(|row| row["resolved"] == true).count();
        (port["attached"] == true && port["packet_rate"] == mode && resolved == FAR_VTEPS).then_some(())
    })
    .unwrap();
    agent
}

fn mac(mac: [u8; 6], vtep: &str) -> String {
    let mac = MacAddr::new(mac);
    format!("\n[[mac]]\nlogical_switch = \"blue\"\nmac = \"{mac}\"\nmaster = \"{vtep}\"\n")
}

fn forward_by_kernel(host: &Machine, port: &Link, setting: Setting) {
    let options = match (setting.ipv6, setting.inherit) {
        (false, false) => "noudpcsum df set",
        (false, true) => "noudpcsum df inherit ttl inherit tos inherit",
        (true, false) => "udp6zerocsumtx udp6zerocsumrx",
        (true, true) => "udp6zerocsumtx udp6zerocsumrx ttl inherit tos inherit",
    };
    let bridge = Link::bridge(&host.netns, "br-blue").unwrap();
    // A firewall for bridges cuts and refuses IP packets that are not in order.
    for table in ["iptables", "ip6tables", "arptables"] {
        host.netns.sysctl(&format!("net.bridge.bridge-nf-call-{table}"), "0").unwrap();
    }
    let vxlan = Vxlan { learning: false, options, ..Vxlan::new(VNI, setting.host()) };
    let device = Link::vxlan(&host.netns, "vx-blue", &vxlan).unwrap();
    for link in [&device, port] {
        link.set_bridge(&bridge).unwrap();
        host.netns.run(&format!("bridge link set dev {} learning off", link.name())).unwrap();
    }
    for far in [0, 1] {
        device.append_fdb(MacAddr::new([0; 6]), setting.far(far)).unwrap();
    }
    for (mac, far) in [(FAR, 0), (FAR_TOO, 1)] {
        let mac = MacAddr::new(mac);
        device.append_fdb(mac, setting.far(far)).unwrap();
        host.netns.run(&format!("bridge fdb replace {mac} dev vx-blue master static")).unwrap();
    }
    let vm = MacAddr::new(VM);
    host.netns.run(&format!("bridge fdb replace {vm} dev p1 master static")).unwrap();
}
