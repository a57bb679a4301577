//! What stations told everybody of themselves: which MAC an IP address has.
//!
//! It is heard from whoever says it. Where the table says otherwise, nobody is answered in its name until both agree;
//! where the table says nothing, what was heard from our own ports is an answer.

use std::collections::BTreeMap;

use vtep_abi::NeighbourKey;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Announced {
    by_address: BTreeMap<NeighbourKey, Announcement>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announcement {
    pub mac: [u8; 6],
    /// By a port of ours, not from the underlay.
    pub here: bool,
}

impl Announced {
    /// Beyond it what is new is not remembered.
    pub const ADDRESSES_MAX: usize = 16_384;

    /// Whether it is news.
    pub fn hear(&mut self, key: NeighbourKey, announcement: Announcement) -> bool {
        if self.by_address.len() >= Self::ADDRESSES_MAX && !self.by_address.contains_key(&key) {
            return false;
        }
        self.by_address.insert(key, announcement) != Some(announcement)
    }

    pub fn of(&self, key: &NeighbourKey) -> Option<Announcement> {
        self.by_address.get(key).copied()
    }

    pub fn iter(&self) -> impl Iterator<Item = (NeighbourKey, Announcement)> {
        self.by_address.iter().map(|(key, announcement)| (*key, *announcement))
    }

    /// Forgets networks that are no more.
    pub fn revise(&mut self, is_present: impl Fn(u32) -> bool) {
        self.by_address.retain(|key, _| is_present(key.vni));
    }
}
