//! What the device writes of itself.

use std::collections::{BTreeMap, BTreeSet};

use hardware_vtep::device::Subject;
use hardware_vtep::rows::RoleText;
use hardware_vtep::{LocalMac, Role};

use crate::device::{Device, OWN, ip, mac, macs, name, port, switch};
use crate::schema::{changed, extended, stock};
use crate::server::Server;

async fn blue(macs_behind: &[vtep_api::MacAddr]) -> (Server, Device) {
    let server = Server::start(stock());
    server.ctl(&["add-ls", "blue", "--", "set", "Logical_Switch", "blue", "tunnel_key=5000"]);
    let mut device = Device::observe(&server).await;
    device.desired.networks.insert(switch("blue"), macs(macs_behind));
    device.settle().await;
    (server, device)
}

/// What `vtep-ctl` shows, without white space.
fn shown(server: &Server, arguments: &[&str]) -> Vec<String> {
    server.ctl(arguments).lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

#[tokio::test]
async fn an_empty_database_gets_the_switch_its_ports_and_its_address() {
    let server = Server::start(stock());
    let mut device = Device::start(&server).await;
    assert_eq!(shown(&server, &["list-ps"]), ["host1"]);
    assert_eq!(shown(&server, &["list-ports", "host1"]), ["tap0", "tap1"]);
    assert_eq!(shown(&server, &["get", "Physical_Switch", "host1", "tunnel_ips"]), [format!("[\"{OWN}\"]")]);
    assert_eq!(device.mirror.global.len(), 1);
    device.transactions = 0;
    device.settle().await;
    assert_eq!(device.transactions, 0);
}

#[tokio::test]
async fn a_switch_that_an_administrator_made_is_adopted_and_its_other_ports_stay() {
    let server = Server::start(stock());
    server.ctl(&["add-ps", "host1", "--", "add-port", "host1", "tap0", "--", "add-port", "host1", "eth9"]);
    let mut device = Device::start(&server).await;
    assert_eq!(shown(&server, &["list-ports", "host1"]), ["eth9", "tap0", "tap1"]);
    device.desired.ports.clear();
    device.settle().await;
    assert_eq!(shown(&server, &["list-ports", "host1"]), ["eth9", "tap0"], "only what we made is removed");
}

#[tokio::test]
async fn another_switch_of_the_database_is_left_alone() {
    let server = Server::start(stock());
    server.ctl(&[
        "add-ps",
        "tor9",
        "--",
        "set",
        "Physical_Switch",
        "tor9",
        "tunnel_ips=192.0.2.9",
        "--",
        "add-port",
        "tor9",
        "tap0",
    ]);
    server.ctl(&["add-ls", "blue", "--", "add-ucast-local", "blue", "02:00:00:00:00:09", "192.0.2.9"]);
    server.ctl(&["add-mcast-local", "blue", "unknown-dst", "192.0.2.9"]);
    let before = shown(&server, &["list-local-macs", "blue"]);
    let mut device = Device::start(&server).await;
    assert_eq!(shown(&server, &["list-ps"]), ["host1", "tor9"]);
    device.desired.networks.insert(switch("blue"), macs(&[mac(1)]));
    device.settle().await;
    device.desired.networks.clear();
    device.settle().await;
    assert_eq!(shown(&server, &["list-local-macs", "blue"]), before);
    assert_eq!(shown(&server, &["list-ports", "tor9"]), ["tap0"]);
}

#[tokio::test]
async fn local_macs_and_unknown_dst_point_at_our_one_locator() {
    let (server, mut device) = blue(&[mac(1), mac(2)]).await;
    let expected = [
        "ucast-mac-local".to_owned(),
        format!("02:00:00:00:00:01 -> vxlan_over_ipv4/{OWN}"),
        format!("02:00:00:00:00:02 -> vxlan_over_ipv4/{OWN}"),
        String::new(),
        "mcast-mac-local".to_owned(),
        format!("unknown-dst -> vxlan_over_ipv4/{OWN}"),
        String::new(),
    ];
    assert_eq!(shown(&server, &["list-local-macs", "blue"]), expected);
    assert_eq!(device.mirror.locators.len(), 1);
    device.desired.networks.clear();
    device.settle().await;
    device.catch_up().await;
    assert_eq!((device.mirror.ucast_local.len(), device.mirror.mcast_local.len()), (0, 0));
    assert_eq!(device.mirror.locators.len(), 0, "a locator goes with its last reference");
    device.desired.networks.insert(switch("blue"), macs(&[mac(3)]));
    device.settle().await;
    assert_eq!(device.mirror.ucast_local.len(), 1, "the next add works");
}

#[tokio::test]
async fn a_locator_that_another_client_made_is_reused() {
    let server = Server::start(stock());
    server.ctl(&["add-ls", "blue", "--", "add-ucast-remote", "blue", "02:00:00:00:00:09", OWN]);
    let mut device = Device::observe(&server).await;
    device.desired.networks.insert(switch("blue"), macs(&[mac(1)]));
    device.settle().await;
    assert_eq!(device.mirror.locators.len(), 1);
    assert_eq!(device.mirror.ucast_local.len(), 1);
}

#[tokio::test]
async fn macs_of_a_switch_that_is_not_there_wait_for_it() {
    let server = Server::start(stock());
    let mut device = Device::observe(&server).await;
    device.desired.networks.insert(switch("blue"), macs(&[mac(1)]));
    device.settle().await;
    assert_eq!(device.mirror.ucast_local.len(), 0);
    server.ctl(&["add-ls", "blue"]);
    device.until("blue", |device| device.mirror.logical_switches.len() == 1).await;
    device.settle().await;
    assert_eq!(device.mirror.ucast_local.len(), 1);
}

#[tokio::test]
async fn a_new_tunnel_address_repoints_every_row_and_leaves_no_old_locator() {
    let (server, mut device) = blue(&[mac(1), mac(2)]).await;
    let rows: BTreeSet<_> = device.mirror.ucast_local.iter().map(|(uuid, _)| uuid).collect();
    device.desired.tunnel_address = ip("192.0.2.101");
    device.settle().await;
    device.catch_up().await;
    let after: BTreeSet<_> = device.mirror.ucast_local.iter().map(|(uuid, _)| uuid).collect();
    assert_eq!(after, rows, "the rows were updated, not written anew");
    let addresses: Vec<_> = device.mirror.locators.iter().map(|(_, row)| row.dst_ip.clone()).collect();
    assert_eq!(addresses, ["192.0.2.101"]);
    assert_eq!(shown(&server, &["get", "Physical_Switch", "host1", "tunnel_ips"]), ["[\"192.0.2.101\"]"]);
}

#[tokio::test]
async fn a_second_row_for_one_mac_is_removed_and_the_first_stays() {
    let (server, mut device) = blue(&[mac(1)]).await;
    let locator = device.mirror.locators.iter().next().unwrap().0;
    let row = device.mirror.logical_switches.iter().next().unwrap().0;
    server.transact(&format!(
        r#"["hardware_vtep",{{"op":"insert","table":"Ucast_Macs_Local","row":{{"MAC":"02-00-00-00-00-01","locator":["uuid","{locator}"],"logical_switch":["uuid","{row}"]}}}}]"#,
    ));
    device.until("the second row", |device| device.mirror.ucast_local.len() == 2).await;
    device.settle().await;
    assert_eq!(device.mirror.ucast_local.len(), 1);
}

#[tokio::test]
async fn a_thousand_macs_go_in_batches_with_one_locator() {
    let behind: Vec<_> = (0..1000_u16)
        .map(|n| vtep_api::MacAddr::new([2, 0, 0, 1, n.to_be_bytes()[0], n.to_be_bytes()[1]]))
        .collect();
    let (_server, device) = blue(&behind).await;
    assert_eq!(device.mirror.ucast_local.len(), 1000);
    assert_eq!(device.mirror.locators.len(), 1);
    assert!(device.transactions <= 13, "{}", device.transactions);
}

#[tokio::test]
async fn a_poisoned_row_is_set_aside_and_the_rest_lands() {
    // With an index that the stock schema lacks, a MAC of another device's fails our commit as a whole.
    let dir =
        changed(|schema| schema["tables"]["Ucast_Macs_Local"]["indexes"] = serde_json::json!([["MAC"]]));
    let server = Server::start(&dir.path().join("schema"));
    server.ctl(&["add-ls", "blue", "--", "add-ucast-local", "blue", "02:00:00:00:00:4d", "192.0.2.9"]);
    let mut device = Device::observe(&server).await;
    let behind: Vec<_> = (0..=255).map(mac).collect();
    device.desired.networks.insert(switch("blue"), macs(&behind));
    device.settle().await;
    assert_eq!(device.mirror.ucast_local.len(), 256, "255 of ours and the other's");
    let refused: Vec<_> = device.writer.refused().collect();
    let [(Subject::Mac(_, poison), reason)] = &refused[..] else { panic!("{refused:?}") };
    assert_eq!(*poison, mac(0x4d));
    assert!(reason.contains("constraint violation"), "{reason}");
    assert!(device.transactions <= 15, "{}", device.transactions);
    server.transact(r#"["hardware_vtep",{"op":"delete","table":"Ucast_Macs_Local","where":[["MAC","==","02:00:00:00:00:4d"]]}]"#);
    device.catch_up().await;
    device.writer.retry_refused();
    device.settle().await;
    assert_eq!((device.mirror.ucast_local.len(), device.writer.refused().count()), (256, 0));
}

#[tokio::test]
async fn role_and_time_are_written_where_the_schema_has_room() {
    let dir = extended();
    let server = Server::start(&dir.path().join("schema"));
    server.ctl(&["add-ls", "blue"]);
    let mut device = Device::observe(&server).await;
    let claim = |role, at| {
        let claim = LocalMac { role: Some(role), claimed_at_ms: Some(at), ip: None };
        BTreeMap::from([(mac(1), claim)])
    };
    device.desired.networks.insert(switch("blue"), claim(Role::Master, 1000));
    device.settle().await;
    let row = |device: &Device| {
        device.mirror.ucast_local.iter().next().map(|(uuid, row)| (uuid, row.clone())).unwrap()
    };
    let (uuid, first) = row(&device);
    assert_eq!((first.role, first.claimed_at_ms), (Some(RoleText::Master), Some(1000)));
    device.desired.networks.insert(switch("blue"), claim(Role::Slave, 2000));
    device.settle().await;
    let (same, second) = row(&device);
    assert_eq!((second.role, second.claimed_at_ms), (Some(RoleText::Slave), Some(2000)));
    assert_eq!(same, uuid, "a role change is no new row");
}

#[tokio::test]
async fn a_stations_address_is_written_changed_and_taken_back_in_one_row() {
    let (server, mut device) = blue(&[mac(1)]).await;
    let mut rows = BTreeSet::new();
    for address in [None, Some("10.1.0.1"), Some("10.1.0.2"), Some("2001:db8::1"), None] {
        let claim = LocalMac { ip: address.map(ip), ..LocalMac::default() };
        device.desired.networks.insert(switch("blue"), BTreeMap::from([(mac(1), claim)]));
        device.settle().await;
        rows.extend(device.mirror.ucast_local.iter().map(|(uuid, _)| uuid));
        let told = shown(&server, &["--bare", "--columns=ipaddr", "list", "Ucast_Macs_Local"]);
        assert_eq!(told.concat(), address.unwrap_or_default());
        device.transactions = 0;
        device.settle().await;
        assert_eq!(device.transactions, 0, "what is there is not written again");
    }
    assert_eq!(rows.len(), 1);
}

#[tokio::test]
async fn faults_are_told_and_cleared() {
    let server = Server::start(stock());
    let mut device = Device::start(&server).await;
    let fault = |name: &str| BTreeSet::from([name.to_owned()]);
    device.desired.faults = fault("mac_table_exhaustion");
    device.desired.ports.get_mut(&port("tap0")).unwrap().faults = fault("invalid_vlan_map");
    device.settle().await;
    assert_eq!(
        shown(&server, &["get", "Physical_Switch", "host1", "switch_fault_status"]),
        ["[mac_table_exhaustion]"]
    );
    let told = |device: &Device| {
        device.mirror.physical_ports.iter().filter(|(_, row)| !row.faults.is_empty()).count()
    };
    assert_eq!(told(&device), 1);
    device.desired.faults.clear();
    device.desired.ports.get_mut(&port("tap0")).unwrap().faults.clear();
    device.settle().await;
    assert_eq!(shown(&server, &["get", "Physical_Switch", "host1", "switch_fault_status"]), ["[]"]);
    assert_eq!(told(&device), 0);
}

#[tokio::test]
async fn two_devices_share_one_database() {
    let (server, mut first) = blue(&[mac(1)]).await;
    let mut second = Device::observe(&server).await;
    second.desired.name = name("host2");
    second.desired.tunnel_address = ip("192.0.2.102");
    second.desired.networks.insert(switch("blue"), macs(&[mac(2)]));
    second.settle().await;
    first.catch_up().await;
    first.transactions = 0;
    first.settle().await;
    assert_eq!(first.transactions, 0);
    assert_eq!(first.mirror.ucast_local.len(), 2);
    let owners: BTreeMap<_, _> =
        first.mirror.physical_switches.iter().map(|(_, row)| (row.name.clone(), row.ports.len())).collect();
    assert_eq!(owners, BTreeMap::from([("host1".to_owned(), 2), ("host2".to_owned(), 2)]));
}

#[tokio::test]
async fn nothing_is_removed_when_the_device_ends() {
    let (server, device) = blue(&[mac(1)]).await;
    let before = shown(&server, &["list-local-macs", "blue"]);
    drop(device);
    let mut after = Device::observe(&server).await;
    assert_eq!(shown(&server, &["list-local-macs", "blue"]), before);
    after.desired.networks.insert(switch("blue"), macs(&[mac(1)]));
    after.settle().await;
    assert_eq!(after.transactions, 0, "a restart adopts what stands there");
}
