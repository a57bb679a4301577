//! VTEPs: an adjacency and a state each, shared by all MACs behind them.

use bytemuck::{Pod, Zeroable};

/// An IPv6 address, or an IPv4 address mapped into one (RFC 4291 §2.5.5.2), in network order.
pub type AddrBytes = [u8; 16];

#[inline]
pub const fn mapped_v4(address: [u8; 4]) -> AddrBytes {
    let [a, b, c, d] = address;
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}

/// Everything that the outer header of a frame to one VTEP needs, in one cache line. There are two slots per VTEP:
/// the agent writes the spare one, then flips [`VtepAdmin::SLOT`], for an array element may be read half written.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
pub struct VtepAdj {
    pub remote: AddrBytes,
    pub local: AddrBytes,
    /// Next hop, and the uplink's own address.
    pub dst_mac: [u8; 6],
    pub src_mac: [u8; 6],
    /// The uplink.
    pub ifindex: u32,
    /// Largest outer IP packet on the way.
    pub mtu: u16,
    /// Destination port, network order.
    pub udp_port: [u8; 2],
    pub ttl: u8,
    /// DSCP in the upper six bits, as in the IP header; the lower two are zero.
    pub dscp: u8,
    /// Ones' complement sum of the outer IPv4 header without TOS, total length and identification, not folded to its
    /// complement: RFC 1071 lets the program add the rest.
    pub checksum_base: u16,
    pub flags: u16,
    pub encap: u8,
    /// Zero.
    pub pad: [u8; 5],
}

impl VtepAdj {
    /// A next hop's MAC is known. Without it the frame goes through the kernel's tunnel device, which resolves.
    pub const RESOLVED: u16 = 1;
    /// A route exists. Without it the VTEP cannot be reached at all.
    pub const ROUTED: u16 = 2;
    /// The uplink takes frames that XDP redirects to it. Without the flag XDP leaves them to TC.
    pub const TAKES_XDP: u16 = 1 << 8;

    pub const VXLAN: u8 = 1;

    pub const fn is(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }
}

/// The agent's word on a VTEP.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
pub struct VtepAdmin {
    pub bits: u8,
}

impl VtepAdmin {
    pub const PRESENT: u8 = 1;
    pub const DOWN: u8 = 2;
    /// Which of the two [`VtepAdj`] is in force.
    pub const SLOT: u8 = 4;

    #[inline]
    pub const fn is_up(self) -> bool {
        self.bits & (Self::PRESENT | Self::DOWN) == Self::PRESENT
    }

    #[inline]
    pub const fn adj_index(self, vtep: u32) -> u32 {
        vtep * 2 + (self.bits & Self::SLOT != 0) as u32
    }
}

/// The programs' word on a VTEP.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
pub struct VtepOper {
    pub bits: u8,
}

impl VtepOper {
    pub const DOWN: u8 = 1;

    #[inline]
    pub const fn is_up(self) -> bool {
        self.bits & Self::DOWN == 0
    }
}

/// Who may send into a VNI. VNI 0 stands for "any": an address found there is a VTEP, though perhaps not of the VNI.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Pod, Zeroable)]
pub struct VtepByIpKey {
    pub vni: u32,
    pub address: AddrBytes,
}

#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
pub struct VtepByIpValue {
    pub vtep: u32,
}

const _: () = assert!(size_of::<VtepAdj>() == 64);
const _: () = assert!(size_of::<VtepAdmin>() == 1);
const _: () = assert!(size_of::<VtepOper>() == 1);
const _: () = assert!(size_of::<VtepByIpKey>() == 20);
const _: () = assert!(size_of::<VtepByIpValue>() == 4);
