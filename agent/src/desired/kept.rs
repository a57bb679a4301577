//! What stays because the source has not heard of everything yet. Absence is no removal before it has.
//!
//! A MAC that is withdrawn by name meanwhile, and whose withdrawal needs a whole comparison, stays until then too.

use std::collections::BTreeSet;
use std::net::IpAddr;

use vtep_abi::{FdbKey, Target};

use super::network::{Numbered, NumberedNetwork, Owners};
use super::{Desired, Inputs, adjacency};
use crate::dataplane::{Dataplane, FdbTarget};
use crate::table::Table;

/// VTEPs that what stays may point to.
pub(super) fn vteps(table: &Table, installed: &Dataplane) -> BTreeSet<IpAddr> {
    if !table.partial && table.logical_switches.values().all(|switch| !switch.partial) {
        return BTreeSet::new();
    }
    installed.vteps.values().map(|row| adjacency::ip(row.adj.remote)).collect()
}

/// Whom a network that the table has in part floods to already.
pub(super) fn flooded(
    inputs: &Inputs<'_>,
    network: &NumberedNetwork<'_>,
    dataplane: &Dataplane,
) -> impl Iterator<Item = u32> {
    let installed =
        inputs.installed.networks.get(&network.vni).filter(|_| network.logical_switch.flood_partial);
    let targets = installed.into_iter().flat_map(|network| &network.flood);
    targets.filter_map(|target| match target {
        Target::Vtep(index) => Some(*index).filter(|index| dataplane.vteps.contains_key(index)),
        Target::LocalPort(_) | Target::None => None,
    })
}

/// MACs behind other VTEPs, in networks that the table has in part.
pub(super) fn macs(inputs: &Inputs<'_>, networks: &Numbered<'_>, owners: &mut Owners, desired: &mut Desired) {
    let partial = networks.values().filter(|network| network.logical_switch.partial);
    let partial: BTreeSet<u32> = partial.map(|network| network.vni).collect();
    if partial.is_empty() {
        return;
    }
    let dataplane = &mut desired.dataplane;
    let told = |target: &FdbTarget| !target.is_learnt();
    let kept = inputs.installed.fdb.iter();
    for (key, target) in kept.filter(|(key, target)| partial.contains(&key.vni) && told(target)) {
        let Some(indices) = remote(target) else { continue };
        let stand = indices.iter().flatten().all(|index| dataplane.vteps.contains_key(index));
        if stand && !dataplane.fdb.contains_key(key) {
            dataplane.fdb.insert(*key, *target);
            owners.entry(key.vni).or_default().extend(indices.into_iter().flatten());
        }
    }
}

/// The VTEPs of an entry that names no port.
fn remote(target: &FdbTarget) -> Option<[Option<u32>; 2]> {
    let vtep = |target| match target {
        Target::None => Some(None),
        Target::Vtep(index) => Some(Some(index)),
        Target::LocalPort(_) => None,
    };
    Some([vtep(target.master)?, vtep(target.slave)?])
}

/// Whole networks, if the table may lack some.
pub(super) fn networks(inputs: &Inputs<'_>, desired: &mut Desired) {
    if !inputs.table.partial {
        return;
    }
    let Inputs { installed, .. } = inputs;
    let dataplane = &mut desired.dataplane;
    let absent = installed.networks.iter().filter(|(vni, _)| !dataplane.networks.contains_key(*vni));
    let absent: Vec<_> = absent.map(|(&vni, network)| (vni, network.clone())).collect();
    let vnis: BTreeSet<u32> = absent.iter().map(|(vni, _)| *vni).collect();
    dataplane.networks.extend(absent);
    let is_kept = |vni: u32| vnis.contains(&vni);
    for (index, port) in installed.local_ports.iter().filter(|(_, port)| is_kept(port.vni)) {
        dataplane.local_ports.entry(*index).or_insert(*port);
    }
    for (id, port) in installed.ports.iter().filter(|(_, port)| is_kept(port.vni)) {
        dataplane.ports.entry(*id).or_insert(*port);
        let allowed = installed.allowed.iter().filter(|key| key.ifindex == id.ifindex);
        dataplane.allowed.extend(allowed);
    }
    let macs = installed.fdb.iter().filter(|(key, _): &(&FdbKey, _)| is_kept(key.vni));
    dataplane.fdb.extend(macs.map(|(key, target)| (*key, *target)));
    let senders = installed.senders.iter().filter(|(key, _)| is_kept(key.vni));
    dataplane.senders.extend(senders.map(|(key, index)| (*key, *index)));
}
