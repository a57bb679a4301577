//! The schema extension as `ovsdb-server` and the stock tools see it.

use std::fs;

use hardware_vtep::controller::Remote;
use hardware_vtep::rows::RoleText;
use hardware_vtep::schema::{Converted, convert};
use vtep_api::Role;

use crate::schema::extended;
use crate::server::run;
use crate::tor::{Controller, OWN, at, ip, ls, mac, network, remote, tor, tor_with};

fn both() -> Remote {
    let slaves = [ip("192.0.2.2"), ip(OWN)].into();
    Remote { slaves, own_role: Some(Role::Slave), ..at("192.0.2.1") }
}

#[tokio::test]
async fn stock_clients_work_on_the_extended_schema() {
    let dir = extended();
    let schema = dir.path().join("schema").display().to_string();
    let told = run("ovsdb-tool", &["schema-cksum", &schema]);
    assert!(fs::read_to_string(&schema).unwrap().contains(told.trim()), "{told}");
    assert_eq!(run("ovsdb-tool", &["schema-version", &schema]).trim(), "1.8.0");
    let server = tor_with(dir.path().join("schema").as_path());
    server.ctl(&["add-ls", "blue", "--", "add-ucast-local", "blue", "02:00:00:00:00:01", OWN]);
    server.ctl(&["add-ucast-remote", "blue", "02:00:00:00:00:02", "192.0.2.1"]);
    assert_eq!(remote(&server, "blue")["02:00:00:00:00:02"], "192.0.2.1");
}

#[tokio::test]
async fn slaves_and_the_tors_own_role_are_written_where_the_schema_has_room() {
    let dir = extended();
    let server = tor_with(&dir.path().join("schema"));
    let mut controller = Controller::start(&server).await;
    controller.network("blue", network(5000, &[])).await;
    controller.put("blue", mac(1), both()).await;
    let mirror = controller.tor.mirror();
    let (uuid, row) = mirror.ucast_remote.iter().next().unwrap();
    assert_eq!(row.role, Some(RoleText::Slave));
    let slaves: Vec<_> =
        row.slave_locators.iter().map(|&slave| mirror.locators.row(slave).unwrap().dst_ip.as_str()).collect();
    assert_eq!(slaves, ["192.0.2.2"], "the TOR needs no tunnel to itself");
    controller.put("blue", mac(1), at("192.0.2.1")).await;
    let row = controller.tor.mirror().ucast_remote.row(uuid).expect("the row was updated");
    assert!(row.role.is_none() && row.slave_locators.is_empty());
    assert_eq!(controller.locators(), ["192.0.2.1"]);
}

#[tokio::test]
async fn the_stock_schema_works_without_the_columns() {
    let server = tor();
    let mut controller = Controller::start(&server).await;
    controller.network("blue", network(5000, &[])).await;
    controller.put("blue", mac(1), both()).await;
    assert_eq!(remote(&server, "blue")["02:00:00:00:00:01"], "192.0.2.1");
    assert_eq!(controller.locators(), ["192.0.2.1"]);
    assert!(controller.tor.is_settled(&ls("blue")) && controller.refused().is_empty());
}

#[tokio::test]
async fn a_live_database_is_converted_in_place_and_its_rows_are_kept() {
    let server = tor();
    server.ctl(&["add-ls", "red", "--", "add-ucast-local", "red", "02:00:00:00:00:07", OWN]);
    let mut controller = Controller::start(&server).await;
    controller.network("blue", network(5000, &["192.0.2.1"])).await;
    controller.put("blue", mac(1), both()).await;
    controller.observed.clear();
    let mut other = Controller::observe(&server).await;
    let handle = other.handle.clone();
    assert_eq!(other.reply(convert(&handle)).await.unwrap(), Converted::Now);
    let dump = run("ovsdb-client", &["get-schema-version", &server.unix(), "hardware_vtep"]);
    assert_eq!(dump.trim(), "1.8.0");
    // Those who follow the database see what they saw before, and have room for more.
    let has_room = |tor: &hardware_vtep::controller::Tor| {
        tor.mirror().is_synchronized() && tor.mirror().schema().has_column("Ucast_Macs_Remote", "role")
    };
    controller.until("the new schema", has_room).await;
    assert_eq!(controller.news().await, []);
    assert_eq!(remote(&server, "blue").len(), 2, "a MAC and unknown-dst");
    if !controller.lock().await {
        controller.until("the lock", hardware_vtep::controller::Tor::is_owner).await;
    }
    controller.settle().await;
    assert_eq!(controller.tor.mirror().ucast_remote.iter().next().unwrap().1.role, Some(RoleText::Slave));
    other.until("the new schema", has_room).await;
    let handle = other.handle.clone();
    assert_eq!(other.reply(convert(&handle)).await.unwrap(), Converted::Before);
}
