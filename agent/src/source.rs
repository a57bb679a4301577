//! Where the reconciled table comes from, behind one interface: a snapshot, which ends the doubt about what is absent,
//! then changes. Towards the source goes what is behind our own ports.

mod controller;
pub mod file;
mod ovsdb;
mod refusal;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc, watch};
use vtep_api::{ControllerName, LocalMac, LogicalSwitchName, MacAddr, PortName, Sighting, Term};

pub use controller::{Macs, SessionStatus, TableStatus};
pub use refusal::{Refusal, Refusals};

use crate::config;
use crate::liveness::Known;
use crate::table::{Delta, Table};

/// Events that may wait: a source that is faster than the daemon is held up, not queued.
const EVENTS_MAX: usize = 4;
const RELEASES_MAX: usize = 16;
/// Batches of sightings that the source has not looked at yet.
const SIGHTINGS_MAX: usize = 16;

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
    /// What comes next is this controller's word.
    Obeys {
        controller: ControllerName,
        term: Term,
    },
    /// Nothing new can come; what was said last stays.
    Lost {
        reason: String,
    },
}

/// The MACs behind our own ports, by logical switch. A logical switch without MACs is one that we take part in.
pub type LocalMacs = BTreeMap<LogicalSwitchName, BTreeMap<MacAddr, LocalMac>>;

/// What a source passes on about this host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// The ports that a controller may bind.
    pub ports: BTreeSet<PortName>,
    pub local_macs: Arc<LocalMacs>,
    /// Tunnel addresses that BFD finds alive, and those that it found dead after that.
    pub reachable: BTreeSet<IpAddr>,
    pub unreachable: BTreeSet<IpAddr>,
    /// Not all MACs found room.
    pub macs_exhausted: bool,
    /// The far ends of our tunnels, and the session of BFD with each: for a database only.
    pub tunnels: BTreeMap<IpAddr, Option<Arc<Known>>>,
}

/// What an earlier agent left in the kernel.
#[derive(Debug, Default)]
pub struct Inherited {
    /// The highest term that was obeyed.
    pub obeyed: Term,
    /// By VNI, those behind other VTEPs.
    pub macs: BTreeMap<u32, Macs>,
}

/// What the source hears from the daemon.
#[derive(Debug)]
pub struct Feedback {
    /// Nothing is said about this host before there is a first one.
    pub report: watch::Receiver<Option<Arc<Report>>>,
    /// The kernel has what so many events said.
    pub installed: watch::Receiver<u64>,
}

/// A running source. It ends when this is dropped.
#[derive(Debug)]
pub struct Source {
    pub events: mpsc::Receiver<SourceEvent>,
    /// Of a session with a controller.
    pub status: watch::Receiver<SessionStatus>,
    reload: Arc<Notify>,
    release: mpsc::Sender<u32>,
    sightings: mpsc::Sender<Vec<Sighting>>,
    sightings_lost: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Source {
    pub fn spawn(settings: &config::Config, inherited: Inherited, feedback: Feedback) -> Self {
        let Feedback { report, installed } = feedback;
        let (sender, events) = mpsc::channel(EVENTS_MAX);
        let (status, seen) =
            watch::channel(SessionStatus { term: inherited.obeyed.0, ..SessionStatus::default() });
        let reload = Arc::new(Notify::new());
        let (release, releases) = mpsc::channel(RELEASES_MAX);
        let (sightings, witnessed) = mpsc::channel(SIGHTINGS_MAX);
        let sightings_lost = Arc::default();
        let own = settings.underlay.address;
        let task = match &settings.source {
            config::Source::File(source) => {
                tokio::spawn(file::follow(source.path.clone(), own, sender, Arc::clone(&reload)))
            }
            config::Source::Ovsdb(source) => {
                let device = ovsdb::Device { name: settings.agent.name.clone(), address: own };
                tokio::spawn(ovsdb::follow(source.clone(), device, sender, report))
            }
            config::Source::Controller(source) => {
                let ports = settings.ports.iter().map(|port| port.name.clone()).collect();
                let device =
                    controller::Device { name: settings.agent.name.clone(), address: own.first(), ports };
                let reload = Arc::clone(&reload);
                let ends = controller::Ends {
                    events: sender,
                    reports: report,
                    installed,
                    status,
                    reload,
                    releases,
                    sightings: witnessed,
                    sightings_lost: Arc::clone(&sightings_lost),
                };
                tokio::spawn(controller::follow(source.clone(), device, inherited, ends))
            }
        };
        Self { events, status: seen, reload, release, sightings, sightings_lost, task }
    }

    /// Lets the MACs of a VNI go that a snapshot lacked. Whether the source will hear of it.
    pub fn release(&self, vni: u32) -> bool {
        self.release.try_send(vni).is_ok()
    }

    /// Tells upstream what was seen. How many did not get there, of these and of earlier ones.
    pub fn witness(&self, sightings: Vec<Sighting>) -> u64 {
        let lost = self.sightings_lost.swap(0, Ordering::Relaxed);
        if sightings.is_empty() {
            return lost;
        }
        match self.sightings.try_send(sightings) {
            // A file and a database listen to none.
            Ok(()) | Err(TrySendError::Closed(_)) => lost,
            Err(TrySendError::Full(sightings)) => lost + Sighting::total(&sightings),
        }
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
