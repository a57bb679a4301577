use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::Uuid;

/// Entries by UUID in one dense vector: at a million rows a hash map of the rows themselves would hold half as many
/// again, empty, and twice that while it grows.
#[derive(Debug)]
pub(super) struct Slab<T> {
    entries: Vec<(Uuid, T)>,
    places: HashTable<Place>,
    hasher: RandomState,
}

/// Half a hash is kept, so that neither growing nor most misses touch the entries.
#[derive(Debug, Clone, Copy)]
struct Place {
    index: u32,
    hash: u32,
}

impl Place {
    /// The table takes its position from the low bits and its tag from the high ones.
    fn spread(hash: u32) -> u64 {
        u64::from(hash) << 32 | u64::from(hash)
    }
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { entries: Vec::new(), places: HashTable::new(), hasher: RandomState::default() }
    }
}

impl<T> Slab<T> {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn get(&self, uuid: Uuid) -> Option<&T> {
        let hash = self.hash(uuid);
        let is = |place: &Place| place.hash == hash && self.entries[place.index as usize].0 == uuid;
        let place = self.places.find(Place::spread(hash), is)?;
        Some(&self.entries[place.index as usize].1)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Uuid, &T)> {
        self.entries.iter().map(|(uuid, value)| (*uuid, value))
    }

    pub(super) fn into_entries(self) -> impl Iterator<Item = (Uuid, T)> {
        self.entries.into_iter()
    }

    pub(super) fn insert(&mut self, uuid: Uuid, value: T) {
        let hash = self.hash(uuid);
        let Self { entries, places, .. } = self;
        let is = |place: &Place| place.hash == hash && entries[place.index as usize].0 == uuid;
        match places.entry(Place::spread(hash), is, |place| Place::spread(place.hash)) {
            Entry::Occupied(place) => entries[place.get().index as usize].1 = value,
            Entry::Vacant(vacant) => {
                let index = u32::try_from(entries.len()).expect("four billion rows exceed any message limit");
                vacant.insert(Place { index, hash });
                entries.push((uuid, value));
            }
        }
    }

    pub(super) fn remove(&mut self, uuid: Uuid) -> Option<T> {
        let hash = self.hash(uuid);
        let is = |place: &Place| place.hash == hash && self.entries[place.index as usize].0 == uuid;
        let (Place { index, .. }, _) = self.places.find_entry(Place::spread(hash), is).ok()?.remove();
        let (_, value) = self.entries.swap_remove(index as usize);
        if let Some(&(moved, _)) = self.entries.get(index as usize) {
            let (hash, last) = (self.hash(moved), self.entries.len());
            let place = self.places.find_mut(Place::spread(hash), |place| place.index as usize == last);
            place.expect("each entry has its place").index = index;
        }
        Some(value)
    }

    #[expect(clippy::cast_possible_truncation, reason = "half of it is wanted")]
    fn hash(&self, uuid: Uuid) -> u32 {
        self.hasher.hash_one(uuid) as u32
    }
}
