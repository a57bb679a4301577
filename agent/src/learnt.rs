//! MACs that were seen on our own ports.
//!
//! Seeing a frame is a claim, for a VM chooses its source addresses itself. Where the table names a MAC, the table
//! stands and the claim only goes upstream; where it does not, or does so no more, what was seen is the entry. A claim
//! that the table outvotes stands by until its MAC ages: a frame that comes late does not take the MAC back, and when the
//! other VTEP withdraws, nothing has to be learnt anew. A MAC that goes on speaking here is back: it is claimed anew.

mod flap;
mod outvoted;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use vtep_abi::{FdbKey, SEEN_SHIFT, Target};
use vtep_api::VtepName;

use self::flap::Flap;
pub use self::flap::{MOVES_MAX, WINDOW_SECS};
use self::outvoted::Outvoted;
pub use self::outvoted::RETURN_SECS;
use crate::counts::Counts;
use crate::dataplane::{Dataplane, PortId};

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Learnt {
    by_mac: BTreeMap<Id, Sighting>,
    per_interface: Counts<u32>,
    per_vni: Counts<u32>,
    /// Outvoted, and perhaps to be claimed anew.
    waiting: BTreeSet<Id>,
    pub tally: Tally,
}

type Id = (u32, [u8; 6]);

#[derive(Debug, Clone, PartialEq)]
struct Sighting {
    port: PortId,
    /// By the programs' clock. None until they are asked, of what an earlier agent learnt.
    at_secs: Option<u32>,
    flap: Flap,
    outvoted: Option<Outvoted>,
}

/// What is known when a MAC is seen.
#[derive(Debug, Clone, Copy)]
pub struct Sight {
    pub now_secs: u32,
    pub port_max: u32,
    pub vni_max: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lesson {
    New,
    Moved {
        from: PortId,
    },
    Known,
    /// The port, or the VNI, has as many as it may.
    Full,
    /// It moves too often, and stays where it is. `new`: from now on.
    Damped {
        new: bool,
    },
}

/// Since this process began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Forgotten, for they were not seen for long.
    pub aged: u64,
    /// Reports of MACs that were not taken, for their port or their VNI was full.
    pub refused_by_port: u64,
    pub refused_by_vni: u64,
    /// The same of MACs from the underlay, of their VTEP.
    pub refused_by_vtep: u64,
    /// MACs that moved too often and were held where they were.
    pub damped: u64,
}

impl Learnt {
    /// What an earlier agent had learnt. What it had only claimed is not claimed anew.
    pub fn recover(installed: &Dataplane) -> Self {
        let mut learnt = Self::default();
        let port = |target: Target| match target {
            Target::LocalPort(index) => {
                let port = installed.local_ports.get(&index)?;
                Some(PortId { ifindex: port.ifindex, vlan: port.vlan })
            }
            _ => None,
        };
        let entries = installed.fdb.iter().filter(|(_, target)| target.is_learnt());
        let entries = entries.map(|(key, target)| (key, target.master));
        let claims = installed.seen.iter().map(|(key, target)| (key, *target));
        for (key, target) in entries.chain(claims) {
            if let Some(port) = port(target).filter(|_| !learnt.contains(key)) {
                learnt.insert((key.vni, key.mac), Sighting::new(port, None));
            }
        }
        learnt
    }

    pub fn observe(&mut self, key: FdbKey, port: PortId, sight: Sight) -> Lesson {
        let id = (key.vni, key.mac);
        let before = self.by_mac.get(&id).cloned();
        let from = before.as_ref().map(|sighting| sighting.port);
        if from == Some(port) {
            return Lesson::Known;
        }
        if self.is_full(from, port, key.vni, sight) {
            return Lesson::Full;
        }
        let Some(mut sighting) = before else {
            self.insert(id, Sighting::new(port, Some(sight.now_secs)));
            return Lesson::New;
        };
        let from = sighting.port;
        let was_damped = sighting.flap.damped_until.is_some();
        if !sighting.flap.admits(sight.now_secs) {
            self.insert(id, sighting);
            self.tally.damped += u64::from(!was_damped);
            return Lesson::Damped { new: !was_damped };
        }
        self.insert(id, Sighting { port, at_secs: Some(sight.now_secs), outvoted: None, ..sighting });
        Lesson::Moved { from }
    }

    fn is_full(&mut self, before: Option<PortId>, port: PortId, vni: u32, sight: Sight) -> bool {
        let moves_in = before.is_none_or(|before| before.ifindex != port.ifindex);
        let port_full = moves_in && self.count(port.ifindex) >= sight.port_max;
        let vni_full = before.is_none() && self.count_in(vni) >= sight.vni_max;
        self.tally.refused_by_port += u64::from(port_full);
        self.tally.refused_by_vni += u64::from(vni_full && !port_full);
        port_full || vni_full
    }

    /// It was heard from elsewhere.
    pub fn forget(&mut self, key: &FdbKey) {
        if let Some(sighting) = self.by_mac.remove(&(key.vni, key.mac)) {
            self.per_interface.release(&sighting.port.ifindex);
            self.per_vni.release(&key.vni);
        }
    }

    /// Forgets what was not seen for `age_secs` of its VNI, 0 for never: `aged`. Whether something is
    /// different now.
    pub fn age(
        &mut self,
        now_secs: u32,
        seen: impl Fn(&FdbKey) -> Option<u32>,
        age_secs: impl Fn(u32) -> u32,
        aged: &mut Vec<FdbKey>,
    ) -> bool {
        let Self { by_mac, per_interface, per_vni, tally, .. } = self;
        let mut changed = false;
        by_mac.retain(|&(vni, mac), sighting| {
            changed |= sighting.flap.lift(now_secs);
            let seen = seen(&FdbKey::new(vni, mac));
            let stays = is_young(&mut sighting.at_secs, seen, now_secs, age_secs(vni));
            if !stays {
                per_interface.release(&sighting.port.ifindex);
                per_vni.release(&vni);
                tally.aged += 1;
                aged.push(FdbKey::new(vni, mac));
                changed = true;
            }
            stays
        });
        changed
    }

    /// Takes what the table says by now: `by` is the VTEP behind which it has a MAC that is claimed from a port.
    pub fn outvote<'t>(&mut self, now_secs: u32, by: impl Fn(&FdbKey, PortId) -> Option<&'t VtepName>) {
        self.waiting.clear();
        for (&(vni, mac), sighting) in &mut self.by_mac {
            let known = sighting.outvoted.take();
            let by = by(&FdbKey::new(vni, mac), sighting.port);
            sighting.outvoted = by.map(|by| Outvoted::note(known, by, now_secs));
            if sighting.outvoted.as_ref().is_some_and(Outvoted::waits) {
                self.waiting.insert((vni, mac));
            }
        }
    }

    /// MACs that may be back, and are not claimed anew yet.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Those that are back although the table has them elsewhere: they are to be claimed anew, if they do not move too
    /// often. Each is told once.
    pub fn returned(&mut self, now_secs: u32, seen: impl Fn(&FdbKey) -> Option<u32>) -> Vec<FdbKey> {
        let Self { by_mac, waiting, tally, .. } = self;
        let mut returned = Vec::new();
        waiting.retain(|id| {
            let Some(sighting) = by_mac.get_mut(id) else { return false };
            let Some(outvoted) = &mut sighting.outvoted else { return false };
            let key = FdbKey::new(id.0, id.1);
            if !seen(&key).is_some_and(|seen| outvoted.is_back(seen)) {
                return true;
            }
            let was_damped = sighting.flap.damped_until.is_some();
            let is_back = sighting.flap.admits(now_secs);
            if is_back {
                outvoted.claim();
                returned.push(key);
            }
            tally.damped += u64::from(!is_back && !was_damped);
            !is_back
        });
        returned
    }

    /// Drops what lost its binding. A MAC whose port has another VNI by now is a MAC of that one.
    pub fn revise(&mut self, binding: impl Fn(PortId) -> Option<u32>) {
        self.rekey(&binding);
        let Self { by_mac, per_interface, per_vni, .. } = self;
        by_mac.retain(|&(vni, _), sighting| {
            let stands = binding(sighting.port) == Some(vni);
            if !stands {
                per_interface.release(&sighting.port.ifindex);
                per_vni.release(&vni);
            }
            stands
        });
    }

    fn rekey(&mut self, binding: impl Fn(PortId) -> Option<u32>) {
        let moved = self.by_mac.iter().filter_map(|(&(vni, mac), sighting)| {
            let now = binding(sighting.port).filter(|now| *now != vni)?;
            Some(((vni, mac), (now, mac)))
        });
        let moved: Vec<_> = moved.collect();
        for (from, to) in moved {
            let Some(sighting) = self.by_mac.remove(&from) else { continue };
            self.per_interface.release(&sighting.port.ifindex);
            self.per_vni.release(&from.0);
            if !self.by_mac.contains_key(&to) {
                self.insert(to, Sighting::new(sighting.port, sighting.at_secs));
            }
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (FdbKey, PortId)> {
        self.by_mac.iter().map(|((vni, mac), sighting)| (FdbKey::new(*vni, *mac), sighting.port))
    }

    /// MACs that moved too often.
    pub fn damped(&self) -> impl Iterator<Item = (FdbKey, PortId)> {
        let damped = self.by_mac.iter().filter(|(_, sighting)| sighting.flap.damped_until.is_some());
        damped.map(|((vni, mac), sighting)| (FdbKey::new(*vni, *mac), sighting.port))
    }

    pub fn contains(&self, key: &FdbKey) -> bool {
        self.by_mac.contains_key(&(key.vni, key.mac))
    }

    /// MACs learnt on an interface, over all its VLANs.
    pub fn count(&self, ifindex: u32) -> u32 {
        self.per_interface.of(&ifindex)
    }

    /// MACs learnt in a VNI, over all ports.
    pub fn count_in(&self, vni: u32) -> u32 {
        self.per_vni.of(&vni)
    }

    pub fn len(&self) -> usize {
        self.by_mac.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_mac.is_empty()
    }

    fn insert(&mut self, id: Id, sighting: Sighting) {
        self.per_interface.add(sighting.port.ifindex);
        self.per_vni.add(id.0);
        if let Some(before) = self.by_mac.insert(id, sighting) {
            self.per_interface.release(&before.port.ifindex);
            self.per_vni.release(&id.0);
        }
    }
}

/// By how much the time that the programs note of a MAC that speaks may be behind, where whole seconds count.
pub(crate) const SEEN_BEHIND_SECS: u32 = 4;

// A turn of theirs, a unit of their time, and a second.
const _: () = assert!(1280 + (1_u64 << SEEN_SHIFT) / 1_000_000 + 1000 <= SEEN_BEHIND_SECS as u64 * 1000);

/// Whether what was last seen at `at_secs`, or since by the programs, may stay. What nobody saw yet is seen now.
pub(crate) fn is_young(at_secs: &mut Option<u32>, seen: Option<u32>, now_secs: u32, age_max: u32) -> bool {
    let at = seen.max(*at_secs).unwrap_or(now_secs);
    *at_secs = Some(at);
    age_max == 0 || now_secs.saturating_sub(at) < age_max.saturating_add(SEEN_BEHIND_SECS)
}

impl Sighting {
    fn new(port: PortId, at_secs: Option<u32>) -> Self {
        Self { port, at_secs, flap: Flap::default(), outvoted: None }
    }
}

#[cfg(test)]
mod tests;
