//! The task that answers: from the cores, each of which its own task owns, and from the state store.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};
use vtep_api::ControllerName;
use vtep_api::daemon::chain;

use super::answer::{of_logical, of_physical, refused};
use super::view::{
    AppliedStatus, ApplyRow, Counts, DoneRow, LogicalScrape, PhysicalScrape, Scrape, Status, StoreStatus,
};
use super::{Ask, Errand, ErrorKind, LogicalErrand, Order, PhysicalErrand, Reply, Request};
use crate::config::Role;
use crate::declared::{Pin, diff, file};
use crate::logical::Operation;
use crate::record::Recorder;
use crate::store::{Applied, Store};
use crate::{Declared, Now, physical};

/// Who answers.
#[derive(Debug, Clone)]
pub struct Identity {
    pub name: ControllerName,
    pub role: Role,
}

pub struct Desk {
    pub identity: Identity,
    /// Shared with whoever writes down what the core persists. Locked for one read or write.
    pub store: Arc<Mutex<Store>>,
    pub logical: Option<mpsc::Sender<LogicalErrand>>,
    pub physical: Option<mpsc::Sender<PhysicalErrand>>,
    pub recorder: Option<Recorder>,
    /// The time that the cores are told.
    pub now: Box<dyn Fn() -> Now + Send + Sync>,
}

const STOPPING: &str = "the controller is stopping";

impl Desk {
    /// Until nobody can ask. Needs a runtime of several threads.
    pub async fn run(self, mut asks: mpsc::Receiver<Ask>) {
        let start = Instant::now();
        while let Some(ask) = asks.recv().await {
            // Who asked may have gone.
            match ask {
                Ask::Client { request: Request::Status, reply } => {
                    let status = self.scrape(start).await.map(|scrape| scrape.status);
                    reply.send(status.map_or_else(stopping, |status| Reply::rows([status]))).ok();
                }
                Ask::Client { request, reply } => {
                    reply.send(self.answer(request).await).ok();
                }
                Ask::Scrape(reply) => {
                    if let Some(scrape) = self.scrape(start).await {
                        reply.send(Box::new(scrape)).ok();
                    }
                }
                Ask::Waits(reply) => {
                    if let Some(waits) = self.waits().await {
                        reply.send(waits).ok();
                    }
                }
            }
        }
    }

    async fn answer(&self, request: Request) -> Reply {
        match request {
            Request::Apply { name, text, dry_run } => self.apply(name, text, dry_run).await,
            Request::Pin(pin) => {
                let declared = self.look_logical(|core| core.declared().clone()).await;
                let by_hand = self.with_store(|store| store.durable().pins.clone());
                let mut others = by_hand.iter().chain(declared.iter().flat_map(|declared| &declared.pins));
                let other = others.find(|other| {
                    (&other.logical_switch, other.mac) == (&pin.logical_switch, pin.mac)
                        && other.vtep != pin.vtep
                });
                let too = other.map_or(String::new(), |other| {
                    format!(", and at {} too: the lowest name has it until one is taken back", other.vtep)
                });
                let done = format!("{} in {} is pinned at {}{too}", pin.mac, pin.logical_switch, pin.vtep);
                self.operate(Operation::Pin(pin), done).await
            }
            Request::Unpin { logical_switch, mac } => {
                let is_it = |pin: &&Pin| pin.logical_switch == logical_switch && pin.mac == mac;
                let durable = self.with_store(|store| store.durable().clone());
                let declared = self.look_logical(move |core| core.declared().clone()).await;
                let Some(pin) = durable.pins.iter().find(is_it).cloned().or_else(|| {
                    declared.as_ref().and_then(|declared| declared.pins.iter().find(is_it).cloned())
                }) else {
                    let message = format!("{mac} in {logical_switch} is not pinned");
                    return self.logical_only(Reply::error(ErrorKind::NotFound, message));
                };
                let done = format!("{mac} in {logical_switch} is not pinned at {} any more", pin.vtep);
                self.operate(Operation::Unpin(pin), done).await
            }
            Request::ClearDuplicate { logical_switch, mac } => {
                let done = format!("{mac} in {logical_switch} is followed again");
                self.operate(Operation::ClearDuplicate { logical_switch, mac }, done).await
            }
            Request::ReleaseStorm { vtep } => {
                let done = format!("what was set aside of {vtep} counts");
                self.operate(Operation::ReleaseStorm { vtep }, done).await
            }
            Request::ReleaseWithdrawals { logical_switch } => {
                if self.logical.is_none() {
                    return self.release_here(logical_switch).await;
                }
                let done = format!("what was kept in {logical_switch} is gone");
                self.operate(Operation::ReleaseWithdrawals { logical_switch }, done).await
            }
            query => self.query(query).await,
        }
    }

    /// Of the logical controller, if there is one here.
    async fn query(&self, request: Request) -> Reply {
        let now = (self.now)();
        let reply = if self.logical.is_some() {
            self.look_logical(move |core| of_logical(core, &request, now)).await
        } else {
            self.look_physical(move |core| of_physical(core, &request, now)).await
        };
        match reply {
            Some(Some(reply)) => reply,
            Some(None) => self.logical_only(Reply::error(ErrorKind::Failed, "nobody here can tell")),
            None => stopping(),
        }
    }

    async fn operate(&self, operation: Operation, done: String) -> Reply {
        let Some(logical) = &self.logical else {
            return self.logical_only(Reply::error(ErrorKind::Failed, "nobody here can do it"));
        };
        let (reply, answered) = oneshot::channel();
        if logical.send(Errand::Event(Order::Operate(operation, reply))).await.is_err() {
            return stopping();
        }
        match answered.await {
            Ok(Ok(())) => Reply::rows([DoneRow { done }]),
            Ok(Err(error)) => refused(&error),
            Err(_) => stopping(),
        }
    }

    /// A physical controller keeps rows by itself too.
    async fn release_here(&self, logical_switch: vtep_api::LogicalSwitchName) -> Reply {
        let Some(physical) = &self.physical else { return stopping() };
        let name = logical_switch.clone();
        let kept = self
            .look_physical(move |core| core.networks().iter().any(|n| n.logical_switch == name && n.kept > 0))
            .await;
        if kept != Some(true) {
            return Reply::error(ErrorKind::NotFound, format!("nothing is kept in {logical_switch}"));
        }
        let done = DoneRow { done: format!("what was kept in {logical_switch} is gone") };
        let operation = physical::Operation::ReleaseWithdrawals { logical_switch };
        match physical.send(Errand::Event(physical::Event::Operate(operation))).await {
            Ok(()) => Reply::rows([done]),
            Err(_) => stopping(),
        }
    }

    /// On the disk before anybody acts on it.
    async fn apply(&self, name: String, text: String, dry_run: bool) -> Reply {
        let Some(logical) = &self.logical else {
            return self.logical_only(Reply::error(ErrorKind::Failed, "nobody here can do it"));
        };
        let declared = match tokio::task::block_in_place(|| file::parse(&name, &text)) {
            Ok(declared) => Arc::new(declared),
            Err(error) => return Reply::error(ErrorKind::Failed, error.to_string()),
        };
        let Some(before) = self.look_logical(|core| core.declared().clone()).await else { return stopping() };
        let row = tokio::task::block_in_place(|| outcome(&before, &declared, !dry_run));
        if dry_run {
            return Reply::rows([row]);
        }
        let applied = Applied { text, name, applied_at_ms: (self.now)().wall_ms, declared: declared.clone() };
        if let Err(error) = self.with_store(|store| store.put_declared(applied)) {
            return Reply::error(ErrorKind::Failed, format!("nothing is applied: {}", chain(&error)));
        }
        match logical.send(Errand::Event(Order::Declare(declared))).await {
            Ok(()) => Reply::rows([row]),
            Err(_) => stopping(),
        }
    }

    async fn scrape(&self, start: Instant) -> Option<Scrape> {
        let now = (self.now)();
        let waits_for = self.waits().await?;
        let mut alarms = Vec::new();
        let mut counts = Counts::default();
        let logical = if self.logical.is_some() {
            let look = move |core: &crate::Logical| {
                let scrape = LogicalScrape {
                    counters: core.counters().clone(),
                    vteps: core.vteps(now),
                    networks: core.networks(),
                    sync: core.sync(),
                };
                (core.alarms(), scrape)
            };
            let (found, scrape) = self.look_logical(look).await?;
            alarms = found;
            counts.logical_switches = scrape.networks.len();
            counts.macs = scrape.networks.iter().map(|network| network.macs).sum();
            counts.claims = scrape.networks.iter().map(|network| network.claims).sum();
            counts.vteps = scrape.vteps.len();
            counts.vteps_up =
                scrape.vteps.iter().filter(|vtep| vtep.session == vtep_api::Session::Up).count();
            Some(scrape)
        } else {
            None
        };
        let physical = if self.physical.is_some() {
            let look = move |core: &crate::Physical| PhysicalScrape {
                counters: core.counters(),
                vteps: core.vteps(),
                peers: core.peers(),
                sync: core.sync(now),
            };
            let scrape = self.look_physical(look).await?;
            if logical.is_none() {
                let networks = self.look_physical(crate::Physical::networks).await?;
                counts.logical_switches = networks.len();
                counts.macs = networks.iter().map(|network| network.rows).sum();
                counts.claims = scrape.vteps.iter().flat_map(|vtep| vtep.macs.values()).sum();
                counts.vteps = scrape.vteps.len();
                counts.vteps_up =
                    scrape.vteps.iter().filter(|vtep| vtep.session == vtep_api::Session::Up).count();
            }
            Some(scrape)
        } else {
            None
        };
        counts.alarms = alarms.len();
        let (store, term, applied) = self.with_store(|store| {
            let status = StoreStatus {
                path: store.path().display().to_string(),
                errors: store.errors(),
                failing: store.failing().map(ToOwned::to_owned),
            };
            let applied = store.declared().map(|applied| AppliedStatus {
                name: applied.name.clone(),
                applied_at_ms: applied.applied_at_ms,
            });
            (status, store.term(), applied)
        });
        let status = Status {
            name: self.identity.name.to_string(),
            role: self.identity.role,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_secs: start.elapsed().as_secs(),
            ready: waits_for.is_empty(),
            waits_for,
            term,
            store,
            applied,
            counts,
            recording_ended: self.recorder.as_ref().and_then(Recorder::ended),
            alarms,
        };
        Some(Scrape { status, logical, physical })
    }

    async fn waits(&self) -> Option<Vec<String>> {
        let mut waits = Vec::new();
        if self.logical.is_some() {
            if self.with_store(|store| store.declared().is_none()) {
                waits.push("a declared file: vtep-controller apply -f FILE".to_owned());
            }
            let networks = self.look_logical(crate::Logical::networks).await?;
            for network in networks.iter().filter(|network| !network.started) {
                let unheard: Vec<&str> = network.unheard.iter().map(vtep_api::VtepName::as_str).collect();
                waits.push(format!("logical switch {}: not heard yet: {}", network.name, unheard.join(", ")));
            }
        } else {
            let peers = self.look_physical(crate::Physical::peers).await?;
            if !peers.iter().any(|peer| peer.connected) {
                waits.push("a logical controller".to_owned());
            }
        }
        Some(waits)
    }

    /// `None`: the core is gone.
    async fn look_logical<T: Send + 'static>(
        &self,
        look: impl FnOnce(&crate::Logical) -> T + Send + 'static,
    ) -> Option<T> {
        look_at(self.logical.as_ref()?, look).await
    }

    async fn look_physical<T: Send + 'static>(
        &self,
        look: impl FnOnce(&crate::Physical) -> T + Send + 'static,
    ) -> Option<T> {
        look_at(self.physical.as_ref()?, look).await
    }

    /// The disk may take its time: another thread does the work of this one meanwhile.
    fn with_store<T>(&self, run: impl FnOnce(&mut Store) -> T) -> T {
        tokio::task::block_in_place(|| {
            let mut store: MutexGuard<'_, Store> = self.store.lock().unwrap_or_else(PoisonError::into_inner);
            run(&mut store)
        })
    }

    /// What a physical controller alone has no answer to.
    fn logical_only(&self, otherwise: Reply) -> Reply {
        if self.logical.is_some() {
            return otherwise;
        }
        let message = format!(
            "{} is a physical controller only; ask a logical controller that it has joined",
            self.identity.name
        );
        Reply::error(ErrorKind::Failed, message)
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").field("identity", &self.identity).finish_non_exhaustive()
    }
}

async fn look_at<C: 'static, E, T: Send + 'static>(
    core: &mpsc::Sender<Errand<C, E>>,
    look: impl FnOnce(&C) -> T + Send + 'static,
) -> Option<T> {
    let (found, seen) = oneshot::channel();
    let look = move |core: &C| {
        found.send(look(core)).ok();
    };
    core.send(Errand::Look(Box::new(look))).await.ok()?;
    seen.await.ok()
}

fn outcome(before: &Declared, declared: &Declared, applied: bool) -> ApplyRow {
    ApplyRow {
        applied,
        differences: diff(before, declared),
        vteps: declared.vteps.len(),
        logical_switches: declared.logical_switches.len(),
        bindings: declared.bindings.values().map(std::collections::BTreeSet::len).sum(),
    }
}

fn stopping() -> Reply {
    Reply::error(ErrorKind::Failed, STOPPING)
}
