//! Tells the sender of a frame that its path has no room for it: ICMP "fragmentation needed" (RFC 1191 §4) or "packet
//! too big" (RFC 4443 §3.2). A bridge has no address, so the answer comes from the one that was sent to.

use vtep_abi::{PortValue, Verdict};
use vtep_outer::checksum::{fold, words};

use crate::End;
use crate::context::{Frame as _, Refused, Skb, repeat};
use crate::header::{ETH_LEN, EtherType, Ethernet, IPV4_LEN, IPV6_LEN};
use crate::police;
use crate::port;
use crate::tagged;
use crate::vlan::Tag;

const ICMP_LEN: usize = 8;
const V4_HEAD: usize = ETH_LEN + IPV4_LEN + ICMP_LEN;
const V6_HEAD: usize = ETH_LEN + IPV6_LEN + ICMP_LEN;
const ICMPV4: u8 = 1;
const ICMPV6: u8 = 58;
const HOPS: u8 = 64;

/// A frame that a path had no room for.
pub(crate) struct TooBig<'a> {
    pub(crate) port: &'a PortValue,
    pub(crate) ethernet: &'a Ethernet,
    pub(crate) kept: Tag,
    /// The largest inner IP packet on the path.
    pub(crate) room: u16,
}

/// Turns the frame into the answer, if its sender may be answered.
#[inline(always)]
pub(crate) fn tell(frame: Skb, refused: &TooBig<'_>, untold: Verdict) -> End {
    let told = match refused.ethernet.ether_type() {
        EtherType::IPV4 => tell_v4(frame, refused),
        EtherType::IPV6 => tell_v6(frame, refused),
        _ => Err(Refused),
    };
    let &TooBig { port, kept, .. } = refused;
    let verdict = if matches!(untold, Verdict::PortMtu) { Verdict::PortMtuTold } else { Verdict::TooBigTold };
    match told {
        Ok(()) if !kept.is_none() => tagged::deliver(frame, port.vni, port.local_port, kept, verdict),
        Ok(()) => port::deliver_apart(frame, port.vni, port.local_port, verdict).by_interface(),
        Err(Refused) => untold.into(),
    }
}

#[inline(never)]
fn tell_v4(frame: Skb, refused: &TooBig<'_>) -> Result<(), Refused> {
    /// With the outer header 576 bytes, as much as fits in blocks (RFC 1812 §4.3.2.3).
    const QUOTED_MAX: u32 = 544;
    const FRAGMENT_OFFSET: u16 = 0x1fff;
    let head: [u8; ETH_LEN + IPV4_LEN] = frame.head().ok_or(Refused)?;
    let ip = &head[ETH_LEN..];
    let src = [ip[12], ip[13], ip[14], ip[15]];
    let dst = [ip[16], ip[17], ip[18], ip[19]];
    let header_len = u32::from(ip[0] & 0xf) * 4;
    let answered = ip[0] >> 4 == 4
        && header_len >= IPV4_LEN as u32
        && u16::from_be_bytes([ip[6], ip[7]]) & FRAGMENT_OFFSET == 0
        // RFC 1122 §3.2.2: neither to what names no single host nor to what was sent to many.
        && is_host_v4(src)
        && is_host_v4(dst)
        && !(ip[9] == ICMPV4 && is_error_v4(frame, header_len))
        && police::too_big(refused.port);
    if !answered {
        return Err(Refused);
    }
    let (quoted, sum) = quote(frame, QUOTED_MAX, V4_HEAD - ETH_LEN)?;
    let mut bytes = [0; V4_HEAD];
    refused.ethernet.write_answer(&mut bytes);
    let ip_len = (IPV4_LEN + ICMP_LEN) as u16 + quoted as u16;
    bytes[14] = 0x45;
    // Internetwork control (RFC 1812 §4.3.2.5).
    bytes[15] = 0xc0;
    bytes[16..18].copy_from_slice(&ip_len.to_be_bytes());
    bytes[22] = HOPS;
    bytes[23] = ICMPV4;
    bytes[26..30].copy_from_slice(&dst);
    bytes[30..34].copy_from_slice(&src);
    let checksum = !fold(words(&bytes, ETH_LEN, ETH_LEN + IPV4_LEN));
    bytes[24..26].copy_from_slice(&checksum.to_be_bytes());
    // Destination unreachable, fragmentation needed (RFC 792), and the next hop's MTU (RFC 1191 §4).
    bytes[34] = 3;
    bytes[35] = 4;
    bytes[40..42].copy_from_slice(&refused.room.to_be_bytes());
    let checksum = !fold(sum + words(&bytes, ETH_LEN + IPV4_LEN, V4_HEAD));
    bytes[36..38].copy_from_slice(&checksum.to_be_bytes());
    frame.write(0, &bytes)
}

#[inline(never)]
fn tell_v6(frame: Skb, refused: &TooBig<'_>) -> Result<(), Refused> {
    /// With the outer header 1280 bytes (RFC 4443 §2.4 c).
    const QUOTED_MAX: u32 = 1232;
    const NEXT_HEADER: u32 = ETH_LEN as u32 + 6;
    const SRC: u32 = ETH_LEN as u32 + 8;
    const DST: u32 = SRC + 16;
    let src: [u8; 16] = frame.load(SRC).ok_or(Refused)?;
    let dst: [u8; 16] = frame.load(DST).ok_or(Refused)?;
    let next_header = frame.byte(NEXT_HEADER).ok_or(Refused)?;
    let answered = src[0] != 0xff
        && src != [0; 16]
        && dst[0] != 0xff
        && !(next_header == ICMPV6 && is_error_v6(frame))
        && police::too_big(refused.port);
    if !answered {
        return Err(Refused);
    }
    let (quoted, sum) = quote(frame, QUOTED_MAX, V6_HEAD - ETH_LEN)?;
    let icmp_len = ICMP_LEN as u16 + quoted as u16;
    let mut bytes = [0; V6_HEAD];
    refused.ethernet.write_answer(&mut bytes);
    bytes[14] = 0x60;
    bytes[18..20].copy_from_slice(&icmp_len.to_be_bytes());
    bytes[20] = ICMPV6;
    bytes[21] = HOPS;
    bytes[22..38].copy_from_slice(&dst);
    bytes[38..54].copy_from_slice(&src);
    bytes[54] = 2;
    bytes[60..62].copy_from_slice(&refused.room.to_be_bytes());
    // The pseudo-header (RFC 8200 §8.1) has the addresses, the length and the protocol.
    let pseudo = u32::from(icmp_len) + u32::from(ICMPV6);
    let checksum = !fold(sum + pseudo + words(&bytes, ETH_LEN + 8, V6_HEAD));
    bytes[56..58].copy_from_slice(&checksum.to_be_bytes());
    frame.write(0, &bytes)
}

/// Zero, loopback, multicast, reserved and broadcast addresses name no host that could be told.
#[inline(always)]
const fn is_host_v4(address: [u8; 4]) -> bool {
    address[0] != 0 && address[0] != 127 && address[0] < 224
}

/// RFC 1122 §3.2.2. A type that cannot be read is not answered.
#[inline(always)]
fn is_error_v4(frame: Skb, header_len: u32) -> bool {
    frame.byte(ETH_LEN as u32 + header_len).is_none_or(|kind| matches!(kind, 3 | 4 | 5 | 11 | 12))
}

/// RFC 4443 §2.1.
#[inline(always)]
fn is_error_v6(frame: Skb) -> bool {
    frame.byte((ETH_LEN + IPV6_LEN) as u32).is_none_or(|kind| kind < 128)
}

/// Cuts the packet down to what is quoted and makes room for headers in front of it. Returns the quotation's length and
/// its sum (RFC 1071).
#[inline(always)]
fn quote(frame: Skb, quoted_max: u32, headers: usize) -> Result<(u32, u32), Refused> {
    let quoted = (frame.len() - ETH_LEN as u32).min(quoted_max) & !(BLOCK - 1);
    if quoted < QUOTED_MIN {
        return Err(Refused);
    }
    frame.set_len(ETH_LEN as u32 + quoted)?;
    let mut state = Summing { frame, sum: 0, failed: false };
    repeat(quoted / BLOCK, &mut state, add_block);
    if state.failed {
        return Err(Refused);
    }
    frame.push_head(headers as u32)?;
    Ok((quoted, state.sum))
}

const BLOCK: u32 = 16;
/// An IPv6 header and the ports behind it.
const QUOTED_MIN: u32 = 48;

struct Summing {
    frame: Skb,
    sum: u32,
    failed: bool,
}

extern "C" fn add_block(index: u32, state: &mut Summing) -> u64 {
    let block = state.frame.load::<{ BLOCK as usize }>(ETH_LEN as u32 + index * BLOCK);
    state.sum += block.map_or(0, |block| words(&block, 0, BLOCK as usize));
    state.failed |= block.is_none();
    u64::from(state.failed)
}
