//! `Mcast_Macs_Remote`: who gets copies of a flooded frame.

use std::{collections::BTreeMap, net::Ipv4Addr, time::Duration};

use serde_json::{Value, json};
use vtep_tests::{
    deadline::wait_for,
    frame::{self, Endpoint},
    lab::rig::{SOON, VNI},
    packet::PacketSocket,
};

use crate::rig::Rig;

/// After this long without a frame no more is expected.
const QUIET: Duration = Duration::from_millis(300);
/// Neighbours at the TOR that answer for themselves.
const MEMBERS: [Ipv4Addr; 3] =
    [Ipv4Addr::new(192, 0, 2, 101), Ipv4Addr::new(192, 0, 2, 102), Ipv4Addr::new(192, 0, 2, 103)];

/// `blue` with the VM's port, and a TOR that has the members' addresses.
fn rig() -> Rig {
    let rig = Rig::new();
    for member in MEMBERS {
        rig.tor.uplink.add_address(&format!("{member}/32")).unwrap();
    }
    let switch = format!("add-ls blue -- set Logical_Switch blue tunnel_key={VNI}");
    rig.write(&[&switch, "bind-ls host p1 0 blue"]);
    rig
}

/// Until the kernel's flood list is our port and that many VTEPs, all resolved.
#[track_caller]
fn wait_for_members(rig: &Rig, count: usize) {
    wait_for(&format!("{count} members"), SOON, || {
        let rows = rig.agent.json(&["vni", "show", &VNI.to_string()]).ok()?;
        let flood = rows[0]["flood"].as_array()?.clone();
        let members =
            flood.iter().filter(|member| member.as_str().is_some_and(|name| name.starts_with("192")));
        let vteps = rig.agent.json(&["vtep", "show"]).ok()?;
        let vteps = vteps.as_array()?;
        let resolved = vteps.iter().filter(|vtep| vtep["resolved"] == true).count();
        let routed = vteps.iter().filter(|vtep| vtep["routed"] == true).count();
        (members.count() == count && resolved == routed).then_some(())
    })
    .unwrap();
}

/// How many copies of one broadcast each address gets.
fn copies(rig: &Rig) -> BTreeMap<Ipv4Addr, u32> {
    let watched = PacketSocket::bind(&rig.tor.uplink).unwrap();
    let sender = PacketSocket::bind(&rig.vm.eth0).unwrap();
    let from = Endpoint { mac: rig.vm.mac, address: rig.vm.address, port: 0 };
    let sent = frame::arp_request(from, Ipv4Addr::new(10, 1, 0, 99));
    sender.send(&sent).unwrap();
    let mut copies = BTreeMap::new();
    for frame in watched.receive_all(QUIET, |_| true).unwrap() {
        match frame::decap(&frame) {
            Ok((outer, inner)) if inner == sent => *copies.entry(outer.to.address).or_insert(0) += 1,
            Ok(_) | Err(_) => {}
        }
    }
    copies
}

fn add(rig: &Rig, members: &[Ipv4Addr]) {
    for member in members {
        rig.write(&[&format!("add-mcast-remote blue unknown-dst {member}")]);
    }
}

fn one_each(members: &[Ipv4Addr]) -> BTreeMap<Ipv4Addr, u32> {
    members.iter().map(|&member| (member, 1)).collect()
}

#[test]
fn source_node_sends_one_copy_to_every_member() {
    let rig = rig();
    rig.write(&["set Logical_Switch blue replication_mode=source_node"]);
    add(&rig, &MEMBERS);
    wait_for_members(&rig, 3);
    assert_eq!(copies(&rig), one_each(&MEMBERS));
}

/// Unset means the same (vtep(5)).
#[test]
fn service_node_sends_one_copy_to_one_member() {
    let rig = rig();
    add(&rig, &MEMBERS);
    wait_for_members(&rig, 1);
    let unset = copies(&rig);
    assert_eq!((unset.len(), unset.values().sum::<u32>()), (1, 1), "{unset:?}");
    rig.write(&["set Logical_Switch blue replication_mode=source_node"]);
    wait_for_members(&rig, 3);
    rig.write(&["set Logical_Switch blue replication_mode=service_node"]);
    wait_for_members(&rig, 1);
    let set = copies(&rig);
    assert_eq!((set.len(), set.values().sum::<u32>()), (1, 1), "{set:?}");
}

#[test]
fn service_node_takes_a_member_that_lives() {
    let rig = rig();
    add(&rig, &MEMBERS);
    wait_for_members(&rig, 1);
    let serving = *copies(&rig).keys().next().unwrap();
    rig.host.netns.ip(&format!("route add unreachable {serving}/32")).unwrap();
    wait_for("another member", SOON, || {
        let vteps = rig.agent.json(&["vtep", "show"]).ok()?;
        let down = vteps.as_array()?.iter().find(|vtep| vtep["address"] == serving.to_string())?;
        let flood = rig.agent.json(&["vni", "show", &VNI.to_string()]).ok()?[0]["flood"].to_string();
        (down["up"] == false && !flood.contains(&serving.to_string())).then_some(())
    })
    .unwrap();
    let after = copies(&rig);
    assert_eq!((after.len(), after.values().sum::<u32>()), (1, 1), "{after:?}");
    assert!(!after.contains_key(&serving));
}

#[test]
fn two_unknown_dst_rows_of_a_network_are_merged() {
    let rig = rig();
    rig.write(&["set Logical_Switch blue replication_mode=source_node"]);
    add(&rig, &MEMBERS[..2]);
    wait_for_members(&rig, 2);
    // One member of it is in the other row as well, and one is ourselves.
    let locators: Vec<_> =
        ["192.0.2.102", "192.0.2.103", "192.0.2.1"].map(|address| rig.locator(address)).into();
    let set = Value::from(locators.iter().map(|(locator, _)| locator.clone()).collect::<Vec<_>>());
    let mut operations: Vec<_> = locators.into_iter().filter_map(|(_, made)| made).collect();
    operations.push(json!({
        "op": "insert", "table": "Physical_Locator_Set", "uuid-name": "members", "row": {"locators": ["set", set]},
    }));
    let row = json!({"MAC": "unknown-dst", "logical_switch": rig.network("blue"), "locator_set": ["named-uuid", "members"]});
    operations.push(json!({"op": "insert", "table": "Mcast_Macs_Remote", "row": row}));
    rig.transact(&Value::from(operations));
    wait_for_members(&rig, 3);
    assert_eq!(copies(&rig), one_each(&MEMBERS));
}

#[test]
fn a_group_address_is_refused_and_unknown_dst_stands() {
    let rig = rig();
    add(&rig, &MEMBERS[..1]);
    rig.write(&["add-mcast-remote blue 01:00:5e:00:00:07 192.0.2.102"]);
    rig.wait_for_refusal("multicast address \"01:00:5e:00:00:07\" is not supported; expected unknown-dst");
    wait_for_members(&rig, 1);
    assert_eq!(copies(&rig), one_each(&MEMBERS[..1]));
}

#[test]
fn a_member_that_leaves_gets_no_more_copies() {
    let rig = rig();
    rig.write(&["set Logical_Switch blue replication_mode=source_node"]);
    add(&rig, &MEMBERS);
    wait_for_members(&rig, 3);
    rig.write(&[&format!("del-mcast-remote blue unknown-dst {}", MEMBERS[1])]);
    wait_for_members(&rig, 2);
    assert_eq!(copies(&rig), one_each(&[MEMBERS[0], MEMBERS[2]]));
}
