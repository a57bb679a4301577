//! The running agent. One task owns all state; everything else sends it hints. A hint says that something may have
//! changed, never what: each reconcile compares all that is wanted with all that is installed. A short write of single
//! MACs may precede the comparison, and never replaces it.
//!
//! ```text
//! source ──events──┐                        ┌── control socket, metrics (asks)
//! links ───watch───┤→ daemon: reconcile ←───┤
//! underlay ─watch──┤        │               └── signals, timers
//! programs ─ring───┘        └──watch──→ targets (underlay), local MACs (source)
//! ```

mod answer;
mod attach;
mod complaints;
mod drill;
mod host;
mod learn;
pub(crate) mod packet_rate;
mod prove;
mod refused;
mod reseed;
mod scrape;
mod trace;
mod view;
mod watchers;
mod witness;

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::MissedTickBehavior;
use tracing::{error, info, warn};
use vtep_abi::{Event, EventKind};
use vtep_api::daemon::Notify;

use self::answer::TRACES_MAX;
use self::drill::Drill;
use self::host::{Host, Taken};
use self::trace::Answered;
use crate::config::{self, Config, Override};
use crate::control::view::DetachRow;
use crate::control::{Ask, ErrorKind, Reply, Server};
use crate::desired::TUNNEL_DEVICE;
use crate::kernel::mactab::Recovered;
use crate::kernel::{Events, Kernel, Samples, Settings, Sizes};
use crate::links::{self, Links, Tunnel};
use crate::liveness::Liveness;
use crate::metrics;
use crate::netlink::Changes;
use crate::one_way::OneWay;
use crate::source::{Feedback, Report, Source, SourceEvent};
use crate::underlay::{self, Underlay};

/// Hints that come together are one.
const DEBOUNCE: Duration = Duration::from_millis(3);
/// The kernel's tables are read back whole, for others may write too.
const REREAD: Duration = Duration::from_secs(30);
/// From a short write to the comparison that looks after what it left, unless that takes long.
const COMPARE: Duration = Duration::from_secs(1);
/// How often the programs' events are read at most: a VM makes as many as it sends sources.
const EVENTS_PACE: Duration = Duration::from_millis(10);
/// Between attempts that fail, doubled by each.
const RETRY: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(30);
/// How long a table waits for the ways to its new VTEPs.
const LOOKUP_PATIENCE: Duration = Duration::from_millis(500);
const ASKS_MAX: usize = 32;
/// Events taken at once, so that the other hints get their turn.
const EVENTS_BATCH: usize = 256;
/// How often MACs are looked at that the table has elsewhere and that may be back.
const RETURNS_PACE: Duration = Duration::from_secs(1);
/// How often those who watch are told what was counted.
const WATCH_PACE: Duration = Duration::from_secs(1);

/// What a start needs to know.
#[derive(Debug, Clone)]
pub struct Start {
    pub config: Config,
    /// Where `config` came from, to be read again on SIGHUP.
    pub path: PathBuf,
    pub overrides: Vec<Override>,
}

/// Runs until a signal or `detach`. Forwarding goes on after a signal.
pub async fn run(start: Start) -> Result<()> {
    let mut daemon = Daemon::start(start).await?;
    let end = daemon.serve().await;
    Notify::stopping();
    // What is rehearsed must not outlast us.
    daemon.end_drill().await;
    match end? {
        End::Stop => {
            info!("stopped; the kernel goes on forwarding");
            Ok(())
        }
        End::Detach(reply) => Box::pin(daemon.detach(reply)).await,
    }
}

enum End {
    Stop,
    Detach(oneshot::Sender<Reply>),
}

struct Daemon {
    start: Start,
    host: Host,
    tunnel: Tunnel,
    source: Source,
    links: watch::Receiver<Links>,
    underlay: watch::Receiver<Underlay>,
    liveness: Liveness,
    xdp: Changes,
    targets: watch::Sender<BTreeSet<IpAddr>>,
    report: watch::Sender<Option<Arc<Report>>>,
    /// How many events of the source the kernel has.
    installed: watch::Sender<u64>,
    /// Events of the source that were taken.
    taken: u64,
    /// One of them waits for a comparison.
    awaits_comparison: bool,
    events: Events,
    samples: Samples,
    /// From the traces that run, and for them.
    answered: mpsc::Receiver<Answered>,
    answering: mpsc::Sender<Answered>,
    traces: usize,
    drill: Option<Drill>,
    /// When the events may be read again.
    events_from: Instant,
    asks: mpsc::Receiver<Ask>,
    metrics: Option<SocketAddr>,
    due: Option<Instant>,
    retry: Duration,
    /// Until when the underlay is waited for.
    patience: Option<Instant>,
    notify: Notify,
    server: Server,
}

impl Daemon {
    async fn start(start: Start) -> Result<Self> {
        let config = &start.config;
        let (mut kernel, opened) = tokio::task::block_in_place(|| Kernel::open(&settings(config)))?;
        info!(adopted = opened.adopted, links = opened.links, "kernel tables are open");
        if !opened.resized.is_empty() {
            info!(had = ?opened.resized, "maps got another size; what they held is copied");
        }
        if opened.mended != Recovered::default() {
            let Recovered { copies, astray } = opened.mended;
            warn!(copies, astray, "the MAC table was left in mid-write, and mended");
        }
        let events = kernel.take_events()?.context("the events have a reader already")?;
        let samples = kernel.take_samples()?.context("the copies of frames have a reader already")?;
        if let Some(log) = kernel.take_log()? {
            tokio::spawn(log);
        }

        let (ask, asks) = mpsc::channel(ASKS_MAX);
        let server = Server::listen(&config.control.socket, ask.clone())?;
        let tunnel = tunnel(config);
        tunnel.ensure().await?;
        let links = links::watch().await?;
        let xdp = Changes::of_xdp()?;
        let packets = kernel.take_bfd_packets()?.context("the packets of BFD have a reader already")?;
        let sessions = kernel.bfd()?;
        let host = Host::adopt(config.clone(), kernel)?;
        let suspects = host.installed.vteps.iter().filter(|(_, row)| row.suspect).map(|(index, _)| *index);
        let liveness = Liveness::spawn(sessions, packets, suspects.collect());
        let (targets, wanted) = watch::channel(host.targets());
        let underlay = underlay::watch(config.underlay.address.iter().collect(), wanted).await?;
        let (report, reported) = watch::channel(None);
        let (installed, seen) = watch::channel(0);
        let source = Source::spawn(config, host.inherited(), Feedback { report: reported, installed: seen });
        let metrics = match metrics::serve(&config.metrics, ask).await {
            Ok(address) => address,
            Err(error) => {
                warn!(%error, listen = %config.metrics.listen, "metrics are not served");
                None
            }
        };
        let (answering, answered) = mpsc::channel(TRACES_MAX);
        let notify = Notify::new();
        Notify::ready();
        info!(name = %config.agent.name, address = %config.underlay.address, "running");
        Ok(Self {
            host,
            tunnel,
            source,
            links,
            underlay,
            liveness,
            xdp,
            targets,
            report,
            installed,
            taken: 0,
            awaits_comparison: false,
            events,
            samples,
            answered,
            answering,
            traces: 0,
            drill: None,
            events_from: Instant::now(),
            asks,
            metrics,
            due: Some(Instant::now()),
            retry: *RETRY.start(),
            patience: None,
            notify,
            server,
            start,
        })
    }

    async fn serve(&mut self) -> Result<End> {
        let (mut hangup, mut term, mut int) = signals()?;
        let mut reread = tokio::time::interval(REREAD);
        reread.set_missed_tick_behavior(MissedTickBehavior::Delay);
        reread.reset();
        let mut watchdog = tokio::time::interval(self.notify.watchdog_period());
        let mut batch = Vec::with_capacity(EVENTS_BATCH);
        let mut samples = Vec::new();
        let mut watch = tokio::time::interval(WATCH_PACE);
        watch.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut returns = tokio::time::interval(RETURNS_PACE);
        returns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut aged = Instant::now();
        let mut proved = Instant::now();
        let mut looked = Instant::now();
        loop {
            let ageing = tokio::time::Instant::from_std(aged + self.host.ageing_pace());
            let answers = self.host.one_way_window().map(|window| looked + OneWay::pace(window));
            let look = tokio::time::Instant::from_std(answers.unwrap_or(looked));
            let proof = tokio::time::Instant::from_std(proved + self.host.proof.rest());
            let due = tokio::time::Instant::from_std(self.due.unwrap_or_else(Instant::now));
            tokio::select! {
                event = self.source.events.recv() => self.take(event.ok_or_else(|| anyhow!("the source ended"))?),
                Ok(()) = self.links.changed() => self.hint(),
                Ok(()) = self.underlay.changed() => self.hint(),
                result = self.liveness.changed() => {
                    // Findings that stay as they were would hold a dead VTEP for alive.
                    result.context("the sessions of BFD are no longer kept")?;
                    self.hint();
                }
                result = self.xdp.changed() => {
                    result.context("changes of drivers cannot be followed")?;
                    self.hint();
                }
                result = paced(self.events_from, &mut self.events, &mut batch) => {
                    result.context("the programs' events cannot be read")?;
                    self.learn(&mut batch);
                }
                result = self.samples.read(&mut samples, EVENTS_BATCH) => {
                    result.context("the programs' copies of frames cannot be read")?;
                    tokio::task::block_in_place(|| self.host.watch_samples(&mut samples));
                }
                Some(answered) = self.answered.recv() => {
                    self.traces -= 1;
                    tokio::task::block_in_place(|| self.host.end_trace(answered));
                }
                () = drill::over(&mut self.drill) => self.end_drill().await,
                _ = watch.tick(), if !self.host.watchers.is_idle() => {
                    tokio::task::block_in_place(|| self.host.watch_tick());
                }
                Some(ask) = self.asks.recv() => {
                    if let Some(reply) = self.answer(ask).await {
                        return Ok(End::Detach(reply));
                    }
                }
                () = tokio::time::sleep_until(due), if self.due.is_some() => self.reconcile().await,
                _ = reread.tick() => {
                    self.reread();
                    self.reconcile().await;
                }
                () = tokio::time::sleep_until(ageing) => {
                    aged = Instant::now();
                    if tokio::task::block_in_place(|| self.host.age()) {
                        self.hint();
                    }
                }
                _ = returns.tick(), if self.host.awaits_returns() => {
                    if tokio::task::block_in_place(|| self.host.look_for_returns()) {
                        self.hint();
                    }
                }
                () = tokio::time::sleep_until(look), if answers.is_some() => {
                    looked = Instant::now();
                    if tokio::task::block_in_place(|| self.host.look_for_answers(looked)) {
                        self.hint();
                    }
                }
                () = tokio::time::sleep_until(proof), if self.due.is_none() => {
                    let differs = tokio::task::block_in_place(|| self.host.prove());
                    proved = Instant::now();
                    if differs {
                        self.reconcile().await;
                    }
                }
                _ = watchdog.tick() => self.notify.alive(&self.host.summary()),
                _ = hangup.recv() => self.reload(),
                _ = term.recv() => return Ok(End::Stop),
                _ = int.recv() => return Ok(End::Stop),
            }
        }
    }

    async fn end_drill(&mut self) {
        if let Some(drill) = self.drill.take() {
            let ended = tokio::task::block_in_place(|| drill.end(&mut self.host));
            self.reconcile().await;
            tokio::task::block_in_place(|| ended.report(&self.host));
        }
    }

    fn take(&mut self, event: SourceEvent) {
        match &event {
            SourceEvent::Snapshot { refusals, .. } | SourceEvent::Delta { refusals, .. }
                if self.host.source.differs(refusals) =>
            {
                for refusal in refusals.first().iter().take(5) {
                    warn!(path = refusal.path, problem = refusal.problem, "row refused");
                }
                warn!(rows = refusals.count(), "rows of the table are refused; see `vtep-agent status`");
            }
            SourceEvent::Lost { reason } if self.host.source.lost.as_ref() != Some(reason) => {
                warn!(reason, "the source gives nothing new; the last table stays");
            }
            _ => {}
        }
        self.taken += 1;
        match self.host.take(event) {
            Taken::Noted => {}
            Taken::Written => {
                self.publish();
                self.compare_later();
            }
            Taken::Hint => {
                self.awaits_comparison = true;
                self.hint();
            }
        }
        if !self.awaits_comparison {
            self.installed.send_replace(self.taken);
        }
    }

    fn learn(&mut self, batch: &mut Vec<Event>) {
        for event in batch.iter().filter(|event| event.kind == EventKind::VtepSilent as u32) {
            self.liveness.silent(crate::desired::ip(event.address));
        }
        let learning = tokio::task::block_in_place(|| self.host.learn(batch));
        batch.clear();
        self.events_from = Instant::now() + EVENTS_PACE;
        self.host.witness.tally.lost += self.source.witness(learning.sightings);
        if learning.news {
            self.publish();
            self.compare_later();
        }
        if !learning.done {
            self.hint();
        }
    }

    fn hint(&mut self) {
        self.retry = *RETRY.start();
        self.reconcile_by(Instant::now() + DEBOUNCE);
    }

    /// A table that takes long to compare is compared less often than it changes.
    fn compare_later(&mut self) {
        self.reconcile_by(Instant::now() + COMPARE.max(self.host.last_reconcile * 10));
    }

    fn reconcile_by(&mut self, by: Instant) {
        self.due = Some(self.due.map_or(by, |due| due.min(by)));
    }

    async fn reconcile(&mut self) {
        self.due = None;
        self.host.links = self.links.borrow_and_update().clone();
        self.host.underlay = self.underlay.borrow_and_update().clone();
        self.host.liveness = Arc::clone(&self.liveness.findings.borrow_and_update());
        if self.awaits_underlay() {
            return;
        }
        let tunnel = self.host.tunnel_is_up() || self.mend_tunnel().await;
        let settled = tokio::task::block_in_place(|| self.host.reconcile(Instant::now()));
        if settled {
            self.awaits_comparison = false;
            self.installed.send_replace(self.taken);
        }
        if settled && tunnel {
            self.retry = *RETRY.start();
        } else {
            self.reconcile_by(Instant::now() + self.retry);
            self.retry = (self.retry * 2).min(*RETRY.end());
        }
        self.publish();
    }

    /// The watched links show it, and bring the next reconcile.
    async fn mend_tunnel(&mut self) -> bool {
        match self.tunnel.ensure().await {
            Ok(_) => info!(device = TUNNEL_DEVICE, "the tunnel device is up again"),
            Err(error) => {
                if self.host.complaints.is_news("tunnel device", &error) {
                    error!(error = &error as &dyn std::error::Error, "there is no tunnel device");
                }
                return false;
            }
        }
        true
    }

    /// Whether a MAC would point to a VTEP whose way is not looked up yet. Frames to it would be dropped until then, so
    /// what is installed holds that much longer.
    fn awaits_underlay(&mut self) -> bool {
        if self.host.targets().is_subset(&self.host.underlay.targets) {
            self.patience = None;
            return false;
        }
        let until = *self.patience.get_or_insert_with(|| Instant::now() + LOOKUP_PATIENCE);
        if Instant::now() >= until {
            return false;
        }
        self.publish();
        self.due = Some(until);
        true
    }

    /// Tells the neighbours what they want to know. Nothing is said upstream before a table was installed.
    fn publish(&self) {
        let targets = self.host.targets();
        self.targets.send_if_modified(|last| {
            let changed = *last != targets;
            *last = targets;
            changed
        });
        if let Some(wishes) = self.host.wishes() {
            self.liveness.want(wishes);
        }
        let Some(report) = self.host.report() else { return };
        self.report.send_if_modified(|last| {
            let changed = last.as_deref() != Some(&report);
            if changed {
                *last = Some(Arc::new(report));
            }
            changed
        });
    }

    fn reread(&mut self) {
        tokio::task::block_in_place(|| self.host.reread());
    }

    fn reload(&mut self) {
        Notify::reloading();
        match Config::load(&self.start.path, &self.start.overrides) {
            Ok(config) => {
                if !self.host.reconfigure(&config) {
                    warn!("parts of the configuration take effect only after a restart");
                }
                info!("read the configuration again");
            }
            Err(error) => {
                error!(error = &error as &dyn std::error::Error, "the configuration stays as it was");
            }
        }
        self.source.reload();
        self.hint();
        Notify::ready();
    }

    async fn detach(self, reply: oneshot::Sender<Reply>) -> Result<()> {
        let Self { host, tunnel, source, server, targets, underlay, liveness, .. } = self;
        liveness.leave().await;
        drop((source, underlay));
        // Whoever follows the underlay would ask for its next hops again.
        targets.closed().await;
        let removed = detach(host, &tunnel).await;
        let answer = match &removed {
            Ok(row) => Reply::rows([row]),
            Err(error) => Reply::error(ErrorKind::Failed, format!("{error:#}")),
        };
        drop(reply.send(answer));
        // The answer is written by the connection's task, which the runtime's end would cut off.
        server.finish().await;
        removed.map(|row| info!(pins = row.pins_removed, "detached; nothing is forwarded any more"))
    }
}

/// Nothing is lost if the wait is given up.
async fn paced(from: Instant, events: &mut Events, batch: &mut Vec<Event>) -> io::Result<()> {
    tokio::time::sleep_until(from.into()).await;
    events.read(batch, EVENTS_BATCH).await
}

async fn detach(host: Host, tunnel: &Tunnel) -> Result<DetachRow> {
    let pins_removed = tokio::task::block_in_place(|| host.kernel.remove())?;
    let tunnel_removed = tunnel.remove().await?;
    underlay::release().await?;
    Ok(DetachRow { pins_removed, tunnel_removed })
}

/// The tunnel device that a configuration asks for.
pub fn tunnel(config: &Config) -> Tunnel {
    let config::Underlay { udp_port, source_ports, .. } = &config.underlay;
    Tunnel {
        name: TUNNEL_DEVICE.to_owned(),
        udp_port: udp_port.as_u16(),
        source_ports: (source_ports.first, source_ports.last),
    }
}

/// The kernel's tables that a configuration asks for.
pub fn settings(config: &Config) -> Settings {
    let config::Dataplane { bpffs, macs_max, vteps_max, vnis_max, ports_max, .. } = &config.dataplane;
    let sizes = Sizes {
        macs_max: macs_max.as_u32(),
        vteps_max: vteps_max.as_u32(),
        vnis_max: vnis_max.as_u32(),
        ports_max: ports_max.as_u32(),
        senders_max: config.dataplane.senders_max(),
        flood_max: config.dataplane.flood_max(),
    };
    Settings { sizes, mac_table: config.dataplane.mac_table, ..Settings::new(bpffs) }
}

fn signals() -> Result<(Signal, Signal, Signal)> {
    let stream = |kind| signal(kind).context("signals cannot be received");
    Ok((stream(SignalKind::hangup())?, stream(SignalKind::terminate())?, stream(SignalKind::interrupt())?))
}
