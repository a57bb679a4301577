//! The logical controller: of each logical switch that it owns the one arbiter and the only sequencer.

mod awaited;
mod collect;
mod contested;
mod distribute;
mod explain;
mod guard;
mod history;
mod ledger;
mod life;
mod membership;
mod operate;
mod outline;
mod placements;
mod query;
mod recent;
mod remembered;
pub mod select;
mod settle;
mod sightings;
mod strangers;
mod switch;
mod vteps;
mod what_if;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use vtep_api::{
    ControllerName, FromLogical, FromPhysical, LogicalSwitchName, MacAddr, Term, Version, VtepName,
    VtepStatus,
};

pub use explain::{ClaimView, Explanation, SightingView, Told};
pub use history::What;
pub use operate::OperateError;
pub use query::{
    Alarm, AlarmKind, Conflict, ConflictKind, HistoryEntry, NetworkView, SyncView, TableRow, VtepView,
};
pub use remembered::Remembered;
pub use what_if::{PolicyChange, VtepDown};

use self::distribute::Peer;
use self::placements::Placements;
use self::select::Contender;
use self::switch::{Context, Switch};
use self::vteps::{VtepId, Vteps};
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
    /// Who serves a VTEP is elected: every physical controller may, and says by which term it does.
    #[serde(default)]
    pub elected: bool,
}

/// What outlives a logical controller, beside the declared.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Durable {
    /// Made by hand, beside those of the declared.
    pub pins: BTreeSet<Pin>,
    /// Duplicate MACs that keep their master.
    pub frozen: BTreeSet<Pin>,
    /// Of MACs that several claim alike: who is master. The claims alone would not tell, should the physical controller
    /// that heard them in their order be gone as well. And of those that nobody claims any more, where the mass-withdraw
    /// guard keeps them. Kept apart from the rest, by `Action::Remember`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub masters: BTreeMap<LogicalSwitchName, BTreeMap<MacAddr, Remembered>>,
    /// Where that guard keeps MACs.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub kept: BTreeSet<LogicalSwitchName>,
    /// What VTEPs said last: until they are heard again nobody is told that they are gone.
    #[serde(default)]
    pub known: BTreeMap<VtepName, Known>,
}

/// Where a VTEP is, and in which networks by its own word.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Known {
    pub address: Option<IpAddr>,
    pub networks: BTreeSet<LogicalSwitchName>,
    /// By an election: the highest term of a physical controller that spoke of it.
    #[serde(default)]
    pub reign: Term,
    /// Since when its session is lost, in milliseconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_since_ms: Option<i64>,
    /// It was away for so long that its claims were given up.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub given_up: bool,
    /// Of those that say the same address, who says it first has the lowest. Counted anew by each reign.
    #[serde(default)]
    pub addressed: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "one is alive at a time")]
pub enum Event {
    Declared(Arc<Declared>),
    /// A physical controller is connected. It replaces an earlier session of the same name.
    Connected {
        peer: ControllerName,
    },
    Message {
        peer: ControllerName,
        message: FromPhysical,
    },
    Disconnected {
        peer: ControllerName,
    },
    /// The peer has taken so many of the messages that were sent to it.
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
    Pin(Pin),
    Unpin(Pin),
    /// A duplicate MAC is followed again.
    ClearDuplicate {
        logical_switch: LogicalSwitchName,
        mac: MacAddr,
    },
    /// What the storm guard holds of a VTEP counts.
    ReleaseStorm {
        vtep: VtepName,
    },
    /// What the mass-withdraw guard keeps in a logical switch goes.
    ReleaseWithdrawals {
        logical_switch: LogicalSwitchName,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// In order. At most `WINDOW` messages to a peer are not taken at any time: what changes meanwhile is merged.
    Send { peer: ControllerName, message: FromLogical },
    /// The peer broke the protocol.
    Close { peer: ControllerName, reason: String },
    /// Whole but for `masters`, replacing what was there.
    Persist(Durable),
    /// Changes of `Durable::masters`; `None`: the claims tell.
    Remember { logical_switch: LogicalSwitchName, masters: Vec<(MacAddr, Option<Remembered>)> },
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

#[derive(Debug, Clone)]
pub struct Logical {
    name: ControllerName,
    term: Term,
    elected: bool,
    declared: Arc<Declared>,
    /// Made by hand.
    pins: BTreeSet<Pin>,
    /// In force, with those that are declared.
    pinned: BTreeSet<Pin>,
    vteps: Vteps,
    switches: BTreeMap<LogicalSwitchName, Switch>,
    /// New logical switches begin with it: one that was here before has no version twice in a term.
    version_from: Version,
    peers: BTreeMap<ControllerName, Peer>,
    /// The highest of each physical controller that was ever connected.
    terms: BTreeMap<ControllerName, Term>,
    /// MACs of which an earlier file's word may be remembered: of logical switches that are not ours.
    strays: BTreeMap<LogicalSwitchName, BTreeSet<MacAddr>>,
    /// What was said of VTEPs, in vain.
    strangers: BTreeMap<(ControllerName, VtepName), VtepStatus>,
    /// VTEPs left out of the directory, with those that have their address.
    address_conflicts: BTreeMap<VtepId, (VtepId, IpAddr)>,
    /// VTEPs that should be asked to tell all, unless they do so by themselves.
    to_ask: BTreeSet<(LogicalSwitchName, VtepId)>,
    /// Networks to look at before the step ends.
    touched: BTreeSet<LogicalSwitchName>,
    aside: Vec<(LogicalSwitchName, MacAddr, VtepId)>,
    outlines_stale: bool,
    /// Who had not been heard when they were drawn.
    outlines_lack: BTreeSet<VtepId>,
    /// Counts outlines, whoever gets them: a later session goes on where the earlier one was.
    outlines: Version,
    persist: bool,
    placements: Placements,
    contenders: Vec<Contender>,
    ranked: Vec<VtepId>,
    clock: u64,
    began: Now,
    heartbeat_ms: u64,
    counters: Counters,
}

/// What happened since the process began.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Reports of a MAC, told again or not.
    pub claims: u64,
    pub told_again: u64,
    /// Older than what was known.
    pub outdated: u64,
    pub withdrawals: u64,
    pub decisions: u64,
    pub moves: u64,
    /// Above a quota.
    pub refused: u64,
    pub duplicates: u64,
    pub storms: u64,
    pub set_aside: u64,
    pub kept: u64,
    /// What was said of a VTEP by a term that is over.
    #[serde(default)]
    pub fenced: u64,
    /// What VTEPs saw of MACs elsewhere than at their master.
    #[serde(default)]
    pub sightings: u64,
    /// Messages whose VTEP or logical switch this controller has nothing to do with.
    pub strange: u64,
    pub versions: u64,
    pub no_changes: u64,
    pub resyncs_asked: u64,
    pub pushes: BTreeMap<ControllerName, Pushes>,
}

impl std::ops::AddAssign<&Self> for Counters {
    fn add_assign(&mut self, other: &Self) {
        // Named one by one, so that none is forgotten.
        let Self {
            claims,
            told_again,
            outdated,
            withdrawals,
            decisions,
            moves,
            refused,
            duplicates,
            storms,
            set_aside,
            kept,
            fenced,
            sightings,
            strange,
            versions,
            no_changes,
            resyncs_asked,
            pushes,
        } = other;
        self.claims += claims;
        self.told_again += told_again;
        self.outdated += outdated;
        self.withdrawals += withdrawals;
        self.decisions += decisions;
        self.moves += moves;
        self.refused += refused;
        self.duplicates += duplicates;
        self.storms += storms;
        self.set_aside += set_aside;
        self.kept += kept;
        self.fenced += fenced;
        self.sightings += sightings;
        self.strange += strange;
        self.versions += versions;
        self.no_changes += no_changes;
        self.resyncs_asked += resyncs_asked;
        for (peer, pushes) in pushes {
            let known = self.pushes.entry(peer.clone()).or_default();
            known.messages += pushes.messages;
            known.snapshots += pushes.snapshots;
            known.rows += pushes.rows;
        }
    }
}

/// Of tables, to one physical controller.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pushes {
    pub messages: u64,
    pub snapshots: u64,
    pub rows: u64,
}

impl Logical {
    pub fn new(start: Start, now: Now) -> Self {
        let Start { name, term, declared, durable, elected } = start;
        let mut logical = Self {
            name,
            term,
            elected,
            declared: Arc::default(),
            pins: durable.pins,
            pinned: BTreeSet::new(),
            vteps: Vteps::default(),
            switches: BTreeMap::new(),
            version_from: Version::default(),
            peers: BTreeMap::new(),
            terms: BTreeMap::new(),
            strays: BTreeMap::new(),
            strangers: BTreeMap::new(),
            address_conflicts: BTreeMap::new(),
            to_ask: BTreeSet::new(),
            touched: BTreeSet::new(),
            aside: Vec::new(),
            outlines_stale: true,
            outlines_lack: BTreeSet::new(),
            outlines: Version::default(),
            persist: false,
            placements: Placements::default(),
            contenders: Vec::new(),
            ranked: Vec::new(),
            clock: 0,
            began: now,
            heartbeat_ms: now.mono_ms,
            counters: Counters::default(),
        };
        logical.recall(durable.known);
        logical.declare(declared, now, &mut Vec::new());
        logical.freeze_again(&durable.frozen, now);
        logical.remember_again(durable.masters);
        logical.guard_again(&durable.kept);
        logical.persist = false;
        logical
    }

    pub fn step(&mut self, event: Event, now: Now, actions: &mut Vec<Action>) {
        match event {
            Event::Declared(declared) => self.declare(declared, now, actions),
            Event::Connected { peer } => self.connect(peer, now, actions),
            Event::Message { peer, message } => self.hear(&peer, message, now, actions),
            Event::Disconnected { peer } => self.disconnect(&peer, now, actions),
            Event::Taken { peer, messages } => {
                if let Some(peer) = self.peers.get_mut(&peer) {
                    peer.taken(messages);
                }
            }
            Event::Operate(operation) => {
                if let Err(error) = self.operate_on(operation, now, actions) {
                    let fields = BTreeMap::from([("error".to_owned(), error.to_string())]);
                    let message = "an operation was refused".to_owned();
                    actions.push(Action::Notice(Notice { alarm: false, message, fields }));
                }
            }
            Event::Tick => self.tick(now, actions),
        }
        self.settle(now, actions);
    }

    /// As `Event::Operate`, with an answer.
    pub fn operate(
        &mut self,
        operation: Operation,
        now: Now,
        actions: &mut Vec<Action>,
    ) -> Result<(), OperateError> {
        let result = self.operate_on(operation, now, actions);
        self.settle(now, actions);
        result
    }

    pub fn name(&self) -> &ControllerName {
        &self.name
    }

    pub fn term(&self) -> Term {
        self.term
    }

    pub fn declared(&self) -> &Arc<Declared> {
        &self.declared
    }

    pub fn pins_by_hand(&self) -> &BTreeSet<Pin> {
        &self.pins
    }

    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The logical switches, and what they work with.
    fn parts<'a>(
        &'a mut self,
        now: Now,
        actions: &'a mut Vec<Action>,
    ) -> (&'a mut BTreeMap<LogicalSwitchName, Switch>, Context<'a>) {
        let context = Context {
            vteps: &mut self.vteps,
            placements: &mut self.placements,
            policy: &self.declared.policy,
            counters: &mut self.counters,
            contenders: &mut self.contenders,
            ranked: &mut self.ranked,
            clock: &mut self.clock,
            actions,
            now,
            began_wall_ms: self.began.wall_ms,
            persist: &mut self.persist,
            aside: &mut self.aside,
        };
        (&mut self.switches, context)
    }
}
