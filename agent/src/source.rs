//! Where the reconciled table comes from, behind one interface: a snapshot, which ends the doubt about what is absent,
//! then changes. Towards the source goes what is behind our own ports.

pub mod file;
mod ovsdb;
mod refusal;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::{Notify, mpsc, watch};
use vtep_api::{LogicalSwitchName, MacAddr, PortName};

pub use refusal::{Refusal, Refusals};

use crate::config;
use crate::table::{Delta, Table};

/// Events that may wait: a source that is faster than the daemon is held up, not queued.
const EVENTS_MAX: usize = 4;

#[derive(Debug)]
pub enum SourceEvent {
    /// The whole word of the source. What it does not hold is withdrawn.
    Snapshot {
        table: Arc<Table>,
        refusals: Refusals,
    },
    Delta {
        delta: Delta,
        refusals: Refusals,
    },
    /// Nothing new can come; what was said last stays.
    Lost {
        reason: String,
    },
}

/// The MACs behind our own ports, by logical switch. A logical switch without MACs is one that we take part in.
pub type LocalMacs = BTreeMap<LogicalSwitchName, BTreeSet<MacAddr>>;

/// What a source passes on about this host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// The ports that a controller may bind.
    pub ports: BTreeSet<PortName>,
    pub local_macs: LocalMacs,
    /// Not all MACs found room.
    pub macs_exhausted: bool,
}

/// A running source. It ends when this is dropped.
#[derive(Debug)]
pub struct Source {
    pub events: mpsc::Receiver<SourceEvent>,
    reload: Arc<Notify>,
    task: tokio::task::JoinHandle<()>,
}

impl Source {
    /// Nothing is said about this host before there is a first `report`.
    pub fn spawn(settings: &config::Config, report: watch::Receiver<Option<Arc<Report>>>) -> Self {
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let reload = Arc::new(Notify::new());
        let own = settings.underlay.address;
        let task = match &settings.source {
            config::Source::File(source) => {
                tokio::spawn(file::follow(source.path.clone(), own, sender, Arc::clone(&reload)))
            }
            config::Source::Ovsdb(source) => {
                let device = ovsdb::Device { name: settings.agent.name.clone(), address: own };
                tokio::spawn(ovsdb::follow(source.clone(), device, sender, report))
            }
        };
        Self { events, reload, task }
    }

    /// Read everything again.
    pub fn reload(&self) {
        self.reload.notify_one();
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        self.task.abort();
    }
}
