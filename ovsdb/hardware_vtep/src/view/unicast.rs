use std::collections::BTreeMap;
use std::net::IpAddr;

use hashbrown::hash_map::Entry;
use ovsdb::{Row, Uuid};
use vtep_api::{LogicalSwitchName, MacAddr, Vni};

use super::address::Addresses;
use super::refusal::{Reason, Refusals, cut};
use super::{LogicalSwitchView, Role, UnicastEntry};
use crate::mirror::Mirror;
use crate::rows::{MacText, RoleText, UcastMacRemote};

pub(super) fn derive(
    mirror: &Mirror,
    addresses: &Addresses,
    switches: &mut BTreeMap<Uuid, (LogicalSwitchName, LogicalSwitchView)>,
    refusals: &mut Refusals,
) {
    // Rows that lost to another of the same MAC, by switch and MAC.
    let mut lost: BTreeMap<(Uuid, MacAddr), Vec<Uuid>> = BTreeMap::new();
    for (uuid, row) in mirror.ucast_remote.iter() {
        let Some((_, switch)) = switches.get_mut(&row.logical_switch) else { continue };
        let (mac, entry) = match resolve(uuid, row, addresses, switch.vni, refusals) {
            Ok(resolved) => resolved,
            Err(reason) => {
                refusals.push(UcastMacRemote::TABLE, uuid, reason);
                continue;
            }
        };
        match switch.unicast.entry(mac) {
            Entry::Vacant(vacant) => {
                vacant.insert(entry);
            }
            Entry::Occupied(mut kept) => {
                lost.entry((row.logical_switch, mac)).or_default().push(uuid);
                // By content, not by UUID: a row that is written anew must not change the choice.
                if rank(&entry) < rank(kept.get()) {
                    kept.insert(entry);
                }
            }
        }
    }
    for ((switch, mac), rows) in lost {
        let Some((name, view)) = switches.get(&switch) else { continue };
        let (Some(kept), Some(&row)) = (view.unicast.get(&mac), rows.iter().min()) else { continue };
        let reason = Reason::MacTwice { switch: name.clone(), mac, rows: rows.len() + 1, kept: kept.master };
        refusals.push(UcastMacRemote::TABLE, row, reason);
    }
}

fn rank(entry: &UnicastEntry) -> (IpAddr, &[IpAddr], Option<Role>) {
    (entry.master, &entry.slaves, entry.role)
}

fn resolve(
    uuid: Uuid,
    row: &UcastMacRemote,
    addresses: &Addresses,
    vni: Vni,
    refusals: &mut Refusals,
) -> Result<(MacAddr, UnicastEntry), Reason> {
    let mac = match &row.mac {
        MacText::Mac(mac) if mac.is_station() => *mac,
        MacText::Mac(mac) => return Err(Reason::NoStation { mac: *mac }),
        MacText::Malformed(text) => return Err(Reason::Mac { text: cut(text) }),
    };
    let master = addresses.remote(row.locator, vni)?;
    let mut slaves = Vec::new();
    for &slave in &row.slave_locators {
        match addresses.remote(slave, vni) {
            Ok(address) if address != master => slaves.push(address),
            // The device may itself be a slave: it needs no tunnel to itself.
            Ok(_) | Err(Reason::OwnLocator { .. }) => {}
            Err(reason) => refusals.push(UcastMacRemote::TABLE, uuid, reason),
        }
    }
    slaves.sort_unstable();
    slaves.dedup();
    let role = match row.role {
        None => None,
        Some(RoleText::Master) => Some(Role::Master),
        Some(RoleText::Slave) => Some(Role::Slave),
        Some(RoleText::Other) => {
            refusals.push(UcastMacRemote::TABLE, uuid, Reason::Role);
            None
        }
    };
    Ok((mac, UnicastEntry { master, slaves: slaves.into(), role, ip: row.ipaddr.parse().ok() }))
}
