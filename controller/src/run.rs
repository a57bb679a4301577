//! The running controller: the tasks that own the cores, and what carries messages between them and the world.
//!
//! ```text
//! agents ───gRPC───┐                              ┌──gRPC── physical controllers elsewhere
//! TORs ───adapters─┤→ physical ⇄ within ⇄ logical ←┤
//! logical          │      ↑                  ↑     │
//! controllers gRPC─┘      └───── desk ───────┘ ←───┴── control socket, metrics
//! elsewhere
//! ```
//! Every arrow is a bounded queue. A core waits for nobody: what it says goes to an outbox, whose session ends when it is
//! not emptied.

mod channel;
mod clock;
pub(crate) mod cores;
mod durable;
mod inquiries;
mod join;
mod logical;
mod notice;
mod outbox;
pub(crate) mod physical;
mod serve;
mod sessions;
mod shards;
mod signals;
mod vteps;
mod wire;
mod within;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::TcpListener;
use tokio::sync::mpsc::error::SendError;
use tokio::sync::{mpsc, watch};
use tokio::time::{Interval, MissedTickBehavior};
use tracing::info;
use vtep_api::Term;
use vtep_api::daemon::Notify;

pub(crate) use self::channel::{Channel, OfVtep};
pub(crate) use self::outbox::{Inbox, Next};

use self::clock::Clock;
use self::cores::Cores;
use self::inquiries::Inquiries;
use self::signals::Signals;
use crate::Declared;
use crate::cluster::Cluster;
use crate::config::{Config, Override, StoreKind};
use crate::control::far::Reach;
use crate::control::{Desk, Home, Identity, Server, Ways};
use crate::logical::Durable;
use crate::record::Recorder;
use crate::store::Store;
use crate::tor::Masteries;

/// Both cores' timers are no finer.
const TICK: Duration = Duration::from_millis(100);
/// Questions that wait for the desk.
const ASKS_MAX: usize = 32;

type Served = BTreeMap<vtep_api::VtepName, vtep_api::Served>;

/// What a start needs to know.
#[derive(Debug, Clone)]
pub struct Start {
    pub config: Config,
    /// Where `config` came from, to be read again on SIGHUP.
    pub path: PathBuf,
    pub overrides: Vec<Override>,
}

/// Runs until a signal. Nothing is taken back then: forwarding goes on by what was said last.
///
/// Needs a runtime of several threads.
pub async fn run(start: Start) -> Result<()> {
    let config = &start.config;
    let listener = TcpListener::bind(config.listen.address).await;
    let listener =
        listener.with_context(|| format!("listen.address {} is not to be had", config.listen.address))?;
    let clock = Clock::start();
    let recorder = record(config)?;
    let home = match config.store.kind {
        StoreKind::Embedded => Home::Disk(Arc::new(Mutex::new(Store::open(&config.controller.state)?))),
        StoreKind::Etcd => Home::Cluster(Cluster::join(config, &config.store)?),
    };
    let (ask, asks) = mpsc::channel(ASKS_MAX);
    let metrics = crate::metrics::serve(&config.metrics, ask.clone()).await;
    metrics.with_context(|| format!("metrics.listen {} is not to be had", config.metrics.listen))?;
    let server = Server::listen(&config.control.socket, ask.clone())?;
    let identity = Identity { name: config.controller.name.clone(), role: config.controller.role };
    let (now, ways) = (Box::new(move || clock.now()), Arc::new(OnceLock::new()));
    let reach = Reach {
        own: config.controller.name.clone(),
        tls: config.tls.clone(),
        allow_plaintext: config.controller.allow_plaintext,
    };
    let desk =
        Desk { identity, home: home.clone(), ways: ways.clone(), reach, recorder: recorder.clone(), now };
    let mut desk = Some(desk.run(asks));
    let mut signals = Signals::new(config)?;
    if home.cluster().is_some() {
        // What operators see is there before etcd is. Without etcd nobody need be told to wait.
        desk.take().map(tokio::spawn);
        Notify::ready();
    }
    let term = tokio::select! {
        term = home.term() => Some(term?),
        () = signals.wait_early(&start) => None,
    };
    let end = match term {
        Some(term) => {
            let (cores, masteries) = begin(config, term, clock, recorder, &home);
            let (logicals, physical) = (cores.logicals.clone(), cores.physical_errands.clone());
            ways.set(Ways { term, logicals, physical }).ok();
            desk.take().map(tokio::spawn);
            let joins = join::Joins::start(config, cores.physical.as_ref())?;
            if let Some(physical) = cores.physical.clone() {
                let late = home.cluster().map(Cluster::late).unwrap_or_default();
                let settings = crate::tor::Settings::new(&config.ovsdb, late);
                tokio::spawn(crate::tor::serve(settings, cores.served.clone(), masteries, physical));
            }
            let inquiries = home.cluster().map(|cluster| {
                Inquiries::new(config.controller.name.clone(), ask.clone(), cluster.standing())
            });
            let serving = serve::spawn(config, listener, &cores, inquiries)?;
            Notify::ready();
            let (name, role) = (&config.controller.name, config.controller.role.as_str());
            info!(%name, role, term = term.0, listen = %config.listen.address, "running");
            signals.wait(&start, joins, serving, cores.tasks).await
        }
        None => Ok(()),
    };
    Notify::stopping();
    if let Some(cluster) = home.cluster() {
        cluster.clone().leave().await;
    }
    server.finish().await;
    info!("stopped; forwarding goes on by what was said last");
    end
}

/// What an earlier process left.
fn recall(store: &Arc<Mutex<Store>>) -> (Arc<Declared>, Durable) {
    let store = store.lock().unwrap_or_else(PoisonError::into_inner);
    let declared = store.declared().map(|applied| applied.declared.clone()).unwrap_or_default();
    (declared, store.durable().clone())
}

/// The cores, and whatever this process is by elections.
fn begin(
    config: &Config,
    term: Term,
    clock: Clock,
    recorder: Option<Recorder>,
    home: &Home,
) -> (Cores, Option<watch::Receiver<Masteries>>) {
    let (store, cluster) = (home.disk(), home.cluster());
    let (declared, durable) = store.map(recall).unwrap_or_default();
    let (elect, masteries) = watch::channel(Masteries::new());
    let masteries = cluster.map(|_| masteries);
    let elections = masteries.clone().zip(cluster);
    let elections = elections.map(|(masteries, cluster)| {
        let (heard, late) = (cluster.heard(), cluster.late());
        physical::Elections { masteries, heard, late }
    });
    let begin = cores::Begin { config, term, declared, durable, recorder, elections };
    let mut cores = Cores::spawn(begin, clock, store);
    let Some(cluster) = cluster else { return (cores, masteries) };
    if config.controller.role.is_logical() {
        let (shards, logicals) = shards::Shards::new(cluster.clone(), clock);
        cores.tasks.spawn("shards", shards.run());
        cores.logicals = Some(logicals);
    }
    if let Some(physical) = cores.physical.clone() {
        let joins = join::Joins::follow_cluster(config.clone(), physical.clone(), cluster.standing());
        cores.tasks.spawn("sessions with shards", joins);
        cores.tasks.spawn("elections of VTEPs", vteps::follow(cluster.standing(), elect, physical));
    }
    (cores, masteries)
}

fn record(config: &Config) -> Result<Option<Recorder>> {
    let Some(path) = &config.controller.record else { return Ok(None) };
    let bytes_max = u64::from(config.controller.record_mib.as_u32()) << 20;
    Ok(Some(Recorder::append(path, bytes_max)?))
}

/// The task that messages go to has ended: the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone;

impl<T> From<SendError<T>> for Gone {
    fn from(_: SendError<T>) -> Self {
        Self
    }
}

fn tick() -> Interval {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick
}
