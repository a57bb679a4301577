//! Something is gone for a while, and forwarding goes on.

use serde_json::{Value, json};
use vtep_tests::{deadline::wait_for, lab::figure5::X};

use super::rig::{Rig, SOON, VTEPS, wait_for_more};

const TABLE: [(&str, &str); 4] = [("VM1", "a"), ("VM2", "a"), ("VM4", "c"), ("VM8", "sfe")];

/// A VM that everybody hears of after a restart, so that whatever had to be told again was told before.
#[track_caller]
fn wait_for_news(rig: &Rig, number: u8, vteps: &[&str]) {
    let newcomer = rig.rack_host("h2x").vm(number).unwrap();
    newcomer.announce().unwrap();
    for (vtep, agent) in rig.agents().filter(|(name, _)| vteps.contains(name)) {
        wait_for(&format!("a new VM at {vtep}"), SOON, || agent.place(X, newcomer.mac).map(drop)).unwrap();
    }
}

/// Of what these TORs had been told nothing was written again.
#[track_caller]
fn assert_unwritten(rig: &Rig, tors: &[&str], told: &[Value]) {
    let now = rig.told(tors).unwrap();
    let written: Vec<_> = told.iter().filter(|row| !now.contains(row)).map(Value::to_string).collect();
    assert!(written.is_empty(), "rows were written or deleted:\n{}", written.join("\n"));
}

#[test]
fn scenario_24_every_part_restarts_without_loss_or_deletion() {
    let mut rig = Rig::new();
    let stream = rig.stream();

    rig.sfe.daemon().unwrap().kill().unwrap();
    rig.sfe.start().unwrap();
    wait_for_news(&rig, 21, &VTEPS);
    let tor = rig.tor_mut("a");
    tor.agent.daemon().unwrap().kill().unwrap();
    tor.agent.start().unwrap();
    wait_for_news(&rig, 22, &VTEPS);
    let (reported, told) = (rig.reports("a").unwrap(), rig.told(&["a", "b"]).unwrap());
    for (controller, number) in [("pc", 23), ("lc", 24)] {
        rig.controllers.named_mut(controller).kill().unwrap();
        assert!(rig.places(X, &VTEPS, &TABLE).is_some());
        rig.controllers.named_mut(controller).start().unwrap();
        wait_for_news(&rig, number, &VTEPS);
        assert_eq!(rig.reports("a").unwrap(), reported);
        assert_unwritten(&rig, &["a", "b"], &told);
    }
    rig.tor_mut("a").ovsdb.restart().unwrap();
    wait_for_news(&rig, 25, &VTEPS);

    assert_eq!(rig.places(X, &VTEPS, &TABLE), Some(()));
    wait_for_more(&stream);
    let report = stream.finish().unwrap();
    assert_eq!(report.sent, report.received, "frames were lost: {report:?}");
}

#[test]
fn scenario_24_a_controller_of_both_roles_restarts_without_loss_or_deletion() {
    let mut rig = Rig::alone();
    let stream = rig.stream();
    let told = rig.told(&["a", "b", "c", "d"]).unwrap();
    for number in [21, 22] {
        rig.controllers.named_mut("vtepd").kill().unwrap();
        rig.controllers.named_mut("vtepd").start().unwrap();
        wait_for_news(&rig, number, &VTEPS);
        assert_unwritten(&rig, &["a", "b", "c", "d"], &told);
    }
    let report = stream.finish().unwrap();
    assert_eq!(report.sent, report.received, "frames were lost: {report:?}");
}

#[test]
fn scenario_25_a_lost_session_flushes_nothing_and_its_return_moves_nothing() {
    let mut rig = Rig::new();
    let stream = rig.stream();
    let told = rig.told(&["b", "c"]).unwrap();
    rig.tor_mut("a").ovsdb.stop().unwrap();
    let vm1 = rig.vm("VM1").mac.to_string();
    wait_for("the loss, as the operator sees it", SOON, || {
        let explained = rig.controllers.named("lc").print(&["explain", "x", &vm1]).ok()?;
        explained.contains("its session is lost").then_some(())
    })
    .unwrap();
    wait_for_news(&rig, 21, &["b", "c", "d", "sfe"]);
    assert_eq!(rig.places(X, &VTEPS, &TABLE), Some(()));
    rig.tor_mut("a").ovsdb.restart().unwrap();
    wait_for_news(&rig, 22, &VTEPS);
    assert_eq!(rig.places(X, &VTEPS, &TABLE), Some(()));
    assert_unwritten(&rig, &["b", "c"], &told);
    let report = stream.finish().unwrap();
    assert_eq!(report.sent, report.received, "frames were lost: {report:?}");
}

#[test]
fn scenario_25_a_lost_vtep_that_another_finds_dead_hands_over_to_its_slave() {
    let mut rig = Rig::new();
    rig.tor_mut("a").ovsdb.stop().unwrap();
    wait_for_news(&rig, 21, &["b", "c", "d", "sfe"]);
    assert_eq!(rig.places(X, &VTEPS, &TABLE), Some(()), "a lost session alone moves nothing");
    find_dead(&rig, "c", "a");
    let others = ["b", "c", "d", "sfe"];
    let taken_over = [("VM1", "b"), ("VM2", "b"), ("VM4", "c"), ("VM8", "sfe")];
    wait_for("the slave in its place", SOON, || rig.places(X, &others, &taken_over)).unwrap();
}

/// As a TOR's BFD says it in its database: `Tunnel.bfd_status` (`vtep(5)`).
fn find_dead(rig: &Rig, by: &str, whom: &str) {
    let ovsdb = &rig.tor(by).ovsdb;
    let [local, remote] = [by, whom].map(|vtep| {
        let wanted = json!([["dst_ip", "==", rig.address(vtep).to_string()]]);
        ovsdb.select("Physical_Locator", &wanted).unwrap()[0]["_uuid"].clone()
    });
    let status = json!([["state", "down"], ["diagnostic", "Control Detection Time Expired"]]);
    let tunnel = json!({"local": local, "remote": remote, "bfd_status": ["map", status]});
    let made = json!(["set", [["named-uuid", "made"]]]);
    let results = ovsdb.transact(&json!([
        {"op": "insert", "table": "Tunnel", "uuid-name": "made", "row": tunnel},
        {"op": "mutate", "table": "Physical_Switch", "where": [], "mutations": [["tunnels", "insert", made]]},
    ]));
    let results = results.unwrap();
    assert!(!results.to_string().contains("\"error\""), "{results}");
}
