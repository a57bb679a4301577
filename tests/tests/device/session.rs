//! The connection to the database: lost, silent, emptied, and of every kind.

use std::time::Duration;

use vtep_tests::{
    deadline::wait_for,
    lab::{
        AgentSource, Stream,
        rig::{SOON, VNI},
    },
    ovsdb::OvsdbServer,
    pki::Pki,
};

use crate::rig::Rig;

const MAC: &str = "00:16:3e:00:00:07";
/// A device dials again after at most 8 s, give or take.
const DIALS_AGAIN: Duration = Duration::from_mins(1);

fn entries(rig: &Rig) -> serde_json::Value {
    rig.agent.json(&["fdb", "show"]).unwrap()
}

#[track_caller]
fn wait_until_lost(rig: &Rig) -> String {
    wait_for("the report of the loss", DIALS_AGAIN, || {
        rig.status()["source"]["lost"].as_str().map(str::to_owned)
    })
    .unwrap()
}

#[track_caller]
fn wait_until_back(rig: &Rig) {
    wait_for("the connection", DIALS_AGAIN, || rig.status()["source"]["lost"].is_null().then_some(()))
        .unwrap();
}

#[test]
fn a_server_that_restarts_costs_no_entry_and_no_frame() {
    let mut rig = Rig::connected();
    let before = entries(&rig);
    let stream = Stream::start(&rig.vm, &rig.far, Duration::from_millis(1)).unwrap();
    rig.ovsdb.stop().unwrap();
    wait_until_lost(&rig);
    assert!(rig.status()["alarms"].to_string().contains("source_lost"));
    assert_eq!(rig.status()["ready"], true, "it forwards by the last table");
    rig.ovsdb.restart().unwrap();
    wait_until_back(&rig);
    assert_eq!(entries(&rig), before);
    let report = stream.finish().unwrap();
    assert_eq!(report.received, report.sent);

    rig.write(&[&format!("add-ucast-remote blue {MAC} 192.0.2.21")]);
    rig.wait_for_master(VNI, MAC, Some("192.0.2.21"));
    // What changed while nobody was connected is followed as well.
    rig.agent.daemon().unwrap().terminate(SOON).unwrap();
    rig.write(&[&format!("del-ucast-remote blue {MAC}")]);
    rig.agent.start().unwrap();
    rig.wait_for_master(VNI, MAC, None);
    assert!(rig.vm.pings(rig.far.address, 10));
}

#[test]
fn a_silent_server_is_noticed_and_costs_no_frame() {
    let mut rig = Rig::connected();
    rig.agent.daemon().unwrap().terminate(SOON).unwrap();
    rig.agent
        .reconfigure(|text| text.replace("kind = \"ovsdb\"", "kind = \"ovsdb\"\nprobe_ms = 200"))
        .unwrap();
    rig.agent.start().unwrap();
    wait_for("readiness", SOON, || (rig.status()["ready"] == true).then_some(())).unwrap();
    let stream = Stream::start(&rig.vm, &rig.far, Duration::from_millis(1)).unwrap();
    rig.ovsdb.freeze().unwrap();
    wait_until_lost(&rig);
    rig.ovsdb.thaw().unwrap();
    wait_until_back(&rig);
    let report = stream.finish().unwrap();
    assert_eq!(report.received, report.sent);
}

#[test]
fn an_agent_that_starts_before_its_server_waits_and_keeps_what_is_installed() {
    let mut rig = Rig::connected();
    let before = entries(&rig);
    rig.agent.daemon().unwrap().terminate(SOON).unwrap();
    rig.ovsdb.stop().unwrap();
    rig.agent.start().unwrap();
    wait_until_lost(&rig);
    let status = rig.status();
    assert_eq!(status["ready"], false);
    assert!(status["waits_for"].to_string().contains("the source's first table"), "{status}");
    assert_eq!(entries(&rig).as_array().unwrap().len(), before.as_array().unwrap().len());
    assert!(rig.vm.pings(rig.far.address, 20));
    rig.ovsdb.restart().unwrap();
    wait_for("readiness", DIALS_AGAIN, || (rig.status()["ready"] == true).then_some(())).unwrap();
    assert_eq!(entries(&rig), before);
}

/// Whether the entries should outlast the emptied database is not said here: a controller writes it anew either way.
#[test]
fn an_emptied_database_gets_our_rows_again_and_is_followed() {
    let mut rig = Rig::connected();
    rig.ovsdb.restart_empty().unwrap();
    wait_for("our ports again", DIALS_AGAIN, || {
        (rig.ovsdb.vtep_ctl("list-ports host").ok()? == "p1\np2").then_some(())
    })
    .unwrap();
    rig.connect();
    assert!(rig.vm.pings(rig.far.address, 10));
    wait_for("our MAC again", SOON, || {
        rig.ovsdb.vtep_ctl("list-local-macs blue").ok().filter(|macs| macs.contains(&rig.vm.mac.to_string()))
    })
    .unwrap();
}

#[test]
fn a_database_is_reached_over_tcp() {
    let rig = Rig::with(|host| {
        let server = OvsdbServer::start_in(&host.netns, &["ptcp:6640:127.0.0.1"]).unwrap();
        (server, AgentSource::Ovsdb("tcp:127.0.0.1:6640".to_owned()))
    });
    rig.connect();
    assert!(rig.vm.pings(rig.far.address, 10));
}

#[test]
fn a_database_is_reached_over_tls() {
    let pki = Pki::new().unwrap();
    let rig = Rig::with(|host| {
        let server =
            OvsdbServer::start_secure_in(&host.netns, &["pssl:6640:127.0.0.1"], pki.issue("server").unwrap());
        let files = pki.issue("client").unwrap();
        (server.unwrap(), AgentSource::OvsdbTls("ssl:127.0.0.1:6640".to_owned(), files))
    });
    rig.connect();
    assert!(rig.vm.pings(rig.far.address, 10));
}

#[test]
fn a_database_dials_us() {
    let rig = Rig::with(|host| {
        let server = OvsdbServer::start_in(&host.netns, &["tcp:127.0.0.1:6641"]).unwrap();
        (server, AgentSource::Ovsdb("ptcp:6641:127.0.0.1".to_owned()))
    });
    rig.connect();
    assert!(rig.vm.pings(rig.far.address, 10));
}
