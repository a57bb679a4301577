//! One VTEP's fault is not everybody's.

use vtep_api::{Cause, Claim, Report, Session, Term};
use vtep_controller::declared::{Declared, DuplicateAction};
use vtep_controller::logical::{AlarmKind, ConflictKind, OperateError, Operation};

use crate::harness::*;

fn pair() -> Declared {
    declared(&[("pc-a", &["a"]), ("pc-b", &["b"]), ("pc-c", &["c"])], &[("x", &["a", "b", "c"])])
}

fn fight(lc: &mut Arbiter, number: u32, claims: usize) {
    for claim in 0..claims {
        lc.claim(["a", "b"][claim % 2], "x", number, M);
        lc.wait_ms(10);
    }
}

#[test]
fn scenario_26_five_moves_within_the_window_mark_a_duplicate_which_is_followed() {
    let mut lc = Arbiter::started(pair());
    fight(&mut lc, 1, 5);
    assert_eq!((lc.core.counters().moves, lc.alarmed("moves too often")), (4, 0));
    lc.claim("b", "x", 1, M);
    assert_eq!((lc.core.counters().moves, lc.alarmed("moves too often")), (5, 1));
    lc.claim("a", "x", 1, M);
    lc.check("x", 1, "a", &["b"]);
    let kinds: Vec<ConflictKind> = lc.core.conflicts().iter().map(|conflict| conflict.kind).collect();
    assert_eq!(kinds, [ConflictKind::Masters, ConflictKind::Duplicate]);
    lc.wait_ms(540_000);
    assert!(lc.core.alarms().iter().all(|alarm| alarm.kind != AlarmKind::DuplicateMac));
}

#[test]
fn scenario_26_moves_that_are_far_apart_mark_nothing() {
    let mut lc = Arbiter::started(pair());
    for _ in 0..20 {
        fight(&mut lc, 1, 1);
        lc.wait_ms(46_000);
    }
    assert_eq!(lc.alarmed("moves too often"), 0);
}

fn freezing() -> Declared {
    let mut declared = pair();
    declared.policy.duplicate.action = DuplicateAction::Freeze;
    declared
}

#[test]
fn scenario_26_a_frozen_mac_keeps_its_last_winner_and_others_are_unaffected() {
    let mut lc = Arbiter::started(freezing());
    lc.claim("c", "x", 2, M);
    let pushes = lc.pushes("pc-c", "x");
    // 1 kHz for three minutes.
    for claim in 0..2_000 {
        lc.claim(["a", "b"][claim % 2], "x", 1, M);
        lc.wait_ms(90);
    }
    assert_eq!(lc.core.counters().moves, 5);
    assert!(lc.pushes("pc-c", "x") - pushes <= 6, "the first claim and five moves");
    lc.check("x", 1, "b", &["a"]);
    assert_eq!(lc.why("x", 1), "a duplicate MAC that keeps its master");
    assert_eq!(lc.durable.frozen, [pin("x", 1, "b")].into());
    lc.claim("a", "x", 2, M);
    lc.check("x", 2, "a", &["c"]);
    lc.check_receivers();
}

#[test]
fn scenario_26_a_frozen_mac_recovers_by_timer_and_by_hand() {
    let mut lc = Arbiter::started(freezing());
    fight(&mut lc, 1, 7);
    lc.check("x", 1, "b", &["a"]);
    lc.wait_ms(539_000);
    lc.check("x", 1, "b", &["a"]);
    lc.wait_ms(1_000);
    lc.check("x", 1, "a", &["b"]);
    assert!(lc.durable.frozen.is_empty());
    fight(&mut lc, 2, 7);
    lc.check("x", 2, "b", &["a"]);
    let clear = Operation::ClearDuplicate { logical_switch: ls("x"), mac: mac(2) };
    lc.operate(clear.clone()).unwrap();
    lc.check("x", 2, "a", &["b"]);
    let refused = lc.operate(clear).unwrap_err();
    assert_eq!(refused, OperateError::NotDuplicate { logical_switch: ls("x"), mac: mac(2) });
}

#[test]
fn scenario_26_a_frozen_mac_survives_a_new_logical_controller() {
    let mut lc = Arbiter::started(freezing());
    fight(&mut lc, 1, 7);
    let mut next = Arbiter::new(freezing(), vtep_api::Term(2), lc.durable.clone());
    next.connect_all();
    let (a, b) = (next.new_claim(M), next.new_claim(M));
    next.tell_all(&[("a", "x", &[(1, a)]), ("b", "x", &[(1, b)])]);
    next.check("x", 1, "b", &["a"]);
    next.claim("a", "x", 1, M);
    next.check("x", 1, "b", &["a"]);
}

#[test]
fn scenario_26_a_frozen_mac_is_never_left_at_a_vtep_that_gave_it_up() {
    let mut lc = Arbiter::started(freezing());
    fight(&mut lc, 1, 7);
    lc.withdraw("b", "x", 1);
    lc.check("x", 1, "a", &[]);
    assert_eq!(lc.durable.frozen, [pin("x", 1, "a")].into());
}

#[test]
fn scenario_26_virtual_macs_of_vrrp_move_by_design() {
    let mut lc = Arbiter::started(freezing());
    let virtual_mac = vtep_api::MacAddr::new([0, 0, 0x5e, 0, 1, 7]);
    for move_ in 0..20 {
        let claim = lc.new_claim(M);
        lc.send(["a", "b"][move_ % 2], "x", vec![(virtual_mac, Report::Claim(claim))]);
    }
    assert_eq!((lc.core.counters().moves, lc.core.counters().duplicates), (19, 0));
}

#[test]
fn scenario_27_a_pinned_mac_stays_and_another_claim_is_an_alarm() {
    let mut declared = pair();
    declared.pins.insert(pin("x", 1, "a"));
    let mut lc = Arbiter::started(declared);
    lc.check("x", 1, "a", &[]);
    lc.claim("b", "x", 1, M);
    lc.check("x", 1, "a", &["b"]);
    assert_eq!(lc.why("x", 1), "pinned by the operator");
    assert!(lc.core.alarms().iter().any(|alarm| alarm.kind == AlarmKind::PinConflict));
    let refused = lc.operate(Operation::Unpin(pin("x", 1, "a"))).unwrap_err();
    assert!(matches!(refused, OperateError::PinDeclared { .. }));
}

#[test]
fn scenario_27_of_two_pins_the_lowest_name_holds_and_it_is_an_alarm() {
    let mut lc = Arbiter::started(pair());
    lc.operate(Operation::Pin(pin("x", 1, "b"))).unwrap();
    lc.check("x", 1, "b", &[]);
    lc.operate(Operation::Pin(pin("x", 1, "a"))).unwrap();
    lc.check("x", 1, "a", &["b"]);
    assert!(lc.core.alarms().iter().any(|alarm| alarm.kind == AlarmKind::PinConflict));
    assert_eq!(lc.durable.pins.len(), 2);
    lc.operate(Operation::Unpin(pin("x", 1, "a"))).unwrap();
    lc.operate(Operation::Unpin(pin("x", 1, "b"))).unwrap();
    assert!(lc.table("x").is_empty());
    assert!(lc.durable.pins.is_empty());
}

fn claims(lc: &mut Arbiter, numbers: std::ops::Range<u32>) -> Vec<(vtep_api::MacAddr, Report)> {
    numbers.map(|number| (mac(number), Report::Claim(lc.new_claim(M)))).collect()
}

#[test]
fn scenario_28_a_storm_of_takes_is_set_aside_and_can_be_released() {
    let mut lc = Arbiter::started(pair());
    let owned = claims(&mut lc, 0..5000);
    lc.send("a", "x", owned);
    let before = lc.table("x");
    for part in 0..10 {
        let part = claims(&mut lc, part * 500..(part + 1) * 500);
        lc.send("b", "x", part);
        lc.wait_ms(100);
    }
    assert_eq!(lc.table("x"), before, "the tables are as they were");
    lc.check_receivers();
    assert_eq!(lc.alarmed("too many MACs of others"), 1);
    assert_eq!(lc.core.counters().set_aside, 5000);
    // What nobody else has goes on, and so does everybody else.
    lc.claim("b", "x", 9000, M);
    lc.claim("c", "x", 9001, M);
    lc.check("x", 9000, "b", &[]);
    lc.check("x", 9001, "c", &[]);
    lc.operate(Operation::ReleaseStorm { vtep: vtep("b") }).unwrap();
    assert_eq!(lc.table("x")[&mac(7)], (vtep("b"), vec![vtep("a")]));
    lc.check_receivers();
    assert!(lc.operate(Operation::ReleaseStorm { vtep: vtep("b") }).is_err());
}

/// The physical controllers that heard the claims in their order are gone as well.
#[test]
fn scenario_28_what_a_storm_claimed_stays_where_it_was_when_all_controllers_begin_anew() {
    for order in [["a", "b", "c"], ["b", "c", "a"]] {
        let mut declared = pair();
        declared.policy.storm.takes_max = 3;
        let mut lc = Arbiter::started(declared.clone());
        for by in ["a", "b"] {
            let all = claims(&mut lc, 0..10);
            lc.send(by, "x", all);
        }
        assert_eq!(lc.core.counters().set_aside, 10);
        let mut next = Arbiter::new(declared, Term(2), lc.durable.clone());
        next.connect_all();
        for by in order {
            let all: Vec<_> = (0..10).map(|number| (number, next.new_claim(M))).collect();
            next.snapshot(by, "x", if by == "c" { &[] } else { &all });
            next.wait_ms(1);
        }
        for number in 0..10 {
            next.check("x", number, "a", &["b"]);
        }
    }
}

#[test]
fn scenario_28_a_failover_to_a_known_slave_is_no_storm() {
    let mut lc = Arbiter::started(pair());
    let owned = claims(&mut lc, 0..3000);
    lc.send("a", "x", owned);
    let standby: Vec<_> = (0..3000).map(|n| (mac(n), Report::Claim(lc.new_claim(S)))).collect();
    lc.send("b", "x", standby);
    let taken = claims(&mut lc, 0..3000);
    lc.send("b", "x", taken);
    assert_eq!(lc.table("x")[&mac(2999)], (vtep("b"), vec![vtep("a")]));
    assert_eq!(lc.core.counters().storms, 0);
}

#[test]
fn scenario_28_taking_from_a_vtep_that_is_lost_is_no_storm() {
    let mut lc = Arbiter::started(pair());
    let owned = claims(&mut lc, 0..3000);
    lc.send("a", "x", owned);
    lc.session("a", Session::Lost);
    let taken = claims(&mut lc, 0..3000);
    lc.send("b", "x", taken);
    assert_eq!(lc.table("x")[&mac(2999)], (vtep("b"), vec![vtep("a")]));
    assert_eq!(lc.core.counters().storms, 0);
}

#[test]
fn what_is_set_aside_counts_when_the_owner_gives_it_up() {
    let mut declared = pair();
    declared.policy.storm.takes_max = 0;
    let mut lc = Arbiter::started(declared);
    lc.claim("a", "x", 1, M);
    lc.claim("b", "x", 1, M);
    lc.check("x", 1, "a", &[]);
    lc.withdraw("a", "x", 1);
    lc.check("x", 1, "b", &[]);
}

fn withdrawals(lc: &mut Arbiter, numbers: std::ops::Range<u32>) -> Vec<(vtep_api::MacAddr, Report)> {
    numbers
        .map(|number| (mac(number), Report::Withdraw { stamp: lc.stamp(), cause: Cause::Withdrawn }))
        .collect()
}

#[test]
fn too_many_withdrawals_are_kept_until_they_are_released() {
    let mut lc = Arbiter::started(pair());
    let owned = claims(&mut lc, 0..1000);
    lc.send("a", "x", owned);
    let gone = withdrawals(&mut lc, 0..900);
    lc.send("a", "x", gone);
    assert_eq!(lc.table("x").len(), 800, "a fifth may leave");
    assert_eq!(lc.alarmed("too many MACs leave"), 1);
    // Adds and moves go on.
    lc.claim("b", "x", 5000, M);
    lc.check("x", 5000, "b", &[]);
    lc.claim("b", "x", 899, M);
    lc.check("x", 899, "b", &[]);
    // The guard's window is over: one may leave, those that are kept stay kept.
    lc.wait_ms(61_000);
    lc.withdraw("a", "x", 950);
    assert_eq!(lc.table("x").len(), 800);
    lc.operate(Operation::ReleaseWithdrawals { logical_switch: ls("x") }).unwrap();
    assert_eq!(lc.table("x").len(), 101);
    lc.check_receivers();
    assert!(lc.operate(Operation::ReleaseWithdrawals { logical_switch: ls("x") }).is_err());
}

/// Of the network x, in which a has these claims left.
fn next_reign(lc: &Arbiter, left: &[(u32, Claim)]) -> Arbiter {
    let mut next = lc.next_reign(pair());
    next.connect_all();
    next.snapshot("a", "x", left);
    next.snapshot("b", "x", &[]);
    next.snapshot("c", "x", &[]);
    next
}

#[test]
fn what_is_kept_is_kept_by_later_reigns_until_it_is_released() {
    let mut lc = Arbiter::started(pair());
    let owned: Vec<(u32, Claim)> = (0..1000).map(|number| (number, lc.new_claim(M))).collect();
    lc.snapshot("a", "x", &owned);
    lc.snapshot("a", "x", &owned[900..]);
    assert_eq!(lc.table("x").len(), 800);
    let told = lc.table("x");

    // It cannot hear of them: nobody claims them.
    let next = next_reign(&lc, &owned[900..]);
    assert_eq!(next.table("x"), told);
    let mut next = next_reign(&next, &owned[900..]);
    assert_eq!(next.table("x"), told);
    assert!(next.core.alarms().iter().any(|alarm| alarm.kind == AlarmKind::MassWithdraw));
    // They count as what left just now.
    next.epoch += 1;
    next.withdraw("a", "x", 950);
    assert_eq!(next.table("x").len(), 800);
    // What is claimed again is not kept any more, whoever claims it.
    let mut kept = (0..900).filter(|number| told.contains_key(&mac(*number)));
    let (moved, back, left) = (kept.next().unwrap(), kept.next().unwrap(), kept.next().unwrap());
    next.claim("b", "x", moved, M);
    next.check("x", moved, "b", &[]);
    next.claim("a", "x", back, M);
    next.check("x", left, "a", &[]);

    next.operate(Operation::ReleaseWithdrawals { logical_switch: ls("x") }).unwrap();
    assert_eq!(next.table("x").len(), 99 + 2);
    next.check("x", back, "a", &[]);
    next.check_receivers();
    assert!(next.durable.kept.is_empty());
    let last = next_reign(&next, &owned[900..]);
    assert_eq!(last.table("x").len(), 100);
    assert!(last.core.alarms().is_empty(), "{:?}", last.core.alarms());
    assert!(last.durable.masters[&ls("x")].is_empty(), "{:?}", last.durable.masters);
}

#[test]
fn a_contested_mac_that_nobody_claims_in_a_later_reign_is_not_kept_with_those_that_left_at_once() {
    let mut lc = Arbiter::started(pair());
    let owned: Vec<(u32, Claim)> = (0..1000).map(|number| (number, lc.new_claim(M))).collect();
    lc.snapshot("a", "x", &owned);
    lc.snapshot("a", "x", &owned[900..]);
    let kept = lc.table("x");
    assert_eq!(kept.len(), 800);
    for by in ["a", "b"] {
        lc.claim(by, "x", 5000, M);
    }
    lc.check("x", 5000, "b", &["a"]);

    let next = next_reign(&lc, &owned[900..]);
    assert_eq!(next.table("x"), kept);
    assert!(!next.durable.masters[&ls("x")].contains_key(&mac(5000)));
}

#[test]
fn an_empty_database_of_a_tor_empties_no_table() {
    let mut lc = Arbiter::started(pair());
    let owned: Vec<(u32, Claim)> = (0..1000).map(|number| (number, lc.new_claim(M))).collect();
    lc.snapshot("a", "x", &owned);
    lc.snapshot("a", "x", &[]);
    assert_eq!(lc.table("x").len(), 800);
    // It was a mistake, and it tells all again: no move, no alarm left.
    lc.snapshot("a", "x", &owned);
    assert_eq!(lc.table("x").len(), 1000);
    assert!(lc.core.alarms().is_empty(), "{:?}", lc.core.alarms());
    assert_eq!(lc.core.counters().moves, 0);
}

#[test]
fn a_vtep_above_its_quota_evicts_nobody_and_is_asked_again_when_there_is_room() {
    let mut declared = pair();
    declared.policy.quota = 10;
    let mut lc = Arbiter::started(declared);
    lc.claim("a", "x", 100, M);
    let flood = claims(&mut lc, 0..50);
    lc.send("b", "x", flood);
    assert_eq!(lc.table("x").len(), 11);
    lc.check("x", 100, "a", &[]);
    assert_eq!(lc.core.counters().refused, 40);
    lc.wait_ms(3000);
    assert_eq!(lc.at("pc-b").resyncs, [], "there is no room");
    lc.withdraw("b", "x", 0);
    lc.wait_ms(3000);
    assert_eq!(lc.at("pc-b").resyncs, [(vtep("b"), ls("x"))]);
    lc.claim("a", "x", 101, M);
    lc.check("x", 101, "a", &[]);
}
