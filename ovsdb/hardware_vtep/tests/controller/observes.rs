//! What a TOR says, and what of it is news.

use std::collections::BTreeSet;

use vtep_api::{LocalMac, Role};

use crate::schema::extended;
use crate::server::Server;
use crate::tor::{Controller, OWN, ip, ls, mac, port, tor, tor_with};

const MAC1: &str = "02:00:00:00:00:01";

async fn blue() -> (Server, Controller) {
    let server = tor();
    server.ctl(&["add-ls", "blue", "--", "set", "Logical_Switch", "blue", "tunnel_key=5000"]);
    let controller = Controller::observe(&server).await;
    (server, controller)
}

fn row(controller: &Controller, table: &str) -> String {
    let mirror = controller.tor.mirror();
    match table {
        "Logical_Switch" => mirror.logical_switches.iter().next().unwrap().0.to_string(),
        _ => mirror.locators.iter().find(|(_, row)| row.dst_ip == OWN).unwrap().0.to_string(),
    }
}

/// A second row for the same MAC, which `vtep-ctl` would not write.
fn insert(server: &Server, controller: &Controller, mac: &str) {
    let (switch, locator) = (row(controller, "Logical_Switch"), row(controller, "Physical_Locator"));
    server.transact(&format!(
        r#"["hardware_vtep",{{"op":"insert","table":"Ucast_Macs_Local","row":{{"MAC":"{mac}","locator":["uuid","{locator}"],"logical_switch":["uuid","{switch}"]}}}}]"#,
    ));
}

fn delete(server: &Server, mac: &str) {
    server.transact(&format!(
        r#"["hardware_vtep",{{"op":"delete","table":"Ucast_Macs_Local","where":[["MAC","==","{mac}"]]}}]"#
    ));
}

fn set(server: &Server, mac: &str, cells: &str) {
    server.transact(&format!(
        r#"["hardware_vtep",{{"op":"update","table":"Ucast_Macs_Local","where":[["MAC","==","{mac}"]],"row":{cells}}}]"#
    ));
}

#[tokio::test]
async fn a_mac_is_told_when_it_comes_and_when_it_goes() {
    let (server, mut controller) = blue().await;
    assert!(controller.observed[0].snapshot && controller.observed[0].macs.is_empty());
    controller.observed.clear();
    server.ctl(&["add-ucast-local", "blue", MAC1, OWN]);
    let news = controller.news().await;
    let [(switch, told, Some(local))] = &news[..] else { panic!("{news:?}") };
    assert_eq!((switch, *told, local.role), (&ls("blue"), mac(1), Role::Master));
    let row = controller.tor.mirror().ucast_local.iter().next().unwrap().0;
    assert_eq!(local.origin.unwrap().0, row.as_u128());
    server.ctl(&["del-ucast-local", "blue", MAC1]);
    assert_eq!(controller.news().await, [(ls("blue"), mac(1), None)]);
    assert_eq!(controller.tor.macs().count(), 0);
}

#[tokio::test]
async fn scenario_16_one_of_two_rows_goes_and_the_mac_stays_until_the_other_goes() {
    let (server, mut controller) = blue().await;
    server.ctl(&["add-ucast-local", "blue", MAC1, OWN]);
    controller.news().await;
    // Either of the two may have the lower UUID.
    for round in 0..8 {
        insert(&server, &controller, "02-00-00-00-00-01");
        assert_eq!(controller.news().await, [], "a second row is no news");
        let (gone, kept) =
            if round % 2 == 0 { (MAC1, "02-00-00-00-00-01") } else { ("02-00-00-00-00-01", MAC1) };
        delete(&server, gone);
        assert_eq!(controller.news().await, [], "one of two rows is no news");
        assert_eq!(controller.tor.macs().count(), 1);
        delete(&server, kept);
        assert_eq!(controller.news().await, [(ls("blue"), mac(1), None)]);
        server.ctl(&["add-ucast-local", "blue", MAC1, OWN]);
        assert_eq!(controller.news().await.len(), 1);
    }
}

#[tokio::test]
async fn a_row_that_is_deleted_and_inserted_in_one_transaction_is_a_new_claim() {
    let (server, mut controller) = blue().await;
    server.ctl(&["add-ucast-local", "blue", MAC1, OWN]);
    controller.news().await;
    for _ in 0..20 {
        let before = controller.tor.macs().next().unwrap().2.origin;
        server.ctl(&["del-ucast-local", "blue", MAC1, "--", "add-ucast-local", "blue", MAC1, OWN]);
        let news = controller.news().await;
        let [(_, told, Some(local))] = &news[..] else { panic!("{news:?}") };
        assert_eq!(*told, mac(1));
        assert_ne!(local.origin, before);
    }
}

#[tokio::test]
async fn a_reconnect_is_no_news_apart_from_what_happened_meanwhile() {
    let (mut server, mut controller) = blue().await;
    server.ctl(&["add-ucast-local", "blue", MAC1, OWN]);
    server.ctl(&["add-ucast-local", "blue", "02:00:00:00:00:02", OWN]);
    assert_eq!(controller.news().await.len(), 2);
    server.restart();
    controller.until("the loss", |tor| !tor.mirror().is_synchronized()).await;
    controller.until("the second dump", |tor| tor.mirror().is_synchronized()).await;
    assert_eq!(controller.news().await, []);
    server.stop();
    controller.until("the loss", |tor| !tor.mirror().is_synchronized()).await;
    server.restart();
    server.ctl(&["del-ucast-local", "blue", MAC1, "--", "add-ucast-local", "blue", "02:00:00:00:00:03", OWN]);
    controller.until("the third dump", |tor| tor.mirror().is_synchronized()).await;
    let news: Vec<_> =
        controller.news().await.into_iter().map(|(_, mac, local)| (mac, local.is_some())).collect();
    assert_eq!(news, [(mac(1), false), (mac(3), true)]);
    assert!(controller.observed.iter().all(|observed| !observed.snapshot));
}

#[tokio::test]
async fn rows_of_another_switch_in_the_database_are_not_told() {
    let (server, mut controller) = blue().await;
    server.ctl(&["add-ps", "tor9", "--", "set", "Physical_Switch", "tor9", "tunnel_ips=192.0.2.9"]);
    server.ctl(&["add-ucast-local", "blue", MAC1, "192.0.2.9"]);
    assert_eq!(controller.news().await, []);
    assert_eq!(controller.tor.state().refusals, Vec::<String>::new());
    // The address moves to our switch, and with it what points at it.
    server.ctl(&[
        "clear",
        "Physical_Switch",
        "tor9",
        "tunnel_ips",
        "--",
        "add",
        "Physical_Switch",
        "tor1",
        "tunnel_ips",
        "192.0.2.9",
    ]);
    assert_eq!(controller.news().await.len(), 1);
    assert_eq!(controller.tor.state().address, Some(ip("192.0.2.9")), "where its rows point");
}

#[tokio::test]
async fn malformed_rows_are_named_and_the_rest_is_kept() {
    let (server, mut controller) = blue().await;
    server.ctl(&["add-ucast-local", "blue", "nonsense", OWN]);
    server.ctl(&["add-ucast-local", "blue", "01:00:5e:00:00:01", OWN]);
    server.ctl(&["add-ucast-local", "blue", "02:00:00:00:00:02", "not-an-ip"]);
    server.ctl(&["add-ucast-local", "blue", "02:00:00:00:00:03", "192.0.2.77"]);
    server.ctl(&["add-ucast-local", "blue", "02:00:00:00:00:04", OWN]);
    set(&server, "02:00:00:00:00:04", r#"{"ipaddr":"nowhere"}"#);
    let news = controller.news().await;
    assert!(news.iter().all(|(_, told, _)| *told == mac(4)), "{news:?}");
    let refusals = controller.tor.state().refusals.join("\n");
    for expected in [
        r#"MAC address "nonsense" is malformed; expected six octets such as 02:00:00:00:00:01"#,
        "MAC address 01:00:5e:00:00:01 is not that of one station",
        r#"locator's address "not-an-ip" is malformed; expected the unicast IP address of a tunnel endpoint"#,
        "locator is 192.0.2.77; expected a tunnel address of a switch in this database",
        r#"IP address "nowhere" is malformed; expected that of one station"#,
    ] {
        assert!(refusals.contains(expected), "{expected}: {refusals}");
    }
    assert_eq!(controller.tor.state().refusals.len(), 5);
    for bad in ["nonsense", "01:00:5e:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:03"] {
        delete(&server, bad);
    }
    set(&server, "02:00:00:00:00:04", r#"{"ipaddr":"10.0.0.4"}"#);
    let news = controller.news().await;
    let [(_, _, Some(LocalMac { ips, .. }))] = &news[..] else { panic!("{news:?}") };
    assert_eq!(ips[..], [ip("10.0.0.4")]);
    assert_eq!(controller.tor.state().refusals.len(), 0);
}

#[tokio::test]
async fn role_and_time_are_told_where_the_schema_has_them() {
    let dir = extended();
    let server = tor_with(&dir.path().join("schema"));
    server.ctl(&["add-ls", "blue", "--", "add-ucast-local", "blue", MAC1, OWN]);
    set(&server, MAC1, r#"{"role":"slave","claimed_at":1234}"#);
    let mut controller = Controller::observe(&server).await;
    let news = controller.news().await;
    let [(_, _, Some(slave))] = &news[..] else { panic!("{news:?}") };
    assert_eq!((slave.role, slave.claimed_at_ms), (Role::Slave, Some(1234)));
    set(&server, MAC1, r#"{"role":"master"}"#);
    let news = controller.news().await;
    let [(_, _, Some(master))] = &news[..] else { panic!("{news:?}") };
    assert_eq!((master.role, master.origin), (Role::Master, slave.origin), "another role is no other record");
}

#[tokio::test]
async fn ports_faults_and_dead_tunnels_are_told() {
    let (server, mut controller) = blue().await;
    let ports = [port("Ethernet1/1"), port("Ethernet1/2")];
    assert_eq!(controller.tor.state().ports, ports.into());
    assert_eq!(controller.tor.state().address, Some(ip(OWN)));
    server.ctl(&["set", "Physical_Switch", "tor1", "switch_fault_status=mac_table_exhaustion"]);
    server.ctl(&["set", "Physical_Port", "Ethernet1/1", "port_fault_status=invalid_vlan_map"]);
    server.transact(
        r#"["hardware_vtep",{"op":"insert","table":"Physical_Locator","uuid-name":"a","row":{"encapsulation_type":"vxlan_over_ipv4","dst_ip":"192.0.2.100"}},
        {"op":"insert","table":"Physical_Locator","uuid-name":"b","row":{"encapsulation_type":"vxlan_over_ipv4","dst_ip":"192.0.2.5"}},
        {"op":"insert","table":"Tunnel","uuid-name":"t","row":{"local":["named-uuid","a"],"remote":["named-uuid","b"],"bfd_status":["map",[["enabled","true"],["state","down"]]]}},
        {"op":"mutate","table":"Physical_Switch","where":[["name","==","tor1"]],"mutations":[["tunnels","insert",["named-uuid","t"]]]}]"#,
    );
    controller.catch_up().await;
    let state = controller.tor.state();
    let faults: Vec<_> = state.faults.iter().map(String::as_str).collect();
    assert_eq!(faults, ["invalid_vlan_map on Ethernet1/1", "mac_table_exhaustion"]);
    assert!(state.unreachable.is_empty(), "a session that never was up says nothing");
    server.transact(
        r#"["hardware_vtep",{"op":"update","table":"Tunnel","where":[],"row":{"bfd_status":["map",[["state","up"]]]}}]"#,
    );
    controller.catch_up().await;
    let found = |controller: &Controller| {
        let state = controller.tor.state();
        (state.reachable.clone(), state.unreachable.clone())
    };
    let peer = BTreeSet::from([ip("192.0.2.5")]);
    assert_eq!(found(&controller), (peer.clone(), BTreeSet::new()));
    assert!(controller.observed.last().unwrap().state_changed);
    for (status, dead) in [
        (r#"["state","down"]"#, true),
        (r#"["enabled","false"]"#, false),
        (r#"["state","down"],["diagnostic","No Diagnostic"]"#, false),
        (r#"["state","down"],["diagnostic","Control Detection Time Expired"]"#, true),
    ] {
        let change = format!(
            r#"["hardware_vtep",{{"op":"update","table":"Tunnel","where":[],"row":{{"bfd_status":["map",[{status}]]}}}}]"#
        );
        server.transact(&change);
        controller.catch_up().await;
        let expected = if dead { peer.clone() } else { BTreeSet::new() };
        assert_eq!(found(&controller), (BTreeSet::new(), expected), "{status}");
    }
}

#[tokio::test]
async fn a_switch_that_is_not_there_is_said_to_be_missing() {
    let server = Server::start(crate::schema::stock());
    let controller = Controller::observe(&server).await;
    assert!(controller.tor.state().refusals[0].contains("there is no switch tor1"));
}
