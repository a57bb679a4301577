//! As the device of a real `ovsdb-server`, which `vtep-ctl` writes to.

use serde_json::Value;
use vtep_tests::deadline::wait_for;
use vtep_tests::ovsdb::OvsdbServer;
use vtep_tests::process::Daemon;

use crate::host::{Host, PATIENCE};

const MAC: &str = "02:00:00:00:00:01";

struct Device {
    host: Host,
    server: OvsdbServer,
}

impl Device {
    fn new() -> (Self, Daemon) {
        let host = Host::bare();
        let server = OvsdbServer::start().unwrap();
        let source = format!("kind = \"ovsdb\"\nremote = \"{}\"", server.remote());
        host.configure("agent.toml", &host.pins(), &source, "");
        let daemon = host.start();
        (Self { host, server }, daemon)
    }

    /// With a logical switch that our port is bound to and that has one remote MAC.
    fn bound() -> (Self, Daemon) {
        let (device, daemon) = Self::new();
        until("the port", || device.ctl("list-ports host-1").contains("tap0"));
        device.ctl("add-ls blue");
        device.ctl("set Logical_Switch blue tunnel_key=5001 replication_mode=source_node");
        device.ctl("bind-ls host-1 tap0 0 blue");
        device.ctl(&format!("add-ucast-remote blue {MAC} 192.0.2.11"));
        device.ctl("add-mcast-remote blue unknown-dst 192.0.2.11");
        until("both MACs", || device.host.macs() == 2);
        until("the flood list", || {
            let networks = device.host.json(&["vni", "show"]);
            networks.is_some_and(|networks| networks[0]["flood"].to_string().contains("192.0.2.11"))
        });
        until("our MAC upstream", || device.ctl("list-local-macs blue").contains("02:00:00:00:00:aa"));
        (device, daemon)
    }

    fn ctl(&self, line: &str) -> String {
        self.server.vtep_ctl(line).unwrap()
    }

    fn master(&self, vni: &str) -> Option<Value> {
        let row = self.host.json(&["fdb", "get", vni, MAC])?;
        Some(row["master"]["vtep"]["address"].clone())
    }

    fn lost(&self) -> bool {
        self.host.status().is_some_and(|status| !status["source"]["lost"].is_null())
    }

    /// Our row's identity: another one would be another claim.
    fn local_row(&self) -> String {
        self.ctl("--columns=_uuid,MAC --format=csv list Ucast_Macs_Local")
    }
}

#[track_caller]
fn until(what: &str, condition: impl Fn() -> bool) {
    wait_for(what, PATIENCE, || condition().then_some(())).unwrap();
}

#[test]
fn the_database_gets_our_switch_port_and_macs_and_we_its_table() {
    let (device, _daemon) = Device::bound();
    assert!(device.ctl("show").contains("192.0.2.1"));
    until("our flood entry", || device.ctl("list-local-macs blue").contains("unknown-dst"));
    assert_eq!(device.master("5001").unwrap(), "192.0.2.11");
    let blue = device.host.json(&["vni", "show"]).unwrap();
    assert_eq!(blue[0]["flood"], serde_json::json!(["port tap0", "192.0.2.11"]));
}

#[test]
fn a_changed_locator_key_and_withdrawal_are_followed() {
    let (device, _daemon) = Device::bound();
    device.ctl(&format!("add-ucast-remote blue {MAC} 192.0.2.12"));
    until("the move", || device.master("5001").is_some_and(|master| master == "192.0.2.12"));
    device.ctl("set Logical_Switch blue tunnel_key=6001");
    until("the new key", || device.master("6001").is_some_and(|master| master == "192.0.2.12"));
    until("the old key's end", || device.master("5001").is_none());
    device.ctl(&format!("del-ucast-remote blue {MAC}"));
    until("the withdrawal", || device.host.macs() == 1);
}

#[test]
fn a_malformed_row_is_reported_and_the_rest_counts() {
    let (device, _daemon) = Device::bound();
    device.ctl("add-ucast-remote blue 02:00:00:00:00:zz 192.0.2.11");
    device.ctl("add-ucast-remote blue 02:00:00:00:00:02 192.0.2.11");
    until("the good row", || device.host.macs() == 3);
    let source = device.host.status().unwrap()["source"].clone();
    let refused = source["first_refused"].as_array().unwrap();
    assert!(refused.iter().any(|row| row["problem"].as_str().unwrap().contains("00:zz")), "{source}");
}

#[test]
fn a_server_that_goes_and_comes_changes_nothing() {
    let (mut device, _daemon) = Device::bound();
    let (epoch, row) = (device.host.status().unwrap()["epoch"].clone(), device.local_row());
    device.server.stop().unwrap();
    until("the loss", || device.lost());
    assert_eq!(device.host.macs(), 2);
    device.server.restart().unwrap();
    until("the return", || !device.lost());
    assert_eq!((&device.host.status().unwrap()["epoch"], device.local_row()), (&epoch, row));
}

#[test]
fn an_agent_that_is_killed_and_comes_back_claims_nothing_anew() {
    let (device, mut daemon) = Device::bound();
    let (epoch, row) = (device.host.status().unwrap()["epoch"].clone(), device.local_row());
    daemon.kill().unwrap();
    assert_eq!(device.local_row(), row);
    let _daemon = device.host.start();
    device.ctl("add-ucast-remote blue 02:00:00:00:00:02 192.0.2.11");
    until("a change that came after", || device.host.macs() == 3);
    assert_eq!(device.local_row(), row);
    let after = device.host.status().unwrap()["epoch"].as_u64().unwrap();
    assert_eq!(after, epoch.as_u64().unwrap() + 1);
}

#[test]
fn a_slave_has_no_row_in_a_stock_database_and_its_master_has() {
    let (device, _daemon) = Device::bound();
    let row = device.local_row();
    let role = |words: &[&str]| assert!(device.host.ask(words).status.success());
    role(&["role", "set", "slave", "--logical-switch", "blue"]);
    let present = || device.ctl("list-local-macs blue").contains("02:00:00:00:00:aa");
    until("the row's end", || !present());
    assert_eq!(device.host.macs(), 2);
    role(&["role", "set", "master"]);
    until("the row", present);
    assert_ne!(device.local_row(), row);
}
