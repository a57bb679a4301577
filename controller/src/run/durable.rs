//! What the logical controller wants to outlive it goes to the state store, the latest of it. A store that fails is tried
//! again: nothing else waits for it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tracing::{info, warn};

use crate::logical::Durable;
use crate::store::{Store, StoreError};

const RETRY: Duration = Duration::from_secs(5);

pub(super) type SharedStore = Arc<Mutex<Store>>;

/// The core's end.
pub(super) struct Keeper {
    latest: watch::Sender<Option<Durable>>,
    store: SharedStore,
}

impl Keeper {
    pub(super) fn spawn(store: SharedStore) -> Self {
        let (latest, changes) = watch::channel(None);
        tokio::spawn(write(store.clone(), changes));
        Self { latest, store }
    }

    pub(super) fn keep(&mut self, durable: Durable) {
        self.latest.send_replace(Some(durable));
    }

    /// Returns when what was to be kept is on the disk, or the store failed. The task may not run on a single thread.
    pub(super) fn flush(&mut self) {
        let mut latest = self.latest.subscribe();
        if latest.borrow_and_update().is_some()
            && let Err(error) = tokio::task::block_in_place(|| put(&self.store, &latest))
        {
            warn!(error = &error as &dyn std::error::Error, "the state store failed; it is tried again");
        }
    }
}

async fn write(store: SharedStore, mut latest: watch::Receiver<Option<Durable>>) {
    let mut failed = false;
    loop {
        if !failed && latest.changed().await.is_err() {
            return;
        }
        latest.mark_unchanged();
        match tokio::task::block_in_place(|| put(&store, &latest)) {
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

/// Read while the store is locked, so that the latest is written last.
fn put(store: &SharedStore, latest: &watch::Receiver<Option<Durable>>) -> Result<(), StoreError> {
    let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
    let latest = latest.borrow().clone();
    latest.map_or(Ok(()), |durable| store.put_durable(&durable))
}
