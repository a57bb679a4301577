//! Every frame that comes to a program is counted once: over live traffic of chance, what interfaces and the kernel count
//! and what the agent shows are the same numbers. `tests/model.rs` has the same by test-run, frame by frame.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use vtep_abi::Verdict;
use vtep_tests::{
    deadline::wait_for,
    frame::{self, Endpoint},
    fuzz,
    lab::rig::{Rig, SOON, VNI},
    link::Link,
    packet::PacketSocket,
};

const FRAMES: usize = 3000;

/// What was counted at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Sums {
    /// By the kernel, at the three interfaces that have our programs.
    arrived: u64,
    /// What left the port.
    delivered: u64,
    /// By the agent.
    verdicts: u64,
    to_port: u64,
    to_vteps: u64,
    sent: u64,
    /// At the port, by the kernel; by the agent, those that no binding let in, the others, and of these what was dropped.
    from_vm: u64,
    unbound: u64,
    from_port: u64,
    dropped: u64,
    sent_to_port: u64,
}

#[test]
fn counters_of_live_traffic_agree() {
    for decap in ["device", "program"] {
        let rig = Rig::with(&format!("macs_max = 1000\ndecap = \"{decap}\"")).unwrap();
        let before = settled(&rig);
        let seed = rand::random();
        println!("seed {seed}, decap {decap}");
        let stations = [rig.vm.mac.octets(), rig.far.mac.octets(), [0xff; 6], [2, 0, 0, 0, 0, 77]];
        let from_vm = PacketSocket::bind(&rig.vm.eth0).unwrap();
        let from_tor = PacketSocket::bind(&rig.tor.uplink).unwrap();
        let (tor, host) = (underlay(&rig.tor.uplink, 11), underlay(&rig.host.uplink, 1));
        for (number, inner) in fuzz::frames(seed, &stations, FRAMES).iter().enumerate() {
            from_vm.send(inner).unwrap();
            // Some in a network that is not there, and some of a stranger.
            let vni = if number % 11 == 0 { VNI + 1 } else { VNI };
            let sender =
                if number % 13 == 0 { Endpoint { address: [192, 0, 2, 99].into(), ..tor } } else { tor };
            from_tor.send(&frame::vxlan(sender, host, vni, inner)).unwrap();
        }
        let after = wait_for("the sums to agree", SOON, || {
            let now = sums(&rig);
            let arrived = now.arrived - before.arrived;
            let all = arrived >= 2 * FRAMES as u64 && arrived == now.verdicts - before.verdicts;
            let out = now.delivered - before.delivered == now.to_port - before.to_port
                && now.sent - before.sent == now.to_vteps - before.to_vteps;
            let bound = (now.from_vm - before.from_vm) - (now.unbound - before.unbound);
            let from = now.from_port - before.from_port == bound;
            let to = now.sent_to_port - before.sent_to_port == now.to_port - before.to_port;
            (all && out && from && to).then_some(now)
        });
        let after = after.unwrap_or_else(|error| panic!("{error}: {before:?}, {:?}", sums(&rig)));
        assert!(after.to_port - before.to_port > 100, "{decap}: frames reached the port");
        assert!(after.sent - before.sent > 100, "{decap}: frames reached the VTEP");
        let (dropped, from_port) = (after.dropped - before.dropped, after.from_port - before.from_port);
        assert!((1..from_port).contains(&dropped), "{decap}: {dropped} of {from_port} were dropped");
    }
}

/// When nothing moved while it was read.
fn settled(rig: &Rig) -> Sums {
    wait_for("a quiet moment", SOON, || {
        let first = sums(rig);
        (first == sums(rig)).then_some(first)
    })
    .unwrap()
}

fn sums(rig: &Rig) -> Sums {
    let device = Link::named(&rig.host.netns, "vtepd-vxlan");
    let port = rig.port.counters().unwrap();
    let arrived = [&rig.host.uplink, &device].map(|link| link.counters().unwrap().received_packets);
    let count = |verdicts: &[Verdict]| verdicts.iter().map(|verdict| rig.count(*verdict)).sum();
    let vtep = rig.vtep("tor").unwrap();
    let ports = rig.agent.json(&["stats", "--ports"]).unwrap();
    let of_port = |key: &str| {
        let rows = ports.as_array().unwrap().iter().filter(|row| row["port"] == "p1");
        rows.map(|row| row[key].as_u64().unwrap()).sum::<u64>()
    };
    Sums {
        arrived: port.received_packets + arrived.iter().sum::<u64>(),
        delivered: port.sent_packets,
        verdicts: rig
            .agent
            .json(&["stats"])
            .unwrap()
            .as_array()
            .unwrap()
            .iter()
            .fold(0, |all, row| all + row["packets"].as_u64().unwrap()),
        // There is one port, and one VTEP in its flood list: one copy for each frame that is flooded.
        to_port: count(&[
            Verdict::Delivered,
            Verdict::DeliveredFlood,
            Verdict::Answered,
            Verdict::TooBigTold,
            Verdict::PortMtuTold,
        ]),
        to_vteps: count(&[Verdict::Master, Verdict::Slave, Verdict::Device, Verdict::Flooded]),
        sent: vtep["sent_packets"].as_u64().unwrap(),
        from_vm: port.received_packets,
        unbound: rig.count(Verdict::Unbound),
        from_port: of_port("received_packets"),
        dropped: of_port("dropped_packets"),
        sent_to_port: of_port("sent_packets"),
    }
}

fn underlay(link: &Link, number: u8) -> Endpoint {
    Endpoint { mac: link.mac().unwrap(), address: [192, 0, 2, number].into(), port: 4789 }
}
