use bytemuck::{Pod, Zeroable};

use crate::VERDICTS_MAX;

#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct Counter {
    pub packets: u64,
    /// Of the inner frame, as it came; of the whole frame where no inner one was found.
    pub bytes: u64,
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
    /// Of `sent`, those it got as the slave of their MAC.
    pub served_as_slave: u64,
    /// Flood copies that the kernel refused to send.
    pub copy_errors: u64,
}

const _: () = assert!(size_of::<Counter>() == 16);
const _: () = assert!(size_of::<VniStats>() == 1024);
const _: () = assert!(size_of::<VtepStats>() == 48);
