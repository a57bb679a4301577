//! What the logical controller wants to outlive it goes to the state store, the latest of it. A store that fails is tried
//! again: nothing else waits for it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;
use tracing::{info, warn};
use vtep_api::daemon::chain;
use vtep_api::{LogicalSwitchName, MacAddr, VtepName};

use crate::cluster::{Cluster, Reign};
use crate::logical::Durable;
use crate::store::{Masters, Store};

const RETRY: Duration = Duration::from_secs(5);
/// Masters of contested MACs change by thousands when a TOR fails: they are written together.
const GATHER: Duration = Duration::from_millis(20);
/// An operator waits for it, and so does the core.
const FLUSH_MAX: Duration = Duration::from_secs(1);

pub(super) type SharedStore = Arc<Mutex<Store>>;

/// Where it is kept.
#[derive(Clone)]
pub(super) enum Place {
    Disk(SharedStore),
    Etcd { state: Box<Reign>, cluster: Cluster },
}

/// What is not on the disk.
#[derive(Default)]
struct Pending {
    durable: Option<Durable>,
    /// Bounded by the MACs that are contested.
    masters: Masters,
}

/// The core's end.
pub(super) struct Keeper {
    pending: watch::Sender<Pending>,
    place: Place,
    /// Ends the writer with this.
    _writes: oneshot::Sender<()>,
}

impl Keeper {
    pub(super) fn spawn(place: Place) -> Self {
        let (pending, changes) = watch::channel(Pending::default());
        let (writes, over) = oneshot::channel();
        let (written, sender) = (place.clone(), pending.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = write(written, sender, changes) => {}
                _ = over => {}
            }
        });
        Self { pending, place, _writes: writes }
    }

    pub(super) fn keep(&mut self, durable: Durable) {
        self.pending.send_modify(|pending| pending.durable = Some(durable));
    }

    pub(super) fn remember(
        &mut self,
        network: &LogicalSwitchName,
        masters: Vec<(MacAddr, Option<VtepName>)>,
    ) {
        let masters = masters.into_iter().map(|(mac, master)| ((network.clone(), mac), master));
        self.pending.send_modify(|pending| pending.masters.extend(masters));
    }

    /// Returns when what was to be kept is kept, or the store failed. The task may not run on a single thread.
    pub(super) fn flush(&mut self) {
        let written = tokio::task::block_in_place(|| {
            Handle::current().block_on(timeout(FLUSH_MAX, put(&self.place, &self.pending)))
        });
        let error = match written {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(_) => format!("no answer within {FLUSH_MAX:?}"),
        };
        warn!(error, "the state store failed; it is tried again");
    }
}

async fn write(place: Place, pending: watch::Sender<Pending>, mut changes: watch::Receiver<Pending>) {
    let mut failed = false;
    loop {
        if !failed && changes.changed().await.is_err() {
            return;
        }
        tokio::time::sleep(GATHER).await;
        changes.mark_unchanged();
        match put(&place, &pending).await {
            Ok(()) if failed => {
                info!("the state store works again");
                failed = false;
            }
            Ok(()) => {}
            Err(error) => {
                if !failed {
                    warn!(error, "the state store failed; it is tried again");
                }
                failed = true;
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// What is not written stays pending, unless it has changed meanwhile.
async fn put(place: &Place, pending: &watch::Sender<Pending>) -> Result<(), String> {
    match place {
        Place::Disk(store) => tokio::task::block_in_place(|| {
            // Taken while the store is locked, so that the latest is written last.
            let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
            let taken = take(pending);
            let durable = taken.durable.as_ref().map_or(Ok(()), |durable| store.put_durable(durable));
            let masters = if taken.masters.is_empty() { Ok(()) } else { store.put_masters(&taken.masters) };
            put_back(pending, taken, durable.is_err(), masters.is_err());
            durable.and(masters).map_err(|error| chain(&error))
        }),
        Place::Etcd { state, cluster } => {
            let _alone = cluster.writing().await;
            let taken = take(pending);
            let result = state.put(taken.durable.as_ref(), &taken.masters).await;
            cluster.noted(result.as_ref().err());
            put_back(pending, taken, result.is_err(), result.is_err());
            result.map_err(|error| chain(&error))
        }
    }
}

fn take(pending: &watch::Sender<Pending>) -> Pending {
    let mut taken = Pending::default();
    pending.send_if_modified(|pending| {
        taken = std::mem::take(pending);
        false
    });
    taken
}

fn put_back(pending: &watch::Sender<Pending>, mut taken: Pending, durable: bool, masters: bool) {
    pending.send_if_modified(|pending| {
        if durable && pending.durable.is_none() {
            pending.durable = taken.durable;
        }
        if masters {
            taken.masters.append(&mut pending.masters);
            pending.masters = taken.masters;
        }
        false
    });
}
