//! What a CPU looked up last in the small hashes, so that the next frame need not: a lookup in a hash is a call that returns
//! three times, which processors with mitigations against speculation pay dearly.

use bytemuck::{Pod, Zeroable};

use crate::{AddrBytes, PortValue, VniValue};

/// Counts what the agent changes in `PORT`, `VNI` and `VTEP_BY_IP`: odd while it does. What a CPU keeps counts under the number
/// that it read before it looked up, so nothing outlives a change, nor an agent that dies within one. 0: nothing is kept.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
pub struct Generation {
    pub number: u64,
}

impl Generation {
    #[inline]
    pub const fn is_settled(self) -> bool {
        self.number != 0 && self.number & 1 == 0
    }
}

/// The untagged binding of a port.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
pub struct RecentPort {
    /// 0 while the rest is written.
    pub generation: u64,
    pub ifindex: u32,
    /// Zero.
    pub pad: u32,
    pub port: PortValue,
}

/// A VNI, and one that may send into it.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
pub struct RecentSender {
    /// As of [`RecentPort`].
    pub generation: u64,
    pub address: AddrBytes,
    pub vni: u32,
    pub vtep: u32,
    pub network: VniValue,
}

/// Ports share an element by the last bits of their number.
pub const RECENT_PORTS: u32 = 64;
/// Senders by those of their VNI and address.
pub const RECENT_SENDERS: u32 = 256;

const _: () = assert!(size_of::<Generation>() == 8);
const _: () = assert!(size_of::<RecentPort>() == 48);
const _: () = assert!(size_of::<RecentSender>() == 56);
