//! etcd was put back to an older state: its terms are lower than those that receivers obeyed.

use serde_json::Value;
use vtep_api::ToVtep;
use vtep_tests::deadline::wait_for;
use vtep_tests::lab::ControllerRole::{Both, Logical, Physical};

use super::logical::other;
use super::physical::{Attached, HOST};
use super::site::{Rows, Site};
use super::tors::{SOON, Tor, both, declared};

const M1: &str = "02:00:00:00:00:01";
const M2: &str = "02:00:00:00:00:02";

/// The highest term that an alarm says to raise above, and its sentence.
fn told(site: &Site, name: &str) -> Option<(u64, String)> {
    let alarms = site.controllers[name].json(&["alarms"]).ok()?;
    let outdated = alarms.as_array()?.iter().filter(|alarm| alarm["kind"] == "terms_outdated");
    let term = |alarm: &Value| {
        let message = alarm["message"].as_str()?.to_owned();
        let term = message.split_once("raise-term --above ")?.1.split_once('`')?.0.parse().ok()?;
        Some((term, message))
    };
    outdated.filter_map(term).max()
}

#[test]
fn after_an_older_etcd_was_put_back_terms_are_refused_until_an_operator_raises_them_and_nothing_is_lost() {
    let (a, b) = (Tor::new(1).unwrap(), Tor::new(2).unwrap());
    // An order waits for etcd for a third of the lease.
    let mut site = Site::with(1, &[("lc1", Logical), ("lc2", Logical), ("pc1", Physical)], 12, None);
    site.apply("lc1", &declared("", [&a, &b], &both(&a, &b)));
    for tor in [&a, &b] {
        tor.wait_for_switch("ls0").unwrap();
    }
    a.claim("ls0", M1).unwrap();
    b.expect("ls0", &[(M1, &a)], SOON);
    let backup = site.etcd.back_up().unwrap();
    let (shard, mut reign) = wait_for("all members again", SOON, || {
        let members = site.controllers["lc1"].json(&["members"]).ok()?;
        site.reign("lc1", "ls0").filter(|_| members.as_array().is_some_and(|all| all.len() == 3))
    })
    .unwrap();
    // More than it takes until everybody has his offices again.
    for _ in 0..12 {
        let to = other(&reign.holder);
        site.move_office("lc1", &["--shard", &shard.to_string(), to]);
        reign = site.wait_reign("lc1", "ls0", |new| new.holder == to && new.term > reign.term);
    }
    site.wait_term("pc1", "lc1", "ls0");
    let rows = Rows::of([&a, &b]);
    site.etcd.put_back(&backup).unwrap();

    let found = ["lc1", "lc2", "pc1"].map(|name| wait_for("the alarm", SOON, || told(&site, name)).unwrap());
    assert!(found.iter().all(|(term, _)| *term >= reign.term), "{found:?} after {reign:?}");
    // An alarm is told by every controller once one of them has it.
    for name in ["lc1", "lc2", "pc1"] {
        site.at(name).daemon().unwrap().wait_for_log("etcd was put back to an older state", SOON).unwrap();
    }
    site.wait_reign("lc1", "ls0", |now| now.term < reign.term);
    site.at("pc1").daemon().unwrap().wait_for_log("which was obeyed", SOON).unwrap();
    a.claim("ls0", M2).unwrap();
    b.expect("ls0", &[(M1, &a)], SOON);
    let wrong = site.at("lc1").command(&["raise-term", "--above", &u64::MAX.to_string()]).unwrap();
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(said.contains("expected at most 9007199254740992"), "{said}");

    let highest = found.iter().map(|(term, _)| *term).max().unwrap();
    let raised = site.at("lc2").print(&["raise-term", "--above", &highest.to_string()]).unwrap();
    assert!(raised.contains("terms are raised"), "{raised}");
    site.wait_reign("lc1", "ls0", |new| new.term > highest);
    site.wait_term("pc1", "lc1", "ls0");
    b.expect("ls0", &[(M1, &a), (M2, &a)], SOON);
    for name in ["lc1", "lc2", "pc1"] {
        wait_for("no alarm", SOON, || told(&site, name).is_none().then_some(())).unwrap();
    }
    rows.expect_unchanged();
    let again = site.at("lc2").print(&["raise-term", "--above", &highest.to_string()]).unwrap();
    assert!(again.contains("nothing is changed"), "{again}");
}

/// What took its offices again brought etcd past the lost revisions by itself.
#[test]
fn a_file_that_was_applied_after_the_backup_gives_way_to_the_one_in_etcd() {
    let (a, b) = (Tor::new(1).unwrap(), Tor::new(2).unwrap());
    let mut site = Site::new(1, &[("c1", Both)]);
    let file = |hold: u32| declared(&format!("hold_secs = {hold}\n"), [&a, &b], &both(&a, &b));
    site.apply("c1", &file(301));
    let backup = site.etcd.back_up().unwrap();
    site.apply("c1", &file(302));
    site.etcd.put_back(&backup).unwrap();
    // It is refused as long as c1 goes by a file that is not there.
    wait_for("a third file", SOON, || site.at("c1").apply(&file(303)).ok()).unwrap();
}

/// All controllers began anew: only agents know.
#[test]
fn a_term_that_an_agent_obeyed_is_told_by_its_name_and_believed_by_nobody() {
    // A lease so long that no office begins anew.
    let mut site = Site::with(1, &[("c1", Both)], 30, None);
    site.apply("c1", HOST);
    let serving = site.wait_server("c1", "hv1", |_| true);
    let (address, obeyed) = (site.address("c1"), serving.term + 1000);
    let welcome = |message: &ToVtep| match message {
        ToVtep::Welcome { term, .. } => Some(term.0),
        _ => None,
    };
    // Of a shard that has not spoken yet the VTEP may be declared.
    let offered = wait_for("a welcome", SOON, || {
        site.inside(async || Attached::to(&address, obeyed).await.unwrap().until(welcome).await).ok()
    });
    assert_eq!(offered.unwrap(), serving.term);
    let (term, message) = wait_for("the alarm", SOON, || told(&site, "c1")).unwrap();
    assert!(term == obeyed && message.contains("VTEP hv1 obeyed"), "{message}");
    assert_eq!(site.server("c1", "hv1").unwrap().term, serving.term);

    site.at("c1").print(&["raise-term", "--above", &term.to_string()]).unwrap();
    site.wait_server("c1", "hv1", |now| now.term > obeyed);
    let offered = wait_for("a welcome", SOON, || {
        site.inside(async || Attached::to(&address, obeyed).await.unwrap().until(welcome).await).ok()
    });
    assert!(offered.as_ref().is_ok_and(|term| *term > obeyed), "{offered:?}");
    wait_for("no alarm", SOON, || told(&site, "c1").is_none().then_some(())).unwrap();
}
