//! What is behind our ports, in messages of bounded size.

use vtep_api::{FromVtep, Inventory, InventoryRecords, LogicalSwitchName, ROWS_MAX};

use crate::source::LocalMacs;

/// All of it.
pub(super) fn whole(macs: &LocalMacs) -> Vec<FromVtep> {
    let networks = macs
        .iter()
        .map(|(name, macs)| (name, macs.iter().map(|(mac, local)| (*mac, Some(local.clone()))).collect()));
    parts(true, networks)
}

/// What leads from one to the other; nothing, if they are equal.
pub(super) fn changes(before: &LocalMacs, after: &LocalMacs) -> Vec<FromVtep> {
    let mut networks: Vec<(&LogicalSwitchName, InventoryRecords)> = Vec::new();
    for (name, macs) in after {
        let old = before.get(name);
        let told = macs.iter().filter(|(mac, local)| old.and_then(|old| old.get(mac)) != Some(local));
        let mut records: InventoryRecords = told.map(|(mac, local)| (*mac, Some(local.clone()))).collect();
        let gone = old.into_iter().flat_map(|old| old.keys()).filter(|mac| !macs.contains_key(mac));
        records.extend(gone.map(|mac| (*mac, None)));
        if !records.is_empty() || old.is_none() {
            networks.push((name, records));
        }
    }
    for (name, macs) in before.iter().filter(|(name, macs)| !after.contains_key(*name) && !macs.is_empty()) {
        networks.push((name, macs.keys().map(|mac| (*mac, None)).collect()));
    }
    if networks.is_empty() { Vec::new() } else { parts(false, networks.into_iter()) }
}

fn parts<'a>(
    snapshot: bool,
    networks: impl Iterator<Item = (&'a LogicalSwitchName, InventoryRecords)>,
) -> Vec<FromVtep> {
    let mut parts = Vec::new();
    let mut part = Vec::new();
    let mut room = ROWS_MAX;
    for (name, mut records) in networks {
        while records.len() > room {
            let rest = records.split_off(room);
            part.push((name.clone(), std::mem::replace(&mut records, rest)));
            parts.push(std::mem::take(&mut part));
            room = ROWS_MAX;
        }
        room -= records.len();
        part.push((name.clone(), records));
    }
    parts.push(part);
    let last = parts.len() - 1;
    let parts = parts.into_iter().enumerate();
    parts
        .map(|(at, networks)| FromVtep::Inventory(Inventory { snapshot, networks, end: at == last }))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use vtep_api::{LocalMac, MacAddr};

    use super::*;

    fn macs(count: u32) -> BTreeMap<MacAddr, LocalMac> {
        let mac = |number: u32| {
            let [a, b, c, d] = number.to_be_bytes();
            (MacAddr::new([2, 0, a, b, c, d]), LocalMac::default())
        };
        (0..count).map(mac).collect()
    }

    fn local(networks: &[(&str, u32)]) -> LocalMacs {
        networks.iter().map(|(name, count)| ((*name).try_into().unwrap(), macs(*count))).collect()
    }

    fn inventories(messages: Vec<FromVtep>) -> Vec<Inventory> {
        let inventory = |message| match message {
            FromVtep::Inventory(inventory) => inventory,
            other => panic!("{other:?}"),
        };
        messages.into_iter().map(inventory).collect()
    }

    #[test]
    fn a_large_inventory_comes_in_parts_of_which_one_is_the_last() {
        let parts = inventories(whole(&local(&[("blue", 9000), ("red", 9000), ("white", 0)])));
        let rows = |part: &Inventory| part.networks.iter().map(|(_, records)| records.len()).sum::<usize>();
        assert_eq!(parts.iter().map(rows).collect::<Vec<_>>(), [8192, 8192, 1616]);
        assert_eq!(parts.iter().map(|part| part.end).collect::<Vec<_>>(), [false, false, true]);
        assert!(parts[2].networks.iter().any(|(name, _)| name.as_str() == "white"));
        assert_eq!(inventories(whole(&LocalMacs::new())).len(), 1);
    }

    #[test]
    fn changes_name_what_came_and_what_went() {
        assert!(changes(&local(&[("blue", 2)]), &local(&[("blue", 2)])).is_empty());
        let parts =
            inventories(changes(&local(&[("blue", 2), ("red", 1)]), &local(&[("blue", 1), ("white", 0)])));
        let [Inventory { snapshot: false, networks, end: true }] = &parts[..] else { panic!("{parts:?}") };
        let counts = networks.iter().map(|(name, records)| {
            (name.as_str(), records.iter().filter(|(_, local)| local.is_none()).count(), records.len())
        });
        assert_eq!(counts.collect::<Vec<_>>(), [("blue", 1, 1), ("white", 0, 0), ("red", 1, 1)]);
    }
}
