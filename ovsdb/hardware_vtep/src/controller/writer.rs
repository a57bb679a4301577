use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use ovsdb::Uuid;
use ovsdb::transact::OutcomeError;
use vtep_api::{LogicalSwitchName, MacAddr, VtepName};

use super::compose::compose;
use super::desired::Edits;
use super::index::Index;
use super::plan::{Conflict, MacPlan, Sight, Structure, plan_mac};
use super::{Batch, DesiredTor, Subject, Write};
use crate::bisect::{BATCH_MAX, Bisection};
use crate::mirror::{Changes, Mirror};
use crate::rows::{
    LogicalSwitch, McastMacLocal, McastMacRemote, PhysicalLocatorSet, PhysicalPort, PhysicalSwitch, Tunnel,
    UcastMacLocal,
};
use crate::view::unicast_address;

type Macs = BTreeMap<LogicalSwitchName, BTreeSet<MacAddr>>;

/// Turns what is desired into transactions, one at a time. It remembers what may differ: a table of 100,000 MACs is
/// compared whole when there is reason to, and otherwise only where it was edited or was changed by somebody.
#[derive(Debug, Default)]
pub(super) struct Writer {
    own: BTreeSet<IpAddr>,
    /// The TOR has no room for another MAC (`vtep(5)`, `switch_fault_status`).
    exhausted: bool,
    /// As they were when their MACs were compared.
    rows: HashMap<LogicalSwitchName, Uuid, RandomState>,
    /// `None`: to be planned anew.
    structure: Option<Structure>,
    /// To be compared.
    dirty: Macs,
    /// To be added when the TOR has room again.
    held: Macs,
    bisection: Bisection<Subject>,
}

/// What is needed besides the writer's own state.
#[derive(Clone, Copy)]
pub(super) struct Facts<'a> {
    pub device: &'a VtepName,
    pub mirror: &'a Mirror,
    pub index: &'a Index,
}

impl Facts<'_> {
    fn sight<'a>(&'a self, desired: &'a DesiredTor, own: &'a BTreeSet<IpAddr>) -> Sight<'a> {
        Sight { device: self.device, mirror: self.mirror, index: self.index, desired, own }
    }
}

impl Writer {
    /// Takes in what an update of the mirror changed.
    pub(super) fn take(&mut self, facts: Facts<'_>, changes: &Changes, desired: &DesiredTor) {
        if changes.touch::<PhysicalSwitch>() {
            self.look_at_switch(facts, desired);
        }
        if changes.touch::<LogicalSwitch>() {
            // One that was made anew has none of its rows.
            for name in desired.switches.keys() {
                let row = facts.index.switches.get(name).copied();
                if row != self.rows.get(name).copied() {
                    self.compare_switch(facts, desired, name);
                }
            }
            self.rows.clone_from(&facts.index.switches);
        }
        for was in &changes.ucast_remote {
            if let Some(old) = &was.old {
                self.note(facts, desired, old.logical_switch, old.mac.mac());
            }
            if let Some(new) = facts.mirror.ucast_remote.row(was.row) {
                self.note(facts, desired, new.logical_switch, new.mac.mac());
            }
        }
        let holding = self.structure.as_ref().is_some_and(|structure| !structure.doomed.is_empty());
        if changes.touch::<PhysicalSwitch>()
            || changes.touch::<PhysicalPort>()
            || changes.touch::<LogicalSwitch>()
            || changes.touch::<McastMacRemote>()
            || changes.touch::<PhysicalLocatorSet>()
            || changes.touch::<Tunnel>()
            || holding && (changes.touch::<UcastMacLocal>() || changes.touch::<McastMacLocal>())
        {
            self.structure = None;
        }
    }

    fn look_at_switch(&mut self, facts: Facts<'_>, desired: &DesiredTor) {
        let row = facts.mirror.physical_switch(facts.device).map(|(_, row)| row);
        let texts = row.into_iter().flat_map(|row| &row.tunnel_ips);
        let own: BTreeSet<_> = texts.filter_map(|text| unicast_address(text)).collect();
        if own != self.own {
            self.own = own;
            for name in desired.switches.keys() {
                self.compare_switch(facts, desired, name);
            }
        }
        self.exhausted = row.is_some_and(|row| row.faults.contains("mac_table_exhaustion"));
        if !self.exhausted {
            for (switch, macs) in std::mem::take(&mut self.held) {
                self.dirty.entry(switch).or_default().extend(macs);
            }
        }
    }

    fn note(&mut self, facts: Facts<'_>, desired: &DesiredTor, switch: Uuid, mac: Option<MacAddr>) {
        match facts.index.switch_names.get(&switch) {
            Some(name) if desired.switches.contains_key(name) => {
                if let Some(mac) = mac {
                    dirty(&mut self.dirty, name).insert(mac);
                } else {
                    dirty(&mut self.dirty, name);
                }
            }
            _ => {
                let is_doomed =
                    |structure: &Structure| structure.doomed.iter().any(|&(_, row)| row == switch);
                if self.structure.as_ref().is_some_and(is_doomed) {
                    self.structure = None;
                }
            }
        }
    }

    /// All MACs of a logical switch, wanted or there.
    fn compare_switch(&mut self, facts: Facts<'_>, desired: &DesiredTor, name: &LogicalSwitchName) {
        let Some(switch) = desired.switches.get(name) else { return };
        let macs = dirty(&mut self.dirty, name);
        macs.extend(switch.macs.keys().chain(&switch.gone));
        let row = facts.index.switches.get(name);
        if let Some(rows) = row.and_then(|&row| facts.index.remote.switch(row)) {
            macs.extend(rows.macs.keys());
        }
    }

    /// Compares everything, and tries again what was set aside.
    pub(super) fn audit(&mut self, facts: Facts<'_>, desired: &DesiredTor) {
        self.bisection.release();
        self.structure = None;
        for name in desired.switches.keys() {
            self.compare_switch(facts, desired, name);
        }
    }

    pub(super) fn next(&mut self, facts: Facts<'_>, desired: &mut DesiredTor) -> Option<Batch> {
        self.take_edits(facts, desired);
        let own = std::mem::take(&mut self.own);
        let sight = facts.sight(desired, &own);
        let writes = self.writes(sight);
        let batch = (!writes.is_empty()).then(|| compose(sight, writes));
        self.own = own;
        batch
    }

    fn take_edits(&mut self, facts: Facts<'_>, desired: &mut DesiredTor) {
        let Edits { outline, switches, macs } = std::mem::take(&mut desired.edits);
        if outline {
            self.structure = None;
            self.dirty.retain(|name, _| desired.switches.contains_key(name));
            self.held.retain(|name, _| desired.switches.contains_key(name));
        }
        for name in &switches {
            self.compare_switch(facts, desired, name);
            self.bisection.retain(|subject| !matches!(subject, Subject::Mac(switch, _) if switch == name));
        }
        for (name, macs) in macs.into_iter().filter(|(name, _)| desired.switches.contains_key(name)) {
            for &mac in &macs {
                self.bisection.forget(|| Subject::Mac(name.clone(), mac));
            }
            if let Some(held) = self.held.get_mut(&name) {
                held.retain(|mac| !macs.contains(mac));
            }
            self.dirty.entry(name).or_default().extend(macs);
        }
    }

    fn writes(&mut self, sight: Sight<'_>) -> Vec<Write> {
        if self.structure.is_none() {
            let structure = Structure::plan(sight);
            let planned = structure.additions.iter().chain(&structure.removals);
            let planned: BTreeSet<_> = planned.map(Write::subject).collect();
            let of_doomed = |switch: &_| structure.doomed.iter().any(|(name, _)| name == switch);
            self.bisection.retain(|subject| match subject {
                Subject::Mac(switch, _) => sight.desired.switches.contains_key(switch) || of_doomed(switch),
                subject => planned.contains(subject),
            });
            self.structure = Some(structure);
        }
        let mut room = Room { writes: Vec::new(), writes_max: self.bisection.limit(), rows: 0 };
        let structure = self.structure.take().unwrap_or_default();
        for write in &structure.additions {
            room.put(&self.bisection, || write.clone());
        }
        self.write_macs(sight, &mut room);
        for (name, row) in &structure.doomed {
            remove_all(sight, (name, *row), &self.bisection, &mut room);
        }
        for write in &structure.removals {
            room.put(&self.bisection, || write.clone());
        }
        self.structure = Some(structure);
        room.writes
    }

    /// What was compared and found equal is forgotten.
    fn write_macs(&mut self, sight: Sight<'_>, room: &mut Room) {
        let Self { dirty, held, bisection, exhausted, .. } = self;
        dirty.retain(|name, macs| {
            let Some(desired) = sight.desired.switches.get(name) else { return false };
            // One that is not there yet is seen first.
            let Some(&row) = sight.index.switches.get(name) else { return true };
            // Those that are written stay until they were seen to be equal.
            let mut done = Vec::new();
            for &mac in macs.iter() {
                if room.is_full() {
                    break;
                }
                let subject = || Subject::Mac(name.clone(), mac);
                let remains = match plan_mac(sight, (name, row), desired, mac) {
                    MacPlan::Nothing => {
                        bisection.forget(subject);
                        false
                    }
                    MacPlan::Refuse(conflict) => {
                        bisection.refuse(subject(), &conflict);
                        false
                    }
                    MacPlan::Write(Write::AddMac { .. }) if *exhausted => {
                        held.entry(name.clone()).or_default().insert(mac);
                        false
                    }
                    MacPlan::Write(write) => room.put(bisection, || write),
                };
                if !remains {
                    done.push(mac);
                }
            }
            for mac in &done {
                macs.remove(mac);
            }
            let malformed = sight.index.remote.switch(row).map(|rows| &rows.malformed);
            if desired.complete {
                for &row in malformed.into_iter().flatten() {
                    room.put(bisection, || Write::RemoveRow { row });
                }
            }
            !macs.is_empty() || malformed.is_some_and(|rows| !rows.is_empty())
        });
    }

    pub(super) fn landed(&mut self, batch: &Batch) {
        self.bisection.landed(batch.writes().len());
        if !batch.writes().iter().all(|write| matches!(write.subject(), Subject::Mac(..))) {
            self.structure = None;
        }
    }

    /// `stale`: the database changed after the batch was planned.
    pub(super) fn failed(&mut self, batch: &Batch, stale: bool, error: &OutcomeError) {
        let culprit = batch.culprit(error).map(Write::subject);
        self.bisection.failed(batch.writes().len(), culprit, stale, error);
    }

    /// Nothing is left to be compared or written of the logical switch, apart from what was set aside.
    pub(super) fn is_settled(&self, switch: &LogicalSwitchName) -> bool {
        let of_it = |write: &Write| match write.subject() {
            Subject::Switch(of) | Subject::Flood(of) => {
                of == *switch && !self.bisection.is_refused(&write.subject())
            }
            _ => false,
        };
        let planned = self.structure.as_ref();
        let built =
            planned.is_some_and(|planned| !planned.additions.iter().chain(&planned.removals).any(of_it));
        built && !self.dirty.contains_key(switch)
    }

    pub(super) fn refused(&self) -> impl Iterator<Item = (&Subject, String)> {
        let conflicts = self.structure.iter().flat_map(|structure| &structure.conflicts);
        let conflicts = conflicts.map(|(subject, conflict)| (subject, Conflict::to_string(conflict)));
        conflicts.chain(self.bisection.refused().map(|(subject, reason)| (subject, reason.to_owned())))
    }

    pub(super) fn held(&self) -> usize {
        self.held.values().map(BTreeSet::len).sum()
    }
}

/// What fits into a transaction.
struct Room {
    writes: Vec<Write>,
    writes_max: usize,
    rows: usize,
}

impl Room {
    fn is_full(&self) -> bool {
        self.writes.len() >= self.writes_max || self.rows >= BATCH_MAX
    }

    /// Whether the write is still to be made.
    fn put(&mut self, bisection: &Bisection<Subject>, write: impl FnOnce() -> Write) -> bool {
        if self.is_full() {
            return true;
        }
        let write = write();
        if bisection.is_refused(&write.subject()) {
            return false;
        }
        let rows = write.rows();
        // A large one goes alone.
        if self.rows > 0 && self.rows + rows > BATCH_MAX {
            self.writes_max = self.writes.len();
            return true;
        }
        self.rows += rows;
        self.writes.push(write);
        true
    }
}

fn remove_all(
    sight: Sight<'_>,
    (name, row): (&LogicalSwitchName, Uuid),
    bisection: &Bisection<Subject>,
    room: &mut Room,
) {
    let Some(rows) = sight.index.remote.switch(row) else { return };
    for (&mac, rows) in &rows.macs {
        if room.is_full() {
            return;
        }
        let rows = rows.as_slice().iter().take(BATCH_MAX).copied().collect();
        room.put(bisection, || Write::RemoveMac { switch: name.clone(), mac, rows });
    }
    for &row in &rows.malformed {
        room.put(bisection, || Write::RemoveRow { row });
    }
}

fn dirty<'a>(macs: &'a mut Macs, switch: &LogicalSwitchName) -> &'a mut BTreeSet<MacAddr> {
    // Nearly always there already: the name is not copied for each MAC.
    if !macs.contains_key(switch) {
        macs.insert(switch.clone(), BTreeSet::new());
    }
    macs.get_mut(switch).expect("it was put in")
}
