//! The logical controllers of the shards that this process has: one core each, which lives as long as its reign.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tracing::{info, warn};
use vtep_api::daemon::chain;
use vtep_api::{ControllerName, Term};

use super::clock::Clock;
use super::cores::{LogicalCore, Logicals};
use super::durable::{Keeper, Place};
use super::logical;
use crate::Declared;
use crate::cluster::{Cluster, Declaration, Office, Reign, Standing};
use crate::control::{Errand, Order};
use crate::logical::{Durable, Start};

/// Before what an earlier reign left is read once more.
const RETRY: Duration = Duration::from_millis(200);

pub(super) struct Shards {
    cluster: Cluster,
    clock: Clock,
    running: BTreeMap<Office, Running>,
    /// Reigns whose state is being read.
    beginning: JoinSet<(Reign, Durable)>,
    awaited: BTreeMap<Office, (Term, AbortHandle)>,
    tasks: JoinSet<()>,
    cores: watch::Sender<Logicals>,
}

struct Running {
    term: Term,
    /// Of the declared file that it was told.
    declared: i64,
    core: LogicalCore,
    task: AbortHandle,
}

impl Shards {
    pub(super) fn new(cluster: Cluster, clock: Clock) -> (Self, watch::Receiver<Logicals>) {
        let (cores, told) = watch::channel(Logicals::new());
        let (running, awaited) = (BTreeMap::new(), BTreeMap::new());
        let (beginning, tasks) = (JoinSet::new(), JoinSet::new());
        (Self { cluster, clock, running, beginning, awaited, tasks, cores }, told)
    }

    /// Until the cluster is left, or a core fails: begun again in the same term it would count its versions anew.
    pub(super) async fn run(mut self) {
        let mut standings = self.cluster.standing();
        loop {
            let standing = standings.borrow_and_update().clone();
            self.follow(&standing).await;
            tokio::select! {
                changed = standings.changed() => if changed.is_err() {
                    return;
                },
                Some(read) = self.beginning.join_next() => if let Ok((reign, durable)) = read {
                    self.begin(&reign, durable, &standing);
                },
                Some(ended) = self.tasks.join_next() => if ended.is_err_and(|error| error.is_panic()) {
                    return;
                },
            }
        }
    }

    async fn follow(&mut self, standing: &Standing) {
        let reigns =
            |office: &Office, term: Term| standing.reigns.get(office).is_some_and(|reign| reign.term == term);
        self.running.retain(|office, running| {
            let stays = reigns(office, running.term) && !running.task.is_finished();
            if !stays {
                running.task.abort();
                info!(%office, term = running.term.0, "a logical controller ends");
            }
            stays
        });
        self.awaited.retain(|office, (term, reading)| {
            let stays = reigns(office, *term);
            if !stays {
                reading.abort();
            }
            stays
        });
        for (office, reign) in standing.reigns.iter().filter(|(office, _)| office.controller().is_some()) {
            if !self.running.contains_key(office) && !self.awaited.contains_key(office) {
                let reading = self.beginning.spawn(read(reign.clone()));
                self.awaited.insert(office.clone(), (reign.term, reading));
            }
        }
        if let Some(declared) = &standing.declared {
            self.declare(declared, standing.view.shards()).await;
        }
        self.tell();
    }

    async fn declare(&mut self, Declaration { revision, applied }: &Declaration, shards: u16) {
        let mut sharded = None;
        for running in self.running.values_mut() {
            // A lower one, too: etcd may have been put back to an older state.
            if running.declared == *revision {
                continue;
            }
            running.declared = *revision;
            let sharded = sharded.get_or_insert_with(|| Arc::new(applied.declared.sharded(shards)));
            // One that has ended is taken out with the next look.
            running.core.errands.send(Errand::Event(Order::Declare(sharded.clone()))).await.ok();
        }
    }

    fn begin(&mut self, reign: &Reign, durable: Durable, standing: &Standing) {
        let office = &reign.office;
        if self.awaited.remove(office).is_none_or(|(term, _)| term != reign.term) {
            return;
        }
        let Some(name) = office.controller() else { return };
        let declared = standing.declared.as_ref();
        let sharded = |applied: &Declaration| applied.applied.declared.sharded(standing.view.shards());
        let start = Start {
            name,
            term: reign.term,
            declared: Arc::new(declared.map_or_else(Declared::default, sharded)),
            durable,
            elected: true,
        };
        let place = Place::Etcd { state: Box::new(reign.clone()), cluster: self.cluster.clone() };
        let (tenure, heard, late) = (reign.tenure.clone(), self.cluster.heard(), self.cluster.late());
        let elected = logical::Reign { tenure, heard, late };
        let task = logical::Task::new(start, self.clock, Keeper::spawn(place), None, Some(elected));
        let (core, task) = LogicalCore::new(task);
        let task = self.tasks.spawn(task);
        info!(%office, term = reign.term.0, "a logical controller begins");
        let declared = declared.map_or(0, |declared| declared.revision);
        self.running.insert(office.clone(), Running { term: reign.term, declared, core, task });
        self.tell();
    }

    fn tell(&self) {
        let cores = self.running.iter();
        let cores = cores.filter_map(|(office, running)| Some((office.controller()?, running.core.clone())));
        let cores: Logicals = cores.collect();
        self.cores.send_if_modified(|told| {
            let same = |name: &ControllerName, core: &LogicalCore| {
                told.get(name).is_some_and(|told| told.errands.same_channel(&core.errands))
            };
            let all_same = told.len() == cores.len() && cores.iter().all(|(name, core)| same(name, core));
            if !all_same {
                *told = cores;
            }
            !all_same
        });
    }
}

async fn read(reign: Reign) -> (Reign, Durable) {
    let mut warned = false;
    loop {
        match reign.read().await {
            Ok(durable) => return (reign, durable),
            Err(error) => {
                if !std::mem::replace(&mut warned, true) {
                    warn!(error = chain(&error), "what an earlier reign left is not to be had yet");
                }
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}
