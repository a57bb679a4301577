//! From two whole dataplanes to the ordered steps that turn one into the other.

use std::collections::{BTreeMap, BTreeSet};

use vtep_abi::{AllowedKey, Config, FdbKey, LocalPort, NeighbourKey, PortValue, Target, VtepByIpKey};

use crate::dataplane::{Dataplane, FdbTarget, Network, PortId, VtepRow};

/// Steps in the order in which they are safe: what is pointed at stands before what points at it, and goes after it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    pub steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    SetConfig(Config),
    PutVteps(Vec<(u32, VtepRow)>),
    PutLocalPorts(Vec<(u32, LocalPort)>),
    /// Which bridge domain the MACs of a VNI are kept under, before there are any: VNI, bridge domain.
    PutDomains(Vec<(u32, u32)>),
    PutFdb(Vec<(FdbKey, FdbTarget)>),
    PutSenders(Vec<(VtepByIpKey, u32)>),
    PutNetworks(Vec<(u32, Network)>),
    PutPorts(Vec<(PortId, PortValue)>),
    RemovePorts(Vec<PortId>),
    RemoveNetworks(Vec<u32>),
    RemoveSenders(Vec<VtepByIpKey>),
    RemoveFdb(Vec<FdbKey>),
    RemoveLocalPorts(Vec<u32>),
    RemoveVteps(Vec<u32>),
    PutNeighbours(Vec<(NeighbourKey, [u8; 6])>),
    RemoveNeighbours(Vec<NeighbourKey>),
    /// Lets ports send from addresses.
    Allow(Vec<AllowedKey>),
    Forbid(Vec<AllowedKey>),
    /// Notes when learnt MACs are seen there.
    PutSeen(Vec<(FdbKey, Target)>),
    RemoveSeen(Vec<FdbKey>),
}

/// Both sides are whole. Equal sides make an empty plan.
pub fn plan(desired: &Dataplane, installed: &Dataplane) -> Plan {
    let mut steps = Vec::new();
    if let Some(config) = desired.config.filter(|config| installed.config != Some(*config)) {
        steps.push(Step::SetConfig(config));
    }
    let (vteps, gone_vteps) = differences(&desired.vteps, &installed.vteps);
    let (local_ports, gone_local_ports) = differences(&desired.local_ports, &installed.local_ports);
    let (networks, gone_networks) = differences(&desired.networks, &installed.networks);
    let (ports, gone_ports) = differences(&desired.ports, &installed.ports);

    push(&mut steps, vteps, Step::PutVteps);
    push(&mut steps, local_ports, Step::PutLocalPorts);
    let domain = |dataplane: &Dataplane, vni| dataplane.networks.get(&vni).map(|network| network.bd);
    let domains: Vec<_> = desired.networks.iter().map(|(vni, network)| (*vni, network.bd)).collect();
    let moved = |vni: u32| domain(installed, vni).is_none_or(|bd| Some(bd) != domain(desired, vni));
    let moved: Vec<_> = domains.into_iter().filter(|(vni, _)| moved(*vni)).collect();
    let is_moved: BTreeSet<u32> = moved.iter().map(|(vni, _)| *vni).collect();
    push(&mut steps, moved, Step::PutDomains);
    let seen = desired.seen.iter().filter(|(key, target)| installed.seen.get(*key) != Some(*target));
    push(&mut steps, sorted(seen, |key| (key.vni, key.mac)), Step::PutSeen);
    let fdb = desired
        .fdb
        .iter()
        .filter(|(key, target)| installed.fdb.get(*key) != Some(*target) || is_moved.contains(&key.vni));
    push(&mut steps, sorted(fdb, |key| (key.vni, key.mac)), Step::PutFdb);
    let senders = desired.senders.iter().filter(|(key, vtep)| installed.senders.get(*key) != Some(*vtep));
    push(&mut steps, sorted(senders, |key| (key.vni, key.address)), Step::PutSenders);
    // A wrong answer is worse than none.
    let (neighbours, gone_neighbours) = differences(&desired.neighbours, &installed.neighbours);
    push(&mut steps, gone_neighbours, Step::RemoveNeighbours);
    push(&mut steps, neighbours, Step::PutNeighbours);
    push(&mut steps, desired.allowed.difference(&installed.allowed).copied().collect(), Step::Allow);
    push(&mut steps, networks, Step::PutNetworks);
    push(&mut steps, ports, Step::PutPorts);

    push(&mut steps, gone_ports, Step::RemovePorts);
    push(&mut steps, installed.allowed.difference(&desired.allowed).copied().collect(), Step::Forbid);
    push(&mut steps, gone_networks, Step::RemoveNetworks);
    let mut gone: Vec<_> =
        installed.senders.keys().filter(|key| !desired.senders.contains_key(*key)).copied().collect();
    gone.sort_unstable_by_key(|key| (key.vni, key.address));
    push(&mut steps, gone, Step::RemoveSenders);
    let mut gone: Vec<_> =
        installed.fdb.keys().filter(|key| !desired.fdb.contains_key(*key)).copied().collect();
    gone.sort_unstable_by_key(|key| (key.vni, key.mac));
    push(&mut steps, gone, Step::RemoveFdb);
    let mut gone: Vec<_> =
        installed.seen.keys().filter(|key| !desired.seen.contains_key(*key)).copied().collect();
    gone.sort_unstable_by_key(|key| (key.vni, key.mac));
    push(&mut steps, gone, Step::RemoveSeen);
    push(&mut steps, gone_local_ports, Step::RemoveLocalPorts);
    push(&mut steps, gone_vteps, Step::RemoveVteps);
    Plan { steps }
}

fn differences<K: Ord + Copy, V: PartialEq + Clone>(
    desired: &BTreeMap<K, V>,
    installed: &BTreeMap<K, V>,
) -> (Vec<(K, V)>, Vec<K>) {
    let upserts = desired.iter().filter(|(key, value)| installed.get(key) != Some(value));
    let removals = installed.keys().filter(|key| !desired.contains_key(key));
    (upserts.map(|(key, value)| (*key, value.clone())).collect(), removals.copied().collect())
}

fn sorted<'a, K: Copy + 'a, V: Copy + 'a, O: Ord>(
    rows: impl Iterator<Item = (&'a K, &'a V)>,
    order: impl Fn(&K) -> O,
) -> Vec<(K, V)> {
    let mut rows: Vec<_> = rows.map(|(key, value)| (*key, *value)).collect();
    rows.sort_unstable_by_key(|(key, _)| order(key));
    rows
}

fn push<T>(steps: &mut Vec<Step>, rows: Vec<T>, step: fn(Vec<T>) -> Step) {
    if !rows.is_empty() {
        steps.push(step(rows));
    }
}

impl Step {
    /// Entries that it writes or removes.
    pub fn len(&self) -> usize {
        match self {
            Self::SetConfig(_) => 1,
            Self::PutVteps(rows) => rows.len(),
            Self::PutLocalPorts(rows) => rows.len(),
            Self::PutDomains(rows) => rows.len(),
            Self::PutFdb(rows) => rows.len(),
            Self::PutSenders(rows) => rows.len(),
            Self::PutNetworks(rows) => rows.len(),
            Self::PutPorts(rows) => rows.len(),
            Self::RemovePorts(keys) => keys.len(),
            Self::RemoveSenders(keys) => keys.len(),
            Self::RemoveFdb(keys) | Self::RemoveSeen(keys) => keys.len(),
            Self::RemoveNetworks(keys) | Self::RemoveLocalPorts(keys) | Self::RemoveVteps(keys) => keys.len(),
            Self::PutNeighbours(rows) => rows.len(),
            Self::RemoveNeighbours(keys) => keys.len(),
            Self::Allow(keys) | Self::Forbid(keys) => keys.len(),
            Self::PutSeen(rows) => rows.len(),
        }
    }

    /// For logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::SetConfig(_) => "set config",
            Self::PutVteps(_) => "put VTEPs",
            Self::PutLocalPorts(_) => "put local ports",
            Self::PutDomains(_) => "put bridge domains",
            Self::PutFdb(_) => "put MACs",
            Self::PutSenders(_) => "put senders",
            Self::PutNetworks(_) => "put networks",
            Self::PutPorts(_) => "put ports",
            Self::RemovePorts(_) => "remove ports",
            Self::RemoveNetworks(_) => "remove networks",
            Self::RemoveSenders(_) => "remove senders",
            Self::RemoveFdb(_) => "remove MACs",
            Self::RemoveLocalPorts(_) => "remove local ports",
            Self::RemoveVteps(_) => "remove VTEPs",
            Self::PutNeighbours(_) => "put neighbours",
            Self::RemoveNeighbours(_) => "remove neighbours",
            Self::Allow(_) => "allow addresses",
            Self::Forbid(_) => "forbid addresses",
            Self::PutSeen(_) => "put sightings",
            Self::RemoveSeen(_) => "remove sightings",
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Dataplane {
    /// What a step makes of a dataplane: the daemon's mirror of the kernel, without reading it back.
    pub fn apply(&mut self, step: Step) {
        match step {
            Step::SetConfig(config) => self.config = Some(config),
            Step::PutVteps(rows) => self.vteps.extend(rows),
            Step::PutLocalPorts(rows) => self.local_ports.extend(rows),
            // They are those of the networks.
            Step::PutDomains(_) => {}
            Step::PutFdb(rows) => self.fdb.extend(rows),
            Step::PutSenders(rows) => self.senders.extend(rows),
            Step::PutNetworks(rows) => self.networks.extend(rows),
            Step::PutPorts(rows) => self.ports.extend(rows),
            Step::RemovePorts(keys) => remove(&mut self.ports, &keys),
            Step::RemoveNetworks(keys) => remove(&mut self.networks, &keys),
            Step::RemoveSenders(keys) => {
                for key in keys {
                    self.senders.remove(&key);
                }
            }
            Step::RemoveFdb(keys) => {
                for key in keys {
                    self.fdb.remove(&key);
                }
            }
            Step::RemoveLocalPorts(keys) => remove(&mut self.local_ports, &keys),
            Step::RemoveVteps(keys) => remove(&mut self.vteps, &keys),
            Step::PutNeighbours(rows) => self.neighbours.extend(rows),
            Step::RemoveNeighbours(keys) => remove(&mut self.neighbours, &keys),
            Step::Allow(keys) => self.allowed.extend(keys),
            Step::Forbid(keys) => self.allowed.retain(|key| !keys.contains(key)),
            Step::PutSeen(rows) => self.seen.extend(rows),
            Step::RemoveSeen(keys) => {
                for key in keys {
                    self.seen.remove(&key);
                }
            }
        }
    }
}

fn remove<K: Ord, V>(rows: &mut BTreeMap<K, V>, keys: &[K]) {
    for key in keys {
        rows.remove(key);
    }
}

#[cfg(test)]
mod tests;
