//! MACs that appear, move and go, and where each of them ends up: the model that the tables are compared with.

use std::collections::{BTreeMap, BTreeSet};

use vtep_api::{LocalMac, LogicalSwitchName, MacAddr, Origin, Role};

use crate::words::mac;
use crate::{MACS, NETWORKS, SLOTS, members, network};

/// A MAC as a number below `NETWORKS * SLOTS`.
pub(crate) type Slot = usize;
pub(crate) type Record = (LogicalSwitchName, MacAddr, Option<LocalMac>);

/// In each network half of the changes concern this many MACs.
const HOT: usize = 100;

pub(crate) struct Churn {
    pub(crate) owners: Vec<Option<usize>>,
    members: Vec<Vec<usize>>,
    /// Who had a MAC before it moved says so in the next tick.
    leaving: Vec<(Slot, usize)>,
    touched: BTreeSet<Slot>,
    pub(crate) changes: usize,
    origin: u128,
    random: u64,
}

pub(crate) fn mac_of(slot: Slot) -> MacAddr {
    mac(u32::try_from(slot).unwrap())
}

impl Churn {
    pub(crate) fn new() -> Self {
        let members: Vec<Vec<usize>> = (0..NETWORKS).map(|number| members(number).collect()).collect();
        let owner = |slot: Slot| {
            let (network, at) = (&members[slot / SLOTS], slot % SLOTS);
            (at < MACS).then(|| network[at % network.len()])
        };
        let owners = (0..NETWORKS * SLOTS).map(owner).collect();
        let (leaving, touched) = (Vec::new(), BTreeSet::new());
        Self { owners, members, leaving, touched, changes: 0, origin: 0, random: 30 }
    }

    /// What a VTEP has at the start.
    pub(crate) fn inventory(&self, vtep: usize) -> Vec<Record> {
        let own = (0..self.owners.len()).filter(|slot| self.owners[*slot] == Some(vtep));
        own.map(|slot| record(slot, Some(slot as u128))).collect()
    }

    /// So many changes, by the VTEP that reports them.
    pub(crate) fn tick(&mut self, changes: usize) -> BTreeMap<usize, Vec<Record>> {
        let mut reports = self.leave();
        let mut made = reports.values().map(Vec::len).sum::<usize>();
        let mut busy = BTreeSet::new();
        while made < changes {
            let number = self.below(NETWORKS);
            let at = if self.below(2) == 0 { self.below(HOT) } else { self.below(SLOTS) };
            let slot = number * SLOTS + at;
            if !busy.insert(slot) {
                continue;
            }
            made += 1;
            let chosen = self.below(self.members[number].len());
            let (to, goes) = (self.members[number][chosen], at >= HOT && self.below(8) == 0);
            let reporter = match self.owners[slot] {
                Some(owner) if goes => {
                    self.owners[slot] = None;
                    reports.entry(owner).or_default().push(record(slot, None));
                    self.touched.insert(slot);
                    continue;
                }
                Some(owner) if owner != to => {
                    self.leaving.push((slot, owner));
                    to
                }
                _ => to,
            };
            self.owners[slot] = Some(reporter);
            self.touched.insert(slot);
            self.origin += 1;
            let origin = (1 << 64) + self.origin;
            reports.entry(reporter).or_default().push(record(slot, Some(origin)));
        }
        self.changes += made;
        reports
    }

    /// The last of those that moved have left.
    pub(crate) fn finish(&mut self) -> BTreeMap<usize, Vec<Record>> {
        self.leave()
    }

    pub(crate) fn touched(&self) -> usize {
        self.touched.len()
    }

    fn leave(&mut self) -> BTreeMap<usize, Vec<Record>> {
        let mut reports = BTreeMap::<usize, Vec<Record>>::new();
        for (slot, owner) in self.leaving.drain(..) {
            reports.entry(owner).or_default().push(record(slot, None));
        }
        reports
    }

    /// `SplitMix64`: the same in every run.
    fn below(&mut self, bound: usize) -> usize {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % bound as u64).unwrap()
    }
}

fn record(slot: Slot, origin: Option<u128>) -> Record {
    let local = origin.map(|origin| LocalMac {
        role: Role::Master,
        origin: Some(Origin(origin)),
        ..LocalMac::default()
    });
    (network(slot / SLOTS), mac_of(slot), local)
}
