//! MACs that other VTEPs send from than the one behind which the table has them: noticed by the programs, and told upstream
//! now and then. They are nobody's claim, and change nothing here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use vtep_abi::{AddrBytes, FdbKey};

/// Pairs of a MAC and a sender that are kept apart.
const PAIRS_MAX: usize = 4096;
/// From one telling of a pair to the next.
const PACE_SECS: u32 = 2;
/// A pair of which nothing was noticed for so long gives its place to another.
const REST_SECS: u32 = 60;

#[derive(Debug, Clone, Default)]
pub struct Witness {
    pairs: BTreeMap<(u32, [u8; 6], AddrBytes), Pair>,
    pub tally: WitnessTally,
}

/// What the programs noticed, since this process began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct WitnessTally {
    /// Of the MAC's slave.
    pub from_slave: u64,
    /// Of other VTEPs.
    pub from_other: u64,
    /// Of these two, what did not get upstream: no room on the way, or nobody there.
    pub lost: u64,
}

#[derive(Debug, Clone, Copy)]
struct Pair {
    noticed_secs: u32,
    told_secs: Option<u32>,
    untold: u32,
}

impl Witness {
    /// How often it was noticed since it was told last, if it is to be told.
    pub fn notice(&mut self, key: &FdbKey, sender: AddrBytes, now_secs: u32) -> Option<u32> {
        let place = (key.vni, key.mac, sender);
        if self.pairs.len() >= PAIRS_MAX && !self.pairs.contains_key(&place) {
            self.pairs.retain(|_, pair| now_secs.saturating_sub(pair.noticed_secs) < REST_SECS);
            if self.pairs.len() >= PAIRS_MAX {
                self.tally.lost += 1;
                return None;
            }
        }
        let fresh = Pair { noticed_secs: now_secs, told_secs: None, untold: 0 };
        let pair = self.pairs.entry(place).or_insert(fresh);
        pair.noticed_secs = now_secs;
        pair.untold = pair.untold.saturating_add(1);
        if pair.told_secs.is_some_and(|told| now_secs.saturating_sub(told) < PACE_SECS) {
            return None;
        }
        pair.told_secs = Some(now_secs);
        Some(std::mem::take(&mut pair.untold))
    }
}

#[cfg(test)]
mod tests {
    use vtep_abi::mapped_v4;

    use super::*;

    const A: AddrBytes = mapped_v4([192, 0, 2, 11]);
    const B: AddrBytes = mapped_v4([192, 0, 2, 12]);

    fn key(number: u32) -> FdbKey {
        let [a, b, c, d] = number.to_be_bytes();
        FdbKey::new(5001, [2, 0, a, b, c, d])
    }

    #[test]
    fn a_pair_is_told_at_once_and_then_now_and_then_with_what_came_meanwhile() {
        let mut witness = Witness::default();
        let told = [10, 11, 11, 12, 13, 20].map(|now| witness.notice(&key(1), A, now));
        assert_eq!(told, [Some(1), None, None, Some(3), None, Some(2)]);
        assert_eq!(witness.notice(&key(1), B, 20), Some(1), "another sender");
    }

    #[test]
    fn a_flood_of_pairs_keeps_its_bound_and_loses_what_comes_late_only() {
        let mut witness = Witness::default();
        let first = u32::try_from(PAIRS_MAX).unwrap();
        assert!((0..first).all(|number| witness.notice(&key(number), A, 10).is_some()));
        assert_eq!(witness.notice(&key(first), A, 11), None);
        assert_eq!((witness.pairs.len(), witness.tally.lost), (PAIRS_MAX, 1));
        assert_eq!(witness.notice(&key(1), A, 12), Some(1), "those that were there go on");
        assert_eq!(witness.notice(&key(first), A, 71), Some(1), "room of those that rest");
        assert_eq!(witness.pairs.len(), 2);
    }
}
