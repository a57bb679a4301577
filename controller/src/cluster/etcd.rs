//! etcd, as far as the controllers use it: reads, transactions, leases, watches. Each call goes to one member and names
//! its time; when a member does not answer, the next call goes to the next one.
//!
//! What a watch brings is a hint and nothing else: etcd 3.4 may tell an event twice, late, or not at all. Reads are
//! linearizable, and the only source of truth.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};
use vtep_api::daemon::TlsFiles;
use vtep_api::grpc::{TransportError, endpoint};

#[expect(
    clippy::pedantic,
    clippy::allow_attributes_without_reason,
    clippy::enum_variant_names,
    unreachable_pub,
    reason = "generated from proto/etcd.proto"
)]
mod proto {
    include!(concat!(env!("OUT_DIR"), "/etcdserverpb.rs"));
}

mod words;

use proto::kv_client::KvClient;
use proto::lease_client::LeaseClient;
use proto::watch_client::WatchClient;

pub(crate) use words::{Entry, Found, Guard, Op, Outcome, Range};

/// Operations in one transaction; etcd's own default is 128.
pub(crate) const OPS_MAX: usize = 100;
/// Of one answer; the whole of a shard's masters may come at once.
const ANSWER_BYTES_MAX: usize = 64 << 20;

#[derive(Debug, thiserror::Error)]
pub enum EtcdError {
    #[error("etcd at {endpoint} did not answer within {} ms", within.as_millis())]
    Silent { endpoint: String, within: Duration },
    #[error("etcd at {endpoint} refused: {}", status.message())]
    Refused { endpoint: String, status: Box<Status> },
    #[error("etcd at {endpoint} broke its protocol: {what}")]
    Broken { endpoint: String, what: &'static str },
    /// A transaction's condition does not hold: somebody else has the key by now.
    #[error("{key} is not ours any more; nothing was written")]
    NotOurs { key: String },
}

impl EtcdError {
    /// Whether what was asked for happened, or happens yet, is not known.
    pub(crate) fn leaves_open(&self) -> bool {
        use tonic::Code;
        match self {
            Self::Silent { .. } | Self::Broken { .. } => true,
            Self::NotOurs { .. } => false,
            Self::Refused { status, .. } => matches!(
                status.code(),
                Code::Aborted
                    | Code::Cancelled
                    | Code::DeadlineExceeded
                    | Code::Internal
                    | Code::Unavailable
                    | Code::Unknown
            ),
        }
    }

    /// There is no such lease.
    pub(crate) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if status.code() == tonic::Code::NotFound)
    }
}

/// etcd's members.
pub(crate) struct Etcd {
    members: Vec<(String, Channel)>,
    /// The one that answered last.
    present: AtomicUsize,
    patience: Duration,
    #[cfg(test)]
    model: Option<super::tests::model::Client>,
}

/// In a simulation the model answers.
macro_rules! model {
    ($self:ident, $model:ident => $answer:expr) => {
        #[cfg(test)]
        if let Some($model) = &$self.model {
            return $answer;
        }
    };
}

impl Etcd {
    /// Nothing is connected before it is needed.
    pub(crate) fn new(
        endpoints: &[String],
        tls: Option<&TlsFiles>,
        patience: Duration,
    ) -> Result<Self, TransportError> {
        let channel = |address: &String| {
            let tls = tls.filter(|_| address.starts_with("https:"));
            Ok((address.clone(), endpoint(address, tls)?.connect_timeout(patience).connect_lazy()))
        };
        let members = endpoints.iter().map(channel).collect::<Result<_, _>>()?;
        Ok(Self {
            members,
            present: AtomicUsize::new(0),
            patience,
            #[cfg(test)]
            model: None,
        })
    }

    #[cfg(test)]
    pub(super) fn simulated(model: super::tests::model::Client) -> Self {
        let (members, present, patience) = (Vec::new(), AtomicUsize::new(0), Duration::ZERO);
        Self { members, present, patience, model: Some(model) }
    }

    /// Several ranges at one revision, linearizable.
    pub(crate) async fn read(&self, ranges: &[Range]) -> Result<Found, EtcdError> {
        let outcome = self.transact(&[], ranges.iter().cloned().map(Op::Read).collect()).await?;
        Ok(outcome.found)
    }

    /// All of it if every guard holds, else nothing. An error leaves open whether it happened.
    pub(crate) async fn transact(&self, guards: &[Guard], ops: Vec<Op>) -> Result<Outcome, EtcdError> {
        model!(self, model => model.transact(guards, ops).await);
        let request = words::transaction(guards, ops);
        let call = |channel: Channel| {
            let mut client = KvClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX);
            let request = request.clone();
            async move { client.txn(request).await }
        };
        Ok(words::outcome(self.call(call).await?))
    }

    /// A lease that ends by itself after so many seconds.
    pub(crate) async fn grant(&self, seconds: i64) -> Result<i64, EtcdError> {
        model!(self, model => model.grant(seconds).await);
        let request = proto::LeaseGrantRequest { ttl: seconds, id: 0 };
        let call = |channel: Channel| async move { LeaseClient::new(channel).lease_grant(request).await };
        Ok(self.call(call).await?.id)
    }

    /// Returns whether there still is such a lease. That may be wrong, and is only ever a hint.
    pub(crate) async fn keep_alive(&self, lease: i64) -> Result<bool, EtcdError> {
        model!(self, model => model.keep_alive(lease).await);
        let call = |channel: Channel| async move {
            let beats = tokio_stream::iter([proto::LeaseKeepAliveRequest { id: lease }]);
            let mut answers = LeaseClient::new(channel).lease_keep_alive(beats).await?.into_inner();
            answers.message().await.map(Response::new)
        };
        Ok(self.call(call).await?.is_some_and(|answer| answer.ttl > 0))
    }

    /// What hangs on it goes at once.
    pub(crate) async fn revoke(&self, lease: i64) -> Result<(), EtcdError> {
        model!(self, model => model.revoke(lease).await);
        let request = proto::LeaseRevokeRequest { id: lease };
        let call = |channel: Channel| async move { LeaseClient::new(channel).lease_revoke(request).await };
        self.call(call).await.map(drop)
    }

    /// Says whenever something in the ranges may have changed, and at its begin. Returns why it ended.
    pub(crate) async fn watch(&self, ranges: &[Range], hint: impl Fn()) -> EtcdError {
        let (at, endpoint, channel) = self.present();
        let refused = |status: Status| self.failed(at, &endpoint, status);
        // Held until the end: without it etcd takes the stream for finished.
        let (asks, requests) = mpsc::channel(ranges.len().max(1));
        for range in ranges {
            let create = words::watch(range);
            if asks.try_send(create).is_err() {
                return EtcdError::Broken { endpoint, what: "a watch was not taken" };
            }
        }
        let mut request = Request::new(ReceiverStream::new(requests));
        // One that has lost its leader ends the stream, instead of being silent.
        request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
        let begun = timeout(self.patience, WatchClient::new(channel).watch(request)).await;
        let mut answers = match begun {
            Ok(Ok(answers)) => answers.into_inner(),
            Ok(Err(status)) => return refused(status),
            Err(_) => return self.silent(at, endpoint),
        };
        loop {
            match answers.message().await {
                Ok(Some(answer)) if answer.canceled => {
                    return refused(Status::unavailable(answer.cancel_reason));
                }
                Ok(Some(_)) => hint(),
                Ok(None) => return EtcdError::Broken { endpoint, what: "a watch ended" },
                Err(status) => return refused(status),
            }
        }
    }

    /// And its number.
    fn present(&self) -> (usize, String, Channel) {
        let at = self.present.load(Ordering::Relaxed);
        let (endpoint, channel) = self.members[at % self.members.len()].clone();
        (at, endpoint, channel)
    }

    /// The next call goes to the next one. Many calls fail at once: who failed is passed over once.
    fn pass_over(&self, at: usize) {
        let next = at.wrapping_add(1);
        self.present.compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed).ok();
    }

    async fn call<T, F>(&self, call: impl Fn(Channel) -> F) -> Result<T, EtcdError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let (at, endpoint, channel) = self.present();
        match timeout(self.patience, call(channel)).await {
            Ok(Ok(answer)) => Ok(answer.into_inner()),
            Ok(Err(status)) => Err(self.failed(at, &endpoint, status)),
            Err(_) => Err(self.silent(at, endpoint)),
        }
    }

    fn failed(&self, at: usize, endpoint: &str, status: Status) -> EtcdError {
        self.pass_over(at);
        EtcdError::Refused { endpoint: endpoint.to_owned(), status: Box::new(status) }
    }

    fn silent(&self, at: usize, endpoint: String) -> EtcdError {
        self.pass_over(at);
        EtcdError::Silent { endpoint, within: self.patience }
    }
}

impl fmt::Debug for Etcd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.members.iter().map(|(address, _)| address)).finish()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use tokio::net::TcpListener;

    use super::*;

    /// Somebody who takes connections and says nothing, as a member that is stopped does.
    async fn silent() -> (TcpListener, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        (listener, address)
    }

    #[tokio::test]
    async fn calls_that_fail_together_pass_over_no_member_that_was_not_asked() {
        let (_listener, stopped) = silent().await;
        let endpoints = [stopped, "http://127.0.0.1:1".to_owned(), "http://127.0.0.1:2".to_owned()];
        let etcd = Etcd::new(&endpoints, None, Duration::from_millis(200)).unwrap();
        // As many bids as there are members: all of them ask the first one.
        let failed = join_all((0..3).map(|_| etcd.grant(3))).await;
        assert!(failed.iter().all(|failed| matches!(failed, Err(EtcdError::Silent { .. }))), "{failed:?}");
        assert_eq!(etcd.present().1, endpoints[1], "the next one was not asked yet");
    }
}
