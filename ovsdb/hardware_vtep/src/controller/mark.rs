//! How we know again what we made. A binding bears the name of the logical switch that we bound: one that somebody else
//! bound anew in its place is not ours.

use ovsdb::{Cells, Datum, Mutation};
use vtep_api::{LogicalSwitchName, VlanId};

use super::TunnelOutline;
use crate::device::CREATED_BY;
use crate::mirror::Mirror;
use crate::rows::{LogicalSwitch, PhysicalPort};
use crate::tunnel::Cells as Pairs;

/// In `Logical_Switch.other_config`: the remote rows of this logical switch are ours, whoever made the switch itself.
const MANAGED_BY: (&str, &str) = ("managed-by", "vtepd");

pub(super) fn has_room(mirror: &Mirror) -> bool {
    mirror.schema().has_column("Logical_Switch", "other_config")
}

pub(super) fn is_created(row: &LogicalSwitch) -> bool {
    has(row, CREATED_BY)
}

pub(super) fn is_managed(row: &LogicalSwitch) -> bool {
    has(row, MANAGED_BY)
}

fn has(row: &LogicalSwitch, (key, value): (&str, &str)) -> bool {
    row.other_config.get(key).is_some_and(|found| found == value)
}

pub(super) fn created(cells: Cells) -> Cells {
    cells.with("other_config", Datum::map([CREATED_BY, MANAGED_BY]))
}

pub(super) fn manage() -> Vec<Mutation> {
    let (key, _) = MANAGED_BY;
    vec![Mutation::delete("other_config", [key]), Mutation::insert("other_config", Datum::map([MANAGED_BY]))]
}

pub(super) fn release() -> Vec<Mutation> {
    vec![Mutation::delete("other_config", [MANAGED_BY.0])]
}

const BINDING: &str = "vtepd-vlan-";

/// In `Physical_Port.other_config`.
pub(super) fn binding_key(vlan: VlanId) -> String {
    format!("{BINDING}{}", vlan.as_u16())
}

/// The VLANs for which the port bears a mark of ours, and the name in it.
pub(super) fn bindings(port: &PhysicalPort) -> impl Iterator<Item = (VlanId, &str)> {
    port.other_config.iter().filter_map(|(key, name)| {
        let vlan: i64 = key.strip_prefix(BINDING)?.parse().ok()?;
        Some((VlanId::try_from(vlan).ok()?, name.as_str()))
    })
}

/// The logical switch that is bound, and whether it was we who bound it.
pub(super) fn bound<'a>(mirror: &'a Mirror, port: &PhysicalPort, vlan: VlanId) -> Option<(&'a str, bool)> {
    let switch = *port.vlan_bindings.get(&i64::from(vlan.as_u16()))?;
    let name = mirror.logical_switches.row(switch)?.name.as_str();
    Some((name, port.other_config.get(&binding_key(vlan)).is_some_and(|marked| marked == name)))
}

/// The logical switches that others bound to the port.
pub(super) fn foreign_bindings(
    mirror: &Mirror,
    port: &PhysicalPort,
) -> impl Iterator<Item = LogicalSwitchName> {
    port.vlan_bindings.keys().filter_map(|&vlan| match bound(mirror, port, VlanId::try_from(vlan).ok()?)? {
        (_, true) => None,
        (name, false) => LogicalSwitchName::try_from(name).ok(),
    })
}

/// `Tunnel.bfd_params` as we write it, with our mark.
pub(super) fn asked(wanted: &TunnelOutline) -> Pairs {
    let TunnelOutline { min_rx_ms, min_tx_ms, decay_min_rx_ms, forwarding_if_rx } = wanted;
    let asked = [
        ("min_rx", min_rx_ms.map(|ms| ms.to_string())),
        ("min_tx", min_tx_ms.map(|ms| ms.to_string())),
        ("decay_min_rx", decay_min_rx_ms.map(|ms| ms.to_string())),
        ("forwarding_if_rx", forwarding_if_rx.map(|forwards| forwards.to_string())),
    ];
    let asked = asked.into_iter().filter_map(|(key, value)| Some((key, value?)));
    let (managed, by) = MANAGED_BY;
    let ours = [(managed, by.to_owned()), ("enable", "true".to_owned())];
    ours.into_iter().chain(asked).map(|(key, value)| (key.to_owned(), value)).collect()
}

pub(super) fn is_asked(params: &Pairs) -> bool {
    let (key, value) = MANAGED_BY;
    params.get(key).is_some_and(|found| found == value)
}
