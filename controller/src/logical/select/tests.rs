use proptest::prelude::*;

use super::*;

fn contender(name: &str, role: Role, arrived: u64) -> Contender {
    Contender {
        key: 0,
        vtep: name.parse().unwrap(),
        role,
        pinned: false,
        frozen: false,
        dead: false,
        stale_since: None,
        superseded: false,
        witnessed: false,
        arrived: LIVE + arrived,
        received_at_ms: 0,
        claimed_at_ms: None,
        clock_trusted: true,
        mastered: 0,
    }
}

#[track_caller]
fn check(claims: &[Contender], policy: TimePolicy, master: &str, reason: &str) {
    let decision = select(claims, policy).unwrap();
    assert_eq!((decision.master.as_str(), decision.reason.to_string().as_str()), (master, reason));
    let mut reversed = claims.to_vec();
    reversed.reverse();
    assert_eq!(select(&reversed, policy), Some(decision));
}

#[test]
fn nobody_claims_nobody_is_master() {
    assert_eq!(select(&[], TimePolicy::Arrival), None);
}

#[test]
fn the_rules_apply_in_their_order() {
    let a = contender("a", Role::Master, 1);
    let b = contender("b", Role::Master, 2);
    let later = "arrival: later than a by 1 claim / 0 ms";
    check(std::slice::from_ref(&a), TimePolicy::Arrival, "a", "the only claim");
    check(&[a.clone(), b.clone()], TimePolicy::Arrival, "b", later);
    let slave = Contender { role: Role::Slave, ..b.clone() };
    check(&[a.clone(), slave], TimePolicy::Arrival, "a", "the only one to claim to be master");
    let frozen = Contender { frozen: true, ..a.clone() };
    check(&[frozen.clone(), b.clone()], TimePolicy::Arrival, "a", "a duplicate MAC that keeps its master");
    let dead = Contender { dead: true, ..frozen };
    check(&[dead, b.clone()], TimePolicy::Arrival, "b", "a is lost and unreachable");
    let pinned = Contender { pinned: true, dead: true, ..a.clone() };
    check(&[pinned, b], TimePolicy::Arrival, "a", "pinned by the operator");
}

#[test]
fn what_hosts_see_decides_between_claims_that_are_alike_and_between_no_others() {
    let a = Contender { witnessed: true, ..contender("a", Role::Master, 1) };
    let b = contender("b", Role::Master, 2);
    let seen = "hosts receive its frames from there; b claims alike";
    for policy in [TimePolicy::Arrival, TimePolicy::PhysicalControllerTime, TimePolicy::VtepTime] {
        check(&[a.clone(), b.clone()], policy, "a", seen);
    }
    let slave = Contender { role: Role::Slave, ..a.clone() };
    check(&[slave, b.clone()], TimePolicy::Arrival, "b", "the only one to claim to be master");
    let pinned = Contender { pinned: true, ..b.clone() };
    check(&[a.clone(), pinned], TimePolicy::Arrival, "b", "pinned by the operator");
    let frozen = Contender { frozen: true, ..b.clone() };
    check(&[a.clone(), frozen], TimePolicy::Arrival, "b", "a duplicate MAC that keeps its master");
    let dead = Contender { dead: true, ..a };
    check(&[dead, b], TimePolicy::Arrival, "b", "a is lost and unreachable");
}

#[test]
fn of_two_pinned_the_lowest_name_wins() {
    let a = Contender { pinned: true, ..contender("a", Role::Master, 1) };
    let b = Contender { pinned: true, ..contender("b", Role::Master, 2) };
    check(&[a, b], TimePolicy::Arrival, "a", "pinned, as is b: the lowest name");
}

#[test]
fn equal_times_are_decided_by_name() {
    let a = contender("a", Role::Master, 1);
    let b = contender("b", Role::Master, 2);
    let policy = TimePolicy::PhysicalControllerTime;
    check(&[a, b], policy, "a", "physical-controller-time: equal to b, the lowest name");
}

#[test]
fn a_clock_that_is_off_gives_way_to_the_physical_controllers_and_the_reason_says_so() {
    let a = Contender { claimed_at_ms: Some(900), received_at_ms: 10, ..contender("a", Role::Master, 1) };
    let b = Contender { claimed_at_ms: Some(500), received_at_ms: 20, ..contender("b", Role::Master, 2) };
    check(&[a.clone(), b.clone()], TimePolicy::VtepTime, "a", "vtep-time: later than b by 400 ms");
    let off = Contender { clock_trusted: false, ..a };
    let says = "vtep-time: later than a by 490 ms; \
                the physical controller's time for a, whose own is unknown or too far off";
    check(&[off, b], TimePolicy::VtepTime, "b", says);
}

#[test]
fn when_nobody_claims_to_be_master_one_is_designated() {
    let a = contender("a", Role::Slave, 1);
    let b = contender("b", Role::Slave, 2);
    let words = "designated, for nobody claims to be master: ";
    check(&[a.clone(), b.clone()], TimePolicy::Arrival, "b", &format!("{words}the latest claim"));
    check(&[a.clone(), b.clone()], TimePolicy::VtepTime, "a", &format!("{words}the lowest name"));
    let was = Contender { mastered: 7, ..a };
    check(&[was, b], TimePolicy::Arrival, "a", &format!("{words}it was master last"));
}

#[test]
fn a_stale_claim_keeps_its_rank_until_a_live_one_arrives_after_the_loss() {
    let policy = TimePolicy::PhysicalControllerTime;
    let stale =
        Contender { stale_since: Some(LIVE + 5), received_at_ms: 100, ..contender("a", Role::Master, 1) };
    let before = Contender { received_at_ms: 50, ..contender("b", Role::Master, 4) };
    check(&[stale.clone(), before], policy, "a", "physical-controller-time: later than b by 50 ms");
    let after = Contender { received_at_ms: 50, ..contender("b", Role::Master, 6) };
    check(&[stale, after], policy, "b", "claimed after the session of a was lost");
}

fn policies() -> impl Strategy<Value = TimePolicy> {
    prop::sample::select(vec![TimePolicy::Arrival, TimePolicy::PhysicalControllerTime, TimePolicy::VtepTime])
}

prop_compose! {
    fn any_contender(number: usize)(
        slave in any::<bool>(),
        flags in prop::collection::vec(prop::bool::weighted(0.2), 5),
        stale in prop::option::weighted(0.2, 0_u64..6),
        times in (0_i64..4, prop::option::of(0_i64..4), 0_u64..3),
    ) -> Contender {
        Contender {
            key: u32::try_from(number).unwrap(),
            pinned: flags[0],
            frozen: flags[1],
            dead: flags[2],
            superseded: flags[3],
            clock_trusted: !flags[4],
            stale_since: stale.map(|since| LIVE + since),
            received_at_ms: times.0,
            claimed_at_ms: times.1,
            mastered: times.2,
            ..contender(&format!("v{number}"), if slave { Role::Slave } else { Role::Master }, number as u64)
        }
    }
}

fn claims() -> impl Strategy<Value = Vec<Contender>> {
    (1_usize..6).prop_flat_map(|count| (0..count).map(any_contender).collect::<Vec<_>>()).prop_shuffle()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn exactly_one_is_master_and_all_others_are_slaves(claims in claims(), policy in policies()) {
        let decision = select(&claims, policy).unwrap();
        let mut all = decision.slaves.clone();
        all.push(decision.master);
        all.sort();
        let mut names: Vec<_> = claims.iter().map(|claim| claim.vtep.clone()).collect();
        names.sort();
        prop_assert_eq!(all, names);
    }

    #[test]
    fn the_order_in_which_claims_are_given_does_not_matter(
        (claims, shuffled) in claims().prop_flat_map(|claims| (Just(claims.clone()), Just(claims).prop_shuffle())),
        policy in policies(),
    ) {
        prop_assert_eq!(select(&claims, policy), select(&shuffled, policy));
    }

    #[test]
    fn deciding_again_by_what_was_decided_changes_nothing(claims in claims(), policy in policies()) {
        let mut ranked = claims;
        rank(&mut ranked, policy);
        let mut again = ranked.clone();
        rank(&mut again, policy);
        prop_assert_eq!(again, ranked);
    }

    #[test]
    fn the_one_who_is_not_master_may_leave_without_a_move(claims in claims(), policy in policies()) {
        let mut ranked = claims;
        rank(&mut ranked, policy);
        let master = ranked[0].vtep.clone();
        while ranked.len() > 1 {
            ranked.pop();
            let decision = select(&ranked, policy).unwrap();
            prop_assert_eq!(&decision.master, &master);
        }
    }
}
