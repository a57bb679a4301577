//! One logical controller whose reigns follow each other, physical ones, VTEPs, and the sessions between them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use vtep_api::{
    ControllerName, FromLogical, FromPhysical, FromVtep, LogicalSwitchName, MacAddr, Row, Term, ToVtep,
};
use vtep_controller::Declared;
use vtep_controller::declared::{DeclaredVtep, Policy};
use vtep_controller::logical::{Durable, Logical};
use vtep_controller::physical::{Physical, Reigns};

use super::office::{Etcd, Member};
use super::station::Station;
use crate::link::{End, Link};
use crate::observer::{Observer, Verdict};
use crate::queue::Queue;
use crate::random::Random;
use crate::scenario::{Kind, declared_switch, name};
use crate::trace::Trace;

pub(super) struct World {
    pub(super) now: u64,
    pub(super) random: Random,
    pub(super) trace: Trace,
    pub(super) network: LogicalSwitchName,
    pub(super) declared: Arc<Declared>,
    pub(super) etcd: Etcd,
    pub(super) logical: Option<Logical>,
    pub(super) logical_term: Term,
    pub(super) logical_started: u64,
    pub(super) durable: Durable,
    pub(super) nodes: Vec<Node>,
    pub(super) stations: Vec<Station>,
    pub(super) links: BTreeMap<LinkId, Link>,
    pub(super) places: BTreeMap<MacAddr, usize>,
    pub(super) observer: Observer,
    pub(super) due: Queue<What>,
}

/// A physical controller.
pub(super) struct Node {
    pub(super) name: ControllerName,
    pub(super) core: Option<Physical>,
    pub(super) started: u64,
    /// Which process of the name.
    pub(super) life: u64,
    pub(super) member: Member,
    pub(super) told: Reigns,
    pub(super) elected: Term,
    pub(super) stopped_until: u64,
    pub(super) no_etcd_until: u64,
    pub(super) cut_off_until: u64,
    /// etcd will prolong its lease though it is gone.
    pub(super) deceived: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum LinkId {
    Peer(usize),
    Vtep { vtep: usize, physical: usize },
}

#[derive(Debug, Clone)]
pub(super) enum Message {
    FromLogical(FromLogical),
    FromPhysical(FromPhysical),
    FromVtep(FromVtep),
    ToVtep(ToVtep),
}

#[derive(Debug)]
pub(super) enum What {
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

pub(super) const EPOCH_MS: i64 = 1_700_000_000_000;
pub(super) const TICK_MS: u64 = 500;
pub(super) const KEEP_MS: u64 = 1000;
pub(super) const MACS: u64 = 12;

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
            due: Queue::new(),
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
