//! What commands print that no core has of itself, as tables and as JSON alike.

use serde::{Deserialize, Serialize};
use vtep_api::{ControllerName, Ips, LogicalSwitchName, MacAddr, Term, VtepName};

use crate::cluster::{LateView, Office};
use crate::config::Role;
use crate::declared::Difference;
use crate::{logical, physical};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    pub name: String,
    pub role: Role,
    pub version: String,
    pub pid: u32,
    pub uptime_secs: u64,
    pub ready: bool,
    /// Why it is not ready.
    pub waits_for: Vec<String>,
    pub term: Term,
    pub store: StoreStatus,
    pub applied: Option<AppliedStatus>,
    pub counts: Counts,
    /// Why the recording ended, if there was one.
    pub recording_ended: Option<String>,
    pub alarms: Vec<logical::Alarm>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StoreStatus {
    pub path: String,
    pub errors: u64,
    /// Writes that etcd refused, because somebody else had the office by then.
    #[serde(default)]
    pub fenced: u64,
    /// Why the last write failed, until one succeeds, or why etcd is not reached.
    pub failing: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppliedStatus {
    pub name: String,
    pub applied_at_ms: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counts {
    pub logical_switches: usize,
    pub macs: usize,
    pub claims: usize,
    pub vteps: usize,
    pub vteps_up: usize,
    pub alarms: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FdbRow {
    pub logical_switch: LogicalSwitchName,
    pub mac: MacAddr,
    pub master: VtepName,
    pub slaves: Vec<VtepName>,
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub ips: Ips,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApplyRow {
    pub applied: bool,
    pub differences: Vec<Difference>,
    pub vteps: usize,
    pub logical_switches: usize,
    pub bindings: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DoneRow {
    pub done: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VtepDownRow {
    pub logical_switch: LogicalSwitchName,
    #[serde(flatten)]
    pub effect: logical::VtepDown,
}

/// Everything that metrics show, read at one time.
#[derive(Debug)]
pub struct Scrape {
    pub status: Status,
    /// `None`: nobody is elected.
    pub late: Option<LateView>,
    pub logical: Option<LogicalScrape>,
    pub physical: Option<PhysicalScrape>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberRow {
    pub name: ControllerName,
    pub role: Role,
    pub address: String,
    pub version: String,
    pub term: Term,
    /// VTEPs go to it, though others have settled, too.
    pub settled: bool,
    /// That it has.
    pub shards: usize,
    pub vteps: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfficeRow {
    #[serde(flatten)]
    pub office: Office,
    pub holder: Option<ControllerName>,
    pub term: Option<Term>,
    /// Who should have it.
    pub assigned: Option<ControllerName>,
    /// To whom the operator gave it.
    pub moved: Option<ControllerName>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logical_switches: Vec<LogicalSwitchName>,
}

#[derive(Debug, Default)]
pub struct LogicalScrape {
    pub counters: logical::Counters,
    pub vteps: Vec<logical::VtepView>,
    pub networks: Vec<logical::NetworkView>,
    pub sync: Vec<logical::SyncView>,
}

#[derive(Debug)]
pub struct PhysicalScrape {
    pub counters: physical::CountersView,
    pub vteps: Vec<physical::VtepView>,
    pub peers: Vec<physical::PeerView>,
    pub sync: Vec<physical::SyncView>,
}

impl LogicalScrape {
    /// What another core of this process has to say.
    pub(super) fn add(&mut self, other: Self) {
        self.counters += &other.counters;
        for vtep in other.vteps {
            match self.vteps.iter_mut().find(|known| known.name == vtep.name) {
                Some(known) => absorb(known, vtep),
                None => self.vteps.push(vtep),
            }
        }
        self.networks.extend(other.networks);
        self.sync.extend(other.sync);
    }
}

/// What another logical controller knows of the same VTEP.
pub(super) fn absorb(known: &mut logical::VtepView, other: logical::VtepView) {
    known.claims.extend(other.claims);
    known.networks.extend(other.networks);
    known.networks.sort_unstable();
    known.networks.dedup();
    known.refused += other.refused;
    known.storm |= other.storm;
    known.dead |= other.dead;
    known.lost_for_ms = known.lost_for_ms.max(other.lost_for_ms);
    known.address = known.address.or(other.address);
    known.skew_ms = known.skew_ms.or(other.skew_ms);
    known.physical_controller = known.physical_controller.take().or(other.physical_controller);
}
