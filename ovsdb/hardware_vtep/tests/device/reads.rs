//! What a controller writes, and what the device makes of it: the rows of the contract, one test each.

use hardware_vtep::rows::{McastMacRemote, UcastMacRemote};
use hardware_vtep::{Reason, Replication, Role};
use vtep_api::VlanId;

use crate::device::{Device, OWN, ip, ips, mac, port, switch};
use crate::schema::{extended, stock};
use crate::server::Server;

const MAC1: &str = "02:00:00:00:00:01";

/// A server with the device in it and a logical switch `blue` of VNI 5000.
async fn blue() -> (Server, Device) {
    let server = Server::start(stock());
    let mut device = Device::start(&server).await;
    server.ctl(&["add-ls", "blue", "--", "set", "Logical_Switch", "blue", "tunnel_key=5000"]);
    device.view_where("blue", |view| view.logical_switches.contains_key(&switch("blue"))).await;
    (server, device)
}

fn reasons(device: &Device) -> Vec<Reason> {
    device.view().refusals.iter().map(|refusal| refusal.reason.clone()).collect()
}

#[tokio::test]
async fn a_switch_without_tunnel_key_waits_and_so_does_one_with_key_0() {
    let server = Server::start(stock());
    let mut device = Device::start(&server).await;
    server.ctl(&["add-ls", "blue", "--", "bind-ls", "host1", "tap0", "0", "blue"]);
    let view = device.view_where("blue", |view| view.waiting.contains(&switch("blue"))).await;
    assert!(view.logical_switches.is_empty() && view.bindings.is_empty() && view.refusals.total() == 0);
    server.ctl(&["set", "Logical_Switch", "blue", "tunnel_key=0"]);
    device.catch_up().await;
    assert!(device.view().waiting.contains(&switch("blue")));
    server.ctl(&["set", "Logical_Switch", "blue", "tunnel_key=5000"]);
    let view = device.view_where("the key", |view| view.waiting.is_empty()).await;
    assert_eq!(view.logical_switches[&switch("blue")].vni.as_u32(), 5000);
    assert_eq!(view.bindings[&(port("tap0"), VlanId::UNTAGGED)], switch("blue"));
}

#[tokio::test]
async fn a_key_out_of_range_is_refused_by_name() {
    let (server, mut device) = blue().await;
    server.ctl(&["add-ls", "red", "--", "set", "Logical_Switch", "red", "tunnel_key=16777216"]);
    device.view_where("the refusal", |view| view.refusals.total() == 1).await;
    assert!(matches!(&reasons(&device)[..], [Reason::Vni { name, .. }] if *name == switch("red")));
    assert_eq!(device.view().logical_switches.len(), 1);
}

#[tokio::test]
async fn of_two_switches_with_one_key_the_first_to_have_it_keeps_it() {
    let (server, mut device) = blue().await;
    server.ctl(&["add-ls", "azure", "--", "set", "Logical_Switch", "azure", "tunnel_key=5000"]);
    device.view_where("the refusal", |view| view.refusals.total() == 1).await;
    let [Reason::VniTaken { name, holder, .. }] = &reasons(&device)[..] else {
        panic!("{:?}", reasons(&device))
    };
    assert_eq!((name, holder), (&switch("azure"), &switch("blue")));
    server.ctl(&["set", "Logical_Switch", "blue", "tunnel_key=5001"]);
    let view = device.view_where("both", |view| view.logical_switches.len() == 2).await;
    assert_eq!(view.refusals.total(), 0);
}

#[tokio::test]
async fn a_new_key_changes_the_switch_and_keeps_its_macs() {
    let (server, mut device) = blue().await;
    server.ctl(&["add-ucast-remote", "blue", MAC1, "192.0.2.1"]);
    server.ctl(&["set", "Logical_Switch", "blue", "tunnel_key=6000"]);
    let blue = switch("blue");
    let view = device.view_where("the key", |view| view.logical_switches[&blue].vni.as_u32() == 6000).await;
    assert_eq!(view.logical_switches[&blue].unicast[&mac(1)].master, ip("192.0.2.1"));
}

#[tokio::test]
async fn bindings_follow_their_port_and_vlan() {
    let (server, mut device) = blue().await;
    server.ctl(&["bind-ls", "host1", "tap0", "0", "blue", "--", "bind-ls", "host1", "tap0", "100", "blue"]);
    let view = device.view_where("the bindings", |view| view.bindings.len() == 2).await;
    let vlans: Vec<_> = view.bindings.keys().map(|(port, vlan)| (port.as_str(), vlan.as_u16())).collect();
    assert_eq!(vlans, [("tap0", 0), ("tap0", 100)]);
    server.ctl(&["unbind-ls", "host1", "tap0", "100"]);
    device.view_where("one binding", |view| view.bindings.len() == 1).await;
}

#[tokio::test]
async fn the_reserved_vlan_4095_is_refused_by_port() {
    let (server, mut device) = blue().await;
    server.ctl(&["bind-ls", "host1", "tap0", "4095", "blue", "--", "bind-ls", "host1", "tap1", "7", "blue"]);
    let view = device.view_where("the refusal", |view| view.refusals.total() == 1).await;
    assert!(
        matches!(&reasons(&device)[..], [Reason::Vlan { port: refused, .. }] if *refused == port("tap0"))
    );
    assert_eq!(view.bindings.len(), 1);
}

#[tokio::test]
async fn bindings_of_another_switch_in_the_database_are_not_ours() {
    let (server, mut device) = blue().await;
    server.ctl(&[
        "add-ps", "tor9", "--", "add-port", "tor9", "tap0", "--", "bind-ls", "tor9", "tap0", "0", "blue",
    ]);
    device.catch_up().await;
    assert!(device.view().bindings.is_empty());
}

#[tokio::test]
async fn a_moved_mac_is_never_missing_when_it_is_deleted_and_inserted_in_one_transaction() {
    let (server, mut device) = blue().await;
    server.ctl(&["add-ucast-remote", "blue", MAC1, "192.0.2.1"]);
    let blue = switch("blue");
    device.view_where("the MAC", |view| view.logical_switches[&blue].unicast.len() == 1).await;
    for round in 0..200 {
        let address = if round % 2 == 0 { "192.0.2.2" } else { "192.0.2.1" };
        let uuid = device.mirror.ucast_remote.iter().next().unwrap().0;
        // What OVN does on a migration: the order of both rows in the update is the server's choice.
        server.transact(&format!(
            r#"["hardware_vtep",{{"op":"delete","table":"Ucast_Macs_Remote","where":[["_uuid","==",["uuid","{uuid}"]]]}},
            {{"op":"insert","table":"Physical_Locator","uuid-name":"l","row":{{"encapsulation_type":"vxlan_over_ipv4","dst_ip":"{address}"}}}},
            {{"op":"insert","table":"Ucast_Macs_Remote","row":{{"MAC":"{MAC1}","locator":["named-uuid","l"],"logical_switch":["uuid","{}"]}}}}]"#,
            device.view().logical_switches[&blue].row,
        ));
        device
            .until("the move", |device| {
                let unicast = &device.view().logical_switches[&switch("blue")].unicast;
                unicast.get(&mac(1)).expect("no update may lack the MAC").master == ip(address)
            })
            .await;
    }
}

#[tokio::test]
async fn duplicate_rows_give_one_entry_whatever_their_order() {
    let (server, mut device) = blue().await;
    let row = device.view().logical_switches[&switch("blue")].row;
    for (mac, address) in
        [(MAC1, "192.0.2.9"), ("02-00-00-00-00-01", "192.0.2.3"), ("0200.0000.0001", "192.0.2.5")]
    {
        server.transact(&format!(
            r#"["hardware_vtep",{{"op":"insert","table":"Physical_Locator","uuid-name":"l","row":{{"encapsulation_type":"vxlan_over_ipv4","dst_ip":"{address}"}}}},
            {{"op":"insert","table":"Ucast_Macs_Remote","row":{{"MAC":"{mac}","locator":["named-uuid","l"],"logical_switch":["uuid","{row}"]}}}}]"#,
        ));
    }
    device.until("three rows", |device| device.mirror.ucast_remote.len() == 3).await;
    let view = device.view();
    assert_eq!(view.logical_switches[&switch("blue")].unicast.len(), 1);
    assert_eq!(view.logical_switches[&switch("blue")].unicast[&mac(1)].master, ip("192.0.2.3"));
    let [Reason::MacTwice { rows: 3, kept, .. }] = &reasons(&device)[..] else {
        panic!("{:?}", reasons(&device))
    };
    assert_eq!(*kept, ip("192.0.2.3"));
    let kept = device.mirror.locators.iter().find(|(_, row)| row.dst_ip == "192.0.2.3").unwrap().0;
    server.transact(&format!(
        r#"["hardware_vtep",{{"op":"delete","table":"Ucast_Macs_Remote","where":[["locator","==",["uuid","{kept}"]]]}}]"#,
    ));
    let blue = switch("blue");
    device
        .view_where("the next row", |view| {
            let unicast = &view.logical_switches[&blue].unicast;
            unicast.get(&mac(1)).expect("a duplicate remains").master == ip("192.0.2.5")
        })
        .await;
}

#[tokio::test]
async fn malformed_rows_are_set_aside_and_the_rest_kept() {
    let (server, mut device) = blue().await;
    server.ctl(&["add-ucast-remote", "blue", "nonsense", "192.0.2.1"]);
    server.ctl(&["add-ucast-remote", "blue", "01:00:5e:00:00:01", "192.0.2.1"]);
    server.ctl(&["add-ucast-remote", "blue", "02:00:00:00:00:02", "not-an-ip"]);
    server.ctl(&["add-ucast-remote", "blue", "02:00:00:00:00:03", "224.0.0.1"]);
    server.ctl(&["add-ucast-remote", "blue", "02:00:00:00:00:04", "192.0.2.4"]);
    device.until("five rows", |device| device.mirror.ucast_remote.len() == 5).await;
    let view = device.view();
    let unicast = &view.logical_switches[&switch("blue")].unicast;
    assert_eq!(unicast.keys().copied().collect::<Vec<_>>(), [mac(4)]);
    let mut told: Vec<_> = reasons(&device).iter().map(ToString::to_string).collect();
    told.sort();
    assert_eq!(
        told,
        [
            r#"MAC address "nonsense" is malformed; expected six octets such as 02:00:00:00:00:01"#,
            "MAC address 01:00:5e:00:00:01 is not that of one station",
            r#"locator's address "224.0.0.1" is malformed; expected the unicast IP address of a tunnel endpoint"#,
            r#"locator's address "not-an-ip" is malformed; expected the unicast IP address of a tunnel endpoint"#,
        ]
    );
}

#[tokio::test]
async fn a_mac_behind_our_own_tunnel_address_is_refused() {
    let (server, mut device) = blue().await;
    server.ctl(&["add-ucast-remote", "blue", MAC1, OWN]);
    device.view_where("the refusal", |view| view.refusals.total() == 1).await;
    assert_eq!(reasons(&device), [Reason::OwnLocator { address: ip(OWN) }]);
    assert!(device.view().logical_switches[&switch("blue")].unicast.is_empty());
}

#[tokio::test]
async fn a_locator_with_another_key_is_refused_and_one_with_the_same_taken() {
    let (server, mut device) = blue().await;
    let row = device.view().logical_switches[&switch("blue")].row;
    for (last, key) in [(1, 5000), (2, 5)] {
        server.transact(&format!(
            r#"["hardware_vtep",{{"op":"insert","table":"Physical_Locator","uuid-name":"l","row":{{"encapsulation_type":"vxlan_over_ipv4","dst_ip":"192.0.2.1","tunnel_key":{key}}}}},
            {{"op":"insert","table":"Ucast_Macs_Remote","row":{{"MAC":"02:00:00:00:00:0{last}","locator":["named-uuid","l"],"logical_switch":["uuid","{row}"]}}}}]"#,
        ));
    }
    device.until("two rows", |device| device.mirror.ucast_remote.len() == 2).await;
    assert!(matches!(reasons(&device)[..], [Reason::LocatorKey { key: 5, .. }]));
    assert_eq!(device.view().logical_switches[&switch("blue")].unicast.len(), 1);
}

#[tokio::test]
async fn one_change_of_a_shared_locator_moves_no_other_mac() {
    let (server, mut device) = blue().await;
    for last in 1..=3 {
        server.ctl(&["add-ucast-remote", "blue", &format!("02:00:00:00:00:0{last}"), "192.0.2.1"]);
    }
    device.until("three rows", |device| device.mirror.ucast_remote.len() == 3).await;
    assert_eq!(device.mirror.locators.iter().filter(|(_, row)| row.dst_ip == "192.0.2.1").count(), 1);
    server.ctl(&["add-ucast-remote", "blue", MAC1, "192.0.2.2"]);
    let blue = switch("blue");
    let at = |view: &hardware_vtep::DeviceView, last| view.logical_switches[&blue].unicast[&mac(last)].master;
    let view = device.view_where("the move", |view| at(view, 1) == ip("192.0.2.2")).await;
    assert_eq!((at(&view, 2), at(&view, 3)), (ip("192.0.2.1"), ip("192.0.2.1")));
}

#[tokio::test]
async fn both_replication_modes_are_told_and_none_means_service_node() {
    let (server, mut device) = blue().await;
    let blue = switch("blue");
    assert_eq!(device.view().logical_switches[&blue].replication, Replication::ServiceNode);
    for (mode, expected) in
        [("source_node", Replication::SourceNode), ("service_node", Replication::ServiceNode)]
    {
        server.ctl(&["set-replication-mode", "blue", mode]);
        device.view_where("the mode", |view| view.logical_switches[&blue].replication == expected).await;
    }
}

#[tokio::test]
async fn two_unknown_dst_rows_are_merged_without_ourselves() {
    let (server, mut device) = blue().await;
    server.ctl(&["add-mcast-remote", "blue", "unknown-dst", "192.0.2.1"]);
    server.ctl(&["add-mcast-remote", "blue", "unknown-dst", OWN]);
    let row = device.view().logical_switches[&switch("blue")].row;
    server.transact(&format!(
        r#"["hardware_vtep",{{"op":"insert","table":"Physical_Locator","uuid-name":"l","row":{{"encapsulation_type":"vxlan_over_ipv4","dst_ip":"192.0.2.2"}}}},
        {{"op":"insert","table":"Physical_Locator_Set","uuid-name":"s","row":{{"locators":["named-uuid","l"]}}}},
        {{"op":"insert","table":"Mcast_Macs_Remote","row":{{"MAC":"unknown-dst","locator_set":["named-uuid","s"],"logical_switch":["uuid","{row}"]}}}}]"#,
    ));
    let blue = switch("blue");
    let merged = ips(&["192.0.2.1", "192.0.2.2"]);
    let view = device.view_where("both", |view| view.logical_switches[&blue].flood == merged).await;
    assert_eq!(view.refusals.total(), 0);
}

#[tokio::test]
async fn a_multicast_group_is_refused_by_its_address() {
    let (server, mut device) = blue().await;
    server.ctl(&["add-mcast-remote", "blue", "01:00:5e:00:00:01", "192.0.2.1"]);
    device.view_where("the refusal", |view| view.refusals.total() == 1).await;
    assert!(matches!(&reasons(&device)[..], [Reason::Multicast { text }] if text == "01:00:5e:00:00:01"));
}

#[tokio::test]
async fn a_row_written_anew_with_the_same_content_leaves_the_view_as_it_was() {
    let (server, mut device) = blue().await;
    server.ctl(&["add-mcast-remote", "blue", "unknown-dst", "192.0.2.1"]);
    server.ctl(&["add-ucast-remote", "blue", MAC1, "192.0.2.1"]);
    let blue = switch("blue");
    let before = device
        .view_where("the rows", |view| {
            let blue = &view.logical_switches[&blue];
            blue.unicast.len() == 1 && blue.flood.len() == 1
        })
        .await;
    server.ctl(&[
        "del-mcast-remote",
        "blue",
        "unknown-dst",
        "192.0.2.1",
        "--",
        "add-mcast-remote",
        "blue",
        "unknown-dst",
        "192.0.2.1",
    ]);
    device.catch_up().await;
    assert!(device.changes.touch::<McastMacRemote>() && !device.changes.touch::<UcastMacRemote>());
    assert_eq!(device.view(), before);
}

#[tokio::test]
async fn a_reconnect_flushes_nothing_and_changes_nothing() {
    let (mut server, mut device) = blue().await;
    server.ctl(&["add-ucast-remote", "blue", MAC1, "192.0.2.1"]);
    let blue = switch("blue");
    let before = device.view_where("the MAC", |view| !view.logical_switches[&blue].unicast.is_empty()).await;
    server.stop();
    device.until("the end of the connection", |device| !device.mirror.is_synchronized()).await;
    assert_eq!(device.view(), before, "what was known stays");
    server.restart();
    device.until("the next dump", |device| device.mirror.is_synchronized()).await;
    assert!(device.changes.is_empty(), "{:?}", device.changes);
    assert_eq!(device.view(), before);
    device.transactions = 0;
    device.settle().await;
    assert_eq!(device.transactions, 0, "nothing is written that stands there");
}

#[tokio::test]
async fn what_went_while_we_were_away_is_gone_after_the_dump_and_not_before() {
    let (mut server, mut device) = blue().await;
    server.ctl(&["add-ucast-remote", "blue", MAC1, "192.0.2.1"]);
    let blue = switch("blue");
    device.view_where("the MAC", |view| !view.logical_switches[&blue].unicast.is_empty()).await;
    server.stop();
    device.until("the end of the connection", |device| !device.mirror.is_synchronized()).await;
    crate::server::run(
        "ovsdb-tool",
        &[
            "transact",
            &server.path("db"),
            r#"["hardware_vtep",{"op":"delete","table":"Ucast_Macs_Remote","where":[]}]"#,
        ],
    );
    server.restart();
    loop {
        let has_mac = !device.view().logical_switches[&blue].unicast.is_empty();
        assert_eq!(has_mac, !device.mirror.is_synchronized());
        if device.mirror.is_synchronized() {
            break;
        }
        device.next().await;
    }
}

#[tokio::test]
async fn slaves_and_our_own_role_are_read_where_the_schema_has_them() {
    let dir = extended();
    let server = Server::start(&dir.path().join("schema"));
    let mut device = Device::start(&server).await;
    server.ctl(&["add-ls", "blue", "--", "set", "Logical_Switch", "blue", "tunnel_key=5000"]);
    server.ctl(&["add-ucast-remote", "blue", MAC1, "192.0.2.1"]);
    server.ctl(&["add-ucast-remote", "blue", "02:00:00:00:00:02", "192.0.2.2"]);
    let blue = switch("blue");
    device.until("both rows", |device| device.mirror.ucast_remote.len() == 2).await;
    assert!(device.view().logical_switches[&blue].unicast.values().all(|entry| entry.slaves.is_empty()));
    let uuid = |address| device.mirror.locators.iter().find(|(_, row)| row.dst_ip == address).unwrap().0;
    // The master among the slaves adds nothing.
    let (master, other) = (uuid("192.0.2.1"), uuid("192.0.2.2"));
    server.transact(&format!(
        r#"["hardware_vtep",{{"op":"update","table":"Ucast_Macs_Remote","where":[["MAC","==","{MAC1}"]],
        "row":{{"role":"slave","slave_locators":["set",[["uuid","{master}"],["uuid","{other}"]]]}}}}]"#,
    ));
    let view = device
        .view_where("the role", |view| view.logical_switches[&blue].unicast[&mac(1)].role.is_some())
        .await;
    let entry = &view.logical_switches[&blue].unicast[&mac(1)];
    assert_eq!(
        (entry.master, &entry.slaves[..], entry.role),
        (ip("192.0.2.1"), &[ip("192.0.2.2")][..], Some(Role::Slave))
    );
}
