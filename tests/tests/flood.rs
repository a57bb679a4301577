//! Floods to many, and to members that cannot be reached: who gets a copy, and what is counted of those who do not.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{collections::BTreeMap, net::Ipv4Addr, time::Duration};

use nix::sys::signal::Signal;
use serde_json::Value;
use vtep_abi::Verdict;
use vtep_tests::{
    deadline::wait_for,
    frame::{self, Endpoint},
    lab::{
        Vm,
        rig::{Rig, SOON, VNI, binding, mac, network, table},
    },
    link::Link,
    netns::Netns,
    packet::PacketSocket,
};

/// After this long without a frame no more is expected.
const QUIET: Duration = Duration::from_millis(300);
/// The last octets of two hundred VTEPs.
const MANY: std::ops::Range<u8> = 20..220;

#[test]
fn a_hundred_and_twenty_eight_members_get_a_copy_each_of_more_one_copies_for_us_until_it_is_gone() {
    let rig = Rig::with("macs_max = 1000\nvteps_max = 512").unwrap();
    let addresses = MANY.map(|last| format!("address add 192.0.2.{last}/32 dev uplink\n"));
    let batch = rig.agent.folder().join("addresses");
    std::fs::write(&batch, addresses.collect::<String>()).unwrap();
    rig.tor.netns.ip(&format!("-batch {}", batch.display())).unwrap();
    let names: Vec<String> = MANY.map(|last| format!("v{last}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let vteps: Vec<(&str, u8)> = names.iter().copied().zip(MANY).chain([("tor", 11)]).collect();
    let text =
        [network("blue", VNI, &names), binding("p1", 0, "blue"), mac("blue", &rig.far, "tor")].concat();

    // Two hundred copies are more than we make.
    rig.agent.write_table(&table(&vteps, &text)).unwrap();
    wait_for("the refusal", SOON, || {
        let alarms = rig.agent.json(&["status"]).ok()?.to_string();
        (alarms.contains("200 members") && alarms.contains("service_node")).then_some(())
    })
    .unwrap();
    assert!(rig.vm.pings(rig.far.address, 3), "the network's last row stands");

    // 128 with our own port.
    let some = &names[..127];
    let listed =
        [network("blue", VNI, some), binding("p1", 0, "blue"), mac("blue", &rig.far, "tor")].concat();
    rig.agent.write_table(&table(&vteps, &listed)).unwrap();
    wait_for("their next hops", 3 * SOON, || {
        // Those of the table before are as many.
        let networks = rig.agent.json(&["vni", "show"]).ok()?;
        if networks[0]["flood"].as_array()?.len() != 128 {
            return None;
        }
        let shown = rig.agent.json(&["vtep", "show"]).ok()?;
        let resolved = shown.as_array()?.iter().filter(|row| row["resolved"] == true).count();
        (resolved == vteps.len()).then_some(())
    })
    .unwrap();
    let one_each = MANY.take(some.len()).map(|last| (Ipv4Addr::new(192, 0, 2, last), 1));
    assert_eq!(copies(&rig), one_each.collect());

    let served = text.replacen("vni =", "replication = \"service_node\"\nvni =", 1);
    rig.agent.write_table(&table(&vteps, &served)).unwrap();
    let first = wait_for_service_node(&rig, None);
    let before = sent(&rig, first);
    assert_eq!(copies(&rig), BTreeMap::from([(first, 1)]));
    assert_eq!(sent(&rig, first), before + 1);

    rig.host.netns.ip(&format!("route add unreachable {first}/32")).unwrap();
    let second = wait_for_service_node(&rig, Some(first));
    let two = |rig: &Rig| (sent(rig, first), sent(rig, second));
    let before = two(&rig);
    assert_eq!(copies(&rig), BTreeMap::from([(second, 1)]));
    assert_eq!(two(&rig), (before.0, before.1 + 1));
}

/// Its interface goes down while nobody tells the programs, then its path has no room.
#[test]
fn a_copy_that_does_not_leave_is_counted_with_its_reason_and_the_others_arrive() {
    let mut rig = Rig::new().unwrap();
    let elsewhere = Netns::new("elsewhere").unwrap();
    let (second, beyond) = Link::veth(&rig.host.netns, "uplink2", &elsewhere, "eth0").unwrap();
    second.add_address("198.51.100.1/24").unwrap();
    rig.host.netns.ip("route add 203.0.113.9/32 via 198.51.100.2 dev uplink2").unwrap();
    second.add_neighbour(Ipv4Addr::new(198, 51, 100, 2), beyond.mac().unwrap()).unwrap();
    let (_vm_2, port_2) = Vm::new(&rig.host.netns, "p2", 2).unwrap();
    rig.agent
        .reconfigure(|text| text.replace("uplinks = [\"uplink\"]", "uplinks = [\"uplink\", \"uplink2\"]"))
        .unwrap();
    rig.agent.daemon().unwrap().signal(Signal::SIGHUP).unwrap();
    let text =
        [network("blue", VNI, &["tor", "x"]), binding("p1", 0, "blue"), binding("p2", 0, "blue")].concat();
    let vteps = table(&[("tor", 11)], "\n[[vtep]]\nname = \"x\"\naddress = \"203.0.113.9\"\n");
    rig.agent.write_table(&(vteps + &text + &mac("blue", &rig.far, "tor"))).unwrap();
    wait_for("three members", SOON, || {
        let flood = rig.agent.json(&["vni", "show", &VNI.to_string()]).ok()?[0]["flood"].clone();
        let resolved =
            ["tor", "x"].iter().all(|name| rig.vtep(name).is_some_and(|row| row["resolved"] == true));
        (flood.as_array()?.len() == 4 && resolved).then_some(())
    })
    .unwrap();
    let (near, far) = (PacketSocket::leaving(&port_2).unwrap(), PacketSocket::bind(&rig.tor.uplink).unwrap());
    let lost = PacketSocket::bind(&beyond).unwrap();
    let flood = |rig: &Rig, payload: &[u8]| {
        let to = Endpoint { mac: vtep_api::MacAddr::BROADCAST, address: [10, 1, 0, 255].into(), port: 9 };
        let from = Endpoint { mac: rig.vm.mac, address: rig.vm.address, port: 7001 };
        PacketSocket::bind(&rig.vm.eth0).unwrap().send(&frame::udp(from, to, payload)).unwrap();
        [&near, &far, &lost]
            .map(|socket| socket.receive_all(QUIET, |frame| frame.ends_with(payload)).unwrap().len())
    };
    assert_eq!(flood(&rig, b"while all is well"), [1, 1, 1]);
    assert_eq!(lost_copies(&rig), [0, 0]);
    let flooded = rig.count(Verdict::Flooded);

    // The agent, stopped, does not take the member out of the list.
    rig.agent.daemon().unwrap().signal(Signal::SIGSTOP).unwrap();
    second.down().unwrap();
    assert_eq!(flood(&rig, b"while one is down"), [1, 1, 0]);
    rig.agent.daemon().unwrap().signal(Signal::SIGCONT).unwrap();
    wait_for("the counter", SOON, || (lost_copies(&rig) == [1, 0]).then_some(())).unwrap();

    second.up().unwrap();
    rig.host.netns.ip("route replace 203.0.113.9/32 via 198.51.100.2 dev uplink2 mtu 600").unwrap();
    second.add_neighbour(Ipv4Addr::new(198, 51, 100, 2), beyond.mac().unwrap()).unwrap();
    wait_for("the path's MTU", SOON, || {
        let row = rig.vtep("x")?;
        (row["mtu"] == 600 && row["resolved"] == true).then_some(())
    })
    .unwrap();
    assert_eq!(flood(&rig, &[7; 700]), [1, 1, 0]);
    assert_eq!(lost_copies(&rig), [1, 1]);
    assert_eq!(rig.count(Verdict::Flooded), flooded + 2, "others had their copies");
}

/// The one VTEP of the flood list that is not this, resolved.
#[track_caller]
fn wait_for_service_node(rig: &Rig, not: Option<Ipv4Addr>) -> Ipv4Addr {
    wait_for("a service node", SOON, || {
        let shown = rig.agent.json(&["vni", "show", &VNI.to_string()]).ok()?;
        let flood = shown[0]["flood"].as_array()?.clone();
        let name = flood.iter().filter_map(Value::as_str).find(|name| name.starts_with('v'))?;
        let name = name.split_whitespace().next()?;
        let address: Ipv4Addr = rig.vtep(name)?["address"].as_str()?.parse().ok()?;
        let row = rig.vtep(name)?;
        (flood.len() == 2 && row["resolved"] == true && Some(address) != not).then_some(address)
    })
    .unwrap()
}

/// How many copies of one broadcast each address gets.
fn copies(rig: &Rig) -> BTreeMap<Ipv4Addr, u32> {
    let watched = PacketSocket::bind(&rig.tor.uplink).unwrap();
    let from = Endpoint { mac: rig.vm.mac, address: rig.vm.address, port: 0 };
    let sent = frame::arp_request(from, Ipv4Addr::new(10, 1, 0, 99));
    PacketSocket::bind(&rig.vm.eth0).unwrap().send(&sent).unwrap();
    let mut copies = BTreeMap::new();
    for frame in watched.receive_all(QUIET, |_| true).unwrap() {
        match frame::decap(&frame) {
            Ok((outer, inner)) if inner == sent => *copies.entry(outer.to.address).or_insert(0) += 1,
            Ok(_) | Err(_) => {}
        }
    }
    copies
}

/// Frames that this VTEP got.
fn sent(rig: &Rig, address: Ipv4Addr) -> u64 {
    let rows = rig.agent.json(&["vtep", "show"]).unwrap();
    let row = rows.as_array().unwrap().iter().find(|row| row["address"] == address.to_string()).unwrap();
    row["sent_packets"].as_u64().unwrap()
}

/// Copies to `x` that the kernel refused, and those that were too big.
fn lost_copies(rig: &Rig) -> [u64; 2] {
    let row = rig.vtep("x").unwrap();
    ["copy_errors", "copies_too_big"].map(|key| row[key].as_u64().unwrap())
}
