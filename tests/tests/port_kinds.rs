//! TCP and segmented UDP through every kind of port, by every way in which its outer headers can be removed: no byte is
//! lost or changed.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use vtep_tests::{
    deadline::wait_for,
    frame,
    lab::{
        Agent, AgentConfig, AgentSource, Fabric, Machine, Offloads, TapVm, Vm,
        rig::{SOON, VNI, binding, mac, network, table},
        transfer, udp_segments,
    },
    link::{Counters, Link},
};

const BYTES: usize = 24 << 20;
const BURSTS: usize = 10;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Tap(Offloads),
    /// With GRO at both ends, or without.
    Veth {
        gro: bool,
    },
    /// Neither tap nor veth: a macvlan that takes all frames of its lower link.
    Macvlan,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Decap(&'static str),
    PacketRate,
}

struct Rig {
    agent: Agent,
    port: Port,
    far: Vm,
    host: Machine,
    _tor: Machine,
    _fabric: Fabric,
}

enum Port {
    Tap(TapVm),
    Link(Vm),
}

impl Port {
    fn new(kind: Kind, host: &Machine) -> Self {
        match kind {
            Kind::Tap(offloads) => Self::Tap(TapVm::new(&host.netns, "p1", 1, offloads).unwrap()),
            Kind::Veth { gro } => {
                let (vm, port) = Vm::new(&host.netns, "p1", 1).unwrap();
                for link in [&vm.eth0, &port] {
                    link.set_offload("gro", gro).unwrap();
                }
                Self::Link(vm)
            }
            Kind::Macvlan => {
                let (vm, lower) = Vm::new(&host.netns, "lower", 1).unwrap();
                let kind = format!("link {} type macvlan mode passthru", lower.name());
                host.netns.ip(&format!("link add p1 {kind}")).unwrap();
                let port = Link::named(&host.netns, "p1");
                // Its own filter would let few groups through.
                port.set("promisc on").unwrap();
                port.up().unwrap();
                Self::Link(vm)
            }
        }
    }

    fn vm(&self) -> &Vm {
        match self {
            Self::Tap(tap) => &tap.vm,
            Self::Link(vm) => vm,
        }
    }
}

impl Rig {
    fn new(kind: Kind, mode: Mode) -> Self {
        let mut fabric = Fabric::new().unwrap();
        let host = fabric.machine("host", 1).unwrap();
        let tor = fabric.machine("tor", 11).unwrap();
        let port = Port::new(kind, &host);
        let bridge = tor.kernel_vtep(VNI, &[host.address]).unwrap();
        let (far, far_port) = Vm::new(&tor.netns, "p3", 3).unwrap();
        far_port.set_bridge(&bridge).unwrap();
        let line = match mode {
            Mode::Decap(decap) => format!("decap = \"{decap}\""),
            Mode::PacketRate => {
                fabric.set_offload("gro", true).unwrap();
                if kind == (Kind::Veth { gro: true }) {
                    port.vm().eth0.set_offload("tx", false).unwrap();
                }
                "packet_rate = true".to_owned()
            }
        };
        let lines = format!("macs = [\"{}\"]\n{line}", port.vm().mac);
        let text = [network("blue", VNI, &["tor"]), binding("p1", 0, "blue"), mac("blue", &far, "tor")];
        let config = AgentConfig {
            name: "host",
            source: AgentSource::Table(table(&[("tor", 11)], &text.concat())),
            ports: vec![("p1", &lines)],
            dataplane: "macs_max = 1000",
        };
        let mut agent = Agent::new(&host, &config).unwrap();
        if mode == Mode::PacketRate {
            let uplinks = "uplinks = [\"uplink\"]";
            let line = format!("{uplinks}\npacket_rate = [\"uplink\"]");
            agent.reconfigure(|text| text.replace(uplinks, &line)).unwrap();
        }
        agent.start().unwrap();
        let rig = Self { agent, port, far, host, _tor: tor, _fabric: fabric };
        wait_for("the first echo reply", SOON, || rig.port.vm().pings(rig.far.address, 1).then_some(()))
            .unwrap();
        rig
    }

    /// As `port show` says it.
    fn decap(&self) -> String {
        self.agent.json(&["port", "show"]).unwrap()[0]["decap"].as_str().unwrap().to_owned()
    }

    /// All that is to pass, both ways, of both families.
    fn pass(&self) {
        let (vm, far) = (self.port.vm(), &self.far);
        for one in [vm, far] {
            one.add_ipv6().unwrap();
        }
        for (from, to, way) in [(vm, far, "out"), (far, vm, "in")] {
            for address in [to.address.into(), frame::v6(to.address).into()] {
                let took = transfer(&from.netns, &to.netns, address, BYTES);
                println!("{way}, to {address}: {took:?}");
                took.unwrap();
            }
            let done = udp_segments(from, to, BURSTS);
            println!("{way}, segments: {done:?}");
            done.unwrap();
        }
        if let Port::Tap(tap) = &self.port {
            assert_eq!(tap.refused(), 0, "frames that the other tap would not take");
        }
    }

    /// To the VM.
    fn sent(&self) -> Counters {
        Link::named(&self.host.netns, "p1").counters().unwrap()
    }
}

/// `expected`: who decapsulates, as `port show` says.
#[track_caller]
fn check(kind: Kind, mode: Mode, expected: &str) {
    println!("{kind:?}, {mode:?}");
    let rig = Rig::new(kind, mode);
    assert_eq!(rig.decap(), expected, "{:?}", rig.agent.json(&["port", "show"]));
    let before = rig.sent();
    rig.pass();
    let Counters { sent_packets, sent_bytes, .. } = rig.sent();
    let mean = (sent_bytes - before.sent_bytes) / (sent_packets - before.sent_packets);
    let whole = kind == Kind::Tap(Offloads::On) && expected == "device";
    assert!(!whole || mean > 3000, "frames of {mean} bytes on average are no super-frames");
}

#[test]
fn a_tap_with_virtio_offloads() {
    check(Kind::Tap(Offloads::On), Mode::Decap("auto"), "device");
    check(Kind::Tap(Offloads::On), Mode::Decap("program"), "program");
}

#[test]
fn a_tap_without_offloads() {
    check(Kind::Tap(Offloads::Off), Mode::Decap("auto"), "device");
    check(Kind::Tap(Offloads::Off), Mode::Decap("program"), "program");
    check(Kind::Tap(Offloads::Off), Mode::PacketRate, "xdp");
}

#[test]
fn a_veth_with_gro() {
    check(Kind::Veth { gro: true }, Mode::Decap("auto"), "program");
    check(Kind::Veth { gro: true }, Mode::Decap("device"), "device");
    check(Kind::Veth { gro: true }, Mode::PacketRate, "xdp");
}

#[test]
fn a_veth_without_gro() {
    check(Kind::Veth { gro: false }, Mode::Decap("auto"), "program");
    check(Kind::Veth { gro: false }, Mode::Decap("device"), "device");
}

#[test]
fn a_port_of_another_kind() {
    check(Kind::Macvlan, Mode::Decap("auto"), "device");
    check(Kind::Macvlan, Mode::Decap("program"), "program");
}
