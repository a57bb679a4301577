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
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::TcpListener;
use tokio::sync::mpsc::error::SendError;
use tokio::sync::{mpsc, watch};
use tokio::time::{Interval, MissedTickBehavior};
use tracing::info;
use vtep_api::daemon::Notify;

pub(crate) use self::channel::{Channel, OfVtep};
pub(crate) use self::outbox::{Inbox, Next};

use self::clock::Clock;
use self::cores::Cores;
use crate::Declared;
use crate::cluster::Cluster;
use crate::config::{Config, Override, StoreKind};
use crate::control::{Desk, Home, Identity, Server};
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
    let term = home.term().await?;
    let (store, cluster) = (home.disk().cloned(), home.cluster().cloned());
    let (declared, durable) = store.as_ref().map(recall).unwrap_or_default();
    let (elect, masteries) = watch::channel(Masteries::new());
    let masteries = cluster.as_ref().map(|_| masteries);
    let (recording, elected) = (recorder.clone(), masteries.clone());
    let begin = cores::Begin { config, term, declared, durable, recorder: recording, masteries: elected };
    let mut cores = Cores::spawn(begin, clock, store.as_ref());
    if let Some(cluster) = &cluster {
        follow(config, cluster, clock, elect, &mut cores);
    }

    let (ask, asks) = mpsc::channel(ASKS_MAX);
    let server = Server::listen(&config.control.socket, ask.clone())?;
    let identity = Identity { name: config.controller.name.clone(), role: config.controller.role, term };
    let Cores { logicals, physical_errands, .. } = &cores;
    let (logicals, physical) = (logicals.clone(), physical_errands.clone());
    let now = Box::new(move || clock.now());
    tokio::spawn(Desk { identity, home, logicals, physical, recorder, now }.run(asks));
    let metrics = crate::metrics::serve(&config.metrics, ask).await;
    metrics.with_context(|| format!("metrics.listen {} is not to be had", config.metrics.listen))?;
    let joins = join::Joins::start(config, cores.physical.as_ref())?;
    if let Some(physical) = cores.physical.clone() {
        tokio::spawn(crate::tor::serve((&config.ovsdb).into(), cores.served.clone(), masteries, physical));
    }
    let serving = serve::spawn(config, listener, &cores)?;

    Notify::ready();
    let (name, role) = (&config.controller.name, config.controller.role.as_str());
    info!(%name, role, term = term.0, listen = %config.listen.address, "running");
    let end = signals::wait(&start, joins, serving, cores.tasks).await;
    Notify::stopping();
    if let Some(cluster) = cluster {
        cluster.leave().await;
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

/// Whatever this process is by elections.
fn follow(
    config: &Config,
    cluster: &Cluster,
    clock: Clock,
    elect: watch::Sender<Masteries>,
    cores: &mut Cores,
) {
    if config.controller.role.is_logical() {
        let (shards, logicals) = shards::Shards::new(cluster.clone(), clock);
        cores.tasks.spawn("shards", shards.run());
        cores.logicals = Some(logicals);
    }
    if let Some(physical) = cores.physical.clone() {
        let joins = join::Joins::follow_cluster(config.clone(), physical, cluster.standing());
        cores.tasks.spawn("sessions with shards", joins);
    }
    if let Some(physical) = cores.physical.clone() {
        cores.tasks.spawn("elections of VTEPs", vteps::follow(cluster.standing(), elect, physical));
    }
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
