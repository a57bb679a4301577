//! The task that answers: from the cores, each of which its own task owns, and from the state store.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use tokio::sync::{mpsc, watch};
use vtep_api::control::Relay;
use vtep_api::{ControllerName, Term, VtepName};

use super::answer::of_physical;
use super::far::Reach;
use super::gather::{Gather, Here, Scope, Whereabouts};
use super::shard::look_at;
use super::view::{ApplyRow, Counts, LogicalScrape, PhysicalScrape, Scrape, Status};
use super::{Ask, Errand, ErrorKind, Home, LogicalErrand, Order, Own, PhysicalErrand, Reply, Request};
use super::{office, release, shard};
use crate::cluster::{Cluster, Standing, shard_name};
use crate::config::Role;
use crate::declared::{diff, file};
use crate::record::Recorder;
use crate::run::cores::Logicals;
use crate::store::Applied;
use crate::{Declared, Now};

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
    pub(crate) reach: Reach,
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
                Ask::Member { request, shards, reply } => {
                    reply.send(self.member(&request, &shards).await).ok();
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
            Request::Members | Request::Offices { .. } | Request::Move { .. } | Request::RaiseTerm { .. } => {
                let Some(cluster) = self.home.cluster() else {
                    return Reply::error(ErrorKind::Failed, ALONE);
                };
                office::answer(cluster, request).await
            }
            _ if self.ways.get().is_none() => match request {
                // That it waits is one.
                Request::Alarms if let Some(cluster) = self.home.cluster() => {
                    self.gather(cluster, request).await
                }
                _ => Reply::error(ErrorKind::Failed, self.early()),
            },
            Request::Apply { name, text, dry_run } => self.apply(name, text, dry_run).await,
            request => match self.home.cluster() {
                Some(cluster) if !self.is_physicals(&request) => self.gather(cluster, request).await,
                _ => self.alone(&request).await,
            },
        }
    }

    /// Why there is nothing yet that could answer.
    fn early(&self) -> String {
        let reason = self.home.waits().unwrap_or_else(|| MEMBERSHIP.to_owned());
        format!("nothing is known here yet; waits for {reason}")
    }

    /// What a process that is only a physical controller tells of what it has itself.
    fn is_physicals(&self, request: &Request) -> bool {
        self.logicals().is_none()
            && matches!(
                request,
                Request::Vteps | Request::LogicalSwitches | Request::Fdb { .. } | Request::Sync
            )
    }

    /// Without others.
    async fn alone(&self, request: &Request) -> Reply {
        let released = match request {
            Request::ReleaseWithdrawals { logical_switch } => Some(release::here(self, logical_switch).await),
            _ => None,
        };
        if let Some(logicals) = self.logicals() {
            let core = logicals.borrow().values().next().map(|core| core.errands.clone());
            let Some(core) = core else { return stopping() };
            let reply = shard::answer(&core, request, (self.now)()).await.unwrap_or_else(stopping);
            return match (reply, released) {
                (Reply::Error { kind: ErrorKind::NotFound, .. }, Some(Ok(released))) => released,
                (reply, _) => reply,
            };
        }
        if let (Request::ReleaseWithdrawals { logical_switch }, Some(released)) = (request, released) {
            return released.unwrap_or_else(|owner| release::refusal(self, logical_switch, owner));
        }
        let (asked, now) = (request.clone(), (self.now)());
        let reply = self.look_physical(move |core| of_physical(core, &asked, now)).await;
        reply.map_or_else(stopping, |reply| reply.unwrap_or_else(|| self.logical_only()))
    }

    /// Of the whole cluster. Others are asked by another task: while one waits for another, that one's may be answered.
    async fn gather(&self, cluster: &Cluster, request: Request) -> Reply {
        let scope = request.scope();
        let standing = cluster.standing().borrow().clone();
        if let Some(unknown) = undeclared(&request, &standing) {
            return Reply::error(ErrorKind::NotFound, unknown);
        }
        let logicals = self.logicals().map(|logicals| logicals.borrow().clone());
        let name = &self.identity.name;
        let waits = self.home.waits();
        let doubt = match &waits {
            Some(waits) => Some(format!("{name} waits for {waits}")),
            None => {
                standing.away.as_ref().map(|reason| format!("{name} does not reach the cluster: {reason}"))
            }
        };
        let known = Here { name, logicals: logicals.as_ref(), waits, doubt };
        let Whereabouts { here, peers, missing } = Whereabouts::of(&scope, &standing.view, &known);
        let mut own = self.own(&request, &here).await;
        if let Request::ReleaseWithdrawals { logical_switch } = &request
            && let Ok(released) = release::here(self, logical_switch).await
        {
            own.add(None, released);
        }
        let mut gather = Gather::new(request, self.reach.clone(), peers, missing);
        gather.add(own, here, name);
        let (relay, reply) = Relay::new();
        // A client that went away is no event.
        tokio::spawn(async move { gather.run(relay).await.ok() });
        reply
    }

    /// Another member asks: nobody else is asked.
    async fn member(&self, request: &Request, shards: &[u16]) -> Result<Own, String> {
        if request.scope() == Scope::Process {
            return Err("it is no question to another controller".to_owned());
        }
        if self.ways.get().is_none() {
            return Err(self.early());
        }
        Ok(self.own(request, shards).await)
    }

    /// Of those shards what is here, and with alarms those of this process.
    async fn own(&self, request: &Request, shards: &[u16]) -> Own {
        let mut own = Own::default();
        if *request == Request::Alarms {
            own.add(None, Reply::rows(self.own_alarms()));
        }
        let Some(logicals) = self.logicals() else { return own };
        for shard in shards {
            let core = logicals.borrow().get(&shard_name(*shard)).map(|core| core.errands.clone());
            let Some(core) = core else { continue };
            // One whose reign is over is none of ours.
            if let Some(reply) = shard::answer(&core, request, (self.now)()).await {
                own.add(Some(*shard), reply);
            }
        }
        own
    }

    fn own_alarms(&self) -> Vec<crate::logical::Alarm> {
        let mut alarms = self.home.alarms(&self.identity.name);
        alarms.sort();
        alarms
    }

    fn logicals(&self) -> Option<&watch::Receiver<Logicals>> {
        self.ways.get()?.logicals.as_ref()
    }

    pub(super) fn physical(&self) -> Option<&mpsc::Sender<PhysicalErrand>> {
        self.ways.get()?.physical.as_ref()
    }

    fn cores(&self) -> Vec<mpsc::Sender<LogicalErrand>> {
        let logicals = self.logicals();
        logicals.map_or_else(Vec::new, |logicals| {
            logicals.borrow().values().map(|core| core.errands.clone()).collect()
        })
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
    pub(super) async fn look_physical<T: Send + 'static>(
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

/// What a question is about and nobody has.
fn undeclared(request: &Request, standing: &Standing) -> Option<String> {
    if standing.member.is_none() || standing.away.is_some() {
        // Another file may be in force.
        return None;
    }
    let declared = &standing.declared.as_ref()?.applied.declared;
    match (request.scope(), request) {
        (Scope::LogicalSwitch(name), _) => (!declared.logical_switches.contains_key(&name))
            .then(|| format!("logical switch {name} is not declared")),
        (_, Request::WhatIfVtepDown { vtep } | Request::ReleaseStorm { vtep }) => {
            (!declared.vteps.contains_key(vtep)).then(|| format!("VTEP {vtep} is not declared"))
        }
        _ => None,
    }
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

pub(super) fn stopping() -> Reply {
    Reply::error(ErrorKind::Failed, STOPPING)
}
