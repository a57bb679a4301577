//! A host with an agent beside the kernel's own VXLAN device, over a real underlay of namespaces.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, UdpSocket},
    time::Duration,
};

use vtep_abi::Verdict;
use vtep_api::MacAddr;
use vtep_tests::{
    deadline::wait_for,
    frame::{self, Endpoint},
    lab::{
        Stream, Vm,
        rig::{Rig, SOON, VNI, binding, mac, network, table},
        tcp_megabits,
    },
    link::Link,
    packet::PacketSocket,
};

/// After this long without a frame no more is expected.
const QUIET: Duration = Duration::from_millis(300);
/// IEEE 802.1Q.
const TPID: [u8; 2] = [0x81, 0];

#[test]
fn echoes_and_arp_pass_both_ways() {
    let rig = Rig::new().unwrap();
    assert!(rig.vm.pings(rig.far.address, 20));
    assert!(rig.far.pings(rig.vm.address, 20));
    for vm in [&rig.vm, &rig.far] {
        vm.netns.ip("neighbour flush all").unwrap();
    }
    assert!(rig.far.pings(rig.vm.address, 5), "ARP from the far side is answered");
    assert!(rig.count(Verdict::Master) >= 40);
    assert_eq!(rig.count(Verdict::UnknownSender), 0);
}

#[test]
fn the_first_frames_to_an_unresolved_vtep_are_not_lost() {
    let rig = Rig::new().unwrap();
    rig.vm.eth0.add_neighbour(rig.far.address, rig.far.mac).unwrap();
    for _ in 0..5 {
        rig.host.netns.ip("neighbour flush all").unwrap();
        rig.host.netns.ip("neighbour flush dev uplink nud permanent").unwrap();
        assert!(rig.vm.pings(rig.far.address, 3), "an echo was lost while the kernel resolved");
    }
}

#[test]
fn tcp_super_frames_pass_both_ways() {
    for decap in ["device", "program"] {
        let rig = Rig::with(&format!("macs_max = 1000\ndecap = \"{decap}\"")).unwrap();
        let out = tcp_megabits(&rig.vm, &rig.far, Duration::from_millis(500)).unwrap();
        let back = tcp_megabits(&rig.far, &rig.vm, Duration::from_millis(500)).unwrap();
        // Without super-frames, or with broken ones that are sent again and again, it is below a tenth of this.
        assert!(out > 500.0 && back > 500.0, "decap {decap}: {out:.0} Mbit/s out, {back:.0} Mbit/s back");
        let shown = rig.agent.json(&["stats"]).unwrap();
        let master = shown.as_array().unwrap().iter().find(|row| row["verdict"] == "master").unwrap().clone();
        let mean = master["bytes"].as_u64().unwrap() / master["packets"].as_u64().unwrap();
        assert!(mean > 3000, "frames of {mean} bytes on average are no super-frames");
    }
}

#[test]
fn udp_passes_without_a_loss() {
    let rig = Rig::new().unwrap();
    let stream = Stream::start(&rig.vm, &rig.far, Duration::from_millis(1)).unwrap();
    wait_for("a thousand frames", SOON, || (rig.count(Verdict::Master) > 1000).then_some(())).unwrap();
    let report = stream.finish().unwrap();
    assert_eq!(report.received, report.sent);
}

#[test]
fn checksums_are_right_on_the_wire() {
    let rig = Rig::new().unwrap();
    // The receiving kernel verifies what a VM's device left for it to compute: UDP with a partial checksum.
    let receiver = rig.far.netns.within(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 9))).unwrap().unwrap();
    receiver.set_read_timeout(Some(SOON)).unwrap();
    rig.tor.uplink.set_offload("rx", false).unwrap();
    let sender = rig.vm.netns.within(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))).unwrap().unwrap();
    for length in [0, 1, 17, 512, 1400] {
        sender.send_to(&vec![7; length], (rig.far.address, 9)).unwrap();
        let mut buffer = [0; 2000];
        assert_eq!(receiver.recv(&mut buffer).unwrap(), length);
    }
}

#[test]
fn a_tagged_port_carries_one_network_per_vlan() {
    let rig = Rig::new().unwrap();
    let red = rig.tor.kernel_vtep(5002, &[rig.host.address]).unwrap();
    let (far_red, far_port) = Vm::new(&rig.tor.netns, "p4", 4).unwrap();
    far_port.set_bridge(&red).unwrap();
    let text = [
        network("blue", VNI, &["tor"]),
        network("red", 5002, &["tor"]),
        binding("p1", 0, "blue"),
        binding("p1", 100, "red"),
        mac("blue", &rig.far, "tor"),
        mac("red", &far_red, "tor"),
    ];
    rig.agent.write_table(&table(&[("tor", 11)], &text.concat())).unwrap();
    wait_for("both bindings", SOON, || {
        let rows = rig.agent.json(&["port", "show"]).ok()?;
        rows.as_array()?.iter().any(|row| row["vlan"] == 100 && row["attached"] == true).then_some(())
    })
    .unwrap();

    let (from, to) = (endpoint(&rig.vm), endpoint(&far_red));
    let vm = PacketSocket::bind(&rig.vm.eth0).unwrap();
    let station = PacketSocket::bind(&far_red.eth0).unwrap();
    let underlay = PacketSocket::leaving(&rig.host.uplink).unwrap();
    vm.send(&frame::udp_tagged(from, to, 100, b"tagged")).unwrap();
    let bare = frame::udp(from, to, b"tagged");
    let arrived = station.receive_where(SOON, |frame| frame == bare).unwrap();
    assert!(arrived.is_some(), "the frame came without the tag that chose its network");
    let outer = underlay.receive_where(SOON, |frame| frame.ends_with(b"tagged")).unwrap().unwrap();
    assert_ne!(outer[12..14], TPID, "a VM's tag is never on the underlay");
    assert_eq!(frame::decap(&outer).unwrap().0.vni, 5002);

    let to_vm = PacketSocket::leaving(&rig.port).unwrap();
    station.send(&frame::udp(to, from, b"back")).unwrap();
    let tagged = frame::udp_tagged(to, from, 100, b"back");
    assert!(to_vm.receive_where(SOON, |frame| frame == tagged).unwrap().is_some(), "the tag is put back");
    assert!(rig.vm.pings(rig.far.address, 10), "the untagged network of the port goes on");
}

#[test]
fn frames_of_an_unbound_vlan_are_dropped() {
    let rig = Rig::new().unwrap();
    // The program stands on the port before its bindings do, and drops what the VM sends meanwhile.
    let before = rig.count(Verdict::Unbound);
    let vm = PacketSocket::bind(&rig.vm.eth0).unwrap();
    vm.send(&frame::udp_tagged(endpoint(&rig.vm), endpoint(&rig.far), 7, b"")).unwrap();
    wait_for("the counter", SOON, || (rig.count(Verdict::Unbound) == before + 1).then_some(())).unwrap();
}

#[test]
fn jumbo_frames_pass_where_the_underlay_has_room() {
    let rig = Rig::new().unwrap();
    rig.fabric.set_mtu(9000).unwrap();
    for link in [&rig.host.uplink, &rig.tor.uplink, &rig.port] {
        link.set_mtu(9000).unwrap();
    }
    for link in [&rig.far_bridge, &Link::named(&rig.tor.netns, "vx-5001"), &Link::named(&rig.tor.netns, "p3")]
    {
        link.set_mtu(8950).unwrap();
    }
    for vm in [&rig.vm, &rig.far] {
        vm.eth0.set_mtu(8950).unwrap();
    }
    let jumbo = || rig.vm.pings_with("-M do -s 8900", rig.far.address, 10).then_some(());
    wait_for("ten jumbo echoes", SOON, jumbo).unwrap();
}

#[test]
fn a_vm_learns_the_mtu_of_the_path() {
    let rig = Rig::new().unwrap();
    rig.vm.eth0.set_mtu(1500).unwrap();
    let ping = format!("ping -n -q -M do -s 1472 -c 2 -i 0.01 -W 1 {}", rig.far.address);
    assert!(rig.vm.netns.run(&ping).is_err());
    assert_eq!(rig.count(Verdict::TooBigTold), 1, "the VM does not try a second time");
    let route = rig.vm.netns.ip(&format!("route get {}", rig.far.address)).unwrap();
    assert!(route.contains("mtu 1450"), "{route}");
    // TCP takes it too, with super-frames on the way.
    let fast = tcp_megabits(&rig.vm, &rig.far, Duration::from_millis(300)).unwrap();
    assert!(fast > 100.0, "{fast:.0} Mbit/s");
    let shown = rig.agent.json(&["port", "show"]).unwrap();
    let port = &shown.as_array().unwrap()[0];
    assert_eq!((&port["mtu"], &port["path_mtu"]), (&1500.into(), &1450.into()));
    let status = rig.agent.json(&["status"]).unwrap();
    assert!(status["alarms"].to_string().contains("mtu_too_big"), "{status}");
}

#[test]
fn a_vm_learns_the_mtu_of_an_ipv6_path_and_of_tcp_through_it() {
    let rig = Rig::new().unwrap();
    for (vm, last) in [(&rig.vm, 1), (&rig.far, 3)] {
        for conf in ["all", "default", "eth0"] {
            vm.netns.sysctl(&format!("net.ipv6.conf.{conf}.disable_ipv6"), "0").unwrap();
        }
        vm.netns.ip(&format!("address add 2001:db8::{last}/64 dev eth0 nodad")).unwrap();
    }
    rig.vm.eth0.set_mtu(1500).unwrap();
    let ping = "ping -6 -n -q -M do -s 1452 -c 2 -i 0.01 -W 1 2001:db8::3";
    wait_for("the answer of IPv6", SOON, || {
        rig.vm.netns.run("ping -6 -n -q -c 1 -W 1 2001:db8::3").is_ok().then_some(())
    })
    .unwrap();
    assert!(rig.vm.netns.run(ping).is_err());
    assert_eq!(rig.count(Verdict::TooBigTold), 1);
    let route = rig.vm.netns.ip("-6 route get 2001:db8::3").unwrap();
    assert!(route.contains("mtu 1450"), "{route}");
}

#[test]
fn two_networks_with_equal_macs_are_kept_apart() {
    let rig = Rig::new().unwrap();
    // The same MAC and address once more, behind another network's device of the same TOR.
    let green = rig.tor.kernel_vtep(5003, &[rig.host.address]).unwrap();
    let (twin, twin_port) = Vm::new(&rig.tor.netns, "p5", 3).unwrap();
    twin_port.set_bridge(&green).unwrap();
    let (other, _) = Vm::new(&rig.host.netns, "p2", 2).unwrap();
    let text = [
        network("blue", VNI, &["tor"]),
        network("green", 5003, &["tor"]),
        binding("p1", 0, "blue"),
        binding("p2", 0, "green"),
        mac("blue", &rig.far, "tor"),
        mac("green", &twin, "tor"),
    ];
    rig.agent.write_table(&table(&[("tor", 11)], &text.concat())).unwrap();
    wait_for("an echo in the second network", SOON, || other.pings(twin.address, 1).then_some(())).unwrap();
    let received = |vm: &Vm| vm.eth0.counters().unwrap().received_packets;
    let (before, twin_before) = (received(&rig.far), received(&twin));
    assert!(rig.vm.pings(rig.far.address, 50));
    assert!(received(&rig.far) >= before + 50);
    assert!(received(&twin) < twin_before + 5, "frames of one network reached the other's station");
}

#[test]
fn a_vtep_that_the_table_does_not_know_is_not_heard() {
    let mut rig = Rig::new().unwrap();
    // So that it does not ask once more whether the VM is there, which it has only seen ask.
    rig.far.eth0.add_neighbour(rig.vm.address, rig.vm.mac).unwrap();
    let stranger = rig.fabric.machine("stranger", 66).unwrap();
    let bridge = stranger.kernel_vtep(VNI, &[rig.host.address]).unwrap();
    let (intruder, port) = Vm::new(&stranger.netns, "p6", 6).unwrap();
    port.set_bridge(&bridge).unwrap();
    intruder.eth0.add_neighbour(rig.vm.address, rig.vm.mac).unwrap();
    let before = rig.vm.eth0.counters().unwrap().received_packets;
    assert!(!intruder.pings(rig.vm.address, 3));
    assert!(rig.count(Verdict::UnknownSender) >= 3);
    assert_eq!(rig.vm.eth0.counters().unwrap().received_packets, before);
}

#[test]
fn an_unknown_vni_is_counted_and_answered_by_nothing() {
    let rig = Rig::new().unwrap();
    let watched = PacketSocket::bind(&rig.tor.uplink).unwrap();
    let from = Endpoint { mac: rig.tor.uplink.mac().unwrap(), address: rig.tor.address, port: 50000 };
    let to = Endpoint { mac: rig.host.uplink.mac().unwrap(), address: rig.host.address, port: 4789 };
    let inner =
        frame::arp_request(Endpoint { mac: rig.far.mac, address: rig.far.address, port: 0 }, rig.vm.address);
    watched.send(&frame::vxlan(from, to, 4711, &inner)).unwrap();
    wait_for("the counter", SOON, || (rig.count(Verdict::UnknownVni) > 0).then_some(())).unwrap();
    assert!(rig.vm.pings(rig.far.address, 3), "and everything else goes on");
    let icmp = |frame: &[u8]| frame.get(12..14) == Some(&[8, 0]) && frame.get(23) == Some(&1);
    assert_eq!(watched.receive_all(QUIET, icmp).unwrap().len(), 0, "the host answered by ICMP");
}

#[test]
fn sixty_four_members_get_exactly_one_copy_each() {
    let rig = Rig::new().unwrap();
    let far = Endpoint { mac: MacAddr::new([2, 0, 0, 0, 0, 0x77]), address: rig.vm.address, port: 0 };
    let names: Vec<String> = (100..164).map(|number| format!("m{number}")).collect();
    let vteps: Vec<(&str, u8)> = names.iter().map(String::as_str).zip(100..164).collect();
    let members: Vec<&str> = names.iter().map(String::as_str).collect();
    let text = [network("blue", VNI, &members), binding("p1", 0, "blue")].concat();
    // The TOR answers for all of them; so they are resolved like any VTEP.
    for number in 100..164 {
        rig.tor.uplink.add_address(&format!("192.0.2.{number}/32")).unwrap();
    }
    rig.agent.write_table(&table(&vteps, &text)).unwrap();
    wait_for("64 resolved VTEPs", SOON, || {
        let rows = rig.agent.json(&["vtep", "show"]).ok()?;
        let resolved = rows.as_array()?.iter().filter(|row| row["resolved"] == true).count();
        (resolved == 64).then_some(())
    })
    .unwrap();
    let watched = PacketSocket::bind(&rig.tor.uplink).unwrap();
    let sender = PacketSocket::bind(&rig.vm.eth0).unwrap();
    let sent = frame::arp_request(far, rig.far.address);
    sender.send(&sent).unwrap();
    let mut copies = BTreeMap::new();
    for frame in watched.receive_all(QUIET, |_| true).unwrap() {
        match frame::decap(&frame) {
            Ok((outer, inner)) if inner == sent => *copies.entry(outer.to.address).or_insert(0) += 1,
            Ok(_) | Err(_) => {}
        }
    }
    assert_eq!(copies.len(), 64);
    assert!(copies.values().all(|&count| count == 1), "{copies:?}");
}

#[test]
fn a_port_that_is_deleted_and_made_anew_is_attached_again() {
    let rig = Rig::new().unwrap();
    let Rig { vm, port, .. } = &rig;
    port.delete().unwrap();
    wait_for("the agent's notice", SOON, || {
        let rows = rig.agent.json(&["port", "show"]).ok()?;
        rows.as_array()?.iter().any(|row| row["port"] == "p1" && row["attached"] == false).then_some(())
    })
    .unwrap();
    let (_, eth0) = Link::veth(&rig.host.netns, "p1", &vm.netns, "eth0").unwrap();
    eth0.set_mac(vm.mac).unwrap();
    eth0.set_mtu(1450).unwrap();
    eth0.add_address("10.1.0.1/24").unwrap();
    wait_for("an echo through the new port", SOON, || vm.pings(rig.far.address, 1).then_some(())).unwrap();
    assert!(vm.pings(rig.far.address, 10));
}

#[test]
fn a_vtep_that_moves_to_another_next_hop_is_followed() {
    let rig = Rig::new().unwrap();
    let mac = MacAddr::new([2, 0xcc, 0, 0, 0, 1]);
    rig.tor.uplink.set_mac(mac).unwrap();
    rig.host.uplink.add_neighbour(rig.tor.address, mac).unwrap();
    wait_for("the new next hop", SOON, || rig.vtep("tor").filter(|row| row["next_hop"] == mac.to_string()))
        .unwrap();
    assert!(rig.vm.pings(rig.far.address, 10));
}

#[test]
fn a_route_that_goes_and_comes_is_followed() {
    let rig = Rig::new().unwrap();
    rig.host.netns.ip("route del 192.0.2.0/24 dev uplink").unwrap();
    wait_for("the loss of the route", SOON, || rig.vtep("tor").filter(|row| row["routed"] == false)).unwrap();
    assert!(!rig.vm.pings(rig.far.address, 1));
    // A VTEP without a route is down: a slave would serve, and this MAC has none.
    assert!(rig.count(Verdict::BothDown) > 0);
    rig.host.netns.ip("route add 192.0.2.0/24 dev uplink src 192.0.2.1").unwrap();
    wait_for("an echo", SOON, || rig.vm.pings(rig.far.address, 1).then_some(())).unwrap();
}

#[test]
fn a_mac_that_moves_to_another_vtep_is_followed() {
    let mut rig = Rig::new().unwrap();
    let second = rig.fabric.machine("tor-b", 12).unwrap();
    let bridge = second.kernel_vtep(VNI, &[rig.host.address]).unwrap();
    let (moved, port) = Vm::new(&second.netns, "p3", 3).unwrap();
    port.set_bridge(&bridge).unwrap();
    let text =
        [network("blue", VNI, &["tor", "tor-b"]), binding("p1", 0, "blue"), mac("blue", &moved, "tor-b")];
    rig.agent.write_table(&table(&[("tor", 11), ("tor-b", 12)], &text.concat())).unwrap();
    wait_for("an echo from behind the second TOR", SOON, || {
        rig.vm.pings(moved.address, 1).then_some(())?;
        (moved.eth0.counters().ok()?.received_packets > 2).then_some(())
    })
    .unwrap();
    let before = rig.far.eth0.counters().unwrap().received_packets;
    assert!(rig.vm.pings(moved.address, 20));
    assert!(rig.far.eth0.counters().unwrap().received_packets < before + 5, "the first TOR still gets them");
}

#[test]
fn a_learnt_mac_is_reached_and_survives_a_restart_of_the_agent() {
    let mut rig = Rig::new().unwrap();
    let (second, _) = rig.second_vm().unwrap();
    wait_for("an echo from the second VM", SOON, || second.pings(rig.far.address, 1).then_some(())).unwrap();
    let learnt = |rig: &Rig| {
        let entry = rig.agent.json(&["fdb", "get", "5001", &second.mac.to_string()]).ok()?;
        (entry["learnt"] == true).then_some(())
    };
    wait_for("the learnt MAC", SOON, || learnt(&rig)).unwrap();
    assert!(rig.vm.pings(second.address, 10), "ports of one host reach each other");
    rig.agent.daemon().unwrap().kill().unwrap();
    assert!(rig.vm.pings(rig.far.address, 50), "frames pass without an agent");
    assert!(second.pings(rig.vm.address, 10));
    rig.agent.start().unwrap();
    wait_for("the learnt MAC after the restart", SOON, || learnt(&rig)).unwrap();
    assert!(rig.vm.pings(second.address, 10));
}

#[test]
fn a_restart_of_the_agent_loses_no_frame() {
    let mut rig = Rig::new().unwrap();
    let stream = Stream::start(&rig.vm, &rig.far, Duration::from_millis(1)).unwrap();
    for _ in 0..3 {
        rig.agent.daemon().unwrap().kill().unwrap();
        rig.agent.start().unwrap();
    }
    rig.agent.daemon().unwrap().terminate(SOON).unwrap();
    let report = stream.finish().unwrap();
    assert_eq!(report.received, report.sent, "of {} frames", report.sent);
    assert!(report.sent > 100);
    assert!(rig.vm.pings(rig.far.address, 10), "SIGTERM leaves the dataplane forwarding");
}

fn endpoint(vm: &Vm) -> Endpoint {
    Endpoint { mac: vm.mac, address: vm.address, port: 7001 }
}
