//! What this process has itself of an answer: by shards, each of which may refuse though others do not.

use vtep_api::{ErrorKind, Refusal};

use super::Reply;
use super::merge::Source;

#[derive(Debug, Default)]
pub struct Own(Vec<(Option<u16>, Reply)>);

/// The same, taken apart.
#[derive(Default)]
pub(crate) struct Parts {
    pub(crate) sources: Vec<Source>,
    pub(crate) refusals: Refusals,
}

/// Those of one sentence are one.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Vec<Refusal>);

impl Own {
    /// `None`: of the process itself.
    pub(super) fn add(&mut self, shard: Option<u16>, reply: Reply) {
        self.0.push((shard, reply));
    }

    pub(super) fn shards(&self) -> impl Iterator<Item = u16> {
        self.0.iter().filter_map(|(shard, _)| *shard)
    }

    pub(crate) fn into_parts(self) -> Parts {
        let mut parts = Parts::default();
        for (shard, reply) in self.0 {
            match reply {
                Reply::Rows(rows) => parts.sources.push(Source::here(shard, rows)),
                Reply::Error { kind, message } => parts.refusals.add(shard, kind, message.into_owned()),
                Reply::Live(_) | Reply::Relayed(_) => {
                    let message = "it has no rows of its own for that".to_owned();
                    parts.refusals.add(shard, ErrorKind::Failed, message);
                }
            }
        }
        parts
    }
}

impl Refusals {
    pub(crate) fn add(&mut self, shard: Option<u16>, kind: ErrorKind, message: String) {
        let alike = |known: &&mut Refusal| {
            known.shards.is_empty() == shard.is_none() && known.kind == kind && known.message == message
        };
        match self.0.iter_mut().find(alike) {
            Some(known) => known.shards.extend(shard),
            None => self.0.push(Refusal { shards: Vec::from_iter(shard), kind, message }),
        }
    }

    pub(crate) fn into_vec(self) -> Vec<Refusal> {
        self.0
    }
}
