//! MACs that are configured for one port and were seen on another: an event each, not one for each frame.

use std::collections::BTreeMap;

use vtep_abi::FdbKey;

#[derive(Debug, Default)]
pub struct Contested {
    /// When it was told last, by MAC and interface.
    told: BTreeMap<(u32, [u8; 6], u32), u32>,
}

/// From one event of a MAC and interface to the next.
const PAUSE_SECS: u32 = 10;
/// Beyond, nothing is told until the pause of some is over.
const TOLD_MAX: usize = 4096;

impl Contested {
    /// Whether it is to be told, and counted.
    pub fn is_news(&mut self, key: &FdbKey, ifindex: u32, now_secs: u32) -> bool {
        let rests = |told: u32| now_secs.saturating_sub(told) < PAUSE_SECS;
        let id = (key.vni, key.mac, ifindex);
        if self.told.get(&id).is_some_and(|told| rests(*told)) {
            return false;
        }
        if self.told.len() >= TOLD_MAX {
            self.told.retain(|_, told| rests(*told));
        }
        if self.told.len() >= TOLD_MAX {
            return false;
        }
        self.told.insert(id, now_secs);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_told_once_in_ten_seconds_and_so_many_at_most() {
        let mut contested = Contested::default();
        let key = |n: u16| {
            let [high, low] = n.to_be_bytes();
            FdbKey::new(7, [2, 0, 0, 0, high, low])
        };
        assert!(contested.is_news(&key(1), 3, 100));
        assert!(!contested.is_news(&key(1), 3, 109));
        assert!(contested.is_news(&key(1), 4, 109), "elsewhere, too");
        assert!(contested.is_news(&key(1), 3, 110));
        let told = (2..10_000).filter(|n| contested.is_news(&key(*n), 3, 111)).count();
        assert_eq!(told, TOLD_MAX - 2);
        assert!(contested.is_news(&key(9_999), 3, 121), "their pause is over");
    }
}
