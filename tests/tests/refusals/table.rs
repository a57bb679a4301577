//! Rows and files of a table that are refused while traffic passes.

use std::time::Duration;

use serde_json::Value;
use vtep_tests::{
    deadline::wait_for,
    lab::{
        Stream,
        rig::{Rig, SOON, VNI, binding, mac, network, table},
    },
};

/// The table that [`Rig::new`] starts with.
fn good(rig: &Rig) -> String {
    let text = [network("blue", VNI, &["tor"]), binding("p1", 0, "blue"), mac("blue", &rig.far, "tor")];
    table(&[("tor", 11)], &text.concat())
}

fn mac_row(network: &str, mac: &str, master: &str) -> String {
    format!("\n[[mac]]\nlogical_switch = \"{network}\"\nmac = \"{mac}\"\nmaster = \"{master}\"\n")
}

fn status(rig: &Rig) -> Value {
    rig.agent.json(&["status"]).expect("the agent answers")
}

/// `row` is refused at `path` for a reason that has `expected` in it, and frames pass.
#[track_caller]
fn check(rig: &Rig, row: &str, path: &str, expected: &str) {
    let macs = status(rig)["counts"]["macs"].clone();
    rig.agent.write_table(&(good(rig) + row)).unwrap();
    wait_for(&format!("{expected:?} at {path}"), SOON, || {
        let status = status(rig);
        let mut refused = status["source"]["first_refused"].as_array()?.iter();
        let says = |problem: &Value| problem.as_str().is_some_and(|problem| problem.contains(expected));
        refused.any(|refusal| refusal["path"] == path && says(&refusal["problem"])).then_some(())
    })
    .unwrap();
    let status = status(rig);
    assert_eq!(status["counts"]["macs"], macs);
    assert!(status["alarms"].to_string().contains("rows_refused"), "{status}");
    assert!(rig.vm.pings(rig.far.address, 5), "frames do not pass beside a bad row");
}

#[test]
fn a_vni_out_of_range_is_refused_with_what_was_expected() {
    let rig = Rig::new().unwrap();
    check(&rig, &network("zero", 0, &["tor"]), "logical_switch[1].vni", "\"0\"; expected 1 to 16777215");
    let row = network("high", 1 << 24, &["tor"]);
    check(&rig, &row, "logical_switch[1].vni", "\"16777216\"; expected 1 to 16777215");
}

#[test]
fn a_vni_that_another_network_has_is_refused_and_names_it() {
    let rig = Rig::new().unwrap();
    let row = network("thief", VNI, &["tor"]);
    check(&rig, &row, "logical_switch[1].vni", "\"5001\"; expected a VNI that no earlier logical switch has");
    check(&rig, &row, "logical_switch[1].vni", "\"blue\" has this one");
}

#[test]
fn a_mac_of_no_single_station_is_refused() {
    let rig = Rig::new().unwrap();
    for mac in ["01:00:5e:00:00:01", "33:33:00:00:00:01", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00"] {
        let expected = format!("{mac:?}; expected the address of one station");
        check(&rig, &mac_row("blue", mac, "tor"), "mac[1].mac", &expected);
    }
    check(&rig, &mac_row("blue", "02:00:00:00:00", "tor"), "mac[1].mac", "expected six octets");
}

#[test]
fn the_second_row_of_a_mac_is_refused_and_the_first_stands() {
    let rig = Rig::new().unwrap();
    let row = mac_row("blue", &rig.far.mac.to_string(), "tor");
    check(&rig, &row, "mac[1].mac", "an earlier row stands");
}

#[test]
fn a_row_that_refers_to_nothing_is_refused() {
    let rig = Rig::new().unwrap();
    let absent = "02:00:00:00:00:77";
    check(
        &rig,
        &mac_row("blue", absent, "nobody"),
        "mac[1].master",
        "\"nobody\"; expected the name of a VTEP",
    );
    check(
        &rig,
        &mac_row("nowhere", absent, "tor"),
        "mac[1].logical_switch",
        "expected the name of a logical",
    );
    check(&rig, &binding("p2", 4095, "blue"), "binding[1].vlan", "\"4095\"; expected 0 (untagged) to 4094");
}

#[test]
fn a_vtep_without_a_route_is_an_alarm_and_the_others_go_on() {
    let rig = Rig::new().unwrap();
    let far = "[[vtep]]\nname = \"lost\"\naddress = \"203.0.113.7\"\n";
    let lost = mac_row("blue", "02:00:00:00:00:77", "lost");
    rig.agent.write_table(&format!("{}{far}{lost}", good(&rig))).unwrap();
    let alarm = wait_for("the alarm", SOON, || {
        let alarms = status(&rig)["alarms"].clone();
        alarms.as_array()?.iter().find(|alarm| alarm["kind"] == "no_route").cloned()
    })
    .unwrap();
    assert_eq!(
        (&alarm["subject"], &alarm["message"]),
        (&"203.0.113.7".into(), &"no route leads to the VTEP".into())
    );
    assert_eq!(rig.vtep("lost").unwrap()["routed"], false);
    assert_eq!(status(&rig)["source"]["rows_refused"], 0, "the row itself is right");
    assert!(rig.vm.pings(rig.far.address, 20));
    rig.host.netns.ip("route add 203.0.113.7/32 via 192.0.2.11").unwrap();
    wait_for("the end of the alarm", SOON, || {
        let alarms = status(&rig)["alarms"].clone();
        alarms.as_array()?.iter().all(|alarm| alarm["kind"] != "no_route").then_some(())
    })
    .unwrap();
}

#[test]
fn a_table_cut_anywhere_is_reported_and_the_last_good_one_stays() {
    let rig = Rig::new().unwrap();
    let whole = good(&rig);
    let counted = whole.replace("version = 1\n", "version = 1\nrows = 4\n");
    let macs = status(&rig)["counts"]["macs"].clone();
    let stream = Stream::start(&rig.vm, &rig.far, Duration::from_millis(1)).unwrap();
    let lost = || status(&rig)["source"]["lost"].as_str().map(str::to_owned);
    // In a name, in a key, in a header, between two rows.
    let between_rows = counted.rfind("\n[[mac]]").unwrap();
    let cuts = [
        counted.find("tor").unwrap() + 1,
        whole.rfind("master").unwrap() + 3,
        between_rows + 3,
        between_rows,
    ];
    for cut in cuts {
        rig.agent.write_table(&counted[..cut.min(counted.len())]).unwrap();
        let reason = wait_for("the report of the cut", SOON, lost).unwrap();
        assert!(reason.contains("table.toml"), "{reason}");
        let named = if cut == between_rows { "has 3 rows; expected 4" } else { "line" };
        assert!(reason.contains(named), "{reason}");
        assert_eq!(status(&rig)["counts"]["macs"], macs);
        rig.agent.write_table(&counted).unwrap();
        wait_for("the good table", SOON, || lost().is_none().then_some(())).unwrap();
    }
    std::fs::remove_file(rig.agent.table_path()).unwrap();
    let reason = wait_for("the report of the missing file", SOON, lost).unwrap();
    assert!(reason.contains("cannot be read"), "{reason}");
    let report = stream.finish().unwrap();
    assert_eq!(report.received, report.sent);
}
