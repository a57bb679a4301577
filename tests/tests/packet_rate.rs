//! Packet-rate mode from end to end: XDP on a port and on the uplink, the kernel's own VXLAN device as the far end.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use serde_json::Value;
use vtep_abi::Verdict;
use vtep_tests::{
    deadline::wait_for,
    frame::{self, Endpoint},
    lab::{
        Stream, Vm,
        rig::{Rig, SOON, binding},
        tcp_megabits,
    },
    link::Link,
    packet::PacketSocket,
};

/// Echoes and their answers, and more than that.
const ECHOES: u32 = 50;

#[test]
fn unicast_is_redirected_by_xdp_both_ways_and_all_else_passes_as_before() {
    let mut rig = prepared();
    switch_on(&mut rig);
    wait_for("packet-rate mode", SOON, || (port(&rig)["packet_rate"] == "on").then_some(())).unwrap();
    let unseen = port(&rig)["packet_rate_unseen"].to_string();
    assert!(unseen.contains("another network namespace") && unseen.contains("ethtool"), "{unseen}");
    assert_eq!(port(&rig)["decap"], "xdp");
    assert_eq!(alarms(&rig), Vec::<String>::new());

    let uplink = rig.host.uplink.clone();
    let (out, back) = (redirected(&rig.port), redirected(&uplink));
    assert!(rig.vm.pings(rig.far.address, ECHOES));
    assert!(rig.far.pings(rig.vm.address, ECHOES));
    let (out, back) = (redirected(&rig.port) - out, redirected(&uplink) - back);
    assert!(out >= 2 * u64::from(ECHOES), "{out} frames out by XDP");
    assert!(back >= 2 * u64::from(ECHOES), "{back} frames in by XDP");

    let stream = Stream::start(&rig.vm, &rig.far, Duration::from_millis(1)).unwrap();
    wait_for("datagrams", SOON, || (stream.received() > 500).then_some(())).unwrap();
    let report = stream.finish().unwrap();
    assert_eq!(report.received, report.sent);

    // Floods, ARP among them, and next hops that are unresolved, go by way of TC.
    let flooded = rig.count(Verdict::Flooded);
    for vm in [&rig.vm, &rig.far] {
        vm.netns.ip("neighbour flush all").unwrap();
    }
    rig.host.netns.ip("neighbour flush all").unwrap();
    assert!(rig.vm.pings(rig.far.address, 5) && rig.far.pings(rig.vm.address, 5));
    assert!(rig.count(Verdict::Flooded) > flooded);
    assert!(tcp_megabits(&rig.vm, &rig.far, Duration::from_millis(300)).unwrap() > 1.0);
    assert!(tcp_megabits(&rig.far, &rig.vm, Duration::from_millis(300)).unwrap() > 1.0);

    rig.agent.reconfigure(|text| text.replace("packet_rate = true", "packet_rate = false")).unwrap();
    reload(&mut rig);
    wait_for("TC alone at the port", SOON, || port(&rig)["packet_rate"].is_null().then_some(())).unwrap();
    assert_eq!(port(&rig)["decap"], "program");
    let shown = rig.host.netns.ip("-d link show dev p1").unwrap();
    assert!(!shown.contains("prog/xdp"), "{shown}");
    assert!(rig.vm.pings(rig.far.address, 10) && rig.far.pings(rig.vm.address, 10));
}

/// The frames that XDP redirects, outer headers and all, as they left and as they came.
#[test]
fn a_capture_sees_what_xdp_redirects() {
    let mut rig = prepared();
    switch_on(&mut rig);
    wait_for("packet-rate mode", SOON, || (port(&rig)["packet_rate"] == "on").then_some(())).unwrap();
    let file = rig.agent.folder().join("xdp.pcapng");
    let (far, uplink) = (rig.far.address, rig.host.uplink.clone());
    let (out, back) = (redirected(&rig.port), redirected(&uplink));
    let words = ["capture", "--count", "60", "--seconds", "20", "-w", file.to_str().unwrap()];
    let said = std::thread::scope(|scope| {
        let capture = scope.spawn(|| rig.agent.command(&words).unwrap());
        while !capture.is_finished() {
            assert!(rig.vm.pings(far, 10));
        }
        capture.join().unwrap()
    });
    assert!(said.status.success(), "{said:?}");
    assert!(redirected(&rig.port) > out && redirected(&uplink) > back);
    let fields = ["-e", "frame.comment", "-e", "vxlan.vni", "-e", "icmp.type"];
    let mut tshark = std::process::Command::new("tshark");
    tshark.arg("-r").arg(&file).args(["-T", "fields", "-E", "separator=|"]).args(fields);
    let read = String::from_utf8(tshark.output().unwrap().stdout).unwrap();
    let has = |verdict: &str, kind: &str| {
        let mut frames = read.lines().map(|line| line.split('|').collect::<Vec<_>>());
        frames.any(|frame| frame[0].starts_with(verdict) && !frame[1].is_empty() && frame[2] == kind)
    };
    assert!(has("master", "8"), "no request in a tunnel: {read}");
    assert!(has("delivered", "0"), "no answer in a tunnel: {read}");
}

/// Where XDP would take a frame for untagged whose tag the veth keeps beside it.
#[test]
fn a_veth_with_bindings_of_vlans_stays_with_tc() {
    let mut rig = prepared();
    let blue = binding("p1", 0, "blue");
    let text = std::fs::read_to_string(rig.agent.table_path()).unwrap();
    rig.agent.write_table(&text.replace(&blue, &binding("p1", 100, "blue"))).unwrap();
    switch_on(&mut rig);
    wait_for("the reason", SOON, || port(&rig)["packet_rate"].as_str()?.contains("VLANs").then_some(()))
        .unwrap();
    let end = |vm: &Vm| Endpoint { mac: vm.mac, address: vm.address, port: 7000 };
    let tagged = frame::udp_tagged(end(&rig.vm), end(&rig.far), 100, b"payload");
    let socket = PacketSocket::bind(&rig.vm.eth0).unwrap();
    let before = rig.count(Verdict::Master);
    for _ in 0..20 {
        socket.send(&tagged).unwrap();
    }
    wait_for("the frames", SOON, || (rig.count(Verdict::Master) >= before + 20).then_some(())).unwrap();
    let shown = rig.host.netns.ip("-d link show dev p1").unwrap();
    assert!(!shown.contains("prog/xdp"), "{shown}");
}

#[test]
fn jumbo_frames_pass_whole_through_xdp() {
    let mut rig = prepared();
    for link in [&rig.host.uplink, &rig.tor.uplink, &rig.port, &rig.far_bridge] {
        link.set_mtu(9000).unwrap();
    }
    rig.fabric.set_mtu(9000).unwrap();
    for link in rig.tor.netns.ip("-br link").unwrap().lines() {
        let name = link.split(['@', ' ']).next().unwrap();
        if name.starts_with("vx-") || name == "p3" {
            Link::named(&rig.tor.netns, name).set_mtu(8950).unwrap();
        }
    }
    for vm in [&rig.vm, &rig.far] {
        vm.eth0.set_mtu(8900).unwrap();
    }
    switch_on(&mut rig);
    wait_for("packet-rate mode", SOON, || (port(&rig)["packet_rate"] == "on").then_some(())).unwrap();
    let uplink = rig.host.uplink.clone();
    wait_for("the path's new MTU", SOON, || (rig.vtep("tor")?["mtu"].as_u64()? == 9000).then_some(()))
        .unwrap();
    let (out, back) = (redirected(&rig.port), redirected(&uplink));
    assert!(rig.vm.pings_with("-M do -s 8800", rig.far.address, 10));
    assert!(redirected(&rig.port) - out >= 10, "out by XDP");
    assert!(redirected(&uplink) - back >= 10, "in by XDP");
}

#[test]
fn a_veth_whose_other_end_has_no_napi_loses_nothing_and_says_so() {
    let mut rig = prepared();
    rig.vm.eth0.set_offload("gro", false).unwrap();
    switch_on(&mut rig);
    let shown = wait_for("the reason", SOON, || {
        let shown = port(&rig)["packet_rate"].as_str()?.to_owned();
        shown.contains("no NAPI").then_some(shown)
    })
    .unwrap();
    assert!(shown.contains("GRO"), "{shown}");
    assert!(alarms(&rig).iter().any(|alarm| alarm.contains("no NAPI")), "{:?}", alarms(&rig));
    assert!(rig.far.pings(rig.vm.address, ECHOES), "frames to it go by way of TC");

    // The kernel tells when that changes.
    let back = redirected(&rig.host.uplink);
    rig.vm.eth0.set_offload("gro", true).unwrap();
    wait_for("packet-rate mode", SOON, || (port(&rig)["packet_rate"] == "on").then_some(())).unwrap();
    assert!(rig.far.pings(rig.vm.address, ECHOES));
    assert!(redirected(&rig.host.uplink) - back >= u64::from(ECHOES));
    rig.vm.eth0.set_offload("gro", false).unwrap();
    wait_for("the reason", SOON, || port(&rig)["packet_rate"].as_str()?.contains("no NAPI").then_some(()))
        .unwrap();
    assert!(rig.far.pings(rig.vm.address, ECHOES));
}

#[test]
fn checksums_that_a_vm_leaves_to_its_device_are_right_all_the_same() {
    let mut rig = prepared();
    for vm in [&rig.vm, &rig.far] {
        vm.eth0.set_offload("tx", true).unwrap();
    }
    switch_on(&mut rig);
    wait_for("packet-rate mode", SOON, || (port(&rig)["packet_rate"] == "on").then_some(())).unwrap();
    // The receiving kernels verify them.
    for (from, to) in [(&rig.vm, &rig.far), (&rig.far, &rig.vm)] {
        let stream = Stream::start(from, to, Duration::from_millis(1)).unwrap();
        wait_for("datagrams", SOON, || (stream.received() > 200).then_some(())).unwrap();
        let report = stream.finish().unwrap();
        assert_eq!(report.received, report.sent);
    }
}

#[test]
fn a_port_with_offloads_on_is_refused_with_the_reason() {
    let mut rig = prepared();
    let netns = &rig.host.netns;
    netns.ip("link add p2 type veth peer name p2-vm").unwrap();
    for name in ["p2", "p2-vm"] {
        Link::named(netns, name).up().unwrap();
    }
    rig.agent.reconfigure(|text| text.replace("learn = true", "learn = true\npacket_rate = true")).unwrap();
    reload(&mut rig);
    let wanted = "tx-checksum-ip-generic";
    wait_for("the alarm", SOON, || alarms(&rig).iter().any(|alarm| alarm.contains(wanted)).then_some(()))
        .unwrap();
    let checked = rig
        .host
        .netns
        .command(&vtep_tests::process::binary("vtep-agent").unwrap().display().to_string())
        .args(["check", "--config"])
        .arg(rig.agent.config_path())
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(printed.contains("failed  packet-rate mode of p2") && printed.contains(wanted), "{printed}");
    assert!(rig.vm.pings(rig.far.address, 5), "others are not touched");

    Link::named(&rig.host.netns, "p2-vm").set_offload("tx", false).unwrap();
    reload(&mut rig);
    wait_for("no alarm", SOON, || (!alarms(&rig).iter().any(|alarm| alarm.contains(wanted))).then_some(()))
        .unwrap();
}

/// VMs whose offloads are off, and NAPI wherever frames are redirected to.
fn prepared() -> Rig {
    let rig = Rig::new().unwrap();
    for vm in [&rig.vm, &rig.far] {
        vm.eth0.set_offload("tx", false).unwrap();
        vm.eth0.set_offload("gro", true).unwrap();
    }
    rig.fabric.set_offload("gro", true).unwrap();
    rig
}

fn switch_on(rig: &mut Rig) {
    let edit = |text: String| {
        text.replace("uplinks = [\"uplink\"]", "uplinks = [\"uplink\"]\npacket_rate = [\"uplink\"]")
            .replace("name = \"p1\"", "name = \"p1\"\npacket_rate = true")
    };
    rig.agent.reconfigure(edit).unwrap();
    reload(rig);
}

fn reload(rig: &mut Rig) {
    rig.agent.daemon().unwrap().signal(nix::sys::signal::Signal::SIGHUP).unwrap();
}

fn port(rig: &Rig) -> Value {
    rig.agent.json(&["port", "show"]).unwrap()[0].clone()
}

fn alarms(rig: &Rig) -> Vec<String> {
    let status = rig.agent.json(&["status"]).unwrap();
    let status = status.get(0).unwrap_or(&status);
    let alarms = status["alarms"].as_array().unwrap().iter();
    alarms.filter(|alarm| alarm["kind"] == "packet_rate").map(|alarm| alarm["message"].to_string()).collect()
}

fn redirected(link: &Link) -> u64 {
    link.redirected_by_xdp().unwrap()
}
