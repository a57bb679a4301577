//! The writer of the bucketed MAC table: one per table, while programs read. The protocol, and why each store is where
//! it is, is in `docs/mac-table.md`; layout and hash are `vtep_abi`'s.
//!
//! It knows keys and values as words. What they mean is its owner's.

mod grace;
mod marks;
mod path;
#[cfg(test)]
mod tests;

use std::io;
use std::num::NonZeroU64;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};

use bytemuck::Zeroable;
use vtep_abi::{BUCKET_WORDS, MACTAB_SCHEMA, MacKey, MacTabControl, MacTabGeometry, SLOTS};

use self::grace::Grace;
use self::marks::Marks;

/// Keys whose buckets are fetched together, for their cache misses to overlap.
const AHEAD: usize = 32;
/// Marks that are worth a grace period of their own.
const MARKS_WORTH: usize = 4096;

/// A table in two mapped arrays, or in plain memory for tests.
pub struct MacTab<W> {
    words: W,
    control: W,
    geometry: MacTabGeometry,
    marks: Marks,
    grace: Grace,
    entries: usize,
    /// Entries by bridge domain.
    of_domain: Vec<u32>,
    #[cfg(feature = "seeded-bugs")]
    clear_first: bool,
}

/// What [`MacTab::open`] mended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Second copies, of moves that a kill cut short.
    pub copies: usize,
    /// Keys in buckets that are not theirs, which no reader finds: somebody else wrote.
    pub astray: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    Written,
    /// The table holds as many entries as it may.
    Full,
    /// There is room, but none that this key could get: the table wants another seed.
    Crowded,
}

/// Buckets for so many entries at the load that a table is made for, 0.90. Two at least: a single one is no table.
pub const fn buckets_for(entries: u32) -> u32 {
    // 4 slots at 0.9 are 18 entries in 5 buckets.
    let buckets = (entries as u64 * 5).div_ceil(18);
    #[expect(clippy::cast_possible_truncation, reason = "less than the entries, but for the two")]
    if buckets < 2 { 2 } else { buckets as u32 }
}

/// Entries that so many buckets are for.
pub const fn entries_for(buckets: u32) -> u32 {
    let entries = buckets as u64 * 18 / 5;
    #[expect(clippy::cast_possible_truncation, reason = "compared before")]
    if entries > u32::MAX as u64 { u32::MAX } else { entries as u32 }
}

impl<W: Deref<Target = [AtomicU64]>> MacTab<W> {
    /// Of the slots. Above it tables fail to find room (from 0.97), so that a burst has some left.
    pub const LOAD_MAX: f64 = 0.95;

    /// An empty table, in zeroed memory that no program reads yet.
    pub fn create(words: W, control: W, seed: [u64; 3]) -> io::Result<Self> {
        let buckets = u32::try_from(words.len() / BUCKET_WORDS).map_err(io::Error::other)?;
        let fresh = MacTabControl::new(MacTabGeometry::new(seed, buckets));
        for (word, value) in control.iter().zip(words_of(&fresh)) {
            word.store(value, Ordering::Release);
        }
        Self::open(words, control).map(|(table, _)| table)
    }

    /// Whether there is a table; otherwise memory for one.
    pub fn is_there(control: &W) -> bool {
        read_control(control).schema != 0
    }

    /// Takes over the table that another process has left, at whatever store it ended.
    pub fn open(words: W, control: W) -> io::Result<(Self, Recovered)> {
        let found = read_control(&control);
        let room = words.len() / BUCKET_WORDS;
        if found.schema != MACTAB_SCHEMA {
            return Err(invalid(format!(
                "the MAC table has layout {}, expected {MACTAB_SCHEMA}",
                found.schema
            )));
        }
        let buckets = found.geometry.buckets();
        let Some(buckets) = usize::try_from(buckets).ok().filter(|buckets| (1..=room).contains(buckets))
        else {
            return Err(invalid(format!("the MAC table has {buckets} buckets, expected 1 to {room}")));
        };
        let slots = buckets * SLOTS;
        let grace = Grace::start()?;
        let mut table = Self {
            words,
            control,
            geometry: found.geometry,
            marks: Marks::new(slots),
            entries: 0,
            of_domain: vec![0; 1 << 16],
            grace,
            #[cfg(feature = "seeded-bugs")]
            clear_first: false,
        };
        let recovered = table.recover();
        // Nobody knows which slots the last process gave to other keys just before it ended.
        table.grace.wait(table.grace.begin());
        Ok((table, recovered))
    }

    pub fn len(&self) -> usize {
        self.entries
    }

    pub fn is_empty(&self) -> bool {
        self.entries == 0
    }

    pub fn slots(&self) -> usize {
        self.marks.slots()
    }

    /// Entries by slots.
    #[expect(clippy::cast_precision_loss, reason = "a ratio of fewer than 2^53 slots")]
    pub fn load(&self) -> f64 {
        self.entries as f64 / self.slots() as f64
    }

    /// Moves of keys so far.
    pub fn moves(&self) -> u64 {
        self.control[MacTabControl::MOVES_WORD].load(Ordering::Relaxed)
    }

    pub fn geometry(&self) -> MacTabGeometry {
        self.geometry
    }

    pub fn get(&self, key: MacKey) -> Option<NonZeroU64> {
        self.find(key).and_then(|slot| NonZeroU64::new(self.value(slot)))
    }

    pub fn iter(&self) -> impl Iterator<Item = (MacKey, NonZeroU64)> {
        entries(&self.words[..self.slots() * 2])
    }

    /// Entries of a bridge domain.
    pub fn len_of(&self, bd: u16) -> usize {
        self.of_domain[usize::from(bd)] as usize
    }

    /// Inserts or overwrites, in order. Returns what was not written: its place, and why.
    pub fn put_all(&mut self, rows: &[(MacKey, NonZeroU64)]) -> Vec<(usize, Put)> {
        let mut refused = Vec::new();
        for (block, rows) in rows.chunks(AHEAD).enumerate() {
            self.fetch(rows.iter().map(|(key, _)| *key));
            for (place, (key, value)) in rows.iter().enumerate() {
                match self.put(*key, *value) {
                    Put::Written => {}
                    why => refused.push((block * AHEAD + place, why)),
                }
            }
        }
        refused
    }

    pub fn put(&mut self, key: MacKey, value: NonZeroU64) -> Put {
        if let Some(slot) = self.find(key) {
            self.store_value(slot, value.get());
            return Put::Written;
        }
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of fewer than 2^53 slots"
        )]
        let entries_max = (self.slots() as f64 * Self::LOAD_MAX) as usize;
        if self.entries >= entries_max {
            return Put::Full;
        }
        loop {
            if let Some(slot) = self.make_room(key) {
                self.insert(slot, key.word(), value.get());
                self.entries += 1;
                self.of_domain[usize::from(key.bd())] += 1;
                return Put::Written;
            }
            // Slots that are at rest may be all that is missing.
            if !self.marks.wait(&self.grace) {
                return Put::Crowded;
            }
        }
    }

    /// Returns how many of them there were.
    pub fn remove_all(&mut self, keys: &[MacKey]) -> usize {
        let mut removed = 0;
        for keys in keys.chunks(AHEAD) {
            self.fetch(keys.iter().copied());
            removed += keys.iter().filter(|key| self.remove(**key)).count();
        }
        removed
    }

    /// Whether it was there.
    pub fn remove(&mut self, key: MacKey) -> bool {
        let Some(slot) = self.find(key) else { return false };
        self.clear(slot);
        self.forget(key);
        true
    }

    /// Removes every entry of a bridge domain. Returns how many there were.
    pub fn remove_domain(&mut self, bd: u16) -> usize {
        if self.len_of(bd) == 0 {
            return 0;
        }
        let mut removed = 0;
        for slot in 0..self.slots() {
            if let Some(key) = MacKey::from_word(self.key(slot)).filter(|key| key.bd() == bd) {
                self.clear(slot);
                self.forget(key);
                removed += 1;
            }
        }
        removed
    }

    fn forget(&mut self, key: MacKey) {
        self.entries -= 1;
        self.of_domain[usize::from(key.bd())] -= 1;
    }

    fn find(&self, key: MacKey) -> Option<usize> {
        let [first, second] = self.geometry.buckets_of(key);
        let word = key.word();
        slots_of(first).chain(slots_of(second)).find(|slot| self.key(*slot) == word)
    }

    /// A free slot for a key that is not there, moving others out of the way if need be.
    fn make_room(&mut self, key: MacKey) -> Option<usize> {
        let [first, second] = self.geometry.buckets_of(key);
        let free = |bucket| slots_of(bucket).filter(|slot| self.is_usable(*slot));
        let (in_first, in_second) = (free(first).count(), free(second).count());
        // The emptier one, so that both fill evenly.
        let bucket = if in_first >= in_second { first } else { second };
        let slot = free(bucket).next();
        if slot.is_some() {
            return slot;
        }
        let moves = path::shortest(self, [first, second])?;
        let emptied = moves.last().map(|(from, _)| *from);
        for (from, to) in moves {
            self.relocate(from, to);
        }
        emptied
    }

    /// Free, and not yet given to another key in this grace period.
    fn is_usable(&self, slot: usize) -> bool {
        self.key(slot) == 0 && !self.marks.was_rekeyed(slot)
    }

    /// A key must not be out of both buckets, not even for a moment: copy, count, clear.
    fn relocate(&mut self, from: usize, to: usize) {
        let (key, value) = (self.key(from), self.value(from));
        #[cfg(feature = "seeded-bugs")]
        if self.clear_first {
            self.clear(from);
            self.count_move();
            self.insert(to, key, value);
            return;
        }
        self.insert(to, key, value);
        self.count_move();
        self.clear(from);
    }

    /// From here on moves are wrong: keys are out of both buckets for a moment.
    #[cfg(feature = "seeded-bugs")]
    pub fn clear_before_copying(&mut self) {
        self.clear_first = true;
    }

    /// Moves a key to its other bucket if there is room, rest or no rest: many more moves than the rule of one key per
    /// grace period allows, for the mistakes that only show then.
    #[cfg(feature = "seeded-bugs")]
    pub fn shift(&mut self, slot: usize) {
        let slot = slot % self.slots();
        let Some(bucket) = path::other_bucket(self, slot) else { return };
        if let Some(free) = slots_of(bucket).find(|slot| self.key(*slot) == 0) {
            self.relocate(slot, free);
        }
    }

    /// Gives the slot of a key that is there to another one that has the same buckets, rest or no rest.
    #[cfg(feature = "seeded-bugs")]
    pub fn rekey(&mut self, from: MacKey, to: MacKey, value: NonZeroU64) {
        if let Some(slot) = self.find(from) {
            self.clear(slot);
            self.insert(slot, to.word(), value.get());
        }
    }

    fn count_move(&self) {
        self.control[MacTabControl::MOVES_WORD].store(self.moves() + 1, Ordering::Release);
    }

    /// The value first: whoever sees the key sees its value.
    fn insert(&mut self, slot: usize, key: u64, value: u64) {
        self.store_value(slot, value);
        self.words[2 * slot].store(key, Ordering::Release);
        self.marks.inserted(slot);
    }

    /// The value stays: a reader that has seen the key may be about to load it.
    fn clear(&mut self, slot: usize) {
        self.words[2 * slot].store(0, Ordering::Release);
        self.marks.freed(slot);
        if self.marks.len() >= MARKS_WORTH {
            self.marks.turn(&self.grace);
        }
    }

    fn store_value(&self, slot: usize, value: u64) {
        self.words[2 * slot + 1].store(value, Ordering::Release);
    }

    fn key(&self, slot: usize) -> u64 {
        self.words[2 * slot].load(Ordering::Relaxed)
    }

    fn value(&self, slot: usize) -> u64 {
        self.words[2 * slot + 1].load(Ordering::Relaxed)
    }

    /// Loads that do not wait for each other, where the ones to come would.
    fn fetch(&self, keys: impl Iterator<Item = MacKey>) {
        let words = keys
            .flat_map(|key| self.geometry.buckets_of(key))
            .map(|bucket| self.key(bucket as usize * SLOTS));
        std::hint::black_box(words.fold(0, |all, word| all ^ word));
    }

    /// Counts what is there, and clears what no whole write leaves.
    fn recover(&mut self) -> Recovered {
        let mut recovered = Recovered::default();
        for slot in 0..self.slots() {
            let Some(key) = MacKey::from_word(self.key(slot)) else { continue };
            let bucket = slot / SLOTS;
            let [first, second] = self.geometry.buckets_of(key).map(|bucket| bucket as usize);
            if bucket != first && bucket != second {
                self.clear(slot);
                recovered.astray += 1;
                continue;
            }
            // Seen from the slot that `find` prefers: any other one is the copy.
            if self.find(key) == Some(slot) {
                self.entries += 1;
                self.of_domain[usize::from(key.bd())] += 1;
            } else {
                // As in a move: a reader may have passed the first bucket before the copy was there.
                self.count_move();
                self.clear(slot);
                recovered.copies += 1;
            }
        }
        recovered
    }
}

/// What stands in a table's words. A key that moves meanwhile may be there twice or not at all.
pub fn entries(words: &[AtomicU64]) -> impl Iterator<Item = (MacKey, NonZeroU64)> {
    words.chunks_exact(2).filter_map(|slot| {
        let key = MacKey::from_word(slot[0].load(Ordering::Relaxed))?;
        Some((key, NonZeroU64::new(slot[1].load(Ordering::Relaxed))?))
    })
}

fn slots_of(bucket: u32) -> std::ops::Range<usize> {
    let from = bucket as usize * SLOTS;
    from..from + SLOTS
}

fn read_control(control: &[AtomicU64]) -> MacTabControl {
    let mut found = MacTabControl::zeroed();
    let words: &mut [u64] = bytemuck::cast_slice_mut(std::slice::from_mut(&mut found));
    for (word, from) in words.iter_mut().zip(control) {
        *word = from.load(Ordering::Acquire);
    }
    found
}

fn words_of(control: &MacTabControl) -> impl Iterator<Item = u64> {
    let words: &[u64] = bytemuck::cast_slice(std::slice::from_ref(control));
    words.iter().copied()
}

fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}
