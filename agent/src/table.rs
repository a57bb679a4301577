//! The reconciled table as a source hands it over: logical networks, the VTEPs behind which their MACs live, and the
//! ports of this host that belong to them. It knows no kernel index and no interface number.

mod delta;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use vtep_api::{BfdWord, Ips, LogicalSwitchName, MacAddr, PortName, VlanId, Vni, VtepName};

use vtep_bfd::Inner;

pub use delta::{Delta, Outline};
pub use vtep_api::{Encapsulation, Replication, UnknownUnicast};

/// One source's whole word. Every name that an entry refers to is a key of the table: a source sets aside what
/// dangles.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    pub vteps: BTreeMap<VtepName, Vtep>,
    pub logical_switches: BTreeMap<LogicalSwitchName, LogicalSwitch>,
    /// Which frames of a port belong to which logical switch. The port may not exist yet.
    pub bindings: BTreeMap<(PortName, VlanId), LogicalSwitchName>,
    /// The source has not heard of all networks yet: what is installed of others stays.
    pub partial: bool,
}

/// A remote tunnel endpoint. Where a source has no name for it (`hardware_vtep`), its name is its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vtep {
    pub address: IpAddr,
    /// No other VTEP of the same address has another one.
    pub encapsulation: Encapsulation,
    /// What the source says of our session of BFD with it.
    pub bfd: BfdWord,
    pub tunnel: TunnelTerms,
}

/// What only a row of a database's `Tunnel` has words for, of a session inside a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TunnelTerms {
    /// Where packets go inside.
    pub dst_mac: MacAddr,
    pub dst_ip: Ipv4Addr,
    /// Packets count whatever network they come in.
    pub any_vni: bool,
    /// The peer is asked to send its frames elsewhere.
    pub path_down: bool,
}

impl Default for TunnelTerms {
    fn default() -> Self {
        let (dst_mac, dst_ip) = (MacAddr::new(Inner::DST_MAC), Inner::LOCAL_IP);
        Self { dst_mac, dst_ip, any_vni: false, path_down: false }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct LogicalSwitch {
    pub vni: Vni,
    pub unknown_unicast: UnknownUnicast,
    pub replication: Replication,
    /// The VTEPs to which broadcast, multicast and unknown unicast go.
    pub flood: BTreeSet<VtepName>,
    pub macs: HashMap<MacAddr, MacEntry, RandomState>,
    /// The source has not heard of all its MACs yet, or of all its VTEPs: what is installed stays.
    pub partial: bool,
    /// `flood` may lack some whom nobody told us of yet: whom is flooded to stays.
    pub flood_partial: bool,
}

/// Behind which VTEPs a MAC lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MacEntry {
    pub master: VtepName,
    pub slave: Option<VtepName>,
    /// Of the station, as far as they are known.
    pub ips: Ips,
}
