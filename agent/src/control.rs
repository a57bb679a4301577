//! The local control socket: one request a line, answered by rows and an end, each a line of JSON. The daemon task
//! answers; what it hands over is rendered in the connection's own task, so a slow reader holds up nobody.

pub mod client;
mod server;
pub mod view;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::oneshot;

pub use server::{Server, ServerError};

use view::{FdbDump, Scrape};

/// Longest line that a client may send.
const REQUEST_BYTES_MAX: usize = 16 * 1024;

/// What a client may ask.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    Status,
    FdbShow { filter: FdbFilter },
    FdbGet { vni: u32, mac: String },
    FdbCount { filter: FdbFilter },
    VniShow { vni: Option<u32> },
    VtepShow { vtep: Option<String> },
    PortShow { port: Option<String> },
    Stats { vni: Option<u32>, drops: bool },
    Detach,
}

/// All that are given must hold.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FdbFilter {
    pub vni: Option<u32>,
    pub mac: Option<String>,
    /// Name or address, as master or slave.
    pub vtep: Option<String>,
    pub port: Option<String>,
    pub limit: Option<usize>,
}

/// One line of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    Row(Value),
    End { rows: usize },
    Error { kind: ErrorKind, message: String },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The request makes no sense.
    Usage,
    NotFound,
    Failed,
}

/// The daemon's answer.
#[derive(Debug)]
pub enum Reply {
    Rows(Vec<Value>),
    Fdb(FdbDump),
    Error { kind: ErrorKind, message: Cow<'static, str> },
}

/// A question to the daemon task.
#[derive(Debug)]
pub enum Ask {
    Client {
        request: Request,
        reply: oneshot::Sender<Reply>,
    },
    Scrape(oneshot::Sender<Box<Scrape>>),
    /// What is missing before frames are forwarded by the source's table; nothing, when it is ready.
    Waits(oneshot::Sender<Vec<String>>),
}

impl Reply {
    pub fn rows<T: Serialize>(rows: impl IntoIterator<Item = T>) -> Self {
        let rows: Result<Vec<_>, _> = rows.into_iter().map(serde_json::to_value).collect();
        rows.map_or_else(|error| Self::error(ErrorKind::Failed, error.to_string()), Self::Rows)
    }

    pub fn error(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self::Error { kind, message: message.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(request: &Request, line: &str) {
        assert_eq!(serde_json::to_string(request).unwrap(), line);
        assert_eq!(serde_json::from_str::<Request>(line).unwrap(), *request);
    }

    #[test]
    fn requests_are_lines_of_json() {
        check(&Request::Status, r#"{"command":"status"}"#);
        check(&Request::VniShow { vni: Some(5) }, r#"{"command":"vni_show","vni":5}"#);
        assert!(serde_json::from_str::<Request>(r#"{"command":"status","colour":"red"}"#).is_ok());
        assert!(serde_json::from_str::<Request>(r#"{"command":"vni_show","colour":"red"}"#).is_err());
        assert!(serde_json::from_str::<Request>(r#"{"command":"reboot"}"#).is_err());
    }
}
