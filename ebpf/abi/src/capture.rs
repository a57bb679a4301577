//! Copies of frames for whoever looks at them: what is copied, and how it reaches the agent.

use bytemuck::{Pod, Zeroable};

use crate::VerdictSet;

/// What the programs copy. All zeros: nothing.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
pub struct CaptureSettings {
    pub verdicts: VerdictSet,
    /// Nothing is copied after this time (`CLOCK_MONOTONIC`), should the agent be gone by then.
    pub until_ns: u64,
    /// Only frames of this bridge domain, or [`Self::ANY_BD`].
    pub bd: u32,
    /// Only frames that come from or go to this interface; 0: any.
    pub ifindex: u32,
    /// On each CPU, in a second.
    pub per_second: u32,
    /// One of so many, by chance; 0 and 1: all.
    pub one_in: u32,
    /// At most so many bytes of each frame.
    pub snaplen: u32,
    /// Zero.
    pub pad: u32,
}

impl CaptureSettings {
    pub const ANY_BD: u32 = u32::MAX;
}

/// A CPU's share in a capture.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
pub struct CaptureCpu {
    /// Frames that the settings ask for.
    pub matched: u64,
    /// Of these, those that chance or [`CaptureSettings::per_second`] left out.
    pub left_out: u64,
    /// Of these, those that found no room in the ring.
    pub lost: u64,
    /// The second (`CLOCK_MONOTONIC`) that `copied` is of.
    pub second: u64,
    pub copied: u32,
    /// Zero.
    pub pad: u32,
    /// The frame that `uplink_in` works on, as it came.
    pub head: [u8; OUTER_MAX],
}

/// What stands before a frame's bytes in the ring.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
pub struct CaptureHead {
    /// `CLOCK_MONOTONIC`.
    pub at_ns: u64,
    /// What became of the frame; of a copy, what became of its original.
    pub verdict: u32,
    pub bd: u32,
    /// Where it came in.
    pub ifindex: u32,
    /// The interface where it goes on, with [`Self::RESOLVE`] or [`Self::PEER`] on top; 0: nowhere.
    pub to: u32,
    /// Of the whole frame as it is after the verdict, without the outer headers that were removed.
    pub len: u32,
    /// Bytes of it that were copied.
    pub copied: u32,
    /// Bytes of the outer headers that were removed.
    pub outer_len: u32,
    /// The VLAN tag beside the frame: [`Self::TAGGED`], [`Self::PROVIDER`] and the TCI; 0: none.
    pub tag: u32,
    pub flags: u32,
    /// Zero.
    pub pad: u32,
}

impl CaptureHead {
    pub const TAGGED: u32 = 1 << 16;
    /// Of IEEE 802.1ad, else of 802.1Q.
    pub const PROVIDER: u32 = 1 << 17;
    /// In [`Self::flags`]: one copy of a frame that is flooded.
    pub const COPY: u32 = 1;
    /// In [`Self::to`]: the kernel finds the next hop. No interface has so high a number.
    pub const RESOLVE: u32 = 1 << 31;
    /// In [`Self::to`]: into the namespace at the other end of this veth. Nor one that is lower by half.
    pub const PEER: u32 = 1 << 30;

    /// The interface where the frame goes on, if it does.
    #[must_use]
    pub const fn goes_to(&self) -> Option<u32> {
        match Self::interface(self.to) {
            0 => None,
            interface => Some(interface),
        }
    }

    /// That [`Self::to`] names, before there is a head.
    #[must_use]
    pub const fn interface(to: u32) -> u32 {
        to & !(Self::RESOLVE | Self::PEER)
    }
}

/// An entry of the ring. Bytes beyond the lengths that the head says mean nothing.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Captured {
    pub head: CaptureHead,
    pub outer: [u8; OUTER_MAX],
    pub frame: [u8; SNAPLEN_MAX],
}

/// Longest outer headers that are kept.
pub const OUTER_MAX: usize = 128;
/// Most that is copied of a frame.
pub const SNAPLEN_MAX: usize = 2048;

const _: () = assert!(size_of::<CaptureSettings>() == 48);
const _: () = assert!(size_of::<CaptureCpu>() == 168);
const _: () = assert!(size_of::<CaptureHead>() == 48);
const _: () = assert!(size_of::<Captured>() == 48 + 128 + 2048);
