use std::fmt;

use tonic::{Code, Status};
use tracing::{info, warn};

use super::SILENCE_MAX;
use crate::run::Gone;

/// Why a session is over.
#[derive(Debug)]
pub(in crate::run) enum End {
    /// The peer ended it.
    Closed,
    /// The peer's message was malformed, or the connection failed.
    Failed(Status),
    Silent,
    /// The core ended it.
    Ended(Option<String>),
    /// The core is gone: the process ends.
    Gone,
}

impl End {
    /// What the peer is told of it, if it is there to be told.
    pub(in crate::run) fn status(&self) -> Option<Status> {
        match self {
            Self::Closed => None,
            Self::Failed(status) => Some(Status::new(status.code(), status.message())),
            Self::Silent => Some(Status::deadline_exceeded(self.to_string())),
            Self::Ended(Some(_)) => Some(Status::failed_precondition(self.to_string())),
            Self::Ended(None) | Self::Gone => Some(Status::unavailable(self.to_string())),
        }
    }

    pub(in crate::run) fn log(&self, peer: &str, name: &str) {
        if self.is_quiet() {
            info!(name, reason = %self, "the session of a {peer} is over");
        } else {
            warn!(name, reason = %self, "the session of a {peer} is over");
        }
    }

    /// Whether nobody did wrong.
    fn is_quiet(&self) -> bool {
        match self {
            Self::Closed | Self::Gone | Self::Ended(None) => true,
            Self::Failed(status) => {
                matches!(status.code(), Code::Cancelled | Code::Unavailable | Code::Unknown)
            }
            Self::Silent | Self::Ended(Some(_)) => false,
        }
    }
}

impl From<Gone> for End {
    fn from(Gone: Gone) -> Self {
        Self::Gone
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the peer ended it"),
            Self::Failed(status) if status.message().is_empty() => write!(f, "{}", status.code()),
            Self::Failed(status) => f.write_str(status.message()),
            Self::Silent => write!(f, "no word from the peer for {SILENCE_MAX:?}"),
            Self::Ended(Some(reason)) => f.write_str(reason),
            Self::Ended(None) | Self::Gone => f.write_str("the controller stops"),
        }
    }
}
