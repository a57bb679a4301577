//! The agent's side of a session with a physical controller, without I/O: what comes in leads to messages for the
//! controller and to events for the daemon.
//!
//! What was heard outlives the session: without one the last table stays, and the next session goes on from the
//! versions that we have.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use vtep_api::{
    ControllerName, FromVtep, Held, LogicalSwitchName, MacAddr, PROTOCOL, PortName, Row, SwitchPortName,
    TableUpdate, Term, ToVtep, VtepName, VtepOutline, VtepState,
};

use super::outline::{self, Way};
use super::received::{Macs, Part, Received};
use super::{SessionStatus, TableStatus, inventory};
use crate::source::{LocalMacs, Refusals, Report, SourceEvent};
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
    Connected,
    Message(ToVtep),
    Disconnected {
        reason: String,
    },
    Report(Arc<Report>),
    /// The kernel has what so many events said.
    Installed(u64),
    /// An operator lets the MACs of a VNI go that are held.
    Release(u32),
}

#[derive(Debug, Default)]
pub(super) struct Output {
    pub(super) messages: Vec<FromVtep>,
    pub(super) events: Vec<SourceEvent>,
    /// Why the session cannot go on.
    pub(super) end: Option<String>,
}

#[derive(Debug)]
pub(super) struct Follower {
    device: Device,
    /// The highest term that was obeyed.
    obeyed: Term,
    session: Session,
    sessions: u64,
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
    /// What the controller was told in this session.
    told_macs: Option<Arc<LocalMacs>>,
    told_state: Option<VtepState>,
    /// Events handed over.
    events: u64,
    installed: u64,
    /// Which version the kernel has once it has so many events.
    awaited: VecDeque<(u64, Held)>,
    applied: BTreeMap<LogicalSwitchName, Held>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Session {
    None,
    Greeted,
    Open,
}

impl Follower {
    pub(super) fn new(device: Device, obeyed: Term, left: BTreeMap<u32, Macs>) -> Self {
        Self {
            device,
            left,
            obeyed,
            session: Session::None,
            sessions: 0,
            controller: None,
            outline: None,
            translated: Outline::default(),
            outline_refusals: Refusals::default(),
            tables: BTreeMap::new(),
            aside: BTreeSet::new(),
            superseded: BTreeMap::new(),
            report: None,
            told_macs: None,
            told_state: None,
            events: 0,
            installed: 0,
            awaited: VecDeque::new(),
            applied: BTreeMap::new(),
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.session == Session::Open
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
            vni: self.translated.logical_switches.get(name).map_or(0, |switch| switch.vni.as_u32()),
            held: table.held(),
        };
        SessionStatus {
            controller: self.controller.clone(),
            open: self.is_open(),
            term: self.obeyed.0,
            sessions: self.sessions,
            tables: self.tables.iter().map(table).collect(),
        }
    }

    pub(super) fn step(&mut self, input: Input, now: Instant, output: &mut Output) {
        match input {
            Input::Connected => self.greet(output),
            Input::Message(message) => self.message(message, now, output),
            Input::Disconnected { reason } => self.disconnected(reason, output),
            Input::Report(report) => {
                self.report = Some(report);
                self.tell(output);
            }
            Input::Installed(events) => self.installed(events, output),
            Input::Release(vni) => self.release(vni, output),
        }
    }

    fn greet(&mut self, output: &mut Output) {
        self.session = Session::Greeted;
        self.told_macs = None;
        self.told_state = None;
        // One that may lack MACs has to come again.
        let held = self.tables.iter().filter(|(_, table)| table.whole).map(|(name, table)| Held {
            logical_switch: name.clone(),
            term: table.term,
            version: table.version,
        });
        output.messages.push(FromVtep::Hello {
            protocol: PROTOCOL,
            name: self.device.name.clone(),
            term: self.obeyed,
            tables: held.collect(),
        });
    }

    fn disconnected(&mut self, reason: String, output: &mut Output) {
        self.session = Session::None;
        self.tables.values_mut().for_each(Received::interrupt);
        self.emit(SourceEvent::Lost { reason }, output);
    }

    fn message(&mut self, message: ToVtep, now: Instant, output: &mut Output) {
        match (self.session, message) {
            (Session::Greeted, ToVtep::Welcome { protocol, name, term }) => {
                self.welcome(protocol, name, term, output);
            }
            (Session::Open, ToVtep::Outline(outline)) => self.outline(outline, output),
            (Session::Open, ToVtep::Table(update)) => self.table(update, now, output),
            (Session::Open, ToVtep::Welcome { .. }) => end("the controller said welcome twice", output),
            (Session::Greeted, _) => end("the controller's first message is no welcome", output),
            (Session::Open, ToVtep::NoChange { .. } | ToVtep::Heartbeat { .. }) | (Session::None, _) => {}
        }
    }

    fn welcome(&mut self, protocol: u32, name: ControllerName, term: Term, output: &mut Output) {
        if protocol != PROTOCOL {
            end(format!("controller {name} speaks protocol {protocol}; expected {PROTOCOL}"), output);
            return;
        }
        if term < self.obeyed {
            let obeyed = self.obeyed.0;
            end(
                format!(
                    "controller {name} has term {}; expected at least {obeyed}, which was obeyed",
                    term.0
                ),
                output,
            );
            return;
        }
        self.session = Session::Open;
        self.sessions += 1;
        self.obeyed = term;
        self.controller = Some(name.clone());
        self.emit(SourceEvent::Obeys { controller: name, term }, output);
        output.messages.extend(self.applied.values().cloned().map(FromVtep::Applied));
        self.tell(output);
    }

    /// Says what is news about this host.
    fn tell(&mut self, output: &mut Output) {
        if !self.is_open() {
            return;
        }
        let state = self.state();
        if self.told_state.as_ref() != Some(&state) {
            self.told_state = Some(state.clone());
            output.messages.push(FromVtep::State(state));
        }
        let Some(report) = &self.report else { return };
        match &self.told_macs {
            None => output.messages.extend(inventory::whole(&report.local_macs)),
            Some(told) if *told != report.local_macs => {
                output.messages.extend(inventory::changes(told, &report.local_macs));
            }
            Some(_) => {}
        }
        self.told_macs = Some(Arc::clone(&report.local_macs));
    }

    fn state(&self) -> VtepState {
        const REFUSALS_TOLD: usize = 5;
        let ports = self.report.as_ref().map_or(&self.device.ports, |report| &report.ports);
        let port = |port: &PortName| SwitchPortName::try_from(port.as_str()).expect("a port name is shorter");
        let exhausted = self.report.as_ref().is_some_and(|report| report.macs_exhausted);
        let refusals = self.refusals();
        VtepState {
            address: Some(self.device.address),
            ports: ports.iter().map(port).collect(),
            faults: exhausted.then(|| "mac_table_exhaustion".to_owned()).into_iter().collect(),
            refusals: refusals.first().iter().take(REFUSALS_TOLD).map(ToString::to_string).collect(),
            ..VtepState::default()
        }
    }

    fn outline(&mut self, later: VtepOutline, output: &mut Output) {
        let first = self.outline.is_none();
        let outline = self.outline.get_or_insert_default();
        outline::merge(outline, later);
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
        self.tell(output);
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

    fn table(&mut self, update: TableUpdate, now: Instant, output: &mut Output) {
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
            Part::Misfit => output.messages.push(FromVtep::Resync { logical_switch: name }),
            Part::Superseded { obeyed } => {
                let problem = format!("term {}; expected at least {}, which was obeyed", term.0, obeyed.0);
                if self.superseded.insert(name, problem.clone()) != Some(problem) {
                    self.emit_delta(Delta::default(), output);
                    self.tell(output);
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
                self.installed(self.installed, output);
                if aside != self.aside.len() {
                    self.tell(output);
                }
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

    /// Tells the controller which versions the kernel has.
    fn installed(&mut self, events: u64, output: &mut Output) {
        self.installed = self.installed.max(events);
        let mut reached = BTreeMap::new();
        while let Some((_, held)) = self.awaited.pop_front_if(|(events, _)| *events <= self.installed) {
            reached.insert(held.logical_switch.clone(), held);
        }
        if self.is_open() {
            output.messages.extend(reached.values().cloned().map(FromVtep::Applied));
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

fn end(reason: impl Into<String>, output: &mut Output) {
    output.end.get_or_insert_with(|| reason.into());
}

fn entry(way: Way) -> Option<MacEntry> {
    match way {
        Way::There(entry) => Some(entry),
        Way::Here | Way::Unknown => None,
    }
}
