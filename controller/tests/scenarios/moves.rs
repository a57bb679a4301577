//! Failover, failback, migration, loss.

use vtep_api::{Cause, Claim, Report, Role, Session, Stamp};

use crate::harness::*;

fn racks() -> Arbiter {
    let servers: &[(&str, &[&str])] = &[("pc-a", &["a", "d"]), ("pc-b", &["b"]), ("pc-c", &["c"])];
    Arbiter::started(declared(servers, &[("x", &["a", "b", "c"]), ("y", &["d"])]))
}

fn never_without_an_entry(lc: &Arbiter) {
    for received in lc.peers.values() {
        assert!(received.tables.values().all(|table| table.removals.is_empty()));
    }
}

#[test]
fn scenario_04_the_later_claim_wins_and_the_former_master_is_its_slave() {
    let mut lc = racks();
    lc.claim("a", "x", 1, M);
    lc.check("x", 1, "a", &[]);
    lc.wait_ms(12);
    lc.claim("b", "x", 1, M);
    lc.check("x", 1, "b", &["a"]);
    lc.check_receivers();
    assert_eq!(lc.core.counters().moves, 1);
    assert_eq!(lc.why("x", 1), "arrival: later than a by 1 claim / 12 ms");
    assert_eq!(lc.pushes("pc-c", "x"), 3, "the empty table, the claim, the move");
    assert_eq!(lc.pushes("pc-a", "y"), 1, "the empty table");
}

#[test]
fn scenario_05_the_remaining_claimant_is_master_without_a_new_report() {
    let mut lc = racks();
    lc.claim("a", "x", 1, M);
    lc.claim("b", "x", 1, M);
    lc.withdraw("b", "x", 1);
    lc.check("x", 1, "a", &[]);
    lc.check_receivers();
    never_without_an_entry(&lc);
}

#[test]
fn scenario_06_a_late_withdrawal_of_the_former_master_leaves_the_new_one() {
    let mut lc = racks();
    lc.claim("a", "x", 1, M);
    lc.claim("b", "x", 1, M);
    lc.withdraw("a", "x", 1);
    lc.check("x", 1, "b", &[]);
    assert_eq!(lc.core.counters().moves, 1);
}

#[test]
fn scenario_06_a_withdrawal_never_takes_back_a_later_claim_of_the_same_vtep() {
    let mut lc = racks();
    lc.claim("a", "x", 1, M);
    let old = lc.stamp();
    lc.claim("a", "x", 1, S);
    lc.send("a", "x", vec![(mac(1), Report::Withdraw { stamp: old, cause: Cause::Withdrawn })]);
    lc.check("x", 1, "a", &[]);
    assert_eq!(lc.core.counters().outdated, 1);
    lc.withdraw("a", "x", 1);
    assert!(lc.table("x").is_empty());
}

#[test]
fn scenario_13_a_migrated_mac_is_not_stolen_back_by_what_is_told_again() {
    let mut lc = racks();
    let old = lc.claim("b", "x", 1, M);
    lc.claim("c", "x", 1, M);
    lc.check("x", 1, "c", &["b"]);
    let pushes = lc.pushes("pc-b", "x");
    lc.send_claim("b", "x", 1, old.clone());
    lc.snapshot("b", "x", &[(1, old)]);
    lc.check("x", 1, "c", &["b"]);
    assert_eq!(lc.pushes("pc-b", "x"), pushes);
    assert!(lc.at("pc-b").no_changes.len() >= 2);
}

#[test]
fn scenario_20_a_mac_appears_and_goes_in_its_own_network_only() {
    let servers: &[(&str, &[&str])] = &[("pc-0", &["v0"]), ("pc-1", &["v1"])];
    let mut lc = Arbiter::started(declared(servers, &[("ls0", &["v0", "v1"]), ("ls1", &["v0", "v1"])]));
    lc.claim("v1", "ls0", 1, M);
    lc.claim("v1", "ls1", 1, M);
    lc.withdraw("v1", "ls0", 1);
    lc.check("ls1", 1, "v1", &[]);
    assert!(lc.table("ls0").is_empty());
    lc.check_receivers();
    assert_eq!(lc.at("pc-0").tables[&ls("ls0")].removals, [(mac(1), Cause::Withdrawn)]);
    assert_eq!(lc.at("pc-0").tables[&ls("ls1")].removals, []);
}

#[test]
fn scenario_25_a_lost_vteps_claims_are_held_and_go_after_the_hold() {
    let mut lc = racks();
    lc.claim("a", "x", 1, M);
    lc.claim("b", "x", 1, S);
    lc.session("a", Session::Lost);
    lc.check("x", 1, "a", &["b"]);
    assert!(lc.core.explain(&ls("x"), mac(1)).unwrap().claims[0].stale);
    lc.wait_ms(299_000);
    lc.check("x", 1, "a", &["b"]);
    lc.wait_ms(1_000);
    lc.check("x", 1, "b", &[]);
    never_without_an_entry(&lc);
}

#[test]
fn scenario_25_a_vtep_that_is_lost_and_unreachable_gives_way_at_once_and_comes_back_without_a_flush() {
    let mut lc = racks();
    let claim = lc.claim("a", "x", 1, M);
    let other = lc.claim("a", "x", 2, M);
    lc.claim("b", "x", 1, S);
    lc.unreachable("c", &["192.0.2.1"]);
    lc.check("x", 1, "a", &["b"]);
    lc.session("a", Session::Lost);
    lc.check("x", 1, "b", &["a"]);
    lc.check("x", 2, "a", &[]);
    assert_eq!(lc.why("x", 1), "a is lost and unreachable");
    lc.claim("b", "x", 1, M);
    let version = lc.core.networks()[0].version;
    lc.session("a", Session::Up);
    lc.unreachable("c", &[]);
    lc.snapshot("a", "x", &[(1, claim), (2, other)]);
    lc.check("x", 1, "b", &["a"]);
    lc.check("x", 2, "a", &[]);
    never_without_an_entry(&lc);
    assert_eq!(lc.core.networks()[0].version, version, "nothing was published");
    assert_eq!(lc.core.counters().moves, 1);
}

/// Nothing is known of its VTEPs, whatever others find.
#[test]
fn scenario_25_a_lost_physical_controller_is_no_lost_vtep() {
    let mut lc = racks();
    lc.claim("a", "x", 1, M);
    lc.claim("b", "x", 1, S);
    lc.unreachable("c", &["192.0.2.1"]);
    lc.disconnect("pc-a");
    lc.wait_ms(60_000);
    lc.check("x", 1, "a", &["b"]);
    // Who serves it from then on may not have found it yet.
    lc.connect("pc-a");
    lc.away("a", Session::Awaited, 0, true);
    lc.wait_ms(4_999);
    lc.check("x", 1, "a", &["b"]);
    lc.wait_ms(1);
    lc.check("x", 1, "b", &["a"]);
    assert_eq!(lc.why("x", 1), "a is lost and unreachable");
}

#[test]
fn scenario_25_most_of_those_that_knew_a_vtep_alive_have_to_find_it_dead() {
    let mut lc = racks();
    lc.claim("a", "x", 1, M);
    lc.claim("b", "x", 1, S);
    lc.unreachable("c", &["192.0.2.1"]);
    lc.reachable("d", &["192.0.2.1"]);
    lc.session("a", Session::Lost);
    lc.check("x", 1, "a", &["b"]);
    lc.unreachable("b", &["192.0.2.1"]);
    lc.check("x", 1, "b", &["a"]);
}

#[test]
fn scenario_25_what_was_lost_while_a_vtep_was_away_goes_when_it_has_told_all() {
    let mut lc = racks();
    let claim = lc.claim("a", "x", 1, M);
    lc.claim("a", "x", 2, M);
    lc.session("a", Session::Lost);
    lc.session("a", Session::Up);
    assert_eq!(lc.table("x").len(), 2);
    lc.snapshot("a", "x", &[(1, claim)]);
    assert_eq!(lc.masters("x"), masters(&[(1, "a")]));
}

#[test]
fn changes_of_a_vtep_that_has_not_told_all_are_asked_for_again() {
    let mut lc = racks();
    lc.session("a", Session::Lost);
    lc.session("a", Session::Up);
    let claim = lc.claim("a", "x", 1, M);
    assert!(lc.table("x").is_empty());
    assert_eq!(lc.at("pc-a").resyncs, [(vtep("a"), ls("x"))]);
    lc.snapshot("a", "x", &[(1, claim)]);
    lc.check("x", 1, "a", &[]);
}

#[test]
fn a_vtep_that_is_silent_after_it_came_back_is_asked_to_tell_all() {
    let mut lc = racks();
    lc.session("a", Session::Lost);
    lc.session("a", Session::Up);
    lc.wait_ms(1999);
    assert_eq!(lc.at("pc-a").resyncs, []);
    lc.wait_ms(1);
    assert_eq!(lc.at("pc-a").resyncs, [(vtep("a"), ls("x"))]);
}

#[test]
fn nobody_claims_for_a_vtep_that_another_serves_nor_where_it_takes_no_part() {
    let mut lc = racks();
    let claim = lc.new_claim(M);
    lc.send_claim("d", "x", 1, claim.clone());
    assert!(lc.table("x").is_empty());
    let strange = lc.core.counters().strange;
    let claims = vtep_api::Claims {
        vtep: vtep("b"),
        logical_switch: ls("x"),
        snapshot: false,
        records: vec![(mac(1), Report::Claim(claim))],
        end: true,
    };
    // By the physical controller of `a`.
    lc.say("a", vtep_api::FromPhysical::Claims(claims));
    assert!(lc.table("x").is_empty());
    assert_eq!(lc.core.counters().strange, strange + 1);
}

#[test]
fn a_physical_controllers_term_only_rises() {
    let mut lc = racks();
    lc.epoch = 5;
    lc.connect("pc-b");
    assert_eq!(lc.at("pc-b").closed, None);
    lc.epoch = 4;
    lc.connect("pc-b");
    assert_eq!(lc.at("pc-b").closed.as_deref(), Some("term 4 is over; expected at least 5"));
    assert!(Stamp { epoch: 4, seq: 9 } < Stamp { epoch: 5, seq: 1 });
}

/// Another role of what is there, and no new sight of it.
fn role(lc: &mut Arbiter, vtep: &str, number: u32, claim: &Claim, role: Role) {
    let origin = claim.local.origin;
    let mut claim = lc.new_claim(role);
    claim.local.origin = origin;
    lc.send_claim(vtep, "x", number, claim);
}

#[test]
fn a_role_takes_over_what_stood_by_and_nothing_that_moved_elsewhere() {
    let mut lc = racks();
    let stood_by = [1, 2].map(|number| {
        lc.claim("a", "x", number, M);
        lc.claim("b", "x", number, S)
    });
    lc.wait_ms(600_000);
    lc.claim("c", "x", 1, M);
    lc.check("x", 1, "c", &["a", "b"]);
    for (number, claim) in (1..).zip(&stood_by) {
        role(&mut lc, "b", number, claim, M);
    }
    lc.check("x", 1, "c", &["b", "a"]);
    lc.check("x", 2, "b", &["a"]);
    assert!(lc.why("x", 1).starts_with("arrival: later than b by "), "{}", lc.why("x", 1));

    // Nor by a role that comes and goes, nor for its former master.
    role(&mut lc, "b", 1, &stood_by[0], S);
    role(&mut lc, "b", 1, &stood_by[0], M);
    lc.check("x", 1, "c", &["b", "a"]);
    // Where it is seen again it is.
    lc.claim("b", "x", 1, M);
    lc.check("x", 1, "b", &["c", "a"]);
    lc.check_receivers();
}

#[test]
fn whoever_has_it_after_it_had_moved_takes_it_over_by_a_role_again() {
    let mut lc = racks();
    let at_a = lc.claim("a", "x", 1, M);
    lc.wait_ms(600_000);
    let at_b = lc.claim("b", "x", 1, M);
    role(&mut lc, "a", 1, &at_a, S);
    role(&mut lc, "a", 1, &at_a, M);
    lc.check("x", 1, "b", &["a"]);
    // It yields, so that they are a pair.
    role(&mut lc, "b", 1, &at_b, S);
    lc.check("x", 1, "a", &["b"]);
    for _ in 0..2 {
        role(&mut lc, "b", 1, &at_b, M);
        lc.check("x", 1, "b", &["a"]);
        role(&mut lc, "a", 1, &at_a, S);
        role(&mut lc, "a", 1, &at_a, M);
        lc.check("x", 1, "a", &["b"]);
        role(&mut lc, "b", 1, &at_b, S);
    }
}

#[test]
fn two_that_hear_a_mac_at_about_the_same_time_stand_by_for_each_other() {
    let mut lc = racks();
    let at_b = lc.claim("b", "x", 1, S);
    lc.wait_ms(5000);
    lc.claim("a", "x", 1, M);
    lc.check("x", 1, "a", &["b"]);
    lc.wait_ms(600_000);
    role(&mut lc, "b", 1, &at_b, M);
    lc.check("x", 1, "b", &["a"]);
}
