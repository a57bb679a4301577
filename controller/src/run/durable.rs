//! What the logical controller wants to outlive it goes to the state store, the latest of it. A store that fails is tried
//! again: nothing else waits for it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;
use tracing::{info, warn};
use vtep_api::daemon::chain;
use vtep_api::{LogicalSwitchName, MacAddr};

use crate::cluster::{Cluster, Reign};
use crate::logical::{Durable, Remembered};
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
    /// Bounded by the MACs that are contested or kept.
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
        masters: Vec<(MacAddr, Option<Remembered>)>,
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
            let mut taken = Taken::of(pending);
            let durable = taken.durable.as_ref().map_or(Ok(()), |durable| store.put_durable(durable));
            let masters = if taken.masters.is_empty() { Ok(()) } else { store.put_masters(&taken.masters) };
            taken.are_kept(durable.is_ok(), masters.is_ok());
            durable.and(masters).map_err(|error| chain(&error))
        }),
        Place::Etcd { state, cluster } => {
            let _alone = cluster.writing().await;
            let mut taken = Taken::of(pending);
            let result = state.put(taken.durable.as_ref(), &taken.masters).await;
            cluster.noted(result.as_ref().err());
            taken.are_kept(result.is_ok(), result.is_ok());
            result.map_err(|error| chain(&error))
        }
    }
}

/// What is being written. Where that does not come to its end, by an error or because nobody waits for it any longer, it is
/// pending again.
struct Taken<'a> {
    pending: &'a watch::Sender<Pending>,
    durable: Option<Durable>,
    masters: Masters,
}

impl<'a> Taken<'a> {
    fn of(pending: &'a watch::Sender<Pending>) -> Self {
        let mut taken = Pending::default();
        pending.send_if_modified(|pending| {
            taken = std::mem::take(pending);
            false
        });
        let Pending { durable, masters } = taken;
        Self { pending, durable, masters }
    }

    fn are_kept(&mut self, durable: bool, masters: bool) {
        if durable {
            self.durable = None;
        }
        if masters {
            self.masters.clear();
        }
    }
}

impl Drop for Taken<'_> {
    /// What has changed meanwhile counts.
    fn drop(&mut self) {
        let (durable, mut masters) = (self.durable.take(), std::mem::take(&mut self.masters));
        self.pending.send_if_modified(|pending| {
            if pending.durable.is_none() {
                pending.durable = durable;
            }
            masters.append(&mut pending.masters);
            pending.masters = masters;
            false
        });
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tokio::net::TcpListener;
    use vtep_api::Term;

    use super::*;
    use crate::cluster::Office;
    use crate::config::Config;

    /// It takes connections and says nothing, as one that is stopped does.
    #[tokio::test(flavor = "multi_thread")]
    async fn what_etcd_did_not_take_in_time_is_pending_still() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        // Etcd is waited for longer than an operator is let wait.
        let text = format!("[store]\nkind = \"etcd\"\nlease_secs = 60\nendpoints = [\"http://{address}\"]\n");
        let config = Config::parse(&text, Path::new("controller.toml"), &[]).unwrap();
        let cluster = Cluster::join(&config, &config.store).unwrap();
        let state = Box::new(cluster.reign(Office::Shard(0), Term(1)));
        let place = Place::Etcd { state, cluster };
        let (pending, _changes) = watch::channel(Pending::default());
        let mut keeper = Keeper { pending, place, _writes: oneshot::channel().0 };
        let network = LogicalSwitchName::try_from("blue").unwrap();
        let master = Remembered { master: "a".try_into().unwrap(), kept: false };
        keeper.keep(Durable::default());
        keeper.remember(&network, vec![(MacAddr::new([2, 0, 0, 0, 0, 1]), Some(master))]);
        tokio::task::spawn(async move {
            keeper.flush();
            let pending = keeper.pending.borrow();
            assert!(pending.durable.is_some(), "an operator's word is forgotten");
            assert_eq!(pending.masters.len(), 1, "a master is forgotten");
        })
        .await
        .unwrap();
    }
}
