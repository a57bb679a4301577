//! What an IP header tells of a frame whose skb is not there yet: the flow's hash, and whether the transport checksum is
//! still to be made. Pure: words in, numbers out. A word is two bytes as they lie in memory; ones' complement sums do
//! not mind their order (RFC 1071 §2).

use vtep_outer::{IPPROTO_UDP, IPV4_LEN, checksum};

pub(crate) const IPV4_WORDS: usize = IPV4_LEN / 2;
pub(crate) const IPV6_WORDS: usize = 20;
/// Up to and with the checksum.
pub(crate) const TCP_WORDS: usize = 9;
pub(crate) const UDP_WORDS: usize = 4;

const IPPROTO_ICMP: u8 = 1;
const IPPROTO_IGMP: u8 = 2;
const IPPROTO_TCP: u8 = 6;
const IPPROTO_ESP: u8 = 50;
const IPPROTO_ICMPV6: u8 = 58;
/// More fragments, or an offset.
const FRAGMENT: u16 = 0x3fff;

/// An IP header, digested.
#[derive(Clone, Copy)]
pub(crate) struct Network {
    /// Of the header without options.
    pub(crate) len: usize,
    pub(crate) transport: Transport,
    /// Ones' complement sum of the pseudo-header, not folded.
    pseudo: u32,
    hash: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp,
    Udp,
    /// Its checksum is never left to hardware.
    Whole,
    /// Options, an extension header, or a protocol that may carry another one with an unfinished checksum.
    Unknown,
}

impl Transport {
    #[inline(always)]
    const fn of(protocol: u8) -> Self {
        match protocol {
            IPPROTO_TCP => Self::Tcp,
            IPPROTO_UDP => Self::Udp,
            IPPROTO_ICMP | IPPROTO_IGMP | IPPROTO_ESP | IPPROTO_ICMPV6 => Self::Whole,
            _ => Self::Unknown,
        }
    }

    #[inline(always)]
    pub(crate) fn has_ports(self) -> bool {
        self == Self::Tcp || self == Self::Udp
    }
}

impl Network {
    #[inline(always)]
    pub(crate) fn v4(ip: &[u16; IPV4_WORDS]) -> Self {
        let protocol = ip[4].to_ne_bytes()[1];
        let transport = if ip[0].to_ne_bytes()[0] != 0x45 {
            Transport::Unknown
        } else if u16::from_be(ip[3]) & FRAGMENT != 0 {
            // Checksums are made before a packet is cut into fragments.
            Transport::Whole
        } else {
            Transport::of(protocol)
        };
        let transport_len = u16::from_be(ip[1]).saturating_sub(IPV4_LEN as u16);
        let addresses = u32::from(ip[6]) + u32::from(ip[7]) + u32::from(ip[8]) + u32::from(ip[9]);
        Self {
            len: IPV4_LEN,
            transport,
            pseudo: addresses + u32::from(transport_len.to_be()) + u32::from(u16::from(protocol).to_be()),
            hash: mix(long(ip, 6)) ^ u64::from(protocol),
        }
    }

    #[inline(always)]
    pub(crate) fn v6(ip: &[u16; IPV6_WORDS]) -> Self {
        let protocol = ip[3].to_ne_bytes()[0];
        let (mut addresses, mut hash) = (0, 0);
        let mut at = 4;
        while at < IPV6_WORDS {
            addresses +=
                u32::from(ip[at]) + u32::from(ip[at + 1]) + u32::from(ip[at + 2]) + u32::from(ip[at + 3]);
            hash = mix(hash ^ long(ip, at));
            at += 4;
        }
        Self {
            len: IPV6_WORDS * 2,
            transport: Transport::of(protocol),
            pseudo: addresses + u32::from(ip[2]) + u32::from(u16::from(protocol).to_be()),
            hash: hash ^ u64::from(protocol),
        }
    }

    /// Whether a checksum is that of the pseudo-header alone, not complemented (`CHECKSUM_PARTIAL` of the kernel's
    /// `skbuff.h`): the packet waits for its checksum, or for being cut into segments. Of finished checksums one in
    /// 65,535 looks the same.
    #[inline(always)]
    pub(crate) const fn is_partial(&self, checksum: u16) -> bool {
        checksum::fold(self.pseudo) == checksum
    }

    /// Equal for the frames of a flow.
    #[inline(always)]
    pub(crate) const fn hash(&self, ports: [u16; 2]) -> u32 {
        fold(self.hash ^ (ports[0] as u64) << 16 ^ (ports[1] as u64) << 40)
    }
}

/// Of a frame that is not IP, by its two addresses.
#[inline(always)]
pub(crate) fn hash_macs(macs: &[u16; 6]) -> u32 {
    fold(mix(long(macs, 0)) ^ u64::from(macs[4]) ^ u64::from(macs[5]) << 16)
}

/// Ports whose payload may be a frame with a checksum of its own that is still to be made: VXLAN (IANA's number and
/// Linux's first one) and Geneve.
#[inline(always)]
pub(crate) const fn is_tunnel(port: u16) -> bool {
    matches!(u16::from_be(port), 4789 | 8472 | 6081)
}

#[inline(always)]
fn long(words: &[u16], at: usize) -> u64 {
    u64::from(words[at])
        | u64::from(words[at + 1]) << 16
        | u64::from(words[at + 2]) << 32
        | u64::from(words[at + 3]) << 48
}

/// By a factor near 2^64 divided by the golden ratio, which spreads what differs in low bits over the high ones.
#[inline(always)]
const fn mix(value: u64) -> u64 {
    let product = value.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    product ^ (product >> 32)
}

#[inline(always)]
const fn fold(value: u64) -> u32 {
    (mix(value) >> 32) as u32
}
