//! One network's table as the controller sends it: parts are gathered until the last one has come, and only then count.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};
use vtep_api::{Change, MacAddr, Row, TableUpdate, Term, Version};

/// Removals by absence that are believed within so much time: at least so many, or a part of the table.
const GUARDED: Duration = Duration::from_mins(1);
const REMOVALS_MIN: usize = 64;
const REMOVALS_PART: usize = 5;

pub type Macs = HashSet<MacAddr, RandomState>;
pub(super) type Rows = HashMap<MacAddr, Row, RandomState>;

/// What we have of a network.
#[derive(Debug, Default)]
pub(super) struct Received {
    pub(super) term: Term,
    pub(super) version: Version,
    /// A snapshot came that named all MACs.
    pub(super) whole: bool,
    pub(super) rows: Rows,
    /// At least one update came to its end.
    pub(super) any: bool,
    /// Updates that led from nothing.
    pub(super) snapshots: u64,
    /// Those of the network that an earlier agent left in the kernel, until a snapshot has named all.
    left: Macs,
    /// MACs that the last snapshot lacked and that stay, for it lacked too many.
    held: Macs,
    /// The same of those that an earlier agent left.
    held_in_kernel: usize,
    /// How many went by absence, and when.
    removed: VecDeque<(Instant, usize)>,
    staged: Option<TableUpdate>,
    /// A snapshot was asked for; what does not fit meanwhile is expected.
    asked: bool,
}

/// What became of a part.
#[derive(Debug, PartialEq)]
pub(super) enum Part {
    /// More is to come, or it was waited for a snapshot anyway.
    Taken,
    /// It came to its end. Each MAC that lives elsewhere than before, or nowhere.
    Settled(Vec<(MacAddr, Option<Row>)>),
    /// Ask for a snapshot.
    Misfit,
    /// Of a lower term than one that was obeyed.
    Superseded { obeyed: Term },
}

impl Received {
    /// A session's parts have nothing to do with the next one's.
    pub(super) fn interrupt(&mut self) {
        self.staged = None;
        self.asked = false;
    }

    /// `left`: what an earlier agent left in the kernel.
    pub(super) fn over(left: Macs) -> Self {
        Self { left, ..Self::default() }
    }

    /// MACs that stay until an operator lets them go.
    pub(super) fn held(&self) -> usize {
        self.held.len() + self.held_in_kernel
    }

    /// Whether the kernel may have MACs that are not ours to name.
    pub(super) fn is_partial(&self) -> bool {
        !self.whole || self.held_in_kernel > 0
    }

    /// Lets the MACs go that are held.
    pub(super) fn release(&mut self) -> Vec<(MacAddr, Option<Row>)> {
        self.held_in_kernel = 0;
        let held = std::mem::take(&mut self.held);
        held.into_iter().filter(|mac| self.rows.remove(mac).is_some()).map(|mac| (mac, None)).collect()
    }

    pub(super) fn take(&mut self, part: TableUpdate, now: Instant) -> Part {
        if part.term < self.term {
            return Part::Superseded { obeyed: self.term };
        }
        let continues = |staged: &TableUpdate| {
            (staged.term, staged.from, staged.to, staged.complete)
                == (part.term, part.from, part.to, part.complete)
        };
        let end = part.end;
        match &mut self.staged {
            Some(staged) if continues(staged) => staged.changes.extend(part.changes),
            _ => {
                // Who took over may not know how far its predecessor has led us: what leads from before to beyond that is as
                // good, for it says of every MAC what is so in the end, and what leads not so far is known.
                let same = |from: Version| self.any && part.term == self.term && from <= self.version;
                let known = self.whole && part.term == self.term && part.to < self.version;
                if known && part.from.is_none_or(same) {
                    self.staged = None;
                    return Part::Taken;
                }
                if !part.from.is_none_or(same) {
                    self.staged = None;
                    return if std::mem::replace(&mut self.asked, true) { Part::Taken } else { Part::Misfit };
                }
                self.staged = Some(part);
            }
        }
        match self.staged.take_if(|_| end) {
            Some(update) => Part::Settled(self.settle(update, now)),
            None => Part::Taken,
        }
    }

    fn settle(&mut self, update: TableUpdate, now: Instant) -> Vec<(MacAddr, Option<Row>)> {
        self.term = update.term;
        self.version = update.to;
        self.any = true;
        let names_all = update.from.is_none() && update.complete;
        let mut absent = None;
        if update.from.is_none() {
            self.asked = false;
            self.snapshots += 1;
            if names_all {
                absent = Some(std::mem::take(&mut self.rows));
            }
        }
        let count = absent.as_ref().map_or(0, Rows::len);
        let mut changes = Vec::new();
        for (mac, change) in update.changes {
            let before = absent.as_mut().and_then(|absent| absent.remove(&mac));
            self.held.remove(&mac);
            match change {
                Change::Put(row) => {
                    let before = self.rows.insert(mac, row.clone()).or(before);
                    if before.as_ref() != Some(&row) {
                        changes.push((mac, Some(row)));
                    }
                }
                Change::Remove(_) => {
                    if self.rows.remove(&mac).or(before).is_some() || self.is_partial() {
                        changes.push((mac, None));
                    }
                }
            }
        }
        if names_all {
            let first = !std::mem::replace(&mut self.whole, true);
            if first {
                let left = std::mem::take(&mut self.left);
                let gone = left.iter().filter(|mac| !self.rows.contains_key(*mac)).count();
                self.held_in_kernel = if self.may_go(gone, left.len(), now) { 0 } else { gone };
            }
        }
        if let Some(absent) = absent {
            if self.may_go(absent.len(), count, now) {
                self.held = Macs::default();
                changes.extend(absent.into_keys().map(|mac| (mac, None)));
            } else {
                self.held = absent.keys().copied().collect();
                self.rows.extend(absent);
            }
        }
        changes
    }

    /// Whether so many of so many may go by absence. One bad snapshot must not empty a network.
    fn may_go(&mut self, gone: usize, of: usize, now: Instant) -> bool {
        if gone == 0 {
            return true;
        }
        self.removed.retain(|(at, _)| now.duration_since(*at) < GUARDED);
        let recent: usize = self.removed.iter().map(|(_, count)| count).sum();
        let goes = recent + gone <= REMOVALS_MIN.max(of / REMOVALS_PART);
        if goes {
            self.removed.push_back((now, gone));
        }
        goes
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use vtep_api::{Cause, Placement};

    use super::*;

    const TERM: Term = Term(3);

    impl Received {
        fn hear(&mut self, part: TableUpdate) -> Part {
            self.take(part, Instant::now())
        }
    }

    fn placed(master: &str) -> Row {
        let placement = Arc::new(Placement { master: master.try_into().unwrap(), slaves: Vec::new() });
        Row { placement, ips: Box::default() }
    }

    fn mac(last: u8) -> MacAddr {
        MacAddr::new([2, 0, 0, 0, 0, last])
    }

    fn put(last: u8, master: &str) -> (MacAddr, Change) {
        (mac(last), Change::Put(placed(master)))
    }

    fn update(from: Option<u64>, to: u64, changes: Vec<(MacAddr, Change)>) -> TableUpdate {
        TableUpdate {
            logical_switch: "blue".try_into().unwrap(),
            term: TERM,
            from: from.map(Version),
            to: Version(to),
            complete: true,
            changes,
            end: true,
        }
    }

    fn with_snapshot() -> Received {
        let mut received = Received::default();
        let part = received.hear(update(None, 5, vec![put(1, "a"), put(2, "b")]));
        assert!(matches!(part, Part::Settled(changes) if changes.len() == 2));
        received
    }

    #[test]
    fn a_snapshot_counts_when_its_last_part_has_come() {
        let mut received = with_snapshot();
        let first = TableUpdate { end: false, ..update(None, 6, vec![put(2, "b")]) };
        assert_eq!(received.hear(first), Part::Taken);
        assert_eq!((received.rows.len(), received.version), (2, Version(5)));
        let changes = vec![(mac(3), Some(placed("a"))), (mac(1), None)];
        assert_eq!(received.hear(update(None, 6, vec![put(3, "a")])), Part::Settled(changes));
        assert_eq!((received.rows.len(), received.version), (2, Version(6)));
    }

    #[test]
    fn absence_from_an_incomplete_snapshot_says_nothing() {
        let mut received = with_snapshot();
        let some = TableUpdate { complete: false, ..update(None, 9, vec![put(2, "a")]) };
        assert_eq!(received.hear(some), Part::Settled(vec![(mac(2), Some(placed("a")))]));
        assert_eq!(received.rows.len(), 2);
        let mut fresh = Received::default();
        fresh.hear(TableUpdate { complete: false, ..update(None, 9, vec![]) });
        assert!(!fresh.whole);
    }

    #[test]
    fn a_delta_that_does_not_fit_asks_once_for_a_snapshot() {
        let mut received = with_snapshot();
        let remove = (mac(1), Change::Remove(Cause::Withdrawn));
        assert_eq!(received.hear(update(Some(6), 7, vec![remove.clone()])), Part::Misfit);
        assert_eq!(received.hear(update(Some(7), 8, vec![remove.clone()])), Part::Taken);
        assert_eq!(received.rows.len(), 2);
        assert_eq!(received.hear(update(None, 8, vec![put(2, "b")])), Part::Settled(vec![(mac(1), None)]));
        assert_eq!(received.hear(update(Some(8), 9, vec![remove])), Part::Settled(vec![]));
        assert_eq!(received.version, Version(9));
    }

    #[test]
    fn what_leads_from_before_to_beyond_fits_and_what_leads_not_so_far_is_known() {
        let mut received = with_snapshot();
        received.hear(update(Some(5), 7, vec![put(1, "b"), put(3, "a")]));
        let known = update(Some(5), 6, vec![put(1, "a"), (mac(3), Change::Remove(Cause::Withdrawn))]);
        assert_eq!(received.hear(known), Part::Taken);
        assert_eq!(received.hear(update(None, 6, vec![put(1, "a")])), Part::Taken);
        assert_eq!(received.version, Version(7));
        let beyond = update(Some(5), 8, vec![put(1, "b"), put(3, "a"), put(4, "a")]);
        assert_eq!(received.hear(beyond), Part::Settled(vec![(mac(4), Some(placed("a")))]));
        assert_eq!(received.version, Version(8));
    }

    #[test]
    fn a_lower_term_is_refused_and_a_higher_one_needs_a_snapshot() {
        let mut received = with_snapshot();
        let lower = TableUpdate { term: Term(2), ..update(None, 9, vec![]) };
        assert_eq!(received.hear(lower), Part::Superseded { obeyed: TERM });
        let higher = TableUpdate { term: Term(4), ..update(Some(5), 6, vec![]) };
        assert_eq!(received.hear(higher), Part::Misfit);
        assert_eq!(received.rows.len(), 2);
    }

    #[test]
    fn a_session_that_ends_takes_its_parts_along() {
        let mut received = with_snapshot();
        received.hear(TableUpdate { end: false, ..update(Some(5), 6, vec![put(7, "a")]) });
        received.interrupt();
        received.hear(update(Some(5), 6, vec![put(8, "a")]));
        assert!(!received.rows.contains_key(&mac(7)) && received.rows.contains_key(&mac(8)));
    }

    fn many(count: u8) -> Vec<(MacAddr, Change)> {
        (0..count).map(|last| put(last, "a")).collect()
    }

    #[test]
    fn a_snapshot_that_lacks_too_many_removes_none_until_they_are_released() {
        let start = Instant::now();
        let later = |seconds| start + Duration::from_secs(seconds);
        let mut received = Received::default();
        received.take(update(None, 1, many(200)), start);
        assert_eq!(received.take(update(None, 2, many(135)), later(1)), Part::Settled(vec![]));
        assert_eq!((received.held(), received.rows.len()), (65, 200));
        received.take(
            update(Some(2), 3, vec![put(199, "b"), (mac(198), Change::Remove(Cause::Operator))]),
            later(2),
        );
        assert_eq!(received.held(), 63);
        assert_eq!(received.release().len(), 63);
        assert_eq!((received.held(), received.rows.len()), (0, 136));
        // Within a minute few more go by absence, and then as many again.
        received.take(update(None, 4, many(80)), later(3));
        assert_eq!((received.held(), received.rows.len()), (0, 80));
        received.take(update(None, 5, many(70)), later(4));
        assert_eq!(received.held(), 10);
        received.take(update(None, 6, many(70)), later(70));
        assert_eq!((received.held(), received.rows.len()), (0, 70));
    }

    #[test]
    fn what_an_earlier_agent_left_is_guarded_too() {
        let left = |count: u8| Received::over((0..count).map(mac).collect());
        let mut few = left(64);
        few.hear(update(None, 1, vec![]));
        assert_eq!((few.held(), few.is_partial()), (0, false));
        let mut many = left(65);
        many.hear(update(None, 1, vec![]));
        assert_eq!((many.held(), many.is_partial()), (65, true));
        many.release();
        assert_eq!((many.held(), many.is_partial()), (0, false));
    }
}
