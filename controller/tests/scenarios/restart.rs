//! What a restart of either side must not do.

use std::sync::Arc;

use vtep_api::{Claim, Session, Term, VtepStatus};
use vtep_controller::logical::{Durable, Event};

use crate::harness::*;

fn pair() -> vtep_controller::Declared {
    declared(&[("pc-a", &["a"]), ("pc-b", &["b"])], &[("x", &["a", "b"])])
}

/// As a physical controller that lost its memory stamps it.
fn told_again(lc: &mut Arbiter, claim: &Claim) -> Claim {
    let stamp = lc.stamp();
    Claim { stamp, received_at_ms: lc.now.wall_ms, was_master: false, ..claim.clone() }
}

#[test]
fn scenario_24_a_physical_controller_that_begins_anew_moves_nothing() {
    let mut lc = Arbiter::started(pair());
    let a = lc.claim("a", "x", 1, M);
    lc.claim("b", "x", 1, M);
    let pushes = lc.pushes("pc-b", "x");
    lc.disconnect("pc-a");
    lc.epoch += 1;
    lc.wait_ms(5000);
    lc.connect("pc-a");
    lc.session("a", Session::Up);
    let again = told_again(&mut lc, &a);
    lc.snapshot("a", "x", &[(1, again)]);
    lc.check("x", 1, "b", &["a"]);
    assert_eq!(lc.pushes("pc-b", "x"), pushes);
    lc.withdraw("a", "x", 1);
    lc.check("x", 1, "b", &[]);
}

#[test]
fn scenario_24_what_changed_while_a_physical_controller_was_away_counts() {
    let mut lc = Arbiter::started(pair());
    lc.claim("a", "x", 1, M);
    lc.claim("b", "x", 1, M);
    lc.epoch += 1;
    lc.connect("pc-a");
    lc.session("a", Session::Up);
    // The row was made anew.
    let new = lc.new_claim(M);
    lc.snapshot("a", "x", &[(1, new)]);
    lc.check("x", 1, "a", &["b"]);
}

#[test]
fn a_physical_controller_with_a_lower_term_can_take_a_vtep_over() {
    let mut declared = pair();
    declared.vteps.get_mut(&vtep("a")).unwrap().physical_controller = None;
    let mut lc = Arbiter::started({
        let mut named = declared.clone();
        named.vteps.get_mut(&vtep("a")).unwrap().physical_controller = Some(pc("pc-a"));
        named
    });
    lc.declare(declared);
    lc.epoch = 9;
    let claim = lc.claim("a", "x", 1, M);
    lc.disconnect("pc-a");
    lc.serve("a", "pc-b");
    lc.session("a", Session::Up);
    lc.epoch = 1;
    let again = told_again(&mut lc, &claim);
    lc.snapshot("a", "x", &[(1, again)]);
    lc.check("x", 1, "a", &[]);
    lc.withdraw("a", "x", 1);
    assert!(lc.table("x").is_empty(), "its withdrawal counts though its stamps are lower");
}

#[test]
fn scenario_24_a_logical_controller_that_begins_anew_moves_nothing_in_whatever_order_it_hears() {
    for order in [["a", "b"], ["b", "a"]] {
        let mut lc = Arbiter::started(pair());
        let a = lc.claim("a", "x", 1, M);
        lc.wait_ms(50);
        let b = lc.claim("b", "x", 1, M);
        let mut next = Arbiter::new(pair(), Term(2), Durable::default());
        next.connect_all();
        for by in order {
            assert_eq!(next.pushes("pc-a", "x"), 0, "not before all have been heard");
            let claim = if by == "a" { a.clone() } else { Claim { was_master: true, ..b.clone() } };
            next.snapshot(by, "x", &[(1, claim)]);
        }
        next.check("x", 1, "b", &["a"]);
        assert_eq!(next.pushes("pc-a", "x"), 1);
        assert!(next.at("pc-a").tables[&ls("x")].complete);
        assert_eq!(next.core.counters().duplicates, 0);
    }
}

/// What one process that is both has after a restart: the claims without their order, and its state store.
#[test]
fn scenario_24_a_restart_of_both_controllers_at_once_moves_nothing() {
    for role in [M, S] {
        for order in [["a", "b"], ["b", "a"]] {
            for master in ["a", "b"] {
                let mut lc = Arbiter::started(pair());
                // The master that is to be is the last to claim to be it, and perhaps content to be a slave then.
                let other = if master == "a" { "b" } else { "a" };
                lc.claim(other, "x", 1, M);
                lc.claim(master, "x", 1, M);
                lc.claim(other, "x", 1, role);
                lc.claim(master, "x", 1, role);
                lc.check("x", 1, master, &[other]);
                let mut next = Arbiter::new(pair(), Term(2), lc.durable.clone());
                next.connect_all();
                for by in order {
                    let claim = next.new_claim(role);
                    next.snapshot(by, "x", &[(1, claim)]);
                    next.wait_ms(1);
                }
                next.check("x", 1, master, &[other]);
                assert_eq!(next.durable.masters, lc.durable.masters);
                next.withdraw(other, "x", 1);
                assert!(next.durable.masters[&ls("x")].is_empty(), "the claims tell");
            }
        }
    }
}

#[test]
fn a_vtep_that_is_heard_late_does_not_take_its_macs_back_from_who_claimed_since() {
    let mut next = Arbiter::new(pair(), Term(2), Durable::default());
    let (a, a2) = (next.new_claim(M), next.new_claim(M));
    next.connect("pc-b");
    next.session("b", Session::Up);
    next.snapshot("b", "x", &[]);
    next.wait_ms(30_000);
    next.claim("b", "x", 1, M);
    let old_b = next.new_claim(M);
    next.send_claim("b", "x", 2, Claim { received_at_ms: 5, ..old_b });
    next.connect("pc-a");
    next.session("a", Session::Up);
    next.snapshot("a", "x", &[(1, Claim { was_master: true, ..a }), (2, Claim { was_master: true, ..a2 })]);
    next.check("x", 1, "b", &["a"]);
}

#[test]
fn a_logical_controller_that_does_not_hear_all_begins_after_a_while_with_an_incomplete_table() {
    let mut next = Arbiter::new(pair(), Term(2), Durable::default());
    next.connect("pc-b");
    next.session("b", Session::Up);
    let b = next.new_claim(M);
    next.snapshot("b", "x", &[(1, b)]);
    next.wait_ms(29_999);
    assert_eq!(next.pushes("pc-b", "x"), 0);
    next.wait_ms(1);
    assert_eq!(next.pushes("pc-b", "x"), 1);
    assert!(!next.at("pc-b").tables[&ls("x")].complete, "what is not named is not gone");
    next.connect("pc-a");
    next.session("a", Session::Up);
    next.snapshot("a", "x", &[]);
    assert!(next.at("pc-b").tables[&ls("x")].complete);
    next.check_receivers();
}

#[test]
fn a_vtep_that_never_comes_is_waited_for_no_longer_than_claims_are_held() {
    let mut next = Arbiter::new(pair(), Term(2), Durable::default());
    next.connect("pc-b");
    next.session("b", Session::Up);
    next.snapshot("b", "x", &[]);
    next.wait_ms(299_999);
    assert!(!next.at("pc-b").tables[&ls("x")].complete);
    next.wait_ms(1);
    assert!(next.at("pc-b").tables[&ls("x")].complete);
}

#[test]
fn nothing_expires_while_its_physical_controller_is_away() {
    let mut lc = Arbiter::started(pair());
    lc.claim("a", "x", 1, M);
    lc.disconnect("pc-a");
    lc.wait_ms(10_000_000);
    lc.check("x", 1, "a", &[]);
}

#[test]
fn the_same_events_give_the_same_actions() {
    let run = || {
        let mut lc = Arbiter::started(pair());
        lc.log = Some(Vec::new());
        for number in 0..500 {
            lc.claim(["a", "b"][number as usize % 2], "x", number % 77, if number % 3 == 0 { S } else { M });
        }
        lc.disconnect("pc-b");
        lc.connect("pc-b");
        format!("{:?}", lc.log)
    };
    assert_eq!(run(), run());
}

/// Of a VTEP that is not heard again yet, nobody is told that it is gone.
#[test]
fn scenario_24_a_restart_of_either_controller_leaves_directory_and_flood_list_whole() {
    let mut declared = pair();
    declared.vteps.values_mut().for_each(|vtep| vtep.address = None);
    let mut lc = Arbiter::started(declared.clone());
    for (name, last) in [("a", 11), ("b", 12)] {
        lc.status(name, |status| status.state.address = Some([192, 0, 2, last].into()));
    }
    let whole = lc.at("pc-b").outline.clone();
    assert_eq!((whole.directory.len(), whole.networks[&ls("x")].network.flood.len()), (2, 2));
    let check = |lc: &Arbiter, when: &str| {
        let outline = &lc.at("pc-b").outline;
        assert_eq!(outline.directory, whole.directory, "{when}");
        assert_eq!(outline.networks, whole.networks, "{when}");
    };

    lc.disconnect("pc-a");
    check(&lc, "the physical controller is away");
    lc.connect("pc-a");
    lc.status("a", |status| *status = VtepStatus::default());
    check(&lc, "it begins anew, and awaits the VTEP");

    let mut next = Arbiter::new(declared, Term(2), lc.durable.clone());
    next.connect("pc-b");
    check(&next, "the logical controller begins anew");
    next.connect("pc-a");
    next.status("a", |status| *status = VtepStatus::default());
    check(&next, "both do");
}

#[test]
fn nothing_is_remembered_of_a_logical_switch_that_is_not_declared_any_more() {
    let contested = || {
        let mut lc = Arbiter::started(pair());
        lc.claim("a", "x", 1, M);
        lc.claim("b", "x", 1, M);
        assert_eq!(lc.durable.masters[&ls("x")].len(), 1);
        lc
    };
    let mut without = pair();
    without.logical_switches.remove(&ls("x"));
    without.bindings.clear();
    without.subscriptions.clear();
    // It goes while its logical controller runs.
    let mut lc = contested();
    lc.step(Event::Declared(Arc::new(without.clone())));
    assert!(lc.durable.masters[&ls("x")].is_empty());
    // It went while another one did, which did not come to it; a file that has it leaves it.
    for (file, left) in [(without.clone(), 0), (pair(), 1)] {
        let mut next = Arbiter::new(without.clone(), Term(2), contested().durable);
        assert_eq!(next.durable.masters[&ls("x")].len(), 1);
        next.step(Event::Declared(Arc::new(file)));
        assert_eq!(next.durable.masters[&ls("x")].len(), left);
    }
}

/// With `b` there from the start.
fn succeeded(lc: &Arbiter) -> Arbiter {
    let mut next = lc.next_reign(pair());
    next.connect("pc-a");
    next.connect("pc-b");
    next.session("b", Session::Up);
    next.snapshot("b", "x", &[]);
    next
}

#[test]
fn a_new_reign_waits_for_physical_controllers_not_for_vteps_that_they_do_not_know() {
    let lc = Arbiter::started(pair());
    let mut next = succeeded(&lc);
    assert_eq!(next.pushes("pc-b", "x"), 0, "nobody has spoken of the other one");
    next.away("a", Session::Awaited, 30_000, true);
    assert_eq!(next.pushes("pc-b", "x"), 1);

    // One that looks for it since a moment ago may find it.
    let mut next = succeeded(&lc);
    next.away("a", Session::Awaited, 10_000, true);
    next.wait_ms(19_999);
    assert_eq!(next.pushes("pc-b", "x"), 0);
    next.wait_ms(1);
    assert_eq!(next.pushes("pc-b", "x"), 1);
}

#[test]
fn a_new_reign_waits_for_what_a_lost_vtep_claimed() {
    let mut lc = Arbiter::started(pair());
    let claim = lc.claim("a", "x", 1, M);
    lc.session("a", Session::Lost);
    lc.wait_ms(60_000);
    let mut next = succeeded(&lc);
    next.away("a", Session::Lost, 60_000, false);
    assert_eq!(next.pushes("pc-b", "x"), 0);
    next.snapshot("a", "x", &[(1, claim)]);
    assert_eq!(next.pushes("pc-b", "x"), 1);
    next.check("x", 1, "a", &[]);
}

#[test]
fn scenario_25_the_hold_of_a_lost_vtep_goes_on_over_reigns() {
    let mut lc = Arbiter::started(pair());
    let claim = lc.claim("a", "x", 1, M);
    lc.session("a", Session::Lost);
    lc.wait_ms(200_000);
    let mut next = succeeded(&lc);
    // Who serves it by now knows since when only in part.
    next.away("a", Session::Lost, 50_000, false);
    next.snapshot("a", "x", &[(1, claim)]);
    next.wait_ms(99_999);
    next.check("x", 1, "a", &[]);
    next.wait_ms(1);
    assert!(next.table("x").is_empty());

    // What was given up is neither waited for, nor taken back.
    let mut last = succeeded(&next);
    last.away("a", Session::Awaited, 0, true);
    assert_eq!(last.pushes("pc-b", "x"), 1);
    assert!(last.at("pc-b").tables[&ls("x")].complete);
    last.session("a", Session::Up);
    let claim = last.new_claim(M);
    last.snapshot("a", "x", &[(1, claim)]);
    last.check("x", 1, "a", &[]);
    assert_eq!(last.durable.known.get(&vtep("a")), None, "it is back");
}

#[test]
fn a_vtep_that_came_back_while_there_was_no_controller_is_looked_for_before_it_is_given_up() {
    let mut lc = Arbiter::started(pair());
    let claim = lc.claim("a", "x", 1, M);
    lc.session("a", Session::Lost);
    lc.wait_ms(1000);
    // Longer than the hold nobody could have heard of it.
    lc.now.mono_ms += 400_000;
    lc.now.wall_ms += 400_000;
    let mut next = succeeded(&lc);
    next.away("a", Session::Awaited, 0, true);
    next.wait_ms(4000);
    assert_eq!(next.pushes("pc-b", "x"), 0);
    next.session("a", Session::Up);
    next.snapshot("a", "x", &[(1, claim)]);
    next.check("x", 1, "a", &[]);
    assert_eq!(next.pushes("pc-b", "x"), 1, "it was never without");
}

/// Any physical controller may have a session with a VTEP of whom none is named: the one that speaks first may be another.
#[test]
fn scenario_24_a_new_reign_does_not_believe_in_the_absence_of_a_vtep_that_is_with_another_physical_controller()
 {
    let mut declared = pair();
    declared.vteps.values_mut().for_each(|vtep| vtep.physical_controller = None);
    let mut lc = Arbiter::started(pair());
    let claim = lc.claim("a", "x", 1, M);
    lc.session("a", Session::Lost);
    lc.wait_ms(299_999);
    // It came back to its own while no logical controller was there to hear of it.
    let mut next = lc.next_reign(declared);
    next.serve("a", "pc-b");
    next.serve("b", "pc-b");
    next.connect("pc-b");
    next.session("b", Session::Up);
    next.snapshot("b", "x", &[]);
    next.away("a", Session::Awaited, 299_999, true);
    next.wait_ms(29_999);
    assert_eq!(next.pushes("pc-b", "x"), 0);
    next.wait_ms(1);
    assert!(!next.at("pc-b").tables[&ls("x")].complete);
    next.serve("a", "pc-a");
    next.connect("pc-a");
    next.session("a", Session::Up);
    next.snapshot("a", "x", &[(1, claim)]);
    next.check("x", 1, "a", &[]);
    assert!(next.at("pc-b").tables[&ls("x")].complete);
}
