//! How many there are of each kind; a kind of which there are none takes no room.

use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Counts<K>(BTreeMap<K, u32>);

impl<K: Ord> Counts<K> {
    pub(crate) fn of(&self, kind: &K) -> u32 {
        self.0.get(kind).copied().unwrap_or(0)
    }

    pub(crate) fn add(&mut self, kind: K) {
        *self.0.entry(kind).or_default() += 1;
    }

    pub(crate) fn release(&mut self, kind: &K) {
        if let Some(count) = self.0.get_mut(kind) {
            *count -= 1;
            if *count == 0 {
                self.0.remove(kind);
            }
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, u32)> {
        self.0.iter().map(|(kind, count)| (kind, *count))
    }
}

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}
