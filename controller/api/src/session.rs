//! The messages of a VTEP's session with its physical controller. A host's agent sends and takes them over gRPC; for a
//! TOR the controller's OVSDB adapter does.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{
    ControllerName, LocalMac, LogicalSwitchName, MacAddr, Sighting, SwitchPortName, TableUpdate, Term,
    Version, VtepName, VtepOutline,
};

/// Both ends of a session must speak the same.
pub const PROTOCOL: u32 = 1;

/// A table that a receiver has, so that it need not be sent whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    pub logical_switch: LogicalSwitchName,
    pub term: Term,
    pub version: Version,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromVtep {
    /// The first message.
    Hello {
        protocol: u32,
        name: VtepName,
        /// The highest term of a physical controller that it obeyed.
        term: Term,
        tables: Vec<Held>,
    },
    /// Whole, at the start and when it changes.
    State(VtepState),
    Inventory(Inventory),
    /// It was welcomed by that term, and from here on nobody of a lower one can tell it anything or write to it: what its
    /// controller knows from now on is not older than what others have told it.
    Obeys {
        term: Term,
    },
    /// A version that forwarding follows: in the kernel, or committed to the TOR's database.
    Applied(Held),
    /// An update did not fit what it has.
    Resync {
        logical_switch: LogicalSwitchName,
    },
    /// At most [`SIGHTINGS_MAX`](crate::SIGHTINGS_MAX). What gets lost is not told again.
    Sightings(Vec<Sighting>),
    /// The sender's clock, in milliseconds since the epoch.
    Heartbeat {
        wall_ms: i64,
    },
}

/// What a VTEP says of itself, apart from MACs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct VtepState {
    /// Its tunnel address.
    pub address: Option<IpAddr>,
    /// The ports that may be bound.
    pub ports: BTreeSet<SwitchPortName>,
    /// Networks that it takes part in by somebody else's word, such as a binding that an administrator made.
    pub networks: BTreeSet<LogicalSwitchName>,
    /// As in `vtep(5)`: `mac_table_exhaustion`, …
    pub faults: BTreeSet<String>,
    /// Tunnel addresses that it finds dead, after it had found them alive (BFD).
    pub unreachable: BTreeSet<IpAddr>,
    /// Its sessions of BFD by the far ends' tunnel addresses: their state, and why if it is not up.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub bfd: BTreeMap<IpAddr, String>,
    /// Tunnel addresses that it finds alive.
    #[serde(default)]
    pub reachable: BTreeSet<IpAddr>,
    /// What of its own data, or of ours, was set aside and why: the first of it.
    pub refusals: Vec<String>,
}

/// MACs of one logical switch. `None`: no more behind the VTEP.
pub type InventoryRecords = Vec<(MacAddr, Option<LocalMac>)>;

/// A part of what is behind a VTEP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// The parts up to `end` are all that there is. Otherwise they are changes.
    pub snapshot: bool,
    pub networks: Vec<(LogicalSwitchName, InventoryRecords)>,
    pub end: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToVtep {
    /// The answer to `Hello`, or what follows `Standby`.
    Welcome {
        protocol: u32,
        name: ControllerName,
        term: Term,
        /// Who serves the VTEP is elected, so that a session with another controller is of use.
        elected: bool,
    },
    /// The sender listens and keeps what it needs to serve the VTEP at once. It does not serve it.
    Standby {
        protocol: u32,
        name: ControllerName,
        /// Who does, and by which term.
        server: Option<(ControllerName, Term)>,
    },
    /// Before the tables of its networks.
    Outline(VtepOutline),
    Table(TableUpdate),
    /// What it reported changes nothing.
    NoChange {
        logical_switch: LogicalSwitchName,
    },
    Heartbeat {
        wall_ms: i64,
    },
}
