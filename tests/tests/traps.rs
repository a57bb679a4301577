//! Traps of `docs/traps.md` that no other file is about.

use std::{fs, path::Path, time::Duration};

use vtep_abi::Verdict;
use vtep_api::MacAddr;
use vtep_tests::{
    deadline::wait_for,
    frame::{self, Endpoint},
    lab::{
        Vm,
        rig::{Rig, SOON, VNI, binding, mac, network, table},
        tcp_megabits,
    },
    link::{Link, Vxlan},
    packet::PacketSocket,
};

/// After this long without a frame no more is expected.
const QUIET: Duration = Duration::from_millis(300);

/// `bpf_skb_adjust_room` refuses a frame that is encapsulated and waits for segmentation (`EALREADY`).
#[test]
fn a_vms_own_vxlan_with_offloads_is_wrapped_once_more() {
    let rig = Rig::new().unwrap();
    let [one, other] = [(&rig.vm, &rig.far, 1), (&rig.far, &rig.vm, 3)].map(|(from, to, number)| {
        let options = format!("remote {} dev eth0", to.address).leak();
        let own = Vxlan { options, learning: false, ..Vxlan::new(77, from.address) };
        let own = Link::vxlan(&from.netns, "own", &own).unwrap();
        own.add_address(&format!("10.9.0.{number}/24")).unwrap();
        let (mac, netns) = (own.mac().unwrap(), from.netns.clone());
        Vm { netns, eth0: own, mac, address: [10, 9, 0, number].into() }
    });
    let before = rig.count(Verdict::Device);
    assert!(one.pings(other.address, 3));
    for (from, to) in [(&one, &other), (&other, &one)] {
        let reached = tcp_megabits(from, to, Duration::from_millis(500)).unwrap();
        assert!(reached > 50.0, "{reached:.0} Mbit/s: super-frames are sent again and again");
    }
    assert!(rig.count(Verdict::Device) > before, "no frame needed the kernel's tunnel device");
    assert_eq!(rig.count(Verdict::EncapFailed), 0);
}

/// Both packets share their bytes then, and the programs write into theirs (`bpf_unclone_prologue` of the kernel's
/// `net/core/filter.c`).
#[test]
fn a_frame_that_a_packet_socket_has_too_is_seen_as_it_came() {
    for decap in ["device", "program"] {
        let rig = Rig::with(&format!("macs_max = 1000\ndecap = \"{decap}\"")).unwrap();
        let [vm, far] = [&rig.vm, &rig.far].map(|vm| PacketSocket::bind(&vm.eth0).unwrap());
        let [at_port, at_uplink] =
            [&rig.port, &rig.host.uplink].map(|link| PacketSocket::bind(link).unwrap());
        let from_tor = PacketSocket::leaving(&rig.tor.uplink).unwrap();
        let sent = [Verdict::Master, Verdict::Flooded].map(|verdict| rig.count(verdict));
        for to in [rig.far.mac, MacAddr::BROADCAST] {
            let inner = frame::udp(end(&rig.vm), Endpoint { mac: to, ..end(&rig.far) }, b"seen going out");
            vm.send(&inner).unwrap();
            let is_it = |frame: &[u8]| frame == inner;
            let seen = at_port.receive_where(SOON, |frame| frame.ends_with(b"seen going out")).unwrap();
            assert_eq!(seen.as_ref(), Some(&inner), "decap {decap}, to {to}");
            assert!(far.receive_where(SOON, is_it).unwrap().is_some(), "decap {decap}, to {to}");
        }
        let after = [Verdict::Master, Verdict::Flooded].map(|verdict| rig.count(verdict));
        assert!(after[0] > sent[0] && after[1] > sent[1], "{sent:?}, then {after:?}");
        for to in [rig.vm.mac, MacAddr::BROADCAST] {
            let inner = frame::udp(end(&rig.far), Endpoint { mac: to, ..end(&rig.vm) }, b"seen coming in");
            far.send(&inner).unwrap();
            let [outer, seen] = [&from_tor, &at_uplink].map(|socket| {
                socket.receive_where(SOON, |frame| frame.ends_with(b"seen coming in")).unwrap().unwrap()
            });
            assert_eq!(seen, outer, "decap {decap}, to {to}");
            assert!(
                vm.receive_where(SOON, |frame| frame == inner).unwrap().is_some(),
                "decap {decap}, to {to}"
            );
        }
    }
}

/// Addressed as the host's own: to its VTEP, of a network that it has.
#[test]
fn a_vms_vxlan_to_the_hosts_address_stays_in_its_network() {
    let rig = Rig::new().unwrap();
    let (other, other_port) = Vm::new(&rig.host.netns, "p2", 2).unwrap();
    let text = [
        network("blue", VNI, &["tor"]),
        network("red", 5002, &["tor"]),
        binding("p1", 0, "blue"),
        binding("p2", 0, "red"),
        mac("blue", &rig.far, "tor"),
    ];
    rig.agent.write_table(&table(&[("tor", 11)], &text.concat())).unwrap();
    wait_for("the second binding", SOON, || {
        let rows = rig.agent.json(&["port", "show", "p2"]).ok()?;
        rows.as_array()?.iter().any(|row| row["attached"] == true && row["vni"] == 5002).then_some(())
    })
    .unwrap();
    let vm = PacketSocket::bind(&rig.vm.eth0).unwrap();
    let underlay = PacketSocket::leaving(&rig.host.uplink).unwrap();
    let red = PacketSocket::leaving(&other_port).unwrap();
    let inner = frame::udp(end(&rig.far), end(&other), b"out of its network");
    // As the TOR would send it, in its name.
    let tor = Endpoint { mac: rig.vm.mac, address: rig.tor.address, port: 50_000 };
    for to in [rig.far.mac, rig.port.mac().unwrap(), rig.host.uplink.mac().unwrap(), MacAddr::BROADCAST] {
        let host = Endpoint { mac: to, address: rig.host.address, port: 4789 };
        let sent = frame::vxlan(tor, host, 5002, &inner);
        vm.send(&sent).unwrap();
        let left = underlay.receive_all(QUIET, |frame| frame.ends_with(b"out of its network")).unwrap();
        assert_eq!(left.len(), 1, "to {to}");
        let (outer, carried) = frame::decap(&left[0]).unwrap();
        assert_eq!((outer.vni, carried), (VNI, sent), "to {to}");
        let arrived = red.receive_all(QUIET, |frame| frame.ends_with(b"out of its network")).unwrap();
        assert_eq!(arrived.len(), 0, "to {to}: it came into another network");
    }
}

#[test]
fn every_trap_names_tests_that_there_are() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let traps = fs::read_to_string(root.join("docs/traps.md")).unwrap();
    let rows: Vec<_> =
        traps.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| trap")).collect();
    assert!(rows.len() > 30, "{} traps", rows.len());
    for row in rows {
        // Every other piece is between backticks.
        let named = row.split('`').skip(1).step_by(2).filter_map(|token| token.split_once("::"));
        let mut found = 0;
        for (file, name) in named {
            let sources =
                ["tests/tests", "agent/tests"].map(|folder| root.join(folder).join(format!("{file}.rs")));
            let mut sources = sources.iter().filter_map(|path| fs::read_to_string(path).ok());
            assert!(
                sources.any(|source| source.contains(&format!("fn {name}("))),
                "there is no test {file}::{name}"
            );
            found += 1;
        }
        assert!(found > 0, "no test notices this: {row}");
    }
}

fn end(vm: &Vm) -> Endpoint {
    Endpoint { mac: vm.mac, address: vm.address, port: 7001 }
}
