//! One physical controller's session: what it was sent, what it has not taken, and what is sent next.
//!
//! Nothing is queued but names: a message is made when there is room for it, from what then is. So a slow receiver gets
//! the latest state, and what is kept for it is bounded by the tables.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use vtep_api::{
    Change, ControllerName, FromLogical, LogicalSwitchName, MacAddr, Outline, PROTOCOL, ROWS_MAX,
    TableUpdate, Term, Version, VtepName,
};

use super::switch::Switch;
use super::{Pushes, WINDOW};
use crate::Now;
use crate::declared::Distribution;

#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a thing to say, or said")]
pub(super) struct Peer {
    /// Its hello has come.
    pub(super) greeted: bool,
    welcomed: bool,
    untaken: u32,
    /// The tables of this term that it had when it came.
    held: BTreeMap<LogicalSwitchName, Version>,
    pub(super) cursors: BTreeMap<LogicalSwitchName, Cursor>,
    /// Networks of which it has not been sent all.
    behind: BTreeSet<LogicalSwitchName>,
    /// The one that was served last: each has its turn.
    served: Option<LogicalSwitchName>,
    pub(super) outline: Outline,
    outline_due: bool,
    no_changes: BTreeSet<(VtepName, LogicalSwitchName)>,
    resyncs: BTreeSet<(VtepName, LogicalSwitchName)>,
    /// It wants to know when it has been sent everything …
    sync_asked: Option<u64>,
    /// … that there was when this was begun: what changes meanwhile does not put it off.
    syncing: Option<Syncing>,
    heartbeat_due: bool,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Cursor {
    /// The version that it was sent whole. `None`: it needs a snapshot.
    pub(super) at: Option<Version>,
    pub(super) sent_wall_ms: Option<i64>,
    sending: Option<Sending>,
}

#[derive(Debug, Clone)]
struct Syncing {
    token: u64,
    /// Versions that are still to be sent.
    missing: BTreeMap<LogicalSwitchName, Version>,
}

/// An update that did not fit in one message, or not in the window.
#[derive(Debug, Clone)]
struct Sending {
    from: Option<Version>,
    to: Version,
    complete: bool,
    changes: std::vec::IntoIter<(MacAddr, Change)>,
}

/// What a message is made from.
pub(super) struct Source<'a> {
    pub(super) name: &'a ControllerName,
    pub(super) term: Term,
    pub(super) switches: &'a BTreeMap<LogicalSwitchName, Switch>,
    pub(super) distribution: Distribution,
    pub(super) now: Now,
}

impl Peer {
    pub(super) fn greet(&mut self, held: BTreeMap<LogicalSwitchName, Version>) {
        self.greeted = true;
        self.held = held;
        self.outline_due = true;
    }

    pub(super) fn taken(&mut self, messages: u32) {
        self.untaken = self.untaken.saturating_sub(messages);
    }

    /// It is sent the whole table again.
    pub(super) fn restart(&mut self, network: &LogicalSwitchName) {
        if let Some(cursor) = self.cursors.get_mut(network) {
            *cursor = Cursor::default();
            self.behind.insert(network.clone());
        }
    }

    pub(super) fn changed(&mut self, network: &LogicalSwitchName) {
        if self.cursors.contains_key(network) {
            self.behind.insert(network.clone());
        }
    }

    /// Whether it was not going to be asked anyway.
    pub(super) fn ask(&mut self, vtep: VtepName, network: LogicalSwitchName) -> bool {
        self.resyncs.insert((vtep, network))
    }

    pub(super) fn no_change(&mut self, vtep: VtepName, network: LogicalSwitchName) {
        self.no_changes.insert((vtep, network));
    }

    pub(super) fn sync(&mut self, token: u64) {
        self.sync_asked = Some(token);
    }

    pub(super) fn beat(&mut self) {
        self.heartbeat_due = true;
    }

    /// Tables follow the outline: those of networks that are new to it begin, those of others end.
    pub(super) fn set_outline(&mut self, mut outline: Outline, outlines: &mut Version) {
        self.cursors.retain(|name, _| outline.networks.contains_key(name));
        self.behind.retain(|name| outline.networks.contains_key(name));
        if let Some(syncing) = &mut self.syncing {
            syncing.missing.retain(|name, _| outline.networks.contains_key(name));
        }
        for name in outline.networks.keys() {
            if !self.cursors.contains_key(name) {
                let at = self.held.remove(name);
                self.cursors.insert(name.clone(), Cursor { at, ..Cursor::default() });
                self.behind.insert(name.clone());
            }
        }
        outline.version = self.outline.version;
        if outline != self.outline {
            outlines.0 += 1;
            outline.version = *outlines;
            self.outline = outline;
            self.outline_due = true;
        }
    }

    pub(super) fn has_something(&self) -> bool {
        let small = !self.no_changes.is_empty()
            || !self.resyncs.is_empty()
            || self.sync_asked.is_some()
            || self.syncing.is_some()
            || self.heartbeat_due;
        self.greeted && (small || !self.welcomed || self.outline_due || !self.behind.is_empty())
    }

    pub(super) fn next(&mut self, source: &Source<'_>, pushes: &mut Pushes) -> Option<FromLogical> {
        if self.untaken >= WINDOW || !self.greeted {
            return None;
        }
        let message = self.pick(source, pushes)?;
        self.untaken += 1;
        Some(message)
    }

    fn pick(&mut self, source: &Source<'_>, pushes: &mut Pushes) -> Option<FromLogical> {
        if !std::mem::replace(&mut self.welcomed, true) {
            let Source { name, term, .. } = source;
            return Some(FromLogical::Welcome { protocol: PROTOCOL, name: (*name).clone(), term: *term });
        }
        if std::mem::take(&mut self.outline_due) {
            return Some(FromLogical::Outline(self.outline.clone()));
        }
        if let Some((vtep, logical_switch)) = self.resyncs.pop_first() {
            return Some(FromLogical::Resync { vtep, logical_switch });
        }
        if let Some(token) = self.synced(source) {
            return Some(FromLogical::Synced { token });
        }
        if let Some(update) = self.table(source) {
            pushes.messages += 1;
            pushes.snapshots += u64::from(update.from.is_none() && update.end);
            pushes.rows += update.changes.len() as u64;
            return Some(FromLogical::Table(update));
        }
        if let Some((vtep, logical_switch)) = self.no_changes.pop_first() {
            return Some(FromLogical::NoChange { vtep, logical_switch });
        }
        let beat = std::mem::take(&mut self.heartbeat_due);
        beat.then_some(FromLogical::Heartbeat { wall_ms: source.now.wall_ms })
    }

    fn synced(&mut self, source: &Source<'_>) -> Option<u64> {
        if self.syncing.is_none() {
            let token = self.sync_asked.take()?;
            let missing = |(name, cursor): (&LogicalSwitchName, &Cursor)| {
                let switch = source.switches.get(name)?;
                let version = switch.published.version();
                (!switch.started || cursor.at < Some(version)).then(|| (name.clone(), version))
            };
            let missing = self.cursors.iter().filter_map(missing).collect();
            self.syncing = Some(Syncing { token, missing });
        }
        let done = self.syncing.take_if(|syncing| syncing.missing.is_empty());
        done.map(|syncing| syncing.token)
    }

    fn table(&mut self, source: &Source<'_>) -> Option<TableUpdate> {
        loop {
            let after = self.served.clone().map_or(Bound::Unbounded, Bound::Excluded);
            let next = self.behind.range((after, Bound::Unbounded)).next().or(self.behind.first())?.clone();
            let cursor = self.cursors.get_mut(&next).expect("what it is behind of it has a cursor for");
            let update = source.switches.get(&next).and_then(|switch| cursor.advance(switch, source));
            if update.as_ref().is_none_or(|update| update.end) {
                // Whatever was published meanwhile is looked for when its turn comes again.
                let current = source.switches.get(&next).map(|switch| switch.published.version());
                if update.is_none() || cursor.at == current {
                    self.behind.remove(&next);
                }
                let reached = |syncing: &&mut Syncing| {
                    syncing.missing.get(&next).is_some_and(|version| cursor.at >= Some(*version))
                };
                if let Some(syncing) = self.syncing.as_mut().filter(reached) {
                    syncing.missing.remove(&next);
                }
            }
            self.served = Some(next);
            if update.is_some() {
                return update;
            }
        }
    }
}

impl Cursor {
    fn advance(&mut self, switch: &Switch, source: &Source<'_>) -> Option<TableUpdate> {
        if !switch.started {
            return None;
        }
        let mut sending = match self.sending.take() {
            Some(sending) => sending,
            None => self.begin(switch, source)?,
        };
        let changes: Vec<(MacAddr, Change)> = sending.changes.by_ref().take(ROWS_MAX).collect();
        let (from, to, complete) = (sending.from, sending.to, sending.complete);
        let end = sending.changes.len() == 0;
        if end {
            self.at = Some(to);
            self.sent_wall_ms = Some(source.now.wall_ms);
        } else {
            self.sending = Some(sending);
        }
        let (logical_switch, term) = (switch.name.clone(), source.term);
        Some(TableUpdate { logical_switch, term, from, to, complete, changes, end })
    }

    /// `None`: it has the latest.
    fn begin(&mut self, switch: &Switch, source: &Source<'_>) -> Option<Sending> {
        let published = &switch.published;
        let (to, complete) = (published.version(), switch.complete_from.is_some());
        let known = self.at.filter(|at| switch.complete_from.is_none_or(|from| *at >= from));
        if known == Some(to) {
            return None;
        }
        let by_delta = known.filter(|_| source.distribution == Distribution::Delta);
        let delta = by_delta.and_then(|at| Some((at, published.since(at)?)));
        let (from, changes) = match delta {
            Some((at, changes)) => (Some(at), changes),
            None => (None, published.iter().map(|(mac, row)| (mac, Change::Put(row.clone()))).collect()),
        };
        Some(Sending { from, to, complete, changes: changes.into_iter() })
    }
}
