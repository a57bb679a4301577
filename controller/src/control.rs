//! What can be asked of a controller over its control socket, and by whom it is answered.

mod answer;
mod desk;
pub(crate) mod far;
pub(crate) mod gather;
mod home;
pub(crate) mod merge;
mod office;
pub(crate) mod own;
mod release;
mod shard;
pub mod view;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use vtep_api::control;
use vtep_api::{ControllerName, LogicalSwitchName, MacAddr, Term, VtepName};

pub use answer::{fdb_of_logical, fdb_of_physical};
pub use desk::{Desk, Identity, Ways};
pub use home::Home;
pub use own::Own;
pub use vtep_api::control::{ErrorKind, Reply, Server, ServerError, client};

use crate::cluster::Office;
use crate::declared::{Pin, TimePolicy};
use crate::logical::{OperateError, Operation};
use crate::{Declared, Logical, Physical, physical};
use view::Scrape;

/// What a client may ask.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    Status,
    Alarms,
    /// `name` is what the operator calls the file: its extension tells the notation, and errors name it.
    Apply {
        name: String,
        text: String,
        dry_run: bool,
    },
    Explain {
        logical_switch: LogicalSwitchName,
        mac: MacAddr,
    },
    History {
        logical_switch: LogicalSwitchName,
        mac: MacAddr,
    },
    Conflicts,
    Vteps,
    LogicalSwitches,
    Fdb {
        logical_switch: Option<LogicalSwitchName>,
    },
    WhatIfVtepDown {
        vtep: VtepName,
    },
    WhatIfPolicy {
        time: TimePolicy,
    },
    Pin(Pin),
    /// Every pin of the MAC that was made by hand.
    Unpin {
        logical_switch: LogicalSwitchName,
        mac: MacAddr,
    },
    ClearDuplicate {
        logical_switch: LogicalSwitchName,
        mac: MacAddr,
    },
    ReleaseStorm {
        vtep: VtepName,
    },
    ReleaseWithdrawals {
        logical_switch: LogicalSwitchName,
    },
    Sync,
    Members,
    /// Shards, or VTEPs.
    Offices {
        vteps: bool,
    },
    /// `None`: back to the assignment.
    Move {
        office: Office,
        to: Option<ControllerName>,
    },
    /// From here on every term of the cluster is above that one.
    RaiseTerm {
        above: Term,
    },
}

impl control::Request for Request {
    const DAEMON: &'static str = "controller";
    /// A declared file goes over it.
    const BYTES_MAX: u64 = 64 << 20;
}

/// A question to the [`Desk`].
#[derive(Debug)]
pub enum Ask {
    Client {
        request: Request,
        reply: oneshot::Sender<Reply>,
    },
    /// Another member asks, of those shards, or of what this process knows of itself.
    Member {
        request: Request,
        shards: Vec<u16>,
        reply: oneshot::Sender<Result<Own, String>>,
    },
    Scrape(oneshot::Sender<Box<Scrape>>),
    /// What is missing before tables are distributed; nothing, when they are.
    Waits(oneshot::Sender<Vec<String>>),
}

impl control::Asked for Ask {
    type Request = Request;

    fn client(request: Request, reply: oneshot::Sender<Reply>) -> Self {
        Self::Client { request, reply }
    }
}

/// What the desk wants of the task that owns a core, between two of its events.
pub enum Errand<C, E> {
    Look(Box<dyn FnOnce(&C) + Send>),
    Event(E),
}

pub type LogicalErrand = Errand<Logical, Order>;
pub type PhysicalErrand = Errand<Physical, physical::Event>;

/// An event of the logical controller.
#[derive(Debug)]
pub enum Order {
    Declare(Arc<Declared>),
    /// One with an answer.
    Operate(Operation, oneshot::Sender<Result<(), OperateError>>),
}

impl<C, E: fmt::Debug> fmt::Debug for Errand<C, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Look(_) => f.write_str("Look"),
            Self::Event(event) => f.debug_tuple("Event").field(event).finish(),
        }
    }
}
