//! The physical controller: of each VTEP that it serves the one session owner.
//!
//! What a VTEP tells is compared with a mirror of it (`mirror`); what is news goes to the logical controller that owns the
//! logical switch (`outbox`). What logical controllers say becomes a table for each logical switch (`table`) and a roster
//! of who takes part in what (`roster`), of which each VTEP is sent what concerns it (`distribute`). Nothing is removed
//! because somebody is silent: a lost session, a lost logical controller and a table that is not whole remove nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use vtep_api::{
    ControllerName, FromLogical, FromPhysical, FromVtep, LogicalSwitchName, Served, Term, ToVtep, VtepName,
};

use crate::Now;
use crate::declared::Batch;
use crate::logical::Notice;

mod distribute;
mod forward;
mod guard;
mod mirror;
mod outbox;
mod peers;
mod placements;
mod reigns;
mod roster;
mod skew;
mod table;
mod view;
mod vtep;
mod vteps;

pub use view::{CountersView, NetworkView, PeerView, SyncView, TableView, VtepView};
pub use vtep::Counters;

use peers::Peer;
use roster::Roster;
use table::Table;
use vtep::Vtep;

/// What it begins with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    pub name: ControllerName,
    /// Higher than that of every earlier reign.
    pub term: Term,
    /// How claims are gathered before they go to a logical controller.
    pub batch: Batch,
    /// Which VTEPs it serves is elected. It mirrors the others, and is silent about them.
    #[serde(default)]
    pub elected: bool,
}

/// Who serves the VTEPs, by elections.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Reigns {
    /// We do, by these terms.
    pub own: BTreeMap<VtepName, Term>,
    /// Others do, by theirs.
    pub others: BTreeMap<VtepName, (ControllerName, Term)>,
}

/// Tells the sessions of one VTEP apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(pub u64);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// `Hello` begins a session and ends an earlier one of the same VTEP. The VTEP is who the transport says it is.
    Vtep {
        vtep: VtepName,
        session: SessionId,
        message: FromVtep,
    },
    VtepDown {
        vtep: VtepName,
        session: SessionId,
    },
    /// The VTEP has taken so many of the messages that were sent to it.
    VtepTaken {
        vtep: VtepName,
        session: SessionId,
        messages: u32,
    },
    /// Whole.
    Reigns(Reigns),
    /// By an election nobody of a lower term is this logical controller any more.
    Elected {
        peer: ControllerName,
        term: Term,
    },
    /// A logical controller is connected; it is told everything.
    Connected {
        peer: ControllerName,
    },
    Message {
        peer: ControllerName,
        message: FromLogical,
    },
    Disconnected {
        peer: ControllerName,
    },
    Taken {
        peer: ControllerName,
        messages: u32,
    },
    Operate(Operation),
    Tick,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// What the mass-withdraw guard keeps in a logical switch goes.
    ReleaseWithdrawals { logical_switch: LogicalSwitchName },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// In order. At most `WINDOW` messages of a session are not taken at any time: what changes meanwhile is merged.
    ToVtep {
        vtep: VtepName,
        session: SessionId,
        message: ToVtep,
    },
    /// The VTEP broke the protocol.
    CloseVtep {
        vtep: VtepName,
        session: SessionId,
        reason: String,
    },
    /// In order, at most `WINDOW` not taken.
    Send {
        peer: ControllerName,
        message: FromPhysical,
    },
    /// The peer broke the protocol.
    Close {
        peer: ControllerName,
        reason: String,
    },
    /// These are to be served, and no others: the adapters of TORs are started and stopped by it.
    Serve(BTreeMap<VtepName, Served>),
    Notice(Notice),
}

/// Messages to one receiver that it has not taken.
pub const WINDOW: u32 = 16;

/// A VTEP that connects before it is known whether it is declared waits so long for the logical controllers.
const ADMIT_WAIT_MS: u64 = 10_000;
/// VTEPs that may wait so at a time.
const WAITING_MAX: usize = 1024;
/// So long after a session began, of a VTEP or of a logical controller, what an outline does not name is not gone yet
/// where the VTEP itself says that it takes part.
const GRACE_MS: u64 = 30_000;
/// A table that no outline names is kept so long.
const ORPHAN_MS: u64 = 60_000;
const HEARTBEAT_MS: u64 = 5000;

#[derive(Debug)]
pub struct Physical {
    start: Start,
    /// Of the last stamp that was given out.
    seq: u64,
    vteps: BTreeMap<VtepName, Vtep>,
    peers: BTreeMap<ControllerName, Peer>,
    roster: Roster,
    reigns: Reigns,
    /// Of the questions whether we have everything the last one.
    asked: u64,
    tables: BTreeMap<LogicalSwitchName, Table>,
    /// As it was told last.
    served: Option<BTreeMap<VtepName, Served>>,
    /// Those for which there may be something to send.
    ready_vteps: BTreeSet<VtepName>,
    ready_peers: BTreeSet<ControllerName>,
    status_due: BTreeSet<VtepName>,
    counters: TotalCounters,
    heartbeat_ms: u64,
    grace_until_ms: u64,
}

#[derive(Debug, Clone, Default)]
struct TotalCounters {
    stale_messages: u64,
    undeclared: u64,
    merged: u64,
    refused_tables: u64,
    refused_outlines: u64,
    refused_welcomes: u64,
    resyncs: u64,
    sightings_lost: u64,
}

impl Physical {
    pub fn new(start: Start, now: Now) -> Self {
        // Above what an earlier process asked.
        let asked = start.term.0;
        Self {
            start,
            seq: 0,
            vteps: BTreeMap::new(),
            peers: BTreeMap::new(),
            roster: Roster::default(),
            reigns: Reigns::default(),
            asked,
            tables: BTreeMap::new(),
            served: None,
            ready_vteps: BTreeSet::new(),
            ready_peers: BTreeSet::new(),
            status_due: BTreeSet::new(),
            counters: TotalCounters::default(),
            heartbeat_ms: now.mono_ms,
            grace_until_ms: now.mono_ms + GRACE_MS,
        }
    }

    pub fn step(&mut self, event: Event, now: Now, actions: &mut Vec<Action>) {
        match event {
            Event::Vtep { vtep, session, message } => self.hear(vtep, session, message, now, actions),
            Event::VtepDown { vtep, session } => self.lose_vtep(&vtep, session, now),
            Event::VtepTaken { vtep, session, messages } => self.vtep_took(vtep, session, messages),
            Event::Reigns(reigns) => self.reign(reigns, now, actions),
            Event::Elected { peer, term } => self.elected(peer, term),
            Event::Connected { peer } => self.connect(peer, now),
            Event::Message { peer, message } => self.obey(&peer, message, now, actions),
            Event::Disconnected { peer } => self.disconnect(&peer, now),
            Event::Taken { peer, messages } => self.peer_took(peer, messages),
            Event::Operate(Operation::ReleaseWithdrawals { logical_switch }) => {
                self.release(&logical_switch, now, actions);
            }
            Event::Tick => self.tick(now, actions),
        }
        self.settle(now, actions);
    }

    /// When a tick has something to do at the latest, in the time of `Now::mono_ms`.
    pub fn deadline_ms(&self) -> u64 {
        let batches = self.peers.values().filter_map(|peer| peer.outbox.deadline_ms(self.start.batch));
        batches.min().unwrap_or(u64::MAX).min(self.heartbeat_ms + HEARTBEAT_MS)
    }

    fn tick(&mut self, now: Now, actions: &mut Vec<Action>) {
        let beat = now.mono_ms.saturating_sub(self.heartbeat_ms) >= HEARTBEAT_MS;
        if beat {
            self.heartbeat_ms = now.mono_ms;
        }
        self.tick_vteps(beat, now, actions);
        self.tick_peers(beat, now);
    }

    /// Sends whatever the step made due.
    fn settle(&mut self, now: Now, actions: &mut Vec<Action>) {
        self.tell_statuses(now);
        for vtep in std::mem::take(&mut self.ready_vteps) {
            self.distribute(&vtep, now, actions);
        }
        for peer in std::mem::take(&mut self.ready_peers) {
            self.forward(&peer, now, actions);
        }
    }
}

fn notice(alarm: bool, message: impl Into<String>, fields: &[(&str, &dyn std::fmt::Display)]) -> Action {
    let fields = fields.iter().map(|(key, value)| ((*key).to_owned(), value.to_string())).collect();
    Action::Notice(Notice { alarm, message: message.into(), fields })
}

#[cfg(test)]
mod tests;
