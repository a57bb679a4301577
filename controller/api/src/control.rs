//! A daemon's local control socket: one request a line, answered by rows and an end, each a line of JSON. The daemon's
//! task answers; what it hands over is rendered in the connection's own task, so a slow reader holds up nobody. Some
//! answers go on until the client says anything more, or hangs up.

pub mod client;
mod feed;
mod relay;
mod server;
pub mod terminal;

use std::borrow::Cow;
use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::oneshot;

pub use crate::ErrorKind;
pub use client::ClientError;
pub use feed::{Feed, Live};
pub use relay::{Broken, Relay, Relayed};
pub use server::{Server, ServerError};

/// What a client of one kind of daemon may ask.
pub trait Request: Serialize + DeserializeOwned + Send + 'static {
    /// What messages call the daemon.
    const DAEMON: &'static str;
    /// Longest line that a client may send.
    const BYTES_MAX: u64;
}

/// What the daemon's task takes, a client's request among it.
pub trait Asked: Send + 'static {
    type Request: Request;

    fn client(request: Self::Request, reply: oneshot::Sender<Reply>) -> Self;
}

/// One line of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    Row(Value),
    /// So many rows came faster than the client took them.
    Lost {
        rows: usize,
    },
    End {
        rows: usize,
    },
    Error {
        kind: ErrorKind,
        message: String,
        /// Of an incomplete answer, what there is beside the rows.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        missing: Vec<Value>,
    },
}

/// The daemon's answer.
#[derive(Debug)]
pub enum Reply {
    Rows(Rows),
    Live(Live),
    Relayed(Relayed),
    Error { kind: ErrorKind, message: Cow<'static, str> },
}

/// Rows that become JSON one by one, as the client takes them.
pub struct Rows(Box<WriteNext>);

type WriteNext = dyn FnMut(&mut Vec<u8>) -> Option<serde_json::Result<()>> + Send;

impl Reply {
    pub fn rows<T: Serialize>(rows: impl IntoIterator<Item = T>) -> Self {
        let rows: Result<Vec<_>, _> = rows.into_iter().map(serde_json::to_value).collect();
        rows.map_or_else(|error| Self::error(ErrorKind::Failed, error.to_string()), Self::stream)
    }

    /// Any number of rows. None is made before it is wanted.
    pub fn stream<I>(rows: I) -> Self
    where
        I: IntoIterator<IntoIter: Send + 'static>,
        I::Item: Serialize,
    {
        let mut rows = rows.into_iter();
        Self::Rows(Rows(Box::new(move |out| rows.next().map(|row| serde_json::to_writer(out, &row)))))
    }

    pub fn error(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self::Error { kind, message: message.into() }
    }
}

impl Rows {
    /// Appends the next one's JSON. `None`: there are no more.
    pub fn write_next(&mut self, out: &mut Vec<u8>) -> Option<serde_json::Result<()>> {
        (self.0)(out)
    }
}

impl fmt::Debug for Rows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rows")
    }
}
