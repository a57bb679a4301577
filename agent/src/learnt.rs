//! MACs that were seen on our own ports.
//!
//! Seeing a frame is a claim, for a VM chooses its source addresses itself. Where the table names a MAC, the table
//! stands and the claim only goes upstream; where it does not, or does so no more, what was seen is the entry.

use std::collections::BTreeMap;

use vtep_abi::{FdbKey, FdbValue, Target};

use crate::dataplane::{Dataplane, PortId};

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Learnt {
    by_mac: BTreeMap<(u32, [u8; 6]), PortId>,
    per_interface: BTreeMap<u32, u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lesson {
    New,
    Moved {
        from: PortId,
    },
    Known,
    /// The port has as many as it may.
    Full,
}

impl Learnt {
    /// What an earlier agent had learnt and installed. What it had only claimed is claimed again with the MAC's next
    /// frame, which the programs report for as long as the entry is another's.
    pub fn recover(installed: &Dataplane) -> Self {
        let mut learnt = Self::default();
        for (key, target) in &installed.fdb {
            let Target::LocalPort(index) = target.master else { continue };
            let Some(port) = installed.local_ports.get(&index) else { continue };
            if target.flags & FdbValue::LEARNT != 0 {
                learnt.insert((key.vni, key.mac), PortId { ifindex: port.ifindex, vlan: port.vlan });
            }
        }
        learnt
    }

    pub fn observe(&mut self, key: FdbKey, port: PortId, learn_max: u32) -> Lesson {
        let id = (key.vni, key.mac);
        let before = self.by_mac.get(&id).copied();
        if before == Some(port) {
            return Lesson::Known;
        }
        if before.is_none_or(|before| before.ifindex != port.ifindex) && self.count(port.ifindex) >= learn_max
        {
            return Lesson::Full;
        }
        self.insert(id, port);
        before.map_or(Lesson::New, |from| Lesson::Moved { from })
    }

    /// Drops what lost its binding. A MAC whose port has another VNI by now is a MAC of that one.
    pub fn revise(&mut self, binding: impl Fn(PortId) -> Option<u32>) {
        self.rekey(&binding);
        let per_interface = &mut self.per_interface;
        self.by_mac.retain(|(vni, _), port| {
            let stands = binding(*port) == Some(*vni);
            if !stands {
                release(per_interface, port.ifindex);
            }
            stands
        });
    }

    fn rekey(&mut self, binding: impl Fn(PortId) -> Option<u32>) {
        let moved = self.by_mac.iter().filter_map(|(&(vni, mac), &port)| {
            let now = binding(port).filter(|now| *now != vni)?;
            Some(((vni, mac), (now, mac)))
        });
        let moved: Vec<_> = moved.collect();
        for (from, to) in moved {
            let Some(port) = self.by_mac.remove(&from) else { continue };
            release(&mut self.per_interface, port.ifindex);
            if !self.by_mac.contains_key(&to) {
                self.insert(to, port);
            }
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (FdbKey, PortId)> {
        self.by_mac.iter().map(|((vni, mac), port)| (FdbKey::new(*vni, *mac), *port))
    }

    pub fn contains(&self, key: &FdbKey) -> bool {
        self.by_mac.contains_key(&(key.vni, key.mac))
    }

    /// MACs learnt on an interface, over all its VLANs.
    pub fn count(&self, ifindex: u32) -> u32 {
        self.per_interface.get(&ifindex).copied().unwrap_or(0)
    }

    pub fn is_empty(&self) -> bool {
        self.by_mac.is_empty()
    }

    fn insert(&mut self, id: (u32, [u8; 6]), port: PortId) {
        *self.per_interface.entry(port.ifindex).or_default() += 1;
        if let Some(before) = self.by_mac.insert(id, port) {
            release(&mut self.per_interface, before.ifindex);
        }
    }
}

fn release(per_interface: &mut BTreeMap<u32, u32>, ifindex: u32) {
    if let Some(count) = per_interface.get_mut(&ifindex) {
        *count -= 1;
        if *count == 0 {
            per_interface.remove(&ifindex);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: FdbKey = FdbKey::new(5001, [2, 0, 0, 0, 0, 1]);
    const TAP0: PortId = PortId { ifindex: 7, vlan: 0 };
    const TAP1: PortId = PortId { ifindex: 8, vlan: 0 };

    #[test]
    fn a_mac_moves_between_ports_and_goes_with_its_binding() {
        let mut learnt = Learnt::default();
        assert_eq!(learnt.observe(KEY, TAP0, 10), Lesson::New);
        assert_eq!(learnt.observe(KEY, TAP1, 10), Lesson::Moved { from: TAP0 });
        assert_eq!((learnt.count(7), learnt.count(8)), (0, 1));
        learnt.revise(|port| (port == TAP0).then_some(5001));
        assert!(learnt.is_empty());
    }

    #[test]
    fn a_mac_stays_with_its_port_when_the_vni_changes() {
        let mut learnt = Learnt::default();
        learnt.observe(KEY, TAP0, 10);
        learnt.revise(|_| Some(6001));
        assert_eq!(learnt.iter().collect::<Vec<_>>(), [(FdbKey::new(6001, KEY.mac), TAP0)]);
        assert_eq!(learnt.count(7), 1);
    }

    #[test]
    fn a_full_port_learns_no_more_and_keeps_what_it_has() {
        let mut learnt = Learnt::default();
        learnt.observe(KEY, TAP0, 1);
        let other = FdbKey::new(5001, [2, 0, 0, 0, 0, 2]);
        assert_eq!(learnt.observe(other, TAP0, 1), Lesson::Full);
        assert_eq!(learnt.observe(KEY, TAP0, 1), Lesson::Known);
        assert_eq!(learnt.observe(KEY, PortId { vlan: 5, ..TAP0 }, 1), Lesson::Moved { from: TAP0 });
    }
}
