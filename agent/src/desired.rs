//! From everything that is known to the dataplane that should be installed. Pure: no I/O, and time is an argument.
//!
//! For a MAC that several speak for, the configuration of a port beats the table, the table beats what was learnt from our
//! ports, and that what was learnt from the underlay.

mod adjacency;
mod allocation;
pub(crate) mod decap;
pub(crate) mod deliver;
mod ends;
mod fdb;
mod kept;
mod mtu;
mod neighbours;
mod network;
mod port;
mod quota;
mod service_nodes;
mod shortcut;
mod standby;
mod tags;
mod vtep;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Instant;

use vtep_api::{LogicalSwitchName, MacAddr, VtepName};

pub use adjacency::ip;
pub use allocation::Allocation;
pub use mtu::path_mtu;
pub(crate) use shortcut::{Present, shortcut};

use crate::alarm::{Alarm, AlarmKind};
use crate::announced::Announced;
use crate::config::{Config, ReservedBits};
use crate::dataplane::{Dataplane, PortId, VtepRow};
use crate::learnt::Learnt;
use crate::links::Links;
use crate::liveness::Findings;
use crate::one_way::OneWay;
use crate::overheard::Overheard;
use crate::packet_rate::PacketRate;
use crate::plan::{Plan, Step};
use crate::table::{Encapsulation, Table};
use crate::trace::outer::GENEVE_PORT;
use crate::underlay::Underlay;

/// The collect-metadata VXLAN device.
pub const TUNNEL_DEVICE: &str = "vtepd-vxlan";

#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    pub config: &'a Config,
    pub table: &'a Table,
    pub links: &'a Links,
    pub underlay: &'a Underlay,
    pub learnt: &'a Learnt,
    pub overheard: &'a Overheard,
    pub announced: &'a Announced,
    pub installed: &'a Dataplane,
    pub packet_rate: &'a PacketRate,
    pub liveness: &'a Findings,
    pub one_way: &'a OneWay,
    /// The VTEP whose failover is rehearsed.
    pub drill: Option<u32>,
    pub now: Instant,
}

#[derive(Debug, Clone, Default)]
pub struct Desired {
    pub dataplane: Dataplane,
    pub alarms: BTreeSet<Alarm>,
    /// Of what the source is told: the MACs behind our own ports. A logical switch without MACs is one that we take
    /// part in.
    pub local_macs: BTreeMap<LogicalSwitchName, BTreeMap<MacAddr, PortId>>,
    /// MACs that found no room.
    pub pending: usize,
    /// MACs beyond what their VTEP may have.
    pub refused: usize,
    pub room: quota::Room,
    pub names: Names,
    /// Whether it was derived from a table at all.
    pub complete: bool,
}

/// What an operator calls the numbers in a dataplane.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Names {
    pub vteps: BTreeMap<u32, VtepName>,
    /// Several may share an index: an address.
    pub(crate) vtep_indices: vtep::VtepIndices,
    pub networks: BTreeMap<u32, LogicalSwitchName>,
    /// By (interface, VLAN).
    pub ports: BTreeMap<PortId, String>,
}

impl Inputs<'_> {
    pub fn desired(&self, allocation: &mut Allocation) -> Desired {
        let mut desired = Desired { complete: true, ..Desired::default() };
        let vteps = vtep::add(self, &mut allocation.vteps, &mut desired);
        let networks = network::number(self, &mut allocation.bridge_domains, &mut desired);
        let ports = port::add(self, &networks, &mut allocation.local_ports, &mut desired);
        let senders = fdb::add(self, &vteps, &networks, &ports, &mut desired);
        let sound = &mut allocation.sound_nodes;
        service_nodes::note_sound(self, &vteps, &networks, &desired.dataplane, sound);
        network::add(self, &vteps, &networks, &ports, sound, &mut desired);
        network::admit(self, &vteps, &networks, senders, &mut desired);
        neighbours::add(self, &networks, &mut desired);
        kept::networks(self, &mut desired);
        standby::alarms(self, &mut desired);
        mtu::alarms(self, &mut desired);
        desired.alarms.extend(ends::alarms(self));
        desired.names.vtep_indices = vteps;
        let used = used(&desired.dataplane);
        desired.alarms.extend(shared_udp_port(self.config, used));
        desired.dataplane.config = config(self, used, &mut desired.alarms);
        desired
    }

    /// Whether there are sessions of BFD. Without VTEPs, as before there is a table, it is as it was.
    fn watches(&self) -> bool {
        let bfd = &self.config.bfd;
        if self.table.vteps.is_empty() {
            let was = |config: vtep_abi::Config| config.flags & vtep_abi::Config::BFD != 0;
            return bfd.is_on() || self.installed.config.is_some_and(was);
        }
        self.table.vteps.iter().any(|(name, vtep)| bfd.of(name, &vtep.bfd, &vtep.tunnel).is_some())
    }

    /// What to do before a table is there: follow the configuration and the underlay, and leave everything else.
    pub fn without_table(&self, alarms: &mut BTreeSet<Alarm>) -> Plan {
        let config = config(self, used(self.installed), alarms)
            .filter(|config| self.installed.config != Some(*config));
        let rows = vtep::refreshed(self);
        let rows = (!rows.is_empty()).then_some(Step::PutVteps(rows));
        Plan { steps: config.map(Step::SetConfig).into_iter().chain(rows).collect() }
    }
}

/// VTEPs whose way should be looked up.
pub fn targets(table: &Table, config: &Config, installed: &Dataplane) -> BTreeSet<IpAddr> {
    let own = config.underlay.address;
    let mut targets = kept::vteps(table, installed);
    targets.extend(table.vteps.values().map(|vtep| vtep.address).filter(|address| !own.contains(*address)));
    targets
}

/// Encapsulations beside VXLAN that some VTEP uses, as `Config` has them.
fn used(dataplane: &Dataplane) -> u16 {
    let flag = |row: &VtepRow| match adjacency::encapsulation(row.adj.encap) {
        Encapsulation::Vxlan => 0,
        Encapsulation::Geneve => vtep_abi::Config::GENEVE,
        Encapsulation::Nvgre => vtep_abi::Config::NVGRE,
    };
    dataplane.vteps.values().map(flag).fold(0, |flags, flag| flags | flag)
}

/// What arrives there is taken for VXLAN.
fn shared_udp_port(config: &Config, used: u16) -> Option<Alarm> {
    let udp_port = config.underlay.udp_port.as_u16();
    let is_shared = udp_port == GENEVE_PORT && used & vtep_abi::Config::GENEVE != 0;
    let message = format!(
        "{udp_port} is Geneve's, which a VTEP of the table speaks: what it sends is taken for VXLAN; \
         expected another port"
    );
    is_shared.then(|| Alarm::new(AlarmKind::UdpPortShared, "underlay.udp_port", message))
}

/// Without the tunnel device what is installed stays, for the device may come back.
fn config(inputs: &Inputs<'_>, used: u16, alarms: &mut BTreeSet<Alarm>) -> Option<vtep_abi::Config> {
    for uplink in &inputs.config.underlay.uplinks {
        if !inputs.links.by_name.contains_key(uplink.as_str()) {
            alarms.insert(Alarm::new(AlarmKind::UplinkMissing, uplink, "the interface does not exist"));
        } else if !inputs.links.by_name.get(uplink.as_str()).is_some_and(|link| link.up && link.carrier) {
            alarms.insert(Alarm::new(
                AlarmKind::UplinkNoCarrier,
                uplink,
                "the interface is down or has no carrier",
            ));
        }
    }
    let Some(tunnel) = inputs.links.by_name.get(TUNNEL_DEVICE) else {
        alarms.insert(Alarm::new(AlarmKind::TunnelMissing, TUNNEL_DEVICE, "the interface does not exist"));
        return inputs.installed.config;
    };
    if !tunnel.up {
        alarms.insert(Alarm::new(AlarmKind::TunnelMissing, TUNNEL_DEVICE, "the interface is down"));
    }
    let underlay = &inputs.config.underlay;
    let strict = match underlay.reserved_bits {
        ReservedBits::Ignore => 0,
        ReservedBits::Drop => vtep_abi::Config::STRICT_RESERVED,
    };
    Some(vtep_abi::Config {
        local_v6: underlay.address.v6().map_or([0; 16], |v6| v6.octets()),
        local_v4: underlay.address.v4().map_or([0; 4], |v4| v4.octets()),
        tunnel_ifindex: tunnel.ifindex,
        udp_port: underlay.udp_port.as_u16().to_be_bytes(),
        flags: used | strict | if inputs.watches() { vtep_abi::Config::BFD } else { 0 },
    })
}

#[cfg(test)]
mod tests;
