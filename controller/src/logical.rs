//! The logical controller: of each logical switch that it owns the one arbiter and the only sequencer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use vtep_api::{ControllerName, FromLogical, FromPhysical, LogicalSwitchName, MacAddr, Term, VtepName};

use crate::Now;
use crate::declared::{Declared, Pin};

/// What it begins with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Start {
    pub name: ControllerName,
    /// Higher than that of every earlier reign.
    pub term: Term,
    pub declared: Arc<Declared>,
    pub durable: Durable,
}

/// What outlives a logical controller, beside the declared.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Durable {
    /// Made by hand, beside those of the declared.
    pub pins: BTreeSet<Pin>,
    /// Duplicate MACs that keep their master.
    pub frozen: BTreeSet<Pin>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    Declared(Arc<Declared>),
    /// A physical controller is connected. It replaces an earlier session of the same name.
    Connected { peer: ControllerName },
    Message { peer: ControllerName, message: FromPhysical },
    Disconnected { peer: ControllerName },
    /// The peer has taken so many of the messages that were sent to it.
    Taken { peer: ControllerName, messages: u32 },
    Operate(Operation),
    Tick,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    Pin(Pin),
    Unpin(Pin),
    /// A duplicate MAC is followed again.
    ClearDuplicate { logical_switch: LogicalSwitchName, mac: MacAddr },
    /// What the storm guard holds of a VTEP counts.
    ReleaseStorm { vtep: VtepName },
    /// What the mass-withdraw guard keeps in a logical switch goes.
    ReleaseWithdrawals { logical_switch: LogicalSwitchName },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// In order. At most `WINDOW` messages to a peer are not taken at any time: what changes meanwhile is merged.
    Send { peer: ControllerName, message: FromLogical },
    /// The peer broke the protocol.
    Close { peer: ControllerName, reason: String },
    /// Whole, replacing what was there.
    Persist(Durable),
    /// For the log: a state change that an operator cares about.
    Notice(Notice),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    /// Would wake somebody.
    pub alarm: bool,
    pub message: String,
    /// Such as `logical_switch`, `mac`, `vtep`.
    pub fields: BTreeMap<String, String>,
}

/// Messages to one peer that it has not taken.
pub const WINDOW: u32 = 16;

#[derive(Debug)]
pub struct Logical {
    start: Start,
}

impl Logical {
    pub fn new(start: Start, _now: Now) -> Self {
        Self { start }
    }

    pub fn step(&mut self, _event: Event, _now: Now, _actions: &mut Vec<Action>) {
        let _ = &self.start;
    }
}
