//! Shards, of each of which one logical controller after the other reigns, physical controllers, VTEPs, and the sessions
//! between them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use vtep_api::{
    ControllerName, FromLogical, FromPhysical, FromVtep, LogicalSwitchName, MacAddr, Row, Term, ToVtep,
    VtepName,
};
use vtep_controller::Declared;
use vtep_controller::declared::{DeclaredVtep, Policy};
use vtep_controller::logical::{Durable, Logical};
use vtep_controller::physical::{Physical, Reigns};

use super::office::{Etcd, Member};
use super::station::Station;
use super::tor::{Answer, Connection, Request, Tor};
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
    pub(super) networks: Vec<LogicalSwitchName>,
    pub(super) declared: Arc<Declared>,
    pub(super) etcd: Etcd,
    pub(super) shards: Vec<Shard>,
    pub(super) nodes: Vec<Node>,
    pub(super) stations: Vec<Station>,
    pub(super) tors: BTreeMap<usize, Tor>,
    /// Writes to a TOR of whom had not its lock.
    pub(super) refused_writes: u64,
    pub(super) links: BTreeMap<LinkId, Link>,
    /// By network and MAC, who claims it: the last one last.
    pub(super) places: BTreeMap<(usize, MacAddr), Vec<usize>>,
    pub(super) observer: Observer,
    pub(super) due: Queue<What>,
}

/// A part of the logical switches.
pub(super) struct Shard {
    pub(super) name: ControllerName,
    /// Of who was elected last.
    pub(super) term: Term,
    pub(super) reign: Option<Reign>,
    /// Who does not know yet that it was succeeded.
    pub(super) former: Option<Reign>,
    pub(super) durable: Durable,
}

/// A logical controller.
pub(super) struct Reign {
    pub(super) core: Logical,
    pub(super) term: Term,
    pub(super) started: u64,
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
    /// By shard, the term of which it knows, and that of the session that there is.
    pub(super) elected: Vec<Term>,
    pub(super) joined: Vec<Term>,
    pub(super) stopped_until: u64,
    pub(super) no_etcd_until: u64,
    pub(super) cut_off_until: u64,
    /// etcd will prolong its lease though it is gone.
    pub(super) deceived: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum LinkId {
    Peer { physical: usize, shard: usize },
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
    Arrives {
        link: LinkId,
        generation: u64,
        to: End,
        message: Box<Message>,
    },
    Connect(LinkId),
    Opens {
        link: LinkId,
        generation: u64,
        end: End,
    },
    Closes {
        link: LinkId,
        generation: u64,
        end: End,
    },
    Taken {
        link: LinkId,
        generation: u64,
        end: End,
    },
    LogicalTick {
        shard: usize,
        term: Term,
    },
    StartLogical(usize),
    EndFormer {
        shard: usize,
        term: Term,
    },
    /// An agent's kernel has so many updates.
    Installed {
        vtep: usize,
        reached: u64,
    },
    Request {
        vtep: usize,
        connection: Connection,
        request: Box<Request>,
    },
    Answer {
        vtep: usize,
        connection: Connection,
        life: u64,
        answer: Answer,
    },
    AskForLock {
        vtep: usize,
        connection: Connection,
        life: u64,
    },
    Beat {
        vtep: usize,
    },
    Tick {
        physical: usize,
        life: u64,
    },
    Keep {
        physical: usize,
        life: u64,
    },
    Look {
        physical: usize,
        life: u64,
    },
    Hear {
        physical: usize,
        life: u64,
        reigns: Reigns,
        elected: Vec<Term>,
    },
    Start(usize),
}

pub(super) const EPOCH_MS: i64 = 1_700_000_000_000;
pub(super) const TICK_MS: u64 = 500;
pub(super) const KEEP_MS: u64 = 1000;
pub(super) const MACS: u64 = 6;

impl World {
    pub(super) fn of(seed: u64, trace: Trace) -> Self {
        let mut random = Random::seeded(seed ^ 0xe1ec_7ed0);
        let shards: Vec<Shard> =
            (0..random.between(1, 3)).map(|number| Shard::new(&format!("shard-{number}"))).collect();
        let networks: Vec<LogicalSwitchName> =
            (0..shards.len() as u64 + random.below(2)).map(|number| name(&format!("ls-{number}"))).collect();
        let policy = Policy { start_wait_secs: 10, ..Policy::default() };
        let mut declared = Declared { policy, ..Declared::default() };
        for (number, network) in networks.iter().enumerate() {
            let owner = shards[number % shards.len()].name.clone();
            declared.logical_switches.insert(network.clone(), declared_switch(number, owner));
        }
        let mut stations = Vec::new();
        for number in 0..u8::try_from(random.between(2, 4)).expect("there are few") {
            let kind = if random.percent(50) { Kind::Tor } else { Kind::Agent };
            let part: Vec<_> = networks.iter().filter(|_| random.percent(80)).cloned().collect();
            stations.push(Station::new(number, kind, &part));
        }
        for station in &stations {
            let tor = station.kind == Kind::Tor;
            let ovsdb = tor.then(|| format!("tcp:{}:6640", station.address()));
            declared.vteps.insert(station.name.clone(), DeclaredVtep { ovsdb, ..DeclaredVtep::default() });
            let networks = declared.subscriptions.entry(station.name.clone()).or_default();
            networks.extend(station.networks().cloned());
        }
        let nodes: Vec<_> = (0..random.between(2, 3))
            .map(|number| Node::new(&format!("pc-{number}"), shards.len()))
            .collect();
        let tors = stations.iter().enumerate().filter(|(_, station)| station.kind == Kind::Tor);
        let mut world = Self {
            now: 0,
            random,
            trace,
            networks,
            declared: Arc::new(declared),
            etcd: Etcd::default(),
            shards,
            nodes,
            tors: tors.map(|(vtep, _)| (vtep, Tor::default())).collect(),
            refused_writes: 0,
            stations,
            links: BTreeMap::new(),
            places: BTreeMap::new(),
            observer: Observer::default(),
            due: Queue::new(),
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        for shard in 0..self.shards.len() {
            self.after(0, What::StartLogical(shard));
        }
        for vtep in 0..self.stations.len() {
            self.after(100, What::Beat { vtep });
        }
        for physical in 0..self.nodes.len() {
            self.after(0, What::Start(physical));
            for shard in 0..self.shards.len() {
                self.links.insert(LinkId::Peer { physical, shard }, Link::default());
            }
            for vtep in 0..self.stations.len() {
                let link = LinkId::Vtep { vtep, physical };
                self.links.insert(link, Link::default());
                self.connect(link, 1000);
            }
        }
    }

    pub(super) fn run(&mut self) -> Verdict {
        self.run_until(12_000)?;
        for _ in 0..self.random.between(10, 30) {
            let pause =
                if self.random.percent(70) { self.random.below(300) } else { self.random.below(4000) };
            self.run_until(self.now + pause)?;
            self.operate();
            if self.random.percent(35) {
                self.fail();
            }
        }
        self.calm()?;
        self.contest()?;
        let before = self.masters();
        self.observer.frozen = true;
        for _ in 0..3 {
            self.fail();
            let pause = self.random.between(2000, 9000);
            self.run_until(self.now + pause)?;
        }
        self.calm()?;
        let after = self.masters();
        if before == after { Ok(()) } else { Err(format!("nobody claimed, and {before:?} became {after:?}")) }
    }

    fn rows(&self) -> BTreeMap<(usize, MacAddr), Row> {
        let networks = self.networks.iter().enumerate();
        let rows = networks.flat_map(|(number, network)| {
            let rows = self.observer.latest(network).map(|(_, _, rows)| rows);
            rows.into_iter().flatten().map(move |(mac, row)| ((number, *mac), row.clone()))
        });
        rows.collect()
    }

    /// With those who claim it besides: which of several slaves comes first, a logical controller that begins anew decides anew.
    fn masters(&self) -> BTreeMap<(usize, MacAddr), (VtepName, BTreeSet<VtepName>)> {
        let rows = self.rows().into_iter();
        let named = |row: Row| (row.placement.master.clone(), row.placement.slaves.iter().cloned().collect());
        rows.map(|(key, row)| (key, named(row))).collect()
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

    /// While all is well, who claims last has it, and who had it is its slave.
    fn contest(&mut self) -> Verdict {
        let mut contested: Vec<_> = self.places.keys().copied().collect();
        contested.retain(|(network, mac)| self.random.percent(50) && self.claim_too(*network, *mac));
        self.run_until(self.now + 8000)?;
        self.agrees()?;
        let rows = self.rows();
        for key in contested {
            let last = self.places[&key].last().map(|vtep| &self.stations[*vtep].name);
            let master = rows.get(&key).map(|row| &row.placement.master);
            if master != last {
                return Err(format!("{key:?} was claimed last by {last:?}, and is {master:?}'s"));
            }
        }
        Ok(())
    }

    /// Of several who claim a MAC one is its master and all others are slaves.
    fn agrees(&self) -> Verdict {
        let rows = self.rows();
        let vtep = |vtep: &usize| self.stations[*vtep].name.clone();
        let expected: BTreeMap<_, BTreeSet<_>> =
            self.places.iter().map(|(key, vteps)| (*key, vteps.iter().map(vtep).collect())).collect();
        let claimants = |row: &Row| {
            let placement = &row.placement;
            std::iter::once(&placement.master).chain(&placement.slaves).cloned().collect()
        };
        let found: BTreeMap<_, BTreeSet<_>> = rows.iter().map(|(key, row)| (*key, claimants(row))).collect();
        if expected != found {
            return Err(format!("published is {found:?}; expected {expected:?}"));
        }
        for (vtep, station) in self.stations.iter().enumerate() {
            let holder = self.etcd.offices.get(&vtep).map(|office| office.holder);
            let serving = match self.tors.get(&vtep) {
                Some(tor) => tor.lock.map(|lock| lock.physical),
                None => station.serving,
            };
            if serving != holder {
                return Err(format!("{} is served by {serving:?}, and is {holder:?}'s", station.name));
            }
            for (number, network) in self.networks.iter().enumerate() {
                if station.takes_part(network) {
                    self.has_what_is_published(vtep, number, &rows)?;
                }
            }
        }
        Ok(())
    }

    fn has_what_is_published(
        &self,
        vtep: usize,
        number: usize,
        rows: &BTreeMap<(usize, MacAddr), Row>,
    ) -> Verdict {
        let (station, network) = (&self.stations[vtep], &self.networks[number]);
        let members = self.stations.iter().filter(|other| other.takes_part(network));
        let members: BTreeSet<_> = members.map(|other| other.name.clone()).collect();
        let flood = station.floods.has(network);
        if flood != members {
            return Err(format!("{} floods {network} to {flood:?}; members are {members:?}", station.name));
        }
        let has = station.table(network);
        let published = |mac: &MacAddr| rows.get(&(number, *mac));
        let macs = rows.keys().filter(|(of, _)| *of == number).map(|(_, mac)| mac);
        let macs: BTreeSet<_> = has.rows.keys().chain(macs).collect();
        let differ = macs.into_iter().filter(|mac| has.rows.get(*mac) != published(mac));
        let differ: Vec<_> = differ.map(|mac| (mac, has.rows.get(mac), published(mac))).collect();
        if differ.is_empty() {
            return Ok(());
        }
        let (name, at) = (&station.name, (has.term, has.version, has.complete));
        Err(format!("{name} has {network} at {at:?}, and published is: {differ:?}"))
    }
}

impl Shard {
    fn new(text: &str) -> Self {
        Self { name: name(text), term: Term(0), reign: None, former: None, durable: Durable::default() }
    }
}

impl Node {
    fn new(text: &str, shards: usize) -> Self {
        Self {
            name: name(text),
            core: None,
            started: 0,
            life: 0,
            member: Member::default(),
            told: Reigns::default(),
            elected: vec![Term(0); shards],
            joined: vec![Term(0); shards],
            stopped_until: 0,
            no_etcd_until: 0,
            cut_off_until: 0,
            deceived: false,
        }
    }
}
