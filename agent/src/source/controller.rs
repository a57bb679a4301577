//! The table from a physical controller, over one gRPC stream both ways. Without a session the last table stays; the
//! controllers are tried in turn, for as long as it takes.

mod follower;
mod inventory;
mod outline;
mod received;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use futures_util::stream;
use rand::Rng;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tonic::Streaming;
use tracing::{info, warn};
use vtep_api::grpc::{self, Protection};
use vtep_api::{ControllerName, FromVtep, LogicalSwitchName, ToVtep};

pub(super) use follower::Device;
use follower::{Follower, Input, Output};
pub use received::Macs;

use super::{Inherited, Report, SourceEvent};
use crate::config::ControllerSource;

const HEARTBEAT: Duration = Duration::from_secs(2);
/// A controller that sends heartbeats and then nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(10);
/// An answer to a request to attach.
const ATTACH: Duration = Duration::from_secs(10);
const BACKOFF_MIN: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(8);
/// Messages that may wait in the transport.
const OUTBOUND_MAX: usize = 16;

/// How the session stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SessionStatus {
    /// The controller that was obeyed last.
    pub controller: Option<ControllerName>,
    pub open: bool,
    /// The highest that was obeyed.
    pub term: u64,
    /// How often a controller welcomed us.
    pub sessions: u64,
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
}

/// Follows the controllers until the receiver is gone.
pub(super) async fn follow(settings: ControllerSource, device: Device, inherited: Inherited, ends: Ends) {
    let reload = Arc::clone(&ends.reload);
    let Inherited { obeyed, macs } = inherited;
    let follower = Follower::new(device, obeyed, macs);
    let mut source = Source { follower, ends, outbound: VecDeque::new() };
    let mut failures = 0;
    for address in settings.addresses.iter().cycle() {
        let reason = match source.session(&settings, address).await {
            Ok(End::Abandoned) => return,
            Ok(End::Lost { reason, was_open }) => {
                failures = if was_open { 0 } else { failures + 1 };
                reason
            }
            Err(error) => {
                failures += 1;
                format!("{error:#}")
            }
        };
        let input = Input::Disconnected { reason: format!("{address}: {reason}") };
        if source.step(input).await.is_err() {
            return;
        }
        let delay = backoff(failures, settings.addresses.len());
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = reload.notified() => {}
            Some(vni) = source.ends.releases.recv() => {
                if source.step(Input::Release(vni)).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// A random part of a ceiling that doubles with each round of failures.
fn backoff(failures: u32, addresses: usize) -> Duration {
    let rounds = failures / u32::try_from(addresses).unwrap_or(1).max(1);
    let ceiling = BACKOFF_MIN.saturating_mul(1 << rounds.min(16)).min(BACKOFF_MAX);
    ceiling.mul_f64(rand::rng().random())
}

enum End {
    /// The daemon is gone.
    Abandoned,
    Lost {
        reason: String,
        was_open: bool,
    },
}

struct Abandoned;

struct Source {
    follower: Follower,
    ends: Ends,
    outbound: VecDeque<FromVtep>,
}

impl Source {
    async fn session(&mut self, settings: &ControllerSource, address: &str) -> Result<End> {
        let protection = settings.protection(address)?;
        if protection == Protection::Nothing {
            warn!(
                address,
                "the session with the controller is not encrypted, as source.allow_plaintext says"
            );
        }
        let encrypted = protection == Protection::Tls;
        let endpoint = grpc::endpoint(address, settings.tls.as_ref().filter(|_| encrypted))?;
        let channel = endpoint.connect().await.context("no connection")?;
        self.outbound.clear();
        let (outbound, mut wire) = mpsc::channel(OUTBOUND_MAX);
        let outgoing = stream::poll_fn(move |context| wire.poll_recv(context));
        if self.step(Input::Connected).await.is_err() {
            return Ok(End::Abandoned);
        }
        self.ends.installed.mark_changed();
        self.ends.reports.mark_changed();
        let mut client = grpc::vtep_client(channel);
        // A server may wait for the first message before it answers.
        if let Some(hello) = self.outbound.pop_front() {
            outbound.try_send(hello).map_err(|_| anyhow!("the session ended at once"))?;
        }
        let attached = tokio::time::timeout(ATTACH, client.attach(outgoing)).await;
        let inbound = attached
            .with_context(|| format!("no answer within {} s", ATTACH.as_secs()))?
            .map_err(|status| anyhow!("{}", status.message().to_owned()))?
            .into_inner();
        info!(address, "connected to the controller");
        Ok(self.converse(inbound, outbound).await)
    }

    async fn converse(&mut self, mut inbound: Streaming<ToVtep>, outbound: mpsc::Sender<FromVtep>) -> End {
        let mut beat = tokio::time::interval(HEARTBEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut deadline = None;
        loop {
            let was_open = self.follower.is_open();
            let lost = |reason: String| End::Lost { reason, was_open };
            let silence = deadline.unwrap_or_else(Instant::now);
            let idle = self.outbound.is_empty();
            let input = tokio::select! {
                message = inbound.message() => match message {
                    Ok(Some(message)) => {
                        if matches!(message, ToVtep::Heartbeat { .. }) || deadline.is_some() {
                            deadline = Some(Instant::now() + SILENCE);
                        }
                        Input::Message(message)
                    }
                    Ok(None) => return lost("the controller ended the session".to_owned()),
                    Err(status) => return lost(status.message().to_owned()),
                },
                permit = outbound.reserve(), if !idle => {
                    let Ok(permit) = permit else { return lost("the controller closed the session".to_owned()) };
                    if let Some(message) = self.outbound.pop_front() {
                        permit.send(message);
                    }
                    continue;
                }
                // What the controller has not taken yet is enough for it.
                Ok(()) = self.ends.reports.changed(), if idle => match self.ends.reports.borrow_and_update().clone() {
                    Some(report) => Input::Report(report),
                    None => continue,
                },
                Ok(()) = self.ends.installed.changed() => Input::Installed(*self.ends.installed.borrow_and_update()),
                Some(vni) = self.ends.releases.recv() => Input::Release(vni),
                _ = beat.tick(), if idle && was_open => {
                    self.outbound.push_back(FromVtep::Heartbeat { wall_ms: wall_ms() });
                    continue;
                }
                () = tokio::time::sleep_until(silence), if deadline.is_some() => {
                    return lost(format!("the controller was silent for {} s", SILENCE.as_secs()));
                }
            };
            match self.step(input).await {
                Ok(None) => {}
                Ok(Some(reason)) => return lost(reason),
                Err(Abandoned) => return End::Abandoned,
            }
        }
    }

    /// Returns why the session cannot go on, if it cannot.
    async fn step(&mut self, input: Input) -> Result<Option<String>, Abandoned> {
        let mut output = Output::default();
        self.follower.step(input, Instant::now().into_std(), &mut output);
        let Output { messages, events, end } = output;
        self.outbound.extend(messages);
        self.ends.status.send_if_modified(|last| {
            let status = self.follower.status();
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
        for event in events {
            self.ends.events.send(event).await.map_err(|_| Abandoned)?;
        }
        Ok(end)
    }
}

fn wall_ms() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
