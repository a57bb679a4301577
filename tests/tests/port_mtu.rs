//! Frames for a port of this host that is smaller than where they come from, beside a bridge of the kernel's.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use serde_json::Value;
use vtep_abi::Verdict;
use vtep_tests::{
    deadline::wait_for,
    frame::{self, Endpoint},
    lab::{
        Vm,
        rig::{Rig, SOON},
        tcp_megabits,
    },
    link::Link,
    netns::Netns,
    packet::PacketSocket,
};

const LARGE: u32 = 9000;
const SMALL: u32 = 1500;

/// VM 2 behind port `p2`, as large inside as everything else is.
struct Two {
    rig: Rig,
    other: Vm,
    port: Link,
}

impl Two {
    fn new() -> Self {
        let rig = Rig::new().unwrap();
        let (other, port) = rig.second_vm().unwrap();
        for link in [&rig.vm.eth0, &rig.port, &other.eth0, &port] {
            link.set_mtu(LARGE).unwrap();
        }
        wait_for("an echo between ports", SOON, || rig.vm.pings(other.address, 1).then_some(())).unwrap();
        Self { rig, other, port }
    }

    fn too_big(&self) -> u64 {
        let rows = self.rig.agent.json(&["port", "show", "p2"]).unwrap();
        rows[0]["too_big"].as_u64().unwrap()
    }

    /// Whether the agent has heard of it at both ports.
    fn is_known_to_be(&self, mtu: u32) -> bool {
        let rows = self.rig.agent.json(&["port", "show"]).unwrap();
        rows.as_array().unwrap().iter().all(|row| row["mtu"] == mtu)
    }

    fn alarms(&self) -> Vec<Value> {
        let status = self.rig.agent.json(&["status"]).unwrap();
        let alarms = status["alarms"].as_array().unwrap().iter();
        alarms.filter(|alarm| alarm["kind"] == "mtu_differs").cloned().collect()
    }

    fn pings(&self, payload: u32) -> bool {
        let ping = format!("ping -n -q -M do -s {payload} -c 1 -W 1 {}", self.other.address);
        self.rig.vm.netns.run(&ping).is_ok()
    }
}

/// Lengths, of some around what fits, with which frames arrive.
fn arriving(from: &Vm, to: &Vm) -> Vec<usize> {
    const HEADERS: usize = 14 + 20 + 8;
    let end = |vm: &Vm| Endpoint { mac: vm.mac, address: vm.address, port: 7001 };
    let (sender, receiver) = (PacketSocket::bind(&from.eth0).unwrap(), PacketSocket::bind(&to.eth0).unwrap());
    let marked = |len: usize| frame::udp(end(from), end(to), &vec![0xa5; len - HEADERS]);
    for len in (1510..1525).chain([100]) {
        sender.send(&marked(len)).unwrap();
    }
    let mut arrived = Vec::new();
    loop {
        let frame = receiver.receive_where(SOON, |frame| frame.ends_with(&[0xa5; 58])).unwrap().unwrap();
        if frame.len() == 100 {
            return arrived;
        }
        arrived.push(frame.len());
    }
}

#[test]
fn a_port_takes_what_a_bridges_port_takes() {
    let two = Two::new();
    two.port.set_mtu(SMALL).unwrap();
    wait_for("the alarm", SOON, || (two.alarms().len() == 1).then_some(())).unwrap();

    let host = Netns::new("bridge").unwrap();
    let bridge = Link::bridge(&host, "br0").unwrap();
    let vms = [("p1", 1, LARGE), ("p2", 2, SMALL)].map(|(name, number, mtu)| {
        let (vm, port) = Vm::new(&host, name, number).unwrap();
        vm.eth0.set_mtu(LARGE).unwrap();
        port.set_mtu(mtu).unwrap();
        port.set_bridge(&bridge).unwrap();
        vm
    });
    wait_for("an echo by the bridge", SOON, || vms[0].pings(vms[1].address, 1).then_some(())).unwrap();

    let before = two.too_big();
    let expected = arriving(&vms[0], &vms[1]);
    assert_eq!(expected.last(), Some(&1514));
    assert_eq!(arriving(&two.rig.vm, &two.other), expected);
    let kept_back = 1525 - 1515;
    assert_eq!(two.too_big() - before, kept_back);
    assert_eq!(two.rig.count(Verdict::PortMtu) + two.rig.count(Verdict::PortMtuTold), kept_back);
}

#[test]
fn a_vm_learns_the_mtu_of_another_port_and_when_it_grows() {
    let two = Two::new();
    wait_for("ports of one MTU", SOON, || {
        (two.is_known_to_be(LARGE) && two.alarms().is_empty()).then_some(())
    })
    .unwrap();
    assert!(two.pings(1600));
    two.port.set_mtu(SMALL).unwrap();
    wait_for("the alarm", SOON, || (two.alarms().len() == 1).then_some(())).unwrap();
    let alarm = &two.alarms()[0];
    assert_eq!(alarm["subject"], "blue");
    let message = alarm["message"].as_str().unwrap();
    assert!(message.contains("p2 is 1500") && message.contains("p1 is 9000"), "{message}");

    assert!(!two.pings(1600));
    assert_eq!(two.rig.count(Verdict::PortMtuTold), 1, "the VM does not try a second time");
    let route = || two.rig.vm.netns.ip(&format!("route get {}", two.other.address)).unwrap();
    assert!(route().contains("mtu 1500"), "{}", route());
    two.rig.vm.netns.ip("route flush cache").unwrap();
    // Segments of 9000 bytes, in super-frames.
    let fast = tcp_megabits(&two.rig.vm, &two.other, Duration::from_millis(300)).unwrap();
    assert!(fast > 100.0, "{fast:.0} Mbit/s");
    assert!(two.rig.count(Verdict::PortMtuTold) > 1, "TCP was told, too");
    assert!(route().contains("mtu 1500"), "{}", route());

    two.port.set_mtu(LARGE).unwrap();
    wait_for("the alarm's end", SOON, || two.alarms().is_empty().then_some(())).unwrap();
    two.rig.vm.netns.ip("route flush cache").unwrap();
    wait_for("a large echo", SOON, || two.pings(1600).then_some(())).unwrap();
}
