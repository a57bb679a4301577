//! BFD as it is declared: TORs are asked for it in their databases, hosts by their controllers.

use serde_json::Value;
use vtep_tests::deadline::wait_for;

use super::rig::{Rig, SOON, VTEPS};

#[test]
fn bfd_that_is_declared_runs_between_tors_and_hosts_and_is_shown() {
    let rig = Rig::new();
    rig.declare_with("[bfd]\nenabled = true\nmin_tx_ms = 400\nmin_rx_ms = 400").unwrap();
    for (vtep, agent) in rig.agents() {
        let by = if vtep == "sfe" { "controller" } else { "database" };
        let rows = || Some(agent.json(&["bfd", "show"]).ok()?.as_array()?.clone());
        wait_for(&format!("the sessions of {vtep}"), SOON, || {
            let rows = rows()?;
            let is_up = |row: &Value| {
                row["state"] == "up" && row["configured_by"] == by && row["transport"] == "vxlan"
            };
            (rows.len() == VTEPS.len() - 1 && rows.iter().all(is_up)).then_some(())
        })
        .unwrap_or_else(|error| panic!("{error}: {:?}", rows()));
    }
    let asked = rig.tor("a").ovsdb.vtep_ctl("--bare --columns=bfd_params list Tunnel").unwrap();
    assert_eq!(asked.matches("enable=true").count(), VTEPS.len() - 1, "{asked}");
    assert_eq!(asked.matches("min_rx=400").count(), VTEPS.len() - 1, "{asked}");
    wait_for("the operator's view", SOON, || {
        let rows = rig.controllers.named("pc").json(&["vteps"]).ok()?;
        let a = rows.as_array()?.iter().find(|row| row["vtep"] == "a")?.clone();
        let sessions = a["state"]["bfd"].as_object()?;
        (sessions.len() == VTEPS.len() - 1 && sessions.values().all(|state| state == "up")).then_some(())
    })
    .unwrap();

    rig.declare().unwrap();
    for (vtep, agent) in rig.agents() {
        let none = || Some(agent.json(&["bfd", "show"]).ok()?.as_array()?.is_empty());
        wait_for(&format!("no session at {vtep}"), SOON, || none()?.then_some(())).unwrap();
    }
    let told = || rig.tor("a").ovsdb.vtep_ctl("--bare --columns=bfd_status list Tunnel").ok();
    let ended = |text: String| text.matches("enabled=false").count() == VTEPS.len() - 1;
    wait_for("the end in the database", SOON, || told().filter(|text| ended(text.clone())).map(drop))
        .unwrap();
}
