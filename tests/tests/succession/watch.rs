//! What receivers have, looked at all the time: of a TOR every change of its database, of an agent its kernel's table
//! several times a second.

use std::{
    collections::BTreeMap,
    io::BufReader,
    net::Ipv4Addr,
    process::Child,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde_json::{Deserializer, Value};
use vtep_api::MacAddr;
use vtep_tests::{
    lab::{Agent, Place},
    ovsdb::OvsdbServer,
};

use super::churn::is_serial;
use super::database::Database;
use super::rig::VNI;
use super::stages::{Stages, utc};

const AGENT_PACE: Duration = Duration::from_millis(150);

/// What is known of one receiver.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) present: BTreeMap<MacAddr, Ipv4Addr>,
    /// Since when it had a MAC.
    pub(crate) since: BTreeMap<MacAddr, Instant>,
    stages: Stages,
    /// MACs that nobody touches, and where they are, from [`Watch::guard`] on.
    guarded: BTreeMap<MacAddr, Ipv4Addr>,
    violations: Vec<String>,
    pub(crate) looks: u64,
    /// Of a TOR.
    database: Database,
}

impl Seen {
    fn is(&mut self, present: BTreeMap<MacAddr, Ipv4Addr>) {
        self.looks += 1;
        let now = Instant::now();
        for mac in present.keys() {
            self.since.entry(*mac).or_insert(now);
        }
        let serials = present.iter().filter(|(mac, _)| is_serial(**mac)).map(|(mac, at)| (*mac, *at));
        self.stages.see_all(&serials.collect());
        for (mac, at) in &self.guarded {
            if present.get(mac) != Some(at) {
                let found = present.get(mac);
                self.violations
                    .push(format!("{}: {mac}, which nobody moves from {at}, is at {found:?}", utc()));
            }
        }
        self.present = present;
    }
}

pub(crate) struct Watch {
    pub(crate) name: &'static str,
    /// What is behind it itself it is not told.
    own: Option<Ipv4Addr>,
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    monitor: Option<Child>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Every change of what a controller writes into the TOR's database.
    pub(crate) fn tor(name: &'static str, ovsdb: &OvsdbServer, own: Ipv4Addr) -> Self {
        let mut monitor = Database::monitor(ovsdb);
        let output = BufReader::new(monitor.stdout.take().unwrap());
        let seen = Arc::new(Mutex::new(Seen::default()));
        let shared = Arc::clone(&seen);
        let thread = thread::spawn(move || {
            // A line ends when the next one begins.
            for update in Deserializer::from_reader(output).into_iter::<Value>() {
                let mut seen = shared.lock().unwrap();
                seen.database.update(&update.unwrap()).unwrap();
                let macs = seen.database.macs();
                seen.is(macs);
            }
        });
        let stop = Arc::default();
        Self { name, own: Some(own), seen, stop, monitor: Some(monitor), thread: Some(thread) }
    }

    /// A MAC behind the agent's own ports is at `own`.
    pub(crate) fn agent(name: &'static str, agent: Arc<Agent>, own: Ipv4Addr) -> Self {
        let seen = Arc::new(Mutex::new(Seen::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let (shared, stopped) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let places = agent.places(VNI).unwrap().into_iter();
                let at = |place| match place {
                    Place::Here => own,
                    Place::At(vtep) => vtep,
                };
                shared.lock().unwrap().is(places.map(|(mac, place)| (mac, at(place))).collect());
                thread::sleep(AGENT_PACE);
            }
        });
        Self { name, own: None, seen, stop, monitor: None, thread: Some(thread) }
    }

    /// What it is to be told of what is so.
    pub(crate) fn part(&self, truth: &BTreeMap<MacAddr, Ipv4Addr>) -> BTreeMap<MacAddr, Ipv4Addr> {
        truth.iter().filter(|(_, at)| Some(**at) != self.own).map(|(mac, at)| (*mac, *at)).collect()
    }

    pub(crate) fn present(&self) -> BTreeMap<MacAddr, Ipv4Addr> {
        self.seen.lock().unwrap().present.clone()
    }

    /// When it had the first of the MACs that appeared from this one on.
    pub(crate) fn since(&self, first: MacAddr) -> Option<Instant> {
        let seen = self.seen.lock().unwrap();
        let later = seen.since.range(first..).filter(|(mac, _)| is_serial(**mac));
        later.map(|(_, since)| *since).min()
    }

    /// From here on these are there, whatever happens.
    pub(crate) fn guard(&self, macs: &BTreeMap<MacAddr, Ipv4Addr>) {
        let mut seen = self.seen.lock().unwrap();
        seen.guarded = self.part(macs);
        if self.monitor.is_some() {
            seen.database.keep(macs);
        }
    }

    pub(crate) fn looks(&self) -> u64 {
        self.seen.lock().unwrap().looks
    }

    /// The first of what should not have been seen.
    pub(crate) fn violations(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        let all = seen.violations.iter().chain(&seen.stages.violations).chain(seen.database.violations());
        all.take(10).map(|violation| format!("{}: {violation}", self.name)).collect()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(monitor) = &mut self.monitor {
            let _ = monitor.kill();
            let _ = monitor.wait();
        }
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || thread::panicking(), "nobody looked at {} any more", self.name);
        }
    }
}
