//! The messages between a physical and a logical controller.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    BfdWord, Binding, Cause, Claim, ControllerName, Held, Locator, LogicalSwitchName, MacAddr, Network,
    Sighting, Stamp, TableUpdate, Term, Version, VtepName, VtepState,
};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromPhysical {
    /// The first message.
    Hello {
        protocol: u32,
        name: ControllerName,
        /// The physical controller's own.
        term: Term,
        /// The tables that it has, each of the highest term that it obeyed for that logical switch.
        tables: Vec<Held>,
    },
    /// Of each VTEP that it serves, at the start and when it changes.
    Vtep {
        vtep: VtepName,
        status: VtepStatus,
        /// By an election, the term by which the sender serves the VTEP. Claims, and what VTEPs forward by, that follow
        /// in the session are of that term.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reign: Option<Term>,
    },
    Claims(Claims),
    /// A VTEP forwards by this version.
    Applied {
        vtep: VtepName,
        held: Held,
    },
    /// An update did not fit the table that it has.
    Resync {
        logical_switch: LogicalSwitchName,
    },
    /// As a VTEP told it.
    Sightings {
        witness: VtepName,
        sightings: Vec<Sighting>,
    },
    /// Answer `Synced` with this token when all was sent that there is at present.
    Sync {
        token: u64,
    },
    Heartbeat {
        wall_ms: i64,
    },
}

/// A VTEP as its physical controller sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct VtepStatus {
    pub session: Session,
    pub state: VtepState,
    /// Its clock less the physical controller's; unknown until both were seen together.
    pub skew_ms: Option<i64>,
    /// When its session is not up: what that means. Filled in when it is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub away: Option<Away>,
}

/// A VTEP without a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Away {
    /// For so long; at most since the physical controller serves it.
    pub ms: u64,
    /// What it claimed is not known there: nothing of it will be told before it comes back.
    pub unheard: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Session {
    /// It was never there.
    #[default]
    Awaited,
    Up,
    /// It was there; what it said last stays, for a while.
    Lost,
}

/// A part of what one VTEP claims in one logical switch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    pub vtep: VtepName,
    pub logical_switch: LogicalSwitchName,
    /// The parts up to `end` are all that it claims there. Otherwise they are changes, in their order.
    pub snapshot: bool,
    pub records: Vec<(MacAddr, Report)>,
    pub end: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    Claim(Claim),
    /// Takes back the claim that was made last before `stamp`, never a later one.
    Withdraw {
        stamp: Stamp,
        cause: Cause,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FromLogical {
    /// The answer to `Hello`.
    Welcome {
        protocol: u32,
        name: ControllerName,
        term: Term,
    },
    /// Whole, at the start and when it changes; before the tables of its logical switches.
    Outline(Outline),
    Table(TableUpdate),
    /// What a VTEP claimed changes nothing.
    NoChange {
        vtep: VtepName,
        logical_switch: LogicalSwitchName,
    },
    /// Send all that a VTEP claims there.
    Resync {
        vtep: VtepName,
        logical_switch: LogicalSwitchName,
    },
    /// Outline and tables are those of a moment after `Sync` was heard.
    Synced {
        token: u64,
    },
    Heartbeat {
        wall_ms: i64,
    },
}

/// What a logical controller declares, as far as it concerns one physical controller.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Outline {
    pub term: Term,
    /// Counts its changes within the term.
    pub version: Version,
    /// Every logical controller that the deployment names, the sender included. Before all of them have been heard, a
    /// logical switch that no outline names may still be somebody's.
    #[serde(default)]
    pub controllers: BTreeSet<ControllerName>,
    /// The logical switches that this logical controller owns and of which a VTEP of the receiver is a member.
    pub networks: BTreeMap<LogicalSwitchName, NetworkOutline>,
    /// Every VTEP that these networks may name.
    pub directory: BTreeMap<VtepName, Locator>,
    /// Of the sessions of BFD between any two of them, as far as neither has a word of its own.
    #[serde(default, skip_serializing_if = "BfdWord::is_silent")]
    pub bfd: BfdWord,
    /// The VTEPs that the receiver serves.
    pub served: BTreeMap<VtepName, Served>,
    /// Those of them of which the sender does not know that it is the receiver who serves them: that no network names one
    /// as a member says nothing.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub unplaced: BTreeSet<VtepName>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkOutline {
    pub network: Network,
    /// The receiver's VTEPs that take part, and so may claim and are told.
    pub members: BTreeSet<VtepName>,
}

/// A VTEP as it was declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    /// A TOR's database, as Open vSwitch writes it (`tcp:192.0.2.11:6640`, `ssl:…`, `ptcp:…`). Without it the VTEP is a
    /// host whose agent connects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ovsdb: Option<String>,
    /// In the logical switches of this logical controller.
    #[serde(default)]
    pub bindings: BTreeSet<Binding>,
}
