//! Head-end replication lists. A list is filled under a fresh generation, then published by one write of its
//! [`VniValue`](crate::VniValue): no frame sees half of one.

use bytemuck::{Pod, Zeroable};

use crate::Target;

/// Members of one list, local ports included, beyond which a ring of the receiver overflows.
pub const FLOOD_MEMBERS_MAX: u32 = 128;

#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Pod, Zeroable)]
pub struct FloodKey {
    pub vni: u32,
    pub generation: u16,
    /// Local ports come first, VTEPs after them.
    pub index: u16,
}

#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
pub struct FloodValue {
    /// [`Target`] bits.
    pub target: u32,
}

impl FloodValue {
    #[inline]
    pub const fn new(target: Target) -> Self {
        Self { target: target.to_bits() }
    }

    #[inline]
    pub const fn target(&self) -> Target {
        Target::from_bits(self.target)
    }
}

/// What the loops of one flood tell each other, for their stack has no room.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
pub struct FloodScratch {
    /// One bit per place in the list: left to the loop that sends encapsulated copies.
    waiting: [u64; 2],
    /// The VTEPs there. What has no bit means nothing.
    vteps: [u32; FLOOD_MEMBERS_MAX as usize],
}

impl FloodScratch {
    #[inline]
    pub const fn clear(&mut self) {
        self.waiting = [0; 2];
    }

    #[inline]
    pub const fn wait(&mut self, place: u16, vtep: u32) {
        let (word, bit) = Self::at(place);
        self.waiting[word] |= bit;
        self.vteps[Self::index(place)] = vtep;
    }

    /// The VTEP at this place, if one waits there.
    #[inline]
    pub const fn waits(&self, place: u16) -> Option<u32> {
        let (word, bit) = Self::at(place);
        if self.waiting[word] & bit == 0 { None } else { Some(self.vteps[Self::index(place)]) }
    }

    #[inline]
    const fn at(place: u16) -> (usize, u64) {
        ((place / 64) as usize % 2, 1 << (place % 64))
    }

    #[inline]
    const fn index(place: u16) -> usize {
        place as usize % FLOOD_MEMBERS_MAX as usize
    }
}

const _: () = assert!(FLOOD_MEMBERS_MAX <= 2 * u64::BITS);
const _: () = assert!(size_of::<FloodScratch>() == 16 + 4 * FLOOD_MEMBERS_MAX as usize);
const _: () = assert!(size_of::<FloodKey>() == 8);
const _: () = assert!(size_of::<FloodValue>() == 4);
