use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ovsdb::Uuid;
use vtep_api::{LogicalSwitchName, MacAddr, PortName};

use super::{CREATED_BY, DesiredDevice, LocalMac, Write};
use crate::mirror::Mirror;
use crate::rows::{PhysicalSwitch, UNKNOWN_DST, UcastMacLocal, VXLAN};
use crate::tunnel;
use crate::view::{Refusals, unicast_address};

/// What is to be written, in the order in which a controller expects to see it: what is added from the switch down to
/// its MACs, then what is removed the other way. Empty when the database says what it should, or has not been seen.
pub fn plan(mirror: &Mirror, desired: &DesiredDevice) -> Vec<Write> {
    if !mirror.is_synchronized() {
        return Vec::new();
    }
    let Some((switch, row)) = mirror.physical_switch(&desired.name) else { return vec![Write::AddSwitch] };
    let own = OwnRows::of(mirror, desired, row);
    let mut writes = Vec::new();
    let mut removals = Vec::new();
    let tunnel_ips = own.tunnel_ips(mirror, desired, row);
    if row.tunnel_ips != tunnel_ips || row.faults != desired.faults {
        writes.push(Write::UpdateSwitch { row: switch, tunnel_ips });
    }
    plan_macs(mirror, desired, &own, &mut writes, &mut removals);
    plan_ports(mirror, desired, switch, &mut writes, &mut removals);
    plan_tunnels(mirror, desired, (switch, row), &mut writes, &mut removals);
    writes.sort_by_key(order);
    removals.sort_by_key(order);
    writes.append(&mut removals);
    writes
}

fn order(write: &Write) -> u8 {
    match write {
        Write::AddSwitch | Write::UpdateSwitch { .. } => 0,
        Write::AddPort { .. } | Write::UpdatePort { .. } => 1,
        Write::AddFlood { .. } | Write::RepointFlood { .. } => 2,
        Write::AddMac { .. } | Write::UpdateMac { .. } => 3,
        Write::AddTunnel { .. } | Write::UpdateTunnel { .. } => 4,
        Write::RemoveTunnel { .. } => 5,
        Write::RemoveMac { .. } => 6,
        Write::RemoveFlood { .. } => 7,
        Write::RemovePort { .. } => 8,
    }
}

/// The local rows whose locators are tunnel addresses of this device: one database may front several.
struct OwnRows {
    locators: BTreeMap<Uuid, IpAddr>,
    macs: BTreeMap<(Uuid, MacAddr), Vec<Uuid>>,
    floods: BTreeMap<Uuid, Vec<Uuid>>,
}

impl OwnRows {
    fn of(mirror: &Mirror, desired: &DesiredDevice, switch: &PhysicalSwitch) -> Self {
        let mut addresses: BTreeSet<_> =
            switch.tunnel_ips.iter().filter_map(|text| unicast_address(text)).collect();
        addresses.insert(desired.tunnel_address);
        let locators: BTreeMap<_, _> = mirror
            .locators
            .iter()
            .filter(|(_, row)| row.encapsulation_type == VXLAN)
            .filter_map(|(uuid, row)| Some((uuid, unicast_address(&row.dst_ip)?)))
            .filter(|(_, address)| addresses.contains(address))
            .collect();
        let mut macs: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (uuid, row) in mirror.ucast_local.iter() {
            if let (Some(mac), true) = (row.mac.mac(), locators.contains_key(&row.locator)) {
                macs.entry((row.logical_switch, mac)).or_default().push(uuid);
            }
        }
        let mut floods: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (uuid, row) in mirror.mcast_local.iter() {
            let set = mirror.locator_sets.row(row.locator_set);
            let own =
                set.is_some_and(|set| set.locators.iter().all(|locator| locators.contains_key(locator)));
            if own && row.mac == UNKNOWN_DST {
                floods.entry(row.logical_switch).or_default().push(uuid);
            }
        }
        for rows in macs.values_mut().chain(floods.values_mut()) {
            rows.sort_unstable();
        }
        Self { locators, macs, floods }
    }

    /// The present address, and former ones for as long as rows point at them: the rows are told to be ours by it.
    fn tunnel_ips(
        &self,
        mirror: &Mirror,
        desired: &DesiredDevice,
        switch: &PhysicalSwitch,
    ) -> BTreeSet<String> {
        let mut in_use: BTreeSet<Uuid> = mirror.ucast_local.iter().map(|(_, row)| row.locator).collect();
        for (_, row) in mirror.mcast_local.iter() {
            in_use.extend(mirror.locator_sets.row(row.locator_set).into_iter().flat_map(|set| &set.locators));
        }
        let used = |text: &String| {
            let address = unicast_address(text);
            self.locators.iter().any(|(uuid, own)| Some(*own) == address && in_use.contains(uuid))
        };
        let former = switch.tunnel_ips.iter().filter(|text| used(text));
        former.cloned().chain([desired.tunnel_address.to_string()]).collect()
    }
}

fn plan_ports(
    mirror: &Mirror,
    desired: &DesiredDevice,
    switch: Uuid,
    writes: &mut Vec<Write>,
    removals: &mut Vec<Write>,
) {
    let present = mirror.ports::<PortName>(&desired.name, &mut Refusals::default());
    for (port, wanted) in &desired.ports {
        match present.get(port) {
            None => writes.push(Write::AddPort { switch, port: port.clone() }),
            Some((row, found)) if found.faults != wanted.faults => {
                writes.push(Write::UpdatePort { port: port.clone(), row: *row });
            }
            Some(_) => {}
        }
    }
    let (key, value) = CREATED_BY;
    for (port, (row, found)) in &present {
        let ours = found.other_config.get(key).is_some_and(|by| by == value);
        if ours && !desired.ports.contains_key(port) {
            removals.push(Write::RemovePort { switch, row: *row });
        }
    }
}

/// A row that somebody else made is told of, too, and stays.
fn plan_tunnels(
    mirror: &Mirror,
    desired: &DesiredDevice,
    (switch, row): (Uuid, &PhysicalSwitch),
    writes: &mut Vec<Write>,
    removals: &mut Vec<Write>,
) {
    let present = tunnel::rows(mirror, row);
    for (&address, status) in &desired.tunnels {
        match present.get(&address) {
            None => writes.push(Write::AddTunnel { switch, address }),
            Some(found) if found.row.bfd_status != *status => {
                writes.push(Write::UpdateTunnel { row: found.uuid, address });
            }
            Some(_) => {}
        }
    }
    // From a former address, too, which leads nowhere.
    let created = row.tunnels.iter().filter_map(|&uuid| {
        Some(tunnel::Found { uuid, row: mirror.tunnels.row(uuid)? }).filter(tunnel::Found::is_created)
    });
    let kept: BTreeSet<Uuid> = desired.tunnels.keys().filter_map(|to| Some(present.get(to)?.uuid)).collect();
    let surplus = created.filter(|found| !kept.contains(&found.uuid));
    removals.extend(surplus.map(|found| Write::RemoveTunnel { switch, row: found.uuid }));
}

fn plan_macs(
    mirror: &Mirror,
    desired: &DesiredDevice,
    own: &OwnRows,
    writes: &mut Vec<Write>,
    removals: &mut Vec<Write>,
) {
    let switches: BTreeMap<&str, Uuid> =
        mirror.logical_switches.iter().map(|(uuid, row)| (row.name.as_str(), uuid)).collect();
    let room = Room::of(mirror);
    let mut kept = BTreeSet::new();
    for (name, macs) in &desired.networks {
        let Some(&switch) = switches.get(name.as_str()) else { continue };
        plan_flood(mirror, desired, own, (name, switch), &mut kept, writes);
        for (&mac, wanted) in macs {
            // Without room for the role a row says "master".
            if wanted.role == Some(crate::view::Role::Slave) && !room.role {
                continue;
            }
            let (switch_name, row) = (name.clone(), switch);
            let Some(&found) = own.macs.get(&(switch, mac)).and_then(|rows| rows.first()) else {
                writes.push(Write::AddMac { switch: switch_name, row, mac });
                continue;
            };
            kept.insert(found);
            let here = |row: &UcastMacLocal| own.locators.get(&row.locator) == Some(&desired.tunnel_address);
            let as_wanted = |row: &UcastMacLocal| here(row) && says(mirror, row, wanted);
            if !mirror.ucast_local.row(found).is_some_and(as_wanted) {
                writes.push(Write::UpdateMac { switch: switch_name, row: found, mac });
            }
        }
    }
    // What is left over: no longer ours, or a second row for one MAC.
    let surplus =
        |rows: &Vec<Uuid>| rows.iter().filter(|row| !kept.contains(row)).copied().collect::<Vec<_>>();
    removals.extend(own.macs.values().flat_map(surplus).map(|row| Write::RemoveMac { row }));
    removals.extend(own.floods.values().flat_map(surplus).map(|row| Write::RemoveFlood { row }));
}

fn plan_flood(
    mirror: &Mirror,
    desired: &DesiredDevice,
    own: &OwnRows,
    (name, switch): (&LogicalSwitchName, Uuid),
    kept: &mut BTreeSet<Uuid>,
    writes: &mut Vec<Write>,
) {
    let Some(&found) = own.floods.get(&switch).and_then(|rows| rows.first()) else {
        writes.push(Write::AddFlood { switch: name.clone(), row: switch });
        return;
    };
    kept.insert(found);
    let set = mirror.mcast_local.row(found).and_then(|row| mirror.locator_sets.row(row.locator_set));
    let here = |locator| own.locators.get(locator) == Some(&desired.tunnel_address);
    if !set.is_some_and(|set| set.locators.iter().all(here)) {
        writes.push(Write::RepointFlood { switch: name.clone(), row: found });
    }
}

/// Whether a row says of its MAC what it should, as far as the schema has room for it.
fn says(mirror: &Mirror, row: &UcastMacLocal, wanted: &LocalMac) -> bool {
    let room = Room::of(mirror);
    let role = row.role.and_then(crate::rows::RoleText::as_str);
    let same_role = !room.role || role == wanted.role.map(crate::view::Role::as_str);
    let same_time =
        !room.claimed_at || wanted.claimed_at_ms.is_none() || row.claimed_at_ms == wanted.claimed_at_ms;
    same_role && same_time && row.ipaddr == wanted.address()
}

/// Which of our extension's columns `Ucast_Macs_Local` has.
pub(super) struct Room {
    pub role: bool,
    pub claimed_at: bool,
}

impl Room {
    pub(super) fn of(mirror: &Mirror) -> Self {
        let has = |column| mirror.schema().has_column("Ucast_Macs_Local", column);
        Self { role: has("role"), claimed_at: has("claimed_at") }
    }
}
