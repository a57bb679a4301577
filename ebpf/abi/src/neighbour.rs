//! Addresses of stations: what the programs answer for them, and what a port may claim.

use bytemuck::{Pod, Zeroable};

use crate::AddrBytes;

#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Pod, Zeroable)]
pub struct NeighbourKey {
    pub vni: u32,
    pub address: AddrBytes,
}

/// The MAC that answers for an IP address.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
pub struct NeighbourValue {
    pub mac: [u8; 6],
    /// Zero.
    pub pad: u16,
}

/// An address that frames of an interface may have as their source.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Pod, Zeroable)]
pub struct AllowedKey {
    pub ifindex: u32,
    /// Length of the address in bytes: 6 of a MAC, 16 of an IP address.
    pub len: u32,
    /// The address, and zeros.
    pub address: AddrBytes,
}

pub type AllowedValue = u32;

/// Room for pairs of an IP address and a MAC, over all VNIs.
pub const NEIGHBOURS_MAX: u32 = 65_536;
/// Room for addresses of ports.
pub const ALLOWED_MAX: u32 = 65_536;

impl AllowedKey {
    #[inline]
    pub const fn mac(ifindex: u32, mac: [u8; 6]) -> Self {
        let mut address = [0; 16];
        let mut at = 0;
        while at < mac.len() {
            address[at] = mac[at];
            at += 1;
        }
        Self { ifindex, len: 6, address }
    }

    #[inline]
    pub const fn ip(ifindex: u32, address: AddrBytes) -> Self {
        Self { ifindex, len: 16, address }
    }
}

const _: () = assert!(size_of::<NeighbourKey>() == 20);
const _: () = assert!(size_of::<NeighbourValue>() == 8);
const _: () = assert!(size_of::<AllowedKey>() == 24);
