//! A template with what depends on the frame in its places.

use vtep_abi::{Template, VtepAdj};

use crate::{ETH_LEN, IPV4_LEN, IPV6_LEN, Shape, checksum};

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

/// Where headers go, word by word as they lie in memory. `BEFORE`: where a word begins, so many bytes before the end of the
/// inner Ethernet header, which is the last of them.
///
/// Words are put together in registers and written once: a processor that reads a word back which was written in parts waits for
/// all of them.
pub trait Room {
    fn word<const BEFORE: usize>(&mut self, word: u64);
    fn half<const BEFORE: usize>(&mut self, half: u32);
    fn quarter<const BEFORE: usize>(&mut self, quarter: u16);
}

impl Inner {
    /// The outer headers, and the inner Ethernet header behind them.
    #[inline(always)]
    pub fn put(&self, adj: &VtepAdj, shape: Shape, room: &mut impl Room) {
        let of: &[u64; Template::LEN / size_of::<u64>()] = bytemuck::must_cast_ref(&adj.template);
        let packet_len = self.len + (shape.outer_len() - ETH_LEN) as u32;
        match shape {
            Shape::Ipv4Udp => {
                room.quarter::<64>(quarter::<3>(of[2]));
                room.word::<62>(of[3]);
                room.word::<54>(of[4] | self.ipv4_length(adj, packet_len));
                room.word::<46>(of[5] | self.ipv4_rest(adj, packet_len));
                room.word::<38>(of[6]);
                room.word::<30>(of[7] | self.udp(adj, packet_len - IPV4_LEN as u32));
            }
            Shape::Ipv6Udp => {
                room.quarter::<84>(quarter::<1>(of[0]));
                room.half::<82>(last_half(of[0]));
                room.word::<78>(of[1]);
                room.word::<70>(of[2] | self.ipv6(adj, packet_len));
                room.word::<62>(of[3]);
                room.word::<54>(of[4]);
                room.word::<46>(of[5]);
                room.word::<38>(of[6]);
                room.word::<30>(of[7] | self.udp(adj, packet_len - IPV6_LEN as u32));
            }
            Shape::Ipv4Gre => {
                room.quarter::<56>(quarter::<3>(of[3]));
                room.word::<54>(of[4]);
                room.word::<46>(of[5] | self.ipv4_length(adj, packet_len));
                room.word::<38>(of[6] | self.ipv4_rest(adj, packet_len));
                room.word::<30>(of[7]);
            }
            Shape::Ipv6Gre => {
                room.quarter::<76>(quarter::<1>(of[1]));
                room.half::<74>(last_half(of[1]));
                room.word::<70>(of[2]);
                room.word::<62>(of[3] | self.ipv6(adj, packet_len));
                room.word::<54>(of[4]);
                room.word::<46>(of[5]);
                room.word::<38>(of[6]);
                room.word::<30>(of[7]);
            }
        }
        room.word::<22>(of[8] | self.tunnel(shape));
        let at = self.ethernet;
        room.word::<14>(bytemuck::must_cast([at[0], at[1], at[2], at[3]]));
        room.half::<6>(bytemuck::must_cast([at[4], at[5]]));
        room.quarter::<2>(at[6]);
    }

    /// The word in which an IPv4 header begins in the middle.
    #[inline(always)]
    fn ipv4_length(&self, adj: &VtepAdj, packet_len: u32) -> u64 {
        quarters([0, 0, self.outer_tos(adj).into(), saturating(packet_len)])
    }

    /// The word behind it, up to the addresses.
    #[inline(always)]
    fn ipv4_rest(&self, adj: &VtepAdj, packet_len: u32) -> u64 {
        const DONT_FRAGMENT: u16 = 0x4000;
        let ttl = self.outer_ttl(adj);
        // An atomic datagram needs no identification (RFC 6864 §4.1).
        let (identification, fragment) =
            if self.outer_dont_fragment(adj) { (0, DONT_FRAGMENT) } else { (self.identification, 0) };
        let sum = u32::from(adj.checksum_base)
            + u32::from(self.outer_tos(adj))
            + u32::from(saturating(packet_len))
            + u32::from(identification)
            + u32::from(fragment)
            + (u32::from(ttl) << 8);
        quarters([identification, fragment, u16::from(ttl) << 8, !checksum::fold(sum)])
    }

    /// The word that an IPv6 header begins with, up to the addresses.
    #[inline(always)]
    fn ipv6(&self, adj: &VtepAdj, packet_len: u32) -> u64 {
        let tos = self.outer_tos(adj);
        // The flow label spreads flows as the source port does (RFC 6438 §3).
        let label = self.flow_hash & 0x000f_ffff;
        let len = saturating(packet_len - IPV6_LEN as u32);
        halves([u32::from(tos) << 20 | label, u32::from(len) << 16 | u32::from(self.outer_ttl(adj))])
    }

    /// The checksum stays zero, over IPv6 too (RFC 6935 §5).
    #[inline(always)]
    fn udp(&self, adj: &VtepAdj, len: u32) -> u64 {
        let ports = u32::from(adj.source_port_last.wrapping_sub(adj.source_port_first)) + 1;
        let port = u32::from(adj.source_port_first) + ((u32::from(fold(self.flow_hash)) * ports) >> 16);
        quarters([port as u16, 0, saturating(len), 0])
    }

    /// The VNI, and behind it NVGRE's `FlowID`.
    #[inline(always)]
    fn tunnel(&self, shape: Shape) -> u64 {
        let flow_id = if shape.is_udp() { 0 } else { fold(self.flow_hash) as u8 };
        halves([0, self.vni << 8 | u32::from(flow_id)])
    }
}

/// Headers for whoever has no packet to write them into.
#[derive(Clone, Copy)]
pub struct Outer {
    bytes: [u8; Self::LEN],
}

impl Outer {
    const LEN: usize = Template::LEN + ETH_LEN;

    pub fn new(adj: &VtepAdj, shape: Shape, inner: &Inner) -> Self {
        let mut outer = Self { bytes: [0; Self::LEN] };
        inner.put(adj, shape, &mut outer);
        outer
    }

    /// The outer headers, and the inner Ethernet header behind them.
    pub fn bytes(&self, shape: Shape) -> &[u8] {
        &self.bytes[Self::LEN - ETH_LEN - shape.outer_len()..]
    }

    fn put(&mut self, before: usize, bytes: &[u8]) {
        let at = Self::LEN - before;
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

impl Room for Outer {
    fn word<const BEFORE: usize>(&mut self, word: u64) {
        self.put(BEFORE, &word.to_ne_bytes());
    }

    fn half<const BEFORE: usize>(&mut self, half: u32) {
        self.put(BEFORE, &half.to_ne_bytes());
    }

    fn quarter<const BEFORE: usize>(&mut self, quarter: u16) {
        self.put(BEFORE, &quarter.to_ne_bytes());
    }
}

/// A word of numbers in network order.
#[inline(always)]
const fn quarters([a, b, c, d]: [u16; 4]) -> u64 {
    bytemuck::must_cast([a.to_be(), b.to_be(), c.to_be(), d.to_be()])
}

#[inline(always)]
const fn halves([a, b]: [u32; 2]) -> u64 {
    bytemuck::must_cast([a.to_be(), b.to_be()])
}

/// One of a word's four parts.
#[inline(always)]
const fn quarter<const AT: usize>(word: u64) -> u16 {
    bytemuck::must_cast::<_, [u16; 4]>(word)[AT]
}

#[inline(always)]
const fn last_half(word: u64) -> u32 {
    bytemuck::must_cast::<_, [u32; 2]>(word)[1]
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
