//! TCP and segmented UDP through every kind of port, by every way in which its outer headers can be removed: no byte is
//! lost or changed.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use vtep_tests::{
    deadline::wait_for,
    frame::{self, Endpoint},
    lab::{
        Agent, AgentConfig, AgentSource, Fabric, Machine, Offloads, PortKind, Vm, VmPort,
        rig::{SOON, VNI, binding, mac, network, table},
        transfer, udp_segments,
    },
    link::{Counters, Link},
    packet::PacketSocket,
};

const BYTES: usize = 24 << 20;
const BURSTS: usize = 10;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Mode {
    Decap(&'static str),
    PacketRate,
    /// Past the port.
    Peer(&'static str),
}

struct Rig {
    agent: Agent,
    port: VmPort,
    far: Vm,
    host: Machine,
    _tor: Machine,
    _fabric: Fabric,
}

impl Rig {
    fn new(kind: PortKind, mode: Mode) -> Self {
        let mut fabric = Fabric::new().unwrap();
        let host = fabric.machine("host", 1).unwrap();
        let tor = fabric.machine("tor", 11).unwrap();
        let port = VmPort::new(kind, &host.netns, "p1", 1).unwrap();
        let bridge = tor.kernel_vtep(VNI, &[host.address]).unwrap();
        let (far, far_port) = Vm::new(&tor.netns, "p3", 3).unwrap();
        far_port.set_bridge(&bridge).unwrap();
        let line = match mode {
            Mode::Decap(decap) => format!("decap = \"{decap}\""),
            Mode::Peer(decap) => format!("decap = \"{decap}\"\ndeliver = \"peer\""),
            Mode::PacketRate => {
                fabric.set_offload("gro", true).unwrap();
                if kind == (PortKind::Veth { gro: true }) {
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

    fn deliver(&self) -> String {
        self.agent.json(&["port", "show"]).unwrap()[0]["deliver"].as_str().unwrap().to_owned()
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
        if let VmPort::Tap(tap) = &self.port {
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
fn check(kind: PortKind, mode: Mode, expected: &str) {
    println!("{kind:?}, {mode:?}");
    let rig = Rig::new(kind, mode);
    assert_eq!(rig.decap(), expected, "{:?}", rig.agent.json(&["port", "show"]));
    let before = rig.sent();
    rig.pass();
    let Counters { sent_packets, sent_bytes, .. } = rig.sent();
    let mean = (sent_bytes - before.sent_bytes) / (sent_packets - before.sent_packets);
    let whole = kind == PortKind::Tap(Offloads::On) && expected == "device";
    assert!(!whole || mean > 3000, "frames of {mean} bytes on average are no super-frames");
}

#[test]
fn a_tap_with_virtio_offloads() {
    check(PortKind::Tap(Offloads::On), Mode::Decap("auto"), "device");
    check(PortKind::Tap(Offloads::On), Mode::Decap("program"), "program");
}

#[test]
fn a_tap_without_offloads() {
    check(PortKind::Tap(Offloads::Off), Mode::Decap("auto"), "program");
    check(PortKind::Tap(Offloads::Off), Mode::Decap("device"), "device");
    check(PortKind::Tap(Offloads::Off), Mode::PacketRate, "xdp");
}

#[test]
fn a_veth_with_gro() {
    check(PortKind::Veth { gro: true }, Mode::Decap("auto"), "program");
    check(PortKind::Veth { gro: true }, Mode::Decap("device"), "device");
    check(PortKind::Veth { gro: true }, Mode::PacketRate, "xdp");
}

#[test]
fn a_veth_without_gro() {
    check(PortKind::Veth { gro: false }, Mode::Decap("auto"), "program");
    check(PortKind::Veth { gro: false }, Mode::Decap("device"), "device");
}

#[test]
fn a_veth_that_is_passed_by() {
    for decap in ["program", "device"] {
        let rig = Rig::new(PortKind::Veth { gro: false }, Mode::Peer(decap));
        wait_for("frames that go past the port", SOON, || (rig.deliver() == "peer").then_some(())).unwrap();
        let before = rig.sent();
        rig.pass();
        // What is flooded still leaves by it.
        let by_port = rig.sent().sent_packets - before.sent_packets;
        assert!(by_port < 100, "{decap}: {by_port} packets left by the port");
        let (vm, far) = (rig.port.vm(), &rig.far);
        // An answer of the program's, which came from nowhere.
        vm.eth0.set_mtu(1500).unwrap();
        let large = format!("ping -n -q -M do -s 1460 -c 1 -W 1 {}", far.address);
        assert!(vm.netns.run(&large).is_err(), "it is longer than the path takes");
        let route = vm.netns.ip(&format!("route get {}", far.address)).unwrap();
        assert!(route.contains("mtu 1450"), "{decap}: the VM was not told: {route}");
        vm.netns.ip("route flush cache").unwrap();
        vm.eth0.set_mtu(1450).unwrap();
        // Not IP: where the program removed the outer headers, only the port tells the kernel what it is.
        let end = |vm: &Vm| Endpoint { mac: vm.mac, address: vm.address, port: 0 };
        let (hears, speaks) = (PacketSocket::bind(&vm.eth0).unwrap(), PacketSocket::bind(&far.eth0).unwrap());
        let reply = frame::arp_reply(end(far), end(vm));
        speaks.send(&reply).unwrap();
        let same = |frame: &[u8]| frame.starts_with(&reply);
        assert!(hears.receive_where(SOON, same).unwrap().is_some(), "{decap}: an ARP reply");
        // Whoever could miss them gets them: GRO there, which would join them.
        vm.eth0.set_offload("gro", true).unwrap();
        wait_for("frames by the port again", SOON, || rig.deliver().contains("NAPI").then_some(())).unwrap();
        let before = rig.sent();
        assert!(vm.pings(far.address, 3));
        assert!(rig.sent().sent_packets - before.sent_packets >= 3, "{decap}: they leave by the port");
        vm.eth0.set_offload("gro", false).unwrap();
        rig.host.netns.run("tc qdisc add dev p1 root tbf rate 10gbit burst 1mb latency 50ms").unwrap();
        wait_for("the shaped port", SOON, || rig.deliver().contains("tbf").then_some(())).unwrap();
    }
}

#[test]
fn a_port_of_another_kind() {
    check(PortKind::Macvlan, Mode::Decap("auto"), "device");
    check(PortKind::Macvlan, Mode::Decap("program"), "program");
}
