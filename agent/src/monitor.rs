//! What `vtep-agent monitor` tells, as it happens.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use vtep_api::MacAddr;

use crate::control::view::{FdbEnd, FdbRow};
use crate::trace::outer::Outer;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    /// Frames that were dropped: counts in each second, and some of the frames
    Drops,
    /// MACs that appear on learning ports, or change their place
    Moves,
    /// Entries that are added, changed and removed
    Fdb,
    /// Addresses that are no VTEPs, or none of a VNI, and send into it
    UnknownSenders,
    /// What stations say of their addresses, and what the programs answer for them (`suppress`)
    Suppression,
    /// Frames that ports may not send: by their MACs, or by IP addresses that they claim
    Security,
    /// MACs that VTEPs send from though the table has them behind others
    Witness,
}

/// None of a topic: all of them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Wanted {
    pub topic: Option<Topic>,
    pub vni: Option<u32>,
    pub count: Option<u64>,
    pub seconds: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MonitorRow {
    /// Since 1970.
    pub at_ms: u64,
    #[serde(flatten)]
    pub happened: Happened,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Happened {
    /// Since the last row of the same VNI and verdict, or since the start.
    Dropped {
        vni: Option<u32>,
        verdict: String,
        packets: u64,
        bytes: u64,
    },
    DroppedFrame(DroppedFrame),
    Moved {
        vni: u32,
        mac: MacAddr,
        from: Option<FdbEnd>,
        to: Option<FdbEnd>,
        by: By,
    },
    /// It is configured for a port, and another sends from it. About once in ten seconds for each MAC and port.
    Contested {
        vni: u32,
        mac: MacAddr,
        at: Option<FdbEnd>,
        /// Where its frames go.
        holder: Option<FdbEnd>,
    },
    Fdb {
        change: Change,
        entry: FdbRow,
    },
    /// Refused frames that were looked at in a second; how many there were, the counters say.
    UnknownSender {
        address: IpAddr,
        vni: u32,
        verdict: String,
        interface: String,
        frames: u64,
    },
    Address {
        said: Said,
        vni: u32,
        /// None: behind a VTEP.
        port: Option<String>,
        mac: MacAddr,
        /// None: of its MAC alone.
        address: Option<IpAddr>,
    },
    /// By the program, in place of who has the address. Some of the frames; how many there were, the counters say.
    Answered {
        vni: u32,
        port: String,
        vlan: Option<u16>,
        asker: MacAddr,
        address: IpAddr,
        mac: MacAddr,
    },
    Refused {
        vni: u32,
        port: String,
        vlan: u16,
        mac: MacAddr,
        /// The one that it may not claim. None: it may not send from its MAC.
        address: Option<IpAddr>,
    },
    /// About once a second at most for each MAC and sender.
    Witnessed {
        vni: u32,
        mac: MacAddr,
        /// The VTEP that sent from it.
        from: Option<FdbEnd>,
        /// That one is its slave.
        as_slave: bool,
        master: Option<FdbEnd>,
    },
}

/// How a station came to tell of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// To all: gratuitous ARP, RARP, unsolicited neighbour advertisement.
    Announced,
    /// It asks whether the address is free.
    Probed,
    /// It asks for another from it.
    Asked,
}

/// One of those that were counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DroppedFrame {
    pub vni: Option<u32>,
    pub verdict: String,
    pub interface: String,
    pub src: MacAddr,
    pub dst: MacAddr,
    pub vlan: Option<u16>,
    pub ether_type: u16,
    pub len: u32,
    pub outer: Option<Outer>,
    /// What is in that tunnel.
    pub inner: Option<InnerFrame>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InnerFrame {
    pub src: MacAddr,
    pub dst: MacAddr,
    pub ether_type: u16,
}

impl InnerFrame {
    /// None where the bytes end before.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (dst, rest) = bytes.split_first_chunk()?;
        let (src, rest) = rest.split_first_chunk()?;
        let ether_type = u16::from_be_bytes(*rest.first_chunk()?);
        Some(Self { src: MacAddr::new(*src), dst: MacAddr::new(*dst), ether_type })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    Learning,
    Table,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    Added,
    Changed,
    Removed,
}

impl Happened {
    pub const fn topic(&self) -> Topic {
        match self {
            Self::Dropped { .. } | Self::DroppedFrame(_) => Topic::Drops,
            Self::Moved { .. } | Self::Contested { .. } => Topic::Moves,
            Self::Fdb { .. } => Topic::Fdb,
            Self::UnknownSender { .. } => Topic::UnknownSenders,
            Self::Address { .. } | Self::Answered { .. } => Topic::Suppression,
            Self::Refused { .. } => Topic::Security,
            Self::Witnessed { .. } => Topic::Witness,
        }
    }

    pub const fn vni(&self) -> Option<u32> {
        match self {
            Self::Dropped { vni, .. } | Self::DroppedFrame(DroppedFrame { vni, .. }) => *vni,
            Self::Moved { vni, .. }
            | Self::Contested { vni, .. }
            | Self::UnknownSender { vni, .. }
            | Self::Address { vni, .. }
            | Self::Answered { vni, .. }
            | Self::Refused { vni, .. }
            | Self::Witnessed { vni, .. } => Some(*vni),
            Self::Fdb { entry, .. } => Some(entry.vni),
        }
    }
}

impl Wanted {
    pub fn wants(&self, topic: Topic) -> bool {
        self.topic.is_none_or(|wanted| wanted == topic)
    }

    pub fn wants_row(&self, happened: &Happened) -> bool {
        self.wants(happened.topic()) && (self.vni.is_none() || self.vni == happened.vni())
    }
}

impl fmt::Display for MonitorRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (ms, secs) = (self.at_ms % 1000, self.at_ms / 1000);
        let (hour, minute, second) = (secs / 3600 % 24, secs / 60 % 60, secs % 60);
        write!(f, "{hour:02}:{minute:02}:{second:02}.{ms:03} UTC  {}", self.happened)
    }
}

impl fmt::Display for Happened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |vni: &Option<u32>| vni.map_or_else(|| "no VNI".to_owned(), |vni| format!("VNI {vni}"));
        let place =
            |end: &Option<FdbEnd>| end.as_ref().map_or_else(|| "nowhere".to_owned(), ToString::to_string);
        match self {
            Self::Dropped { vni, verdict, packets, bytes } => {
                write!(f, "dropped  {} {verdict}: {packets} frames, {bytes} bytes", name(vni))
            }
            Self::DroppedFrame(frame) => {
                let DroppedFrame { vni, verdict, interface, src, dst, ether_type, len, .. } = frame;
                let vlan = frame.vlan.map(|vlan| format!(" VLAN {vlan}")).unwrap_or_default();
                write!(f, "frame    {} {verdict} from {interface}{vlan}: {src} → {dst}", name(vni))?;
                write!(f, ", type 0x{ether_type:04x}, {len} bytes")?;
                if let Some(outer) = &frame.outer {
                    write!(f, "; {outer}")?;
                }
                frame.inner.as_ref().map_or(Ok(()), |InnerFrame { src, dst, ether_type }| {
                    write!(f, "; inside {src} → {dst}, type 0x{ether_type:04x}")
                })
            }
            Self::Moved { vni, mac, from, to, by } => {
                let by = if *by == By::Learning { "seen" } else { "table" };
                write!(f, "moved    VNI {vni} {mac}: {} → {} ({by})", place(from), place(to))
            }
            Self::Contested { vni, mac, at, holder } => {
                write!(f, "contest  VNI {vni} {mac}: seen at {}, stays at {}", place(at), place(holder))
            }
            Self::Fdb { change, entry } => {
                let change = match change {
                    Change::Added => "added  ",
                    Change::Changed => "changed",
                    Change::Removed => "removed",
                };
                let (master, slave) = (place(&entry.master), place(&entry.slave));
                write!(f, "{change}  VNI {} {}: master {master}, slave {slave}", entry.vni, entry.mac)
            }
            Self::UnknownSender { address, vni, verdict, interface, frames } => {
                write!(
                    f,
                    "sender   {address} sends into VNI {vni} by {interface}: {verdict}, {frames} frames seen"
                )
            }
            Self::Address { said, vni, port, mac, address } => {
                let said = match said {
                    Said::Announced => "says it has",
                    Said::Probed => "asks whether it may have",
                    Said::Asked => "asks from",
                };
                let at = port.as_deref().unwrap_or("a VTEP");
                let address = address.map_or_else(|| "its MAC".to_owned(), |address| address.to_string());
                write!(f, "address  VNI {vni} {mac} at {at} {said} {address}")
            }
            Self::Answered { vni, port, vlan, asker, address, mac } => {
                let vlan = vlan.map(|vlan| format!(" VLAN {vlan}")).unwrap_or_default();
                write!(f, "answered VNI {vni} {asker} at {port}{vlan}: {address} is {mac}")
            }
            Self::Refused { vni, port, vlan, mac, address } => {
                let vlan = if *vlan == 0 { String::new() } else { format!(" VLAN {vlan}") };
                write!(f, "refused  VNI {vni} {mac} at {port}{vlan}")?;
                address.map_or(Ok(()), |address| write!(f, ", which claims {address}"))
            }
            Self::Witnessed { vni, mac, from, as_slave, master } => {
                let what = if *as_slave { "its slave" } else { "another VTEP" };
                write!(f, "witness  VNI {vni} {mac} came from {} ({what}); ", place(from))?;
                write!(f, "its master is {}", place(master))
            }
        }
    }
}
