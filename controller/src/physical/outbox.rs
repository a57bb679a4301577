//! What one logical controller is still to be told. Changes keep their order; while it is slow they are merged, so that
//! what waits is bounded by what the VTEPs have, not by how much of it changes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};
use vtep_api::{
    Claims, Held, LogicalSwitchName, MacAddr, ROWS_MAX, Report, Sighting, VtepName, WaitingSightings,
};

use crate::declared::Batch;

pub(super) type Pair = (VtepName, LogicalSwitchName);

#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// Messages that it has not taken.
    pub(super) untaken: u32,
    pub(super) hello: bool,
    pub(super) heartbeat: bool,
    /// To be answered when we have been sent everything.
    pub(super) sync: Option<u64>,
    /// Logical switches of which the operator knows that it was refused there.
    pub(super) noticed: BTreeSet<LogicalSwitchName>,
    pub(super) resyncs: BTreeSet<LogicalSwitchName>,
    pub(super) statuses: BTreeSet<VtepName>,
    pub(super) applied: BTreeMap<Pair, Held>,
    /// By witness and logical switch.
    sightings: BTreeMap<Pair, WaitingSightings>,
    sightings_waiting: usize,
    /// Snapshots of pairs of which nothing was told: they go before all changes.
    fresh: BTreeSet<Pair>,
    /// Snapshots of pairs of which changes may wait: they go after these.
    again: BTreeSet<Pair>,
    told: BTreeSet<Pair>,
    snapshot: Option<Snapshot>,
    changes: VecDeque<Pending>,
    /// Since when the first of the changes waits.
    since_ms: u64,
    flushing: bool,
    merge_at: usize,
    grouped: VecDeque<Claims>,
}

#[derive(Debug)]
struct Snapshot {
    pair: Pair,
    macs: std::vec::IntoIter<MacAddr>,
}

#[derive(Debug)]
struct Pending {
    vtep: VtepName,
    logical_switch: LogicalSwitchName,
    mac: MacAddr,
    report: Report,
}

/// Changes that wait before they are merged.
const MERGE_MIN: usize = 1024;
/// Sightings that wait. What is beyond is lost.
const SIGHTINGS_WAITING_MAX: usize = 4096;

impl Outbox {
    /// Of a session that begins.
    pub(super) fn begin() -> Self {
        Self { hello: true, ..Self::default() }
    }

    /// All that the VTEP claims in the logical switch is to be told, again if need be.
    pub(super) fn tell_whole(&mut self, pair: Pair) {
        if self.told.contains(&pair) {
            self.again.insert(pair);
        } else {
            self.fresh.insert(pair);
        }
    }

    /// Whether it has been told of the pair, or is about to be.
    pub(super) fn knows(&self, pair: &Pair) -> bool {
        self.told.contains(pair) || self.fresh.contains(pair)
    }

    /// The pairs that are not among these are none of its business.
    pub(super) fn retain(&mut self, wanted: impl Fn(&Pair) -> bool) {
        for pairs in [&mut self.fresh, &mut self.again, &mut self.told] {
            pairs.retain(&wanted);
        }
        self.applied.retain(|pair, _| wanted(pair));
        self.sightings.retain(|pair, _| wanted(pair));
        self.sightings_waiting = self.sightings.values().map(WaitingSightings::len).sum();
        if self.snapshot.as_ref().is_some_and(|snapshot| !wanted(&snapshot.pair)) {
            self.snapshot = None;
        }
    }

    /// A change of a pair that was told. Of others the snapshot will tell. Returns how many changes were merged.
    pub(super) fn push(&mut self, pair: &Pair, mac: MacAddr, report: Report, now_ms: u64) -> usize {
        if !self.told.contains(pair) {
            return 0;
        }
        if self.changes.is_empty() {
            self.since_ms = now_ms;
        }
        let (vtep, logical_switch) = pair.clone();
        self.changes.push_back(Pending { vtep, logical_switch, mac, report });
        if self.changes.len() < self.merge_at.max(MERGE_MIN) { 0 } else { self.merge() }
    }

    /// Whether there was room.
    pub(super) fn witness(&mut self, witness: &VtepName, sighting: Sighting) -> bool {
        let pair = (witness.clone(), sighting.logical_switch.clone());
        let waiting = self.sightings.entry(pair).or_default();
        let before = waiting.len();
        let is_in = waiting.add(sighting, self.sightings_waiting < SIGHTINGS_WAITING_MAX);
        self.sightings_waiting += waiting.len() - before;
        is_in
    }

    /// Those of one witness in one logical switch, as many as fit in a message.
    pub(super) fn next_sightings(&mut self) -> Option<(VtepName, Vec<Sighting>)> {
        let mut first = loop {
            let first = self.sightings.first_entry()?;
            if !first.get().is_empty() {
                break first;
            }
            first.remove();
        };
        let (witness, _) = first.key().clone();
        let sightings = first.get_mut().take();
        self.sightings_waiting -= sightings.len();
        Some((witness, sightings))
    }

    /// When changes that are gathered are due.
    pub(super) fn deadline_ms(&self, batch: Batch) -> Option<u64> {
        let gathers = batch.period_ms > 0 && !self.changes.is_empty() && !self.flushing;
        gathers.then(|| self.since_ms.saturating_add(u64::from(batch.period_ms)))
    }

    /// The next pair of which all is to be told, if it is its turn. `macs` lists what there is to tell.
    pub(super) fn begin_snapshot(&mut self, macs: impl Fn(&Pair) -> Vec<MacAddr>) -> bool {
        if self.snapshot.is_some() {
            return true;
        }
        let settled = self.changes.is_empty() && self.grouped.is_empty();
        let next = match self.fresh.pop_first() {
            None if settled => self.again.pop_first(),
            next => next,
        };
        let Some(pair) = next else { return false };
        self.told.insert(pair.clone());
        self.snapshot = Some(Snapshot { macs: macs(&pair).into_iter(), pair });
        true
    }

    /// A part of the snapshot that was begun. `report` tells what there is of a MAC by now.
    pub(super) fn snapshot_part(
        &mut self,
        report: impl Fn(&Pair, MacAddr) -> Option<Report>,
    ) -> Option<Claims> {
        let snapshot = self.snapshot.as_mut()?;
        let pair = &snapshot.pair;
        let part = snapshot.macs.by_ref().take(ROWS_MAX);
        let records = part.filter_map(|mac| Some((mac, report(pair, mac)?))).collect();
        let end = snapshot.macs.len() == 0;
        let (vtep, logical_switch) = pair.clone();
        if end {
            self.snapshot = None;
        }
        Some(Claims { vtep, logical_switch, snapshot: true, records, end })
    }

    /// The next message of changes, if they are not gathered any more.
    pub(super) fn next_changes(&mut self, batch: Batch, now_ms: u64) -> Option<Claims> {
        if self.grouped.is_empty() && self.is_due(batch, now_ms) {
            self.group();
        }
        self.grouped.pop_front()
    }

    fn is_due(&mut self, batch: Batch, now_ms: u64) -> bool {
        if self.changes.is_empty() {
            self.flushing = false;
            return false;
        }
        let Batch { period_ms, size } = batch;
        let old = period_ms > 0 && now_ms.saturating_sub(self.since_ms) >= u64::from(period_ms);
        let many = size > 0 && self.changes.len() >= size as usize;
        let gathered = period_ms > 0 || size > 0;
        self.flushing |= !gathered || old || many || !self.again.is_empty();
        self.flushing
    }

    /// Makes messages of the first changes: one for each VTEP and logical switch, as far as that leaves the order of what
    /// concerns one MAC as it was.
    fn group(&mut self) {
        let mut last_of_pair = HashMap::<Pair, usize, FixedState>::default();
        let mut last_of_mac = HashMap::<(LogicalSwitchName, MacAddr), usize, FixedState>::default();
        let mut groups = Vec::<Claims>::new();
        let first = self.changes.len().min(ROWS_MAX);
        for Pending { vtep, logical_switch, mac, report } in self.changes.drain(..first) {
            let pair = (vtep, logical_switch);
            if !self.told.contains(&pair) {
                continue;
            }
            let about = (pair.1.clone(), mac);
            let not_before = last_of_mac.get(&about).copied().unwrap_or_default();
            let at = match last_of_pair.get(&pair) {
                Some(&at) if at >= not_before => at,
                _ => {
                    let (vtep, logical_switch) = pair.clone();
                    groups.push(Claims {
                        vtep,
                        logical_switch,
                        snapshot: false,
                        records: Vec::new(),
                        end: true,
                    });
                    groups.len() - 1
                }
            };
            groups[at].records.push((mac, report));
            last_of_pair.insert(pair, at);
            last_of_mac.insert(about, at);
        }
        self.grouped.extend(groups);
    }

    /// Keeps the last change of each MAC of each VTEP, in its place.
    fn merge(&mut self) -> usize {
        let before = self.changes.len();
        let mut last = HashSet::<(VtepName, LogicalSwitchName, MacAddr), FixedState>::default();
        let mut kept = VecDeque::with_capacity(before);
        while let Some(change) = self.changes.pop_back() {
            if last.insert((change.vtep.clone(), change.logical_switch.clone(), change.mac)) {
                kept.push_front(change);
            }
        }
        self.changes = kept;
        self.merge_at = 2 * self.changes.len();
        before - self.changes.len()
    }
}

#[cfg(test)]
mod tests;
