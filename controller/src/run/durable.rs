//! What the logical controller wants to outlive it goes to the state store, the latest of it. A store that fails is tried
//! again: nothing else waits for it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tracing::{info, warn};
use vtep_api::{LogicalSwitchName, MacAddr, VtepName};

use crate::logical::Durable;
use crate::store::{Masters, Store, StoreError};

const RETRY: Duration = Duration::from_secs(5);
/// Masters of contested MACs change by thousands when a TOR fails: they are written together.
const GATHER: Duration = Duration::from_millis(20);

pub(super) type SharedStore = Arc<Mutex<Store>>;

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
    store: SharedStore,
}

impl Keeper {
    pub(super) fn spawn(store: SharedStore) -> Self {
        let (pending, changes) = watch::channel(Pending::default());
        tokio::spawn(write(store.clone(), pending.clone(), changes));
        Self { pending, store }
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

    /// Returns when what was to be kept is on the disk, or the store failed. The task may not run on a single thread.
    pub(super) fn flush(&mut self) {
        if let Err(error) = tokio::task::block_in_place(|| put(&self.store, &self.pending)) {
            warn!(error = &error as &dyn std::error::Error, "the state store failed; it is tried again");
        }
    }
}

async fn write(store: SharedStore, pending: watch::Sender<Pending>, mut changes: watch::Receiver<Pending>) {
    let mut failed = false;
    loop {
        if !failed && changes.changed().await.is_err() {
            return;
        }
        tokio::time::sleep(GATHER).await;
        changes.mark_unchanged();
        match tokio::task::block_in_place(|| put(&store, &pending)) {
            Ok(()) if failed => {
                info!("the state store works again");
                failed = false;
            }
            Ok(()) => {}
            Err(error) => {
                if !failed {
                    warn!(
                        error = &error as &dyn std::error::Error,
                        "the state store failed; it is tried again"
                    );
                }
                failed = true;
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

/// Taken while the store is locked, so that the latest is written last. What is not written stays pending, unless it
/// has changed meanwhile.
fn put(store: &SharedStore, pending: &watch::Sender<Pending>) -> Result<(), StoreError> {
    let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
    let mut taken = Pending::default();
    pending.send_if_modified(|pending| {
        taken = std::mem::take(pending);
        false
    });
    let durable = taken.durable.as_ref().map_or(Ok(()), |durable| store.put_durable(durable));
    let masters = if taken.masters.is_empty() { Ok(()) } else { store.put_masters(&taken.masters) };
    pending.send_if_modified(|pending| {
        if durable.is_err() && pending.durable.is_none() {
            pending.durable = taken.durable;
        }
        if masters.is_err() {
            taken.masters.append(&mut pending.masters);
            pending.masters = taken.masters;
        }
        false
    });
    durable.and(masters)
}
