//! The table from physical controllers, over a gRPC stream both ways with the one that serves us, and another with one
//! that would serve us next. Without a session the last table stays; the controllers are tried in turn, for as long as it
//! takes.

mod conversation;
mod follower;
mod inventory;
mod link;
mod links;
mod outline;
mod received;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc, watch};
use tracing::warn;
use vtep_api::{ControllerName, LogicalSwitchName, Sighting};

pub(super) use follower::Device;
pub use received::Macs;

use self::conversation::LinkId;
use self::follower::{Follower, Input, Output};
use self::links::{Event, Links};
use super::{Inherited, Report, SourceEvent};
use crate::config::ControllerSource;

/// How the session stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SessionStatus {
    /// The controller that was obeyed last.
    pub controller: Option<ControllerName>,
    pub open: bool,
    /// Another one that listens, and goes on where that one ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standby: Option<ControllerName>,
    /// The highest that was obeyed.
    pub term: u64,
    /// How often a controller welcomed us.
    pub sessions: u64,
    /// Connections that were begun, whatever became of them.
    #[serde(default)]
    pub attempts: u64,
    /// What was refused or not heeded because its term was over, or another controller served us by then.
    #[serde(default)]
    pub refused: u64,
    pub tables: Vec<TableStatus>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableStatus {
    pub logical_switch: LogicalSwitchName,
    /// Of its logical controller.
    pub term: u64,
    pub version: u64,
    /// The version that the kernel has.
    pub installed: Option<u64>,
    /// Whether a MAC that it does not name is gone.
    pub whole: bool,
    /// How often it came as a whole; all else came as what differed.
    #[serde(default)]
    pub snapshots: u64,
    pub vni: u32,
    /// MACs that the last snapshot lacked and that stay: `vtep-agent release` lets them go.
    pub held: usize,
}

/// What the daemon and its source share.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) events: mpsc::Sender<SourceEvent>,
    pub(super) reports: watch::Receiver<Option<Arc<Report>>>,
    pub(super) installed: watch::Receiver<u64>,
    pub(super) status: watch::Sender<SessionStatus>,
    pub(super) reload: Arc<Notify>,
    /// VNIs whose held MACs may go.
    pub(super) releases: mpsc::Receiver<u32>,
    pub(super) sightings: mpsc::Receiver<Vec<Sighting>>,
    /// How many of them did not get on.
    pub(super) sightings_lost: Arc<AtomicU64>,
}

/// Follows the controllers until the receiver is gone.
pub(super) async fn follow(settings: ControllerSource, device: Device, inherited: Inherited, ends: Ends) {
    let Inherited { obeyed, macs } = inherited;
    let follower = Follower::new(device, obeyed, macs);
    let mut source = Source { follower, links: Links::new(settings), ends };
    while let Ok(()) = source.turn().await {}
}

/// The daemon is gone.
struct Abandoned;

struct Source {
    follower: Follower,
    links: Links,
    ends: Ends,
}

impl Source {
    async fn turn(&mut self) -> Result<(), Abandoned> {
        for link in self.links.idle() {
            self.links.send(link, self.follower.say(link));
        }
        let wanted = self.follower.links_wanted();
        let other = self.follower.controllers().next().cloned();
        let input = tokio::select! {
            (link, event) = self.links.next(wanted, other.as_ref()) => match event {
                Event::Up => {
                    self.links.is_idle(link);
                    Input::Connected(link)
                }
                Event::Idle => {
                    self.links.is_idle(link);
                    return Ok(());
                }
                Event::Message(message) => Input::Message(link, message),
                Event::Down { reason } => return self.end(link, reason).await,
            },
            Ok(()) = self.ends.reports.changed() => match self.ends.reports.borrow_and_update().clone() {
                Some(report) => Input::Report(report),
                None => return Ok(()),
            },
            Ok(()) = self.ends.installed.changed() => {
                Input::Installed(*self.ends.installed.borrow_and_update())
            }
            Some(vni) = self.ends.releases.recv() => Input::Release(vni),
            Some(sightings) = self.ends.sightings.recv() => Input::Sightings(sightings),
            () = self.ends.reload.notified() => {
                self.links.hurry();
                return Ok(());
            }
        };
        for (link, reason) in self.step(input).await? {
            self.end(link, reason).await?;
        }
        Ok(())
    }

    async fn end(&mut self, link: LinkId, reason: String) -> Result<(), Abandoned> {
        let reason = format!("{}: {reason}", self.links.address(link));
        self.links.end(link, self.follower.was_of_use(link));
        // It ends no other one.
        self.step(Input::Disconnected { link, reason }).await.map(drop)
    }

    /// Returns which sessions cannot go on, and why.
    async fn step(&mut self, input: Input) -> Result<Vec<(LinkId, String)>, Abandoned> {
        let mut output = Output::default();
        self.follower.step(input, Instant::now(), &mut output);
        self.ends.status.send_if_modified(|last| {
            let attempts = self.links.begun();
            let status = SessionStatus { attempts, ..self.follower.status() };
            for table in &status.tables {
                let before = last.tables.iter().find(|before| before.logical_switch == table.logical_switch);
                if table.held > before.map_or(0, |before| before.held) {
                    let (vni, macs) = (table.vni, table.held);
                    warn!(vni, macs, "a snapshot lacks too many MACs; they stay until `vtep-agent release`");
                }
            }
            let changed = *last != status;
            *last = status;
            changed
        });
        self.ends.sightings_lost.fetch_add(output.sightings_lost, Ordering::Relaxed);
        if output.seek {
            self.links.seek();
        }
        for event in output.events {
            self.ends.events.send(event).await.map_err(|_| Abandoned)?;
        }
        Ok(output.ends)
    }
}

#[cfg(test)]
mod tests;
