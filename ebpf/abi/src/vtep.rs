//! VTEPs: an adjacency and a state each, shared by all MACs behind them.

use bytemuck::{Pod, Zeroable};

/// An IPv6 address, or an IPv4 address mapped into one (RFC 4291 §2.5.5.2), in network order.
pub type AddrBytes = [u8; 16];

#[inline]
pub const fn mapped_v4(address: [u8; 4]) -> AddrBytes {
    let [a, b, c, d] = address;
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}

/// Outer headers as they stand in front of a frame, but for what depends on the frame. They end where the array ends,
/// so the VNI has one place in all of them: the three bytes before the last. What depends on the frame is zero, for the program
/// joins whole words.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
pub struct Template {
    pub bytes: [u8; Template::LEN],
}

impl Template {
    pub const LEN: usize = 72;
}

/// How frames to one VTEP are sent. There are two slots per VTEP: the agent writes the spare one, then flips
/// [`VtepAdmin::SLOT`], for an array element may be read half written.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
pub struct VtepAdj {
    /// The uplink.
    pub ifindex: u32,
    /// Largest outer IP packet on the way.
    pub mtu: u16,
    pub flags: u16,
    /// Ones' complement sum of the template's IPv4 header, in which TOS, total length, identification, fragment field
    /// and TTL are zero: RFC 1071 lets the program add these.
    pub checksum_base: u16,
    /// UDP source ports, of which the frame's flow chooses.
    pub source_port_first: u16,
    pub source_port_last: u16,
    /// Length of the outer headers, Ethernet among them: the template's last so many bytes.
    pub outer_len: u8,
    pub encap: u8,
    pub template: Template,
    pub remote: AddrBytes,
    pub local: AddrBytes,
    /// TTL, or hop limit.
    pub ttl: u8,
    /// DSCP in the upper six bits, as in the IP header; the lower two are zero.
    pub tos: u8,
    /// Zero.
    pub pad: [u8; 6],
}

impl VtepAdj {
    /// A next hop's MAC is known. Without it the kernel resolves: by its tunnel device, or while it sends what the
    /// program encapsulated.
    pub const RESOLVED: u16 = 1;
    /// A route exists. Without it the VTEP cannot be reached at all.
    pub const ROUTED: u16 = 2;
    /// DSCP is the inner IP packet's. Of a frame that is not IP it is [`Self::tos`]; so for the two below.
    pub const INHERIT_DSCP: u16 = 4;
    pub const INHERIT_TTL: u16 = 8;
    /// "Don't fragment" is the inner IPv4 packet's; an inner IPv6 packet has it always.
    pub const INHERIT_DONT_FRAGMENT: u16 = 16;
    /// Otherwise, whether "don't fragment" is set. It has no meaning in IPv6.
    pub const DONT_FRAGMENT: u16 = 32;
    /// The uplink takes frames that XDP redirects to it. Without the flag XDP leaves them to TC.
    pub const TAKES_XDP: u16 = 1 << 8;

    pub const VXLAN: u8 = 1;
    pub const GENEVE: u8 = 2;
    pub const NVGRE: u8 = 3;

    /// The largest inner IP packet that the way to the VTEP takes.
    #[inline]
    pub const fn room(&self) -> u16 {
        // Without the outer Ethernet header, but with the inner one, which is as long.
        self.mtu.saturating_sub(self.outer_len as u16)
    }

    pub const fn is(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    /// Of the next hop, and of the uplink.
    pub fn set_macs(&mut self, dst: [u8; 6], src: [u8; 6]) {
        if let Some(at) = self.ethernet() {
            self.template.bytes[at..at + 6].copy_from_slice(&dst);
            self.template.bytes[at + 6..at + 12].copy_from_slice(&src);
        }
    }

    /// The next hop's.
    pub fn dst_mac(&self) -> [u8; 6] {
        let mut mac = [0; 6];
        if let Some(at) = self.ethernet() {
            mac.copy_from_slice(&self.template.bytes[at..at + 6]);
        }
        mac
    }

    /// Where the outer Ethernet header begins. `None`: the element was never written.
    fn ethernet(&self) -> Option<usize> {
        const ETHERNET_LEN: usize = 14;
        let len = self.outer_len as usize;
        (ETHERNET_LEN..=Template::LEN).contains(&len).then(|| Template::LEN - len)
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
    /// There is evidence against it, but no certainty: another VTEP serves if it can.
    pub const SUSPECT: u8 = 8;

    #[inline]
    pub const fn is_up(self) -> bool {
        self.bits & (Self::PRESENT | Self::DOWN) == Self::PRESENT
    }

    #[inline]
    pub const fn is_suspect(self) -> bool {
        self.bits & Self::SUSPECT != 0
    }

    #[inline]
    pub const fn adj_index(self, vtep: u32) -> u32 {
        vtep * 2 + (self.bits & Self::SLOT != 0) as u32
    }

    /// Whose adjacency is at [`Self::adj_index`].
    #[inline]
    pub const fn vtep_of(adj_index: u32) -> u32 {
        adj_index / 2
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

const _: () = assert!(size_of::<Template>() == 72);
const _: () = assert!(size_of::<VtepAdj>() == 128);
const _: () = assert!(size_of::<VtepAdmin>() == 1);
const _: () = assert!(size_of::<VtepOper>() == 1);
const _: () = assert!(size_of::<VtepByIpKey>() == 20);
const _: () = assert!(size_of::<VtepByIpValue>() == 4);
