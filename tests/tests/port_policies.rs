//! What a port's host does for it and against it: answers to ARP and neighbour discovery, and the addresses that it may
//! send from, with the kernel's own stacks as VMs.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use vtep_abi::Verdict;
use vtep_tests::{
    deadline::wait_for,
    frame::{self, Endpoint},
    lab::{
        Vm,
        rig::{Rig, SOON, VNI, binding, mac, network, table},
    },
    packet::PacketSocket,
};

/// After this long without a frame no more is expected.
const QUIET: Duration = Duration::from_millis(300);

const SUPPRESS: &str = "macs_max = 1000\n[[network]]\nsuppress = true";

/// The far VM's addresses stand in the table, and the near one has asked for one of them.
fn rig_that_knows() -> Rig {
    let rig = Rig::with(SUPPRESS).unwrap();
    let text = [
        network("blue", VNI, &["tor"]),
        binding("p1", 0, "blue"),
        mac("blue", &rig.far, "tor"),
        format!("ips = [\"{}\", \"2001:db8::3\"]\n", rig.far.address),
    ];
    rig.agent.write_table(&table(&[("tor", 11)], &text.concat())).unwrap();
    let known = || {
        rig.vm.netns.ip("neighbour flush all").ok()?;
        rig.vm.pings(rig.far.address, 1);
        neighbours(&rig).filter(|count| *count == 3)
    };
    wait_for("known neighbours", SOON, known).unwrap();
    rig
}

fn neighbours(rig: &Rig) -> Option<u64> {
    let rows = rig.agent.json(&["vni", "show"]).ok()?;
    rows.as_array()?.iter().find(|row| row["vni"] == VNI)?["neighbours"].as_u64()
}

fn is_arp_request(inner: &[u8]) -> bool {
    inner.get(12..14) == Some(&[8, 6]) && inner.get(20..22) == Some(&[0, 1])
}

#[test]
fn arp_and_neighbour_discovery_for_known_addresses_stay_on_the_host() {
    let rig = rig_that_knows();
    for (vm, last) in [(&rig.vm, 1), (&rig.far, 3)] {
        for conf in ["all", "default", "eth0"] {
            vm.netns.sysctl(&format!("net.ipv6.conf.{conf}.disable_ipv6"), "0").unwrap();
        }
        vm.netns.ip(&format!("address add 2001:db8::{last}/64 dev eth0 nodad")).unwrap();
    }
    let underlay = PacketSocket::leaving(&rig.host.uplink).unwrap();
    rig.vm.netns.ip("neighbour flush all").unwrap();
    let before = rig.count(Verdict::Answered);
    assert!(rig.vm.pings(rig.far.address, 3));
    assert_eq!(rig.count(Verdict::Answered), before + 1);
    let requests = underlay
        .receive_all(QUIET, |frame| frame::decap(frame).is_ok_and(|(_, inner)| is_arp_request(&inner)));
    assert_eq!(requests.unwrap().len(), 0);

    let ping = "ping -6 -n -q -c 3 -i 0.01 -W 1 2001:db8::3";
    wait_for("echoes over IPv6", SOON, || rig.vm.netns.run(ping).is_ok().then_some(())).unwrap();
    let neighbour = rig.vm.netns.ip("-6 neighbour show 2001:db8::3").unwrap();
    assert!(neighbour.contains(&rig.far.mac.to_string()), "{neighbour}");
    assert!(rig.count(Verdict::Answered) > before + 1);
    assert_eq!(rig.count(Verdict::LocalSource), 0);
}

#[test]
fn an_address_that_moves_is_answered_for_no_more() {
    let rig = rig_that_knows();
    let station = PacketSocket::bind(&rig.far.eth0).unwrap();
    let other = Endpoint { mac: "02:00:00:00:00:77".parse().unwrap(), address: rig.far.address, port: 0 };
    let arrived = PacketSocket::leaving(&rig.port).unwrap();
    let gratuitous = frame::arp_request(other, other.address);
    station.send(&gratuitous).unwrap();
    assert!(arrived.receive_where(SOON, |frame| frame == gratuitous).unwrap().is_some(), "all ports hear it");
    wait_for("the doubt", SOON, || neighbours(&rig).filter(|count| *count == 2)).unwrap();
    let before = rig.count(Verdict::Answered);
    rig.vm.netns.ip("neighbour flush all").unwrap();
    assert!(rig.vm.pings(rig.far.address, 1), "the station answers for itself");
    assert_eq!(rig.count(Verdict::Answered), before);
    // It takes the address back.
    let own = Endpoint { mac: rig.far.mac, ..other };
    station.send(&frame::arp_request(own, own.address)).unwrap();
    wait_for("the end of the doubt", SOON, || neighbours(&rig).filter(|count| *count == 3)).unwrap();
}

#[test]
fn a_vm_that_takes_anothers_address_is_not_heard_and_shown() {
    let mut rig = Rig::new().unwrap();
    rig.agent
        .reconfigure(|text| {
            text.replacen(
                "name = \"p1\"",
                "name = \"p1\"\nenforce_macs = true\nallowed_ips = [\"10.1.0.1\"]",
                1,
            )
        })
        .unwrap();
    rig.agent.daemon().unwrap().kill().unwrap();
    rig.agent.start().unwrap();
    // Until it has read the table, the programs go by what the one before it wrote.
    wait_for("the new policies", SOON, || (rig.agent.json(&["status"]).ok()?["ready"] == true).then_some(()))
        .unwrap();
    let refused = |rig: &Rig| Some(rig.agent.row(&["port", "show", "p1"])?["refused_source"].clone());
    wait_for("an echo", SOON, || rig.vm.pings(rig.far.address, 1).then_some(())).unwrap();
    assert!(rig.vm.pings(rig.far.address, 5));
    let vm = PacketSocket::bind(&rig.vm.eth0).unwrap();
    let far = PacketSocket::bind(&rig.far.eth0).unwrap();
    let (own, to) = (endpoint(&rig.vm), endpoint(&rig.far));
    let thief = Endpoint { address: [10, 1, 0, 9].into(), ..own };
    vm.send(&frame::udp(thief, to, b"another's address")).unwrap();
    wait_for("the counter", SOON, || (rig.count(Verdict::IpRefused) >= 1).then_some(())).unwrap();
    wait_for("the address", SOON, || refused(&rig)?.as_str()?.contains("10.1.0.9").then_some(())).unwrap();
    let masked = Endpoint { mac: "02:00:00:00:00:99".parse().unwrap(), ..own };
    vm.send(&frame::udp(masked, to, b"another's address")).unwrap();
    wait_for("the MAC", SOON, || refused(&rig)?.as_str()?.contains("02:00:00:00:00:99").then_some(()))
        .unwrap();
    assert_eq!(rig.count(Verdict::MacRefused), 1);
    let arrived = far.receive_all(QUIET, |frame| frame.ends_with(b"another's address")).unwrap();
    assert_eq!(arrived.len(), 0);
}

fn endpoint(vm: &Vm) -> Endpoint {
    Endpoint { mac: vm.mac, address: vm.address, port: 7001 }
}
