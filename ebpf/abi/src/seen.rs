//! When learnt MACs were last seen. Agents make and remove the entries; programs write the times.

use bytemuck::{Pod, Zeroable};

use crate::FdbKey;

/// Of a learnt MAC, by [`FdbKey`]: where it was learnt, and when a frame came from it there.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
pub struct SeenValue {
    /// [`Target`](crate::Target) bits. From elsewhere a MAC is reported.
    pub target: u32,
    /// The kernel's monotonic clock, in units of 2^[`SEEN_SHIFT`] ns.
    pub at: u32,
}

/// The [`SeenValue`] that a CPU wrote last, so that it does so once in each turn: 128 ticks of the kernel's timer, at most
/// 1.28 s.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
pub struct SeenMark {
    pub key: FdbKey,
    pub target: u32,
    pub turn: u32,
}

/// A little more than a second. A shift, for a division costs as much as the rest of it.
pub const SEEN_SHIFT: u32 = 30;
/// MACs share a mark by their last byte.
pub const SEEN_MARKS: u32 = 256;

const _: () = assert!(size_of::<SeenValue>() == 8);
const _: () = assert!(size_of::<SeenMark>() == 20);
