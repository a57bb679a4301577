//! The agent's side of its sessions with physical controllers, without I/O: what comes in leads to messages for the
//! controllers and to events for the daemon.
//!
//! One controller serves us; another one may stand by, which is told all that the first is told, and is obeyed when it
//! says welcome by a term that is not lower. What was heard outlives the sessions: without one the last table stays, and
//! the next one goes on from the versions that we have.

mod sessions;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use vtep_api::{
    ControllerName, FromVtep, Held, LogicalSwitchName, MacAddr, PortName, Row, Sighting, SwitchPortName,
    TableUpdate, Term, ToVtep, VtepName, VtepOutline, VtepState,
};

use super::conversation::{Conversation, LinkId, Stage};
use super::links::LINKS_MAX;
use super::outline::{self, Way};
use super::received::{Macs, Part, Received};
use super::{SessionStatus, TableStatus};
use crate::source::{Refusals, Report, SourceEvent};
use crate::table::{Delta, MacEntry, Outline, Table};

/// Who we are.
#[derive(Debug, Clone)]
pub(in crate::source) struct Device {
    pub(in crate::source) name: VtepName,
    pub(in crate::source) address: IpAddr,
    /// Until the first report names them.
    pub(in crate::source) ports: BTreeSet<PortName>,
}

#[derive(Debug, Clone)]
pub(super) enum Input {
    Connected(LinkId),
    Message(LinkId, ToVtep),
    Disconnected {
        link: LinkId,
        reason: String,
    },
    Report(Arc<Report>),
    /// The kernel has what so many events said.
    Installed(u64),
    /// An operator lets the MACs of a VNI go that are held.
    Release(u32),
    /// To be told to who serves us; without one to nobody.
    Sightings(Vec<Sighting>),
}

#[derive(Debug, Default)]
pub(super) struct Output {
    pub(super) events: Vec<SourceEvent>,
    /// Sessions that cannot go on, and why.
    pub(super) ends: Vec<(LinkId, String)>,
    /// Somebody serves us with whom we do not speak, which is news.
    pub(super) seek: bool,
    /// How many have nobody to be told to, or find no room on their way there.
    pub(super) sightings_lost: u64,
}

#[derive(Debug)]
pub(super) struct Follower {
    device: Device,
    /// The highest term that was obeyed.
    obeyed: Term,
    conversations: BTreeMap<LinkId, Conversation>,
    /// Whom we looked for last.
    sought: Option<(ControllerName, Term)>,
    /// Who serves us may change without our doing.
    elected: bool,
    sessions: u64,
    /// Of terms that are over.
    refused: u64,
    controller: Option<ControllerName>,
    outline: Option<VtepOutline>,
    translated: Outline,
    outline_refusals: Refusals,
    tables: BTreeMap<LogicalSwitchName, Received>,
    /// By VNI, the MACs that an earlier agent left in the kernel.
    left: BTreeMap<u32, Macs>,
    /// MACs whose master is not in the directory.
    aside: BTreeSet<(LogicalSwitchName, MacAddr)>,
    superseded: BTreeMap<LogicalSwitchName, String>,
    report: Option<Arc<Report>>,
    /// Events handed over.
    events: u64,
    installed: u64,
    /// Which version the kernel has once it has so many events.
    awaited: VecDeque<(u64, Held)>,
    applied: BTreeMap<LogicalSwitchName, Held>,
}

impl Follower {
    pub(super) fn new(device: Device, obeyed: Term, left: BTreeMap<u32, Macs>) -> Self {
        Self {
            device,
            left,
            obeyed,
            conversations: BTreeMap::new(),
            sought: None,
            elected: false,
            sessions: 0,
            refused: 0,
            controller: None,
            outline: None,
            translated: Outline::default(),
            outline_refusals: Refusals::default(),
            tables: BTreeMap::new(),
            aside: BTreeSet::new(),
            superseded: BTreeMap::new(),
            report: None,
            events: 0,
            installed: 0,
            awaited: VecDeque::new(),
            applied: BTreeMap::new(),
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.serving().is_some()
    }

    /// With how many controllers we want to speak: with a second one only when the first has answered.
    pub(super) fn links_wanted(&self) -> usize {
        let answered = |stage| self.conversations.values().any(|one| one.stage == stage);
        let stands_by = answered(Stage::Standby) || (self.elected && answered(Stage::Serving));
        if stands_by { LINKS_MAX } else { 1 }
    }

    /// With whom we speak.
    pub(super) fn controllers(&self) -> impl Iterator<Item = &ControllerName> {
        self.conversations.values().filter_map(|one| one.name.as_ref())
    }

    /// Whether a controller answered, and not only with the name of one that we do not find.
    pub(super) fn was_of_use(&self, link: LinkId) -> bool {
        let is_of_use = |one: &Conversation| match one.stage {
            Stage::Greeted => false,
            Stage::Standby => self.sought.is_none(),
            Stage::Serving => true,
        };
        self.conversations.get(&link).is_some_and(is_of_use)
    }

    fn serving(&self) -> Option<LinkId> {
        let mut all = self.conversations.iter();
        all.find(|(_, one)| one.stage == Stage::Serving).map(|(link, _)| *link)
    }

    pub(super) fn status(&self) -> SessionStatus {
        let table = |(name, table): (&LogicalSwitchName, &Received)| TableStatus {
            logical_switch: name.clone(),
            term: table.term.0,
            version: table.version.0,
            installed: self
                .applied
                .get(name)
                .filter(|held| held.term == table.term)
                .map(|held| held.version.0),
            whole: table.whole,
            snapshots: table.snapshots,
            vni: self.translated.logical_switches.get(name).map_or(0, |switch| switch.vni.as_u32()),
            held: table.held(),
        };
        SessionStatus {
            controller: self.controller.clone(),
            open: self.is_open(),
            standby: self
                .conversations
                .values()
                .find(|one| one.stage == Stage::Standby)
                .and_then(|one| one.name.clone()),
            term: self.obeyed.0,
            sessions: self.sessions,
            attempts: 0,
            refused: self.refused,
            tables: self.tables.iter().map(table).collect(),
        }
    }

    pub(super) fn step(&mut self, input: Input, now: Instant, output: &mut Output) {
        match input {
            Input::Connected(link) => self.greet(link),
            Input::Message(link, message) => self.message(link, message, now, output),
            Input::Disconnected { link, reason } => self.disconnected(link, reason, output),
            Input::Report(report) => self.report = Some(report),
            Input::Installed(events) => self.installed(events),
            Input::Release(vni) => self.release(vni, output),
            Input::Sightings(sightings) => {
                let serving = self.serving().and_then(|link| self.conversations.get_mut(&link));
                output.sightings_lost = match serving {
                    Some(conversation) => conversation.witness(sightings),
                    None => Sighting::total(&sightings),
                };
            }
        }
    }

    /// What a controller has to be told by now. It is asked for when that one has taken what it was told before.
    pub(super) fn say(&mut self, link: LinkId) -> Vec<FromVtep> {
        let state = self.state();
        let Some(conversation) = self.conversations.get_mut(&link) else { return Vec::new() };
        conversation.say(&state, self.report.as_deref(), &self.applied)
    }

    fn state(&self) -> VtepState {
        const REFUSALS_TOLD: usize = 5;
        let ports = self.report.as_ref().map_or(&self.device.ports, |report| &report.ports);
        let port = |port: &PortName| SwitchPortName::try_from(port.as_str()).expect("a port name is shorter");
        let exhausted = self.report.as_ref().is_some_and(|report| report.macs_exhausted);
        let refusals = self.refusals();
        let found = |by: fn(&Report) -> &BTreeSet<IpAddr>| {
            self.report.as_deref().map(by).cloned().unwrap_or_default()
        };
        VtepState {
            address: Some(self.device.address),
            ports: ports.iter().map(port).collect(),
            faults: exhausted.then(|| "mac_table_exhaustion".to_owned()).into_iter().collect(),
            refusals: refusals.first().iter().take(REFUSALS_TOLD).map(ToString::to_string).collect(),
            reachable: found(|report| &report.reachable),
            unreachable: found(|report| &report.unreachable),
            ..VtepState::default()
        }
    }

    fn outline(&mut self, later: VtepOutline, output: &mut Output) {
        let first = self.outline.is_none();
        let outline = self.outline.get_or_insert_default();
        outline.follow(later);
        let networks = &outline.networks;
        self.tables.retain(|name, _| networks.contains_key(name));
        self.applied.retain(|name, _| networks.contains_key(name));
        self.aside.retain(|(name, _)| networks.contains_key(name));
        self.superseded.retain(|name, _| networks.contains_key(name));
        self.awaited.retain(|(_, held)| networks.contains_key(&held.logical_switch));
        let before = self.retranslate();
        if first {
            let Outline { vteps, logical_switches, bindings, partial } = self.translated.clone();
            let table = Arc::new(Table { vteps, logical_switches, bindings, partial });
            self.emit(SourceEvent::Snapshot { table, refusals: self.refusals() }, output);
        } else if before != self.translated {
            let macs = if before.vteps.keys().eq(self.translated.vteps.keys()) {
                Vec::new()
            } else {
                self.reconsider(&before)
            };
            self.emit_delta(Delta { outline: Some(self.translated.clone()), macs }, output);
        }
    }

    /// Returns what it was.
    fn retranslate(&mut self) -> Outline {
        let Some(outline) = &self.outline else { return Outline::default() };
        self.outline_refusals = Refusals::default();
        let translated =
            outline::translate(&self.device.name, outline, &self.tables, &mut self.outline_refusals);
        std::mem::replace(&mut self.translated, translated)
    }

    /// MACs whose way is another by another directory.
    fn reconsider(&mut self, before: &Outline) -> Vec<(LogicalSwitchName, MacAddr, Option<MacEntry>)> {
        let mut macs = Vec::new();
        for (name, table) in &self.tables {
            for (mac, row) in &table.rows {
                let was = outline::way(&self.device.name, row, &before.vteps);
                let is = outline::way(&self.device.name, row, &self.translated.vteps);
                if is == Way::Unknown {
                    self.aside.insert((name.clone(), *mac));
                } else {
                    self.aside.remove(&(name.clone(), *mac));
                }
                if was != is {
                    macs.push((name.clone(), *mac, entry(is)));
                }
            }
        }
        macs
    }

    fn table(&mut self, link: LinkId, update: TableUpdate, now: Instant, output: &mut Output) {
        let name = update.logical_switch.clone();
        let Some(switch) = self.translated.logical_switches.get(&name) else { return };
        let term = update.term;
        let left = &mut self.left;
        let table = self
            .tables
            .entry(name.clone())
            .or_insert_with(|| Received::over(left.remove(&switch.vni.as_u32()).unwrap_or_default()));
        let was_partial = table.is_partial();
        match table.take(update, now) {
            Part::Taken => {}
            Part::Misfit => {
                if let Some(conversation) = self.conversations.get_mut(&link) {
                    conversation.resync(name);
                }
            }
            Part::Superseded { obeyed } => {
                self.refused += 1;
                let problem = format!("term {}; expected at least {}, which was obeyed", term.0, obeyed.0);
                if self.superseded.insert(name, problem.clone()) != Some(problem) {
                    self.emit_delta(Delta::default(), output);
                }
            }
            Part::Settled(changes) => {
                let held = Held { logical_switch: name.clone(), term: table.term, version: table.version };
                let became_whole = was_partial && !table.is_partial();
                self.superseded.remove(&name);
                let aside = self.aside.len();
                let macs = self.ways(&name, changes);
                if became_whole {
                    self.retranslate();
                }
                let outline = became_whole.then(|| self.translated.clone());
                if outline.is_some() || !macs.is_empty() || aside != self.aside.len() {
                    self.emit_delta(Delta { outline, macs }, output);
                }
                self.awaited.push_back((self.events, held));
                self.installed(self.installed);
            }
        }
    }

    fn release(&mut self, vni: u32, output: &mut Output) {
        let switches = self.translated.logical_switches.iter();
        let names = switches.filter(|(_, switch)| switch.vni.as_u32() == vni).map(|(name, _)| name.clone());
        let names: Vec<_> = names.collect();
        let mut macs = Vec::new();
        for name in names {
            let changes = self.tables.get_mut(&name).map(Received::release).unwrap_or_default();
            macs.extend(self.ways(&name, changes));
        }
        self.retranslate();
        self.emit_delta(Delta { outline: Some(self.translated.clone()), macs }, output);
    }

    fn ways(
        &mut self,
        name: &LogicalSwitchName,
        changes: Vec<(MacAddr, Option<Row>)>,
    ) -> Vec<(LogicalSwitchName, MacAddr, Option<MacEntry>)> {
        let mut macs = Vec::with_capacity(changes.len());
        for (mac, row) in changes {
            let way = row.map(|row| outline::way(&self.device.name, &row, &self.translated.vteps));
            if way == Some(Way::Unknown) {
                self.aside.insert((name.clone(), mac));
            } else if !self.aside.is_empty() {
                self.aside.remove(&(name.clone(), mac));
            }
            macs.push((name.clone(), mac, way.and_then(entry)));
        }
        macs
    }

    /// The controllers are to know which versions the kernel has.
    fn installed(&mut self, events: u64) {
        self.installed = self.installed.max(events);
        let mut reached = BTreeMap::new();
        while let Some((_, held)) = self.awaited.pop_front_if(|(events, _)| *events <= self.installed) {
            reached.insert(held.logical_switch.clone(), held);
        }
        for conversation in self.conversations.values_mut() {
            let standby = conversation.stage == Stage::Standby;
            // From a table that may lack MACs no update leads on.
            let due = |name: &&LogicalSwitchName| {
                !standby || self.tables.get(*name).is_some_and(|table| table.whole)
            };
            conversation.applied(reached.keys().filter(due).cloned());
        }
        self.applied.extend(reached);
    }

    fn refusals(&self) -> Refusals {
        let mut refusals = self.outline_refusals.clone();
        for (name, problem) in &self.superseded {
            refusals.note(format!("table of {name}"), problem.clone());
        }
        for (name, mac) in self.aside.iter().take(Refusals::KEPT_MAX) {
            let master =
                self.tables.get(name).and_then(|table| table.rows.get(mac)).map(|row| &row.placement.master);
            let master = master.map_or_else(String::new, ToString::to_string);
            refusals.push(|| format!("{mac} of {name}"), &master, "a VTEP of the directory");
        }
        refusals.note_more(self.aside.len().saturating_sub(Refusals::KEPT_MAX));
        refusals
    }

    fn emit_delta(&mut self, delta: Delta, output: &mut Output) {
        let refusals = self.refusals();
        self.emit(SourceEvent::Delta { delta, refusals }, output);
    }

    fn emit(&mut self, event: SourceEvent, output: &mut Output) {
        self.events += 1;
        output.events.push(event);
    }
}

impl Output {
    fn end(&mut self, link: LinkId, reason: impl Into<String>) {
        self.ends.push((link, reason.into()));
    }
}

fn entry(way: Way) -> Option<MacEntry> {
    match way {
        Way::There(entry) => Some(entry),
        Way::Here | Way::Unknown => None,
    }
}
