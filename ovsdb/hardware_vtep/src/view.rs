//! What the database says to one device, each fact validated once. A row that means nothing is set aside with its
//! reason, and the rest counts.

mod address;
mod bindings;
mod flood;
mod refusal;
mod switches;
mod unicast;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use ovsdb::Uuid;
use vtep_api::{LogicalSwitchName, MacAddr, PortName, VlanId, Vni, VtepName};

pub use self::refusal::{Reason, Refusal, Refusals};
pub use vtep_api::Role;

pub(crate) use self::address::unicast_address;
pub(crate) use self::refusal::cut;

use self::address::Addresses;
use crate::mirror::Mirror;
use crate::tunnel::{self, TunnelBfd};

#[derive(Debug, Clone, Default, PartialEq)]
pub struct DeviceView {
    pub logical_switches: BTreeMap<LogicalSwitchName, LogicalSwitchView>,
    /// Logical switches that have no tunnel key yet: what is bound to them waits.
    pub waiting: BTreeSet<LogicalSwitchName>,
    /// Only to logical switches that are in `logical_switches`.
    pub bindings: BTreeMap<(PortName, VlanId), LogicalSwitchName>,
    /// What is asked for on the tunnels, by where they lead.
    pub tunnels: BTreeMap<IpAddr, TunnelBfd>,
    pub refusals: Refusals,
}

#[derive(Debug, Clone, PartialEq)]
pub struct LogicalSwitchView {
    pub row: Uuid,
    pub vni: Vni,
    pub replication: Replication,
    /// One entry for each MAC, never at an address of the device's own.
    pub unicast: HashMap<MacAddr, UnicastEntry, RandomState>,
    /// Where broadcast, multicast and unknown unicast go.
    pub flood: BTreeSet<IpAddr>,
}

/// Who makes the copies of a flooded frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Replication {
    /// The member does: send to one that is alive.
    #[default]
    ServiceNode,
    /// We do: send to all.
    SourceNode,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnicastEntry {
    pub master: IpAddr,
    pub slaves: Box<[IpAddr]>,
    /// What the device itself is for the MAC.
    pub role: Option<Role>,
    /// Of the station; none where the row's is no address.
    pub ip: Option<IpAddr>,
}

impl Mirror {
    /// What the database says to this switch. Pure: depends on the rows alone, not on the order in which they came.
    pub fn device_view(&self, device: &VtepName) -> DeviceView {
        let mut refusals = Refusals::default();
        let addresses = Addresses::resolve(self, device, &mut refusals);
        let switches = switches::derive(self, &mut refusals);
        let bindings = bindings::derive(self, device, &switches, &mut refusals);
        let mut by_row = switches.ready;
        unicast::derive(self, &addresses, &mut by_row, &mut refusals);
        flood::derive(self, &addresses, &mut by_row, &mut refusals);
        let switch = self.physical_switch(device);
        let tunnels = switch.map(|(_, row)| tunnel::derive(self, row, &mut refusals)).unwrap_or_default();
        let logical_switches = by_row.into_values().collect();
        let waiting = switches.waiting.into_values().collect();
        DeviceView { logical_switches, waiting, bindings, tunnels, refusals }
    }
}
