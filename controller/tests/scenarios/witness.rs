//! What hosts see of the frames of MACs that several claim.

use vtep_api::{FromPhysical, Session, Sighting};
use vtep_controller::declared::{Declared, WitnessPolicy};
use vtep_controller::logical::What;

use crate::harness::*;

fn racks(policy: WitnessPolicy) -> Declared {
    let servers: &[(&str, &[&str])] = &[("pc-a", &["a", "h"]), ("pc-b", &["b"]), ("pc-c", &["c", "d"])];
    let mut declared = declared(servers, &[("x", &["a", "b", "c", "h"])]);
    for switch in declared.logical_switches.values_mut() {
        switch.witness = policy;
    }
    declared
}

fn sighting(number: u32, sender: &str) -> Sighting {
    Sighting { logical_switch: ls("x"), mac: mac(number), sender: vtep(sender), as_slave: true, count: 2 }
}

impl Arbiter {
    fn witness(&mut self, witness: &str, number: u32, sender: &str) {
        let sightings = vec![sighting(number, sender)];
        self.say(witness, FromPhysical::Sightings { witness: vtep(witness), sightings });
    }

    /// For so long.
    fn speaks(&mut self, number: u32, sender: &str, secs: u64) {
        for _ in 0..secs / 2 {
            self.witness("h", number, sender);
            self.wait_ms(2000);
        }
    }
}

#[test]
fn what_hosts_see_is_shown_and_decides_nothing_by_itself() {
    let mut lc = Arbiter::started(racks(WitnessPolicy::Off));
    lc.claim("a", "x", 1, M);
    lc.claim("b", "x", 1, M);
    let pushes = lc.pushes("pc-c", "x");
    let began = lc.now.wall_ms;
    lc.speaks(1, "a", 60);
    lc.check("x", 1, "b", &["a"]);
    assert_eq!(lc.pushes("pc-c", "x"), pushes);
    let explained = lc.core.explain(&ls("x"), mac(1)).unwrap();
    let [seen] = &explained.sightings[..] else { panic!("{:?}", explained.sightings) };
    assert_eq!((&seen.witness, &seen.sender, seen.as_slave, seen.count), (&vtep("h"), &vtep("a"), true, 60));
    assert_eq!((seen.first_at_ms, seen.last_at_ms), (began, began + 58_000));
    assert!(lc.core.history(&ls("x"), mac(1)).unwrap().iter().all(|entry| entry.what != What::Witnessed));
    lc.wait_ms(900_000);
    assert_eq!(lc.core.explain(&ls("x"), mac(1)).unwrap().sightings, [], "it is old");
}

#[test]
fn with_the_policy_the_mac_is_where_its_frames_come_from_and_stays_there() {
    let mut lc = Arbiter::started(racks(WitnessPolicy::TieBreak));
    lc.claim("a", "x", 1, M);
    lc.claim("b", "x", 1, M);
    lc.speaks(1, "a", 6);
    lc.check("x", 1, "b", &["a"]);
    lc.witness("h", 1, "a");
    lc.check("x", 1, "a", &["b"]);
    assert_eq!(lc.why("x", 1), "hosts receive its frames from there; b claims alike");
    lc.check_receivers();
    assert_eq!(lc.core.counters().moves, 2);
    // Nobody reports what comes from the master.
    lc.wait_ms(10_000_000);
    lc.check("x", 1, "a", &["b"]);

    // It moved, and nobody claimed it anew.
    lc.speaks(1, "b", 8);
    lc.check("x", 1, "b", &["a"]);
    lc.claim("a", "x", 1, M);
    lc.check("x", 1, "a", &["b"]);
    lc.claim("b", "x", 1, M);
    lc.witness("h", 1, "a");
    lc.check("x", 1, "b", &["a"]);
    assert_eq!(lc.why("x", 1), "arrival: later than a by 1 claim / 0 ms");
}

#[test]
fn what_no_claim_stands_for_or_a_stronger_rule_forbids_moves_nothing() {
    let mut lc = Arbiter::started(racks(WitnessPolicy::TieBreak));
    lc.claim("a", "x", 1, M);
    lc.claim("b", "x", 1, S);
    for sender in ["b", "c"] {
        lc.speaks(1, sender, 20);
        lc.check("x", 1, "a", &["b"]);
    }
    lc.claim("c", "x", 2, M);
    lc.claim("a", "x", 2, M);
    lc.operate(vtep_controller::logical::Operation::Pin(pin("x", 2, "a"))).unwrap();
    lc.speaks(2, "c", 20);
    lc.check("x", 2, "a", &["c"]);
    // A claim that may be out of date.
    lc.claim("c", "x", 3, M);
    lc.claim("a", "x", 3, M);
    lc.session("c", Session::Lost);
    lc.speaks(3, "c", 20);
    lc.check("x", 3, "a", &["c"]);
    assert_eq!(lc.core.counters().strange, 0);
}

#[test]
fn only_who_takes_part_is_a_witness_and_nobody_is_his_own() {
    let mut lc = Arbiter::started(racks(WitnessPolicy::TieBreak));
    lc.claim("a", "x", 1, M);
    lc.claim("b", "x", 1, M);
    for witness in ["a", "d"] {
        for _ in 0..10 {
            lc.witness(witness, 1, "a");
            lc.wait_ms(2000);
        }
    }
    // By a physical controller that does not serve it.
    let sightings = vec![sighting(1, "a"); 4];
    lc.say("b", FromPhysical::Sightings { witness: vtep("h"), sightings });
    lc.check("x", 1, "b", &["a"]);
    assert_eq!(lc.core.explain(&ls("x"), mac(1)).unwrap().sightings, []);
    assert_eq!((lc.core.counters().strange, lc.core.counters().sightings), (21, 0));
}

#[test]
fn the_policy_counts_from_when_it_is_declared_until_it_is_not_any_more() {
    let mut lc = Arbiter::started(racks(WitnessPolicy::Off));
    lc.claim("a", "x", 1, M);
    lc.claim("b", "x", 1, M);
    lc.speaks(1, "a", 20);
    lc.declare(racks(WitnessPolicy::TieBreak));
    lc.check("x", 1, "b", &["a"]);
    lc.speaks(1, "a", 8);
    lc.check("x", 1, "a", &["b"]);
    lc.declare(racks(WitnessPolicy::Off));
    lc.check("x", 1, "b", &["a"]);
    lc.check_receivers();
}

/// As a successor hears it: claims told again, in whatever order.
#[test]
fn what_was_decided_so_holds_in_the_next_reign() {
    let mut lc = Arbiter::started(racks(WitnessPolicy::TieBreak));
    let a = lc.claim("a", "x", 1, M);
    let b = lc.claim("b", "x", 1, M);
    lc.speaks(1, "a", 8);
    lc.check("x", 1, "a", &["b"]);
    let mut next = Arbiter::new(racks(WitnessPolicy::TieBreak), vtep_api::Term(2), lc.durable.clone());
    next.connect_all();
    next.tell_all(&[("b", "x", &[(1, b)]), ("a", "x", &[(1, a)])]);
    next.check("x", 1, "a", &["b"]);
}
