use bytemuck::{Pod, Zeroable};

use crate::VERDICTS_MAX;

#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct Counter {
    pub packets: u64,
    /// Of the inner frame, as it came; of the whole frame where no inner one was found.
    pub bytes: u64,
}

impl Counter {
    /// One frame more.
    #[inline]
    pub fn count(&mut self, bytes: u32) {
        self.packets += 1;
        self.bytes += u64::from(bytes);
    }
}

impl core::ops::AddAssign for Counter {
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
    }
}

/// One counter per [`Verdict`](crate::Verdict). Bridge domain 0 holds what was decided before a VNI was known.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
pub struct VniStats {
    pub verdicts: [Counter; VERDICTS_MAX],
}

#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct VtepStats {
    /// Frames sent to the VTEP, flood copies included.
    pub sent: Counter,
    pub received: Counter,
    /// When the last of `received` came, in nanoseconds of the monotonic clock as of its last tick; 0: none came.
    pub last_received_ns: u64,
    /// The kernel's count of ticks then. The clock is a call, this count a load: the programs ask once a tick.
    pub last_received_tick: u64,
    /// Of `sent`, those it got as the slave of their MAC.
    pub served_as_slave: u64,
    /// Flood copies that the kernel refused to send.
    pub copy_errors: u64,
    /// Those that the path has no room for.
    pub copies_too_big: u64,
}

/// Of a port's binding, by its [`LocalPort`](crate::LocalPort) index.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct PortStats {
    /// Frames that came from the port, whatever became of them.
    pub received: Counter,
    /// Of `received`, those that were dropped.
    pub dropped: Counter,
    /// Frames sent to the port, flood copies included.
    pub sent: Counter,
    /// Flood copies that the kernel refused to send. One whose port is gone, its index another's perhaps, is nobody's.
    pub copy_errors: u64,
    /// Frames for the port that are longer than its MTU, flood copies included.
    pub too_big: u64,
    /// Of `received`, those that XDP left to TC because there was no room in front of them.
    pub no_headroom: u64,
}

const _: () = assert!(size_of::<Counter>() == 16);
const _: () = assert!(size_of::<VniStats>() == 1536);
const _: () = assert!(size_of::<PortStats>() == 72);
const _: () = assert!(size_of::<VtepStats>() == 72);
