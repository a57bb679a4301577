//! What receivers have, looked at all the time: of a TOR every change of its database, of an agent its kernel's table
//! several times a second.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::BufReader,
    net::Ipv4Addr,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use serde_json::{Deserializer, Value, json};
use vtep_api::MacAddr;
use vtep_tests::{
    lab::{Agent, Place},
    ovsdb::OvsdbServer,
};

use super::churn::is_serial;
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
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    monitor: Option<Child>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Every change of what a controller writes into the TOR's database.
    pub(crate) fn tor(name: &'static str, ovsdb: Arc<OvsdbServer>) -> Self {
        let mut command = Command::new("ovsdb-client");
        command
            .args(["monitor", &ovsdb.remote(), "hardware_vtep", "Ucast_Macs_Remote", "MAC,locator"])
            .arg("--format=json")
            .stdout(Stdio::piped());
        let mut monitor = command.spawn().unwrap();
        let output = BufReader::new(monitor.stdout.take().unwrap());
        let seen = Arc::new(Mutex::new(Seen::default()));
        let shared = Arc::clone(&seen);
        let thread = thread::spawn(move || {
            let mut rows = Rows::default();
            // A line ends when the next one begins.
            for update in Deserializer::from_reader(output).into_iter::<Value>() {
                rows.update(&update.unwrap(), &ovsdb).unwrap();
                shared.lock().unwrap().is(rows.macs());
            }
        });
        let stop = Arc::default();
        Self { name, seen, stop, monitor: Some(monitor), thread: Some(thread) }
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
        Self { name, seen, stop, monitor: None, thread: Some(thread) }
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
        self.seen.lock().unwrap().guarded.clone_from(macs);
    }

    pub(crate) fn looks(&self) -> u64 {
        self.seen.lock().unwrap().looks
    }

    /// The first of what should not have been seen.
    pub(crate) fn violations(&self) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        let all = seen.violations.iter().chain(&seen.stages.violations);
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

/// A database's rows by their UUIDs, and where its locators are.
#[derive(Default)]
struct Rows {
    rows: BTreeMap<String, (MacAddr, String)>,
    locators: BTreeMap<String, Ipv4Addr>,
}

impl Rows {
    /// One transaction's changes, as `ovsdb-client monitor` prints them: headings, and rows with an action.
    fn update(&mut self, update: &Value, ovsdb: &OvsdbServer) -> Result<()> {
        let mut changed = String::new();
        for row in update["data"].as_array().context("an update has rows")? {
            let uuid = row[0].as_str().context("a row has a UUID")?.to_owned();
            match row[1].as_str().context("a row has an action")? {
                "delete" => drop(self.rows.remove(&uuid)),
                "old" => changed = uuid,
                action => {
                    let uuid = if action == "new" { std::mem::take(&mut changed) } else { uuid };
                    let mac = row[2].as_str().context("a row has a MAC")?.parse()?;
                    let locator = row[3][1].as_str().context("a row has a locator")?.to_owned();
                    self.rows.insert(uuid, (mac, locator));
                }
            }
        }
        let used: BTreeSet<_> = self.rows.values().map(|(_, locator)| locator).collect();
        if used.iter().any(|locator| !self.locators.contains_key(*locator)) {
            for row in ovsdb.select("Physical_Locator", &json!([]))? {
                let uuid = row["_uuid"][1].as_str().context("a locator has a UUID")?.to_owned();
                self.locators
                    .insert(uuid, row["dst_ip"].as_str().context("a locator has an address")?.parse()?);
            }
        }
        Ok(())
    }

    /// A MAC whose locator went meanwhile is not counted: the next update says where it is.
    fn macs(&self) -> BTreeMap<MacAddr, Ipv4Addr> {
        let at = self.rows.values().map(|(mac, locator)| (*mac, self.locators.get(locator).copied()));
        at.filter_map(|(mac, at)| Some((mac, at?))).collect()
    }
}
