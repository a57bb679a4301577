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

const _: () = assert!(size_of::<FloodKey>() == 8);
const _: () = assert!(size_of::<FloodValue>() == 4);
