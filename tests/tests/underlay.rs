//! IPv6 underlays, alone and beside IPv4, and another UDP port: an agent's host and the kernel's own VXLAN device, over both
//! families.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "underlay/udp_port.rs"]
mod udp_port;

use std::{
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use vtep_abi::Verdict;
use vtep_api::{Encapsulation, MacAddr};
use vtep_tests::{
    deadline::wait_for,
    frame::{self, Endpoint},
    lab::{
        Agent, AgentConfig, AgentSource, Fabric, Machine, Stream, Vm,
        rig::{SOON, VNI, binding, mac, network},
        tcp_megabits,
    },
    link::{Link, Vxlan},
    packet::PacketSocket,
    tunnel::Carrier,
};

/// The kernel's device sends checksums over IPv6 unless it is told not to.
const CHECKSUMS: &str = "udp6zerocsumrx";
/// RFC 6935.
const NO_CHECKSUMS: &str = "udp6zerocsumtx udp6zerocsumrx";

struct Rig {
    agent: Agent,
    vm: Vm,
    far: Vm,
    host: Machine,
    tor: Machine,
    fabric: Fabric,
}

const fn v6(number: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number)
}

/// A TOR of the kernel's bridge and VXLAN device, between two of its addresses.
fn kernel_vtep(tor: &Machine, local: IpAddr, remote: IpAddr, options: &'static str) -> Link {
    let bridge = Link::bridge(&tor.netns, "br-5001").unwrap();
    let device = Link::vxlan(&tor.netns, "vx-5001", &Vxlan { options, ..Vxlan::new(VNI, local) }).unwrap();
    device.append_fdb(MacAddr::new([0; 6]), remote).unwrap();
    device.set_bridge(&bridge).unwrap();
    bridge
}

fn small(vm: &Vm) {
    // Outer IPv6, UDP, VXLAN and the inner Ethernet header.
    vm.eth0.set_mtu(1430).unwrap();
}

impl Rig {
    /// `ours`: `underlay.address`.
    fn new(ours: &str, options: &'static str, dataplane: &str, underlay: &str) -> Self {
        let mut fabric = Fabric::new().unwrap();
        let host = fabric.machine("host", 1).unwrap();
        let tor = fabric.machine("tor", 11).unwrap();
        host.add_ipv6(1).unwrap();
        tor.add_ipv6(11).unwrap();
        let (vm, _) = Vm::new(&host.netns, "p1", 1).unwrap();
        let bridge = kernel_vtep(&tor, v6(11).into(), v6(1).into(), options);
        let (far, far_port) = Vm::new(&tor.netns, "p3", 3).unwrap();
        far_port.set_bridge(&bridge).unwrap();
        small(&vm);
        small(&far);
        let vtep = format!("\n[[vtep]]\nname = \"tor\"\naddress = \"{}\"\n", v6(11));
        let text = [vtep, network("blue", VNI, &["tor"]), binding("p1", 0, "blue"), mac("blue", &far, "tor")];
        let table = format!("version = 1\n{}", text.concat());
        let macs = format!("macs = [\"{}\"]", vm.mac);
        let mut agent = Agent::new(
            &host,
            &AgentConfig {
                name: "host",
                source: AgentSource::Table(table),
                ports: vec![("p1", &macs)],
                dataplane,
            },
        )
        .unwrap();
        agent
            .reconfigure(|text| {
                text.replace("address = \"192.0.2.1\"", &format!("address = {ours}\n{underlay}"))
            })
            .unwrap();
        agent.start().unwrap();
        let rig = Self { agent, vm, far, host, tor, fabric };
        wait_for("the first echo reply", SOON, || rig.vm.pings(rig.far.address, 1).then_some(())).unwrap();
        // Until its next hop is known, frames go by the tunnel device and are counted so.
        wait_for("a resolved VTEP", SOON, || {
            (rig.agent.row(&["vtep", "show", "tor"])?["resolved"] == true).then_some(())
        })
        .unwrap();
        rig
    }

    fn count(&self, verdict: Verdict) -> u64 {
        let rows = self.agent.json(&["stats"]).unwrap();
        let rows = rows.as_array().unwrap().iter();
        rows.filter(|row| row["verdict"] == verdict.name()).filter_map(|row| row["packets"].as_u64()).sum()
    }
}

const OURS: &str = "\"2001:db8::1\"";
const BOTH: &str = "[\"192.0.2.1\", \"2001:db8::1\"]";

#[test]
fn echoes_and_arp_pass_both_ways_over_ipv6() {
    for options in [CHECKSUMS, NO_CHECKSUMS] {
        let rig = Rig::new(OURS, options, "macs_max = 1000", "");
        assert!(rig.vm.pings(rig.far.address, 20));
        for vm in [&rig.vm, &rig.far] {
            vm.netns.ip("neighbour flush all").unwrap();
        }
        assert!(rig.far.pings(rig.vm.address, 10), "{options:?}");
        assert!(rig.count(Verdict::Master) >= 30);
        let by_program = rig.count(Verdict::Delivered) > rig.count(Verdict::Admitted);
        assert_eq!(by_program, options == NO_CHECKSUMS, "checksums are the device's to verify");
        assert_eq!(rig.count(Verdict::UnknownSender) + rig.count(Verdict::OuterMalformed), 0);
    }
}

#[test]
fn tcp_super_frames_pass_both_ways_over_ipv6() {
    for (decap, options) in [("device", CHECKSUMS), ("device", NO_CHECKSUMS), ("program", NO_CHECKSUMS)] {
        let rig = Rig::new(OURS, options, &format!("macs_max = 1000\ndecap = \"{decap}\""), "");
        let out = tcp_megabits(&rig.vm, &rig.far, Duration::from_millis(500)).unwrap();
        let back = tcp_megabits(&rig.far, &rig.vm, Duration::from_millis(500)).unwrap();
        assert!(
            out > 300.0 && back > 300.0,
            "decap {decap}, {options:?}: {out:.0} Mbit/s out, {back:.0} back"
        );
    }
}

#[test]
fn the_first_frames_to_an_unresolved_vtep_are_not_lost_over_ipv6() {
    let rig = Rig::new(OURS, NO_CHECKSUMS, "macs_max = 1000", "");
    rig.vm.eth0.add_neighbour(rig.far.address, rig.far.mac).unwrap();
    let stream = Stream::start(&rig.vm, &rig.far, Duration::from_millis(10)).unwrap();
    for _ in 0..5 {
        rig.host.netns.ip("-6 neighbour flush dev uplink").unwrap();
        let before = rig.count(Verdict::Master);
        wait_for("a frame by the program", SOON, || (rig.count(Verdict::Master) > before + 5).then_some(()))
            .unwrap();
    }
    assert!(rig.count(Verdict::Device) > 0, "the next hop was never unresolved");
    let report = stream.finish().unwrap();
    assert_eq!(report.received, report.sent, "frames were lost while the kernel resolved");
}

#[test]
fn a_frame_too_big_for_an_ipv6_path_is_answered_and_counted() {
    let rig = Rig::new(OURS, NO_CHECKSUMS, "macs_max = 1000", "");
    rig.vm.eth0.set_mtu(1450).unwrap();
    // What fits IPv4's 50 bytes of outer headers does not fit IPv6's 70.
    let fits = |size: u16| {
        let ping = format!("ping -n -q -M do -s {size} -c 2 -i 0.01 -W 1 {}", rig.far.address);
        rig.vm.netns.run(&ping).is_ok()
    };
    assert!(fits(1430 - 28));
    assert!(!fits(1430 - 27));
    // The second one the VM may have known not to send.
    let told = rig.count(Verdict::TooBigTold);
    assert!((1..=2).contains(&told), "{told} were answered");
}

#[test]
fn vteps_of_both_families_are_reached_from_one_host() {
    let mut rig = Rig::new(BOTH, NO_CHECKSUMS, "macs_max = 1000", "");
    let second = rig.fabric.machine("tor-b", 12).unwrap();
    let bridge = kernel_vtep(&second, second.address.into(), rig.host.address.into(), "");
    let (other, port) = Vm::new(&second.netns, "p4", 4).unwrap();
    port.set_bridge(&bridge).unwrap();
    let vteps = format!(
        "\n[[vtep]]\nname = \"tor\"\naddress = \"{}\"\n\n[[vtep]]\nname = \"tor-b\"\naddress = \"{}\"\n",
        v6(11),
        second.address
    );
    let text = [
        vteps,
        network("blue", VNI, &["tor", "tor-b"]),
        binding("p1", 0, "blue"),
        mac("blue", &rig.far, "tor"),
        mac("blue", &other, "tor-b"),
    ];
    rig.agent.write_table(&format!("version = 1\n{}", text.concat())).unwrap();
    wait_for("an echo over IPv4", SOON, || rig.vm.pings(other.address, 1).then_some(())).unwrap();
    for vm in [&rig.vm, &rig.far, &other] {
        vm.netns.ip("neighbour flush all").unwrap();
    }
    assert!(rig.vm.pings(other.address, 10), "a flood reaches both families, one of them by the device");
    assert!(rig.vm.pings(rig.far.address, 10));
    assert!(other.pings(rig.vm.address, 10) && rig.far.pings(rig.vm.address, 10));
}

#[test]
fn a_vtep_of_a_family_that_we_have_no_address_of_is_an_alarm() {
    let rig = Rig::new(OURS, NO_CHECKSUMS, "macs_max = 1000", "");
    let text = [
        format!("\n[[vtep]]\nname = \"tor\"\naddress = \"{}\"\n", v6(11)),
        "\n[[vtep]]\nname = \"v4\"\naddress = \"192.0.2.11\"\n".to_owned(),
        network("blue", VNI, &["tor", "v4"]),
        binding("p1", 0, "blue"),
        mac("blue", &rig.far, "tor"),
    ];
    rig.agent.write_table(&format!("version = 1\n{}", text.concat())).unwrap();
    wait_for("the alarm", SOON, || {
        let status = rig.agent.json(&["status"]).ok()?;
        let mut alarms = status["alarms"].as_array()?.iter();
        alarms.any(|alarm| alarm["kind"] == "no_route" && alarm["subject"] == "192.0.2.11").then_some(())
    })
    .unwrap();
    assert!(rig.vm.pings(rig.far.address, 5), "the others go on");
}

#[test]
fn source_ports_and_dscp_are_those_of_the_configuration() {
    let rig = Rig::new(OURS, NO_CHECKSUMS, "macs_max = 1000", "source_ports = \"5000-5003\"\ndscp = 10");
    let watched = PacketSocket::bind(&rig.tor.uplink).unwrap();
    assert!(rig.vm.pings(rig.far.address, 3));
    let ours = |frame: &[u8]| frame.len() > 62 && frame[12..14] == [0x86, 0xdd] && frame[20] == 17;
    let frame = watched.receive_where(SOON, ours).unwrap().unwrap();
    let port = u16::from_be_bytes([frame[54], frame[55]]);
    assert!((5000..=5003).contains(&port), "source port {port}");
    assert_eq!((frame[14] << 4) | (frame[15] >> 4), 10 << 2);
}

/// RFC 6040 §4.2, figure 4: a row for each inner field, a column for each outer one; both in the order Not-ECT, ECT(0),
/// ECT(1), CE.
const ECN: [u8; 4] = [0, 2, 1, 3];
const COMBINED: [[Option<u8>; 4]; 4] = [
    [Some(0), Some(0), Some(0), None],
    [Some(2), Some(2), Some(1), Some(3)],
    [Some(1), Some(1), Some(1), Some(3)],
    [Some(3), Some(3), Some(3), Some(3)],
];

#[test]
fn ecn_fields_are_combined_by_the_device_as_by_the_program() {
    for decap in ["device", "program"] {
        let rig = Rig::new(OURS, NO_CHECKSUMS, &format!("macs_max = 1000\ndecap = \"{decap}\""), "");
        let uplink = PacketSocket::bind(&rig.tor.uplink).unwrap();
        let vm = PacketSocket::bind(&rig.vm.eth0).unwrap();
        let carrier = Carrier {
            encapsulation: Encapsulation::Vxlan,
            from: (rig.tor.uplink.mac().unwrap(), v6(11).into()),
            to: (rig.host.uplink.mac().unwrap(), v6(1).into()),
            vni: VNI,
            options: Vec::new(),
        };
        let end = |vm: &Vm| Endpoint { mac: vm.mac, address: vm.address, port: 7 };
        let mut dropped = 0;
        for (inner_ecn, row) in ECN.into_iter().zip(COMBINED) {
            for (outer_ecn, combined) in ECN.into_iter().zip(row) {
                let payload = [0xec, inner_ecn, outer_ecn];
                let inner = frame::udp(end(&rig.far), end(&rig.vm), &payload);
                let with = |ecn: u8| frame::with_tos(&inner, 0x48 | ecn);
                uplink.send(&frame::with_tos(&carrier.wrap(&with(inner_ecn)), outer_ecn)).unwrap();
                let Some(combined) = combined else {
                    dropped += 1;
                    wait_for("the counter", SOON, || {
                        (rig.count(Verdict::EcnCongested) == dropped).then_some(())
                    })
                    .unwrap();
                    continue;
                };
                let arrived = vm.receive_where(SOON, |frame| frame.ends_with(&payload)).unwrap();
                assert_eq!(arrived, Some(with(combined)), "{decap}: inner {inner_ecn}, outer {outer_ecn}");
            }
        }
        assert_eq!(dropped, 1);
    }
}
