//! Figures 3 and 4 of the patent: who hears what.

use std::collections::BTreeSet;

use serde_json::Value;
use vtep_tests::{
    deadline::wait_for,
    lab::{
        Site,
        figure5::{FIGURE_5, VTEPS_OF_X, VTEPS_OF_Y, X, Y},
    },
};

use super::rig::SOON;

const VMS_OF_X: [(&str, &str); 3] = [("VM1", "b"), ("VM2", "b"), ("VM3", "b")];
const VMS_OF_Y: [(&str, &str); 4] = [("VM A", "a"), ("VM B", "a"), ("VM C", "a"), ("VM E", "c")];

fn declared() -> Site {
    let site = Site::new(&FIGURE_5).unwrap();
    site.declare().unwrap();
    wait_for("both networks on their VTEPs", SOON, || site.is_bound()).unwrap();
    site
}

#[track_caller]
fn announce(site: &Site, vni: u32, vteps: &[&str], table: &[(&str, &str)]) {
    table.iter().try_for_each(|(vm, _)| site.announce(vm)).unwrap();
    wait_for(&format!("{table:?}"), SOON, || site.forwards_by(vni, vteps, table)).unwrap();
    wait_for(&format!("the slaves of {table:?}"), SOON, || site.knows_slaves(vni, vteps, table)).unwrap();
}

/// Of a controller's table: MAC, master and slaves.
fn rows(site: &Site, controller: &str) -> Vec<(String, String, Value)> {
    let listed = site.controllers.named(controller).json(&["fdb"]).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let row = |row: &Value| (text(&row["mac"]), text(&row["master"]), row["slaves"].clone());
    listed.as_array().unwrap().iter().map(row).collect()
}

/// The VTEPs that a logical controller sends anything to, by its own books.
fn sent_to(site: &Site, controller: &str) -> BTreeSet<String> {
    let sync = site.controllers.named(controller).json(&["sync"]).unwrap();
    sync.as_array().unwrap().iter().map(|row| row["vtep"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn scenario_01_one_master_for_each_mac_of_x_and_no_change_of_y() {
    let site = declared();
    announce(&site, Y, &VTEPS_OF_Y, &VMS_OF_Y);
    let before = (site.rows_of("y").unwrap(), rows(&site, "lc-b"));
    assert!(!before.0.is_empty() && rows(&site, "lc-a").is_empty());

    announce(&site, X, &VTEPS_OF_X, &VMS_OF_X);
    let mut expected: Vec<_> = VMS_OF_X
        .iter()
        .map(|(vm, master)| (site.vm(vm).mac.to_string(), (*master).to_owned(), Value::from(vec!["a"])))
        .collect();
    expected.sort_by(|one, other| one.0.cmp(&other.0));
    let mut decided = rows(&site, "lc-a");
    decided.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(decided, expected, "each MAC once, behind b, with a standing by");
    assert_eq!((site.rows_of("y").unwrap(), rows(&site, "lc-b")), before, "y is as it was");
}

#[test]
fn scenario_02_a_slave_gets_the_table_of_y_and_who_is_outside_gets_nothing() {
    let site = declared();
    announce(&site, X, &VTEPS_OF_X, &VMS_OF_X);
    let outside = ["e", "f", "sfe"];
    let before = (site.told(&outside).unwrap(), site.rows_of("x").unwrap());

    announce(&site, Y, &VTEPS_OF_Y, &VMS_OF_Y);
    let decided = rows(&site, "lc-b");
    assert_eq!(decided.len(), VMS_OF_Y.len());
    assert!(decided.iter().all(|(_, master, _)| master != "d"), "d is master of nothing: {decided:?}");
    let of_e: Vec<_> = decided.iter().filter(|(mac, ..)| *mac == site.vm("VM E").mac.to_string()).collect();
    assert!(matches!(of_e[..], [(_, master, slaves)] if master == "c" && *slaves == Value::from(vec!["d"])));

    assert_eq!(site.told(&outside).unwrap(), before.0, "a VTEP outside y was sent something");
    assert_eq!(site.rows_of("x").unwrap(), before.1, "x is as it was");
    assert_eq!(sent_to(&site, "lc-b"), VTEPS_OF_Y.map(str::to_owned).into());
    let mac = site.vm("VM E").mac.to_string();
    let hears = |controller: &str| rows(&site, controller).iter().any(|(known, ..)| *known == mac);
    assert!(hears("pc-a") && !hears("pc-d"), "pc-d has no VTEP in y");
}
