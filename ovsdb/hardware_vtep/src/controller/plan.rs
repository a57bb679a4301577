//! What is to be written, found by comparing.

mod bindings;
mod floods;
mod macs;
mod switches;
mod tunnels;

use std::collections::BTreeSet;
use std::net::IpAddr;

use ovsdb::Uuid;
use vtep_api::{LogicalSwitchName, SwitchPortName, VlanId, Vni, VtepName};

pub(super) use self::macs::{MacPlan, Room, plan_mac, slaves};

use super::index::Index;
use super::{DesiredTor, Subject, Write};
use crate::mirror::Mirror;
use crate::rows::{PhysicalLocator, VXLAN};
use crate::view::unicast_address;

/// What a plan is made of.
#[derive(Clone, Copy)]
pub(super) struct Sight<'a> {
    pub device: &'a VtepName,
    pub mirror: &'a Mirror,
    pub index: &'a Index,
    pub desired: &'a DesiredTor,
    /// The TOR's own addresses.
    pub own: &'a BTreeSet<IpAddr>,
}

/// Everything but the MACs of the logical switches that are desired.
#[derive(Debug, Default)]
pub(super) struct Structure {
    /// From the switch down, as a TOR expects to see it.
    pub additions: Vec<Write>,
    /// In reverse. The MACs of these logical switches go before.
    pub removals: Vec<Write>,
    pub doomed: Vec<(LogicalSwitchName, Uuid)>,
    pub conflicts: Vec<(Subject, Conflict)>,
}

/// Why something desired is not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    #[error("VNI {vni} is that of logical switch {holder}")]
    VniTaken { vni: Vni, holder: LogicalSwitchName },
    #[error("VNI {vni} is that of logical switch {holder:?}, which is in the database and not declared")]
    VniForeign { vni: Vni, holder: String },
    #[error("there is no port {port}")]
    NoPort { port: SwitchPortName },
    #[error("VLAN {} of port {port} is bound to {bound:?}, not by us; expected to bind it to {wanted}", vlan.as_u16())]
    Bound { port: SwitchPortName, vlan: VlanId, bound: String, wanted: LogicalSwitchName },
    #[error("somebody else configured BFD on the tunnel to {address}; expected empty bfd_params")]
    TunnelForeign { address: IpAddr },
    #[error("remote row would point at the TOR's own address {address}")]
    OwnAddress { address: IpAddr },
}

impl Structure {
    pub(super) fn plan(sight: Sight<'_>) -> Self {
        let mut structure = Self::default();
        switches::plan(sight, &mut structure);
        bindings::plan(sight, &mut structure);
        floods::plan(sight, &mut structure);
        tunnels::plan(sight, &mut structure);
        // Bindings go after the flood lists, and the switches last: what refers to them holds them.
        structure.removals.sort_by_key(|write| match write {
            Write::RemoveFlood { .. } | Write::LeaveTunnel { .. } => 0,
            Write::Unbind { .. } => 1,
            _ => 2,
        });
        structure
    }
}

impl Sight<'_> {
    /// Whether a locator leads to an address, for a network with this VNI.
    fn leads(&self, locator: Uuid, address: IpAddr, vni: Vni) -> bool {
        self.mirror.locators.row(locator).is_some_and(|row| address_of(row, vni) == Some(address))
    }
}

fn address_of(row: &PhysicalLocator, vni: Vni) -> Option<IpAddr> {
    let fits = row.tunnel_key.is_none_or(|key| key == i64::from(vni.as_u32()));
    (fits && row.encapsulation_type == VXLAN).then(|| unicast_address(&row.dst_ip))?
}
