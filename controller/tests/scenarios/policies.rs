//! Which time counts, and what if nobody, or everybody, claims.

use vtep_api::{LocalMac, Role, Session};
use vtep_controller::declared::TimePolicy;

use crate::harness::*;

const POLICIES: [TimePolicy; 3] =
    [TimePolicy::Arrival, TimePolicy::PhysicalControllerTime, TimePolicy::VtepTime];

fn trio(time: TimePolicy) -> Arbiter {
    let servers: &[(&str, &[&str])] = &[("pc", &["a", "b", "c"])];
    let mut declared = declared(servers, &[("x", &["a", "b", "c"])]);
    declared.policy.time = time;
    let mut lc = Arbiter::started(declared);
    for name in ["a", "b", "c"] {
        lc.status(name, |status| status.skew_ms = Some(5));
    }
    lc
}

fn timed(lc: &mut Arbiter, by: &str, vtep_time: i64, pc_time: i64) {
    let mut claim = lc.new_claim(Role::Master);
    claim.local = LocalMac { claimed_at_ms: Some(vtep_time), ..claim.local };
    claim.received_at_ms = pc_time;
    lc.send_claim(by, "x", 1, claim);
}

#[test]
fn scenario_07_time_policies_choose_as_stated() {
    for (policy, master, slave) in [
        (TimePolicy::Arrival, "b", "a"),
        (TimePolicy::VtepTime, "a", "b"),
        (TimePolicy::PhysicalControllerTime, "a", "b"),
    ] {
        let mut lc = trio(policy);
        timed(&mut lc, "a", 10, 22);
        timed(&mut lc, "b", 9, 21);
        lc.check("x", 1, master, &[slave]);
        assert!(lc.why("x", 1).starts_with(policy.as_str()));
    }
}

#[test]
fn scenario_07_equal_stamps_have_a_fixed_winner() {
    for policy in [TimePolicy::VtepTime, TimePolicy::PhysicalControllerTime] {
        for order in [["a", "b"], ["b", "a"]] {
            let mut lc = trio(policy);
            for by in order {
                timed(&mut lc, by, 10, 20);
            }
            lc.check("x", 1, "a", &["b"]);
            assert!(lc.why("x", 1).ends_with("equal to b, the lowest name"));
        }
    }
}

#[test]
fn scenario_07_a_skew_beyond_the_bound_falls_back_and_says_so() {
    let mut lc = trio(TimePolicy::VtepTime);
    timed(&mut lc, "a", 90_000, 20);
    timed(&mut lc, "b", 9, 21);
    lc.check("x", 1, "a", &["b"]);
    lc.status("a", |status| status.skew_ms = Some(89_980));
    timed(&mut lc, "c", 1, 1);
    timed(&mut lc, "b", 30, 22);
    lc.check("x", 1, "b", &["a", "c"]);
    assert!(lc.why("x", 1).contains("physical controller's time for a"), "{}", lc.why("x", 1));
}

#[test]
fn scenario_08_three_claimants_in_all_orders_have_one_master() {
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        for policy in POLICIES {
            let mut lc = trio(policy);
            for (arrival, number) in order.into_iter().enumerate() {
                let (by, time) = (["a", "b", "c"][number], i64::try_from(number).unwrap());
                timed(&mut lc, by, 100 + time, 200 - time);
                assert_eq!(lc.table("x")[&mac(1)].1.len(), arrival);
            }
            let expected = match policy {
                TimePolicy::Arrival => ["a", "b", "c"][order[2]],
                TimePolicy::PhysicalControllerTime => "a",
                TimePolicy::VtepTime => "c",
            };
            assert_eq!(lc.masters("x"), masters(&[(1, expected)]), "{policy:?} {order:?}");
            lc.check_receivers();
        }
    }
}

#[test]
fn scenario_09_when_all_say_slave_one_is_designated_until_one_claims() {
    let mut lc = trio(TimePolicy::Arrival);
    lc.claim("a", "x", 1, S);
    lc.claim("b", "x", 1, S);
    // The first was designated when it was alone, and so was master last.
    lc.check("x", 1, "a", &["b"]);
    assert!(lc.why("x", 1).starts_with("designated"), "{}", lc.why("x", 1));
    lc.claim("b", "x", 1, M);
    lc.check("x", 1, "b", &["a"]);
    lc.claim("b", "x", 1, S);
    lc.check("x", 1, "b", &["a"]);
    lc.claim("a", "x", 1, M);
    lc.check("x", 1, "a", &["b"]);
}

#[test]
fn another_policy_can_be_asked_after_before_it_is_applied() {
    let mut lc = trio(TimePolicy::Arrival);
    timed(&mut lc, "a", 10, 22);
    timed(&mut lc, "b", 9, 21);
    let changes = lc.core.what_if_policy(TimePolicy::VtepTime);
    assert_eq!(changes.len(), 1);
    assert_eq!((&changes[0].master, &changes[0].would_be), (&vtep("b"), &vtep("a")));
    let mut declared = lc.core.declared().as_ref().clone();
    declared.policy.time = TimePolicy::VtepTime;
    lc.declare(declared);
    lc.check("x", 1, "a", &["b"]);
    lc.check_receivers();
}

#[test]
fn a_vteps_end_can_be_asked_after() {
    let mut lc = trio(TimePolicy::Arrival);
    lc.claim("b", "x", 1, S);
    lc.claim("a", "x", 1, M);
    lc.claim("a", "x", 2, M);
    let effects = lc.core.what_if_vtep_down(&vtep("a")).unwrap();
    let effect = &effects[&ls("x")];
    assert_eq!(effect.moves, [(vtep("b"), 1)].into());
    assert_eq!((effect.orphaned, effect.orphans.clone()), (1, vec![mac(2)]));
    assert!(lc.core.what_if_vtep_down(&vtep("c")).unwrap().is_empty());
}

#[test]
fn a_vteps_end_moves_nothing_to_one_that_is_dead_already() {
    let mut lc = trio(TimePolicy::Arrival);
    lc.claim("b", "x", 1, S);
    lc.claim("a", "x", 1, M);
    lc.session("b", Session::Lost);
    lc.unreachable("c", &["192.0.2.2"]);
    let effect = &lc.core.what_if_vtep_down(&vtep("a")).unwrap()[&ls("x")];
    assert_eq!((effect.moves.len(), effect.orphans.clone()), (0, vec![mac(1)]));
}
