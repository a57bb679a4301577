//! A template with what depends on the frame in its places.

use bytemuck::{Pod, Zeroable};
use vtep_abi::{Template, VtepAdj};

use crate::{ETH_LEN, IPV4_LEN, IPV6_LEN, Shape, TUNNEL_LEN, UDP_LEN, checksum};

/// What of an outer header depends on the frame, not on the VTEP.
#[derive(Clone, Copy)]
pub struct Inner {
    /// Ethernet header, in words as they lie in memory.
    pub ethernet: [u16; ETH_LEN / 2],
    pub vni: u32,
    /// Length of the whole inner frame.
    pub len: u32,
    /// Length of the longest inner IP packet on the wire: of the frame's, or of a super-packet's segment.
    pub packet_len: u32,
    pub ip: InnerIp,
    pub flow_hash: u32,
    /// For outer packets that may be fragmented on the way (RFC 6864 §4.2).
    pub identification: u16,
}

/// What an outer header may inherit. No `Option`, whose empty half a BPF program may not even copy.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InnerIp {
    /// Of a frame that is not IP nothing is inherited.
    pub is_ip: bool,
    /// DSCP and ECN: IPv4's TOS, IPv6's traffic class.
    pub tos: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// "Don't fragment", which IPv6 has always.
    pub dont_fragment: bool,
}

impl InnerIp {
    pub const NONE: Self = Self { is_ip: false, tos: 0, ttl: 0, dont_fragment: false };
}

impl Inner {
    /// Whether the outer packet, or each segment of it, is within the path's MTU. A frame is never fragmented here.
    #[inline(always)]
    pub const fn fits(&self, adj: &VtepAdj) -> bool {
        // The inner Ethernet header is inside the outer packet, the outer one is not, and both have one length.
        self.packet_len + adj.outer_len as u32 <= adj.mtu as u32
    }

    /// RFC 6040 §4.1: ECN is copied, whatever becomes of DSCP.
    #[inline(always)]
    pub const fn outer_tos(&self, adj: &VtepAdj) -> u8 {
        const ECN: u8 = 3;
        if self.ip.is_ip && adj.is(VtepAdj::INHERIT_DSCP) {
            self.ip.tos
        } else {
            adj.tos | (self.ip.tos & ECN)
        }
    }

    /// A packet that should not have been sent any more, by its TTL, lends none.
    #[inline(always)]
    pub const fn outer_ttl(&self, adj: &VtepAdj) -> u8 {
        if adj.is(VtepAdj::INHERIT_TTL) && self.ip.ttl != 0 { self.ip.ttl } else { adj.ttl }
    }

    #[inline(always)]
    pub const fn outer_dont_fragment(&self, adj: &VtepAdj) -> bool {
        if self.ip.is_ip && adj.is(VtepAdj::INHERIT_DONT_FRAGMENT) {
            self.ip.dont_fragment
        } else {
            adj.is(VtepAdj::DONT_FRAGMENT)
        }
    }
}

/// Outer headers with the inner Ethernet header behind them.
///
/// None of it is zero beforehand: zeros that are written over later, a BPF program writes in a call and a loop over bytes.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub struct Outer {
    template: Template,
    ethernet: [u16; ETH_LEN / 2],
    /// Of a whole number of words.
    pad: [u8; 2],
}

impl Outer {
    /// Up to the inner Ethernet header's end.
    const LEN: usize = Template::LEN + ETH_LEN;
    const VNI: usize = Template::LEN - 4;
    /// NVGRE's, behind the VSID.
    const FLOW_ID: usize = Template::LEN - 1;
    const UDP: usize = Template::LEN - TUNNEL_LEN - UDP_LEN;
    const GRE: usize = Template::LEN - TUNNEL_LEN;

    /// To be filled. Not zeros: see above.
    #[inline(always)]
    pub fn room(inner: &Inner) -> Self {
        bytemuck::must_cast([u64::from(inner.vni); size_of::<Self>() / size_of::<u64>()])
    }

    /// In place: a header that is returned would take its room on a program's stack twice.
    #[inline(always)]
    pub fn fill(&mut self, adj: &VtepAdj, shape: Shape, inner: &Inner) {
        // Word by word: a copy of the whole becomes a call and a loop over bytes.
        let of: &[u64; Template::LEN / size_of::<u64>()] = bytemuck::must_cast_ref(&adj.template);
        self.template = bytemuck::must_cast([of[0], of[1], of[2], of[3], of[4], of[5], of[6], of[7], of[8]]);
        self.ethernet = inner.ethernet;
        let [_, a, b, c] = inner.vni.to_be_bytes();
        self.bytes_mut()[Self::VNI] = a;
        self.bytes_mut()[Self::VNI + 1] = b;
        self.bytes_mut()[Self::VNI + 2] = c;
        let packet_len = inner.len + (shape.outer_len() - ETH_LEN) as u32;
        match shape {
            Shape::Ipv4Udp => self.ipv4::<{ Self::UDP - IPV4_LEN }>(adj, inner, packet_len),
            Shape::Ipv4Gre => self.ipv4::<{ Self::GRE - IPV4_LEN }>(adj, inner, packet_len),
            Shape::Ipv6Udp => self.ipv6::<{ Self::UDP - IPV6_LEN }>(adj, inner, packet_len),
            Shape::Ipv6Gre => self.ipv6::<{ Self::GRE - IPV6_LEN }>(adj, inner, packet_len),
        }
        if shape.is_udp() {
            let ip_len = if shape.is_ipv6() { IPV6_LEN } else { IPV4_LEN };
            self.udp(adj, inner, packet_len - ip_len as u32);
        } else {
            self.bytes_mut()[Self::FLOW_ID] = fold(inner.flow_hash) as u8;
        }
    }

    /// The last `N` bytes: `N` is a shape's length and the inner Ethernet header's.
    #[inline(always)]
    pub fn last<const N: usize>(&self) -> &[u8; N] {
        const { assert!(N <= Self::LEN) };
        match bytemuck::bytes_of(self)[..Self::LEN].last_chunk() {
            Some(last) => last,
            None => unreachable!(),
        }
    }

    #[inline(always)]
    fn bytes_mut(&mut self) -> &mut [u8] {
        bytemuck::bytes_of_mut(self)
    }

    #[inline(always)]
    fn ipv4<const AT: usize>(&mut self, adj: &VtepAdj, inner: &Inner, packet_len: u32) {
        const DONT_FRAGMENT: u16 = 0x4000;
        let tos = inner.outer_tos(adj);
        let ttl = inner.outer_ttl(adj);
        let len = saturating(packet_len);
        // An atomic datagram needs no identification (RFC 6864 §4.1).
        let (identification, fragment) =
            if inner.outer_dont_fragment(adj) { (0, DONT_FRAGMENT) } else { (inner.identification, 0) };
        let sum = u32::from(adj.checksum_base)
            + u32::from(tos)
            + u32::from(len)
            + u32::from(identification)
            + u32::from(fragment)
            + (u32::from(ttl) << 8);
        let header = &mut self.bytes_mut()[AT..AT + IPV4_LEN];
        header[1] = tos;
        header[2..4].copy_from_slice(&len.to_be_bytes());
        header[4..6].copy_from_slice(&identification.to_be_bytes());
        header[6..8].copy_from_slice(&fragment.to_be_bytes());
        header[8] = ttl;
        header[10..12].copy_from_slice(&(!checksum::fold(sum)).to_be_bytes());
    }

    #[inline(always)]
    fn ipv6<const AT: usize>(&mut self, adj: &VtepAdj, inner: &Inner, packet_len: u32) {
        let tos = inner.outer_tos(adj);
        // The flow label spreads flows as the source port does (RFC 6438 §3).
        let label = inner.flow_hash & 0x000f_ffff;
        let first = 0x6000_0000 | (u32::from(tos) << 20) | label;
        let header = &mut self.bytes_mut()[AT..AT + IPV6_LEN];
        header[..4].copy_from_slice(&first.to_be_bytes());
        header[4..6].copy_from_slice(&saturating(packet_len - IPV6_LEN as u32).to_be_bytes());
        header[7] = inner.outer_ttl(adj);
    }

    /// The checksum stays zero, over IPv6 too (RFC 6935 §5).
    #[inline(always)]
    fn udp(&mut self, adj: &VtepAdj, inner: &Inner, len: u32) {
        let ports = u32::from(adj.source_port_last.wrapping_sub(adj.source_port_first)) + 1;
        let port = u32::from(adj.source_port_first) + ((u32::from(fold(inner.flow_hash)) * ports) >> 16);
        let header = &mut self.bytes_mut()[Self::UDP..Self::UDP + UDP_LEN];
        header[..2].copy_from_slice(&(port as u16).to_be_bytes());
        header[4..6].copy_from_slice(&saturating(len).to_be_bytes());
    }
}

/// A super-packet may be longer than 16 bits say; the segments' lengths are written when it is cut.
#[inline(always)]
const fn saturating(value: u32) -> u16 {
    if value > 0xffff { 0xffff } else { value as u16 }
}

#[inline(always)]
const fn fold(hash: u32) -> u16 {
    (hash ^ (hash >> 16)) as u16
}
