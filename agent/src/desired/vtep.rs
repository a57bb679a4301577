use std::net::IpAddr;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use vtep_api::VtepName;

use super::allocation::{Indices, Room};
use super::{Desired, Inputs, adjacency};
use crate::alarm::{Alarm, AlarmKind};
use crate::dataplane::VtepRow;

/// The index of every VTEP that has one. Our own has none.
pub(crate) type VtepIndices = HashMap<VtepName, u32, RandomState>;

pub(super) fn add(inputs: &Inputs<'_>, indices: &mut Indices<IpAddr>, desired: &mut Desired) -> VtepIndices {
    let wanted = super::targets(inputs.table, inputs.config, inputs.installed);
    let vteps_max = inputs.config.dataplane.vteps_max.as_u32();
    let room = Room { index_max: vteps_max, installed: inputs.installed.vteps.keys().copied().collect() };
    let assigned = indices.assign(&wanted, &room, inputs.now);
    for address in &assigned.without {
        let message = format!("no room in the VTEP table (dataplane.vteps_max = {vteps_max})");
        desired.alarms.insert(Alarm::new(AlarmKind::VtepTableFull, address, message));
    }
    for (&address, &index) in &assigned.by_key {
        if let Some(row) = row(inputs, address, index) {
            if inputs.underlay.targets.contains(&address) && !row.up {
                desired.alarms.insert(Alarm::new(AlarmKind::NoRoute, &address, "no route leads to the VTEP"));
            }
            desired.dataplane.vteps.insert(index, row);
        }
    }
    let mut by_name = VtepIndices::default();
    for (name, vtep) in &inputs.table.vteps {
        if let Some(&index) = assigned.by_key.get(&vtep.address) {
            by_name.insert(name.clone(), index);
            desired.names.vteps.entry(index).or_insert_with(|| name.clone());
        }
    }
    by_name
}

/// A VTEP without a way is down, so that its slaves serve. One whose way has not been looked up stays as it is.
fn row(inputs: &Inputs<'_>, address: IpAddr, index: u32) -> Option<VtepRow> {
    let IpAddr::V4(remote) = address else { return None };
    if !inputs.underlay.targets.contains(&address) {
        let before =
            inputs.installed.vteps.get(&index).filter(|row| adjacency::ip(row.adj.remote) == address);
        if let Some(before) = before {
            return Some(*before);
        }
    }
    let path = inputs.underlay.paths.get(&address);
    let adj = adjacency::adjacency(&inputs.config.underlay, remote, path);
    Some(VtepRow { adj, up: path.is_some() })
}

/// The installed VTEPs as the underlay has them, for as long as no table says which are wanted.
pub(super) fn refreshed(inputs: &Inputs<'_>) -> Vec<(u32, VtepRow)> {
    let installed = inputs.installed.vteps.iter();
    let fresh = installed.filter_map(|(&index, before)| {
        let row = row(inputs, adjacency::ip(before.adj.remote), index)?;
        (row != *before).then_some((index, row))
    });
    fresh.collect()
}
