//! From the underlay: whose packet it is, and what its headers say.

use vtep_abi::{Config, Verdict};

use crate::checksum::fold;
use crate::{
    ETH_LEN, ETHERTYPE_TEB, Encapsulation, GENEVE_PORT, IPPROTO_GRE, IPPROTO_UDP, IPV4_LEN, IPV6_LEN, Shape,
    TUNNEL_LEN, UDP_LEN,
};

/// Words of two bytes, as they lie in memory: a load is an instruction, and headers have dozens of bytes.
pub type Words<const N: usize> = [u16; N];

/// Ethernet, IP and as much of what follows as tells whose it is: ports, or GRE's flags. In words.
pub const IPV4_HEAD: usize = (ETH_LEN + IPV4_LEN + UDP_LEN) / 2;
pub const IPV6_HEAD: usize = (ETH_LEN + IPV6_LEN + UDP_LEN) / 2;
/// A tunnel's own header, without options.
pub const TUNNEL_WORDS: usize = TUNNEL_LEN / 2;
/// The same and the inner Ethernet header, which end a shape.
pub const TAIL: usize = TUNNEL_WORDS + ETH_LEN / 2;
/// Of Ethernet, in front of IP.
const IP: usize = ETH_LEN / 2;

/// A packet to our address, in an encapsulation that we take.
#[derive(Clone, Copy)]
pub struct Packet {
    pub encapsulation: Encapsulation,
    pub shape: Shape,
    /// Its bytes as they lie in memory.
    pub source: [u64; 2],
    /// DSCP and ECN.
    pub tos: u8,
    /// A UDP checksum is there to be verified.
    pub checksummed: bool,
    /// From the IP header to the packet's end.
    len: u32,
    /// What UDP says of its own length.
    udp_len: Option<u16>,
    fragment: bool,
    /// The IPv4 header sums up; IPv6 has no sum.
    sums_up: bool,
}

/// What the tunnel's own header says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TunnelHeader {
    pub vni: u32,
    /// Geneve's options, between it and the inner frame, in bytes.
    pub options_len: u8,
}

/// `None`: it is the host's.
#[inline(always)]
pub fn ipv4(head: &Words<IPV4_HEAD>, config: &Config) -> Option<Packet> {
    /// Version and header length in words. No VTEP sends options; should the kernel's tunnel device take them,
    /// `tunnel_in` will not.
    const WITHOUT_OPTIONS: u8 = 0x45;
    const MORE_FRAGMENTS: u16 = 0x2000;
    const FRAGMENT_OFFSET: u16 = 0x1fff;
    const MAPPED: u16 = 0xffff;
    let [version, tos] = head[IP].to_ne_bytes();
    let fragment = u16::from_be(head[IP + 3]);
    let local = [head[IP + 8], head[IP + 9]];
    let to_us = version == WITHOUT_OPTIONS
        // Only a first fragment has ports.
        && fragment & FRAGMENT_OFFSET == 0
        && bytemuck::must_cast::<_, u32>(local) == u32::from_ne_bytes(config.local_v4)
        && bytemuck::must_cast::<_, u32>(local) != 0;
    if !to_us {
        return None;
    }
    let payload = [head[IP + 10], head[IP + 11], head[IP + 12], head[IP + 13]];
    let (encapsulation, is_udp) = encapsulation(head[IP + 4].to_ne_bytes()[1], &payload, config)?;
    Some(Packet {
        encapsulation,
        shape: if is_udp { Shape::Ipv4Udp } else { Shape::Ipv4Gre },
        source: [0, bytemuck::must_cast([0, MAPPED, head[IP + 6], head[IP + 7]])],
        tos,
        checksummed: is_udp && payload[3] != 0,
        len: u32::from(u16::from_be(head[IP + 1])),
        udp_len: if is_udp { Some(u16::from_be(payload[2])) } else { None },
        fragment: fragment & MORE_FRAGMENTS != 0,
        sums_up: sums_up(head),
    })
}

/// `None`: it is the host's. So are extension headers, a fragment's among them: no VTEP sends any.
#[inline(always)]
pub fn ipv6(head: &Words<IPV6_HEAD>, config: &Config) -> Option<Packet> {
    const PAYLOAD: usize = IP + IPV6_LEN / 2;
    let address = |at: usize| -> [u64; 2] {
        [
            bytemuck::must_cast([head[at], head[at + 1], head[at + 2], head[at + 3]]),
            bytemuck::must_cast([head[at + 4], head[at + 5], head[at + 6], head[at + 7]]),
        ]
    };
    let [version, class] = head[IP].to_ne_bytes();
    let local = address(IP + 12);
    if version >> 4 != 6 || local != bytemuck::must_cast::<_, [u64; 2]>(config.local_v6) || local == [0; 2] {
        return None;
    }
    let payload = [head[PAYLOAD], head[PAYLOAD + 1], head[PAYLOAD + 2], head[PAYLOAD + 3]];
    let (encapsulation, is_udp) = encapsulation(head[IP + 3].to_ne_bytes()[0], &payload, config)?;
    Some(Packet {
        encapsulation,
        shape: if is_udp { Shape::Ipv6Udp } else { Shape::Ipv6Gre },
        source: address(IP + 4),
        // The traffic class lies across the first two bytes (RFC 8200 §3).
        tos: (version << 4) | (class >> 4),
        checksummed: is_udp && payload[3] != 0,
        len: u32::from(u16::from_be(head[IP + 2])) + IPV6_LEN as u32,
        udp_len: if is_udp { Some(u16::from_be(payload[2])) } else { None },
        fragment: false,
        sums_up: true,
    })
}

/// RFC 1071: the words of a header and its checksum add up to all ones, in any order of their bytes. Whose sum is wrong is
/// to be discarded (RFC 1122 §3.2.1.2), for what admits the packet may be what is wrong.
#[inline(always)]
const fn sums_up(head: &Words<IPV4_HEAD>) -> bool {
    let mut sum = 0;
    let mut at = IP;
    while at < IP + IPV4_LEN / 2 {
        sum += head[at] as u32;
        at += 1;
    }
    fold(sum) == 0xffff
}

/// And whether it is in UDP.
#[inline(always)]
fn encapsulation(protocol: u8, payload: &Words<4>, config: &Config) -> Option<(Encapsulation, bool)> {
    const KEY: u16 = u16::from_ne_bytes([0x20, 0]);
    let on = |flag: u16| config.flags & flag != 0;
    let port = payload[1];
    match protocol {
        IPPROTO_UDP if port == u16::from_ne_bytes(config.udp_port) => Some((Encapsulation::Vxlan, true)),
        IPPROTO_UDP if port == GENEVE_PORT.to_be() && on(Config::GENEVE) => {
            Some((Encapsulation::Geneve, true))
        }
        // A host's other GRE tunnels carry something else, or have no key.
        IPPROTO_GRE if port == ETHERTYPE_TEB.to_be() && payload[0] & KEY != 0 && on(Config::NVGRE) => {
            Some((Encapsulation::Nvgre, false))
        }
        _ => None,
    }
}

impl Packet {
    /// Where the packet ends in its frame: what lies behind is padding, or nobody's.
    ///
    /// `frame_len`: of the whole frame. `merged`: the receive path made one of several, whose lengths may exceed 16 bits;
    /// it has checked their sums (`inet_gro_receive`, `net/ipv4/af_inet.c`).
    #[inline(always)]
    pub fn end(&self, frame_len: u32, merged: bool) -> Result<u32, Verdict> {
        if self.fragment {
            return Err(Verdict::OuterFragment);
        }
        if merged {
            return Ok(frame_len);
        }
        let outer = (self.shape.outer_len() - ETH_LEN) as u32;
        // What follows a datagram in its packet the kernel cuts off (`udp_rcv` in its `net/ipv4/udp.c`).
        let len = match self.udp_len {
            Some(udp_len) => u32::from(udp_len) + outer - (UDP_LEN + TUNNEL_LEN) as u32,
            None => self.len,
        };
        let whole = self.len + ETH_LEN as u32 <= frame_len;
        let agree = len >= outer + ETH_LEN as u32 && len <= self.len;
        if whole && agree && self.sums_up { Ok(len + ETH_LEN as u32) } else { Err(Verdict::OuterMalformed) }
    }
}

/// `header`: of VXLAN, Geneve without options, or GRE with a key. `config` says how strict we are.
#[inline(always)]
pub fn tunnel(
    encapsulation: Encapsulation,
    header: &Words<TUNNEL_WORDS>,
    config: &Config,
) -> Result<TunnelHeader, Verdict> {
    let strict = config.flags & Config::STRICT_RESERVED != 0;
    let [first, second] = header[0].to_ne_bytes();
    let last = header[3].to_ne_bytes()[1];
    let vni = u32::from(u16::from_be(header[2])) << 8 | u32::from(u16::from_be(header[3]) >> 8);
    match encapsulation {
        Encapsulation::Vxlan => {
            const FLAG_I: u8 = 0x08;
            if first & FLAG_I == 0 {
                return Err(Verdict::VxlanFlags);
            }
            let other = header[0] & !u16::from_ne_bytes([FLAG_I, 0]);
            if strict && (other | header[1] | u16::from(last)) != 0 {
                return Err(Verdict::ReservedBits);
            }
            Ok(TunnelHeader { vni, options_len: 0 })
        }
        Encapsulation::Geneve => {
            const VERSION: u8 = 0xc0;
            const OPTIONS_LEN: u8 = 0x3f;
            /// A control packet, and a critical option (RFC 8926 §3.4). We know neither.
            const CONTROL: u8 = 0x80;
            const CRITICAL: u8 = 0x40;
            const RESERVED: u8 = 0x3f;
            if first & VERSION != 0 || header[1] != ETHERTYPE_TEB.to_be() {
                return Err(Verdict::TunnelHeader);
            }
            if second & (CONTROL | CRITICAL) != 0 {
                return Err(Verdict::GeneveCritical);
            }
            if strict && (second & RESERVED) | last != 0 {
                return Err(Verdict::ReservedBits);
            }
            Ok(TunnelHeader { vni, options_len: (first & OPTIONS_LEN) * 4 })
        }
        Encapsulation::Nvgre => {
            /// Checksum, routing and sequence number would be fields between the flags and the key (RFC 7637 §3.2).
            const OTHER_FIELDS: u8 = 0xd0;
            const VERSION: u8 = 0x07;
            if first & OTHER_FIELDS != 0 || second & VERSION != 0 {
                return Err(Verdict::TunnelHeader);
            }
            if strict && (first & 0x0f) | (second & !VERSION) != 0 {
                return Err(Verdict::ReservedBits);
            }
            Ok(TunnelHeader { vni, options_len: 0 })
        }
    }
}
