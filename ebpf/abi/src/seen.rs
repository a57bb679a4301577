//! When learnt MACs were last seen. Agents make and remove the entries; programs write the times.

use bytemuck::{Pod, Zeroable};

use crate::FdbKey;

/// Of a learnt MAC, by [`FdbKey`]: where it was learnt, and when a frame came from it there.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
pub struct SeenValue {
    /// [`Target`](crate::Target) bits. From elsewhere a MAC is reported.
    pub target: u32,
    /// Seconds of the kernel's monotonic clock.
    pub at_secs: u32,
}

/// What a CPU wrote last into one [`SeenValue`], so that it does so once a second.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
pub struct SeenMark {
    pub key: FdbKey,
    pub seen: SeenValue,
}

/// MACs share a mark by their last byte.
pub const SEEN_MARKS: u32 = 256;

const _: () = assert!(size_of::<SeenValue>() == 8);
const _: () = assert!(size_of::<SeenMark>() == 20);
