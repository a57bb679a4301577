//! What one controller of a cluster asks of another, so that an operator may ask any of them.

use serde::{Deserialize, Serialize};

use crate::ControllerName;

/// An operator's request, on its way to who has the answer. It goes no further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Who asks: a member of the same cluster.
    pub from: ControllerName,
    /// A request of the control socket, as JSON.
    pub request: Vec<u8>,
    /// Of which it is asked. None: of the controller itself.
    pub shards: Vec<u16>,
}

/// Rows, and then an end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// As JSON, each followed by a line feed.
    Rows(Vec<u8>),
    End {
        /// Of those that were asked of, whose rows these are.
        shards: Vec<u16>,
        /// Of those that have no rows to give.
        refusals: Vec<Refusal>,
    },
}

/// Why there are no rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Whose. None: of the controller itself.
    pub shards: Vec<u16>,
    pub kind: ErrorKind,
    pub message: String,
}

/// What is wrong with a request of an operator, or its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The request makes no sense.
    Usage,
    NotFound,
    Failed,
    /// What was answered is so, and there is more that was not to be had.
    Incomplete,
}
