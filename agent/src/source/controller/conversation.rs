//! What one controller was told, and what it has to be told. Only what was said is kept, so that a controller that does not
//! listen costs no more than the table.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use vtep_api::{
    ControllerName, FromVtep, Held, LogicalSwitchName, SIGHTINGS_MAX, Sighting, Term, VtepState,
    WaitingSightings,
};

use super::inventory;
use crate::source::{LocalMacs, Report};

/// One of the sessions with controllers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LinkId(pub(super) u64);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// It has not answered.
    Greeted,
    /// It listens, and will serve us if another one does not.
    Standby,
    /// It serves us.
    Serving,
}

#[derive(Debug)]
pub(super) struct Conversation {
    pub(super) stage: Stage,
    pub(super) name: Option<ControllerName>,
    hello: Option<FromVtep>,
    told_macs: Option<Arc<LocalMacs>>,
    told_state: Option<VtepState>,
    obeys_due: Option<Term>,
    applied_due: BTreeSet<LogicalSwitchName>,
    resync_due: BTreeSet<LogicalSwitchName>,
    /// With a controller that listens so slowly the first of them are told.
    sightings: WaitingSightings,
}

impl Conversation {
    pub(super) fn new(hello: FromVtep) -> Self {
        Self {
            stage: Stage::Greeted,
            name: None,
            hello: Some(hello),
            told_macs: None,
            told_state: None,
            obeys_due: None,
            applied_due: BTreeSet::new(),
            resync_due: BTreeSet::new(),
            sightings: WaitingSightings::default(),
        }
    }

    pub(super) fn obeys(&mut self, term: Term) {
        self.obeys_due = Some(term);
    }

    pub(super) fn applied(&mut self, logical_switches: impl IntoIterator<Item = LogicalSwitchName>) {
        self.applied_due.extend(logical_switches);
    }

    pub(super) fn resync(&mut self, logical_switch: LogicalSwitchName) {
        self.resync_due.insert(logical_switch);
    }

    /// What found no room.
    pub(super) fn witness(&mut self, sightings: Vec<Sighting>) -> u64 {
        let mut lost = 0;
        for sighting in sightings {
            let count = u64::from(sighting.count);
            let is_in = self.sightings.add(sighting, self.sightings.len() < SIGHTINGS_MAX);
            lost += if is_in { 0 } else { count };
        }
        lost
    }

    /// Says what is news about this host; what does not change meanwhile is said once. `applied` are the versions that the
    /// kernel has.
    pub(super) fn say(
        &mut self,
        state: &VtepState,
        report: Option<&Report>,
        applied: &BTreeMap<LogicalSwitchName, Held>,
    ) -> Vec<FromVtep> {
        let mut messages: Vec<_> = self.hello.take().into_iter().collect();
        if self.stage == Stage::Greeted {
            return messages;
        }
        messages.extend(self.obeys_due.take().map(|term| FromVtep::Obeys { term }));
        let resyncs = std::mem::take(&mut self.resync_due).into_iter();
        messages.extend(resyncs.map(|logical_switch| FromVtep::Resync { logical_switch }));
        let due = std::mem::take(&mut self.applied_due);
        messages.extend(due.iter().filter_map(|name| applied.get(name)).cloned().map(FromVtep::Applied));
        if self.told_state.as_ref() != Some(state) {
            self.told_state = Some(state.clone());
            messages.push(FromVtep::State(state.clone()));
        }
        if !self.sightings.is_empty() {
            messages.push(FromVtep::Sightings(self.sightings.take()));
        }
        let Some(report) = report else { return messages };
        match &self.told_macs {
            None => messages.extend(inventory::whole(&report.local_macs)),
            Some(told) if *told != report.local_macs => {
                messages.extend(inventory::changes(told, &report.local_macs));
            }
            Some(_) => {}
        }
        self.told_macs = Some(Arc::clone(&report.local_macs));
        messages
    }
}
