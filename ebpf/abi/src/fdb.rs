use bytemuck::{Pod, Zeroable};

use crate::Target;

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

/// Where a MAC lives: [`Target`] bits of its master and of its slave.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
pub struct FdbValue {
    pub master: u32,
    pub slave: u32,
    pub flags: u32,
    /// The low half of the table epoch ([`Meta`](crate::Meta)) at which this entry was last changed.
    pub epoch: u32,
}

impl FdbValue {
    /// The MAC was seen on its port; without this flag it was configured or came with the reconciled table.
    pub const LEARNT: u32 = 1;

    #[inline]
    pub const fn new(master: Target, slave: Target, flags: u32, epoch: u32) -> Self {
        Self { master: master.to_bits(), slave: slave.to_bits(), flags, epoch }
    }

    #[inline]
    pub const fn master(&self) -> Target {
        Target::from_bits(self.master)
    }

    #[inline]
    pub const fn slave(&self) -> Target {
        Target::from_bits(self.slave)
    }
}

const _: () = assert!(size_of::<FdbKey>() == 12);
const _: () = assert!(size_of::<FdbValue>() == 16);
