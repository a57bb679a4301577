//! The device's side of the database: what it should say about the device, and the transactions that make it so.
//!
//! Everything is found by comparing: a first start, a retry and a reconnect are one path. Rows that others made stay,
//! and so does everything when the process ends.

mod batch;
mod plan;
mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ovsdb::Uuid;
use vtep_api::{LogicalSwitchName, MacAddr, PortName, VtepName};

pub use self::plan::plan;
pub use self::writer::Writer;
pub use crate::bisect::BATCH_MAX;
use crate::tunnel;
use crate::view::Role;

/// Writes that go into one transaction.
pub type Batch = crate::batch::Batch<Write>;

/// What the database should say about the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DesiredDevice {
    pub name: VtepName,
    pub tunnel_address: IpAddr,
    /// Such as `mac_table_exhaustion` (`vtep(5)`, `switch_fault_status`).
    pub faults: BTreeSet<String>,
    pub ports: BTreeMap<PortName, DesiredPort>,
    /// The logical switches that the device takes part in, and the MACs behind its ports. Those that are not in the
    /// database wait until they are.
    pub networks: BTreeMap<LogicalSwitchName, BTreeMap<MacAddr, LocalMac>>,
    /// The far ends of our tunnels, and what is to be told of the session of BFD with each (`Tunnel.bfd_status`).
    pub tunnels: BTreeMap<IpAddr, tunnel::Cells>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DesiredPort {
    /// Such as `invalid_vlan_map` (`vtep(5)`, `port_fault_status`).
    pub faults: BTreeSet<String>,
}

/// What the device says of a MAC behind its ports, where the schema has room for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LocalMac {
    pub role: Option<Role>,
    pub claimed_at_ms: Option<i64>,
    /// An address of the station (`ipaddr`); the schema has room for one.
    pub ip: Option<IpAddr>,
}

impl LocalMac {
    /// As it stands in the row: empty where none is known (`vtep(5)`).
    fn address(&self) -> String {
        self.ip.map(|ip| ip.to_string()).unwrap_or_default()
    }
}

/// One change of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    AddSwitch,
    UpdateSwitch { row: Uuid, tunnel_ips: BTreeSet<String> },
    AddPort { switch: Uuid, port: PortName },
    UpdatePort { port: PortName, row: Uuid },
    AddFlood { switch: LogicalSwitchName, row: Uuid },
    RepointFlood { switch: LogicalSwitchName, row: Uuid },
    AddMac { switch: LogicalSwitchName, row: Uuid, mac: MacAddr },
    UpdateMac { switch: LogicalSwitchName, row: Uuid, mac: MacAddr },
    AddTunnel { switch: Uuid, address: IpAddr },
    UpdateTunnel { row: Uuid, address: IpAddr },
    RemoveTunnel { switch: Uuid, row: Uuid },
    RemoveMac { row: Uuid },
    RemoveFlood { row: Uuid },
    RemovePort { switch: Uuid, row: Uuid },
}

/// What a write is about, which stays the same when it is planned anew.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    Switch,
    Port(PortName),
    Flood(LogicalSwitchName),
    Mac(LogicalSwitchName, MacAddr),
    Tunnel(IpAddr),
    Row(Uuid),
}

impl Write {
    pub fn subject(&self) -> Subject {
        match self {
            Self::AddSwitch | Self::UpdateSwitch { .. } => Subject::Switch,
            Self::AddPort { port, .. } | Self::UpdatePort { port, .. } => Subject::Port(port.clone()),
            Self::AddFlood { switch, .. } | Self::RepointFlood { switch, .. } => {
                Subject::Flood(switch.clone())
            }
            Self::AddMac { switch, mac, .. } | Self::UpdateMac { switch, mac, .. } => {
                Subject::Mac(switch.clone(), *mac)
            }
            Self::AddTunnel { address, .. } | Self::UpdateTunnel { address, .. } => Subject::Tunnel(*address),
            Self::RemoveMac { row }
            | Self::RemoveFlood { row }
            | Self::RemovePort { row, .. }
            | Self::RemoveTunnel { row, .. } => Subject::Row(*row),
        }
    }
}

impl std::fmt::Display for Subject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Switch => f.write_str("physical switch"),
            Self::Port(port) => write!(f, "port {port}"),
            Self::Flood(switch) => write!(f, "unknown-dst of {switch}"),
            Self::Mac(switch, mac) => write!(f, "{mac} of {switch}"),
            Self::Tunnel(address) => write!(f, "tunnel to {address}"),
            Self::Row(row) => write!(f, "row {row}"),
        }
    }
}

/// In `Physical_Port.other_config`, tells the ports that we made, which alone we may remove; so do the controllers in
/// `Logical_Switch.other_config`.
pub(crate) const CREATED_BY: (&str, &str) = ("created-by", "vtepd");
/// Where packets of BFD are expected inside tunnels: the defaults of `vtep(5)`, which not every controller knows.
pub(crate) const BFD_DST_MAC: (&str, &str) = ("bfd_dst_mac", "00:23:20:00:00:01");
pub(crate) const BFD_DST_IP: (&str, &str) = ("bfd_dst_ip", "169.254.1.0");
