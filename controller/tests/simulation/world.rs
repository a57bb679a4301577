//! The nodes, the sessions between them, and the clock: what is due next happens, and the observer looks at it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use vtep_api::{FromLogical, FromPhysical, FromVtep, LogicalSwitchName, Served, Term, ToVtep, VtepName};
use vtep_controller::logical::{self, Durable, Logical};
use vtep_controller::physical::{self, Physical, SessionId};
use vtep_controller::{Declared, Now};

use crate::chaos::LONG_MS;
use crate::link::{End, Link};
use crate::observer::{Observer, Verdict};
use crate::queue::Queue;
use crate::random::Random;
use crate::scenario::{Kind, Scenario};
use crate::trace::Trace;
use crate::truth::Truth;
use crate::vtep::Vtep;

pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) scenario: Scenario,
    pub(crate) random: Random,
    pub(crate) declared: Arc<Declared>,
    pub(crate) logicals: Vec<LogicalNode>,
    pub(crate) physicals: Vec<PhysicalNode>,
    pub(crate) vteps: Vec<Vtep>,
    pub(crate) links: BTreeMap<LinkId, Link>,
    pub(crate) truth: Truth,
    pub(crate) observer: Observer,
    pub(crate) trace: Trace,
    /// Faults are over.
    pub(crate) quiet: bool,
    due: Queue<What>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum LinkId {
    /// From a physical controller, which opens it, to a logical one.
    Peer { logical: usize, physical: usize },
    /// From a VTEP to the physical controller that serves it.
    Vtep { vtep: usize },
}

pub(crate) struct LogicalNode {
    pub(crate) core: Option<Logical>,
    pub(crate) term: Term,
    pub(crate) durable: Durable,
    pub(crate) started: u64,
    pub(crate) clock_ms: i64,
    pub(crate) reign: u64,
    /// Members that each physical controller was told of in its present session.
    told: Vec<BTreeMap<LogicalSwitchName, usize>>,
    /// What it sent of late, and what it sent at the end of its last reign.
    pub(crate) spoken: Vec<(usize, FromLogical)>,
    pub(crate) spoke: Vec<(usize, FromLogical)>,
}

pub(crate) struct PhysicalNode {
    pub(crate) core: Option<Physical>,
    pub(crate) term: Term,
    pub(crate) started: u64,
    pub(crate) clock_ms: i64,
    pub(crate) reign: u64,
    pub(crate) served: BTreeMap<VtepName, Served>,
    pub(crate) spoken: Vec<(usize, FromPhysical)>,
    pub(crate) spoke: Vec<(usize, FromPhysical)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    FromLogical(FromLogical),
    FromPhysical(FromPhysical),
    FromVtep(FromVtep),
    ToVtep(ToVtep),
}

#[derive(Debug, Clone)]
pub(crate) enum What {
    Arrives { link: LinkId, generation: u64, to: End, message: Box<Message>, taken: bool },
    Connect(LinkId),
    Opens { link: LinkId, generation: u64, end: End },
    Closes { link: LinkId, generation: u64, end: End },
    LogicalTick { logical: usize, reign: u64 },
    PhysicalTick { physical: usize, reign: u64 },
    VtepBeats { vtep: usize },
    Declared { logical: usize },
    StartLogical { logical: usize },
    StartPhysical { physical: usize },
    StartVtep { vtep: usize },
    Heals { link: LinkId },
    Taken { link: LinkId, generation: u64, end: End },
}

const EPOCH_MS: i64 = 1_700_000_000_000;
const TICK_MS: u64 = 500;
const BEAT_MS: u64 = 5000;
const SPOKEN_MOST: usize = 40;

impl World {
    pub(crate) fn new(scenario: Scenario, trace: Trace) -> Self {
        let random = Random::seeded(scenario.seed ^ 0xabcd_ef01);
        let declared = Arc::new(scenario.declared.clone());
        let mut world = Self {
            now: 0,
            random,
            declared,
            logicals: Vec::new(),
            physicals: Vec::new(),
            vteps: scenario.vteps.iter().cloned().map(Vtep::new).collect(),
            links: BTreeMap::new(),
            truth: Truth::default(),
            observer: Observer::default(),
            trace,
            quiet: false,
            due: Queue::new(),
            scenario,
        };
        world.populate();
        world
    }

    fn populate(&mut self) {
        let clock = |random: &mut Random, faults: bool| if faults { random.around_zero(90_000) } else { 0 };
        let clocks = self.scenario.faults.clocks;
        for logical in 0..self.scenario.logicals.len() {
            self.logicals.push(LogicalNode {
                core: None,
                term: Term(0),
                durable: Durable::default(),
                started: 0,
                clock_ms: clock(&mut self.random, clocks),
                reign: 0,
                told: vec![BTreeMap::new(); self.scenario.physicals.len()],
                spoken: Vec::new(),
                spoke: Vec::new(),
            });
            let at = self.random.below(1000);
            self.after(at, What::StartLogical { logical });
        }
        for physical in 0..self.scenario.physicals.len() {
            self.physicals.push(PhysicalNode {
                core: None,
                term: Term(0),
                started: 0,
                clock_ms: clock(&mut self.random, clocks),
                reign: 0,
                served: BTreeMap::new(),
                spoken: Vec::new(),
                spoke: Vec::new(),
            });
            let at = self.random.below(1000);
            self.after(at, What::StartPhysical { physical });
            for logical in 0..self.scenario.logicals.len() {
                self.links.insert(LinkId::Peer { logical, physical }, Link::default());
            }
        }
        for vtep in 0..self.vteps.len() {
            self.vteps[vtep].clock_ms = clock(&mut self.random, clocks);
            self.links.insert(LinkId::Vtep { vtep }, Link::default());
            let at = self.random.below(3000);
            self.connect(LinkId::Vtep { vtep }, at);
            self.after(at, What::VtepBeats { vtep });
        }
    }

    pub(crate) fn after(&mut self, delay: u64, what: What) {
        self.due.push(self.now + delay, what);
    }

    /// Everything that is due until then.
    pub(crate) fn run_until(&mut self, until: u64) -> Verdict {
        while let Some(due) = self.due.pop(until) {
            self.now = due.at;
            self.happens(due.what)?;
        }
        self.now = until;
        Ok(())
    }

    fn happens(&mut self, what: What) -> Verdict {
        match what {
            What::Arrives { link, generation, to, message, taken } => {
                self.arrives(link, generation, to, *message, taken)
            }
            What::Connect(link) => {
                self.link(link).opening = false;
                self.connects(link);
                Ok(())
            }
            What::Opens { link, generation, end } => self.opens(link, generation, end),
            What::Closes { link, generation, end } => self.closes(link, generation, end),
            What::LogicalTick { logical, reign } if self.logicals[logical].reign == reign => {
                self.after(TICK_MS, What::LogicalTick { logical, reign });
                self.logical(logical, logical::Event::Tick)
            }
            What::PhysicalTick { physical, reign } if self.physicals[physical].reign == reign => {
                self.after(TICK_MS, What::PhysicalTick { physical, reign });
                self.physical(physical, physical::Event::Tick)
            }
            What::LogicalTick { .. } | What::PhysicalTick { .. } => Ok(()),
            What::VtepBeats { vtep } => {
                self.after(BEAT_MS, What::VtepBeats { vtep });
                let wall_ms = self.wall(self.vteps[vtep].clock_ms);
                self.vtep_says(vtep, FromVtep::Heartbeat { wall_ms });
                Ok(())
            }
            What::Declared { logical } => {
                let declared = Arc::clone(&self.declared);
                self.logical(logical, logical::Event::Declared(declared))
            }
            What::StartLogical { logical } => {
                self.start_logical(logical);
                Ok(())
            }
            What::StartPhysical { physical } => {
                self.start_physical(physical);
                Ok(())
            }
            What::StartVtep { vtep } => {
                if !self.vteps[vtep].gone {
                    self.vteps[vtep].up = true;
                    self.connect(LinkId::Vtep { vtep }, 0);
                }
                Ok(())
            }
            What::Taken { link, generation, end } => self.taken(link, generation, end),
            What::Heals { link } => {
                self.link(link).blocked = false;
                Ok(())
            }
        }
    }

    pub(crate) fn link(&mut self, id: LinkId) -> &mut Link {
        self.links.get_mut(&id).expect("every link is there from the start")
    }

    pub(crate) fn wall(&self, clock_ms: i64) -> i64 {
        EPOCH_MS + i64::try_from(self.now).expect("a run is short") + clock_ms
    }

    fn now_at(&self, started: u64, clock_ms: i64) -> Now {
        Now { mono_ms: self.now - started, wall_ms: self.wall(clock_ms) }
    }

    // Nodes.

    fn start_logical(&mut self, logical: usize) {
        let name = self.scenario.logicals[logical].clone();
        let declared = Arc::clone(&self.declared);
        for at in self.owned(logical) {
            self.truth.window_opens(at);
        }
        let node = &mut self.logicals[logical];
        node.term = Term(node.term.0 + 1);
        node.started = self.now;
        node.reign += 1;
        let start =
            logical::Start { name, term: node.term, declared, durable: node.durable.clone(), elected: false };
        let (reign, term, clock_ms) = (node.reign, node.term, node.clock_ms);
        let now = self.now_at(self.now, clock_ms);
        self.trace.note(self.now, || format!("lc-{logical} starts, {term:?}"));
        self.logicals[logical].core = Some(Logical::new(start, now));
        self.after(TICK_MS, What::LogicalTick { logical, reign });
    }

    fn start_physical(&mut self, physical: usize) {
        let name = self.scenario.physicals[physical].clone();
        self.observer.physical_starts(&name);
        let batch = self.declared.policy.batch;
        let node = &mut self.physicals[physical];
        node.term = Term(node.term.0 + 1);
        node.started = self.now;
        node.served.clear();
        node.reign += 1;
        let start = physical::Start { name, term: node.term, batch, elected: false };
        let (reign, term, clock_ms) = (node.reign, node.term, node.clock_ms);
        let now = self.now_at(self.now, clock_ms);
        self.trace.note(self.now, || format!("pc-{physical} starts, {term:?}"));
        self.physicals[physical].core = Some(Physical::new(start, now));
        self.after(TICK_MS, What::PhysicalTick { physical, reign });
        for logical in 0..self.logicals.len() {
            let delay = self.random.below(2000);
            self.connect(LinkId::Peer { logical, physical }, delay);
        }
    }

    /// At once: what it had not said is not said.
    pub(crate) fn stop_logical(&mut self, logical: usize) {
        if self.logicals[logical].core.take().is_none() {
            return;
        }
        self.trace.note(self.now, || format!("lc-{logical} stops"));
        let node = &mut self.logicals[logical];
        node.reign += 1;
        node.spoke = std::mem::take(&mut node.spoken);
        for physical in 0..self.physicals.len() {
            self.cut(LinkId::Peer { logical, physical }, Some(End::Server));
        }
    }

    pub(crate) fn stop_physical(&mut self, physical: usize) {
        if self.physicals[physical].core.take().is_none() {
            return;
        }
        self.trace.note(self.now, || format!("pc-{physical} stops"));
        let node = &mut self.physicals[physical];
        node.reign += 1;
        node.spoke = std::mem::take(&mut node.spoken);
        for logical in 0..self.logicals.len() {
            self.cut(LinkId::Peer { logical, physical }, Some(End::Client));
        }
        for vtep in self.at_home(physical) {
            self.cut(LinkId::Vtep { vtep }, Some(End::Server));
        }
    }

    pub(crate) fn at_home(&self, physical: usize) -> Vec<usize> {
        (0..self.vteps.len()).filter(|&vtep| self.vteps[vtep].shape.home == physical).collect()
    }

    /// Numbers of the logical switches that a logical controller owns.
    pub(crate) fn owned(&self, logical: usize) -> Vec<usize> {
        let name = &self.scenario.logicals[logical];
        let owner = |switch: &LogicalSwitchName| {
            self.scenario.declared.logical_switches[switch].logical_controller.as_ref() == Some(name)
        };
        (0..self.scenario.switches.len()).filter(|&at| owner(&self.scenario.switches[at])).collect()
    }

    // Steps.

    pub(crate) fn logical(&mut self, logical: usize, event: logical::Event) -> Verdict {
        let mut actions = Vec::new();
        self.logical_core(logical, event, &mut actions);
        self.look_at(logical)?;
        for action in actions {
            self.logical_acts(logical, action)?;
        }
        Ok(())
    }

    /// Without carrying out what it asks for.
    pub(crate) fn logical_core(
        &mut self,
        logical: usize,
        event: logical::Event,
        actions: &mut Vec<logical::Action>,
    ) {
        let node = &mut self.logicals[logical];
        let now = Now {
            mono_ms: self.now - node.started,
            wall_ms: EPOCH_MS + self.now.cast_signed() + node.clock_ms,
        };
        let Some(core) = &mut node.core else { return };
        let dull = match &event {
            logical::Event::Tick | logical::Event::Taken { .. } => true,
            logical::Event::Message { message, .. } => matches!(message, FromPhysical::Heartbeat { .. }),
            _ => false,
        };
        if !dull {
            self.trace.note(self.now, || format!("lc-{logical} ← {event:?}"));
        }
        core.step(event, now, actions);
    }

    pub(crate) fn logical_acts(&mut self, logical: usize, action: logical::Action) -> Verdict {
        match action {
            logical::Action::Send { peer, message } => {
                if !matches!(message, FromLogical::Heartbeat { .. }) {
                    self.trace.note(self.now, || format!("lc-{logical} → {peer}: {message:?}"));
                }
                let physical = self.physical_named(&peer);
                let link = LinkId::Peer { logical, physical };
                if self.link(link).at(End::Server).is_none() {
                    return Err(format!("lc-{logical} sends to {peer}, which is not connected"));
                }
                let name = self.scenario.logicals[logical].clone();
                let node = &mut self.logicals[logical];
                self.observer.logical_sends(&name, node.term, &peer, &message, &mut node.told[physical])?;
                if let FromLogical::Table(update) = &message
                    && update.complete
                {
                    let at = self.switch_named(&update.logical_switch);
                    self.truth.window_closes(at);
                }
                let node = &mut self.logicals[logical];
                if !matches!(message, FromLogical::Heartbeat { .. } | FromLogical::NoChange { .. }) {
                    node.spoken.push((physical, message.clone()));
                    if node.spoken.len() > SPOKEN_MOST {
                        node.spoken.remove(0);
                    }
                }
                self.send(link, End::Client, Message::FromLogical(message))
            }
            logical::Action::Close { peer, reason } => {
                self.trace.note(self.now, || format!("lc-{logical} closes {peer}: {reason}"));
                let physical = self.physical_named(&peer);
                self.refuses_only_faults(&peer, &reason)?;
                self.cut(LinkId::Peer { logical, physical }, None);
                Ok(())
            }
            logical::Action::Persist(durable) => {
                let kept = &mut self.logicals[logical].durable;
                *kept = Durable { masters: std::mem::take(&mut kept.masters), ..durable };
                Ok(())
            }
            logical::Action::Remember { logical_switch, masters } => {
                let kept = self.logicals[logical].durable.masters.entry(logical_switch).or_default();
                for (mac, master) in masters {
                    match master {
                        Some(master) => drop(kept.insert(mac, master)),
                        None => drop(kept.remove(&mac)),
                    }
                }
                Ok(())
            }
            logical::Action::Notice(notice) => {
                self.trace
                    .note(self.now, || format!("lc-{logical} says {} {:?}", notice.message, notice.fields));
                Ok(())
            }
        }
    }

    pub(crate) fn physical(&mut self, physical: usize, event: physical::Event) -> Verdict {
        let mut actions = Vec::new();
        self.physical_core(physical, event, &mut actions);
        for action in actions {
            self.physical_acts(physical, action)?;
        }
        Ok(())
    }

    /// Without carrying out what it asks for.
    pub(crate) fn physical_core(
        &mut self,
        physical: usize,
        event: physical::Event,
        actions: &mut Vec<physical::Action>,
    ) {
        let node = &mut self.physicals[physical];
        let now = Now {
            mono_ms: self.now - node.started,
            wall_ms: EPOCH_MS + self.now.cast_signed() + node.clock_ms,
        };
        let Some(core) = &mut node.core else { return };
        let dull = match &event {
            physical::Event::Tick | physical::Event::Taken { .. } | physical::Event::VtepTaken { .. } => true,
            physical::Event::Message { message, .. } => matches!(message, FromLogical::Heartbeat { .. }),
            physical::Event::Vtep { message, .. } => matches!(message, FromVtep::Heartbeat { .. }),
            _ => false,
        };
        if !dull {
            self.trace.note(self.now, || format!("pc-{physical} ← {event:?}"));
        }
        if let physical::Event::Message { peer, message: FromLogical::Outline(outline) } = &event {
            self.observer.outline_arrives(peer, &self.scenario.physicals[physical], outline);
        }
        core.step(event, now, actions);
    }

    pub(crate) fn physical_acts(&mut self, physical: usize, action: physical::Action) -> Verdict {
        match action {
            physical::Action::ToVtep { vtep, session, message } => {
                if !matches!(message, ToVtep::Heartbeat { .. }) {
                    self.trace.note(self.now, || format!("pc-{physical} → {vtep}: {message:?}"));
                }
                let at = self.vtep_named(&vtep);
                let link = LinkId::Vtep { vtep: at };
                if self.link(link).at(End::Server) != Some(session.0) {
                    return Err(format!("pc-{physical} sends to {vtep} in {session:?}, which is over"));
                }
                self.observer.physical_sends(&self.scenario.physicals[physical], &vtep, &message)?;
                self.send(link, End::Client, Message::ToVtep(message))
            }
            physical::Action::CloseVtep { vtep, session, reason } => {
                self.trace.note(self.now, || format!("pc-{physical} closes {vtep}: {reason}"));
                let link = LinkId::Vtep { vtep: self.vtep_named(&vtep) };
                if self.link(link).at(End::Server) == Some(session.0) {
                    self.cut(link, None);
                }
                Ok(())
            }
            physical::Action::Send { peer, message } => {
                if !matches!(message, FromPhysical::Heartbeat { .. }) {
                    self.trace.note(self.now, || format!("pc-{physical} → {peer}: {message:?}"));
                }
                let logical = self.logical_named(&peer);
                let link = LinkId::Peer { logical, physical };
                if self.link(link).at(End::Client).is_none() {
                    return Err(format!("pc-{physical} sends to {peer}, which is not connected"));
                }
                self.physical_told(physical, &peer, &message);
                let spoken = &mut self.physicals[physical].spoken;
                if matches!(message, FromPhysical::Hello { .. }) {
                    spoken.retain(|(to, _)| *to != logical);
                }
                if spoken.len() < SPOKEN_MOST {
                    spoken.push((logical, message.clone()));
                }
                self.send(link, End::Server, Message::FromPhysical(message))
            }
            physical::Action::Close { peer, reason } => {
                self.trace.note(self.now, || format!("pc-{physical} closes {peer}: {reason}"));
                self.refuses_only_faults(&peer, &reason)?;
                let logical = self.logical_named(&peer);
                self.cut(LinkId::Peer { logical, physical }, None);
                Ok(())
            }
            physical::Action::Serve(served) => {
                self.physicals[physical].served = served;
                for vtep in self.at_home(physical) {
                    let link = LinkId::Vtep { vtep };
                    if self.vteps[vtep].shape.kind == Kind::Tor && self.serves(vtep) {
                        self.connect(link, 100);
                    } else if self.vteps[vtep].shape.kind == Kind::Tor {
                        self.cut(link, None);
                    }
                }
                Ok(())
            }
            physical::Action::Notice(notice) => {
                self.trace
                    .note(self.now, || format!("pc-{physical} says {} {:?}", notice.message, notice.fields));
                Ok(())
            }
        }
    }

    /// The tables that a physical controller says it has begin its streams.
    fn physical_told(&mut self, physical: usize, peer: &vtep_api::ControllerName, message: &FromPhysical) {
        if let FromPhysical::Hello { tables, .. } = message {
            let name = &self.scenario.physicals[physical];
            for held in tables {
                self.observer.physical_has(peer, name, held);
            }
        }
    }

    /// Nobody breaks the protocol here, so that only what arrives late or garbled on purpose may be refused.
    fn refuses_only_faults(&self, peer: &vtep_api::ControllerName, reason: &str) -> Verdict {
        let faults = &self.scenario.faults;
        if faults.lossy || faults.zombies { Ok(()) } else { Err(format!("{peer} is refused: {reason}")) }
    }

    pub(crate) fn vtep_says(&mut self, vtep: usize, message: FromVtep) {
        let link = LinkId::Vtep { vtep };
        if self.vteps[vtep].up && self.link(link).at(End::Client).is_some() {
            self.transmit(link, End::Server, Message::FromVtep(message));
        }
    }

    // Sessions.

    /// Tries to, before long. One attempt at a time.
    pub(crate) fn connect(&mut self, link: LinkId, delay: u64) {
        if !std::mem::replace(&mut self.link(link).opening, true) {
            self.after(delay, What::Connect(link));
        }
    }

    fn connects(&mut self, id: LinkId) {
        let (client_up, server_up, serves) = match id {
            LinkId::Peer { logical, physical } => {
                (self.physicals[physical].core.is_some(), self.logicals[logical].core.is_some(), true)
            }
            LinkId::Vtep { vtep } => {
                let home = self.vteps[vtep].shape.home;
                (self.vteps[vtep].up, self.physicals[home].core.is_some(), self.serves(vtep))
            }
        };
        if !client_up || self.link(id).at(End::Client).is_some() {
            return;
        }
        if self.link(id).blocked || !server_up || !serves {
            let delay = self.random.between(500, 1500);
            return self.connect(id, delay);
        }
        let generation = self.link(id).begin();
        if self.now - self.links[&id].lost_at > LONG_MS {
            match id {
                LinkId::Vtep { vtep } => self.blur_vtep(vtep),
                LinkId::Peer { physical, .. } => {
                    self.at_home(physical).into_iter().for_each(|v| self.blur_vtep(v));
                }
            }
        }
        self.trace.note(self.now, || format!("{id:?} opens, session {generation}"));
        match id {
            LinkId::Peer { .. } => {
                let accepted = self.random.between(1, 100);
                let opened = accepted + self.random.between(0, 100);
                let now = self.now;
                self.link(id).arrival(End::Server, now, accepted);
                self.link(id).arrival(End::Client, now, opened);
                self.after(accepted, What::Opens { link: id, generation, end: End::Server });
                self.after(opened, What::Opens { link: id, generation, end: End::Client });
            }
            LinkId::Vtep { vtep } => {
                self.link(id).open(End::Client, generation);
                let home = self.vteps[vtep].shape.home;
                let name = self.scenario.physicals[home].clone();
                for message in self.vteps[vtep].hello(&name, &self.scenario.switches) {
                    self.transmit(id, End::Server, Message::FromVtep(message));
                }
            }
        }
    }

    /// A TOR's adapter starts when its controller is told to serve it; an agent just comes.
    fn serves(&self, vtep: usize) -> bool {
        let shape = &self.vteps[vtep].shape;
        shape.kind == Kind::Agent || self.physicals[shape.home].served.contains_key(&shape.name)
    }

    fn opens(&mut self, id: LinkId, generation: u64, end: End) -> Verdict {
        let LinkId::Peer { logical, physical } = id else { return Ok(()) };
        let late = self.link(id).is_cut(generation) || self.link(id).generation != generation;
        if late {
            if end == End::Client {
                let delay = self.random.between(500, 1500);
                self.connect(id, delay);
            }
            return Ok(());
        }
        self.link(id).open(end, generation);
        let (upper, lower) =
            (self.scenario.logicals[logical].clone(), self.scenario.physicals[physical].clone());
        match end {
            End::Server => {
                self.logicals[logical].told[physical].clear();
                self.observer.physical_begins(&upper, &lower);
                self.logical(logical, logical::Event::Connected { peer: lower })
            }
            End::Client => self.physical(physical, physical::Event::Connected { peer: upper }),
        }
    }

    fn closes(&mut self, id: LinkId, generation: u64, end: End) -> Verdict {
        let current = self.link(id).at(end) == Some(generation);
        if current {
            let now = self.now;
            self.link(id).close(end, now);
            if end == End::Client {
                let delay = self.random.between(100, 2000);
                self.connect(id, delay);
            }
        }
        match (id, end) {
            (LinkId::Peer { logical, physical }, End::Server) if current => {
                let peer = self.scenario.physicals[physical].clone();
                self.logical(logical, logical::Event::Disconnected { peer })
            }
            (LinkId::Peer { logical, physical }, End::Client) if current => {
                let peer = self.scenario.logicals[logical].clone();
                self.physical(physical, physical::Event::Disconnected { peer })
            }
            // The end of an old session may come after the beginning of the next.
            (LinkId::Vtep { vtep }, End::Server) => {
                let shape = &self.vteps[vtep].shape;
                let event =
                    physical::Event::VtepDown { vtep: shape.name.clone(), session: SessionId(generation) };
                self.physical(shape.home, event)
            }
            _ => Ok(()),
        }
    }

    /// Ends the session, and each end hears of it in its own time; one whose process is gone never does.
    pub(crate) fn cut(&mut self, id: LinkId, dead: Option<End>) {
        let at = [self.now + self.random.below(50), self.now + self.random.below(50)];
        let generation = self.link(id).generation;
        if !self.link(id).cut(at) {
            if let Some(end) = dead {
                let now = self.now;
                self.link(id).close(end, now);
            }
            return;
        }
        self.trace.note(self.now, || format!("{id:?} is cut, session {generation}"));
        for end in [End::Server, End::Client] {
            if dead == Some(end) {
                let now = self.now;
                self.link(id).close(end, now);
                continue;
            }
            let noticed = if self.random.percent(50) { 50 } else { 50 + self.random.below(4000) };
            self.after(noticed, What::Closes { link: id, generation, end });
        }
    }

    pub(crate) fn logical_named(&self, name: &vtep_api::ControllerName) -> usize {
        self.scenario.logicals.iter().position(|n| n == name).expect("there is no other")
    }

    fn physical_named(&self, name: &vtep_api::ControllerName) -> usize {
        self.scenario.physicals.iter().position(|n| n == name).expect("there is no other")
    }

    pub(crate) fn vtep_named(&self, name: &VtepName) -> usize {
        self.scenario.vteps.iter().position(|v| v.name == *name).expect("there is no other")
    }

    pub(crate) fn switch_named(&self, name: &LogicalSwitchName) -> usize {
        self.scenario.switches.iter().position(|n| n == name).expect("there is no other")
    }

    pub(crate) fn names(&self, vteps: &BTreeSet<usize>) -> BTreeSet<VtepName> {
        vteps.iter().map(|&vtep| self.vteps[vtep].shape.name.clone()).collect()
    }
}
