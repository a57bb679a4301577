//! Where what outlives the process is, and what is known of that.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use vtep_api::daemon::chain;
use vtep_api::{ControllerName, Term};

use super::view::{AppliedStatus, StoreStatus};
use crate::cluster::Cluster;
use crate::logical::{Alarm, AlarmKind};
use crate::store::{Applied, Store, StoreError};

#[derive(Debug, Clone)]
pub enum Home {
    /// Shared with whoever writes down what the core persists. Locked for one read or write.
    Disk(Arc<Mutex<Store>>),
    Cluster(Cluster),
}

impl Home {
    pub fn disk(&self) -> Option<&Arc<Mutex<Store>>> {
        match self {
            Self::Disk(store) => Some(store),
            Self::Cluster(_) => None,
        }
    }

    pub fn cluster(&self) -> Option<&Cluster> {
        match self {
            Self::Disk(_) => None,
            Self::Cluster(cluster) => Some(cluster),
        }
    }

    /// Of this process, higher than that of every earlier one of its name. Waits until etcd gives it.
    pub(crate) async fn term(&self) -> Result<Term, StoreError> {
        match self {
            Self::Cluster(cluster) => Ok(cluster.joined().await),
            Self::Disk(_) => {
                let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                let clock = u64::try_from(since_epoch.as_millis()).unwrap_or_default();
                // On the disk before it is told to anybody.
                self.with_disk(|store| store.next_term(clock)).unwrap_or(Ok(Term::default()))
            }
        }
    }

    /// Where it outlives this process before anybody acts on it. An error is a sentence for the operator.
    pub(super) async fn declare(&self, applied: Applied) -> Result<(), String> {
        match self {
            Self::Cluster(cluster) => cluster.declare(&applied).await,
            Self::Disk(_) => {
                let put = self.with_disk(|store| store.put_declared(applied));
                put.unwrap_or(Ok(())).map_err(|error| format!("nothing is applied: {}", chain(&error)))
            }
        }
    }

    /// What keeps this process from having any office.
    pub(super) fn waits(&self) -> Option<String> {
        let standing = self.cluster()?.standing();
        let standing = standing.borrow();
        let reason = standing.away.as_deref().unwrap_or("it is not there yet");
        standing.member.is_none().then(|| format!("membership in the cluster: {reason}"))
    }

    /// What holds of the cluster.
    pub(super) fn alarms(&self, own: &ControllerName) -> Vec<Alarm> {
        let Some(cluster) = self.cluster() else { return Vec::new() };
        let standing = cluster.standing();
        let standing = standing.borrow();
        let away = standing.away.as_ref().map(|reason| (AlarmKind::ClusterAway, reason.clone()));
        let outdated = standing.outdated.as_ref();
        let outdated = outdated.map(|outdated| (AlarmKind::TermsOutdated, outdated.to_string()));
        let alarm = |(kind, message)| Alarm { kind, subject: own.to_string(), message };
        away.into_iter().chain(outdated).map(alarm).collect()
    }

    pub(super) fn status(&self) -> (StoreStatus, Option<AppliedStatus>) {
        let applied = |applied: &Applied| AppliedStatus {
            name: applied.name.clone(),
            applied_at_ms: applied.applied_at_ms,
        };
        match self {
            Self::Cluster(cluster) => {
                let health = cluster.health();
                let (path, errors, fenced) = (cluster.describe(), health.errors, health.fenced);
                let standing = cluster.standing();
                let failing = health.failing.or_else(|| standing.borrow().away.clone());
                let store = StoreStatus { path, errors, fenced, failing };
                let declared = standing.borrow().declared.as_ref().map(|declared| applied(&declared.applied));
                (store, declared)
            }
            Self::Disk(_) => {
                let status = self.with_disk(|store| {
                    let path = store.path().display().to_string();
                    let failing = store.failing().map(ToOwned::to_owned);
                    let status = StoreStatus { path, errors: store.errors(), fenced: 0, failing };
                    (status, store.declared().map(applied))
                });
                status.unwrap_or_default()
            }
        }
    }

    /// The disk may take its time: another thread does the work of this one meanwhile.
    fn with_disk<T>(&self, run: impl FnOnce(&mut Store) -> T) -> Option<T> {
        let store = self.disk()?;
        Some(tokio::task::block_in_place(|| run(&mut store.lock().unwrap_or_else(PoisonError::into_inner))))
    }
}
