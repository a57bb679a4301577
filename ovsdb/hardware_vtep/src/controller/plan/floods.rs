use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ovsdb::Uuid;
use vtep_api::Vni;

use super::super::Write;
use super::{Sight, Structure, address_of};
use crate::rows::UNKNOWN_DST;

/// One `unknown-dst` row for each logical switch; other multicast addresses are not ours.
pub(super) fn plan(sight: Sight<'_>, structure: &mut Structure) {
    let mut rows: BTreeMap<Uuid, Vec<Uuid>> = BTreeMap::new();
    for (uuid, row) in sight.mirror.mcast_remote.iter().filter(|(_, row)| row.mac == UNKNOWN_DST) {
        rows.entry(row.logical_switch).or_default().push(uuid);
    }
    for rows in rows.values_mut() {
        rows.sort_unstable();
    }
    for (name, desired) in &sight.desired.switches {
        let Some(&row) = sight.index.switches.get(name) else { continue };
        let switch = name.clone();
        let wanted: BTreeSet<_> = desired.outline.flood.difference(sight.own).copied().collect();
        let found = rows.remove(&row).unwrap_or_default();
        if wanted.is_empty() {
            if !found.is_empty() {
                structure.removals.push(Write::RemoveFlood { switch, rows: found });
            }
            continue;
        }
        let vni = desired.outline.vni;
        let Some(&kept) = found.iter().find(|&&row| leads(sight, row, &wanted, vni)).or(found.first()) else {
            structure.additions.push(Write::AddFlood { switch, row });
            continue;
        };
        if found.len() > 1 || !leads(sight, kept, &wanted, vni) {
            let surplus = found.into_iter().filter(|&row| row != kept).collect();
            structure.additions.push(Write::UpdateFlood { switch, row: kept, surplus });
        }
    }
    for (name, row) in &structure.doomed {
        if let Some(rows) = rows.remove(row) {
            structure.removals.push(Write::RemoveFlood { switch: name.clone(), rows });
        }
    }
}

fn leads(sight: Sight<'_>, row: Uuid, wanted: &BTreeSet<IpAddr>, vni: Vni) -> bool {
    let set =
        sight.mirror.mcast_remote.row(row).and_then(|row| sight.mirror.locator_sets.row(row.locator_set));
    let Some(set) = set else { return false };
    let address = |&locator| sight.mirror.locators.row(locator).and_then(|row| address_of(row, vni));
    set.locators.len() == wanted.len()
        && set
            .locators
            .iter()
            .map(address)
            .all(|address| address.is_some_and(|address| wanted.contains(&address)))
}
