use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

use crate::Uuid;

/// Entries by UUID in one dense vector: at a million rows a hash map of the rows themselves would hold half as many
/// again, empty, and twice that while it grows.
#[derive(Debug)]
pub(super) struct Slab<T> {
    entries: Vec<(Uuid, T)>,
    places: HashTable<u32>,
    hasher: RandomState,
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
        let place = *self.places.find(self.hasher.hash_one(uuid), |&place| self.uuid(place) == uuid)?;
        Some(&self.entries[place as usize].1)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Uuid, &T)> {
        self.entries.iter().map(|(uuid, value)| (*uuid, value))
    }

    pub(super) fn into_entries(self) -> impl Iterator<Item = (Uuid, T)> {
        self.entries.into_iter()
    }

    pub(super) fn insert(&mut self, uuid: Uuid, value: T) {
        let Self { entries, places, hasher } = self;
        let hash = hasher.hash_one(uuid);
        let entry = places.entry(
            hash,
            |&place| entries[place as usize].0 == uuid,
            |&place| hasher.hash_one(entries[place as usize].0),
        );
        match entry {
            hashbrown::hash_table::Entry::Occupied(place) => entries[*place.get() as usize].1 = value,
            hashbrown::hash_table::Entry::Vacant(vacant) => {
                let place = u32::try_from(entries.len()).expect("four billion rows exceed any message limit");
                vacant.insert(place);
                entries.push((uuid, value));
            }
        }
    }

    pub(super) fn remove(&mut self, uuid: Uuid) -> Option<T> {
        let hash = self.hasher.hash_one(uuid);
        let found = self.places.find_entry(hash, |&place| self.entries[place as usize].0 == uuid).ok()?;
        let (place, _) = found.remove();
        let (_, value) = self.entries.swap_remove(place as usize);
        if let Some(&(moved, _)) = self.entries.get(place as usize) {
            let last = self.entries.len();
            let hash = self.hasher.hash_one(moved);
            if let Some(moved) = self.places.find_mut(hash, |&place| place as usize == last) {
                *moved = place;
            }
        }
        Some(value)
    }

    fn uuid(&self, place: u32) -> Uuid {
        self.entries[place as usize].0
    }
}

impl<T> Slab<Option<T>> {
    /// Without the entries that hold nothing.
    pub(super) fn flatten(self) -> Slab<T> {
        if self.entries.iter().any(|(_, value)| value.is_none()) {
            let mut full = Slab::default();
            for (uuid, value) in self.entries {
                if let Some(value) = value {
                    full.insert(uuid, value);
                }
            }
            return full;
        }
        // Collecting from the vector's own iterator reuses its memory where both types have one size.
        let entries = self.entries.into_iter().filter_map(|(uuid, value)| Some((uuid, value?))).collect();
        Slab { entries, places: self.places, hasher: self.hasher }
    }
}
