//! The physical controller: of each VTEP that it serves the one session owner.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use vtep_api::{ControllerName, FromLogical, FromPhysical, FromVtep, LogicalSwitchName, Served, Term, ToVtep, VtepName};

use crate::Now;
use crate::declared::Batch;
use crate::logical::Notice;

/// What it begins with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    pub name: ControllerName,
    /// Higher than that of every earlier reign.
    pub term: Term,
    /// How claims are gathered before they go to a logical controller.
    pub batch: Batch,
}

/// Tells the sessions of one VTEP apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(pub u64);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// `Hello` begins a session and ends an earlier one of the same VTEP. The VTEP is who the transport says it is.
    Vtep { vtep: VtepName, session: SessionId, message: FromVtep },
    VtepDown { vtep: VtepName, session: SessionId },
    /// The VTEP has taken so many of the messages that were sent to it.
    VtepTaken { vtep: VtepName, session: SessionId, messages: u32 },
    /// A logical controller is connected; it is told everything.
    Connected { peer: ControllerName },
    Message { peer: ControllerName, message: FromLogical },
    Disconnected { peer: ControllerName },
    Taken { peer: ControllerName, messages: u32 },
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
    ToVtep { vtep: VtepName, session: SessionId, message: ToVtep },
    /// The VTEP broke the protocol.
    CloseVtep { vtep: VtepName, session: SessionId, reason: String },
    /// In order, at most `WINDOW` not taken.
    Send { peer: ControllerName, message: FromPhysical },
    /// The peer broke the protocol.
    Close { peer: ControllerName, reason: String },
    /// These are to be served, and no others: the adapters of TORs are started and stopped by it.
    Serve(BTreeMap<VtepName, Served>),
    Notice(Notice),
}

/// Messages to one receiver that it has not taken.
pub const WINDOW: u32 = 16;

#[derive(Debug)]
pub struct Physical {
    start: Start,
}

impl Physical {
    pub fn new(start: Start, _now: Now) -> Self {
        Self { start }
    }

    pub fn step(&mut self, _event: Event, _now: Now, _actions: &mut Vec<Action>) {
        let _ = &self.start;
    }
}
