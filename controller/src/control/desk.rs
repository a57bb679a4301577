//! The task that answers: from the cores, each of which its own task owns, and from the state store.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use tokio::sync::{mpsc, oneshot, watch};
use vtep_api::{ControllerName, LogicalSwitchName, Term, VtepName};

use super::answer::{of_logical, of_physical, refused};
use super::view::{ApplyRow, Counts, DoneRow, LogicalScrape, PhysicalScrape, Scrape, Status};
use super::{Ask, Errand, ErrorKind, Home, LogicalErrand, Order, PhysicalErrand, Reply, Request, office};
use crate::cluster::shard_name;
use crate::config::Role;
use crate::declared::{Pin, diff, file};
use crate::logical::{OperateError, Operation};
use crate::record::Recorder;
use crate::run::cores::Logicals;
use crate::store::Applied;
use crate::{Declared, Now, physical};

/// Who answers.
#[derive(Debug, Clone)]
pub struct Identity {
    pub name: ControllerName,
    pub role: Role,
}

/// To what answers, once this process has its term.
#[derive(Debug)]
pub struct Ways {
    pub(crate) term: Term,
    /// `None`: this process is a physical controller only.
    pub(crate) logicals: Option<watch::Receiver<Logicals>>,
    pub(crate) physical: Option<mpsc::Sender<PhysicalErrand>>,
}

pub struct Desk {
    pub(crate) identity: Identity,
    pub(crate) home: Home,
    /// Empty before this process is a member of its cluster.
    pub(crate) ways: Arc<OnceLock<Ways>>,
    pub(crate) recorder: Option<Recorder>,
    /// The time that the cores are told.
    pub(crate) now: Box<dyn Fn() -> Now + Send + Sync>,
}

const STOPPING: &str = "the controller is stopping";
/// As what is waited for.
const MEMBERSHIP: &str = "membership in the cluster";
const ALONE: &str = "this controller is alone: it has no cluster; store.kind = \"etcd\" makes one";

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
            Request::Alarms if self.logicals().is_some() || self.home.cluster().is_some() => {
                self.alarms().await
            }
            Request::Members | Request::Offices { .. } | Request::Move { .. } | Request::RaiseTerm { .. } => {
                let Some(cluster) = self.home.cluster() else {
                    return Reply::error(ErrorKind::Failed, ALONE);
                };
                office::answer(cluster, request).await
            }
            _ if self.ways.get().is_none() => self.early(),
            Request::Apply { name, text, dry_run } => self.apply(name, text, dry_run).await,
            Request::Pin(pin) => {
                let Some(pins) = self.pins(&pin.logical_switch).await else {
                    return self.elsewhere(&pin.logical_switch);
                };
                let mut others = pins.iter().filter(|other| other.mac == pin.mac && other.vtep != pin.vtep);
                let too = others.next().map_or(String::new(), |other| {
                    format!(", and at {} too: the lowest name has it until one is taken back", other.vtep)
                });
                let done = format!("{} in {} is pinned at {}{too}", pin.mac, pin.logical_switch, pin.vtep);
                self.operate(&pin.logical_switch.clone(), Operation::Pin(pin), done).await
            }
            Request::Unpin { logical_switch, mac } => {
                let Some(pins) = self.pins(&logical_switch).await else {
                    return self.elsewhere(&logical_switch);
                };
                let Some(pin) = pins.into_iter().find(|pin| pin.mac == mac) else {
                    return Reply::error(
                        ErrorKind::NotFound,
                        format!("{mac} in {logical_switch} is not pinned"),
                    );
                };
                let done = format!("{mac} in {logical_switch} is not pinned at {} any more", pin.vtep);
                self.operate(&logical_switch, Operation::Unpin(pin), done).await
            }
            Request::ClearDuplicate { logical_switch, mac } => {
                let done = format!("{mac} in {logical_switch} is followed again");
                let name = logical_switch.clone();
                self.operate(&name, Operation::ClearDuplicate { logical_switch, mac }, done).await
            }
            Request::ReleaseStorm { vtep } => self.release_storm(vtep).await,
            Request::ReleaseWithdrawals { logical_switch } => {
                if self.logicals().is_none() {
                    return self.release_here(logical_switch).await;
                }
                let done = format!("what was kept in {logical_switch} is gone");
                let name = logical_switch.clone();
                self.operate(&name, Operation::ReleaseWithdrawals { logical_switch }, done).await
            }
            query => self.query(query).await,
        }
    }

    /// Before there is anything that could answer.
    fn early(&self) -> Reply {
        let reason = self.home.waits().unwrap_or_else(|| MEMBERSHIP.to_owned());
        Reply::error(ErrorKind::Failed, format!("nothing is known here yet; waits for {reason}"))
    }

    async fn alarms(&self) -> Reply {
        let mut alarms = self.home.alarms(&self.identity.name);
        for core in self.cores() {
            // One whose reign is over is none of ours.
            alarms.extend(look_at(&core, crate::Logical::alarms).await.into_iter().flatten());
        }
        // What holds of a VTEP each shard says.
        alarms.sort();
        alarms.dedup();
        Reply::rows(alarms)
    }

    /// Of the logical controllers, if there may be some here.
    async fn query(&self, request: Request) -> Reply {
        let now = (self.now)();
        let about = match &request {
            Request::Explain { logical_switch, .. }
            | Request::History { logical_switch, .. }
            | Request::Fdb { logical_switch: Some(logical_switch) } => Some(logical_switch.clone()),
            _ => None,
        };
        if self.logicals().is_none() {
            let reply = self.look_physical(move |core| of_physical(core, &request, now)).await;
            let nobody = || self.logical_only();
            return reply.map_or_else(stopping, |reply| reply.unwrap_or_else(nobody));
        }
        let mut cores = match about {
            Some(logical_switch) => match self.core_of(&logical_switch) {
                Some(core) => vec![core],
                None => return self.elsewhere(&logical_switch),
            },
            None => self.cores(),
        };
        if request == Request::Vteps {
            // Each knows them all.
            cores.truncate(1);
        }
        let mut replies = Vec::new();
        for core in cores {
            let request = request.clone();
            match look_at(&core, move |core| of_logical(core, &request, now)).await {
                Some(Some(reply)) => replies.push(reply),
                Some(None) => return Reply::error(ErrorKind::Failed, "nobody here can tell"),
                None => return stopping(),
            }
        }
        Reply::all(replies)
    }

    async fn operate(&self, logical_switch: &LogicalSwitchName, operation: Operation, done: String) -> Reply {
        let Some(core) = self.core_of(logical_switch) else { return self.elsewhere(logical_switch) };
        match operate_on(&core, operation).await {
            Some(Ok(())) => Reply::rows([DoneRow { done }]),
            Some(Err(error)) => refused(&error),
            None => stopping(),
        }
    }

    /// Each shard has its own guard.
    async fn release_storm(&self, vtep: VtepName) -> Reply {
        let mut outcome = None;
        for core in self.cores() {
            let Some(result) = operate_on(&core, Operation::ReleaseStorm { vtep: vtep.clone() }).await else {
                return stopping();
            };
            if !matches!(outcome, Some(Ok(()))) {
                outcome = Some(result);
            }
        }
        match outcome {
            Some(Ok(())) => Reply::rows([DoneRow { done: format!("what was set aside of {vtep} counts") }]),
            Some(Err(error)) => refused(&error),
            None => self.logical_only(),
        }
    }

    /// Of a logical switch, declared or made by hand. `None`: its logical controller is not here.
    async fn pins(&self, logical_switch: &LogicalSwitchName) -> Option<Vec<Pin>> {
        let (core, name) = (self.core_of(logical_switch)?, logical_switch.clone());
        let pins = move |core: &crate::Logical| {
            let all = core.pins_by_hand().iter().chain(&core.declared().pins);
            all.filter(|pin| pin.logical_switch == name).cloned().collect()
        };
        look_at(&core, pins).await
    }

    fn logicals(&self) -> Option<&watch::Receiver<Logicals>> {
        self.ways.get()?.logicals.as_ref()
    }

    fn physical(&self) -> Option<&mpsc::Sender<PhysicalErrand>> {
        self.ways.get()?.physical.as_ref()
    }

    fn cores(&self) -> Vec<mpsc::Sender<LogicalErrand>> {
        let logicals = self.logicals();
        logicals.map_or_else(Vec::new, |logicals| {
            logicals.borrow().values().map(|core| core.errands.clone()).collect()
        })
    }

    fn core_of(&self, logical_switch: &LogicalSwitchName) -> Option<mpsc::Sender<LogicalErrand>> {
        let logicals = self.logicals()?.borrow();
        let core = match self.home.cluster() {
            Some(cluster) => logicals.get(&shard_name(cluster.whose(logical_switch).0)),
            None => logicals.values().next(),
        };
        core.map(|core| core.errands.clone())
    }

    /// Who can tell of a logical switch, if that is nobody here.
    fn elsewhere(&self, logical_switch: &LogicalSwitchName) -> Reply {
        let Some(cluster) = self.home.cluster() else { return self.logical_only() };
        let message = match cluster.whose(logical_switch) {
            (shard, Some(holder)) => {
                format!("logical switch {logical_switch} is in shard {shard}, which {holder} has: ask there")
            }
            (shard, None) => {
                format!("logical switch {logical_switch} is in shard {shard}, which nobody has at present")
            }
        };
        Reply::error(ErrorKind::Failed, message)
    }

    /// A physical controller keeps rows by itself too.
    async fn release_here(&self, logical_switch: LogicalSwitchName) -> Reply {
        let Some(physical) = self.physical() else { return stopping() };
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

    /// Where it outlives this process before anybody acts on it.
    async fn apply(&self, name: String, text: String, dry_run: bool) -> Reply {
        if self.logicals().is_none() {
            return self.logical_only();
        }
        let declared = match tokio::task::block_in_place(|| file::parse(&name, &text)) {
            Ok(declared) => Arc::new(declared),
            Err(error) => return Reply::error(ErrorKind::Failed, error.to_string()),
        };
        if let Some(problem) = self.home.cluster().and_then(|_| declared.names_controller()) {
            let message = format!("{name} is refused, and nothing of it is applied: {problem}");
            return Reply::error(ErrorKind::Failed, message);
        }
        let Some(before) = self.declared().await else { return stopping() };
        let row = tokio::task::block_in_place(|| outcome(&before, &declared, !dry_run));
        if dry_run {
            return Reply::rows([row]);
        }
        let applied = Applied { text, name, applied_at_ms: (self.now)().wall_ms, declared: declared.clone() };
        if let Err(error) = self.home.declare(applied).await {
            return Reply::error(ErrorKind::Failed, error);
        }
        if self.home.cluster().is_some() {
            // Every process hears of it from etcd, this one too.
            return Reply::rows([row]);
        }
        for core in self.cores() {
            if core.send(Errand::Event(Order::Declare(declared.clone()))).await.is_err() {
                return stopping();
            }
        }
        Reply::rows([row])
    }

    async fn declared(&self) -> Option<Arc<Declared>> {
        if let Some(cluster) = self.home.cluster() {
            let standing = cluster.standing();
            let declared = standing.borrow().declared.as_ref().map(|known| known.applied.declared.clone());
            return Some(declared.unwrap_or_default());
        }
        look_at(self.cores().first()?, |core: &crate::Logical| core.declared().clone()).await
    }

    async fn scrape(&self, start: Instant) -> Option<Scrape> {
        let now = (self.now)();
        let waits_for = self.waits().await?;
        let mut alarms = self.home.alarms(&self.identity.name);
        let mut counts = Counts::default();
        let logical = if self.logicals().is_some() {
            let mut whole = LogicalScrape::default();
            for core in self.cores() {
                let look = move |core: &crate::Logical| {
                    let scrape = LogicalScrape {
                        counters: core.counters().clone(),
                        vteps: core.vteps(now),
                        networks: core.networks(),
                        sync: core.sync(),
                    };
                    (core.alarms(), scrape)
                };
                // One whose reign is over is none of ours.
                let Some((found, scrape)) = look_at(&core, look).await else { continue };
                alarms.extend(found);
                whole.add(scrape);
            }
            counts.logical_switches = whole.networks.len();
            counts.macs = whole.networks.iter().map(|network| network.macs).sum();
            counts.claims = whole.networks.iter().map(|network| network.claims).sum();
            counts.vteps = whole.vteps.len();
            counts.vteps_up = whole.vteps.iter().filter(|vtep| vtep.session == vtep_api::Session::Up).count();
            Some(whole)
        } else {
            None
        };
        let physical = if self.physical().is_some() {
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
        // What holds of a VTEP each shard says.
        alarms.sort();
        alarms.dedup();
        counts.alarms = alarms.len();
        let (store, applied) = self.home.status();
        let term = self.ways.get().map_or(Term::default(), |ways| ways.term);
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
        let late = self.home.cluster().map(|cluster| cluster.late().view());
        Some(Scrape { status, late, logical, physical })
    }

    async fn waits(&self) -> Option<Vec<String>> {
        let mut waits = Vec::from_iter(self.home.waits());
        if self.ways.get().is_none() {
            if waits.is_empty() {
                waits.push(MEMBERSHIP.to_owned());
            }
            return Some(waits);
        }
        if self.logicals().is_some() {
            if self.home.status().1.is_none() {
                waits.push("a declared file: vtep-controller apply -f FILE".to_owned());
            }
            for core in self.cores() {
                let Some(networks) = look_at(&core, crate::Logical::networks).await else { continue };
                for network in networks.iter().filter(|network| !network.started) {
                    let unheard: Vec<&str> = network.unheard.iter().map(VtepName::as_str).collect();
                    waits.push(format!(
                        "logical switch {}: not heard yet: {}",
                        network.name,
                        unheard.join(", ")
                    ));
                }
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
    async fn look_physical<T: Send + 'static>(
        &self,
        look: impl FnOnce(&crate::Physical) -> T + Send + 'static,
    ) -> Option<T> {
        look_at(self.physical()?, look).await
    }

    /// What a physical controller alone has no answer to.
    fn logical_only(&self) -> Reply {
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

/// `None`: the core is gone.
async fn operate_on(
    core: &mpsc::Sender<LogicalErrand>,
    operation: Operation,
) -> Option<Result<(), OperateError>> {
    let (reply, answered) = oneshot::channel();
    core.send(Errand::Event(Order::Operate(operation, reply))).await.ok()?;
    answered.await.ok()
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
