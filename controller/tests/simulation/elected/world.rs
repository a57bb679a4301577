//! One logical controller whose reigns follow each other, physical ones, VTEPs, and the sessions between them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;

use vtep_api::{
    ControllerName, FromLogical, FromPhysical, FromVtep, LogicalSwitchName, MacAddr, Origin, Row, Term,
    ToVtep,
};
use vtep_controller::declared::{DeclaredVtep, Policy};
use vtep_controller::logical::{self, Durable, Logical};
use vtep_controller::physical::{self, Physical, Reigns, SessionId};
use vtep_controller::{Declared, Now};

use super::office::{Etcd, LEASE_MS, Member};
use super::station::{Effect, Station};
use crate::link::{End, Link};
use crate::observer::{Observer, Verdict};
use crate::random::Random;
use crate::scenario::{Kind, declared_switch, name};
use crate::trace::Trace;

pub(super) struct World {
    now: u64,
    random: Random,
    pub(super) trace: Trace,
    network: LogicalSwitchName,
    declared: Arc<Declared>,
    etcd: Etcd,
    logical: Option<Logical>,
    logical_term: Term,
    logical_started: u64,
    durable: Durable,
    nodes: Vec<Node>,
    stations: Vec<Station>,
    links: BTreeMap<LinkId, Link>,
    places: BTreeMap<MacAddr, usize>,
    observer: Observer,
    due: BinaryHeap<Reverse<Due>>,
    scheduled: u64,
}

/// A physical controller.
struct Node {
    name: ControllerName,
    core: Option<Physical>,
    started: u64,
    /// Which process of the name.
    life: u64,
    member: Member,
    told: Reigns,
    elected: Term,
    stopped_until: u64,
    no_etcd_until: u64,
    cut_off_until: u64,
    /// etcd will prolong its lease though it is gone.
    deceived: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum LinkId {
    Peer(usize),
    Vtep { vtep: usize, physical: usize },
}

#[derive(Debug, Clone)]
enum Message {
    FromLogical(FromLogical),
    FromPhysical(FromPhysical),
    FromVtep(FromVtep),
    ToVtep(ToVtep),
}

#[derive(Debug)]
enum What {
    Arrives { link: LinkId, generation: u64, to: End, message: Box<Message> },
    Connect(LinkId),
    Opens { link: LinkId, generation: u64, end: End },
    Closes { link: LinkId, generation: u64, end: End },
    Taken { link: LinkId, generation: u64, end: End },
    LogicalTick(Term),
    StartLogical,
    Beat { vtep: usize },
    Tick { physical: usize, life: u64 },
    Keep { physical: usize, life: u64 },
    Look { physical: usize, life: u64 },
    Hear { physical: usize, life: u64, reigns: Reigns, elected: Term },
    Start(usize),
}

#[derive(Debug)]
struct Due {
    at: u64,
    order: u64,
    what: What,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

const EPOCH_MS: i64 = 1_700_000_000_000;
const TICK_MS: u64 = 500;
const KEEP_MS: u64 = 1000;
const MACS: u64 = 12;

impl World {
    pub(super) fn of(seed: u64, trace: Trace) -> Self {
        let mut random = Random::seeded(seed ^ 0xe1ec_7ed0);
        let network: LogicalSwitchName = name("ls-0");
        let kinds =
            (0..random.between(2, 5)).map(|_| if random.percent(50) { Kind::Tor } else { Kind::Agent });
        let kinds: Vec<_> = kinds.collect();
        let stations: Vec<_> = (0..).zip(kinds).map(|(number, kind)| Station::new(number, kind)).collect();
        let policy = Policy { start_wait_secs: 10, ..Policy::default() };
        let mut declared = Declared { policy, ..Declared::default() };
        declared.logical_switches.insert(network.clone(), declared_switch(0, name("shard-0")));
        for station in &stations {
            let tor = station.kind == Kind::Tor;
            let ovsdb = tor.then(|| format!("tcp:{}:6640", station.address()));
            declared.vteps.insert(station.name.clone(), DeclaredVtep { ovsdb, ..DeclaredVtep::default() });
            declared.subscriptions.entry(station.name.clone()).or_default().insert(network.clone());
        }
        let nodes: Vec<_> =
            (0..random.between(2, 3)).map(|number| Node::new(&format!("pc-{number}"))).collect();
        let mut world = Self {
            now: 0,
            random,
            trace,
            network,
            declared: Arc::new(declared),
            etcd: Etcd::default(),
            logical: None,
            logical_term: Term(0),
            logical_started: 0,
            durable: Durable::default(),
            nodes,
            stations,
            links: BTreeMap::new(),
            places: BTreeMap::new(),
            observer: Observer::default(),
            due: BinaryHeap::new(),
            scheduled: 0,
        };
        world.after(0, What::StartLogical);
        for vtep in 0..world.stations.len() {
            world.after(100, What::Beat { vtep });
        }
        for physical in 0..world.nodes.len() {
            world.after(0, What::Start(physical));
            world.links.insert(LinkId::Peer(physical), Link::default());
            for vtep in 0..world.stations.len() {
                let link = LinkId::Vtep { vtep, physical };
                world.links.insert(link, Link::default());
                world.connect(link, 1000);
            }
        }
        world
    }

    pub(super) fn run(&mut self) -> Verdict {
        self.run_until(12_000)?;
        for _ in 0..self.random.between(10, 40) {
            let pause =
                if self.random.percent(70) { self.random.below(300) } else { self.random.below(4000) };
            self.run_until(self.now + pause)?;
            self.operate();
            if self.random.percent(35) {
                self.fail();
            }
        }
        self.calm()?;
        let before = self.rows();
        self.observer.frozen = true;
        for _ in 0..3 {
            self.fail();
            let pause = self.random.between(2000, 9000);
            self.run_until(self.now + pause)?;
        }
        self.calm()?;
        let after = self.rows();
        if before == after { Ok(()) } else { Err(format!("nobody claimed, and {before:?} became {after:?}")) }
    }

    fn rows(&self) -> BTreeMap<MacAddr, Row> {
        self.observer.latest(&self.network).map(|(_, _, rows)| rows.clone()).unwrap_or_default()
    }

    fn calm(&mut self) -> Verdict {
        self.trace.note(self.now, || "all is quiet".to_owned());
        for node in &mut self.nodes {
            for until in [&mut node.no_etcd_until, &mut node.cut_off_until] {
                *until = (*until).min(self.now);
            }
        }
        self.run_until(self.now + 45_000)?;
        self.agrees()
    }

    fn agrees(&self) -> Verdict {
        let rows = self.rows();
        let expected: BTreeSet<_> =
            self.places.iter().map(|(mac, at)| (*mac, &self.stations[*at].name)).collect();
        let found: BTreeSet<_> = rows.iter().map(|(mac, row)| (*mac, &row.placement.master)).collect();
        if expected != found {
            return Err(format!("published is {found:?}; expected {expected:?}"));
        }
        for (vtep, station) in self.stations.iter().enumerate() {
            let holder = self.etcd.offices.get(&vtep).map(|office| office.holder);
            if station.serving != holder {
                return Err(format!(
                    "{} is served by {:?}, and is {holder:?}'s",
                    station.name, station.serving
                ));
            }
            let has = &station.table;
            if has.rows != rows {
                let macs: BTreeSet<_> = has.rows.keys().chain(rows.keys()).collect();
                let differ = macs.into_iter().filter(|mac| has.rows.get(*mac) != rows.get(*mac));
                let differ: Vec<_> = differ.map(|mac| (mac, has.rows.get(mac), rows.get(mac))).collect();
                let (name, at) = (&station.name, (has.term, has.version, has.complete));
                return Err(format!("{name} at {at:?} has, and published is: {differ:?}"));
            }
        }
        Ok(())
    }

    /// Somebody appears, moves or goes: at most one VTEP has a MAC.
    fn operate(&mut self) {
        let number = self.random.below(MACS);
        let mac = MacAddr::new([2, 0, 0, 0, 0, u8::try_from(number).expect("there are few")]);
        let to = self.random.index(self.stations.len());
        let had = self.places.remove(&mac);
        if let Some(from) = had {
            self.stations[from].macs.remove(&mac);
            self.tell(from, mac);
        }
        if had.is_none() || (had != Some(to) && self.random.percent(70)) {
            let origin = Origin(u128::from(self.random.next()));
            self.stations[to].macs.insert(mac, origin);
            self.places.insert(mac, to);
            self.tell(to, mac);
        }
        let place = self.places.get(&mac).copied();
        self.trace.note(self.now, || format!("{mac} is at {place:?}"));
    }

    fn tell(&mut self, vtep: usize, mac: MacAddr) {
        let change = self.stations[vtep].change(&self.network, mac);
        self.tell_all(vtep, &change);
    }

    fn tell_all(&mut self, vtep: usize, message: &FromVtep) {
        for physical in 0..self.nodes.len() {
            let link = LinkId::Vtep { vtep, physical };
            if self.link(link).at(End::Client).is_some() {
                self.transmit(link, End::Server, Message::FromVtep(message.clone()));
            }
        }
    }

    fn fail(&mut self) {
        let physical = self.random.index(self.nodes.len());
        let vtep = self.random.index(self.stations.len());
        let until = self.now + self.random.between(500, 9000);
        let kind = self.random.below(9);
        self.trace.note(self.now, || format!("fault {kind} of pc-{physical} or v{vtep} until {until}"));
        match kind {
            0 => self.kill(physical),
            1 | 2 if self.nodes[physical].stopped_until <= self.now => {
                self.nodes[physical].stopped_until = until;
            }
            3 => self.nodes[physical].no_etcd_until = until,
            // Shorter ones are only slow: TCP tells again what was lost.
            4 | 5 => {
                let until = until + 4000;
                let node = &mut self.nodes[physical];
                (node.no_etcd_until, node.cut_off_until) = (until, until);
                let parted = self.links_of(physical).into_iter().filter(|link| self.is_remote(*link));
                parted.collect::<Vec<_>>().into_iter().for_each(|link| self.cut(link, None, 6000));
            }
            6 if self.is_remote(LinkId::Vtep { vtep, physical }) => {
                self.cut(LinkId::Vtep { vtep, physical }, None, 50);
            }
            7 if self.logical.is_some() => {
                self.logical = None;
                (0..self.nodes.len())
                    .for_each(|physical| self.cut(LinkId::Peer(physical), Some(End::Server), 6000));
                self.after(until - self.now, What::StartLogical);
            }
            8 => self.nodes[physical].deceived = true,
            _ => {}
        }
    }

    /// A TOR's adapter is in the process that hears it. How its own session with the database may fail is not modelled.
    fn is_remote(&self, link: LinkId) -> bool {
        match link {
            LinkId::Peer(_) => true,
            LinkId::Vtep { vtep, .. } => self.stations[vtep].kind == Kind::Agent,
        }
    }

    fn links_of(&self, physical: usize) -> Vec<LinkId> {
        let vteps = (0..self.stations.len()).map(|vtep| LinkId::Vtep { vtep, physical });
        vteps.chain([LinkId::Peer(physical)]).collect()
    }

    fn kill(&mut self, physical: usize) {
        if self.nodes[physical].core.take().is_none() {
            return;
        }
        self.nodes[physical].life += 1;
        for link in self.links_of(physical) {
            let dead = if matches!(link, LinkId::Peer(_)) { End::Client } else { End::Server };
            self.cut(link, Some(dead), 50);
        }
        let away = self.random.between(10, 6000);
        self.after(away, What::Start(physical));
    }

    // The clock.

    fn after(&mut self, delay: u64, what: What) {
        self.scheduled += 1;
        self.due.push(Reverse(Due { at: self.now + delay, order: self.scheduled, what }));
    }

    fn run_until(&mut self, until: u64) -> Verdict {
        while self.due.peek().is_some_and(|Reverse(due)| due.at <= until) {
            let Some(Reverse(Due { at, order, what })) = self.due.pop() else { break };
            self.now = at;
            match Self::whose(&what).map(|physical| self.nodes[physical].stopped_until) {
                // A process that is stopped finds it when it goes on, in its old place among what comes just then.
                Some(goes_on) if goes_on > at => self.due.push(Reverse(Due { at: goes_on, order, what })),
                _ => self.happens(what)?,
            }
        }
        self.now = until;
        Ok(())
    }

    /// The physical controller in whose process it happens.
    fn whose(what: &What) -> Option<usize> {
        match what {
            What::Tick { physical, .. }
            | What::Keep { physical, .. }
            | What::Look { physical, .. }
            | What::Hear { physical, .. } => Some(*physical),
            What::Arrives { link, to: end, .. }
            | What::Opens { link, end, .. }
            | What::Closes { link, end, .. }
            | What::Taken { link, end, .. } => match (link, end) {
                (LinkId::Peer(physical), End::Client) | (LinkId::Vtep { physical, .. }, End::Server) => {
                    Some(*physical)
                }
                _ => None,
            },
            What::Connect(_)
            | What::Beat { .. }
            | What::LogicalTick(_)
            | What::StartLogical
            | What::Start(_) => None,
        }
    }

    fn happens(&mut self, what: What) -> Verdict {
        let lives = |node: &Node, life: u64| node.life == life && node.core.is_some();
        match what {
            What::Arrives { link, generation, to, message } => self.arrives(link, generation, to, *message),
            What::Connect(link) => {
                self.link(link).opening = false;
                self.connects(link);
                Ok(())
            }
            What::Opens { link, generation, end } => self.opens(link, generation, end),
            What::Closes { link, generation, end } => self.closes(link, generation, end),
            What::Taken { link, generation, end } => self.taken(link, generation, end),
            What::StartLogical => {
                self.start_logical();
                Ok(())
            }
            What::Beat { vtep } => {
                self.after(1000, What::Beat { vtep });
                self.tell_all(vtep, &FromVtep::Heartbeat { wall_ms: EPOCH_MS + self.now.cast_signed() });
                Ok(())
            }
            What::LogicalTick(term) if term == self.logical_term && self.logical.is_some() => {
                self.after(TICK_MS, What::LogicalTick(term));
                self.step_logical(logical::Event::Tick)
            }
            What::Start(physical) => {
                self.start(physical);
                Ok(())
            }
            What::Tick { physical, life } if lives(&self.nodes[physical], life) => {
                self.after(TICK_MS, What::Tick { physical, life });
                self.mind_tenure(physical)?;
                self.step(physical, physical::Event::Tick)
            }
            What::Keep { physical, life } if lives(&self.nodes[physical], life) => {
                self.after(KEEP_MS, What::Keep { physical, life });
                self.keep(physical);
                Ok(())
            }
            What::Look { physical, life } if lives(&self.nodes[physical], life) => {
                let next = self.random.between(50, 1000);
                self.after(next, What::Look { physical, life });
                self.look(physical, life);
                Ok(())
            }
            What::Hear { physical, life, reigns, elected } if lives(&self.nodes[physical], life) => {
                self.hear(physical, reigns, elected)
            }
            What::LogicalTick(_)
            | What::Tick { .. }
            | What::Keep { .. }
            | What::Look { .. }
            | What::Hear { .. } => Ok(()),
        }
    }

    fn now_since(&self, started: u64) -> Now {
        Now { mono_ms: self.now - started, wall_ms: EPOCH_MS + self.now.cast_signed() }
    }

    // Members of the cluster.

    fn start_logical(&mut self) {
        if self.logical.is_some() {
            return;
        }
        self.logical_term = self.etcd.next_term();
        self.logical_started = self.now;
        let (term, declared, durable) = (self.logical_term, Arc::clone(&self.declared), self.durable.clone());
        self.trace.note(self.now, || format!("the logical controller begins, {term:?}"));
        let start = logical::Start { name: name("shard-0"), term, declared, durable, elected: true };
        self.logical = Some(Logical::new(start, self.now_since(self.now)));
        self.after(TICK_MS, What::LogicalTick(term));
    }

    fn start(&mut self, physical: usize) {
        let term = self.etcd.next_term();
        // A process of a name waits for the end of the one before.
        self.etcd.lose(physical);
        let now = self.now_since(self.now);
        let started = self.now;
        let node = &mut self.nodes[physical];
        let start = physical::Start {
            name: node.name.clone(),
            term,
            batch: self.declared.policy.batch,
            elected: true,
        };
        node.core = Some(Physical::new(start, now));
        node.started = started;
        (node.member, node.told, node.elected) = (Member::default(), Reigns::default(), Term(0));
        let (life, name) = (node.life, node.name.clone());
        self.observer.physical_starts(&name);
        self.trace.note(self.now, || format!("{name} starts, {term:?}"));
        self.after(0, What::Keep { physical, life });
        self.after(1, What::Look { physical, life });
        self.after(TICK_MS, What::Tick { physical, life });
        let delay = self.random.below(1500);
        self.connect(LinkId::Peer(physical), delay);
    }

    fn keep(&mut self, physical: usize) {
        self.etcd.expire(self.now);
        if self.nodes[physical].no_etcd_until > self.now {
            return;
        }
        let deceived = std::mem::take(&mut self.nodes[physical].deceived);
        let had = self.etcd.has_lease(physical);
        let goes_on = had || self.nodes[physical].member.tenure <= self.now || deceived;
        if deceived && had {
            self.etcd.lose(physical);
        } else if goes_on {
            self.etcd.grant(physical, self.now);
        }
        let node = &mut self.nodes[physical];
        // That its lease is gone it is told, and begins anew.
        node.member.tenure = if goes_on { self.now + LEASE_MS } else { self.now };
    }

    /// At one revision; it is heard of a little later.
    fn look(&mut self, physical: usize, life: u64) {
        self.etcd.expire(self.now);
        if self.nodes[physical].no_etcd_until > self.now {
            return;
        }
        self.etcd.look(physical, self.stations.len());
        let mut reigns = Reigns::default();
        for (vtep, office) in &self.etcd.offices {
            let vtep = self.stations[*vtep].name.clone();
            if office.holder == physical {
                reigns.own.insert(vtep, office.term);
            } else {
                reigns.others.insert(vtep, (self.nodes[office.holder].name.clone(), office.term));
            }
        }
        let delay = self.random.below(40);
        self.after(delay, What::Hear { physical, life, reigns, elected: self.logical_term });
    }

    fn hear(&mut self, physical: usize, mut reigns: Reigns, elected: Term) -> Verdict {
        let node = &mut self.nodes[physical];
        if node.member.tenure <= self.now {
            reigns.own.clear();
        }
        if elected > node.elected {
            node.elected = elected;
            self.step(physical, physical::Event::Elected { peer: name("shard-0"), term: elected })?;
        }
        self.tell_reigns(physical, reigns)
    }

    fn tell_reigns(&mut self, physical: usize, reigns: Reigns) -> Verdict {
        if self.nodes[physical].told == reigns {
            return Ok(());
        }
        self.nodes[physical].told = reigns.clone();
        self.step(physical, physical::Event::Reigns(reigns))
    }

    /// Its own clock says that its time is over.
    fn mind_tenure(&mut self, physical: usize) -> Verdict {
        let node = &self.nodes[physical];
        if node.member.tenure > self.now || node.told.own.is_empty() {
            return Ok(());
        }
        let reigns = Reigns { own: BTreeMap::new(), ..node.told.clone() };
        self.tell_reigns(physical, reigns)
    }

    // Steps.

    fn step_logical(&mut self, event: logical::Event) -> Verdict {
        let now = self.now_since(self.logical_started);
        let Some(core) = &mut self.logical else { return Ok(()) };
        let mut actions = Vec::new();
        core.step(event, now, &mut actions);
        if let Some(table) = core.published(&self.network) {
            let (term, version) = (self.logical_term, table.version());
            self.observer.publishes(&self.network, term, version, table.iter(), self.now, None)?;
        }
        for action in actions {
            match action {
                logical::Action::Send { peer, message } => {
                    let link = LinkId::Peer(self.node_named(&peer));
                    if let FromLogical::Table(update) = &message
                        && update.complete
                        && update.from.is_none()
                    {
                        self.observer.complete_from(update);
                    }
                    self.transmit(link, End::Client, Message::FromLogical(message));
                }
                logical::Action::Close { peer, reason } => {
                    return Err(format!("{peer} is refused: {reason}"));
                }
                logical::Action::Persist(durable) => {
                    let masters = std::mem::take(&mut self.durable.masters);
                    self.durable = Durable { masters, ..durable };
                }
                logical::Action::Remember { logical_switch, masters } => {
                    let kept = self.durable.masters.entry(logical_switch).or_default();
                    for (mac, master) in masters {
                        match master {
                            Some(master) => drop(kept.insert(mac, master)),
                            None => drop(kept.remove(&mac)),
                        }
                    }
                }
                logical::Action::Notice(_) => {}
            }
        }
        Ok(())
    }

    fn step(&mut self, physical: usize, event: physical::Event) -> Verdict {
        let now = self.now_since(self.nodes[physical].started);
        let dull = matches!(
            event,
            physical::Event::Tick | physical::Event::Taken { .. } | physical::Event::VtepTaken { .. }
        );
        if !dull {
            self.trace.note(self.now, || format!("pc-{physical} ← {event:?}"));
        }
        let Some(core) = &mut self.nodes[physical].core else { return Ok(()) };
        let mut actions = Vec::new();
        core.step(event, now, &mut actions);
        for action in actions {
            self.act(physical, action)?;
        }
        Ok(())
    }

    fn act(&mut self, physical: usize, action: physical::Action) -> Verdict {
        match action {
            physical::Action::ToVtep { vtep, session, message } => {
                let link = LinkId::Vtep { vtep: self.station_named(&vtep), physical };
                if self.link(link).at(End::Server) != Some(session.0) {
                    return Ok(());
                }
                self.trace.note(self.now, || format!("pc-{physical} → {vtep}: {message:?}"));
                let may = self.nodes[physical].member.tenure > self.now
                    || matches!(message, ToVtep::Standby { .. });
                if !may {
                    // As the task that carries it out does: it looks at its clock first.
                    let now = self.now;
                    self.link(link).close(End::Server, now);
                    self.cut(link, Some(End::Server), 50);
                    return self.step(physical, physical::Event::VtepDown { vtep, session });
                }
                self.transmit(link, End::Client, Message::ToVtep(message));
            }
            physical::Action::CloseVtep { vtep, session, reason } => {
                let link = LinkId::Vtep { vtep: self.station_named(&vtep), physical };
                self.trace.note(self.now, || format!("pc-{physical} closes {vtep}: {reason}"));
                if self.link(link).at(End::Server) == Some(session.0) {
                    self.cut(link, None, 50);
                }
            }
            physical::Action::Send { message, .. } => {
                if self.link(LinkId::Peer(physical)).at(End::Client).is_some() {
                    self.transmit(LinkId::Peer(physical), End::Server, Message::FromPhysical(message));
                }
            }
            physical::Action::Close { peer, reason } => {
                self.trace.note(self.now, || format!("pc-{physical} closes {peer}: {reason}"));
                self.cut(LinkId::Peer(physical), None, 50);
            }
            physical::Action::Serve(_) | physical::Action::Notice(_) => {}
        }
        Ok(())
    }

    fn node_named(&self, name: &ControllerName) -> usize {
        self.nodes.iter().position(|node| node.name == *name).expect("there is no other")
    }

    fn station_named(&self, name: &vtep_api::VtepName) -> usize {
        self.stations.iter().position(|station| station.name == *name).expect("there is no other")
    }

    // Sessions.

    fn link(&mut self, id: LinkId) -> &mut Link {
        self.links.get_mut(&id).expect("every link is there from the start")
    }

    fn connect(&mut self, link: LinkId, delay: u64) {
        if !std::mem::replace(&mut self.link(link).opening, true) {
            self.after(delay, What::Connect(link));
        }
    }

    fn connects(&mut self, id: LinkId) {
        let (LinkId::Peer(physical) | LinkId::Vtep { physical, .. }) = id;
        let node = &self.nodes[physical];
        let up = node.core.is_some() && node.cut_off_until <= self.now;
        let up = up && (matches!(id, LinkId::Vtep { .. }) || self.logical.is_some());
        let open = self.link(id).at(End::Client).is_some();
        if open || (node_is_gone(&self.nodes[physical]) && matches!(id, LinkId::Peer(_))) {
            return;
        }
        if !up {
            let delay = self.random.between(200, 1200);
            self.connect(id, delay);
            return;
        }
        let generation = self.link(id).begin();
        match id {
            LinkId::Peer(_) => {
                let now = self.now;
                let accepted = self.random.between(1, 30);
                let opened = accepted + self.random.between(0, 30);
                self.link(id).arrival(End::Server, now, accepted);
                self.link(id).arrival(End::Client, now, opened);
                self.after(accepted, What::Opens { link: id, generation, end: End::Server });
                self.after(opened, What::Opens { link: id, generation, end: End::Client });
            }
            LinkId::Vtep { vtep, .. } => {
                self.link(id).open(End::Client, generation);
                for message in self.stations[vtep].hello(&self.network) {
                    self.transmit(id, End::Server, Message::FromVtep(message));
                }
            }
        }
    }

    fn opens(&mut self, id: LinkId, generation: u64, end: End) -> Verdict {
        let LinkId::Peer(physical) = id else { return Ok(()) };
        if self.link(id).is_cut(generation) || self.link(id).generation != generation {
            if end == End::Client {
                let delay = self.random.between(200, 1200);
                self.connect(id, delay);
            }
            return Ok(());
        }
        self.link(id).open(end, generation);
        match end {
            End::Server => {
                let peer = self.nodes[physical].name.clone();
                self.step_logical(logical::Event::Connected { peer })
            }
            End::Client => self.step(physical, physical::Event::Connected { peer: name("shard-0") }),
        }
    }

    fn closes(&mut self, id: LinkId, generation: u64, end: End) -> Verdict {
        if self.link(id).at(end) != Some(generation) {
            return Ok(());
        }
        let now = self.now;
        self.link(id).close(end, now);
        if end == End::Client {
            let delay = self.random.between(50, 1500);
            self.connect(id, delay);
        }
        match (id, end) {
            (LinkId::Peer(physical), End::Server) => {
                let peer = self.nodes[physical].name.clone();
                self.step_logical(logical::Event::Disconnected { peer })
            }
            (LinkId::Peer(physical), End::Client) => {
                self.step(physical, physical::Event::Disconnected { peer: name("shard-0") })
            }
            (LinkId::Vtep { vtep, physical }, End::Server) => {
                let vtep = self.stations[vtep].name.clone();
                self.step(physical, physical::Event::VtepDown { vtep, session: SessionId(generation) })
            }
            (LinkId::Vtep { vtep, physical }, End::Client) => {
                self.stations[vtep].lost(physical);
                Ok(())
            }
        }
    }

    /// Each end hears of it in its own time, which may be long; one whose process is gone never does.
    fn cut(&mut self, id: LinkId, dead: Option<End>, noticed_within: u64) {
        let at = [self.now + self.random.below(20), self.now + self.random.below(20)];
        let generation = self.link(id).generation;
        let now = self.now;
        if let Some(end) = dead {
            self.link(id).close(end, now);
        }
        if !self.link(id).cut(at) {
            return;
        }
        for end in [End::Server, End::Client].into_iter().filter(|end| dead != Some(*end)) {
            let noticed = if self.random.percent(50) { 20 } else { 20 + self.random.below(noticed_within) };
            self.after(noticed, What::Closes { link: id, generation, end });
        }
        if dead == Some(End::Client) {
            // Its process begins sessions when it starts again.
            self.link(id).opening = false;
        }
    }

    fn transmit(&mut self, id: LinkId, to: End, message: Message) {
        let Some(generation) = self.link(id).at(to.other()) else { return };
        let delay =
            if self.random.percent(2) { self.random.between(50, 800) } else { self.random.between(1, 30) };
        let now = self.now;
        let at = self.link(id).arrival(to, now, delay);
        self.after(at - now, What::Arrives { link: id, generation, to, message: Box::new(message) });
    }

    fn arrives(&mut self, id: LinkId, generation: u64, to: End, message: Message) -> Verdict {
        if let (Message::FromVtep(FromVtep::Hello { .. }), LinkId::Vtep { physical, .. }) = (&message, id) {
            if self.nodes[physical].core.is_none() || self.links[&id].is_cut(generation) {
                return Ok(());
            }
            self.link(id).open(End::Server, generation);
        }
        if !self.links[&id].delivers(to, generation, self.now) {
            return Ok(());
        }
        match (id, message) {
            (LinkId::Peer(physical), Message::FromLogical(message)) => {
                self.step(physical, physical::Event::Message { peer: name("shard-0"), message })?;
            }
            (LinkId::Peer(physical), Message::FromPhysical(message)) => {
                let peer = self.nodes[physical].name.clone();
                self.step_logical(logical::Event::Message { peer, message })?;
            }
            (LinkId::Vtep { vtep, physical }, Message::FromVtep(message)) => {
                let vtep = self.stations[vtep].name.clone();
                return self
                    .step(physical, physical::Event::Vtep { vtep, session: SessionId(generation), message });
            }
            (LinkId::Vtep { vtep, physical }, Message::ToVtep(message)) => {
                self.takes(vtep, physical, message)?;
            }
            (_, message) => unreachable!("{message:?} does not go there"),
        }
        let delay = self.random.between(0, 5);
        self.after(delay, What::Taken { link: id, generation, end: to.other() });
        Ok(())
    }

    fn taken(&mut self, id: LinkId, generation: u64, end: End) -> Verdict {
        if self.links[&id].at(end) != Some(generation) {
            return Ok(());
        }
        match (id, end) {
            (LinkId::Peer(physical), End::Server) => {
                let peer = self.nodes[physical].name.clone();
                self.step_logical(logical::Event::Taken { peer, messages: 1 })
            }
            (LinkId::Peer(physical), End::Client) => {
                self.step(physical, physical::Event::Taken { peer: name("shard-0"), messages: 1 })
            }
            (LinkId::Vtep { vtep, physical }, End::Server) => {
                let (vtep, session) = (self.stations[vtep].name.clone(), SessionId(generation));
                self.step(physical, physical::Event::VtepTaken { vtep, session, messages: 1 })
            }
            (LinkId::Vtep { .. }, End::Client) => Ok(()),
        }
    }

    fn takes(&mut self, vtep: usize, physical: usize, message: ToVtep) -> Verdict {
        self.trace.note(self.now, || format!("v{vtep} ← pc-{physical}: {message:?}"));
        let link = LinkId::Vtep { vtep, physical };
        for effect in self.stations[vtep].take(physical, message, &self.network) {
            match effect {
                Effect::Reply(reply) => self.transmit(link, End::Server, Message::FromVtep(reply)),
                Effect::Tell(message) => self.tell_all(vtep, &message),
                Effect::Reached { removed } => {
                    let station = &self.stations[vtep];
                    self.observer.reached(&self.network, &station.table, &removed, &station.name)?;
                }
                Effect::Refused => self.cut(link, None, 50),
                Effect::Wrong(what) => return Err(what),
            }
        }
        Ok(())
    }
}

fn node_is_gone(node: &Node) -> bool {
    node.core.is_none()
}

impl Node {
    fn new(text: &str) -> Self {
        Self {
            name: name(text),
            core: None,
            started: 0,
            life: 0,
            member: Member::default(),
            told: Reigns::default(),
            elected: Term(0),
            stopped_until: 0,
            no_etcd_until: 0,
            cut_off_until: 0,
            deceived: false,
        }
    }
}
