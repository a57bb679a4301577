//! MACs behind other VTEPs of which no table told us: sources of frames that admitted VTEPs sent, in networks that learn
//! from the underlay.
//!
//! They are entries where nobody else has one, and never claims. VTEPs are known by address, as the programs know them.

use std::collections::BTreeMap;

use vtep_abi::{AddrBytes, FdbKey, Target};

use crate::counts::Counts;
use crate::dataplane::Dataplane;
use crate::learnt::is_young;

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Overheard {
    by_mac: BTreeMap<(u32, [u8; 6]), Sighting>,
    /// By VNI and VTEP.
    counts: Counts<(u32, AddrBytes)>,
    pub aged: u64,
    /// Reports that were not taken, for the VTEP had as many MACs as it may.
    pub refused: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sighting {
    vtep: AddrBytes,
    /// As of [`Learnt`](crate::learnt::Learnt).
    at_secs: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Of a MAC that was not there, or behind another VTEP.
    News,
    Known,
    /// The VTEP has as many in this VNI as it may.
    Full,
}

impl Overheard {
    /// What an earlier agent had learnt.
    pub fn recover(installed: &Dataplane) -> Self {
        let mut overheard = Self::default();
        for (key, target) in installed.fdb.iter().filter(|(_, target)| target.is_learnt()) {
            if let Target::Vtep(index) = target.master
                && let Some(vtep) = installed.vteps.get(&index)
            {
                overheard.insert(*key, Sighting { vtep: vtep.adj.remote, at_secs: None });
            }
        }
        overheard
    }

    pub fn observe(&mut self, key: FdbKey, vtep: AddrBytes, now_secs: u32, max: u32) -> Heard {
        if let Some(sighting) = self.by_mac.get_mut(&(key.vni, key.mac)).filter(|there| there.vtep == vtep) {
            sighting.at_secs = Some(now_secs);
            return Heard::Known;
        }
        if self.count(key.vni, vtep) >= max {
            self.refused += 1;
            return Heard::Full;
        }
        self.insert(key, Sighting { vtep, at_secs: Some(now_secs) });
        Heard::News
    }

    /// As [`Learnt::age`](crate::learnt::Learnt::age).
    pub fn age(
        &mut self,
        now_secs: u32,
        seen: impl Fn(&FdbKey) -> Option<u32>,
        age_secs: impl Fn(u32) -> u32,
    ) -> bool {
        let before = self.by_mac.len();
        self.retain(|key, sighting| is_young(&mut sighting.at_secs, seen(key), now_secs, age_secs(key.vni)));
        let aged = before - self.by_mac.len();
        self.aged += aged as u64;
        aged > 0
    }

    pub fn revise(&mut self, stands: impl Fn(&FdbKey, AddrBytes) -> bool) {
        self.retain(|key, sighting| stands(key, sighting.vtep));
    }

    pub fn iter(&self) -> impl Iterator<Item = (FdbKey, AddrBytes)> {
        self.by_mac.iter().map(|((vni, mac), sighting)| (FdbKey::new(*vni, *mac), sighting.vtep))
    }

    /// By VNI and VTEP, how many MACs there are.
    pub fn counts(&self) -> impl Iterator<Item = (u32, AddrBytes, u32)> {
        self.counts.iter().map(|(&(vni, vtep), count)| (vni, vtep, count))
    }

    pub fn count(&self, vni: u32, vtep: AddrBytes) -> u32 {
        self.counts.of(&(vni, vtep))
    }

    pub fn len(&self) -> usize {
        self.by_mac.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_mac.is_empty()
    }

    fn retain(&mut self, mut stays: impl FnMut(&FdbKey, &mut Sighting) -> bool) {
        let Self { by_mac, counts, .. } = self;
        by_mac.retain(|&(vni, mac), sighting| {
            let vtep = sighting.vtep;
            let stays = stays(&FdbKey::new(vni, mac), sighting);
            if !stays {
                counts.release(&(vni, vtep));
            }
            stays
        });
    }

    fn insert(&mut self, key: FdbKey, sighting: Sighting) {
        self.counts.add((key.vni, sighting.vtep));
        if let Some(before) = self.by_mac.insert((key.vni, key.mac), sighting) {
            self.counts.release(&(key.vni, before.vtep));
        }
    }
}

#[cfg(test)]
mod tests {
    use vtep_abi::mapped_v4;

    use super::*;
    use crate::learnt::SEEN_BEHIND_SECS;

    const KEY: FdbKey = FdbKey::new(5001, [2, 0, 0, 0, 0, 1]);
    const OTHER: FdbKey = FdbKey::new(5001, [2, 0, 0, 0, 0, 2]);
    const A: AddrBytes = mapped_v4([192, 0, 2, 11]);
    const B: AddrBytes = mapped_v4([192, 0, 2, 12]);

    #[test]
    fn a_full_vtep_takes_no_room_of_another_and_loses_nothing() {
        let mut overheard = Overheard::default();
        assert_eq!(overheard.observe(KEY, A, 1, 1), Heard::News);
        assert_eq!(overheard.observe(OTHER, A, 1, 1), Heard::Full);
        assert_eq!(overheard.observe(OTHER, B, 1, 1), Heard::News);
        assert_eq!(overheard.observe(KEY, A, 1, 1), Heard::Known);
        assert_eq!(overheard.observe(FdbKey::new(6001, OTHER.mac), A, 1, 1), Heard::News, "another VNI");
        assert_eq!((overheard.count(5001, A), overheard.count(5001, B), overheard.refused), (1, 1, 1));
    }

    #[test]
    fn a_mac_that_moves_or_ages_frees_its_place() {
        let mut overheard = Overheard::default();
        overheard.observe(KEY, A, 100, 1);
        assert_eq!(overheard.observe(KEY, B, 100, 1), Heard::News);
        assert_eq!((overheard.count(5001, A), overheard.count(5001, B)), (0, 1));
        let end = 400 + SEEN_BEHIND_SECS;
        assert!(!overheard.age(end - 1, |_| None, |_| 300));
        assert!(!overheard.age(end, |_| Some(101), |_| 300));
        assert!(overheard.age(end + 1, |_| Some(101), |_| 300));
        assert!(overheard.is_empty() && overheard.counts().next().is_none());
    }
}
