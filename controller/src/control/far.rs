//! A question to another member of the cluster, and its answer as it comes.

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use tokio::time::timeout;
use tonic::{Code, Request, Streaming};
use vtep_api::daemon::chain;
use vtep_api::grpc::{CONTROLLER, TlsFiles, endpoint, inquiry_client, require_tls};
use vtep_api::{Answer, ControllerName, Question, Refusal};

use crate::config::PeerAddress;

/// Until it says that it heard the question.
const REACH: Duration = Duration::from_secs(3);
/// Between two pieces of its answer. A large table takes its time.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// How other members are reached.
#[derive(Debug, Clone)]
pub(crate) struct Reach {
    pub(crate) own: ControllerName,
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) allow_plaintext: bool,
}

/// Who is to be asked, and of what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) name: ControllerName,
    pub(crate) address: String,
    pub(crate) shards: Vec<u16>,
}

/// A part of an answer that is not to be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Missing {
    /// None: what a controller knows of itself.
    pub(crate) shards: Vec<u16>,
    /// `null`: nobody has them, or it is not known who there is.
    pub(crate) controller: Option<ControllerName>,
    pub(crate) address: Option<String>,
    pub(crate) reason: String,
}

/// Somebody who answers.
pub(crate) struct Far {
    pub(crate) peer: Peer,
    stream: Streaming<Answer>,
    rows: Vec<u8>,
    /// Of `rows`, what was taken.
    taken: usize,
    pub(crate) end: Option<End>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) shards: Vec<u16>,
    pub(crate) refusals: Vec<Refusal>,
}

impl Reach {
    pub(crate) async fn ask(&self, peer: Peer, request: &[u8]) -> Result<Far, (Peer, Unheard)> {
        let question =
            Question { from: self.own.clone(), request: request.to_vec(), shards: peer.shards.clone() };
        let heard = timeout(REACH, self.reach(&peer, question)).await;
        let silent = || Unheard { reason: format!("it does not answer within {REACH:?}"), reached: true };
        match heard.unwrap_or_else(|_| Err(silent())) {
            Ok(stream) => Ok(Far { peer, stream, rows: Vec::new(), taken: 0, end: None }),
            Err(unheard) => Err((peer, unheard)),
        }
    }

    async fn reach(&self, peer: &Peer, question: Question) -> Result<Streaming<Answer>, Unheard> {
        let unreached = |error: &dyn std::error::Error| Unheard {
            reason: format!("it is not reached: {}", chain(error)),
            reached: false,
        };
        let address: PeerAddress = peer.address.parse().map_err(|error| unreached(&error))?;
        require_tls(address.host(), self.tls.is_some(), self.allow_plaintext)
            .map_err(|error| unreached(&error))?;
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let endpoint = endpoint(&format!("{scheme}://{address}"), self.tls.as_ref());
        let endpoint = endpoint.map_err(|error| unreached(&error))?;
        let connection = endpoint.connect().await.map_err(|error| unreached(&error))?;
        let answer = inquiry_client(connection).ask(Request::new(question)).await;
        let answer = answer.map_err(|status| Unheard {
            reason: format!("it refuses: {}", status.message()),
            reached: !matches!(
                status.code(),
                Code::InvalidArgument
                    | Code::PermissionDenied
                    | Code::ResourceExhausted
                    | Code::Unimplemented
            ),
        })?;
        let name = answer.metadata().get_bin(CONTROLLER).and_then(|name| name.to_bytes().ok());
        if name.as_deref() != Some(peer.name.as_str().as_bytes()) {
            let name = String::from_utf8_lossy(name.as_deref().unwrap_or_default()).into_owned();
            return Err(Unheard { reason: format!("controller {name:?} answers there"), reached: true });
        }
        Ok(answer.into_inner())
    }
}

/// Somebody does not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unheard {
    pub(crate) reason: String,
    /// It may have heard the question, and done what it is asked to do.
    pub(crate) reached: bool,
}

impl Far {
    pub(crate) fn waits(&self) -> bool {
        self.end.is_none() && self.taken == self.rows.len()
    }

    /// Appends the next row. An error is what is to be said of it.
    pub(crate) async fn next(&mut self, row: &mut Vec<u8>) -> Result<Option<()>, String> {
        while self.end.is_none() {
            let rest = &self.rows[self.taken..];
            if let Some(length) = rest.iter().position(|byte| *byte == b'\n') {
                row.extend_from_slice(&rest[..length]);
                self.taken += length + 1;
                return Ok(Some(()));
            }
            if !rest.is_empty() {
                return Err("its rows are not whole".to_owned());
            }
            let answer = timeout(SILENCE_MAX, self.stream.message()).await;
            let answer = answer.map_err(|_| format!("it says nothing for {SILENCE_MAX:?}"))?;
            match answer.map_err(|status| format!("it broke off: {}", status.message()))? {
                Some(Answer::Rows(rows)) => (self.rows, self.taken) = (rows, 0),
                Some(Answer::End { shards, refusals }) => self.end = Some(End { shards, refusals }),
                None => return Err("it broke off".to_owned()),
            }
        }
        Ok(None)
    }
}

impl Peer {
    /// None of what it was asked.
    pub(crate) fn missing(self, reason: String) -> Missing {
        Missing { shards: self.shards, controller: Some(self.name), address: Some(self.address), reason }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.shards[..] {
            [] if self.controller.is_none() => f.write_str("what other members know of themselves")?,
            [] => f.write_str("what it knows of itself")?,
            [shard] => write!(f, "shard {shard}")?,
            shards => {
                let shards: Vec<String> = shards.iter().map(ToString::to_string).collect();
                write!(f, "shards {}", shards.join(", "))?;
            }
        }
        if let Some(controller) = &self.controller {
            write!(f, " of {controller}")?;
        }
        if let Some(address) = &self.address {
            write!(f, " (at {address})")?;
        }
        write!(f, ": {}", self.reason)
    }
}
