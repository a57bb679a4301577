//! MACs that were seen on our own ports.
//!
//! Seeing a frame is better evidence than a row that was written before it: a learnt MAC beats the remote entry that
//! stood when it was seen. A row that comes or changes afterwards is the controller's answer to our claim, or a claim
//! of somebody who saw the MAC later, and beats what we saw.

use std::collections::BTreeMap;

use vtep_abi::{FdbKey, FdbValue, Target};
use vtep_api::VtepName;

use crate::dataplane::{Dataplane, PortId};

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Learnt {
    by_mac: BTreeMap<(u32, [u8; 6]), Seen>,
    per_interface: BTreeMap<u32, u32>,
}

#[derive(Debug, Clone, PartialEq)]
struct Seen {
    port: PortId,
    /// The master that the table named when the MAC was seen.
    overrides: Option<VtepName>,
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
    /// What an earlier agent had learnt. Whatever the table says of these MACs beats it: a port that still has one
    /// says so with its next frame.
    pub fn recover(installed: &Dataplane) -> Self {
        let mut learnt = Self::default();
        for (key, target) in &installed.fdb {
            let Target::LocalPort(index) = target.master else { continue };
            let Some(port) = installed.local_ports.get(&index) else { continue };
            if target.flags & FdbValue::LEARNT != 0 {
                let port = PortId { ifindex: port.ifindex, vlan: port.vlan };
                learnt.insert((key.vni, key.mac), Seen { port, overrides: None });
            }
        }
        learnt
    }

    /// `remote` is the master that the table names at present.
    pub fn observe(
        &mut self,
        key: FdbKey,
        port: PortId,
        remote: Option<&VtepName>,
        learn_max: u32,
    ) -> Lesson {
        let id = (key.vni, key.mac);
        let before = self.by_mac.get(&id).map(|seen| seen.port);
        if before == Some(port) {
            return Lesson::Known;
        }
        if before.is_none_or(|before| before.ifindex != port.ifindex) && self.count(port.ifindex) >= learn_max
        {
            return Lesson::Full;
        }
        self.insert(id, Seen { port, overrides: remote.cloned() });
        before.map_or(Lesson::New, |from| Lesson::Moved { from })
    }

    /// Drops what does not hold any more: its binding is gone, or the table's entry came or changed since. A MAC whose
    /// port has another VNI by now is a MAC of that one.
    /// `binding` tells the VNI of a port, `remote` the master that the table names.
    pub fn revise<'a>(
        &mut self,
        binding: impl Fn(PortId) -> Option<u32>,
        remote: impl Fn(u32, [u8; 6]) -> Option<&'a VtepName>,
    ) {
        self.rekey(&binding);
        let per_interface = &mut self.per_interface;
        self.by_mac.retain(|(vni, mac), seen| {
            let present = remote(*vni, *mac);
            let stands =
                binding(seen.port) == Some(*vni) && (present.is_none() || present == seen.overrides.as_ref());
            if present.is_none() {
                seen.overrides = None;
            }
            if !stands {
                release(per_interface, seen.port.ifindex);
            }
            stands
        });
    }

    fn rekey(&mut self, binding: impl Fn(PortId) -> Option<u32>) {
        let moved = self.by_mac.iter().filter_map(|(&(vni, mac), seen)| {
            let now = binding(seen.port).filter(|now| *now != vni)?;
            Some(((vni, mac), (now, mac)))
        });
        let moved: Vec<_> = moved.collect();
        for (from, to) in moved {
            let Some(seen) = self.by_mac.remove(&from) else { continue };
            release(&mut self.per_interface, seen.port.ifindex);
            if !self.by_mac.contains_key(&to) {
                self.insert(to, seen);
            }
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (FdbKey, PortId)> {
        self.by_mac.iter().map(|((vni, mac), seen)| (FdbKey::new(*vni, *mac), seen.port))
    }

    /// MACs learnt on an interface, over all its VLANs.
    pub fn count(&self, ifindex: u32) -> u32 {
        self.per_interface.get(&ifindex).copied().unwrap_or(0)
    }

    pub fn is_empty(&self) -> bool {
        self.by_mac.is_empty()
    }

    fn insert(&mut self, id: (u32, [u8; 6]), seen: Seen) {
        *self.per_interface.entry(seen.port.ifindex).or_default() += 1;
        if let Some(before) = self.by_mac.insert(id, seen) {
            release(&mut self.per_interface, before.port.ifindex);
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

    fn vtep(name: &str) -> VtepName {
        VtepName::try_from(name).unwrap()
    }

    /// Seen while the table said `before`, revised while it says `after`: does it stand?
    #[track_caller]
    fn check(before: Option<&str>, after: Option<&str>, stands: bool) {
        let (before, after) = (before.map(vtep), after.map(vtep));
        let mut learnt = Learnt::default();
        assert_eq!(learnt.observe(KEY, TAP0, before.as_ref(), 10), Lesson::New);
        learnt.revise(|_| Some(5001), |_, _| after.as_ref());
        assert_eq!(!learnt.is_empty(), stands);
        assert_eq!(learnt.count(7), u32::from(stands));
    }

    #[test]
    fn what_was_seen_beats_older_rows_and_yields_to_newer() {
        check(None, None, true);
        check(Some("a"), Some("a"), true);
        check(Some("a"), None, true);
        check(Some("a"), Some("b"), false);
        check(None, Some("a"), false);
    }

    #[test]
    fn a_row_that_was_withdrawn_and_comes_back_is_new() {
        let a = vtep("a");
        let mut learnt = Learnt::default();
        learnt.observe(KEY, TAP0, Some(&a), 10);
        learnt.revise(|_| Some(5001), |_, _| None);
        learnt.revise(|_| Some(5001), |_, _| Some(&a));
        assert!(learnt.is_empty());
    }

    #[test]
    fn a_mac_moves_between_ports_and_goes_with_its_binding() {
        let mut learnt = Learnt::default();
        learnt.observe(KEY, TAP0, None, 10);
        assert_eq!(learnt.observe(KEY, TAP1, None, 10), Lesson::Moved { from: TAP0 });
        assert_eq!((learnt.count(7), learnt.count(8)), (0, 1));
        learnt.revise(|port| (port == TAP0).then_some(5001), |_, _| None);
        assert!(learnt.is_empty());
    }

    #[test]
    fn a_mac_stays_with_its_port_when_the_vni_changes() {
        let mut learnt = Learnt::default();
        learnt.observe(KEY, TAP0, None, 10);
        learnt.revise(|_| Some(6001), |_, _| None);
        assert_eq!(learnt.iter().collect::<Vec<_>>(), [(FdbKey::new(6001, KEY.mac), TAP0)]);
        assert_eq!(learnt.count(7), 1);
    }

    #[test]
    fn a_full_port_learns_no_more_and_keeps_what_it_has() {
        let mut learnt = Learnt::default();
        learnt.observe(KEY, TAP0, None, 1);
        let other = FdbKey::new(5001, [2, 0, 0, 0, 0, 2]);
        assert_eq!(learnt.observe(other, TAP0, None, 1), Lesson::Full);
        assert_eq!(learnt.observe(KEY, TAP0, None, 1), Lesson::Known);
        assert_eq!(learnt.observe(KEY, PortId { vlan: 5, ..TAP0 }, None, 1), Lesson::Moved { from: TAP0 });
    }
}
