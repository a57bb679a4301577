//! Locks, and databases that are not as they should be.

use std::process::{Child, Command, Stdio};

use vtep_tests::deadline::wait_for;

use super::MAC;
use super::rig::{SOON, Site, Tor, declared, pair};

/// Takes the lock from whoever has it, and keeps it until it is dropped.
struct Thief(Child);

impl Thief {
    fn steal(tor: &Tor) -> Self {
        let client = Command::new("ovsdb-client")
            .args(["steal", &tor.ovsdb.remote(), "vtepd_physical_controller"])
            .stdout(Stdio::piped())
            .spawn();
        Self(client.unwrap())
    }
}

impl Drop for Thief {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn scenario_15_nothing_is_written_while_another_has_the_lock() {
    let (a, b, site) = pair();
    a.claim("ls0", MAC).unwrap();
    b.expect("ls0", &[(MAC, &a)], SOON);
    let thief = Thief::steal(&b);
    let said = |text: &str| {
        let vteps = site.controller.print(&["vteps", "--json"]).unwrap_or_default();
        vteps.contains(text)
    };
    wait_for("the alarm", SOON, || said("another controller has the lock").then_some(())).unwrap();
    let before = b.remote("ls0").unwrap();
    a.claim("ls0", "02:00:00:00:00:02").unwrap();
    // What b says is heard, and shows that the controller has seen a's news.
    b.claim("ls0", "02:00:00:00:00:03").unwrap();
    a.expect("ls0", &[("02:00:00:00:00:03", &b)], SOON);
    assert_eq!(b.remote("ls0").unwrap(), before);
    drop(thief);
    b.expect("ls0", &[(MAC, &a), ("02:00:00:00:00:02", &a)], SOON);
    wait_for("the alarm to go", SOON, || (!said("another controller has the lock")).then_some(())).unwrap();
}

#[test]
fn rows_that_cannot_be_are_refused_by_name_and_the_rest_counts() {
    let (a, b, site) = pair();
    a.claim("ls0", MAC).unwrap();
    b.expect("ls0", &[(MAC, &a)], SOON);
    a.ctl("add-ucast-local ls0 02:00:00:00:00:zz 192.0.2.1").unwrap();
    a.ctl("add-ucast-local ls0 02:00:00:00:00:07 not-an-address").unwrap();
    a.claim("ls0", "02:00:00:00:00:02").unwrap();
    b.expect("ls0", &[(MAC, &a), ("02:00:00:00:00:02", &a)], SOON);
    wait_for("both refusals", SOON, || {
        let vteps = site.controller.print(&["vteps", "--json"]).unwrap_or_default();
        (vteps.contains("02:00:00:00:00:zz") && vteps.contains("not-an-address")).then_some(())
    })
    .unwrap();
}

#[test]
fn a_vni_that_somebody_else_gave_out_is_refused_by_name() {
    let (a, b) = (Tor::new(1).unwrap(), Tor::new(2).unwrap());
    a.ctl("add-ls mine -- set Logical_Switch mine tunnel_key=5000").unwrap();
    let site = Site::new(&declared("", [&a, &b], &super::rig::both(&a, &b))).unwrap();
    b.wait_for_switch("ls0").unwrap();
    wait_for("the conflict", SOON, || {
        let vteps = site.controller.print(&["vteps", "--json"]).unwrap_or_default();
        (vteps.contains("5000") && vteps.contains("mine")).then_some(())
    })
    .unwrap();
    assert_eq!(a.ctl("list-ls").unwrap(), "mine");
}
