//! What stations told of themselves: which MAC an IP address has. They announce it to everybody, or ask for another
//! address from it.
//!
//! It is heard from whoever says it. Where the table says otherwise, nobody is answered in its name until both agree;
//! where the table says nothing, what was heard from our own ports is an answer, and is told upstream with the MAC.

use std::collections::BTreeMap;
use std::net::IpAddr;

use vtep_abi::{FdbKey, NeighbourKey, Target};
use vtep_api::Ips;

use crate::counts::Counts;
use crate::dataplane::Dataplane;
use crate::desired;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Announced {
    by_address: BTreeMap<NeighbourKey, Announcement>,
    /// How many addresses a MAC of a VNI has.
    counts: Counts<(u32, [u8; 6])>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announcement {
    pub mac: [u8; 6],
    /// By a port of ours, not from the underlay.
    pub here: bool,
}

impl Announced {
    /// Beyond these what is new is not remembered.
    pub const ADDRESSES_MAX: usize = 16_384;
    pub const ADDRESSES_PER_MAC_MAX: u32 = 64;
    /// Of one MAC, told upstream.
    pub const TOLD_MAX: usize = 16;

    /// What an earlier agent answered for, of the MACs behind our ports.
    pub fn recover(installed: &Dataplane) -> Self {
        let mut announced = Self::default();
        for (key, mac) in &installed.neighbours {
            let entry = installed.fdb.get(&FdbKey::new(key.vni, *mac));
            if entry.is_some_and(|entry| matches!(entry.master, Target::LocalPort(_))) {
                announced.hear(*key, Announcement { mac: *mac, here: true });
            }
        }
        announced
    }

    /// Whether it is news.
    pub fn hear(&mut self, key: NeighbourKey, announcement: Announcement) -> bool {
        let before = self.by_address.get(&key).copied();
        if before == Some(announcement) {
            return false;
        }
        let full = before.is_none() && self.by_address.len() >= Self::ADDRESSES_MAX;
        let has = self.counts.of(&(key.vni, announcement.mac));
        let moves_in = before.is_none_or(|before| before.mac != announcement.mac);
        if full || (moves_in && has >= Self::ADDRESSES_PER_MAC_MAX) {
            return false;
        }
        self.counts.add((key.vni, announcement.mac));
        if let Some(before) = self.by_address.insert(key, announcement) {
            self.counts.release(&(key.vni, before.mac));
        }
        true
    }

    pub fn of(&self, key: &NeighbourKey) -> Option<Announcement> {
        self.by_address.get(key).copied()
    }

    pub fn iter(&self) -> impl Iterator<Item = (NeighbourKey, Announcement)> {
        self.by_address.iter().map(|(key, announcement)| (*key, *announcement))
    }

    /// By VNI and MAC, the addresses of stations behind our ports that mean something beyond their link.
    pub fn here(&self) -> BTreeMap<(u32, [u8; 6]), Ips> {
        let mut found = BTreeMap::<(u32, [u8; 6]), Vec<IpAddr>>::new();
        for (key, said) in self.by_address.iter().filter(|(_, said)| said.here) {
            let ip = desired::ip(key.address);
            let is_link_local = match ip {
                IpAddr::V4(ip) => ip.is_link_local(),
                IpAddr::V6(ip) => ip.is_unicast_link_local(),
            };
            let ips = found.entry((key.vni, said.mac)).or_default();
            if !is_link_local && ips.len() < Self::TOLD_MAX {
                ips.push(ip);
            }
        }
        found.into_iter().map(|(of, ips)| (of, ips.into())).collect()
    }

    /// A MAC that is behind our ports no more has no addresses there.
    pub fn forget(&mut self, key: &FdbKey) {
        self.retain(|at, said| !(said.here && at.vni == key.vni && said.mac == key.mac));
    }

    /// Forgets networks that are no more.
    pub fn revise(&mut self, is_present: impl Fn(u32) -> bool) {
        self.retain(|key, _| is_present(key.vni));
    }

    fn retain(&mut self, stays: impl Fn(&NeighbourKey, &Announcement) -> bool) {
        let Self { by_address, counts } = self;
        by_address.retain(|key, said| {
            let stays = stays(key, said);
            if !stays {
                counts.release(&(key.vni, said.mac));
            }
            stays
        });
    }
}

#[cfg(test)]
mod tests {
    use vtep_abi::mapped_v4;

    use super::*;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 2];

    fn key(last: u8) -> NeighbourKey {
        NeighbourKey { vni: 5001, address: mapped_v4([10, 0, 0, last]) }
    }

    fn here(mac: [u8; 6]) -> Announcement {
        Announcement { mac, here: true }
    }

    #[test]
    fn one_mac_has_so_many_addresses_and_another_has_its_own() {
        let mut announced = Announced::default();
        let heard = (0..=255).filter(|last| announced.hear(key(*last), here(MAC))).count();
        assert_eq!(heard, Announced::ADDRESSES_PER_MAC_MAX as usize);
        assert!(announced.hear(key(200), here(OTHER)) && announced.hear(key(0), here(OTHER)));
        assert!(announced.hear(key(201), here(MAC)), "one went to the other");
        assert_eq!(announced.here()[&(5001, MAC)].len(), Announced::TOLD_MAX);
        announced.forget(&FdbKey::new(5001, MAC));
        assert_eq!(announced.iter().map(|(key, _)| key).collect::<Vec<_>>(), [key(0), key(200)]);
        assert!(announced.hear(key(7), here(MAC)));
    }

    #[test]
    fn what_is_heard_elsewhere_or_means_one_link_only_is_not_ours_to_tell() {
        let mut announced = Announced::default();
        announced.hear(key(1), Announcement { mac: MAC, here: false });
        announced.hear(NeighbourKey { vni: 5001, address: mapped_v4([169, 254, 0, 1]) }, here(OTHER));
        announced.hear(key(2), here(OTHER));
        let told = announced.here();
        assert_eq!(told.keys().collect::<Vec<_>>(), [&(5001, OTHER)]);
        assert_eq!(&*told[&(5001, OTHER)], [IpAddr::from([10, 0, 0, 2])]);
    }
}
