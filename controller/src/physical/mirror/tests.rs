use super::*;

fn name(text: &str) -> LogicalSwitchName {
    text.try_into().unwrap()
}

const MAC: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 1]);

/// Tells `first` and then `second`, and whether the second was a claim, with what is kept of it.
fn renewed(first: &LocalMac, second: &LocalMac) -> (Observed, Claim) {
    let mut seq = 0;
    let mut mirror = Mirror::default();
    mirror.observe(
        &name("X"),
        MAC,
        Some(first.clone()),
        &mut Clock { epoch: 3, seq: &mut seq, wall_ms: 100 },
    );
    let mut clock = Clock { epoch: 3, seq: &mut seq, wall_ms: 200 };
    let observed = mirror.observe(&name("X"), MAC, Some(second.clone()), &mut clock);
    (observed, mirror.claim(3, &name("X"), MAC).unwrap())
}

#[track_caller]
fn check(first: &LocalMac, second: &LocalMac, claims: bool) {
    let (observed, claim) = renewed(first, second);
    assert_eq!(matches!(observed, Observed::News(_)), claims, "{observed:?}");
    let (seq, received_at_ms) = if claims { (2, 200) } else { (1, 100) };
    assert_eq!((claim.stamp, claim.received_at_ms), (Stamp { epoch: 3, seq }, received_at_ms));
}

fn local(role: Role, origin: Option<u128>, claimed_at_ms: Option<i64>) -> LocalMac {
    LocalMac { role, origin: origin.map(Origin), claimed_at_ms, ips: Ips::default() }
}

#[test]
fn only_another_role_origin_or_time_is_a_new_claim() {
    use Role::{Master, Slave};
    check(&local(Master, Some(1), Some(5)), &local(Master, Some(1), Some(5)), false);
    check(&local(Master, Some(1), Some(5)), &local(Slave, Some(1), Some(5)), true);
    check(&local(Master, Some(1), Some(5)), &local(Master, Some(2), Some(5)), true);
    check(&local(Master, Some(1), Some(5)), &local(Master, Some(1), Some(6)), true);
    check(&local(Master, Some(1), None), &local(Master, Some(1), Some(6)), true);
    check(&local(Master, None, None), &local(Master, Some(1), None), true);
}

#[test]
fn a_record_that_a_vtep_recovered_is_a_new_claim_only_in_another_role() {
    use Role::{Master, Slave};
    check(&local(Master, Some(1), Some(5)), &local(Master, None, None), false);
    check(&local(Master, Some(1), Some(5)), &local(Master, None, Some(9)), false);
    check(&local(Master, Some(1), Some(5)), &local(Slave, None, None), true);
    let (_, claim) = renewed(&local(Master, Some(1), Some(5)), &local(Master, None, None));
    assert_eq!((claim.local.claimed_at_ms, claim.local.origin), (Some(5), None));
}

#[test]
fn a_number_that_is_given_again_after_a_restart_is_a_new_claim() {
    let mut seq = 0;
    let mut mirror = Mirror::default();
    let mut told = |origin| {
        let mut clock = Clock { epoch: 3, seq: &mut seq, wall_ms: 0 };
        mirror.observe(&name("X"), MAC, Some(local(Role::Master, origin, None)), &mut clock)
    };
    told(Some(1));
    assert_eq!(told(None), Observed::Same);
    assert!(matches!(told(Some(1)), Observed::News(Report::Claim(_))));
}

#[test]
fn another_address_keeps_the_claims_place() {
    let first = local(Role::Master, Some(u128::MAX - 7), Some(5));
    let second = LocalMac { ips: ["192.0.2.9".parse().unwrap()].into(), ..first.clone() };
    let (observed, claim) = renewed(&first, &second);
    assert_eq!(observed, Observed::Updated(Report::Claim(claim.clone())));
    assert_eq!((claim.stamp.seq, claim.local), (1, second));
}

#[test]
fn a_withdrawal_comes_after_what_it_takes_back() {
    let mut seq = 0;
    let mut mirror = Mirror::default();
    let mut clock = Clock { epoch: 3, seq: &mut seq, wall_ms: 0 };
    mirror.observe(&name("X"), MAC, Some(local(Role::Master, Some(1), None)), &mut clock);
    let stamp = Stamp { epoch: 3, seq: 2 };
    let withdrawn = Observed::News(Report::Withdraw { stamp, cause: Cause::Withdrawn });
    assert_eq!(mirror.observe(&name("X"), MAC, None, &mut clock), withdrawn);
    assert_eq!(mirror.observe(&name("X"), MAC, None, &mut clock), Observed::Same);
    assert_eq!(mirror.logical_switches().count(), 0);
}

#[test]
fn an_address_of_no_station_is_refused() {
    let mut seq = 0;
    let mut clock = Clock { epoch: 3, seq: &mut seq, wall_ms: 0 };
    for mac in [MacAddr::BROADCAST, MacAddr::new([0; 6]), MacAddr::new([1, 0, 0x5e, 0, 0, 1])] {
        let observed = Mirror::default().observe(&name("X"), mac, Some(LocalMac::default()), &mut clock);
        assert!(matches!(observed, Observed::Refused(_)));
    }
}

#[test]
fn a_record_takes_no_more_than_72_bytes() {
    assert!(size_of::<(MacAddr, Record)>() <= 72);
}
