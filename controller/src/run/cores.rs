//! The tasks of the cores that this process has, and the ways to them.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use vtep_api::{ControllerName, Term};

use super::clock::Clock;
use super::durable::{Keeper, Place, SharedStore};
use super::within::Within;
use super::{Served, logical, physical};
use crate::config::{Config, StoreKind};
use crate::control::{LogicalErrand, PhysicalErrand};
use crate::logical::Durable;
use crate::record::Recorder;
use crate::{Declared, logical as lc, physical as pc};

/// Messages that wait for a core; a large one is about half a MiB.
const INPUTS_MAX: usize = 64;
const ERRANDS_MAX: usize = 16;

/// What the cores begin with.
pub(super) struct Begin<'a> {
    pub(super) config: &'a Config,
    pub(super) term: Term,
    pub(super) declared: Arc<Declared>,
    pub(super) durable: Durable,
    pub(super) recorder: Option<Recorder>,
    pub(super) elections: Option<physical::Elections>,
}

/// The ways to a logical controller's core.
#[derive(Debug, Clone)]
pub(crate) struct LogicalCore {
    pub(super) inputs: mpsc::Sender<logical::Input>,
    pub(crate) errands: mpsc::Sender<LogicalErrand>,
}

/// Those that are here, by name: one, or those of the shards that this process has.
pub(crate) type Logicals = BTreeMap<ControllerName, LogicalCore>;

pub(super) struct Cores {
    /// `None`: this process is a physical controller only.
    pub(super) logicals: Option<watch::Receiver<Logicals>>,
    pub(super) physical: Option<mpsc::Sender<physical::Input>>,
    pub(super) physical_errands: Option<mpsc::Sender<PhysicalErrand>>,
    /// Whom the physical controller serves.
    pub(super) served: watch::Receiver<Served>,
    pub(super) tasks: Tasks,
}

/// Those without which the process is of no use: they run as long as it does.
#[derive(Default)]
pub(super) struct Tasks(JoinSet<&'static str>);

impl Tasks {
    pub(super) fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(async move {
            task.await;
            name
        });
    }

    /// Why the process cannot go on.
    pub(super) async fn ended(&mut self) -> anyhow::Error {
        match self.0.join_next().await {
            Some(Ok(name)) => anyhow::anyhow!("the task of the {name} ended"),
            Some(Err(error)) => anyhow::Error::new(error).context("a task failed"),
            None => std::future::pending().await,
        }
    }
}

impl LogicalCore {
    /// The core's task, to be run, and the ways to it.
    pub(super) fn new(task: logical::Task) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (inputs, taken) = mpsc::channel(INPUTS_MAX);
        let (errands, run) = mpsc::channel(ERRANDS_MAX);
        (Self { inputs, errands }, task.run(taken, run))
    }
}

impl Cores {
    /// With a logical controller, if this process is one and knows by itself of which logical switches.
    pub(super) fn spawn(begin: Begin<'_>, clock: Clock, store: Option<&SharedStore>) -> Self {
        let Begin { config, term, declared, durable, recorder, elections } = begin;
        let name = &config.controller.name;
        let (serve, served) = watch::channel(Served::new());
        let tasks = Tasks::default();
        let mut cores = Self { logicals: None, physical: None, physical_errands: None, served, tasks };
        let mut own = None;
        if let Some(store) = store.filter(|_| config.controller.role.is_logical()) {
            let start = lc::Start { name: name.clone(), term, declared, durable, elected: false };
            let keeper = Keeper::spawn(Place::Disk(store.clone()));
            let task = logical::Task::new(start, clock, keeper, recorder.clone(), None);
            let (core, task) = LogicalCore::new(task);
            cores.tasks.spawn("logical controller", task);
            own = Some(core.inputs.clone());
            // Nothing more comes: what is there stays.
            cores.logicals = Some(watch::channel(Logicals::from([(name.clone(), core)])).1);
        }
        if config.controller.role.is_physical() {
            let elected = config.store.kind == StoreKind::Etcd;
            let start = pc::Start { name: name.clone(), term, batch: config.batch, elected };
            let task = physical::Task::new(start, clock, serve, recorder, elections);
            let (inputs, taken) = mpsc::channel(INPUTS_MAX);
            let (errands, run) = mpsc::channel(ERRANDS_MAX);
            cores.tasks.spawn("physical controller", task.run(taken, run));
            (cores.physical, cores.physical_errands) = (Some(inputs), Some(errands));
        }
        if let (Some(logical), Some(physical)) = (own, cores.physical.clone()) {
            cores.tasks.spawn("session within", Within { name: name.clone(), logical, physical }.run());
        }
        cores
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_core_that_panics_ends_the_process_and_says_so() {
        let mut tasks = Tasks::default();
        tasks.spawn("physical controller", std::future::pending());
        tasks.spawn("logical controller", async { panic!("it does not hold") });
        let error = format!("{:#}", tasks.ended().await);
        assert!(error.contains("it does not hold"), "{error}");
    }
}
