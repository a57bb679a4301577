//! What must not pass: tags from one network into another or onto the underlay, and VXLAN that came another way than
//! by the uplink.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use vtep_abi::Verdict;
use vtep_api::MacAddr;
use vtep_tests::{
    deadline::wait_for,
    frame::{self, Endpoint},
    lab::{
        Vm,
        rig::{Rig, SOON, VNI, binding, mac, network, table},
    },
    link::Link,
    packet::PacketSocket,
};

/// After this long without a frame no more is expected.
const QUIET: Duration = Duration::from_millis(300);
const BOTH_DECAPS: [&str; 2] = ["device", "program"];

#[test]
fn a_second_tag_of_a_vm_is_dropped() {
    let rig = Rig::new().unwrap();
    let vm = PacketSocket::bind(&rig.vm.eth0).unwrap();
    let underlay = PacketSocket::leaving(&rig.host.uplink).unwrap();
    for to in [rig.far.mac.octets(), [0xff; 6]] {
        let mut frame = frame::udp_tagged(endpoint(&rig.vm), endpoint(&rig.far), 42, b"two tags");
        frame[..6].copy_from_slice(&to);
        // VID 0, which any untagged binding takes, in front of VID 42.
        frame.splice(12..12, [0x81, 0, 0, 0]);
        vm.send(&frame).unwrap();
    }
    wait_for("the counter", SOON, || (rig.count(Verdict::ExtraTag) == 2).then_some(())).unwrap();
    let left = underlay.receive_all(QUIET, |frame| frame.ends_with(b"two tags")).unwrap();
    assert_eq!(left.len(), 0);
}

#[test]
fn a_tag_inside_vxlan_opens_no_other_network() {
    for decap in BOTH_DECAPS {
        let rig = Rig::with(&format!("macs_max = 1000\ndecap = \"{decap}\"")).unwrap();
        let text = [
            network("blue", VNI, &["tor"]),
            network("red", 5002, &[]),
            binding("p1", 0, "blue"),
            binding("p1", 100, "red"),
            mac("blue", &rig.far, "tor"),
        ];
        rig.agent.write_table(&table(&[("tor", 11)], &text.concat())).unwrap();
        let port = PacketSocket::leaving(&rig.port).unwrap();
        let tor = PacketSocket::bind(&rig.tor.uplink).unwrap();
        for to in [rig.vm.mac.octets(), [0xff; 6]] {
            let mut inner = frame::udp_tagged(endpoint(&rig.far), endpoint(&rig.vm), 100, b"tagged inside");
            inner[..6].copy_from_slice(&to);
            tor.send(&frame::vxlan(
                underlay(&rig.tor.uplink, 11),
                underlay(&rig.host.uplink, 1),
                VNI,
                &inner,
            ))
            .unwrap();
        }
        wait_for("the counter", SOON, || (rig.count(Verdict::ExtraTag) == 2).then_some(())).unwrap();
        let arrived = port.receive_all(QUIET, |frame| frame.ends_with(b"tagged inside")).unwrap();
        assert_eq!(arrived.len(), 0, "decap {decap}");
    }
}

#[test]
fn vxlan_in_a_vlan_of_the_underlay_is_not_for_us() {
    let rig = Rig::new().unwrap();
    let port = PacketSocket::leaving(&rig.port).unwrap();
    let tor = PacketSocket::bind(&rig.tor.uplink).unwrap();
    let inner = frame::udp(endpoint(&rig.far), endpoint(&rig.vm), b"in VLAN 77");
    let mut outer = frame::vxlan(underlay(&rig.tor.uplink, 11), underlay(&rig.host.uplink, 1), VNI, &inner);
    outer.splice(12..12, [0x81, 0, 0, 77]);
    let before = rig.count(Verdict::NotOurs);
    tor.send(&outer).unwrap();
    wait_for("the counter", SOON, || (rig.count(Verdict::NotOurs) > before).then_some(())).unwrap();
    assert_eq!(port.receive_all(QUIET, |frame| frame.ends_with(b"in VLAN 77")).unwrap().len(), 0);
}

#[test]
fn vxlan_through_another_interface_than_an_uplink_is_refused() {
    let rig = Rig::new().unwrap();
    let other = vtep_tests::netns::Netns::new("other").unwrap();
    let (management, outside) = Link::veth(&rig.host.netns, "mgmt", &other, "eth0").unwrap();
    management.add_address("198.51.100.1/24").unwrap();
    // The loosest host: it takes any source on any interface.
    for interface in ["all", "mgmt"] {
        rig.host.netns.sysctl(&format!("net.ipv4.conf.{interface}.rp_filter"), "0").unwrap();
    }
    let port = PacketSocket::leaving(&rig.port).unwrap();
    let sender = PacketSocket::bind(&outside).unwrap();
    let inner = frame::udp(endpoint(&rig.far), endpoint(&rig.vm), b"another way");
    let forged = Endpoint { mac: outside.mac().unwrap(), ..underlay(&rig.tor.uplink, 11) };
    let host = Endpoint { mac: management.mac().unwrap(), ..underlay(&rig.host.uplink, 1) };
    sender.send(&frame::vxlan(forged, host, VNI, &inner)).unwrap();
    wait_for("the counter", SOON, || (rig.count(Verdict::NotAdmitted) == 1).then_some(())).unwrap();
    assert_eq!(port.receive_all(QUIET, |frame| frame.ends_with(b"another way")).unwrap().len(), 0);
}

#[test]
fn a_listed_port_without_a_binding_opens_nothing_to_its_vm() {
    let rig = Rig::new().unwrap();
    let (vm, port) = Vm::new(&rig.host.netns, "p2", 2).unwrap();
    port.add_address("10.1.0.254/24").unwrap();
    wait_for("the program on the port", SOON, || {
        let shown = rig.agent.json(&["status"]).ok()?;
        shown["attached"].as_array()?.iter().any(|row| row["interface"] == "p2").then_some(())
    })
    .unwrap();
    let before = rig.count(Verdict::Unbound);
    assert!(!vm.pings([10, 1, 0, 254].into(), 2), "the VM reaches the host's stack");
    assert!(rig.count(Verdict::Unbound) > before);
}

#[test]
fn what_a_vm_sends_to_vteps_as_bfd_does_not_leave_the_host() {
    let rig = Rig::new().unwrap();
    let vm = PacketSocket::bind(&rig.vm.eth0).unwrap();
    let underlay = PacketSocket::leaving(&rig.host.uplink).unwrap();
    let vteps = Endpoint { mac: MacAddr::new([0, 0x23, 0x20, 0, 0, 1]), port: 3784, ..endpoint(&rig.far) };
    let before = rig.count(Verdict::TenantBfd);
    vm.send(&frame::udp(endpoint(&rig.vm), vteps, b"not of a VTEP")).unwrap();
    vm.send(&frame::udp_tagged(endpoint(&rig.vm), vteps, 0, b"not of a VTEP")).unwrap();
    wait_for("the counter", SOON, || (rig.count(Verdict::TenantBfd) == before + 2).then_some(())).unwrap();
    let left = underlay.receive_all(QUIET, |frame| frame.ends_with(b"not of a VTEP")).unwrap();
    assert_eq!(left.len(), 0);
}

#[test]
fn broadcast_from_the_underlay_reaches_the_ports_of_its_network_only() {
    for decap in BOTH_DECAPS {
        let rig = Rig::with(&format!("macs_max = 1000\ndecap = \"{decap}\"")).unwrap();
        let (_second, second_port) = Vm::new(&rig.host.netns, "p2", 2).unwrap();
        let text = [network("blue", VNI, &["tor"]), network("red", 5002, &[]), binding("p1", 0, "blue")];
        let text = text.concat() + &binding("p2", 0, "red");
        rig.agent.write_table(&table(&[("tor", 11)], &text)).unwrap();
        wait_for("the second binding", SOON, || {
            let rows = rig.agent.json(&["port", "show"]).ok()?;
            rows.as_array()?.iter().any(|row| row["port"] == "p2" && row["attached"] == true).then_some(())
        })
        .unwrap();
        let (blue, red) =
            (PacketSocket::leaving(&rig.port).unwrap(), PacketSocket::leaving(&second_port).unwrap());
        let tor = PacketSocket::bind(&rig.tor.uplink).unwrap();
        let inner = frame::arp_request(endpoint(&rig.far), [10, 1, 0, 200].into());
        let before = rig.count(Verdict::DeliveredFlood);
        tor.send(&frame::vxlan(underlay(&rig.tor.uplink, 11), underlay(&rig.host.uplink, 1), VNI, &inner))
            .unwrap();
        assert_eq!(blue.receive_all(QUIET, |frame| frame == inner).unwrap().len(), 1, "decap {decap}");
        assert_eq!(red.receive_all(QUIET, |frame| frame == inner).unwrap().len(), 0, "decap {decap}");
        assert_eq!(rig.count(Verdict::DeliveredFlood) - before, 1);
    }
}

#[test]
fn congestion_on_the_underlay_reaches_the_vm() {
    for decap in BOTH_DECAPS {
        let rig = Rig::with(&format!("macs_max = 1000\ndecap = \"{decap}\"")).unwrap();
        let port = PacketSocket::leaving(&rig.port).unwrap();
        let tor = PacketSocket::bind(&rig.tor.uplink).unwrap();
        let send = |inner_ecn: u8, payload: &[u8]| {
            let mut inner = frame::udp(endpoint(&rig.far), endpoint(&rig.vm), payload);
            set_ecn(&mut inner, inner_ecn);
            let mut outer =
                frame::vxlan(underlay(&rig.tor.uplink, 11), underlay(&rig.host.uplink, 1), VNI, &inner);
            set_ecn(&mut outer, 3);
            tor.send(&outer).unwrap();
        };
        send(2, b"capable");
        let arrived = port.receive_where(SOON, |frame| frame.ends_with(b"capable")).unwrap().unwrap();
        assert_eq!(arrived[15] & 3, 3, "decap {decap}: CE is passed on (RFC 6040 §4.2)");
        send(0, b"incapable");
        let arrived = port.receive_all(QUIET, |frame| frame.ends_with(b"incapable")).unwrap();
        assert_eq!(arrived.len(), 0, "decap {decap}: CE cannot be told to a transport that does not know it");
    }
}

#[test]
fn the_kernel_sends_from_the_tunnel_address_too() {
    let rig = Rig::new().unwrap();
    // The tunnel address becomes a secondary one, which no route prefers.
    rig.host.netns.ip("address add 192.0.2.200/24 dev uplink").unwrap();
    rig.host.netns.ip("route replace 192.0.2.0/24 dev uplink src 192.0.2.200").unwrap();
    wait_for("echoes", SOON, || rig.vm.pings(rig.far.address, 1).then_some(())).unwrap();
    let outer = PacketSocket::leaving(&rig.host.uplink).unwrap();
    let before = rig.count(Verdict::Device);
    for _ in 0..20 {
        rig.host.netns.ip("neighbour flush all").unwrap();
        rig.vm.pings(rig.far.address, 1);
        if rig.count(Verdict::Device) > before {
            break;
        }
    }
    assert!(rig.count(Verdict::Device) > before, "no frame went through the tunnel device");
    let sent = outer.receive_all(QUIET, |frame| frame::decap(frame).is_ok()).unwrap();
    assert!(!sent.is_empty());
    for frame in sent {
        assert_eq!(frame::decap(&frame).unwrap().0.from.address, rig.host.address);
    }
}

fn endpoint(vm: &Vm) -> Endpoint {
    Endpoint { mac: vm.mac, address: vm.address, port: 7001 }
}

/// A VTEP on the fabric; 4789 is its port as a receiver.
fn underlay(link: &Link, number: u8) -> Endpoint {
    Endpoint { mac: link.mac().unwrap(), address: [192, 0, 2, number].into(), port: 4789 }
}

fn set_ecn(frame: &mut [u8], ecn: u8) {
    frame[15] = frame[15] & !3 | ecn;
    frame::mend_ipv4_checksum(frame);
}
