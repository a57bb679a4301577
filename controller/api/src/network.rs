//! What is declared of logical networks, apart from their MACs.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{Locator, LogicalSwitchName, SwitchPortName, VlanId, Vni, VtepName};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownUnicast {
    #[default]
    Flood,
    Drop,
}

/// Who makes the copies of a flooded frame (`vtep(5)`, `Logical_Switch.replication_mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Replication {
    /// We do: one copy to each member.
    #[default]
    SourceNode,
    /// The member does: one copy to one live member.
    ServiceNode,
}

/// A logical switch without its MACs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    pub vni: Vni,
    #[serde(default)]
    pub unknown_unicast: UnknownUnicast,
    #[serde(default)]
    pub replication: Replication,
    /// The VTEPs that take part in it, or the service nodes that replicate for them. A receiver floods to all but itself.
    #[serde(default)]
    pub flood: BTreeSet<VtepName>,
}

/// Which frames of a VTEP's port belong to which logical switch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Binding {
    pub port: SwitchPortName,
    pub vlan: VlanId,
    pub logical_switch: LogicalSwitchName,
}

/// Everything that one VTEP is told, apart from MACs. Of the networks that it names it replaces what was told before.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct VtepOutline {
    /// Whether the VTEP takes part in no others, and forgets their tables and bindings. A physical controller that begins
    /// anew does not know before every logical controller has been heard: until then what is not named stays.
    #[serde(default)]
    pub complete: bool,
    /// Every VTEP that a table or a flood list of these networks may name.
    pub vteps: BTreeMap<VtepName, Locator>,
    /// The networks that the VTEP takes part in.
    pub networks: BTreeMap<LogicalSwitchName, Network>,
    pub bindings: BTreeSet<Binding>,
}
