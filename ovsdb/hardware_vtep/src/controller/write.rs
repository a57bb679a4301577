use std::fmt;
use std::net::IpAddr;

use ovsdb::Uuid;
use vtep_api::{LogicalSwitchName, MacAddr, SwitchPortName, VlanId};

/// One change, atomic in itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    AddSwitch {
        switch: LogicalSwitchName,
    },
    UpdateSwitch {
        switch: LogicalSwitchName,
        row: Uuid,
    },
    /// In place of what we had bound there before.
    Bind {
        port: SwitchPortName,
        port_row: Uuid,
        vlan: VlanId,
        switch: LogicalSwitchName,
        row: Uuid,
    },
    /// `bound`: besides the mark there is our binding.
    Unbind {
        port: SwitchPortName,
        port_row: Uuid,
        vlan: VlanId,
        bound: bool,
    },
    AddFlood {
        switch: LogicalSwitchName,
        row: Uuid,
    },
    /// One row is as it should be before the others go.
    UpdateFlood {
        switch: LogicalSwitchName,
        row: Uuid,
        surplus: Vec<Uuid>,
    },
    RemoveFlood {
        switch: LogicalSwitchName,
        rows: Vec<Uuid>,
    },
    AddMac {
        switch: LogicalSwitchName,
        row: Uuid,
        mac: MacAddr,
    },
    /// One row is as it should be before the others go.
    UpdateMac {
        switch: LogicalSwitchName,
        mac: MacAddr,
        row: Uuid,
        surplus: Vec<Uuid>,
    },
    RemoveMac {
        switch: LogicalSwitchName,
        mac: MacAddr,
        rows: Vec<Uuid>,
    },
    /// What is asked for on a tunnel of the TOR's.
    AskTunnel {
        row: Uuid,
        address: IpAddr,
    },
    /// Nothing is, by us.
    LeaveTunnel {
        row: Uuid,
        address: IpAddr,
    },
    /// A remote row of a logical switch of ours whose MAC is none.
    RemoveRow {
        row: Uuid,
    },
    /// The remote rows of a switch that somebody else made are no longer ours.
    ReleaseSwitch {
        row: Uuid,
    },
    RemoveSwitch {
        row: Uuid,
    },
}

/// What a write is about, which stays the same when it is planned anew.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    Switch(LogicalSwitchName),
    Binding(SwitchPortName, VlanId),
    Flood(LogicalSwitchName),
    Mac(LogicalSwitchName, MacAddr),
    Tunnel(IpAddr),
    Row(Uuid),
}

impl Write {
    pub fn subject(&self) -> Subject {
        match self {
            Self::AddSwitch { switch } | Self::UpdateSwitch { switch, .. } => Subject::Switch(switch.clone()),
            Self::Bind { port, vlan, .. } | Self::Unbind { port, vlan, .. } => {
                Subject::Binding(port.clone(), *vlan)
            }
            Self::AddFlood { switch, .. }
            | Self::UpdateFlood { switch, .. }
            | Self::RemoveFlood { switch, .. } => Subject::Flood(switch.clone()),
            Self::AddMac { switch, mac, .. }
            | Self::UpdateMac { switch, mac, .. }
            | Self::RemoveMac { switch, mac, .. } => Subject::Mac(switch.clone(), *mac),
            Self::AskTunnel { address, .. } | Self::LeaveTunnel { address, .. } => Subject::Tunnel(*address),
            Self::RemoveRow { row } | Self::ReleaseSwitch { row } | Self::RemoveSwitch { row } => {
                Subject::Row(*row)
            }
        }
    }

    /// How many rows it changes.
    pub(super) fn rows(&self) -> usize {
        match self {
            Self::UpdateFlood { surplus, .. } | Self::UpdateMac { surplus, .. } => 1 + surplus.len(),
            Self::RemoveFlood { rows, .. } | Self::RemoveMac { rows, .. } => rows.len(),
            _ => 1,
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switch(switch) => write!(f, "logical switch {switch}"),
            Self::Binding(port, vlan) => write!(f, "VLAN {} of port {port}", vlan.as_u16()),
            Self::Flood(switch) => write!(f, "unknown-dst of {switch}"),
            Self::Mac(switch, mac) => write!(f, "{mac} of {switch}"),
            Self::Tunnel(address) => write!(f, "BFD on the tunnel to {address}"),
            Self::Row(row) => write!(f, "row {row}"),
        }
    }
}
