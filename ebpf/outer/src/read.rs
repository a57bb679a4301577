//! From the underlay: whose packet it is, and what its headers say.

use vtep_abi::{AddrBytes, Config, Verdict, mapped_v4};

use crate::checksum::{fold, words};
use crate::{
    ETH_LEN, ETHERTYPE_TEB, Encapsulation, GENEVE_PORT, IPPROTO_GRE, IPPROTO_UDP, IPV4_LEN, IPV6_LEN, Shape,
    TUNNEL_LEN, UDP_LEN,
};

/// Ethernet, IP and as much of what follows as tells whose it is: ports, or GRE's flags.
pub const IPV4_HEAD: usize = ETH_LEN + IPV4_LEN + UDP_LEN;
pub const IPV6_HEAD: usize = ETH_LEN + IPV6_LEN + UDP_LEN;
/// A tunnel's own header, without options, and the inner Ethernet header, which end a shape.
pub const TAIL: usize = TUNNEL_LEN + ETH_LEN;

/// A packet to our address, in an encapsulation that we take.
#[derive(Clone, Copy)]
pub struct Packet {
    pub encapsulation: Encapsulation,
    pub shape: Shape,
    pub source: AddrBytes,
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
pub fn ipv4(head: &[u8; IPV4_HEAD], config: &Config) -> Option<Packet> {
    /// Version and header length in words. No VTEP sends options; should the kernel's tunnel device take them,
    /// `tunnel_in` will not.
    const WITHOUT_OPTIONS: u8 = 0x45;
    const MORE_FRAGMENTS: u16 = 0x2000;
    const FRAGMENT_OFFSET: u16 = 0x1fff;
    const IP: usize = ETH_LEN;
    let fragment = u16_at(head, IP + 6);
    let local = [head[IP + 16], head[IP + 17], head[IP + 18], head[IP + 19]];
    let to_us = head[IP] == WITHOUT_OPTIONS
        // Only a first fragment has ports.
        && fragment & FRAGMENT_OFFSET == 0
        && local == config.local_v4
        && local != [0; 4];
    if !to_us {
        return None;
    }
    let source = [head[IP + 12], head[IP + 13], head[IP + 14], head[IP + 15]];
    let payload = [
        head[IP + 20],
        head[IP + 21],
        head[IP + 22],
        head[IP + 23],
        head[IP + 24],
        head[IP + 25],
        head[IP + 26],
        head[IP + 27],
    ];
    let (encapsulation, is_udp) = encapsulation(head[IP + 9], &payload, config)?;
    Some(Packet {
        encapsulation,
        shape: if is_udp { Shape::Ipv4Udp } else { Shape::Ipv4Gre },
        source: mapped_v4(source),
        tos: head[IP + 1],
        checksummed: is_udp && (payload[6] | payload[7]) != 0,
        len: u32::from(u16_at(head, IP + 2)),
        udp_len: if is_udp { Some(u16::from_be_bytes([payload[4], payload[5]])) } else { None },
        fragment: fragment & MORE_FRAGMENTS != 0,
        sums_up: sums_up(head),
    })
}

/// `None`: it is the host's. So are extension headers, a fragment's among them: no VTEP sends any.
#[inline(always)]
pub fn ipv6(head: &[u8; IPV6_HEAD], config: &Config) -> Option<Packet> {
    const IP: usize = ETH_LEN;
    const PAYLOAD: usize = IP + IPV6_LEN;
    let mut local = [0; 16];
    local.copy_from_slice(&head[IP + 24..IP + 40]);
    if head[IP] >> 4 != 6 || local != config.local_v6 || local == [0; 16] {
        return None;
    }
    let mut source = [0; 16];
    source.copy_from_slice(&head[IP + 8..IP + 24]);
    let mut payload = [0; 8];
    payload.copy_from_slice(&head[PAYLOAD..]);
    let (encapsulation, is_udp) = encapsulation(head[IP + 6], &payload, config)?;
    Some(Packet {
        encapsulation,
        shape: if is_udp { Shape::Ipv6Udp } else { Shape::Ipv6Gre },
        source,
        // The traffic class lies across the first two bytes (RFC 8200 §3).
        tos: (head[IP] << 4) | (head[IP + 1] >> 4),
        checksummed: is_udp && (payload[6] | payload[7]) != 0,
        len: u32::from(u16_at(head, IP + 4)) + IPV6_LEN as u32,
        udp_len: if is_udp { Some(u16::from_be_bytes([payload[4], payload[5]])) } else { None },
        fragment: false,
        sums_up: true,
    })
}

/// RFC 1071: the words of a header and its checksum add up to all ones. Whose sum is wrong is to be discarded (RFC 1122
/// §3.2.1.2), for what admits the packet may be what is wrong.
#[inline(always)]
const fn sums_up(head: &[u8; IPV4_HEAD]) -> bool {
    fold(words(head, ETH_LEN, ETH_LEN + IPV4_LEN)) == 0xffff
}

/// And whether it is in UDP.
#[inline(always)]
fn encapsulation(protocol: u8, payload: &[u8; 8], config: &Config) -> Option<(Encapsulation, bool)> {
    let on = |flag: u16| config.flags & flag != 0;
    let port = [payload[2], payload[3]];
    match protocol {
        IPPROTO_UDP if port == config.udp_port => Some((Encapsulation::Vxlan, true)),
        IPPROTO_UDP if port == GENEVE_PORT.to_be_bytes() && on(Config::GENEVE) => {
            Some((Encapsulation::Geneve, true))
        }
        // A host's other GRE tunnels carry something else, or have no key.
        IPPROTO_GRE if port == ETHERTYPE_TEB.to_be_bytes() && payload[0] & 0x20 != 0 && on(Config::NVGRE) => {
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
    header: &[u8; TUNNEL_LEN],
    config: &Config,
) -> Result<TunnelHeader, Verdict> {
    let strict = config.flags & Config::STRICT_RESERVED != 0;
    let vni = u32::from_be_bytes([0, header[4], header[5], header[6]]);
    match encapsulation {
        Encapsulation::Vxlan => {
            const FLAG_I: u8 = 0x08;
            if header[0] & FLAG_I == 0 {
                return Err(Verdict::VxlanFlags);
            }
            let reserved = (header[0] & !FLAG_I) | header[1] | header[2] | header[3] | header[7];
            if strict && reserved != 0 {
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
            if header[0] & VERSION != 0 || [header[2], header[3]] != ETHERTYPE_TEB.to_be_bytes() {
                return Err(Verdict::TunnelHeader);
            }
            if header[1] & (CONTROL | CRITICAL) != 0 {
                return Err(Verdict::GeneveCritical);
            }
            if strict && (header[1] & RESERVED) | header[7] != 0 {
                return Err(Verdict::ReservedBits);
            }
            Ok(TunnelHeader { vni, options_len: (header[0] & OPTIONS_LEN) * 4 })
        }
        Encapsulation::Nvgre => {
            /// Checksum, routing and sequence number would be fields between the flags and the key (RFC 7637 §3.2).
            const OTHER_FIELDS: u8 = 0xd0;
            const VERSION: u8 = 0x07;
            if header[0] & OTHER_FIELDS != 0 || header[1] & VERSION != 0 {
                return Err(Verdict::TunnelHeader);
            }
            if strict && (header[0] & 0x0f) | (header[1] & !VERSION) != 0 {
                return Err(Verdict::ReservedBits);
            }
            Ok(TunnelHeader { vni, options_len: 0 })
        }
    }
}

#[inline(always)]
const fn u16_at<const N: usize>(bytes: &[u8; N], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}
