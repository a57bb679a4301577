//! Who restarts changes nothing.

use nix::sys::signal::Signal;
use vtep_tests::deadline::wait_for;

use super::MAC;
use super::rig::{SOON, Site, Tor, both, declared, pair};

/// What is said after a restart is seen: whatever else it does has been done by then.
fn settled(a: &Tor, b: &Tor) {
    a.claim("ls0", "02:00:00:00:00:0a").unwrap();
    b.claim("ls0", "02:00:00:00:00:0b").unwrap();
    wait_for("news after the restart", SOON, || {
        let told = |tor: &Tor, mac| tor.remote("ls0").is_ok_and(|macs| macs.contains_key(mac));
        (told(b, "02:00:00:00:00:0a") && told(a, "02:00:00:00:00:0b")).then_some(())
    })
    .unwrap();
}

/// What was there is there, not one row written anew.
#[track_caller]
pub(super) fn check_kept(tor: &Tor, before: &std::collections::BTreeMap<String, String>) {
    let after = tor.rows().unwrap();
    for (row, version) in before {
        assert_eq!(after.get(row), Some(version), "{row} of {} was deleted or rewritten", tor.name);
    }
}

#[test]
fn scenario_24_a_controller_that_is_killed_and_starts_again_rewrites_nothing() {
    let (a, b, mut site) = pair();
    let macs: Vec<String> = (0x10..0x40).map(|last| format!("02:00:00:00:00:{last:02x}")).collect();
    for mac in &macs {
        a.claim("ls0", mac).unwrap();
    }
    b.claim("ls0", MAC).unwrap();
    let of_a: Vec<_> = macs.iter().map(|mac| (mac.as_str(), &a)).collect();
    b.expect("ls0", &of_a, SOON);
    a.expect("ls0", &[(MAC, &b)], SOON);
    let before = [(&a, a.rows().unwrap()), (&b, b.rows().unwrap())];
    site.controller.kill().unwrap();
    site.controller.start().unwrap();
    settled(&a, &b);
    for (tor, rows) in &before {
        check_kept(tor, rows);
    }
}

#[test]
fn a_controller_that_is_asked_to_stop_leaves_everything_as_it_is() {
    let (a, b, mut site) = pair();
    a.claim("ls0", MAC).unwrap();
    b.expect("ls0", &[(MAC, &a)], SOON);
    let before = [(&a, a.rows().unwrap()), (&b, b.rows().unwrap())];
    assert!(site.controller.daemon().unwrap().terminate(SOON).unwrap().success());
    for (tor, rows) in before {
        assert_eq!(tor.rows().unwrap(), rows);
    }
}

#[test]
fn scenario_24_a_tors_database_that_restarts_is_not_rewritten() {
    let (mut a, b, _site) = pair();
    a.claim("ls0", MAC).unwrap();
    b.claim("ls0", "02:00:00:00:00:02").unwrap();
    b.expect("ls0", &[(MAC, &a)], SOON);
    a.expect("ls0", &[("02:00:00:00:00:02", &b)], SOON);
    let before = [a.rows().unwrap(), b.rows().unwrap()];
    a.ovsdb.restart().unwrap();
    settled(&a, &b);
    check_kept(&b, &before[1]);
    // A server that starts gives every row another version: the rows are still the same.
    let after = a.rows().unwrap();
    let gone: Vec<_> = before[0].keys().filter(|row| !after.contains_key(*row)).collect();
    assert!(gone.is_empty(), "{gone:?} of tor1 were deleted");
}

#[test]
fn a_database_that_comes_back_empty_is_filled_again() {
    let (mut a, b, _site) = pair();
    b.claim("ls0", MAC).unwrap();
    a.expect("ls0", &[(MAC, &b)], SOON);
    a.ovsdb.restart_empty().unwrap();
    a.ctl("add-ps tor1 -- set Physical_Switch tor1 tunnel_ips=192.0.2.1 -- add-port tor1 p1").unwrap();
    a.expect("ls0", &[(MAC, &b)], SOON);
    a.expect_flood("ls0", &[&b]);
    // It is bound only when the controller has heard of the port, which the rest did not wait for.
    wait_for("the binding", SOON, || (a.ctl("list-bindings tor1 p1").ok()? == "0000 ls0").then_some(()))
        .unwrap();
}

#[test]
fn a_database_that_vanishes_in_mid_transaction_is_compared_before_it_is_written_again() {
    let (a, mut b, site) = pair();
    a.claim("ls0", MAC).unwrap();
    b.expect("ls0", &[(MAC, &a)], SOON);
    // The transaction is sent, and never answered.
    b.ovsdb.freeze().unwrap();
    a.claim("ls0", "02:00:00:00:00:02").unwrap();
    a.withdraw("ls0", MAC).unwrap();
    wait_for("the decision", SOON, || {
        let table = site.controller.print(&["fdb", "--json"]).ok()?;
        (table.contains("02:00:00:00:00:02") && !table.contains(MAC)).then_some(())
    })
    .unwrap();
    b.ovsdb.kill().unwrap();
    b.ovsdb.restart().unwrap();
    b.expect("ls0", &[("02:00:00:00:00:02", &a)], SOON);
}

#[test]
fn a_recording_gives_the_same_tables_again() {
    let (a, b) = (Tor::new(1).unwrap(), Tor::new(2).unwrap());
    let recording = tempfile::NamedTempFile::new().unwrap();
    let path = recording.path().display().to_string();
    let text = declared("", [&a, &b], &both(&a, &b));
    let record =
        |text: String| text.replacen("[controller]\n", &format!("[controller]\nrecord = \"{path}\"\n"), 1);
    let mut site = Site::edited(&text, record).unwrap();
    [&a, &b].into_iter().try_for_each(|tor| tor.wait_for_switch("ls0")).unwrap();
    for last in 1..20 {
        let mac = format!("02:00:00:00:00:{last:02x}");
        a.claim("ls0", &mac).unwrap();
        if last % 2 == 0 {
            b.claim("ls0", &mac).unwrap();
        }
        if last % 3 == 0 {
            a.withdraw("ls0", &mac).unwrap();
        }
    }
    wait_for("the last MAC", SOON, || b.remote("ls0").ok()?.contains_key("02:00:00:00:00:13").then_some(()))
        .unwrap();
    let printed = site.controller.print(&["fdb", "--json"]).unwrap();
    site.controller.daemon().unwrap().signal(Signal::SIGTERM).unwrap();
    site.controller.daemon().unwrap().wait(SOON).unwrap();
    let replayed = site.controller.replay(&path).unwrap();
    assert_eq!(replayed, printed);
}
