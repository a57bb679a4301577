//! Where MACs live: map `FDB`, or maps `MACTAB` and `MACCTL` in its place.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::path::Path;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use vtep_abi::{FdbKey, FdbValue, MacBucket, MacKey, MacTabControl, map};

use super::bpf::{Map, Mapped};
use super::error::{ApplyError, failed};
use super::mactab::{MacTab, Put, Recovered};
use super::{Applied, Entry, MacTable, Reason, write};
use crate::dataplane::{FdbTarget, Network};
use crate::proof::{Digest, Digests};

/// Entries that are turned into keys and values at a time.
const CHUNK: usize = 4096;

type Rows = HashMap<FdbKey, FdbTarget, RandomState>;

pub(super) struct Fdb {
    kept: Kept,
    domains: Domains,
}

enum Kept {
    Hash(Map<FdbKey, FdbValue>),
    Bucketed(Box<MacTab<Mapped>>),
}

/// Of the bucketed MAC table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slots {
    pub taken: usize,
    pub all: usize,
}

impl Slots {
    #[expect(clippy::cast_precision_loss, reason = "a ratio of fewer than 2^53 slots")]
    pub fn load(self) -> f64 {
        self.taken as f64 / self.all as f64
    }
}

/// Bridge domains and VNIs, each by the other. The bucketed table knows MACs by bridge domain.
#[derive(Debug, Clone, Default)]
struct Domains {
    of_vni: BTreeMap<u32, u32>,
    of_bd: BTreeMap<u32, u32>,
}

impl Fdb {
    /// The table in `maps`, made if it is not there yet.
    pub(super) fn open(maps: &Path, kind: MacTable) -> Result<(Self, Recovered), ApplyError> {
        let mut recovered = Recovered::default();
        let kept = match kind {
            MacTable::Hash => {
                Kept::Hash(Map::open(&maps.join(map::FDB)).map_err(failed("opening", map::FDB))?)
            }
            MacTable::Bucketed => {
                let (words, control) = mapped(maps)?;
                let table = if MacTab::is_there(&control) {
                    MacTab::open(words, control).map(|(table, found)| {
                        recovered = found;
                        table
                    })
                } else {
                    MacTab::create(words, control, rand::random())
                };
                Kept::Bucketed(Box::new(table.map_err(failed("opening", map::MACTAB))?))
            }
        };
        Ok((Self { kept, domains: Domains::default() }, recovered))
    }

    /// How MACs are kept in the pinned `maps`.
    pub(super) fn kind(maps: &Path) -> Result<MacTable, ApplyError> {
        let control = Mapped::open::<MacTabControl>(&maps.join(map::MACCTL));
        let control = control.map_err(failed("opening", map::MACCTL))?;
        Ok(if MacTab::is_there(&control) { MacTable::Bucketed } else { MacTable::Hash })
    }

    /// The map in which entries may find no room.
    pub(super) fn map_name(&self) -> &'static str {
        match self.kept {
            Kept::Hash(_) => map::FDB,
            Kept::Bucketed(_) => map::MACTAB,
        }
    }

    /// None for the hash, which holds as many entries as it has room for.
    pub(super) fn slots(&self) -> Option<Slots> {
        match &self.kept {
            Kept::Hash(_) => None,
            Kept::Bucketed(table) => Some(Slots { taken: table.len(), all: table.slots() }),
        }
    }

    /// The bridge domains that stand in the kernel.
    pub(super) fn adopt(&mut self, domains: impl IntoIterator<Item = (u32, u32)>) {
        for (vni, bd) in domains {
            self.domains.bind(vni, bd);
        }
    }

    /// From here on the MACs of a VNI are kept under `bd`. What another VNI left there goes first.
    pub(super) fn bind(&mut self, vni: u32, bd: u32) {
        if self.domains.bind(vni, bd)
            && let (Kept::Bucketed(table), Ok(bd)) = (&mut self.kept, u16::try_from(bd))
        {
            table.remove_domain(bd);
        }
    }

    /// Also removes what is kept under bridge domains that are nobody's: a process was killed between the removal of a
    /// network and that of its MACs.
    pub(super) fn installed(&mut self, networks: &BTreeMap<u32, Network>) -> Result<Rows, ApplyError> {
        let table = match &mut self.kept {
            Kept::Hash(map) => {
                let rows = map.dump().map_err(failed("dump", map::FDB))?;
                return Ok(rows.into_iter().map(|(key, value)| (key, target(value))).collect());
            }
            Kept::Bucketed(table) => table,
        };
        let by_bd = self.domains.by_bd(networks.iter().map(|(vni, network)| (network.bd, *vni)));
        let mut rows = Rows::with_capacity_and_hasher(table.len(), RandomState::default());
        let mut orphans = Vec::new();
        for (key, value) in table.iter() {
            match by_bd[usize::from(key.bd())] {
                Some(vni) => {
                    rows.insert(FdbKey::new(vni, key.mac()), target(FdbValue::from_word(value.get())));
                }
                None => orphans.push(key),
            }
        }
        table.remove_all(&orphans);
        Ok(rows)
    }

    /// Of the MACs of every VNI, from the kernel.
    pub(super) fn digests(&self) -> Result<Digests, ApplyError> {
        let table = match &self.kept {
            Kept::Hash(map) => {
                let mut digests = Digests::new();
                for (key, value) in map.dump().map_err(failed("dump", map::FDB))? {
                    digests.entry(key.vni).or_default().add(key.vni, key.mac, value);
                }
                return Ok(digests);
            }
            Kept::Bucketed(table) => table,
        };
        let by_bd = self.domains.by_bd([]);
        let mut sums = vec![Digest::default(); by_bd.len()];
        for (key, value) in table.iter() {
            let bd = usize::from(key.bd());
            if let Some(vni) = by_bd[bd] {
                sums[bd].add(vni, key.mac(), FdbValue::from_word(value.get()));
            }
        }
        let taken = by_bd.into_iter().zip(sums).filter(|(_, digest)| *digest != Digest::default());
        Ok(taken.filter_map(|(vni, digest)| Some((vni?, digest))).collect())
    }

    pub(super) fn lookup(&self, key: &FdbKey) -> Result<Option<FdbValue>, ApplyError> {
        match &self.kept {
            Kept::Hash(map) => map.lookup(key).map_err(failed("lookup", map::FDB)),
            Kept::Bucketed(table) => {
                let found = self.domains.key(key).and_then(|key| table.get(key));
                Ok(found.map(|word| FdbValue::from_word(word.get())))
            }
        }
    }

    pub(super) fn put(&mut self, rows: &[(FdbKey, FdbTarget)]) -> Result<Applied, ApplyError> {
        let mut applied = Applied::default();
        match &mut self.kept {
            Kept::Hash(map) => {
                for rows in rows.chunks(CHUNK) {
                    let (keys, values): (Vec<_>, Vec<_>) =
                        rows.iter().map(|(key, target)| (*key, target.value())).unzip();
                    let full = write::upsert(map, &keys, &values).map_err(failed("update", map::FDB))?;
                    applied.written += rows.len() - full.len();
                    applied.refuse(full.into_iter().map(|at| Entry::Fdb(keys[at])), Reason::Full);
                }
            }
            Kept::Bucketed(table) => {
                let mut last = None;
                let (mut words, mut keys) = (Vec::with_capacity(CHUNK), Vec::with_capacity(CHUNK));
                for rows in rows.chunks(CHUNK) {
                    words.clear();
                    keys.clear();
                    for (key, target) in rows {
                        // Rows come by VNI.
                        if last.is_none_or(|(vni, _)| vni != key.vni) {
                            last = self.domains.of_vni.get(&key.vni).map(|bd| (key.vni, *bd));
                        }
                        let domain = last.filter(|(vni, _)| *vni == key.vni);
                        let word = domain.and_then(|(_, bd)| MacKey::new(bd, key.mac));
                        match (word, NonZeroU64::new(target.value().word())) {
                            (Some(word), Some(value)) => {
                                words.push((word, value));
                                keys.push(*key);
                            }
                            (None, _) => applied.refuse([Entry::Fdb(*key)], Reason::NoDomain),
                            // What names nobody and says nothing else is no entry.
                            (_, None) => applied.refuse([Entry::Fdb(*key)], Reason::OutOfRange),
                        }
                    }
                    let refused = table.put_all(&words);
                    applied.written += words.len() - refused.len();
                    for (at, why) in refused {
                        let reason = if why == Put::Crowded { Reason::Crowded } else { Reason::Full };
                        applied.refuse([Entry::Fdb(keys[at])], reason);
                    }
                }
            }
        }
        Ok(applied)
    }

    pub(super) fn remove(&mut self, keys: &[FdbKey]) -> Result<Applied, ApplyError> {
        match &mut self.kept {
            Kept::Hash(map) => {
                write::remove(map, keys).map(Applied::written).map_err(failed("deletion", map::FDB))
            }
            Kept::Bucketed(table) => {
                let keys: Vec<MacKey> = keys.iter().filter_map(|key| self.domains.key(key)).collect();
                Ok(Applied::written(table.remove_all(&keys)))
            }
        }
    }

    /// Copies a bucketed table into another one, which is empty: the same keys under another seed. False if they do not
    /// fit, or if either is no such table.
    pub(super) fn copy_table_to(&self, other: &mut Self) -> bool {
        let (Kept::Bucketed(table), Kept::Bucketed(next)) = (&self.kept, &mut other.kept) else {
            return false;
        };
        let rows: Vec<_> = table.iter().collect();
        other.domains = self.domains.clone();
        next.put_all(&rows).is_empty()
    }

    /// Copies all entries, whichever way each of the two keeps them. False if they do not fit.
    pub(super) fn copy_to(
        &mut self,
        other: &mut Self,
        networks: &BTreeMap<u32, Network>,
    ) -> Result<bool, ApplyError> {
        let mut rows: Vec<_> = self.installed(networks)?.into_iter().collect();
        rows.sort_unstable_by_key(|(key, _)| key.vni);
        other.adopt(networks.iter().map(|(vni, network)| (*vni, network.bd)));
        other.put(&rows).map(|applied| applied.refused.is_empty())
    }
}

fn mapped(maps: &Path) -> Result<(Mapped, Mapped), ApplyError> {
    let words = Mapped::open::<MacBucket>(&maps.join(map::MACTAB)).map_err(failed("opening", map::MACTAB))?;
    let control = Mapped::open::<MacTabControl>(&maps.join(map::MACCTL));
    Ok((words, control.map_err(failed("opening", map::MACCTL))?))
}

impl Domains {
    /// Whether that is news.
    fn bind(&mut self, vni: u32, bd: u32) -> bool {
        if self.of_vni.get(&vni) == Some(&bd) {
            return false;
        }
        if let Some(former) = self.of_vni.insert(vni, bd) {
            self.of_bd.remove(&former);
        }
        if let Some(other) = self.of_bd.insert(bd, vni) {
            self.of_vni.remove(&other);
        }
        true
    }

    /// Every domain's VNI, and of those whom `also` names. Entries of one domain lie scattered, so the way from domain to
    /// VNI is one index.
    fn by_bd(&self, also: impl IntoIterator<Item = (u32, u32)>) -> Vec<Option<u32>> {
        let mut by_bd = vec![None; 1 << 16];
        let known = self.of_bd.iter().map(|(bd, vni)| (*bd, *vni));
        for (bd, vni) in known.chain(also) {
            if let Some(slot) = by_bd.get_mut(bd as usize) {
                *slot = Some(vni);
            }
        }
        by_bd
    }

    fn key(&self, key: &FdbKey) -> Option<MacKey> {
        MacKey::new(*self.of_vni.get(&key.vni)?, key.mac)
    }
}

fn target(value: FdbValue) -> FdbTarget {
    FdbTarget { master: value.master(), slave: value.slave(), flags: value.flags() }
}
