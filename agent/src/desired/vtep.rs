use std::collections::BTreeMap;
use std::net::IpAddr;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use vtep_abi::VtepAdj;
use vtep_api::VtepName;

use super::allocation::{Indices, Room};
use super::{Desired, Inputs, adjacency};
use crate::alarm::{Alarm, AlarmKind};
use crate::dataplane::VtepRow;
use crate::table::Encapsulation;

/// Where frames for a VTEP go, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) address: IpAddr,
    pub(super) encapsulation: Encapsulation,
}

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
    shared(inputs, desired);
    let of_table: BTreeMap<IpAddr, Encapsulation> =
        inputs.table.vteps.values().map(|vtep| (vtep.address, vtep.encapsulation)).collect();
    let awaits_findings = awaits_findings(inputs);
    for (&address, &index) in &assigned.by_key {
        let encapsulation = of_table.get(&address).copied();
        let encapsulation =
            encapsulation.or_else(|| installed(inputs, address, index).map(|vtep| vtep.encapsulation));
        let vtep = Endpoint { address, encapsulation: encapsulation.unwrap_or_default() };
        let row = row(inputs, &vtep, index).map(|row| judged(inputs, awaits_findings, index, row));
        let Some(row) = row else {
            let message = "no tunnel address of ours is of its family (underlay.address)";
            desired.alarms.insert(Alarm::new(AlarmKind::NoRoute, &address, message));
            continue;
        };
        if inputs.underlay.targets.contains(&address) && !row.up {
            desired.alarms.insert(Alarm::new(AlarmKind::NoRoute, &address, "no route leads to the VTEP"));
        }
        desired.dataplane.vteps.insert(index, row);
    }
    let mut by_name = VtepIndices::default();
    for (name, vtep) in &inputs.table.vteps {
        let index = assigned.by_key.get(&vtep.address);
        if let Some(&index) = index.filter(|index| desired.dataplane.vteps.contains_key(*index)) {
            by_name.insert(name.clone(), index);
            desired.names.vteps.entry(index).or_insert_with(|| name.clone());
        }
    }
    by_name
}

/// By its address a VTEP is sent to and known as a sender: those that share one are one VTEP to this host.
fn shared(inputs: &Inputs<'_>, desired: &mut Desired) {
    let mut first = BTreeMap::<IpAddr, &VtepName>::new();
    for (name, vtep) in &inputs.table.vteps {
        let other = *first.entry(vtep.address).or_insert(name);
        if other != name {
            let message = format!(
                "VTEP {other} has the address, too; expected one for each: they are served as one, and neither is a \
                 slave for the other"
            );
            desired.alarms.insert(Alarm::new(AlarmKind::SharedAddress, &vtep.address, message));
        }
    }
}

/// A VTEP without a way is down, so that its slaves serve. One whose way has not been looked up stays as it is.
/// `None`: we have no address of its family.
fn row(inputs: &Inputs<'_>, vtep: &Endpoint, index: u32) -> Option<VtepRow> {
    let known = inputs.underlay.targets.contains(&vtep.address);
    let before = installed(inputs, vtep.address, index).filter(|before| !known && before == vtep);
    if before.is_some() {
        let row = inputs.installed.vteps.get(&index);
        return row.map(|row| for_xdp(inputs, *row));
    }
    let path = inputs.underlay.paths.get(&vtep.address);
    let adj = adjacency::adjacency(&inputs.config.underlay, vtep, path)?;
    Some(for_xdp(inputs, VtepRow { adj, up: path.is_some(), suspect: false }))
}

/// Whether VTEPs are watched and nothing was found out yet, so that what is installed holds.
fn awaits_findings(inputs: &Inputs<'_>) -> bool {
    inputs.liveness.is_empty() && inputs.watches()
}

/// With what speaks against the VTEP.
fn judged(inputs: &Inputs<'_>, awaits_findings: bool, index: u32, row: VtepRow) -> VtepRow {
    let uplink = inputs.links.by_index(row.adj.ifindex).is_none_or(|(_, link)| link.up && link.carrier);
    let address = adjacency::ip(row.adj.remote);
    let silent = match inputs.liveness.get(&index).filter(|known| known.address == address) {
        Some(known) => known.suspect,
        None if awaits_findings => inputs.installed.vteps.get(&index).is_some_and(|row| row.suspect),
        None => false,
    };
    VtepRow { suspect: silent || inputs.drill == Some(index) || !(uplink || row.adj.ifindex == 0), ..row }
}

fn for_xdp(inputs: &Inputs<'_>, mut row: VtepRow) -> VtepRow {
    row.adj.flags &= !VtepAdj::TAKES_XDP;
    if inputs.packet_rate.takes(row.adj.ifindex) {
        row.adj.flags |= VtepAdj::TAKES_XDP;
    }
    row
}

/// The VTEP that has the index in the kernel, if it is the one with this address.
fn installed(inputs: &Inputs<'_>, address: IpAddr, index: u32) -> Option<Endpoint> {
    let row = inputs.installed.vteps.get(&index)?;
    Some(adjacency::vtep(&row.adj)).filter(|vtep| vtep.address == address)
}

/// The installed VTEPs as the underlay has them, for as long as no table says which are wanted.
pub(super) fn refreshed(inputs: &Inputs<'_>) -> Vec<(u32, VtepRow)> {
    let awaits_findings = awaits_findings(inputs);
    let installed = inputs.installed.vteps.iter();
    let fresh = installed.filter_map(|(&index, before)| {
        let row = judged(inputs, awaits_findings, index, row(inputs, &adjacency::vtep(&before.adj), index)?);
        (row != *before).then_some((index, row))
    });
    fresh.collect()
}
