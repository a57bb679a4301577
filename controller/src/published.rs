//! A logical switch's table as it is handed on, and what is needed to hand on less than all of it.
//!
//! The log names the MAC of each change, not its content: what leads from an old version to the present one is the
//! present rows of the MACs that the log names since. So a slow receiver gets each MAC once, in its final state, and
//! what is kept for all receivers together is bounded by the table, not by how much it changes.

use std::collections::VecDeque;

use foldhash::fast::FixedState;
use hashbrown::hash_map::Entry;
use hashbrown::{HashMap, HashSet};
use vtep_api::{Cause, Change, MacAddr, Row, Version};

use crate::bugs::bug;

#[derive(Debug, Clone, Default)]
pub struct Published {
    version: Version,
    rows: HashMap<MacAddr, Row, FixedState>,
    /// Consecutive versions, the last is `version`; several entries may have the same.
    log: VecDeque<Logged>,
    /// The oldest version from which the log leads to the present one.
    logged_from: Version,
    /// Between these two, versions were passed over that others may have: the log does not lead from them.
    gaps: VecDeque<(Version, Version)>,
}

#[derive(Debug, Clone, Copy)]
struct Logged {
    version: Version,
    mac: MacAddr,
    /// Of a removal.
    cause: Option<Cause>,
}

/// However small the table is.
const LOG_MIN: usize = 1024;
const GAPS_MAX: usize = 32;

impl Published {
    /// A table that begins at a version that somebody else counted.
    pub fn at(version: Version) -> Self {
        Self { version, logged_from: version, ..Self::default() }
    }

    pub fn version(&self) -> Version {
        self.version
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn row(&self, mac: MacAddr) -> Option<&Row> {
        self.rows.get(&mac)
    }

    /// In no particular order, but the same in every process that made the same changes.
    pub fn iter(&self) -> impl Iterator<Item = (MacAddr, &Row)> {
        self.rows.iter().map(|(mac, row)| (*mac, row))
    }

    /// Makes one version of some changes; none of what changes nothing. Returns whether there is a new version.
    pub fn publish(&mut self, changes: impl IntoIterator<Item = (MacAddr, Change)>) -> bool {
        let version = Version(self.version.0 + 1);
        self.advance(version, changes)
    }

    /// The same by the word of whoever counts the versions, from the present one to a later one. Also what changes nothing
    /// here is logged: it did change something for who has a version between the two.
    pub fn follow(&mut self, version: Version, changes: impl IntoIterator<Item = (MacAddr, Change)>) {
        if bug!(GapsForgotten) {
            self.advance(version, changes);
            return self.skip_to(version);
        }
        for (mac, change) in changes {
            let cause = match change {
                Change::Put(row) => {
                    self.rows.insert(mac, row);
                    None
                }
                Change::Remove(cause) => {
                    self.rows.remove(&mac);
                    Some(cause)
                }
            };
            self.log.push_back(Logged { version, mac, cause });
        }
        self.skip_to(version);
        self.trim();
    }

    /// To a later version by comparing both whole. What happened between them is not known.
    pub fn jump(&mut self, version: Version, changes: impl IntoIterator<Item = (MacAddr, Change)>) {
        let before = self.version;
        if version.0 > before.0 + 1 {
            self.gaps.push_back((before, version));
        }
        if self.gaps.len() > GAPS_MAX
            && let Some((_, end)) = self.gaps.pop_front()
        {
            self.logged_from = self.logged_from.max(end);
        }
        self.advance(version, changes);
        self.skip_to(version);
    }

    /// The same, with the version that the sender counted; it may skip some.
    pub fn advance(
        &mut self,
        version: Version,
        changes: impl IntoIterator<Item = (MacAddr, Change)>,
    ) -> bool {
        let mut any = false;
        for (mac, change) in changes {
            let cause = match change {
                Change::Put(row) => {
                    match self.rows.entry(mac) {
                        Entry::Occupied(present) if *present.get() == row => continue,
                        Entry::Occupied(mut present) => {
                            present.insert(row);
                        }
                        Entry::Vacant(place) => {
                            place.insert(row);
                        }
                    }
                    None
                }
                Change::Remove(cause) => {
                    if self.rows.remove(&mac).is_none() {
                        continue;
                    }
                    Some(cause)
                }
            };
            self.log.push_back(Logged { version, mac, cause });
            any = true;
        }
        if any {
            self.version = version;
            self.trim();
        }
        any
    }

    /// Counts a version that changed nothing here.
    pub fn skip_to(&mut self, version: Version) {
        self.version = self.version.max(version);
    }

    /// Begins to count anew, in a new term: the rows stay, and no earlier version leads to them.
    pub fn rebase(&mut self, version: Version) {
        self.version = version;
        self.logged_from = version;
        self.log.clear();
        self.gaps.clear();
    }

    /// The last version that changed a MAC's row, as far as the log goes back.
    pub fn changed_at(&self, mac: MacAddr) -> Option<Version> {
        self.log.iter().rev().find(|entry| entry.mac == mac).map(|entry| entry.version)
    }

    /// Whether versions after this one were passed over: what another publisher said in them is not known here.
    pub fn is_passed_over_after(&self, version: Version) -> bool {
        self.gaps.iter().any(|(_, to)| *to > version)
    }

    /// What leads from `version` to the present one, each MAC once. `None`: too much was forgotten, or it never was a
    /// version of this table.
    pub fn since(&self, version: Version) -> Option<Vec<(MacAddr, Change)>> {
        let passed_over = |(from, to): &(Version, Version)| *from < version && version < *to;
        if version > self.version || version < self.logged_from || self.gaps.iter().any(passed_over) {
            return None;
        }
        let start = self.log.partition_point(|entry| entry.version <= version);
        let mut told = HashSet::with_hasher(FixedState::default());
        let mut changes = Vec::new();
        // The last word on a MAC comes first.
        for entry in self.log.range(start..).rev() {
            if !told.insert(entry.mac) {
                continue;
            }
            let change = match (self.rows.get(&entry.mac), entry.cause) {
                (Some(row), _) => Change::Put(row.clone()),
                (None, Some(cause)) => Change::Remove(cause),
                (None, None) => unreachable!("a MAC without a row was removed last"),
            };
            changes.push((entry.mac, change));
        }
        changes.reverse();
        Some(changes)
    }

    fn trim(&mut self) {
        let keep = self.rows.len().max(LOG_MIN);
        while self.log.len() > keep {
            let Some(oldest) = self.log.pop_front() else { return };
            self.logged_from = self.logged_from.max(oldest.version);
        }
    }
}

#[cfg(test)]
mod tests;
