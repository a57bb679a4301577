use bytemuck::{Pod, Zeroable};

use crate::Target;

/// The bits of a target that [`Target`] leaves alone.
const FLAGS_EACH: u32 = 7;
const FLAGS_AT: u32 = 32 - FLAGS_EACH;

#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Pod, Zeroable)]
pub struct FdbKey {
    pub vni: u32,
    pub mac: [u8; 6],
    pad: u16,
}

impl FdbKey {
    #[inline]
    pub const fn new(vni: u32, mac: [u8; 6]) -> Self {
        Self { vni, mac, pad: 0 }
    }
}

/// Where a MAC lives: [`Target`] bits of its master and of its slave, and above each of them seven flags.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
pub struct FdbValue {
    pub master: u32,
    pub slave: u32,
}

impl FdbValue {
    /// The MAC was seen on its port, or behind its VTEP; without this flag it was configured or came with the reconciled table.
    pub const LEARNT: u32 = 1;

    /// Flags beyond this are cut off.
    pub const FLAGS_MAX: u32 = (1 << (2 * FLAGS_EACH)) - 1;

    #[inline]
    pub const fn new(master: Target, slave: Target, flags: u32) -> Self {
        let high = (flags & Self::FLAGS_MAX) >> FLAGS_EACH;
        Self { master: master.to_bits() | flags << FLAGS_AT, slave: slave.to_bits() | high << FLAGS_AT }
    }

    #[inline]
    pub const fn flags(&self) -> u32 {
        self.master >> FLAGS_AT | self.slave >> FLAGS_AT << FLAGS_EACH
    }

    /// As the word that the bucketed table keeps.
    #[inline]
    pub fn word(self) -> u64 {
        bytemuck::cast(self)
    }

    #[inline]
    pub fn from_word(word: u64) -> Self {
        bytemuck::cast(word)
    }

    #[inline]
    pub const fn master(&self) -> Target {
        Target::from_bits(self.master)
    }

    /// Its master's [`Target`] bits; 0 if it has none.
    #[inline]
    pub const fn master_bits(&self) -> u32 {
        self.master & ((1 << FLAGS_AT) - 1)
    }

    #[inline]
    pub const fn slave(&self) -> Target {
        Target::from_bits(self.slave)
    }
}

const _: () = assert!(size_of::<FdbKey>() == 12);
const _: () = assert!(size_of::<FdbValue>() == 8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_targets_share_two_words_and_do_not_touch() {
        let (master, slave) = (Target::LocalPort(Target::INDEX_MAX), Target::Vtep(1));
        for flags in [0, FdbValue::LEARNT, 1 << 6, 1 << 7, FdbValue::FLAGS_MAX] {
            let value = FdbValue::new(master, slave, flags);
            assert_eq!((value.master(), value.slave(), value.flags()), (master, slave, flags));
        }
        assert_eq!(FdbValue::new(Target::None, Target::None, u32::MAX).master(), Target::None);
        assert_eq!(FdbValue::new(master, slave, u32::MAX).flags(), FdbValue::FLAGS_MAX);
    }
}
