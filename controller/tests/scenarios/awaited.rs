//! A new reign that has not heard everybody by the time it begins makes nobody master in the place of one that it has not
//! heard.

use vtep_api::{Claim, Session};
use vtep_controller::declared::{Declared, DuplicateAction};

use crate::harness::*;

fn pair() -> Declared {
    declared(&[("pc-a", &["a"]), ("pc-b", &["b"])], &[("x", &["a", "b"])])
}

/// MAC 1 is `a`'s, which claimed it last, beside `b`; MAC 2 is `b`'s alone.
struct Before {
    lc: Arbiter,
    of_a: Claim,
    of_b: [(u32, Claim); 2],
}

fn before() -> Before {
    let mut lc = Arbiter::started(pair());
    let of_b = [1, 2].map(|number| (number, lc.claim("b", "x", number, M)));
    let of_a = lc.claim("a", "x", 1, M);
    lc.check("x", 1, "a", &["b"]);
    Before { lc, of_a, of_b }
}

fn hears(next: &mut Arbiter, name: &str, claims: &[(u32, Claim)]) {
    next.connect(&format!("pc-{name}"));
    next.session(name, Session::Up);
    next.snapshot(name, "x", claims);
}

/// MAC 1 moved between `a` and `b` until it was frozen.
fn frozen() -> (Declared, Arbiter) {
    let mut declared = pair();
    declared.policy.duplicate.action = DuplicateAction::Freeze;
    let mut lc = Arbiter::started(declared.clone());
    while lc.durable.frozen.is_empty() {
        lc.claim("b", "x", 1, M);
        lc.claim("a", "x", 1, M);
    }
    (declared, lc)
}

/// It began, and `b` is all that it heard.
fn next(lc: &Arbiter, of_b: &[(u32, Claim)]) -> Arbiter {
    let mut next = lc.next_reign(pair());
    hears(&mut next, "b", of_b);
    next.wait_ms(30_000);
    assert!(!next.at("pc-b").tables[&ls("x")].complete);
    next
}

#[test]
fn scenario_15_a_master_of_the_reign_before_that_was_not_heard_stays_master() {
    let Before { lc, of_a, of_b } = before();
    let mut next = next(&lc, &of_b);
    assert_eq!(next.masters("x"), masters(&[(2, "b")]));
    assert!(next.why("x", 1).contains("nobody is told before a is heard"), "{}", next.why("x", 1));
    hears(&mut next, "a", &[(1, of_a)]);
    next.check("x", 1, "a", &["b"]);
    assert!(!next.why("x", 1).contains("nobody is told"), "{}", next.why("x", 1));
}

#[test]
fn one_that_does_not_claim_it_any_more_is_not_waited_for() {
    let Before { lc, of_b, .. } = before();
    let mut next = next(&lc, &of_b);
    hears(&mut next, "a", &[]);
    next.check("x", 1, "b", &[]);
}

#[test]
fn one_that_its_physical_controller_has_missed_for_long_is_not_waited_for() {
    let Before { lc, of_b, .. } = before();
    let mut next = next(&lc, &of_b);
    next.connect("pc-a");
    next.away("a", Session::Awaited, 30_000, true);
    next.check("x", 1, "b", &[]);
}

#[test]
fn nobody_is_waited_for_longer_than_a_lost_vtep_is() {
    let Before { lc, of_b, .. } = before();
    let mut next = next(&lc, &of_b);
    next.wait_ms(269_999);
    assert_eq!(next.masters("x"), masters(&[(2, "b")]));
    next.wait_ms(1);
    next.check("x", 1, "b", &[]);
}

#[test]
fn what_is_claimed_anew_moves_at_once() {
    let Before { lc, of_b, .. } = before();
    let mut next = next(&lc, &of_b);
    next.epoch += 1;
    next.claim("b", "x", 1, M);
    next.check("x", 1, "b", &[]);
}

#[test]
fn a_slave_that_was_heard_alone_is_no_master() {
    let mut lc = Arbiter::started(pair());
    let of_a = lc.claim("a", "x", 1, M);
    let of_b = [(1, lc.claim("b", "x", 1, S))];
    let mut next = next(&lc, &of_b);
    assert!(next.table("x").is_empty());
    hears(&mut next, "a", &[(1, of_a)]);
    next.check("x", 1, "a", &["b"]);
}

#[test]
fn a_frozen_duplicate_stays_where_it_was_frozen() {
    let (declared, mut lc) = frozen();
    let (kept, at) = (lc.durable.frozen.clone(), lc.masters("x")[&mac(1)].clone());
    let other = if at == vtep("a") { "b" } else { "a" };
    let claim = lc.claim(other, "x", 1, M);
    let mut next = lc.next_reign(declared);
    hears(&mut next, other, &[(1, claim.clone())]);
    next.wait_ms(30_000);
    assert!(next.table("x").is_empty(), "{}", next.why("x", 1));
    assert_eq!(next.durable.frozen, kept);
    hears(&mut next, at.as_str(), &[(1, claim)]);
    next.check("x", 1, at.as_str(), &[other]);
    assert_eq!(next.durable.frozen, kept);
}

#[test]
fn a_frozen_duplicate_that_nobody_claims_any_more_is_frozen_no_more() {
    let (declared, mut lc) = frozen();
    let of_b = lc.claim("b", "x", 1, M);
    for (claims, left) in [(vec![(1, of_b)], [pin("x", 1, "b")].into()), (vec![], [].into())] {
        let mut next = lc.next_reign(declared.clone());
        for (name, claims) in [("b", &claims[..]), ("a", &[])] {
            hears(&mut next, name, claims);
        }
        assert_eq!(next.durable.frozen, left);
    }
}
