//! The logical controllers: a shard goes to another process, and nothing is lost, moved or written by the old one.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use vtep_tests::lab::ControllerRole::{Both, Logical, Physical};

use super::site::{Rows, Site};
use super::tors::{SOON, Tor, both, declared};

const M1: &str = "02:00:00:00:00:01";
const M2: &str = "02:00:00:00:00:02";
const M3: &str = "02:00:00:00:00:03";
/// At a lease of 3 s.
const TAKEOVER: Duration = Duration::from_secs(5);

/// Two TORs behind one physical controller, two logical controllers, M1 behind the first TOR.
fn world(members: u16) -> (Tor, Tor, Site) {
    let (a, b) = (Tor::new(1).unwrap(), Tor::new(2).unwrap());
    let site = Site::new(members, &[("lc1", Logical), ("lc2", Logical), ("pc1", Physical)]);
    let text = declared("", [&a, &b], &both(&a, &b));
    site.apply("lc1", &text);
    for tor in [&a, &b] {
        tor.wait_for_switch("ls0").unwrap();
    }
    a.claim("ls0", M1).unwrap();
    b.expect("ls0", &[(M1, &a)], SOON);
    (a, b, site)
}

pub(crate) fn other(name: &str) -> &'static str {
    if name == "lc1" { "lc2" } else { "lc1" }
}

#[test]
fn scenario_15_a_killed_logical_controller_is_succeeded_within_five_seconds_and_no_row_is_touched() {
    let (a, b, mut site) = world(3);
    let (_, reign) = site.reign("lc1", "ls0").unwrap();
    let (dead, heir) = (reign.holder.clone(), other(&reign.holder));
    let rows = Rows::of([&a, &b]);
    site.at(&dead).kill().unwrap();
    let killed = Instant::now();
    // Heard by nobody at first.
    a.claim("ls0", M2).unwrap();
    b.expect("ls0", &[(M1, &a), (M2, &a)], SOON);
    let took = killed.elapsed();
    assert!(took < TAKEOVER, "it took {took:?}");
    let new = site.wait_reign(heir, "ls0", |new| new.holder == heir);
    assert!(new.term > reign.term, "{new:?} after {reign:?}");
    rows.expect_unchanged();

    // Whoever comes back gets his shards again, and still nothing is touched.
    let rows = Rows::of([&a, &b]);
    site.at(&dead).start().unwrap();
    site.wait_reign(heir, "ls0", |again| again.holder == dead && again.term > new.term);
    site.wait_term("pc1", heir, "ls0");
    a.claim("ls0", M3).unwrap();
    b.expect("ls0", &[(M1, &a), (M2, &a), (M3, &a)], SOON);
    rows.expect_unchanged();
}

/// In a fleet something is always away. Physical controllers are waited for, and say so of a VTEP.
#[test]
fn scenario_15_a_dead_tor_and_a_dead_host_hold_no_successor_up() {
    let (a, b) = (Tor::new(1).unwrap(), Tor::new(2).unwrap());
    let mut site = Site::new(1, &[("lc1", Logical), ("lc2", Logical), ("pc1", Physical)]);
    let mut text = declared("start_wait_secs = 8", [&a, &b], &both(&a, &b));
    for (name, way) in [("tor9", "ovsdb = \"tcp:127.0.0.1:1\""), ("host9", "")] {
        let binding = "port = \"p1\"\nvlan = 0\nlogical_switch = \"ls0\"";
        write!(text, "\n[[vtep]]\nname = \"{name}\"\naddress = \"192.0.2.9{}\"\n{way}\n", name.len())
            .unwrap();
        write!(text, "\n[[binding]]\nvtep = \"{name}\"\n{binding}\n").unwrap();
    }
    site.apply("lc1", &text);
    for tor in [&a, &b] {
        tor.wait_for_switch("ls0").unwrap();
    }
    a.claim("ls0", M1).unwrap();
    // The first reign knows of nobody that they were away before.
    b.expect("ls0", &[(M1, &a)], SOON);
    let (_, reign) = site.reign("lc1", "ls0").unwrap();
    let rows = Rows::of([&a, &b]);
    site.at(&reign.holder).kill().unwrap();
    let killed = Instant::now();
    a.claim("ls0", M2).unwrap();
    b.expect("ls0", &[(M1, &a), (M2, &a)], SOON);
    let took = killed.elapsed();
    assert!(took < TAKEOVER, "it took {took:?}");
    rows.expect_unchanged();
}

#[test]
fn scenario_15_a_logical_controller_that_was_stopped_past_its_lease_writes_nothing() {
    let (a, b, mut site) = world(1);
    let (_, reign) = site.reign("lc1", "ls0").unwrap();
    let (stopped, heir) = (reign.holder.clone(), other(&reign.holder));
    site.signal(&stopped, Signal::SIGSTOP);
    let new = site.wait_reign(heir, "ls0", |new| new.holder == heir);
    site.wait_term("pc1", heir, "ls0");
    // The MAC moves while the old one does not look.
    b.claim("ls0", M1).unwrap();
    a.expect("ls0", &[(M1, &b)], SOON);
    b.expect("ls0", &[], SOON);
    let rows = Rows::of([&a, &b]);
    site.signal(&stopped, Signal::SIGCONT);
    // It is a member again, and gets its shard back only by a new term.
    site.wait_reign(heir, "ls0", |again| again.holder == stopped && again.term > new.term);
    site.wait_term("pc1", heir, "ls0");
    rows.expect_unchanged();
    a.expect("ls0", &[(M1, &b)], SOON);
}

#[test]
fn what_was_declared_pinned_and_contested_is_there_in_the_next_reign() {
    let (a, b, mut site) = world(1);
    b.claim("ls0", M1).unwrap();
    a.expect("ls0", &[(M1, &b)], SOON);
    let (_, reign) = site.reign("lc1", "ls0").unwrap();
    let (dead, heir) = (reign.holder.clone(), other(&reign.holder));
    site.at(&dead).print(&["pin", "ls0", M2, "tor2"]).unwrap();
    a.expect("ls0", &[(M1, &b), (M2, &b)], SOON);
    site.at(&dead).kill().unwrap();
    site.wait_reign(heir, "ls0", |new| new.holder == heir);
    let explained = vtep_tests::deadline::wait_for("the pin", SOON, || {
        site.controllers[heir].print(&["explain", "ls0", M2]).ok().filter(|text| text.contains("tor2"))
    });
    explained.unwrap();
    site.wait_term("pc1", heir, "ls0");
    a.expect("ls0", &[(M1, &b), (M2, &b)], SOON);
}

#[test]
fn an_operator_moves_a_shard_and_the_rest_stays() {
    let (a, b, mut site) = world(1);
    let (shard, reign) = site.reign("lc1", "ls0").unwrap();
    let to = other(&reign.holder);
    let rows = Rows::of([&a, &b]);
    site.move_office("lc1", &["--shard", &shard.to_string(), to]);
    let new = site.wait_reign("lc1", "ls0", |new| new.holder == to && new.term > reign.term);
    site.wait_term("pc1", "lc1", "ls0");
    a.claim("ls0", M2).unwrap();
    b.expect("ls0", &[(M1, &a), (M2, &a)], SOON);
    rows.expect_unchanged();
    let text = site.at("lc1").print(&["shards"]).unwrap();
    assert!(text.contains("(moved)"), "{text}");
    site.move_office("lc1", &["--shard", &shard.to_string(), "--anywhere"]);
    site.wait_reign("lc1", "ls0", |again| again.holder == reign.holder && again.term > new.term);
}

#[test]
fn etcd_gone_for_longer_than_the_lease_leaves_every_row_and_coming_back_goes_on() {
    let (a, b, mut site) = world(3);
    let (_, reign) = site.reign("lc1", "ls0").unwrap();
    let rows = Rows::of([&a, &b]);
    for member in 0..2 {
        site.etcd.freeze(member).unwrap();
    }
    for name in ["lc1", "lc2", "pc1"] {
        site.at(name).daemon().unwrap().wait_for_log("every office is left", SOON).unwrap();
    }
    rows.expect_unchanged();
    for member in 0..2 {
        site.etcd.thaw(member).unwrap();
    }
    site.wait_reign("lc1", "ls0", |new| new.term > reign.term);
    site.wait_term("pc1", "lc1", "ls0");
    a.claim("ls0", M2).unwrap();
    b.expect("ls0", &[(M1, &a), (M2, &a)], SOON);
    rows.expect_unchanged();
}

#[test]
fn the_death_of_etcds_leader_loses_nothing_and_the_controllers_go_on() {
    let (a, b, mut site) = world(3);
    let (_, reign) = site.reign("lc1", "ls0").unwrap();
    let (leader, rows) = (site.etcd.leader().unwrap(), Rows::of([&a, &b]));
    site.etcd.kill(leader).unwrap();
    a.claim("ls0", M2).unwrap();
    b.expect("ls0", &[(M1, &a), (M2, &a)], SOON);
    // Others lead by now, and answer.
    assert_ne!(site.etcd.leader().unwrap(), leader);
    site.etcd.restart(leader).unwrap();
    site.apply("lc1", &declared("hold_secs = 301", [&a, &b], &both(&a, &b)));
    let now = site.wait_reign("lc1", "ls0", |_| true);
    b.expect("ls0", &[(M1, &a), (M2, &a)], SOON);
    assert!(now.term >= reign.term);
    rows.expect_unchanged();
}

#[test]
fn a_controller_that_is_both_needs_nothing_named_and_a_named_one_is_refused() {
    let (a, b) = (Tor::new(1).unwrap(), Tor::new(2).unwrap());
    let mut site = Site::new(1, &[("c1", Both)]);
    let text = declared("", [&a, &b], &both(&a, &b));
    let named = text.replace("vni = 5000\n", "vni = 5000\nlogical_controller = \"lc9\"\n");
    let refused = site.at("c1").apply(&named).unwrap_err().to_string();
    assert!(refused.contains("names the logical controller \"lc9\"; expected none"), "{refused}");
    site.apply("c1", &text);
    a.wait_for_switch("ls0").unwrap();
    a.claim("ls0", M1).unwrap();
    b.expect("ls0", &[(M1, &a)], SOON);
    let members = site.at("c1").json(&["members"]).unwrap();
    assert_eq!((&members[0]["name"], &members[0]["shards"]), (&"c1".into(), &4.into()));
}
