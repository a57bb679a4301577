//! Token buckets. What a bucket allows stands in the value of its port or VNI, which agents write; how full it is
//! stands in maps of the programs' own, for no one else to write.

use bytemuck::{Pod, Zeroable};

/// A rate and how much may come at once. All zero: no limit.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct Limit {
    /// From one frame to the next, in the long run.
    pub interval_ns: u32,
    /// Frames that may come at once after a pause.
    pub burst: u32,
}

impl Limit {
    const SECOND_NS: u32 = 1_000_000_000;

    /// `per_sec` from 1 to 10^9; beyond, the interval is rounded to 1 ns.
    #[inline]
    pub const fn per_sec(per_sec: u32, burst: u32) -> Self {
        let interval_ns = match per_sec {
            0 => 0,
            per_sec if per_sec >= Self::SECOND_NS => 1,
            per_sec => Self::SECOND_NS / per_sec,
        };
        Self { interval_ns, burst }
    }
}

/// When each bucket of a port has paid for what it let through, in nanoseconds of the monotonic clock.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct PortBuckets {
    pub flood_ns: u64,
    pub too_big_ns: u64,
    pub events_ns: u64,
    pub learn_ns: u64,
}

/// The same for a VNI.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct VniBuckets {
    pub flood_ns: u64,
    /// Of what is learnt from the underlay.
    pub learn_ns: u64,
}

/// Of a VTEP that sends from MACs of others: when that was told last, in units of 2^[`SEEN_SHIFT`](crate::SEEN_SHIFT) ns.
/// MACs share a mark by a hash, so that a VTEP that floods takes no more of the ring than its marks.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
pub struct WitnessMarks {
    pub at: [u32; WitnessMarks::COUNT],
}

impl WitnessMarks {
    pub const COUNT: usize = 16;

    /// Of a MAC in a VNI; in which order its bytes stand in the number does not matter.
    #[inline]
    pub const fn of(vni: u32, mac: u64) -> usize {
        /// 2^32 divided by the golden ratio.
        const SPREAD: u32 = 0x9e37_79b1;
        #[expect(clippy::cast_possible_truncation, reason = "both halves count")]
        let mixed = (mac as u32 ^ (mac >> 32) as u32 ^ vni).wrapping_mul(SPREAD);
        (mixed >> 28) as usize
    }
}

/// ICMP errors to the VM behind a port (RFC 4443 §2.4 f wants a limit).
pub const TOO_BIG_LIMIT: Limit = Limit::per_sec(100, 20);
/// Events of one port, but for learnt MACs.
pub const EVENTS_LIMIT: Limit = Limit::per_sec(100, 100);
/// Learnt MACs of one port, and of the underlay in one VNI: the ring has room for the bursts of twenty of them.
pub const LEARN_LIMIT: Limit = Limit::per_sec(1000, 256);

const _: () = assert!(size_of::<Limit>() == 8);
const _: () = assert!(size_of::<PortBuckets>() == 32);
const _: () = assert!(size_of::<VniBuckets>() == 16);
const _: () = assert!(size_of::<WitnessMarks>() == 64);
