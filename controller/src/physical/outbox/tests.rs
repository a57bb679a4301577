use vtep_api::{Cause, Stamp};

use super::*;

fn pair(vtep: &str, network: &str) -> Pair {
    (vtep.try_into().unwrap(), network.try_into().unwrap())
}

fn mac(number: u8) -> MacAddr {
    MacAddr::new([2, 0, 0, 0, 0, number])
}

fn report(seq: u64) -> Report {
    Report::Withdraw { stamp: Stamp { epoch: 1, seq }, cause: Cause::Withdrawn }
}

fn told(pairs: &[&Pair]) -> Outbox {
    let mut outbox = Outbox::default();
    for pair in pairs {
        outbox.tell_whole((*pair).clone());
    }
    while outbox.begin_snapshot(|_| Vec::new()) {
        outbox.snapshot_part(|_, _| None);
    }
    outbox
}

fn order(outbox: &mut Outbox) -> Vec<(String, Vec<u64>)> {
    let mut order = Vec::new();
    while let Some(claims) = outbox.next_changes(Batch::default(), 0) {
        let seq = |(_, report): &(MacAddr, Report)| match report {
            Report::Claim(claim) => claim.stamp.seq,
            Report::Withdraw { stamp, .. } => stamp.seq,
        };
        order.push((claims.vtep.to_string(), claims.records.iter().map(seq).collect()));
    }
    order
}

#[test]
fn changes_of_other_macs_share_a_message_and_those_of_one_keep_their_order() {
    let (a, b) = (pair("a", "X"), pair("b", "X"));
    let mut outbox = told(&[&a, &b]);
    for (seq, pair, number) in [(1, &a, 1), (2, &b, 2), (3, &a, 3), (4, &b, 1), (5, &a, 1), (6, &a, 4)] {
        outbox.push(pair, mac(number), report(seq), 0);
    }
    let expected = vec![("a".into(), vec![1, 3]), ("b".into(), vec![2, 4]), ("a".into(), vec![5, 6])];
    assert_eq!(order(&mut outbox), expected);
}

#[test]
fn what_waits_is_bounded_by_the_macs() {
    let a = pair("a", "X");
    let mut outbox = told(&[&a]);
    let mut merged = 0;
    for seq in 0..100_000 {
        merged += outbox.push(&a, mac(u8::try_from(seq % 7).unwrap()), report(seq), 0);
        assert!(outbox.changes.len() <= MERGE_MIN);
    }
    assert!(merged > 98_000);
    let seqs: Vec<u64> = order(&mut outbox).into_iter().flat_map(|(_, seqs)| seqs).collect();
    assert!(seqs.is_sorted());
    assert_eq!(seqs.last(), Some(&99_999));
}

#[test]
fn what_the_snapshot_will_tell_is_not_told_before() {
    let a = pair("a", "X");
    let mut outbox = Outbox::default();
    outbox.tell_whole(a.clone());
    outbox.push(&a, mac(1), report(1), 0);
    assert_eq!(outbox.next_changes(Batch::default(), 0), None);
    assert!(outbox.begin_snapshot(|_| vec![mac(1)]));
    outbox.push(&a, mac(1), report(2), 0);
    assert!(outbox.snapshot_part(|_, _| Some(report(1))).is_some_and(|part| part.end));
    assert_eq!(order(&mut outbox), [("a".to_owned(), vec![2])]);
}

#[test]
fn a_snapshot_that_is_told_again_waits_for_the_changes_before_it() {
    let a = pair("a", "X");
    let mut outbox = told(&[&a]);
    let gathered = Batch { period_ms: 60_000, size: 0 };
    outbox.push(&a, mac(1), report(1), 0);
    outbox.tell_whole(a.clone());
    assert!(!outbox.begin_snapshot(|_| Vec::new()));
    assert!(outbox.next_changes(gathered, 0).is_some(), "the batch does not wait for its period");
    assert!(outbox.begin_snapshot(|_| Vec::new()));
}
