use std::collections::{BTreeMap, BTreeSet};

use ovsdb::Uuid;
use vtep_api::{LogicalSwitchName, Replication, Vni};

use super::super::{Subject, SwitchOutline, Write, mark};
use super::{Conflict, Sight, Structure};
use crate::rows::{LogicalSwitch, ReplicationText};

pub(super) fn plan(sight: Sight<'_>, structure: &mut Structure) {
    let refused = conflicts(sight);
    for (name, desired) in &sight.desired.switches {
        if let Some(conflict) = refused.get(name) {
            structure.conflicts.push((Subject::Switch(name.clone()), conflict.clone()));
            continue;
        }
        let Some((row, present)) = row(sight, name) else {
            structure.additions.push(Write::AddSwitch { switch: name.clone() });
            continue;
        };
        let marked = mark::is_managed(present) || !mark::has_room(sight.mirror);
        if !says(present, &desired.outline) || !marked {
            structure.additions.push(Write::UpdateSwitch { switch: name.clone(), row });
        }
    }
    if sight.desired.complete {
        tear_down(sight, structure);
    }
}

fn row<'a>(sight: Sight<'a>, name: &LogicalSwitchName) -> Option<(Uuid, &'a LogicalSwitch)> {
    let &uuid = sight.index.switches.get(name)?;
    Some((uuid, sight.mirror.logical_switches.row(uuid)?))
}

/// Who has a VNI keeps it; of those that do not, the first by name gets it.
fn conflicts(sight: Sight<'_>) -> BTreeMap<LogicalSwitchName, Conflict> {
    let has = |name, vni: Vni| {
        row(sight, name).is_some_and(|(_, row)| row.tunnel_key == Some(i64::from(vni.as_u32())))
    };
    let mut wants: Vec<_> =
        sight.desired.switches.iter().map(|(name, desired)| (name, desired.outline.vni)).collect();
    wants.sort_by_key(|&(name, vni)| (!has(name, vni), name));
    let foreign: BTreeMap<_, _> = sight
        .mirror
        .logical_switches
        .iter()
        .filter(|(uuid, _)| {
            let name = sight.index.switch_names.get(uuid);
            name.is_none_or(|name| !sight.desired.switches.contains_key(name))
        })
        .filter_map(|(_, row)| Some((row.tunnel_key?, row.name.as_str())))
        .collect();
    let mut holders = BTreeMap::new();
    let mut conflicts = BTreeMap::new();
    for (name, vni) in wants {
        let conflict = if let Some(holder) = holders.get(&vni) {
            Conflict::VniTaken { vni, holder: LogicalSwitchName::clone(holder) }
        } else if let Some(&holder) = foreign.get(&i64::from(vni.as_u32())) {
            Conflict::VniForeign { vni, holder: holder.to_owned() }
        } else {
            holders.insert(vni, name.clone());
            continue;
        };
        conflicts.insert(name.clone(), conflict);
    }
    conflicts
}

fn says(row: &LogicalSwitch, outline: &SwitchOutline) -> bool {
    let replication = match outline.replication {
        Replication::SourceNode => ReplicationText::SourceNode,
        Replication::ServiceNode => ReplicationText::ServiceNode,
    };
    row.tunnel_key == Some(i64::from(outline.vni.as_u32())) && row.replication_mode == Some(replication)
}

/// A logical switch that is not desired loses what is ours of it; the row itself goes if we made it, and when nobody
/// refers to it any longer: until then a delete would be refused.
fn tear_down(sight: Sight<'_>, structure: &mut Structure) {
    let doomed = sight.mirror.logical_switches.iter().filter_map(|(uuid, row)| {
        let name = sight.index.switch_names.get(&uuid)?;
        let ours = mark::is_managed(row) || mark::is_created(row);
        (ours && !sight.desired.switches.contains_key(name))
            .then(|| (name.clone(), uuid, mark::is_created(row)))
    });
    let doomed: BTreeSet<_> = doomed.collect();
    if doomed.is_empty() {
        return;
    }
    let held = referred_to(sight);
    for (name, row, created) in doomed {
        if created && !held.contains(&row) && sight.index.local.switch(row).is_none() {
            if sight.index.remote.switch(row).is_none() {
                structure.removals.push(Write::RemoveSwitch { row });
            }
        } else if !created && sight.index.remote.switch(row).is_none() {
            structure.removals.push(Write::ReleaseSwitch { row });
        }
        structure.doomed.push((name, row));
    }
}

fn referred_to(sight: Sight<'_>) -> BTreeSet<Uuid> {
    let mirror = sight.mirror;
    let bound = mirror.physical_ports.iter().flat_map(|(_, port)| port.vlan_bindings.values().copied());
    let flooded = mirror.mcast_local.iter().map(|(_, row)| row.logical_switch);
    let floods = mirror.mcast_remote.iter().map(|(_, row)| row.logical_switch);
    bound.chain(flooded).chain(floods).collect()
}
