//! What can be asked of the agent over its control socket.

pub mod view;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use vtep_api::control;

pub use vtep_api::control::{ErrorKind, Reply, Server, ServerError, client};

use crate::capture::Filter;
use crate::monitor::Wanted;
use crate::roles::Rule;
use crate::trace::Question;
use view::Scrape;

/// What a client may ask.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    Status,
    FdbShow {
        filter: FdbFilter,
    },
    FdbGet {
        vni: u32,
        mac: String,
    },
    FdbCount {
        filter: FdbFilter,
    },
    VniShow {
        vni: Option<u32>,
    },
    VtepShow {
        vtep: Option<String>,
    },
    PortShow {
        port: Option<String>,
    },
    Stats {
        vni: Option<u32>,
        drops: bool,
    },
    /// What ports sent and got.
    PortStats {
        vni: Option<u32>,
    },
    /// What would become of a frame.
    Trace {
        question: Question,
    },
    /// Where the kernel's tables are not what was written: now, or what was mended.
    Diff {
        past: bool,
    },
    /// What happens, for as long as the client listens.
    Monitor {
        wanted: Wanted,
    },
    /// Copies of frames, for as long as the client listens.
    Capture {
        filter: Filter,
    },
    /// Sessions of BFD.
    BfdShow {
        vtep: Option<String>,
    },
    /// Brings a VTEP back whose session is up again.
    BfdRestore {
        vtep: String,
    },
    /// Rehearses a VTEP's failover.
    Drill {
        vtep: String,
        seconds: u64,
    },
    /// Lets the MACs go that a snapshot lacked.
    Release {
        vni: u32,
    },
    RoleShow,
    RoleSet {
        rule: Rule,
    },
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

impl control::Request for Request {
    const DAEMON: &'static str = "agent";
    const BYTES_MAX: u64 = 16 * 1024;
}

impl control::Asked for Ask {
    type Request = Request;

    fn client(request: Request, reply: oneshot::Sender<Reply>) -> Self {
        Self::Client { request, reply }
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
