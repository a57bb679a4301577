//! The answer, as it is printed.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use vtep_api::MacAddr;

use super::device::DeviceRow;
use super::outer::Outer;
use crate::control::view::FdbEnd;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TraceRow {
    pub program: String,
    pub interface: String,
    pub frame: FrameRow,
    /// Entries of the maps, in the order in which a frame meets them.
    pub steps: Vec<Step>,
    /// The program's word.
    pub verdict: String,
    pub meaning: String,
    pub drop: bool,
    /// Where the frame goes on.
    pub to: Option<String>,
    /// The frame that leaves: its outer headers, if it has any, and all of it in hexadecimal.
    pub outer: Option<Outer>,
    pub bytes: Option<String>,
    /// What the kernel's tunnel device does, if the frame goes there. No program says so.
    pub device: Option<DeviceRow>,
    /// Of a flood.
    pub copies: Vec<CopyRow>,
    /// What becomes of it behind the tunnel device, by the program there.
    pub then: Option<Box<TraceRow>>,
    /// Why the entries do not lead to the verdict. None: they do, or the program ended before it met them.
    pub disagreement: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FrameRow {
    pub src: MacAddr,
    pub dst: MacAddr,
    pub vlan: Option<u16>,
    pub len: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CopyRow {
    pub to: String,
    pub vlan: Option<u16>,
    pub outer: Option<Outer>,
    pub bytes: String,
    /// Of a copy that goes to the kernel's tunnel device.
    pub device: Option<DeviceRow>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Step {
    /// The binding of port and VLAN.
    Port {
        port: String,
        vlan: u16,
        vni: u32,
        learning: bool,
    },
    Outer {
        outer: Outer,
    },
    Sender {
        address: IpAddr,
        vtep: FdbEnd,
    },
    Vni {
        vni: u32,
        logical_switch: Option<String>,
        bridge_domain: u32,
        unknown_unicast: String,
    },
    Fdb {
        mac: MacAddr,
        master: Option<FdbEnd>,
        slave: Option<FdbEnd>,
        learnt: bool,
    },
    /// The VTEP that serves the MAC.
    Vtep {
        vtep: FdbEnd,
        role: String,
    },
    Adjacency {
        adjacency: AdjacencyRow,
    },
    LocalPort {
        port: FdbEnd,
    },
    Flood {
        members: Vec<String>,
    },
    /// No such entry: the chain ends here.
    Nothing {
        of: String,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AdjacencyRow {
    pub local: IpAddr,
    pub remote: IpAddr,
    pub interface: Option<String>,
    pub next_hop: Option<MacAddr>,
    pub mtu: u16,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port { port, vlan, vni, learning } => {
                let vlan = if *vlan == 0 { "untagged".to_owned() } else { format!("VLAN {vlan}") };
                let learning = if *learning { ", learning" } else { "" };
                write!(f, "port       {port} {vlan}: VNI {vni}{learning}")
            }
            Self::Outer { outer } => write!(f, "outer      {outer}"),
            Self::Sender { address, vtep } => write!(f, "sender     {address} is {vtep}"),
            Self::Vni { vni, logical_switch, bridge_domain, unknown_unicast } => {
                let name = logical_switch.as_deref().unwrap_or("of no logical switch");
                write!(
                    f,
                    "VNI        {vni} {name}: bridge domain {bridge_domain}, unknown unicast: {unknown_unicast}"
                )
            }
            Self::Fdb { mac, master, slave, learnt } => {
                let end = |end: &Option<FdbEnd>| {
                    end.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string)
                };
                let learnt = if *learnt { ", learnt" } else { "" };
                write!(f, "FDB        {mac}: master {}, slave {}{learnt}", end(master), end(slave))
            }
            Self::Vtep { vtep, role } => {
                let up = if matches!(vtep, FdbEnd::Vtep { up: false, .. }) { "down" } else { "up" };
                write!(f, "VTEP       {vtep}, {role}, {up}")
            }
            Self::Adjacency { adjacency: AdjacencyRow { local, remote, interface, next_hop, mtu } } => {
                let via =
                    interface.as_deref().map_or_else(|| "no route".to_owned(), |name| format!("via {name}"));
                let hop = next_hop.map_or_else(|| "unresolved".to_owned(), |mac| mac.to_string());
                write!(f, "adjacency  {local} → {remote} {via}, next hop {hop}, MTU {mtu}")
            }
            Self::LocalPort { port } => write!(f, "to         {port}"),
            Self::Flood { members } if members.is_empty() => f.write_str("flood      nobody"),
            Self::Flood { members } => write!(f, "flood      {}", members.join(", ")),
            Self::Nothing { of } => write!(f, "none       {of}"),
        }
    }
}
