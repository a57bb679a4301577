//! etcd, as far as it is used, with the faults that etcd 3.4 is known for: what a watch tells is lost, late or told twice;
//! a lease that is gone is acknowledged; requests and answers are lost, and what was asked for may have happened.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tonic::Status;
use vtep_api::Term;

use super::super::View;
use super::super::etcd::{Entry, EtcdError, Found, Guard, Op, Outcome, Range};
use super::super::keys::{Key, Keys};
use super::super::member::json;
use super::super::raise::raised;
use super::time::{Instant, TERM_BASE, below, percent, sleep};
use crate::declared::file::parse;
use crate::store::{Applied, Envelope};

#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fault of its own")]
pub(super) struct Faults {
    pub(super) lossy: bool,
    /// Answers take their time, to some.
    pub(super) slow: bool,
    /// Watches tell nothing, or the same twice.
    pub(super) deaf: bool,
    /// A lease ends, and is prolonged all the same.
    pub(super) ghosts: bool,
}

#[derive(Debug, Default)]
pub(super) struct Store {
    pub(super) faults: Faults,
    revision: i64,
    keys: BTreeMap<String, Entry>,
    leases: BTreeMap<i64, Lease>,
    granted: i64,
    /// By process.
    hints: Vec<Arc<Notify>>,
    pub(super) cut_off: Vec<bool>,
    /// By which revisions are made terms.
    bases: Vec<u64>,
    /// The first write that should not have been.
    pub(super) violation: Option<String>,
    pub(super) fenced: u64,
    pub(super) log: Vec<String>,
}

/// What a member wrote, at some time.
#[derive(Debug)]
pub(super) struct Backup {
    revision: i64,
    keys: BTreeMap<String, Entry>,
    leases: BTreeMap<i64, Lease>,
}

#[derive(Debug, Clone)]
struct Lease {
    until: Instant,
    seconds: u64,
    gone: bool,
}

/// One process's way to it.
#[derive(Clone)]
pub(in crate::cluster) struct Client {
    pub(super) store: Arc<Mutex<Store>>,
    pub(super) process: usize,
}

pub(in crate::cluster) const PREFIX: &str = "/vtepd";
const PATIENCE: Duration = Duration::from_secs(1);

impl Store {
    pub(super) fn new(faults: Faults, hints: Vec<Arc<Notify>>) -> Self {
        let cut_off = vec![false; hints.len()];
        let mut store =
            Self { faults, hints, cut_off, revision: 1, bases: vec![TERM_BASE], ..Self::default() };
        let text = "version = 1\n[[vtep]]\nname = \"tor1\"\n";
        let (name, declared) = ("declared.toml", parse("declared.toml", text).unwrap());
        let applied =
            Applied { text: text.into(), name: name.into(), applied_at_ms: 0, declared: Arc::new(declared) };
        store.put(Keys::new(PREFIX).declared(), Envelope::seal(&applied).unwrap(), None);
        store
    }

    /// What is over goes.
    pub(super) fn expire(&mut self) {
        let now = Instant::now();
        let over = |lease: &Lease| !lease.gone && lease.until <= now;
        let over: Vec<i64> =
            self.leases.iter().filter(|(_, lease)| over(lease)).map(|(&number, _)| number).collect();
        for lease in over {
            self.end(lease);
        }
    }

    /// The server forgets a lease, and goes on prolonging it.
    pub(super) fn make_ghost(&mut self) {
        let alive: Vec<i64> =
            self.leases.iter().filter(|(_, lease)| !lease.gone).map(|(&number, _)| number).collect();
        if !alive.is_empty() {
            let pick = usize::try_from(below(alive.len() as u64)).unwrap();
            self.log.push(format!("lease {} is a ghost", alive[pick]));
            self.end(alive[pick]);
        }
    }

    pub(super) fn back_up(&self) -> Backup {
        Backup { revision: self.revision, keys: self.keys.clone(), leases: self.leases.clone() }
    }

    /// Everything since is forgotten. A lease lasts anew.
    pub(super) fn put_back(&mut self, Backup { revision, keys, mut leases }: Backup) {
        self.log.push(format!(
            "{:?} an older state is put back, {} becomes {revision}",
            Instant::now(),
            self.revision
        ));
        for lease in leases.values_mut() {
            lease.until = Instant::now() + Duration::from_secs(lease.seconds);
        }
        (self.revision, self.keys, self.leases) = (revision, keys, leases);
        self.tell();
    }

    /// As the operator's command does it.
    pub(super) fn raise_terms(&mut self, above: Term) {
        let keys = Keys::new(PREFIX);
        let entries = self.read(&keys.cluster());
        let view = View::of(&keys, self.revision, &entries);
        if let Some(settings) = view.settings
            && let Some(raised) = raised(&view, settings, above)
        {
            self.revision += 1;
            self.bases.push(raised.term_base);
            self.put(keys.settings(), json(&raised), None);
            self.tell();
        }
    }

    fn end(&mut self, number: i64) {
        if let Some(lease) = self.leases.get_mut(&number) {
            lease.gone = true;
        }
        let gone: Vec<String> =
            self.keys.values().filter(|entry| entry.lease == number).map(|entry| entry.key.clone()).collect();
        if !gone.is_empty() {
            self.revision += 1;
        }
        for key in gone {
            self.log.push(format!("{:?} {key} goes with its lease", Instant::now()));
            self.keys.remove(&key);
        }
        self.tell();
    }

    fn tell(&self) {
        for hint in &self.hints {
            if !self.faults.deaf || percent(20) {
                hint.notify_one();
            }
        }
    }

    /// Told once more, for no reason.
    pub(super) fn babble(&self) {
        self.tell();
    }

    fn transact(&mut self, guards: &[Guard], ops: Vec<Op>) -> Result<Outcome, EtcdError> {
        self.expire();
        let of = |key: &String| self.keys.get(key);
        let holds = guards.iter().all(|guard| match guard {
            Guard::Created { key, revision } => of(key).map_or(0, |entry| entry.created) == *revision,
            Guard::Changed { key, revision } => of(key).map_or(0, |entry| entry.changed) == *revision,
        });
        let mut found = Found { revision: self.revision, ranges: Vec::new() };
        if !holds {
            self.fenced += u64::from(ops.iter().any(is_state));
            return Ok(Outcome { done: false, found });
        }
        let leases = ops.iter().filter_map(|op| match op {
            Op::Put { lease, .. } => *lease,
            _ => None,
        });
        for lease in leases {
            if self.leases.get(&lease).is_none_or(|lease| lease.gone) {
                let status = Box::new(Status::not_found("requested lease not found"));
                return Err(EtcdError::Refused { endpoint: "model".to_owned(), status });
            }
        }
        let writes = ops.iter().any(|op| !matches!(op, Op::Read(_)));
        let watched = writes && !ops.iter().any(is_state);
        self.revision += i64::from(writes);
        for op in ops {
            match op {
                Op::Read(range) => found.ranges.push(self.read(&range)),
                Op::Put { key, value, lease } => self.put(key, value, lease),
                Op::Delete(range) => {
                    self.log.push(format!("{:?} {} is deleted", Instant::now(), range.key));
                    self.keys.remove(&range.key);
                }
            }
        }
        found.revision = self.revision;
        if watched {
            self.tell();
        }
        Ok(Outcome { done: true, found })
    }

    fn read(&self, range: &Range) -> Vec<Entry> {
        let all = self.keys.range(range.key.clone()..).map(|(_, entry)| entry.clone());
        let wanted = |entry: &Entry| {
            if range.prefix { entry.key.starts_with(&range.key) } else { entry.key == range.key }
        };
        all.take_while(wanted).collect()
    }

    fn put(&mut self, key: String, value: Vec<u8>, lease: Option<i64>) {
        if key.contains("/state/") {
            self.check(&key, &value);
        } else {
            self.log.push(format!("{:?} {key} is put: {}", Instant::now(), String::from_utf8_lossy(&value)));
        }
        let is_office = |key: &String| matches!(Keys::new(PREFIX).read(key), Some(Key::Office(_)));
        if self.keys.contains_key(&key) && is_office(&key) {
            let problem = format!("{key} is taken while somebody has it");
            self.violation.get_or_insert(problem);
        }
        let created = self.keys.get(&key).map_or(self.revision, |entry| entry.created);
        let (changed, lease) = (self.revision, lease.unwrap_or_default());
        self.keys.insert(key.clone(), Entry { key, value, created, changed, lease });
    }

    /// A write says by which term it was made: only the present one may.
    fn check(&mut self, key: &str, value: &[u8]) {
        let text = String::from_utf8_lossy(value);
        let office = key.replace("/state/", "/cluster/").trim_end_matches("/durable").to_owned();
        let present = self.keys.get(&office).map(|entry| entry.created.unsigned_abs());
        // Who had it when terms were raised may not know yet how his own is called by now.
        let is_present = |term: u64| self.bases.iter().any(|base| present == Some(term.wrapping_sub(*base)));
        let stated = text
            .rsplit_once("\"reign\":")
            .and_then(|(_, rest)| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u64>().ok());
        if !stated.is_some_and(is_present) {
            let problem =
                format!("{key} is written by term {stated:?} while the office was created at {present:?}");
            self.violation.get_or_insert(problem);
        }
    }
}

fn is_state(op: &Op) -> bool {
    matches!(op, Op::Put { key, .. } if key.contains("/state/"))
}

impl Client {
    pub(in crate::cluster) async fn transact(
        &self,
        guards: &[Guard],
        ops: Vec<Op>,
    ) -> Result<Outcome, EtcdError> {
        self.call(|store| store.transact(guards, ops)).await?
    }

    pub(in crate::cluster) async fn grant(&self, seconds: i64) -> Result<i64, EtcdError> {
        self.call(|store| {
            store.expire();
            store.granted += 1;
            let seconds = seconds.unsigned_abs();
            let until = Instant::now() + Duration::from_secs(seconds);
            store.leases.insert(store.granted, Lease { until, seconds, gone: false });
            store.granted
        })
        .await
    }

    pub(in crate::cluster) async fn keep_alive(&self, lease: i64) -> Result<bool, EtcdError> {
        self.call(|store| {
            store.expire();
            let ghosts = store.faults.ghosts;
            let Some(lease) = store.leases.get_mut(&lease) else { return false };
            lease.until = Instant::now() + Duration::from_secs(lease.seconds);
            !lease.gone || ghosts
        })
        .await
    }

    pub(in crate::cluster) async fn revoke(&self, lease: i64) -> Result<(), EtcdError> {
        self.call(|store| {
            store.expire();
            store.end(lease);
        })
        .await
    }

    async fn call<T>(&self, run: impl FnOnce(&mut Store) -> T) -> Result<T, EtcdError> {
        let silent = || EtcdError::Silent { endpoint: "model".to_owned(), within: PATIENCE };
        let asked = Instant::now();
        let (faults, cut_off) = {
            let store = self.store.lock().unwrap();
            (store.faults.clone(), store.cut_off[self.process])
        };
        let longest = if faults.slow && self.process.is_multiple_of(2) { 900 } else { 20 };
        let (there, back) = (below(longest), below(longest));
        if cut_off || (faults.lossy && percent(8)) {
            sleep(PATIENCE).await;
            return Err(silent());
        }
        sleep(Duration::from_millis(there)).await;
        let answer = run(&mut self.store.lock().unwrap());
        if faults.lossy && percent(8) {
            sleep(PATIENCE).await;
            return Err(silent());
        }
        sleep(Duration::from_millis(back)).await;
        let in_time = Instant::now() - asked <= PATIENCE;
        if in_time { Ok(answer) } else { Err(silent()) }
    }
}
