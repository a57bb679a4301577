//! Head-end replication lists. A list is written under a fresh generation, then published by one write of its
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
    /// Zero.
    pub pad: u16,
}

impl FloodKey {
    #[inline]
    pub const fn new(vni: u32, generation: u16) -> Self {
        Self { vni, generation, pad: 0 }
    }
}

/// A whole list: a frame that is flooded is looked up once, however many members get a copy.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
pub struct FloodValue {
    /// [`Target`] bits. Local ports come first, VTEPs after them; their numbers are in the [`VniValue`](crate::VniValue), and
    /// what lies beyond is zero.
    targets: [u32; FLOOD_MEMBERS_MAX as usize],
}

impl FloodValue {
    /// Of the first [`FLOOD_MEMBERS_MAX`] members.
    #[inline]
    pub fn new(members: &[Target]) -> Self {
        let mut targets = [0; FLOOD_MEMBERS_MAX as usize];
        for (target, member) in targets.iter_mut().zip(members) {
            *target = member.to_bits();
        }
        Self { targets }
    }

    #[inline]
    pub const fn target(&self, index: u32) -> Target {
        // No index is out of bounds, which the verifier sees.
        Target::from_bits(self.targets[(index % FLOOD_MEMBERS_MAX) as usize])
    }
}

/// What the loops of one flood tell each other, for their stack has no room.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
pub struct FloodScratch {
    /// Elements of `VTEP_ADJ`, of VTEPs that the first loop left to the one that sends encapsulated copies. How many, the
    /// program knows.
    waiting: [u32; FLOOD_MEMBERS_MAX as usize],
}

impl FloodScratch {
    #[inline]
    pub const fn wait(&mut self, place: u32, adj_index: u32) {
        self.waiting[(place % FLOOD_MEMBERS_MAX) as usize] = adj_index;
    }

    #[inline]
    pub const fn waits(&self, place: u32) -> u32 {
        self.waiting[(place % FLOOD_MEMBERS_MAX) as usize]
    }
}

const _: () = assert!(FLOOD_MEMBERS_MAX.is_power_of_two());
const _: () = assert!(size_of::<FloodScratch>() == 4 * FLOOD_MEMBERS_MAX as usize);
const _: () = assert!(size_of::<FloodKey>() == 8);
const _: () = assert!(size_of::<FloodValue>() == 4 * FLOOD_MEMBERS_MAX as usize);
