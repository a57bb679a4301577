//! The bucketed MAC table: its layout, its hash, and what its words mean. `docs/mac-table.md` explains the protocol by
//! which one writer changes it under readers that never wait.
//!
//! A key has two buckets that it may stand in, each one cache line. A slot is two words of eight bytes, each read and
//! written whole: the key, 0 where the slot is free, and the value.

use bytemuck::{Pod, Zeroable};

use crate::FdbValue;

/// Slots of a bucket.
pub const SLOTS: usize = 4;
/// Words of a bucket.
pub const BUCKET_WORDS: usize = 2 * SLOTS;
/// What [`MacTabControl::schema`] says of a table of this layout; 0 until there is one.
pub const MACTAB_SCHEMA: u32 = 1;

/// For the eyes of bpftool. Programs and agents read and write words.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
pub struct MacSlot {
    pub mac: [u8; 6],
    /// 0: the slot is free, whatever value it still shows.
    pub bd: u16,
    pub value: FdbValue,
}

#[repr(C, align(64))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
pub struct MacBucket {
    pub slots: [MacSlot; SLOTS],
}

/// Two cache lines: what stands still while a table is in use, and what every move changes.
#[repr(C, align(64))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
pub struct MacTabControl {
    pub geometry: MacTabGeometry,
    pub schema: u32,
    pad: [u32; 7],
    /// Moves of a key from one of its buckets to the other, ever. Raised between the copy and the clearing.
    pub moves: u64,
    moves_pad: [u64; 7],
}

impl MacTabControl {
    /// Of the words that this is.
    pub const MOVES_WORD: usize = 8;

    #[inline]
    pub const fn new(geometry: MacTabGeometry) -> Self {
        Self { geometry, schema: MACTAB_SCHEMA, pad: [0; 7], moves: 0, moves_pad: [0; 7] }
    }
}

/// Which buckets a key has. The seed is drawn at random for each table: strangers choose the MACs.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
pub struct MacTabGeometry {
    /// A mask and two odd factors.
    seed: [u64; 3],
    /// Fewer than 2^32.
    buckets: u64,
}

impl MacTabGeometry {
    #[inline]
    pub const fn new(seed: [u64; 3], buckets: u32) -> Self {
        Self { seed: [seed[0], seed[1] | 1, seed[2] | 1], buckets: buckets as u64 }
    }

    #[inline]
    pub const fn buckets(&self) -> u64 {
        self.buckets
    }

    /// The two buckets of a key, by the high and the low half of its hash; they may be the same one.
    #[inline]
    pub const fn buckets_of(&self, key: MacKey) -> [u32; 2] {
        let [mask, first, second] = self.seed;
        let mut hash = (key.0 ^ mask).wrapping_mul(first);
        hash ^= hash >> 32;
        hash = hash.wrapping_mul(second);
        hash ^= hash >> 32;
        [self.scale(hash >> 32), self.scale(hash & 0xffff_ffff)]
    }

    /// From 32 bits to the number of a bucket, whatever their number is.
    #[inline]
    const fn scale(&self, half: u64) -> u32 {
        ((half * self.buckets) >> 32) as u32
    }
}

/// A MAC in a bridge domain, as the word that a slot holds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct MacKey(u64);

impl MacKey {
    /// None for a bridge domain that no MAC can be in: 0, and what has more than 16 bits.
    #[inline]
    pub const fn new(bd: u32, mac: [u8; 6]) -> Option<Self> {
        let word = [mac[0], mac[1], mac[2], mac[3], mac[4], mac[5], 0, 0];
        Self::of_mac_word(bd, u64::from_ne_bytes(word))
    }

    /// Of a MAC whose six bytes are a word's first in memory, the last two being zero.
    #[inline]
    pub const fn of_mac_word(bd: u32, mac: u64) -> Option<Self> {
        if bd == 0 || bd > u16::MAX as u32 {
            return None;
        }
        Some(Self(mac | (bd as u64) << 48))
    }

    /// None for the word of a free slot.
    #[inline]
    pub const fn from_word(word: u64) -> Option<Self> {
        if word == 0 { None } else { Some(Self(word)) }
    }

    #[inline]
    pub const fn word(self) -> u64 {
        self.0
    }

    #[inline]
    pub const fn bd(self) -> u16 {
        let [.., low, high] = self.0.to_ne_bytes();
        u16::from_ne_bytes([low, high])
    }

    #[inline]
    pub const fn mac(self) -> [u8; 6] {
        let word = self.0.to_ne_bytes();
        [word[0], word[1], word[2], word[3], word[4], word[5]]
    }
}

const _: () = assert!(size_of::<MacSlot>() == 16);
const _: () = assert!(size_of::<MacBucket>() == 8 * BUCKET_WORDS);
const _: () = assert!(size_of::<MacTabControl>() == 128);
const _: () = assert!(core::mem::offset_of!(MacTabControl, moves) == 8 * MacTabControl::MOVES_WORD);

#[cfg(test)]
mod tests {
    use super::*;

    const GEOMETRY: MacTabGeometry =
        MacTabGeometry::new([0x9e37_79b9_7f4a_7c15, 0xd6e8_feb8_6659_fd93, 0xc2b2_ae3d_27d4_eb4f], 1000);

    #[test]
    fn a_key_is_the_word_that_bpftool_shows_as_mac_and_domain() {
        let key = MacKey::new(0x1234, [2, 0, 1, 2, 3, 4]).unwrap();
        let slot: MacSlot = bytemuck::cast([key.word(), 0]);
        assert_eq!((slot.mac, slot.bd), ([2, 0, 1, 2, 3, 4], 0x1234));
        assert_eq!((key.mac(), key.bd()), (slot.mac, slot.bd));
    }

    #[test]
    fn no_key_looks_like_a_free_slot() {
        assert_eq!(MacKey::new(0, [0; 6]), None);
        assert_eq!(MacKey::new(0x1_0000, [0; 6]), None);
        assert_ne!(MacKey::new(1, [0; 6]).unwrap().word(), 0);
    }

    #[test]
    fn consecutive_macs_spread_over_all_buckets() {
        let mut counts = [0_u32; 1000];
        for number in 0_u32..100_000 {
            let [a, b, c, d] = number.to_be_bytes();
            for bucket in GEOMETRY.buckets_of(MacKey::new(7, [2, 0, a, b, c, d]).unwrap()) {
                counts[bucket as usize] += 1;
            }
        }
        // 200 on average, standard deviation 14.
        let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        assert!(*least > 110 && *most < 290, "from {least} to {most} keys a bucket");
    }

    #[test]
    fn another_seed_gives_other_buckets() {
        let other = MacTabGeometry::new([1, 3, 5], 1000);
        let moved = (0..1000_u32).filter(|number| {
            let [.., c, d] = number.to_be_bytes();
            let key = MacKey::new(1, [2, 0, 0, 0, c, d]).unwrap();
            GEOMETRY.buckets_of(key) != other.buckets_of(key)
        });
        assert!(moved.count() > 990);
    }
}
