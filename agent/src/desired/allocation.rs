//! The host's own small numbers for VTEPs, VNIs and ports. A number stays with its meaning while it is installed, and
//! rests for a while after: an element of a kernel map may be read for a moment after it was removed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::service_nodes::SoundSince;
use crate::dataplane::{Dataplane, PortId};
use crate::desired::adjacency;

/// Longer than any program runs and than any RCU grace period.
const REST: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Default)]
pub struct Allocation {
    pub vteps: Indices<IpAddr>,
    /// Bridge domains by VNI.
    pub bridge_domains: Indices<u32>,
    pub local_ports: Indices<LocalPortKey>,
    pub(super) sound_nodes: SoundSince,
}

/// A local port of another VNI is another port: one that changed its VNI in place would leak frames of the old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LocalPortKey {
    pub port: PortId,
    pub vni: u32,
}

impl Allocation {
    /// Takes over the numbers that stand in the kernel.
    pub fn recover(installed: &Dataplane, now: Instant) -> Self {
        let vteps = installed.vteps.iter().map(|(&index, row)| (adjacency::ip(row.adj.remote), index));
        let domains = installed.networks.iter().map(|(&vni, network)| (vni, network.bd));
        let ports = installed.local_ports.iter().map(|(&index, port)| {
            let port_id = PortId { ifindex: port.ifindex, vlan: port.vlan };
            (LocalPortKey { port: port_id, vni: port.vni }, index)
        });
        Self {
            vteps: Indices::recover(vteps, now),
            bridge_domains: Indices::recover(domains, now),
            local_ports: Indices::recover(ports, now),
            sound_nodes: SoundSince::new(),
        }
    }

    /// Whether numbers rest that somebody may be waiting for.
    pub fn is_resting(&self) -> bool {
        self.vteps.is_resting() || self.bridge_domains.is_resting() || self.local_ports.is_resting()
    }
}

#[derive(Debug, Clone)]
pub struct Indices<K> {
    by_key: BTreeMap<K, u32>,
    /// Numbers without a meaning, until when.
    resting: BTreeMap<u32, Instant>,
}

impl<K> Default for Indices<K> {
    fn default() -> Self {
        Self { by_key: BTreeMap::new(), resting: BTreeMap::new() }
    }
}

impl<K: Ord + Copy> Indices<K> {
    fn recover(installed: impl Iterator<Item = (K, u32)>, now: Instant) -> Self {
        let mut indices = Self::default();
        for (key, index) in installed {
            // Two numbers for one meaning: the second is an orphan, which the first plan removes.
            if *indices.by_key.entry(key).or_insert(index) != index {
                indices.resting.insert(index, now + REST);
            }
        }
        indices
    }

    /// Numbers of `room` for `wanted`; what found none is returned too. Numbers of everything else rest from `now` on.
    pub fn assign(&mut self, wanted: &BTreeSet<K>, room: &Room, now: Instant) -> Assigned<K> {
        let index_max = room.index_max;
        let resting = &mut self.resting;
        resting.retain(|_, until| *until > now);
        self.by_key.retain(|key, index| {
            let stays = wanted.contains(key) && *index <= index_max;
            if !stays {
                resting.insert(*index, now + REST);
            }
            stays
        });
        let held: BTreeSet<u32> = self.by_key.values().copied().collect();
        let mut free = (1..=index_max).filter(|index| {
            !held.contains(index) && !resting.contains_key(index) && !room.installed.contains(index)
        });
        let mut without = Vec::new();
        for key in wanted {
            if self.by_key.contains_key(key) {
                continue;
            }
            match free.next() {
                Some(index) => {
                    self.by_key.insert(*key, index);
                }
                None => without.push(*key),
            }
        }
        Assigned { by_key: self.by_key.clone(), without }
    }

    fn is_resting(&self) -> bool {
        !self.resting.is_empty()
    }
}

/// What there is to hand out.
#[derive(Debug, Clone)]
pub struct Room {
    pub index_max: u32,
    /// Numbers that stand in the kernel: one whose removal failed keeps its meaning longer than it would rest.
    pub installed: BTreeSet<u32>,
}

#[derive(Debug, Clone)]
pub struct Assigned<K> {
    pub by_key: BTreeMap<K, u32>,
    pub without: Vec<K>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_gets_another_meaning_once_it_has_rested_and_is_not_installed() {
        let start = Instant::now();
        let mut indices = Indices::recover([(10, 3), (11, 1)].into_iter(), start);
        let mut room = Room { index_max: 3, installed: BTreeSet::from([1, 3]) };
        let mut check = |wanted: &[u32], seconds: u64, expected: &[(u32, u32)], without: &[u32]| {
            let now = start + Duration::from_secs(seconds);
            let assigned = indices.assign(&wanted.iter().copied().collect(), &room, now);
            room.installed.retain(|index| *index != 1 || seconds < 7);
            assert_eq!(assigned.by_key, expected.iter().copied().collect());
            assert_eq!(assigned.without, without);
        };
        check(&[10, 11, 12], 0, &[(10, 3), (11, 1), (12, 2)], &[]);
        check(&[10, 12, 13], 1, &[(10, 3), (12, 2)], &[13]);
        check(&[10, 12, 13], 7, &[(10, 3), (12, 2)], &[13]);
        check(&[10, 12, 13], 8, &[(10, 3), (12, 2), (13, 1)], &[]);
    }
}
