use std::collections::BTreeMap;

use vtep_abi::{AddrBytes, FdbKey, FdbValue, Target};
use vtep_api::MacAddr;

use super::network::{Numbered, NumberedNetwork, Owners};
use super::port::BoundPorts;
use super::vtep::VtepIndices;
use super::{Desired, Inputs, adjacency, kept, quota};
use crate::alarm::{Alarm, AlarmKind};
use crate::dataplane::{FdbTarget, PortId};
use crate::learnt::{MOVES_MAX, WINDOW_SECS};

pub(super) fn add(
    inputs: &Inputs<'_>,
    vteps: &VtepIndices,
    networks: &Numbered<'_>,
    ports: &BoundPorts,
    desired: &mut Desired,
) -> Owners {
    let mut owners = Owners::new();
    let macs = networks.values().map(|network| network.logical_switch.macs.len()).sum();
    desired.dataplane.fdb.reserve(macs);
    for network in networks.values() {
        remote(network, vteps, &mut owners, desired);
    }
    kept::macs(inputs, networks, &mut owners, desired);
    quota::apply(inputs, networks, desired);
    learnt(inputs, networks, ports, desired);
    overheard(inputs, vteps, networks, &owners, desired);
    sightings(inputs, ports, desired);
    limits(inputs, networks, desired);
    configured(ports, desired);
    report(inputs, ports, desired);
    fit(inputs, desired);
    owners
}

fn remote(network: &NumberedNetwork<'_>, vteps: &VtepIndices, owners: &mut Owners, desired: &mut Desired) {
    let present = |name| vteps.get(name).copied().filter(|index| desired.dataplane.vteps.contains_key(index));
    let owners = owners.entry(network.vni).or_default();
    let mut last = (0, 0);
    let mut shared = BTreeMap::<u32, usize>::new();
    for (mac, entry) in &network.logical_switch.macs {
        let master = present(&entry.master);
        let slave = entry.slave.as_ref().and_then(present);
        if let Some(index) = slave.filter(|slave| Some(*slave) == master) {
            *shared.entry(index).or_default() += 1;
        }
        let slave = slave.filter(|slave| Some(*slave) != master);
        let (master, slave) = (master.unwrap_or(0), slave.unwrap_or(0));
        if (master, slave) != last {
            owners.extend([master, slave].into_iter().filter(|index| *index != 0));
            last = (master, slave);
        }
        if (master, slave) != (0, 0) {
            let target = FdbTarget { master: vtep(master), slave: vtep(slave), flags: 0 };
            desired.dataplane.fdb.insert(FdbKey::new(network.vni, mac.octets()), target);
        }
    }
    for (index, macs) in shared {
        let Some(row) = desired.dataplane.vteps.get(&index) else { continue };
        let address = adjacency::ip(row.adj.remote);
        let message =
            format!("{macs} MACs of VNI {} have it as master and, by another name, as slave", network.vni);
        desired.alarms.insert(Alarm::new(AlarmKind::SlaveWouldFail, &address, message));
    }
}

fn vtep(index: u32) -> Target {
    if index == 0 { Target::None } else { Target::Vtep(index) }
}

/// Where the table has an entry, a MAC that was seen is only reported.
fn learnt(inputs: &Inputs<'_>, networks: &Numbered<'_>, ports: &BoundPorts, desired: &mut Desired) {
    for (key, port) in inputs.learnt.iter() {
        let bound = ports.get(&port).filter(|bound| bound.vni == key.vni);
        let network = desired.names.networks.get(&key.vni).and_then(|name| networks.get(name));
        let (Some(bound), Some(network)) = (bound, network) else { continue };
        let named = network.logical_switch.macs.contains_key(&MacAddr::new(key.mac));
        if !named && !desired.dataplane.fdb.contains_key(&key) {
            insert_local(key, bound.local_port, FdbValue::LEARNT, desired);
        }
    }
}

/// Behind VTEPs that the table lets in, where nobody else has an entry.
fn overheard(
    inputs: &Inputs<'_>,
    vteps: &VtepIndices,
    networks: &Numbered<'_>,
    owners: &Owners,
    desired: &mut Desired,
) {
    if inputs.overheard.is_empty() {
        return;
    }
    let rows = desired.dataplane.vteps.iter();
    let by_address: BTreeMap<AddrBytes, u32> = rows.map(|(index, row)| (row.adj.remote, *index)).collect();
    let room = inputs.config.dataplane.macs_max.as_usize();
    for (key, vtep) in inputs.overheard.iter() {
        let network = desired.names.networks.get(&key.vni).and_then(|name| networks.get(name));
        let (Some(network), Some(&index)) = (network, by_address.get(&vtep)) else { continue };
        let is_owner = owners.get(&key.vni).is_some_and(|owners| owners.contains(&index));
        let floods = || network.logical_switch.flood.iter().any(|name| vteps.get(name) == Some(&index));
        let named = network.logical_switch.macs.contains_key(&MacAddr::new(key.mac));
        let fdb = &mut desired.dataplane.fdb;
        if !named && (is_owner || floods()) && fdb.len() < room && !fdb.contains_key(&key) {
            let master = Target::Vtep(index);
            fdb.insert(key, FdbTarget { master, slave: Target::None, flags: FdbValue::LEARNT });
            desired.dataplane.seen.insert(key, master);
        }
    }
    for (vni, vtep, count) in inputs.overheard.counts() {
        let max = inputs.config.networks.of(vni).learn_underlay_max.as_u32();
        if count >= max {
            let message = format!("{max} MACs learnt from it in VNI {vni}, no more are (learn_underlay_max)");
            desired.alarms.insert(Alarm::new(AlarmKind::LearnLimit, &adjacency::ip(vtep), message));
        }
    }
}

/// Also of MACs that the table has elsewhere: they are claimed as long as they are seen here.
fn sightings(inputs: &Inputs<'_>, ports: &BoundPorts, desired: &mut Desired) {
    for (key, port) in inputs.learnt.iter() {
        if let Some(bound) = ports.get(&port).filter(|bound| bound.vni == key.vni) {
            desired.dataplane.seen.insert(key, Target::LocalPort(bound.local_port));
        }
    }
}

fn limits(inputs: &Inputs<'_>, networks: &Numbered<'_>, desired: &mut Desired) {
    for (name, network) in networks {
        let learn_max = inputs.config.networks.of(network.vni).learn_max.as_u32();
        if inputs.learnt.count_in(network.vni) >= learn_max {
            let message = format!("{learn_max} MACs learnt in VNI {}, no more are (learn_max)", network.vni);
            desired.alarms.insert(Alarm::new(AlarmKind::LearnLimit, name, message));
        }
    }
    for (key, port) in inputs.learnt.damped() {
        let port = desired.names.ports.get(&port).map_or("a port", String::as_str);
        let message = format!(
            "in VNI {} it moved between our ports, or came back to them, more than {MOVES_MAX} times in {WINDOW_SECS} s; \
             it stays on {port} for as long, and is not claimed anew",
            key.vni
        );
        desired.alarms.insert(Alarm::new(AlarmKind::DuplicateMac, &MacAddr::new(key.mac), message));
    }
}

/// The first port in order keeps a MAC that two ports of one network were given.
fn configured(ports: &BoundPorts, desired: &mut Desired) {
    for bound in ports.values() {
        for mac in &bound.macs {
            let key = FdbKey::new(bound.vni, mac.octets());
            let held = desired.dataplane.fdb.get(&key);
            if held.is_some_and(|held| matches!(held.master, Target::LocalPort(_)) && held.flags == 0) {
                let message = format!("two ports of VNI {} were given this MAC; the first has it", bound.vni);
                desired.alarms.insert(Alarm::new(AlarmKind::DuplicateMac, mac, message));
            } else {
                insert_local(key, bound.local_port, 0, desired);
            }
        }
    }
}

fn insert_local(key: FdbKey, local_port: u32, flags: u32, desired: &mut Desired) {
    let target = FdbTarget { master: Target::LocalPort(local_port), slave: Target::None, flags };
    desired.dataplane.fdb.insert(key, target);
}

/// What the source is told: every logical switch that we take part in, and the MACs on its ports, those included that
/// the table has elsewhere.
fn report(inputs: &Inputs<'_>, ports: &BoundPorts, desired: &mut Desired) {
    for bound in ports.values() {
        if let Some(name) = desired.names.networks.get(&bound.vni) {
            desired.local_macs.entry(name.clone()).or_default();
        }
    }
    let local_ports = &desired.dataplane.local_ports;
    let fdb = desired.dataplane.fdb.iter();
    let local = fdb.filter_map(|(key, target)| match target.master {
        Target::LocalPort(index) => {
            let port = local_ports.get(&index)?;
            Some((*key, PortId { ifindex: port.ifindex, vlan: port.vlan }))
        }
        _ => None,
    });
    let seen = inputs.learnt.iter().filter(|(key, port)| ports.get(port).is_some_and(|at| at.vni == key.vni));
    // What an entry says of the port outdoes what was seen.
    for (key, port) in seen.chain(local) {
        if let Some(macs) =
            desired.names.networks.get(&key.vni).and_then(|name| desired.local_macs.get_mut(name))
        {
            macs.insert(MacAddr::new(key.mac), port);
        }
    }
}

/// When there are more MACs than room: our own first, then what is installed, then in the order of the keys. What was
/// overheard is not worth a MAC of the table.
fn fit(inputs: &Inputs<'_>, desired: &mut Desired) {
    let macs_max = inputs.config.dataplane.macs_max.as_usize();
    let fdb = &mut desired.dataplane.fdb;
    if fdb.len() > macs_max {
        let overheard = |target: &FdbTarget| target.is_learnt() && matches!(target.master, Target::Vtep(_));
        fdb.retain(|_, target| !overheard(target));
    }
    let wanted = fdb.len();
    if wanted <= macs_max {
        return;
    }
    let rank = |key: &FdbKey, target: &FdbTarget| match target.master {
        Target::LocalPort(_) => 0_u8,
        _ if inputs.installed.fdb.contains_key(key) => 1,
        _ => 2,
    };
    let mut keys: Vec<_> = fdb.iter().map(|(key, target)| (rank(key, target), key.vni, key.mac)).collect();
    keys.select_nth_unstable(macs_max);
    for (_, vni, mac) in &keys[macs_max..] {
        fdb.remove(&FdbKey::new(*vni, *mac));
    }
    desired.pending = wanted - macs_max;
    let message =
        format!("{wanted} MACs for {macs_max} entries (dataplane.macs_max); {} are pending", desired.pending);
    desired.alarms.insert(Alarm::new(AlarmKind::MacTableFull, &inputs.config.agent.name, message));
}
