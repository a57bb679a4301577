//! An office of ours, and what outlives the reigns of a shard's logical controller. Each write stands under the condition
//! that the office is still held by the term that writes.

use std::sync::Arc;

use vtep_api::Term;

use super::etcd::{Etcd, EtcdError, Guard, OPS_MAX, Op, Range};
use super::keys::Keys;
use super::{Office, Tenure};
use crate::bugs::bug;
use crate::logical::{Durable, Remembered};
use crate::store::{Envelope, Masters};

/// The right to an office, and to write its state.
#[derive(Debug, Clone)]
pub struct Reign {
    pub(super) etcd: Arc<Etcd>,
    pub(super) keys: Keys,
    pub office: Office,
    pub(super) created: i64,
    pub term: Term,
    pub tenure: Tenure,
}

#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("the state of {office} was not reached")]
    Etcd { office: Office, source: EtcdError },
    #[error("the state of {office} in etcd is damaged: {problem}")]
    Damaged { office: Office, problem: String },
    #[error("the state of {office} cannot be written down")]
    Encode { office: Office, source: serde_json::Error },
}

impl Reign {
    /// Nobody of an earlier term can change it any more.
    pub(crate) async fn read(&self) -> Result<Durable, StateError> {
        let range = self.keys.state(&self.office);
        let outcome = self.transact(vec![Op::Read(range)]).await?;
        let mut durable = Durable::default();
        let damaged = |problem: String| StateError::Damaged { office: self.office.clone(), problem };
        let entries = outcome.into_iter().next().unwrap_or_default();
        if let Some(entry) = entries.iter().find(|entry| entry.key == self.keys.durable(&self.office)) {
            durable = Envelope::open(&entry.value).map_err(damaged)?;
        }
        for entry in entries {
            let Some((network, mac)) = self.keys.read_master(&self.office, &entry.key) else { continue };
            let master = String::from_utf8(entry.value).ok().and_then(|text| Remembered::from_text(&text));
            let master = master.ok_or_else(|| damaged(format!("{} names no VTEP", entry.key)))?;
            durable.masters.entry(network).or_default().insert(mac, master);
        }
        Ok(durable)
    }

    pub(crate) async fn put(&self, durable: Option<&Durable>, masters: &Masters) -> Result<(), StateError> {
        let mut ops = Vec::new();
        if let Some(durable) = durable {
            let value = Envelope::seal(durable)
                .map_err(|source| StateError::Encode { office: self.office.clone(), source })?;
            ops.push(Op::Put { key: self.keys.durable(&self.office), value, lease: None });
        }
        ops.extend(masters.iter().map(|((network, mac), master)| {
            let key = self.keys.master(&self.office, network, *mac);
            match master {
                Some(master) => Op::Put { key, value: master.to_text().into(), lease: None },
                None => Op::Delete(Range::key(key)),
            }
        }));
        for part in ops.chunks(OPS_MAX) {
            self.transact(part.to_vec()).await?;
        }
        Ok(())
    }

    async fn transact(&self, ops: Vec<Op>) -> Result<Vec<Vec<super::etcd::Entry>>, StateError> {
        let key = self.keys.office(&self.office);
        let guard = Guard::Created { key: key.clone(), revision: self.created };
        let refused = |source| StateError::Etcd { office: self.office.clone(), source };
        let guards = [guard].into_iter().filter(|_| !bug!(UnguardedState)).collect::<Vec<_>>();
        let outcome = self.etcd.transact(&guards, ops).await.map_err(refused)?;
        if outcome.done { Ok(outcome.found.ranges) } else { Err(refused(EtcdError::NotOurs { key })) }
    }
}

impl StateError {
    /// Somebody else has the office.
    pub fn is_not_ours(&self) -> bool {
        matches!(self, Self::Etcd { source: EtcdError::NotOurs { .. }, .. })
    }
}
