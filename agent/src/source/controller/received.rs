//! One network's table as the controller sends it: parts are gathered until the last one has come, and only then count.

use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use vtep_api::{Change, MacAddr, Placement, TableUpdate, Term, Version};

pub(super) type Rows = HashMap<MacAddr, Arc<Placement>, RandomState>;

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
    Settled(Vec<(MacAddr, Option<Arc<Placement>>)>),
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

    pub(super) fn take(&mut self, part: TableUpdate) -> Part {
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
                let fits =
                    part.from.is_none_or(|from| self.any && (part.term, from) == (self.term, self.version));
                if !fits {
                    self.staged = None;
                    return if std::mem::replace(&mut self.asked, true) { Part::Taken } else { Part::Misfit };
                }
                self.staged = Some(part);
            }
        }
        match self.staged.take_if(|_| end) {
            Some(update) => Part::Settled(self.settle(update)),
            None => Part::Taken,
        }
    }

    fn settle(&mut self, update: TableUpdate) -> Vec<(MacAddr, Option<Arc<Placement>>)> {
        self.term = update.term;
        self.version = update.to;
        self.any = true;
        let mut absent = None;
        if update.from.is_none() {
            self.asked = false;
            if update.complete {
                self.whole = true;
                absent = Some(std::mem::take(&mut self.rows));
            }
        }
        let mut changes = Vec::new();
        for (mac, change) in update.changes {
            let before = absent.as_mut().and_then(|absent| absent.remove(&mac));
            match change {
                Change::Put(row) => {
                    let before = self.rows.insert(mac, Arc::clone(&row.placement)).or(before);
                    if before.as_ref() != Some(&row.placement) {
                        changes.push((mac, Some(row.placement)));
                    }
                }
                Change::Remove(_) => {
                    if self.rows.remove(&mac).or(before).is_some() || !self.whole {
                        changes.push((mac, None));
                    }
                }
            }
        }
        changes.extend(absent.into_iter().flatten().map(|(mac, _)| (mac, None)));
        changes
    }
}

#[cfg(test)]
mod tests {
    use vtep_api::{Cause, Row};

    use super::*;

    const TERM: Term = Term(3);

    fn placement(master: &str) -> Arc<Placement> {
        Arc::new(Placement { master: master.try_into().unwrap(), slaves: Vec::new() })
    }

    fn mac(last: u8) -> MacAddr {
        MacAddr::new([2, 0, 0, 0, 0, last])
    }

    fn put(last: u8, master: &str) -> (MacAddr, Change) {
        (mac(last), Change::Put(Row { placement: placement(master), ips: Box::default() }))
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
        let part = received.take(update(None, 5, vec![put(1, "a"), put(2, "b")]));
        assert!(matches!(part, Part::Settled(changes) if changes.len() == 2));
        received
    }

    #[test]
    fn a_snapshot_counts_when_its_last_part_has_come() {
        let mut received = with_snapshot();
        let first = TableUpdate { end: false, ..update(None, 6, vec![put(2, "b")]) };
        assert_eq!(received.take(first), Part::Taken);
        assert_eq!((received.rows.len(), received.version), (2, Version(5)));
        let changes = vec![(mac(3), Some(placement("a"))), (mac(1), None)];
        assert_eq!(received.take(update(None, 6, vec![put(3, "a")])), Part::Settled(changes));
        assert_eq!((received.rows.len(), received.version), (2, Version(6)));
    }

    #[test]
    fn absence_from_an_incomplete_snapshot_says_nothing() {
        let mut received = with_snapshot();
        let some = TableUpdate { complete: false, ..update(None, 9, vec![put(2, "a")]) };
        assert_eq!(received.take(some), Part::Settled(vec![(mac(2), Some(placement("a")))]));
        assert_eq!(received.rows.len(), 2);
        let mut fresh = Received::default();
        fresh.take(TableUpdate { complete: false, ..update(None, 9, vec![]) });
        assert!(!fresh.whole);
    }

    #[test]
    fn a_delta_that_does_not_fit_asks_once_for_a_snapshot() {
        let mut received = with_snapshot();
        let remove = (mac(1), Change::Remove(Cause::Withdrawn));
        assert_eq!(received.take(update(Some(6), 7, vec![remove.clone()])), Part::Misfit);
        assert_eq!(received.take(update(Some(7), 8, vec![remove.clone()])), Part::Taken);
        assert_eq!(received.rows.len(), 2);
        assert_eq!(received.take(update(None, 8, vec![put(2, "b")])), Part::Settled(vec![(mac(1), None)]));
        assert_eq!(received.take(update(Some(8), 9, vec![remove])), Part::Settled(vec![]));
        assert_eq!(received.version, Version(9));
    }

    #[test]
    fn a_lower_term_is_refused_and_a_higher_one_needs_a_snapshot() {
        let mut received = with_snapshot();
        let lower = TableUpdate { term: Term(2), ..update(None, 9, vec![]) };
        assert_eq!(received.take(lower), Part::Superseded { obeyed: TERM });
        let higher = TableUpdate { term: Term(4), ..update(Some(5), 6, vec![]) };
        assert_eq!(received.take(higher), Part::Misfit);
        assert_eq!(received.rows.len(), 2);
    }

    #[test]
    fn a_session_that_ends_takes_its_parts_along() {
        let mut received = with_snapshot();
        received.take(TableUpdate { end: false, ..update(Some(5), 6, vec![put(7, "a")]) });
        received.interrupt();
        received.take(update(Some(5), 6, vec![put(8, "a")]));
        assert!(!received.rows.contains_key(&mac(7)) && received.rows.contains_key(&mac(8)));
    }
}
