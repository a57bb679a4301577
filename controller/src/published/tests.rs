use std::sync::Arc;

use proptest::prelude::*;
use vtep_api::Placement;

use super::*;

fn mac(number: u8) -> MacAddr {
    MacAddr::new([2, 0, 0, 0, 0, number])
}

fn row(master: u8) -> Row {
    let master = format!("v{master}").parse().unwrap();
    Row { placement: Arc::new(Placement { master, slaves: Vec::new() }), ips: Box::default() }
}

fn put(number: u8, master: u8) -> (MacAddr, Change) {
    (mac(number), Change::Put(row(master)))
}

fn remove(number: u8) -> (MacAddr, Change) {
    (mac(number), Change::Remove(Cause::Withdrawn))
}

fn rows(published: &Published) -> Vec<(MacAddr, Row)> {
    let mut rows: Vec<_> = published.iter().map(|(mac, row)| (mac, row.clone())).collect();
    rows.sort_by_key(|(mac, _)| *mac);
    rows
}

#[test]
fn what_changes_nothing_is_no_version() {
    let mut published = Published::default();
    assert!(published.publish([put(1, 1)]));
    assert!(!published.publish([put(1, 1), remove(2)]));
    assert_eq!(published.version(), Version(1));
}

#[test]
fn a_receiver_gets_each_mac_once_in_its_final_state() {
    let mut published = Published::default();
    for master in [1, 2, 1, 3] {
        published.publish([put(1, master)]);
    }
    published.publish([put(2, 9)]);
    published.publish([remove(2)]);
    let changes = published.since(Version(0)).unwrap();
    assert_eq!(changes, [put(1, 3), remove(2)]);
    assert_eq!(published.since(published.version()), Some(Vec::new()));
}

#[test]
fn a_version_that_never_was_leads_nowhere() {
    let mut published = Published::at(Version(5));
    published.publish([put(1, 1)]);
    assert!(published.since(Version(4)).is_none());
    assert!(published.since(Version(5)).is_some());
    assert!(published.since(Version(7)).is_none());
}

#[test]
fn the_log_is_bounded_by_the_table_not_by_its_changes() {
    let mut published = Published::default();
    for change in 0..10 * LOG_MIN {
        published.publish([put(1, u8::try_from(change % 2).unwrap())]);
    }
    assert_eq!(published.log.len(), LOG_MIN);
    assert!(published.since(Version(1)).is_none(), "what is too old needs a snapshot");
    let oldest = Version(published.version().0 - LOG_MIN as u64);
    assert_eq!(published.since(oldest), Some(vec![put(1, 1)]));
}

#[test]
fn a_version_is_forgotten_whole() {
    let mut published = Published::default();
    published.publish((0..=u8::MAX).map(|number| put(number, 1)));
    let before = published.version();
    for change in 0..LOG_MIN - 100 {
        published.publish([put(1, u8::try_from(change % 2 + 2).unwrap())]);
    }
    // Some of the first version's entries are gone: nothing leads from before it.
    assert!(published.since(Version(0)).is_none());
    assert!(published.since(before).is_some());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn a_snapshot_and_what_came_since_are_the_table(
        versions in prop::collection::vec(
            (prop::collection::vec((0_u8..6, 0_u8..3, any::<bool>()), 0..4), any::<bool>()), 0..12
        )
    ) {
        let mut published = Published::default();
        // Each follows from its own version, and is brought up to date at its own times.
        let mut receivers: Vec<Published> = vec![Published::default()];
        for (changes, read) in versions {
            let changes = changes.into_iter().map(|(n, master, put_it)| if put_it { put(n, master) } else { remove(n) });
            let before = published.version();
            let changed = published.publish(changes);
            prop_assert_eq!(published.version().0, before.0 + u64::from(changed));
            if read {
                for receiver in receivers.iter_mut().skip(usize::from(changed)) {
                    let since = published.since(receiver.version()).unwrap();
                    receiver.advance(published.version(), since);
                    receiver.skip_to(published.version());
                }
                receivers.push(published.clone());
            }
        }
        for receiver in &mut receivers {
            let since = published.since(receiver.version()).unwrap();
            let macs: std::collections::BTreeSet<MacAddr> = since.iter().map(|(mac, _)| *mac).collect();
            prop_assert_eq!(macs.len(), since.len());
            receiver.advance(published.version(), since);
            prop_assert_eq!(rows(receiver), rows(&published));
        }
    }
}

/// A receiver may come from another copy of the table, at a version that this one passed over.
#[test]
fn a_copy_leads_on_from_versions_that_it_passed_over_or_says_that_it_cannot() {
    let mut copy = Published::default();
    copy.follow(Version(3), [put(1, 1)]);
    // At 10 it was elsewhere, and another MAC came and went.
    let there_and_back = [put(1, 1), remove(2)];
    copy.follow(Version(20), there_and_back.clone());
    assert_eq!(copy.since(Version(10)).unwrap(), there_and_back);
    copy.jump(Version(30), [put(3, 1)]);
    assert_eq!(copy.since(Version(25)), None);
    assert_eq!(copy.since(Version(20)).unwrap(), [put(3, 1)]);
    assert_eq!(copy.since(Version(30)).unwrap(), []);
    copy.jump(Version(31), []);
    assert_eq!(copy.since(Version(30)).unwrap(), []);
}
