//! The agent as the device of a `hardware_vtep` database: follows what a controller writes, and says what is behind
//! our own ports. The database outlives a connection: what it said last stays until it says otherwise, and what we
//! wrote is never cleaned up.

mod view;

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hardware_vtep::device::Batch;
use hardware_vtep::tunnel::Cells;
use hardware_vtep::{DATABASE, DesiredDevice, DesiredPort, LocalMac, Mirror, Role, Writer};
use ovsdb::transact::Results;
use ovsdb::{Event, Handle, SessionConfig, Tls, TransactError, session};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::{info, warn};
use vtep_api::VtepName;

use super::{Refusals, Report, SourceEvent, file::chain};
use crate::config::OvsdbSource;
use crate::liveness::Known;
use crate::table::{Delta, Table};
use crate::tunnel_address::OwnAddresses;

/// Transactions that come together are looked at once.
const DEBOUNCE: Duration = Duration::from_millis(3);
/// Before the next attempt after the server refused to be asked at all.
const PAUSE: Duration = Duration::from_secs(1);

/// Who we are in the database.
#[derive(Debug, Clone)]
pub(super) struct Device {
    pub(super) name: VtepName,
    pub(super) address: OwnAddresses,
}

/// Follows the database until the receiver is gone.
pub(super) async fn follow(
    settings: OvsdbSource,
    device: Device,
    events: mpsc::Sender<SourceEvent>,
    mut reports: watch::Receiver<Option<Arc<Report>>>,
) {
    let (handle, mut session) = session::spawn(session_config(&settings));
    let mut follower = Follower::new(device, handle, events);
    loop {
        let report = reports.borrow_and_update().clone();
        follower.write(report.as_deref());
        let Follower { writing, due, .. } = &mut follower;
        let look = due.unwrap_or_else(Instant::now);
        let step = tokio::select! {
            event = session.recv() => match event {
                Some(event) => Step::Event(event),
                None => return,
            },
            Ok(()) = reports.changed() => Step::Report,
            (result, batch) = async { writing.as_mut().expect("the branch is on").await }, if writing.is_some() => {
                Step::Written(result, batch)
            }
            () = tokio::time::sleep_until(look), if due.is_some() => Step::Look,
        };
        if follower.take(step).await.is_err() {
            return;
        }
    }
}

fn session_config(settings: &OvsdbSource) -> SessionConfig {
    let mut config = SessionConfig::new(settings.remote.clone(), DATABASE, Mirror::monitor());
    config.probe_interval = match settings.probe_ms.as_u32() {
        0 => None,
        probe_ms => Some(Duration::from_millis(probe_ms.into())),
    };
    config.tls = settings.tls.as_ref().map(|files| Tls {
        private_key: files.private_key.clone(),
        certificate: files.certificate.clone(),
        ca_certificate: files.ca_certificate.clone(),
        peer_name: None,
    });
    config
}

enum Step {
    Event(Event),
    Report,
    Written(Result<Results, TransactError>, Batch),
    Look,
}

type Writing = Pin<Box<dyn Future<Output = (Result<Results, TransactError>, Batch)> + Send>>;

struct Follower {
    device: Device,
    handle: Handle,
    events: mpsc::Sender<SourceEvent>,
    mirror: Mirror,
    writer: Writer,
    /// At most one transaction is under way.
    writing: Option<Writing>,
    not_before: Instant,
    /// When to look at what the database says.
    due: Option<Instant>,
    /// What the daemon was told.
    told: Option<(Table, Refusals)>,
    lost: bool,
}

/// The daemon is gone.
struct Abandoned;

impl Follower {
    fn new(device: Device, handle: Handle, events: mpsc::Sender<SourceEvent>) -> Self {
        Self {
            device,
            handle,
            events,
            mirror: Mirror::default(),
            writer: Writer::default(),
            writing: None,
            not_before: Instant::now(),
            due: None,
            told: None,
            lost: false,
        }
    }

    /// Starts the next transaction, if the database does not say what it should.
    fn write(&mut self, report: Option<&Report>) {
        let Some(report) = report.filter(|_| self.writing.is_none()) else { return };
        if Instant::now() < self.not_before {
            return;
        }
        let Some(batch) = self.writer.next(&self.mirror, &desired(&self.device, report)) else { return };
        let handle = self.handle.clone();
        self.writing =
            Some(Box::pin(async move { (handle.transact(batch.transaction().clone()).await, batch) }));
    }

    async fn take(&mut self, step: Step) -> Result<(), Abandoned> {
        match step {
            Step::Event(event) => self.event(event).await,
            Step::Report => Ok(()),
            Step::Look => self.look().await,
            Step::Written(result, batch) => {
                self.written(result, &batch);
                Ok(())
            }
        }
    }

    async fn event(&mut self, event: Event) -> Result<(), Abandoned> {
        match &event {
            Event::Connected { peer, .. } => {
                info!(peer, "connected to the database");
                self.writer.retry_refused();
            }
            Event::Disconnected { reason, .. } => {
                self.lost = true;
                self.send(SourceEvent::Lost { reason: chain(&**reason) }).await?;
            }
            _ => {}
        }
        if let Some(changes) = self.mirror.apply(&event)
            && (self.lost || self.told.is_none() || !changes.is_empty())
        {
            self.due.get_or_insert_with(|| Instant::now() + DEBOUNCE);
        }
        Ok(())
    }

    fn written(&mut self, result: Result<Results, TransactError>, batch: &Batch) {
        self.writing = None;
        match result {
            Ok(_) => self.writer.landed(batch),
            Err(TransactError::Outcome(error)) => {
                warn!(error = &error as &dyn std::error::Error, "the database refused a transaction");
                self.writer.failed(batch, &error);
                self.due.get_or_insert_with(|| Instant::now() + DEBOUNCE);
            }
            Err(TransactError::Request(error)) => {
                info!(error = &error as &dyn std::error::Error, "a transaction got no answer");
                self.not_before = Instant::now() + PAUSE;
                self.due.get_or_insert(self.not_before);
            }
        }
    }

    /// Tells the daemon what the database says, if that is news.
    async fn look(&mut self) -> Result<(), Abandoned> {
        self.due = None;
        if !self.mirror.is_synchronized() {
            return Ok(());
        }
        let (table, refusals) = tokio::task::block_in_place(|| {
            view::table(&self.mirror, &self.device.name, self.device.address, &self.writer)
        });
        let event = match &self.told {
            None => SourceEvent::Snapshot { table: Arc::new(table.clone()), refusals: refusals.clone() },
            Some((last, last_refusals)) => {
                let delta = Delta::between(last, &table);
                if delta.is_empty() && *last_refusals == refusals && !self.lost {
                    return Ok(());
                }
                SourceEvent::Delta { delta, refusals: refusals.clone() }
            }
        };
        self.lost = false;
        self.told = Some((table, refusals));
        self.send(event).await
    }

    async fn send(&mut self, event: SourceEvent) -> Result<(), Abandoned> {
        self.events.send(event).await.map_err(|_| Abandoned)
    }
}

fn desired(device: &Device, report: &Report) -> DesiredDevice {
    const EXHAUSTED: &str = "mac_table_exhaustion";
    let networks = report
        .local_macs
        .iter()
        .map(|(name, macs)| (name.clone(), macs.iter().map(|(mac, local)| (*mac, claim(local))).collect()));
    DesiredDevice {
        name: device.name.clone(),
        tunnel_address: device.address.v4().map_or(device.address.first(), IpAddr::V4),
        faults: report.macs_exhausted.then(|| EXHAUSTED.to_owned()).into_iter().collect(),
        ports: report.ports.iter().map(|port| (port.clone(), DesiredPort::default())).collect(),
        networks: networks.collect(),
        tunnels: report.tunnels.iter().map(|(to, known)| (*to, status(known.as_deref()))).collect(),
    }
}

/// `vtep(5)`, `Tunnel.bfd_status`.
fn status(known: Option<&Known>) -> Cells {
    let Some(known) = known else { return [("enabled".to_owned(), "false".to_owned())].into() };
    let pairs = [
        ("enabled", "true".to_owned()),
        ("state", known.state.to_string()),
        ("forwarding", known.forwards().to_string()),
        ("diagnostic", known.diagnostic.to_string()),
        ("remote_state", known.remote_state.to_string()),
        ("remote_diagnostic", known.remote_diagnostic.to_string()),
        ("info", known.complaint.clone().unwrap_or_else(|| known.standing.to_owned())),
    ];
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn claim(local: &vtep_api::LocalMac) -> LocalMac {
    let role = match local.role {
        vtep_api::Role::Master => Role::Master,
        vtep_api::Role::Slave => Role::Slave,
    };
    LocalMac { role: Some(role), claimed_at_ms: local.claimed_at_ms, ip: local.ips.first().copied() }
}
