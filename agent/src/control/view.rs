//! What commands print, as tables and as JSON alike.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use vtep_abi::{Counter, FdbKey, PortStats, Target, Verdict, VtepStats};
use vtep_api::MacAddr;

use crate::alarm::Alarm;
use crate::config::{InnerTag, UnboundTag};
use crate::dataplane::FdbTarget;
use crate::kernel::Slots;
use crate::learnt::Tally;
use crate::proof::Difference;
use crate::source::{Refusal, Refusals, SessionStatus};
use crate::witness::WitnessTally;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub name: String,
    pub version: String,
    pub pid: u32,
    pub uptime_secs: u64,
    pub ready: bool,
    /// Why it is not ready.
    pub waits_for: Vec<String>,
    pub source: SourceStatus,
    pub metrics: Option<SocketAddr>,
    pub address: String,
    pub epoch: u64,
    pub reconciles: u64,
    pub last_reconcile_ms: f64,
    pub counts: Counts,
    pub learning: Tally,
    pub moves: Moves,
    #[serde(default)]
    pub witness: WitnessTally,
    pub proof: ProofStatus,
    /// The VTEP whose failover is rehearsed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drill: Option<String>,
    pub attached: Vec<AttachedRow>,
    pub alarms: Vec<Alarm>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct SourceStatus {
    /// `file`, `ovsdb` or `controller`.
    pub kind: String,
    /// What it reads.
    pub from: String,
    pub snapshots: u64,
    pub deltas: u64,
    /// Why nothing new comes. The last table stays in force.
    pub lost: Option<String>,
    pub rows_refused: usize,
    pub first_refused: Vec<Refusal>,
    /// With a controller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionStatus>,
}

impl SourceStatus {
    /// Whether other rows are refused than before, if any are.
    pub(crate) fn differs(&self, refusals: &Refusals) -> bool {
        refusals.count() > 0
            && (refusals.count() != self.rows_refused || refusals.first() != self.first_refused)
    }

    pub(crate) fn refused(&mut self, refusals: &Refusals) {
        self.rows_refused = refusals.count();
        self.first_refused = refusals.first().to_vec();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    pub macs: usize,
    /// Room for MACs.
    pub macs_max: usize,
    pub macs_pending: usize,
    /// Beyond what their VTEP may have.
    pub macs_refused: usize,
    pub macs_learnt: usize,
    /// Learnt from the underlay.
    pub macs_overheard: usize,
    pub vteps: usize,
    pub vnis: usize,
    pub ports: usize,
    pub alarms: usize,
}

/// Frames of a binding, as the port sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PortTraffic {
    pub received_packets: u64,
    pub received_bytes: u64,
    /// Of those that were received.
    pub dropped_packets: u64,
    pub dropped_bytes: u64,
    pub sent_packets: u64,
    pub sent_bytes: u64,
    /// Copies of floods that the kernel refused to send to it.
    pub copy_errors: u64,
    /// Frames for it that are longer than its MTU.
    pub too_big: u64,
    /// Frames from it that packet-rate mode left to TC, having no room in front of them for headers.
    pub no_headroom: u64,
}

impl From<PortStats> for PortTraffic {
    fn from(stats: PortStats) -> Self {
        let PortStats { received, dropped, sent, copy_errors, too_big, no_headroom } = stats;
        Self {
            received_packets: received.packets,
            received_bytes: received.bytes,
            dropped_packets: dropped.packets,
            dropped_bytes: dropped.bytes,
            sent_packets: sent.packets,
            sent_bytes: sent.bytes,
            copy_errors,
            too_big,
            no_headroom,
        }
    }
}

/// Whether the kernel's tables are what is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct ProofStatus {
    /// Unix time from which on every check found no difference, and nothing was refused.
    pub in_sync_since: Option<u64>,
    pub checks: u64,
    pub last_check_ms: f64,
    /// Entries that were found to differ, since this process began.
    pub differences: u64,
}

/// Of a VNI's MACs, or of all tables but MACs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProvedSince {
    pub vni: Option<u32>,
    /// Unix time.
    pub since: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DifferenceRow {
    /// When it was found and mended; none: it is there now.
    pub seconds_ago: Option<u64>,
    #[serde(flatten)]
    pub difference: Difference,
}

/// MACs whose entries changed their place, since this process began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Moves {
    pub between_ports: u64,
    /// From a port of ours to another VTEP, and back.
    pub away: u64,
    pub back: u64,
    pub between_vteps: u64,
    /// No moves: MACs that are configured for a port and that another sent from.
    #[serde(default)]
    pub contested: u64,
}

impl Moves {
    pub(crate) fn note(&mut self, from: Target, to: Target) {
        match (from, to) {
            (Target::LocalPort(from), Target::LocalPort(to)) if from != to => self.between_ports += 1,
            (Target::LocalPort(_), Target::Vtep(_)) => self.away += 1,
            (Target::Vtep(_), Target::LocalPort(_)) => self.back += 1,
            (Target::Vtep(from), Target::Vtep(to)) if from != to => self.between_vteps += 1,
            _ => {}
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttachedRow {
    pub interface: String,
    pub ifindex: u32,
    pub program: String,
    /// Identifiers of programs of others at the same hook.
    pub foreign: Vec<u32>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FdbRow {
    pub vni: u32,
    pub logical_switch: Option<String>,
    pub mac: MacAddr,
    pub master: Option<FdbEnd>,
    pub slave: Option<FdbEnd>,
    /// Seen on its port, not configured.
    pub learnt: bool,
    /// Who says so.
    #[serde(default)]
    pub origin: Origin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    #[default]
    Table,
    /// The configuration of a port.
    Configured,
    /// Frames from a port.
    Learnt,
    /// Frames from the underlay.
    Underlay,
}

impl Origin {
    fn of(target: &FdbTarget) -> Self {
        let is_learnt = target.is_learnt();
        match target.master {
            Target::LocalPort(_) if is_learnt => Self::Learnt,
            Target::LocalPort(_) => Self::Configured,
            _ if is_learnt => Self::Underlay,
            _ => Self::Table,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FdbEnd {
    Vtep { index: u32, name: Option<String>, address: String, up: bool },
    Port { index: u32, name: Option<String>, vlan: u16 },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VniRow {
    pub vni: u32,
    pub logical_switch: Option<String>,
    pub bridge_domain: u32,
    pub unknown_unicast: String,
    /// Addresses that are answered for; none: the VNI is not set to it.
    pub neighbours: Option<usize>,
    pub macs: usize,
    /// Unix time from which on its MACs have been what was written, at every check.
    pub in_sync_since: Option<u64>,
    pub flood: Vec<String>,
}

#[expect(clippy::struct_excessive_bools, reason = "independent facts, each a column of its own")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VtepRow {
    pub index: u32,
    pub name: Option<String>,
    pub address: String,
    /// The agent's word.
    pub up: bool,
    /// The programs' word.
    pub alive: bool,
    /// Something speaks against it, and others serve its MACs where they can.
    pub suspect: bool,
    /// The state of its BFD session, if it has one.
    pub bfd: Option<String>,
    pub routed: bool,
    pub resolved: bool,
    pub interface: Option<String>,
    pub next_hop: Option<MacAddr>,
    pub mtu: u16,
    /// The largest inner IP packet that fits.
    pub inner_mtu: u16,
    /// MACs of which it is master, and slave.
    pub macs: usize,
    pub macs_as_slave: usize,
    pub sent_packets: u64,
    pub sent_bytes: u64,
    pub received_packets: u64,
    pub received_bytes: u64,
    pub served_as_slave: u64,
    /// Copies of floods that the kernel refused to send, and that its path has no room for.
    pub copy_errors: u64,
    pub copies_too_big: u64,
    /// Since its last frame; none came yet.
    pub last_seen_secs: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BfdRow {
    pub vtep: String,
    pub name: Option<String>,
    pub transport: String,
    pub state: String,
    pub remote_state: String,
    /// Why it was last taken down.
    pub diagnostic: String,
    /// `unproven`, `alive`, `receiving` (the session failed, frames come), `failed`, `returning`, `waiting`.
    pub standing: String,
    pub suspect: bool,
    pub detection_ms: Option<u64>,
    pub interval_ms: Option<u64>,
    pub failures: u64,
    /// By the programs: packets that counted, answers in the agent's stead, times that silence was found.
    pub heard: u64,
    pub answered: u64,
    pub expired: u64,
    /// Why the last packet was refused, or not sent.
    pub complaint: Option<String>,
    /// What we ask for, and who said so: `agent file`, `controller`, `database`, `table file`, or `agent file over …`.
    pub min_tx_ms: u32,
    pub min_rx_ms: u32,
    pub multiplier: u8,
    pub configured_by: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DrillRow {
    pub vtep: Option<String>,
    pub seconds: f64,
    /// Of those of which it is master: with one that could serve.
    pub macs_with_slave: usize,
    pub macs_without_slave: usize,
    pub frames_served_by_slaves: u64,
    /// Unicast that went to it all the same: what a real failure would have cost.
    pub frames_without_another_way: u64,
    /// Of floods, of which each member gets one whoever serves.
    pub flood_copies: u64,
    /// VTEPs that were silent or without carrier in the end: what slaves served for them is counted as well.
    pub others_out_of_service: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RestoredRow {
    pub vteps: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PortRow {
    pub port: String,
    #[serde(flatten)]
    pub traffic: PortTraffic,
    pub ifindex: Option<u32>,
    pub vlan: u16,
    pub vni: Option<u32>,
    pub logical_switch: String,
    pub attached: bool,
    /// Who removes the outer headers of unicast to it: `device`, `program` or `xdp`, and what decided that.
    pub decap: Option<String>,
    pub decap_why: Option<String>,
    /// Frames from VTEPs into its network that the tunnel device took all the same, or for other ports: floods, and what `decap`
    /// leaves.
    pub by_device_packets: u64,
    /// Whether it takes frames to the MACs of others. None: it filters none.
    pub promiscuous: Option<bool>,
    /// None: by the interface, as nobody asked for another way. `peer`, or why not.
    pub deliver: Option<String>,
    /// None: not asked for. `on`, or why not, or what keeps frames from being redirected to it.
    pub packet_rate: Option<String>,
    /// In that mode, what could not be looked at, and what to look at there.
    pub packet_rate_unseen: Option<String>,
    pub learning: bool,
    /// What becomes of tags without a binding, of those with one, and of tags behind these.
    pub unbound_tag: UnboundTag,
    pub keep_tag: bool,
    pub inner_tag: InnerTag,
    /// The source of the last frame that was refused for it.
    pub refused_source: Option<String>,
    /// The interface's own.
    pub mtu: Option<u32>,
    /// The largest IP packet that fits on the way to every VTEP of the network.
    pub path_mtu: Option<u16>,
    pub macs: Vec<MacAddr>,
    pub macs_learnt: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortStatsRow {
    pub port: String,
    pub vlan: u16,
    pub vni: u32,
    #[serde(flatten)]
    pub traffic: PortTraffic,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StatsRow {
    /// None: decided before a VNI was known.
    pub vni: Option<u32>,
    pub verdict: String,
    pub drop: bool,
    pub packets: u64,
    pub bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CountRow {
    pub macs: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DetachRow {
    pub pins_removed: usize,
    pub tunnel_removed: bool,
}

/// Entries that passed the filter, and what is needed to render them.
#[derive(Debug)]
pub struct FdbDump {
    pub entries: Vec<(FdbKey, FdbTarget)>,
    pub labels: Labels,
}

#[derive(Debug, Clone, Default)]
pub struct Labels {
    pub networks: BTreeMap<u32, String>,
    pub vteps: BTreeMap<u32, FdbEnd>,
    pub ports: BTreeMap<u32, FdbEnd>,
}

impl FdbDump {
    pub fn into_rows(self) -> impl Iterator<Item = FdbRow> + Send + 'static {
        let Self { entries, labels } = self;
        entries.into_iter().map(move |(key, target)| labels.row(&key, &target))
    }
}

impl Labels {
    pub fn row(&self, key: &FdbKey, target: &FdbTarget) -> FdbRow {
        FdbRow {
            vni: key.vni,
            logical_switch: self.networks.get(&key.vni).cloned(),
            mac: MacAddr::new(key.mac),
            master: self.end(target.master),
            slave: self.end(target.slave),
            learnt: Origin::of(target) == Origin::Learnt,
            origin: Origin::of(target),
        }
    }

    fn end(&self, target: Target) -> Option<FdbEnd> {
        match target {
            Target::None => None,
            Target::Vtep(index) => self.vteps.get(&index).cloned(),
            Target::LocalPort(index) => self.ports.get(&index).cloned(),
        }
    }
}

/// Everything that metrics show, read at one time.
#[derive(Debug)]
pub struct Scrape {
    pub status: Status,
    /// Of the bucketed MAC table.
    pub slots: Option<Slots>,
    pub reseeds: u64,
    pub vnis: Vec<VniCounters>,
    /// Of all networks that are and were, by every verdict.
    pub verdicts: Vec<(Verdict, u64)>,
    pub vteps: Vec<VtepScrape>,
    pub ports: Vec<PortScrape>,
    pub proved: Vec<ProvedSince>,
    pub bfd: Vec<BfdRow>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortScrape {
    pub port: String,
    pub vlan: u16,
    pub traffic: PortTraffic,
}

/// What was counted at least once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VniCounters {
    /// None: decided before a VNI was known.
    pub vni: Option<u32>,
    pub verdicts: Vec<(Verdict, Counter)>,
}

#[derive(Debug)]
pub struct VtepScrape {
    pub address: String,
    pub up: bool,
    pub stats: VtepStats,
    pub last_seen_secs: Option<u64>,
}

impl fmt::Display for FdbEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vtep { name: Some(name), address, .. } if name != address => {
                write!(f, "{name} ({address})")
            }
            Self::Vtep { address, .. } => f.write_str(address),
            Self::Port { name, vlan, index } => {
                match name {
                    Some(name) => write!(f, "port {name}")?,
                    None => write!(f, "port #{index}")?,
                }
                if *vlan == 0 { Ok(()) } else { write!(f, " VLAN {vlan}") }
            }
        }
    }
}
