//! Who watches, over the control socket: monitors and captures. Nothing is made that nobody watches, and none of them is
//! waited for.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytemuck::Zeroable;
use serde::Serialize;
use tracing::warn;
use vtep_abi::{CaptureSettings, Counter, Event, EventKind, FdbKey, Verdict, VerdictSet};
use vtep_api::MacAddr;
use vtep_api::control::Feed;

use super::host::Host;
use crate::capture::{self, CaptureRow, CapturedFrame, Filter};
use crate::control::view::{FdbRow, Labels, VniCounters};
use crate::control::{ErrorKind, Reply};
use crate::dataplane::{FdbTarget, PortId};
use crate::kernel::{self, Sample, Tally};
use crate::monitor::{By, Change, DroppedFrame, Happened, InnerFrame, MonitorRow, Said, Topic, Wanted};
use crate::plan::Step;
use crate::trace::digits;
use crate::trace::outer::Outer;

/// The control socket has places for other clients, too.
const WATCHERS_MAX: usize = 8;
/// Rows that a client has not taken.
const ROWS_MAX: usize = 1024;
/// Of a monitor, on each CPU in a second.
const SAMPLES_PER_SECOND: u32 = 20;
/// Enough for all headers.
const SAMPLE_BYTES: u32 = 192;
/// Addresses of unknown senders that are told of in a second.
const SENDERS_MAX: usize = 256;
/// Until when the programs copy, should this process be gone: renewed by each tick.
const LEASE: Duration = Duration::from_secs(10);
/// Rows of one step that are made for a monitor; the rest would not find room anyway.
const STEP_ROWS_MAX: usize = ROWS_MAX * 2;

type Counted = BTreeMap<(Option<u32>, Verdict), Counter>;

#[derive(Default)]
pub(super) struct Watchers {
    all: Vec<Watcher>,
    settings: Option<CaptureSettings>,
    counted: Counted,
    senders: BTreeMap<(IpAddr, u32, Verdict), (String, u64)>,
}

struct Watcher {
    feed: Feed<WatchRow>,
    wants: Wants,
    until: Option<Instant>,
    left: Option<u64>,
}

enum Wants {
    Monitor(Wanted),
    Capture { filter: Filter, verdicts: VerdictSet, start: Tally },
}

#[derive(Serialize)]
#[serde(untagged)]
enum WatchRow {
    Monitor(MonitorRow),
    Capture(CaptureRow),
}

impl Watchers {
    pub(super) fn is_idle(&self) -> bool {
        self.all.is_empty()
    }

    fn wants(&self, topic: Topic) -> bool {
        self.all.iter().any(|watcher| matches!(&watcher.wants, Wants::Monitor(wanted) if wanted.wants(topic)))
    }

    fn tell(&mut self, happened: &Happened) {
        let at_ms = wall().as_millis();
        let at_ms = u64::try_from(at_ms).unwrap_or(u64::MAX);
        for watcher in &mut self.all {
            if matches!(&watcher.wants, Wants::Monitor(wanted) if wanted.wants_row(happened)) {
                watcher.offer(|| WatchRow::Monitor(MonitorRow { at_ms, happened: happened.clone() }));
            }
        }
    }

    /// Rows of a step that were not made.
    fn lose(&mut self, topic: Topic, rows: usize) {
        for watcher in &mut self.all {
            if matches!(&watcher.wants, Wants::Monitor(wanted) if wanted.wants(topic)) {
                watcher.feed.lose(rows);
            }
        }
    }

    fn drop_those_that_are_done(&mut self) {
        let now = Instant::now();
        self.all.retain_mut(|watcher| {
            watcher.feed.tell_losses();
            let over = watcher.until.is_some_and(|until| until <= now) || watcher.left == Some(0);
            !over && !watcher.feed.is_closed()
        });
    }
}

impl Watcher {
    fn offer(&mut self, row: impl FnOnce() -> WatchRow) {
        if self.left == Some(0) {
            return;
        }
        if self.feed.offer(row) {
            self.left = self.left.map(|left| left - 1);
        }
    }
}

impl Wants {
    /// Verdicts whose frames are to be copied.
    fn verdicts(&self) -> VerdictSet {
        match self {
            Self::Capture { verdicts, .. } => *verdicts,
            Self::Monitor(wanted) => {
                let is_wanted = |verdict: &Verdict| {
                    let topic = match verdict {
                        Verdict::UnknownSender | Verdict::SenderNotInVni => Some(Topic::UnknownSenders),
                        Verdict::Answered => Some(Topic::Suppression),
                        _ => None,
                    };
                    (verdict.is_drop() && wanted.wants(Topic::Drops))
                        || topic.is_some_and(|topic| wanted.wants(topic))
                };
                Verdict::ALL.iter().copied().filter(is_wanted).collect()
            }
        }
    }
}

impl Host {
    pub(super) fn monitor(&mut self, wanted: &Wanted) -> Reply {
        if let Some(refused) = self.unknown_vni(wanted.vni) {
            return refused;
        }
        self.watch(Wants::Monitor(wanted.clone()), wanted.seconds, wanted.count)
    }

    pub(super) fn capture(&mut self, filter: &Filter) -> Reply {
        if let Some(refused) = self.unknown_vni(filter.vni) {
            return refused;
        }
        let verdicts = match filter.verdicts() {
            Ok(verdicts) => verdicts,
            Err(error) => return Reply::error(ErrorKind::Usage, error.to_string()),
        };
        if let Some(port) = &filter.port
            && !self.links.by_name.contains_key(port.as_str())
        {
            return Reply::error(ErrorKind::NotFound, format!("this host has no interface {port:?}"));
        }
        let start = match self.kernel.capture_tally() {
            Ok(start) => start,
            Err(error) => return Reply::error(ErrorKind::Failed, vtep_api::daemon::chain(&error)),
        };
        let (seconds, count) = (filter.seconds, filter.count);
        self.watch(Wants::Capture { filter: filter.clone(), verdicts, start }, seconds, count)
    }

    fn unknown_vni(&self, vni: Option<u32>) -> Option<Reply> {
        let unknown = vni.filter(|vni| !self.installed.networks.contains_key(vni))?;
        Some(Reply::error(ErrorKind::NotFound, format!("VNI {unknown} is none of this host's")))
    }

    fn watch(&mut self, wants: Wants, seconds: Option<u64>, count: Option<u64>) -> Reply {
        self.watchers.drop_those_that_are_done();
        if self.watchers.all.len() >= WATCHERS_MAX {
            let message = format!("{WATCHERS_MAX} monitors and captures run already, as many as may");
            return Reply::error(ErrorKind::Failed, message);
        }
        if self.watchers.is_idle() {
            self.watchers.counted = counted(&self.counters());
        }
        let (feed, reply) = Feed::new(ROWS_MAX);
        let until = seconds.and_then(|seconds| Instant::now().checked_add(Duration::from_secs(seconds)));
        self.watchers.all.push(Watcher { feed, wants, until, left: count });
        self.settle_capture();
        reply
    }

    /// Once a second while somebody watches.
    pub(super) fn watch_tick(&mut self) {
        let mut watchers = std::mem::take(&mut self.watchers);
        let counters = counted(&self.counters());
        for (&(vni, verdict), counter) in counters.iter().filter(|((_, verdict), _)| verdict.is_drop()) {
            let last = watchers.counted.get(&(vni, verdict)).copied().unwrap_or_default();
            let packets = counter.packets.saturating_sub(last.packets);
            if packets > 0 {
                let bytes = counter.bytes.saturating_sub(last.bytes);
                watchers.tell(&Happened::Dropped { vni, verdict: verdict.name().to_owned(), packets, bytes });
            }
        }
        watchers.counted = counters;
        for ((address, vni, verdict), (interface, frames)) in std::mem::take(&mut watchers.senders) {
            let verdict = verdict.name().to_owned();
            watchers.tell(&Happened::UnknownSender { address, vni, verdict, interface, frames });
        }
        if let Ok(now) = self.kernel.capture_tally() {
            for watcher in &mut watchers.all {
                if let Wants::Capture { start, .. } = &watcher.wants {
                    let counts = capture::counts(now, *start);
                    // A capture's count is of frames.
                    watcher.feed.offer(|| WatchRow::Capture(counts));
                }
            }
        }
        watchers.drop_those_that_are_done();
        self.watchers = watchers;
        self.settle_capture();
    }

    /// Tells the programs what all watchers together want.
    fn settle_capture(&mut self) {
        let wanted = self.capture_settings();
        if wanted == CaptureSettings::zeroed() && self.watchers.settings.is_none() {
            return;
        }
        match self.kernel.set_capture(&wanted) {
            Ok(()) => {
                self.watchers.settings = (wanted != CaptureSettings::zeroed()).then_some(wanted);
            }
            Err(error) => {
                warn!(error = &error as &dyn std::error::Error, "the programs copy other frames than wanted");
            }
        }
    }

    fn capture_settings(&self) -> CaptureSettings {
        let mut settings = CaptureSettings::zeroed();
        let mut places = Vec::new();
        for watcher in &self.watchers.all {
            let verdicts = watcher.wants.verdicts();
            if verdicts.is_empty() {
                continue;
            }
            settings.verdicts |= verdicts;
            let (per_second, one_in, snaplen, place) = match &watcher.wants {
                Wants::Monitor(wanted) => (SAMPLES_PER_SECOND, 1, SAMPLE_BYTES, (wanted.vni, None)),
                Wants::Capture { filter, .. } => {
                    let port = filter.port.as_deref().and_then(|port| self.links.by_name.get(port));
                    let place = (filter.vni, port.map(|link| link.ifindex));
                    (filter.per_second, filter.one_in.max(1), filter.snaplen, place)
                }
            };
            settings.per_second = settings.per_second.saturating_add(per_second);
            settings.one_in = if settings.one_in == 0 { one_in } else { settings.one_in.min(one_in) };
            settings.snaplen = settings.snaplen.max(snaplen);
            places.push(place);
        }
        if settings.verdicts.is_empty() {
            return CaptureSettings::zeroed();
        }
        // One place only can be told to the programs; with several each watcher's rows are chosen here.
        let same = places.windows(2).all(|pair| pair[0] == pair[1]);
        let (vni, ifindex) = places.first().copied().filter(|_| same).unwrap_or((None, None));
        let network = vni.and_then(|vni| self.installed.networks.get(&vni));
        settings.bd = network.map_or(CaptureSettings::ANY_BD, |network| network.bd);
        settings.ifindex = ifindex.unwrap_or(0);
        let lease = kernel::now().saturating_add(LEASE);
        settings.until_ns = u64::try_from(lease.as_nanos()).unwrap_or(u64::MAX);
        settings
    }

    /// Frames that the programs copied.
    pub(super) fn watch_samples(&mut self, samples: &mut Vec<Sample>) {
        let mut watchers = std::mem::take(&mut self.watchers);
        let booted = wall().saturating_sub(kernel::now());
        for sample in samples.drain(..) {
            let Some(verdict) = Verdict::from_code(sample.head.verdict) else { continue };
            let vni = self.vni_of(sample.head.bd);
            let mut captured = None;
            for watcher in &mut watchers.all {
                let Wants::Capture { filter, verdicts, .. } = &watcher.wants else { continue };
                let is_at = |port: &String| {
                    let came = Some(sample.head.ifindex).filter(|came| *came != 0);
                    came.into_iter().chain(sample.head.goes_to()).any(|at| self.interface(at) == *port)
                };
                let wanted = verdicts.contains(verdict)
                    && (filter.vni.is_none() || filter.vni == vni)
                    && filter.port.as_ref().is_none_or(is_at);
                if wanted {
                    let captured =
                        captured.get_or_insert_with(|| self.captured(&sample, verdict, vni, booted));
                    watcher.offer(|| WatchRow::Capture(CaptureRow::Frame(captured.clone())));
                }
            }
            if verdict.is_drop() && watchers.wants(Topic::Drops) {
                watchers.tell(&Happened::DroppedFrame(self.dropped(&sample, verdict, vni)));
            }
            if verdict == Verdict::Answered
                && watchers.wants(Topic::Suppression)
                && let Some(answered) = self.answered(&sample, vni)
            {
                watchers.tell(&answered);
            }
            if matches!(verdict, Verdict::UnknownSender | Verdict::SenderNotInVni)
                && watchers.wants(Topic::UnknownSenders)
                && let Some(outer) = Outer::parse(&sample.frame, self.udp_port())
            {
                let key = (outer.source, outer.vni, verdict);
                if watchers.senders.len() < SENDERS_MAX || watchers.senders.contains_key(&key) {
                    let interface = self.interface(sample.head.ifindex);
                    watchers.senders.entry(key).or_insert((interface, 0)).1 += 1;
                }
            }
        }
        watchers.drop_those_that_are_done();
        let done = watchers.is_idle();
        self.watchers = watchers;
        if done {
            self.settle_capture();
        }
    }

    fn vni_of(&self, bd: u32) -> Option<u32> {
        self.installed.networks.iter().find(|(_, network)| bd != 0 && network.bd == bd).map(|(vni, _)| *vni)
    }

    fn captured(
        &self,
        sample: &Sample,
        verdict: Verdict,
        vni: Option<u32>,
        booted: Duration,
    ) -> CapturedFrame {
        let (bytes, len) = capture::on_the_wire(sample);
        let to = sample.head.goes_to().filter(|_| capture::is_outbound(sample));
        let at = booted.saturating_add(Duration::from_nanos(sample.head.at_ns));
        CapturedFrame {
            at_ns: u64::try_from(at.as_nanos()).unwrap_or(u64::MAX),
            interface: self.interface(to.unwrap_or(sample.head.ifindex)),
            outbound: to.is_some(),
            vni,
            verdict: verdict.name().to_owned(),
            drop: verdict.is_drop(),
            len,
            bytes: digits(&bytes),
        }
    }

    /// The frame is the answer by now: a reply (RFC 826), or an advertisement (RFC 4861 §4.4).
    fn answered(&self, sample: &Sample, vni: Option<u32>) -> Option<Happened> {
        let frame = &sample.frame;
        let address = match frame.get(12..14)? {
            [0x08, 0x06] => IpAddr::from(<[u8; 4]>::try_from(frame.get(28..32)?).ok()?),
            _ => IpAddr::from(<[u8; 16]>::try_from(frame.get(62..78)?).ok()?),
        };
        let mac = |at: usize| Some(MacAddr::new(frame.get(at..at + 6)?.try_into().ok()?));
        Some(Happened::Answered {
            vni: vni?,
            port: self.interface(sample.head.ifindex),
            vlan: sample.vlan(),
            asker: mac(0)?,
            address,
            mac: mac(6)?,
        })
    }

    /// What the programs told of addresses, of frames that ports may not send, and of those that came from elsewhere.
    pub(super) fn watch_events(&mut self, events: &[Event], witnessed: &[Happened]) {
        const TOPICS: [Topic; 3] = [Topic::Suppression, Topic::Security, Topic::Witness];
        if !TOPICS.iter().any(|topic| self.watchers.wants(*topic)) {
            return;
        }
        let mut watchers = std::mem::take(&mut self.watchers);
        for happened in events.iter().filter_map(|event| self.happened(event)) {
            watchers.tell(&happened);
        }
        for happened in witnessed {
            watchers.tell(happened);
        }
        self.watchers = watchers;
    }

    fn happened(&self, event: &Event) -> Option<Happened> {
        let &Event { kind, vni, ifindex, vlan, mac, address } = event;
        let mac = MacAddr::new(mac);
        let is = |wanted: EventKind| kind == wanted as u32;
        let ip = (address != [0; 16]).then(|| crate::desired::ip(address));
        let said = if is(EventKind::Announced) {
            Said::Announced
        } else if is(EventKind::Probed) {
            Said::Probed
        } else if is(EventKind::AddressHeard) {
            Said::Asked
        } else if is(EventKind::MacRefused) || is(EventKind::IpRefused) {
            let address = ip.filter(|_| is(EventKind::IpRefused));
            return Some(Happened::Refused { vni, port: self.interface(ifindex), vlan, mac, address });
        } else {
            return None;
        };
        let port = (ifindex != 0).then(|| self.interface(ifindex));
        Some(Happened::Address { said, vni, port, mac, address: ip })
    }

    fn dropped(&self, sample: &Sample, verdict: Verdict, vni: Option<u32>) -> DroppedFrame {
        let byte = |at: usize| sample.frame.get(at).copied().unwrap_or(0);
        let mac = |at: usize| MacAddr::new(std::array::from_fn(|i| byte(at + i)));
        let (outer, inner) = Outer::split(&sample.frame, self.udp_port()).unzip();
        DroppedFrame {
            vni,
            verdict: verdict.name().to_owned(),
            interface: self.interface(sample.head.ifindex),
            dst: mac(0),
            src: mac(6),
            vlan: sample.vlan(),
            ether_type: u16::from_be_bytes([byte(12), byte(13)]),
            len: sample.head.len,
            outer,
            inner: inner.and_then(InnerFrame::parse),
        }
    }

    /// Entries that a step writes, compared with what is installed before it.
    pub(super) fn watch_step(&mut self, step: &Step) {
        let (fdb, moves) = (self.watchers.wants(Topic::Fdb), self.watchers.wants(Topic::Moves));
        if !fdb && !moves {
            return;
        }
        let mut watchers = std::mem::take(&mut self.watchers);
        let labels = self.labels();
        match step {
            Step::PutFdb(rows) => {
                for (key, target) in rows.iter().take(STEP_ROWS_MAX) {
                    let last = self.installed.fdb.get(key);
                    tell_entry(&mut watchers, &labels, key, last, Some(target));
                }
                watchers.lose(Topic::Fdb, rows.len().saturating_sub(STEP_ROWS_MAX));
            }
            Step::RemoveFdb(keys) => {
                for key in keys.iter().take(STEP_ROWS_MAX) {
                    tell_entry(&mut watchers, &labels, key, self.installed.fdb.get(key), None);
                }
                watchers.lose(Topic::Fdb, keys.len().saturating_sub(STEP_ROWS_MAX));
            }
            _ => {}
        }
        self.watchers = watchers;
    }

    /// A MAC that was seen on a port, where it was not before.
    /// One that changes an entry is told of where that is written.
    pub(super) fn watch_seen(&mut self, key: &FdbKey, from: Option<PortId>, to: PortId, is_named: bool) {
        let is_told = !is_named && self.installed.fdb.contains_key(key);
        if is_told || !self.watchers.wants(Topic::Moves) {
            return;
        }
        let end = |port: PortId| {
            let bound = self.installed.ports.get(&port)?;
            self.end(vtep_abi::Target::LocalPort(bound.local_port))
        };
        let from = from.and_then(end).or_else(|| {
            let entry = self.installed.fdb.get(key)?;
            self.end(entry.master)
        });
        let (vni, mac) = (key.vni, MacAddr::new(key.mac));
        let moved = Happened::Moved { vni, mac, from, to: end(to), by: By::Learning };
        self.watchers.tell(&moved);
    }

    pub(super) fn watch_contest(&mut self, key: &FdbKey, at: vtep_abi::Target, holder: vtep_abi::Target) {
        if self.watchers.wants(Topic::Moves) {
            let (vni, mac) = (key.vni, MacAddr::new(key.mac));
            let contested = Happened::Contested { vni, mac, at: self.end(at), holder: self.end(holder) };
            self.watchers.tell(&contested);
        }
    }
}

fn tell_entry(
    watchers: &mut Watchers,
    labels: &Labels,
    key: &FdbKey,
    last: Option<&FdbTarget>,
    next: Option<&FdbTarget>,
) {
    let row = |target: &FdbTarget| labels.row(key, target);
    let (change, entry): (Change, FdbRow) = match (last, next) {
        (None, Some(next)) => (Change::Added, row(next)),
        (Some(last), Some(next)) if last != next => (Change::Changed, row(next)),
        (Some(last), None) => (Change::Removed, row(last)),
        _ => return,
    };
    let learnt = next.is_some_and(FdbTarget::is_learnt);
    if let (Some(last), Some(next)) = (last, next)
        && last.master != next.master
    {
        let (vni, mac) = (key.vni, MacAddr::new(key.mac));
        let (from, to) = (row(last).master, entry.master.clone());
        let by = if learnt { By::Learning } else { By::Table };
        watchers.tell(&Happened::Moved { vni, mac, from, to, by });
    }
    watchers.tell(&Happened::Fdb { change, entry });
}

fn counted(counters: &[VniCounters]) -> Counted {
    let each = |one: &VniCounters| {
        let vni = one.vni;
        one.verdicts.iter().map(move |(verdict, counter)| ((vni, *verdict), *counter)).collect::<Vec<_>>()
    };
    counters.iter().flat_map(each).collect()
}

fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
