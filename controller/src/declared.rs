//! What the operator declares of the whole deployment: one file, the same for every logical controller.

mod diff;
pub mod file;
mod sharded;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use vtep_api::{
    BfdTransport, BfdWord, Binding, ControllerName, Encapsulation, LogicalSwitchName, MacAddr, Replication,
    UnknownUnicast, Vni, VtepName,
};

pub use diff::{Difference, Sign, diff};

/// Valid in itself: names that are referred to are there, VNIs and tunnel addresses are unique.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Declared {
    pub policy: Policy,
    /// Of the sessions of BFD between any two VTEPs, as far as neither has a word of its own.
    #[serde(default, skip_serializing_if = "BfdWord::is_silent")]
    pub bfd: BfdWord,
    pub vteps: BTreeMap<VtepName, DeclaredVtep>,
    pub logical_switches: BTreeMap<LogicalSwitchName, DeclaredSwitch>,
    pub bindings: BTreeMap<VtepName, BTreeSet<Binding>>,
    /// Who takes part without a port.
    pub subscriptions: BTreeMap<VtepName, BTreeSet<LogicalSwitchName>>,
    pub pins: BTreeSet<Pin>,
}

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredVtep {
    /// A TOR's database, as Open vSwitch writes it. Without it the VTEP is a host whose agent connects.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ovsdb: Option<String>,
    /// Its tunnel address; by default what it says itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// How frames to it are wrapped. A TOR's is VXLAN.
    #[serde(default, skip_serializing_if = "is_default")]
    pub encapsulation: Encapsulation,
    /// Which physical controller serves it. By default the one that an agent connects to; a TOR's has to be named
    /// unless there is only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub physical_controller: Option<ControllerName>,
    /// Of its sessions of BFD, whoever is at the other end.
    #[serde(default, skip_serializing_if = "BfdWord::is_silent")]
    pub bfd: BfdWord,
}

impl Declared {
    /// What is declared of a VTEP's sessions of BFD. A TOR has them inside the tunnel unless it is said otherwise, for
    /// that is what its database has words for.
    pub fn bfd_of(&self, vtep: &DeclaredVtep) -> BfdWord {
        let mut words = self.vteps.values().map(|vtep| &vtep.bfd).chain([&self.bfd]);
        if vtep.ovsdb.is_none() || !words.any(|word| word.enabled == Some(true)) {
            return vtep.bfd;
        }
        vtep.bfd.or(BfdWord { transport: Some(BfdTransport::Vxlan), ..BfdWord::default() })
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over references")]
fn is_default(encapsulation: &Encapsulation) -> bool {
    *encapsulation == Encapsulation::default()
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredSwitch {
    pub vni: Vni,
    /// Which logical controller owns it; by default the one that the file is applied to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logical_controller: Option<ControllerName>,
    #[serde(default)]
    pub unknown_unicast: UnknownUnicast,
    #[serde(default)]
    pub replication: Replication,
    /// With `replication = "service_node"`: who replicates.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub service_nodes: BTreeSet<VtepName>,
    #[serde(default, skip_serializing_if = "WitnessPolicy::is_off")]
    pub witness: WitnessPolicy,
}

/// What follows when hosts see frames of a MAC come from another VTEP than its master.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WitnessPolicy {
    /// It is shown.
    #[default]
    Off,
    /// Of several that claim alike, the one from which they come is master.
    TieBreak,
}

impl WitnessPolicy {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over references")]
    fn is_off(&self) -> bool {
        *self == Self::Off
    }
}

/// The operator's own claim: the MAC is behind this VTEP, whoever else claims it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    pub logical_switch: LogicalSwitchName,
    pub mac: MacAddr,
    pub vtep: VtepName,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policy {
    pub time: TimePolicy,
    /// A VTEP whose clock is off by more is judged by its physical controller's.
    pub skew_bound_ms: u32,
    /// How long the claims of a VTEP whose session is lost are kept.
    pub hold_secs: u32,
    /// How long a logical controller that begins anew waits for its physical controllers before it distributes.
    pub start_wait_secs: u32,
    pub distribution: Distribution,
    pub batch: Batch,
    pub duplicate: Duplicate,
    pub storm: Storm,
    pub mass_withdraw: MassWithdraw,
    /// MACs that one VTEP may claim in one logical switch.
    pub quota: u32,
}

/// By which time the latest of those who claim to be master is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum TimePolicy {
    /// The order in which claims reach the logical controller.
    #[default]
    Arrival,
    PhysicalControllerTime,
    VtepTime,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Distribution {
    #[default]
    Delta,
    /// Every change sends the whole table.
    Full,
}

/// Changes are gathered for so long, or until there are so many. Zero: they are not gathered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Batch {
    pub period_ms: u32,
    pub size: u32,
}

/// RFC 7432 §15.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Duplicate {
    pub action: DuplicateAction,
    /// So many changes of master …
    pub moves: u32,
    /// … within so long mark a MAC as duplicate.
    pub window_secs: u32,
    /// After so long without a move the mark goes.
    pub recover_secs: u32,
    /// VRRP's virtual MACs (RFC 5798 §7.3) move by design.
    pub exempt_vrrp: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DuplicateAction {
    /// Tell the operator, and follow.
    #[default]
    Warn,
    /// Keep the master that it has.
    Freeze,
}

/// A VTEP that claims MACs of others, for which it was not known as a slave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Storm {
    /// More than so many …
    pub takes_max: u32,
    /// … within so long are held until the operator releases them.
    pub window_secs: u32,
}

/// More than `max(entries, percent)` of a logical switch's MACs that leave within the window are kept until the operator
/// releases them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MassWithdraw {
    pub entries: u32,
    pub percent: u8,
    pub window_secs: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            time: TimePolicy::default(),
            skew_bound_ms: 2000,
            hold_secs: 300,
            start_wait_secs: 30,
            distribution: Distribution::default(),
            batch: Batch::default(),
            duplicate: Duplicate::default(),
            storm: Storm::default(),
            mass_withdraw: MassWithdraw::default(),
            quota: 1_000_000,
        }
    }
}

impl Default for Duplicate {
    fn default() -> Self {
        let action = DuplicateAction::default();
        Self { action, moves: 5, window_secs: 180, recover_secs: 540, exempt_vrrp: true }
    }
}

impl Default for Storm {
    fn default() -> Self {
        Self { takes_max: 1000, window_secs: 10 }
    }
}

impl Default for MassWithdraw {
    fn default() -> Self {
        Self { entries: 64, percent: 20, window_secs: 60 }
    }
}
