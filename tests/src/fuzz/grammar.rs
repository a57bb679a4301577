//! Well-formed frames, of every kind that a network has, around the addresses of the tables.

use std::net::{Ipv4Addr, Ipv6Addr};

use rand::{Rng, rngs::SmallRng, seq::IndexedRandom as _};

use super::draw;
use crate::model::{Mac, Tables, Tags};

const TYPE_IPV4: u16 = 0x0800;
const TYPE_ARP: u16 = 0x0806;
const TYPE_RARP: u16 = 0x8035;
const TYPE_VLAN: u16 = 0x8100;
const TYPE_PROVIDER_VLAN: u16 = 0x88a8;
const TYPE_IPV6: u16 = 0x86dd;
const TYPE_LLDP: u16 = 0x88cc;

/// A frame as a VM sends it in `vni`.
pub(super) fn inner(rng: &mut SmallRng, tables: &Tables, vni: u32) -> Vec<u8> {
    let mut frame = [destination(rng, tables, vni), source(rng)].concat();
    tags(rng, tables, &mut frame);
    let (kind, payload) = packet(rng, tables, 0);
    frame.extend(kind.to_be_bytes());
    frame.extend(payload);
    sworn(rng, &mut frame);
    fitted(rng, tables, frame)
}

fn destination(rng: &mut SmallRng, tables: &Tables, vni: u32) -> Mac {
    match rng.random_range(0..20) {
        0..12 => {
            let known: Vec<Mac> =
                tables.fdb.keys().filter(|(of, _)| *of == vni).map(|(_, mac)| *mac).collect();
            known.choose(rng).copied().unwrap_or_else(|| draw::mac(0))
        }
        12..15 => draw::mac(rng.random_range(0..20)),
        15 => [0xff; 6],
        16 => [1, 0, 0x5e, 0, 0, rng.random()],
        17 => [0x33, 0x33, 0, 0, 0, rng.random()],
        // Reserved for bridges (IEEE 802.1Q §8.6.3), and some of another kind.
        18 => [1, 0x80, 0xc2, 0, 0, rng.random_range(0..0x30)],
        // To VTEPs themselves, and their neighbours.
        _ if rng.random() => [0, 0x23, 0x20, 0, 0, rng.random_range(0..3)],
        _ => rng.random(),
    }
}

fn source(rng: &mut SmallRng) -> Mac {
    match rng.random_range(0..20) {
        0..17 => draw::mac(rng.random_range(0..20)),
        17 => rng.random(),
        18 => [0; 6],
        _ => [0xff; 6],
    }
}

/// Mostly none, more where some port keeps them; at a port the outermost is there to choose its network.
fn tags(rng: &mut SmallRng, tables: &Tables, frame: &mut Vec<u8>) {
    let kept = tables.bindings.values().any(|binding| binding.tags != Tags::None);
    if !rng.random_bool(if kept { 0.3 } else { 0.06 }) {
        return;
    }
    for _ in 0..*[1, 1, 1, 2, 2, 3].choose(rng).expect("some") {
        let tpid = if rng.random_bool(0.7) { TYPE_VLAN } else { TYPE_PROVIDER_VLAN };
        frame.extend(tpid.to_be_bytes());
        let vlan = *[0, 1, 42, 100, 4094, rng.random::<u16>() & 0x0fff].choose(rng).expect("some");
        let priority = if rng.random() { 0 } else { rng.random::<u16>() & 0xf000 };
        frame.extend((vlan | priority).to_be_bytes());
    }
}

/// Ether type and what follows it. `depth` tunnels are around it.
fn packet(rng: &mut SmallRng, tables: &Tables, depth: u8) -> (u16, Vec<u8>) {
    match rng.random_range(0..20) {
        0..9 => {
            let (protocol, payload) = transport(rng, tables, depth);
            let (from, to) = (address(rng), address(rng));
            (TYPE_IPV4, ipv4(rng, protocol, from, to, &payload))
        }
        9..13 => (TYPE_IPV6, ipv6(rng, tables, depth)),
        13 => (TYPE_IPV6, neighbour(rng)),
        14..17 => (TYPE_ARP, arp(rng)),
        17 => (TYPE_RARP, arp(rng)),
        18 => (TYPE_LLDP, bytes(rng, 0..60)),
        _ => (rng.random(), bytes(rng, 0..100)),
    }
}

/// With options, and as a fragment, now and then.
pub(super) fn ipv4(
    rng: &mut SmallRng,
    protocol: u8,
    from: Ipv4Addr,
    to: Ipv4Addr,
    payload: &[u8],
) -> Vec<u8> {
    let options = if rng.random_bool(0.93) { 0 } else { rng.random_range(1..=10) };
    let mut header = vec![0x45 + options, rng.random()];
    let length = 20 + usize::from(options) * 4 + payload.len();
    header.extend(u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
    header.extend(rng.random::<[u8; 2]>());
    let fragment: u16 = *[0, 0x4000, 0, 0x4000, 0, 0x4000, 0, 0x4000, 0x8000, 0x2000, rng.random()]
        .choose(rng)
        .expect("some");
    header.extend(fragment.to_be_bytes());
    header.extend([rng.random_range(1..=255), protocol, 0, 0]);
    header.extend(from.octets());
    header.extend(to.octets());
    // No operation (RFC 791 §3.1).
    header.extend(vec![1; usize::from(options) * 4]);
    let sum = checksum(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    [header.as_slice(), payload].concat()
}

fn ipv6(rng: &mut SmallRng, tables: &Tables, depth: u8) -> Vec<u8> {
    let (protocol, payload) =
        if rng.random_bool(0.2) { (58, icmp(rng)) } else { transport(rng, tables, depth) };
    let mut next = protocol;
    let mut rest = payload;
    // Hop-by-hop, routing, fragment and destination options (RFC 8200 §4).
    for kind in [60, 44, 43, 0] {
        if rng.random_bool(0.1) {
            let mut extension = vec![next, 0];
            extension.extend(bytes(rng, 6..7));
            rest = [extension, rest].concat();
            next = kind;
        }
    }
    let mut header = (0x6000_0000 | (rng.random::<u32>() & 0x0fff_ffff)).to_be_bytes().to_vec();
    header.extend(u16::try_from(rest.len()).unwrap_or(u16::MAX).to_be_bytes());
    header.extend([next, rng.random_range(1..=255)]);
    header.extend([address_v6(rng).octets(), address_v6(rng).octets()].concat());
    header.extend(rest);
    header
}

/// A station's, or any.
fn address(rng: &mut SmallRng) -> Ipv4Addr {
    match rng.random_range(0..10) {
        0..7 => draw::v4(rng.random_range(0..16)),
        7 => Ipv4Addr::UNSPECIFIED,
        _ => Ipv4Addr::from(rng.random::<[u8; 4]>()),
    }
}

fn address_v6(rng: &mut SmallRng) -> Ipv6Addr {
    match rng.random_range(0..10) {
        0..7 => draw::v6(rng.random_range(0..16)),
        7 => Ipv6Addr::UNSPECIFIED,
        _ => Ipv6Addr::from(rng.random::<[u8; 16]>()),
    }
}

/// Solicitations and advertisements (RFC 4861 §4.3, §4.4).
fn neighbour(rng: &mut SmallRng) -> Vec<u8> {
    let kind = if rng.random_bool(0.7) { 135 } else { 136 };
    let mut icmp = vec![kind, u8::from(rng.random_bool(0.05)), 0, 0, 0, 0, 0, 0];
    icmp.extend(draw::v6(rng.random_range(0..16)).octets());
    let options = bytes(rng, 0..20);
    icmp.extend(options);
    let mut packet = vec![0x60, 0, 0, 0, 0, u8::try_from(icmp.len()).expect("it is short"), 58];
    packet.push(if rng.random_bool(0.95) { 255 } else { rng.random() });
    packet.extend([address_v6(rng).octets(), address_v6(rng).octets()].concat());
    packet.extend(icmp);
    packet
}

fn transport(rng: &mut SmallRng, tables: &Tables, depth: u8) -> (u8, Vec<u8>) {
    match rng.random_range(0..10) {
        0..4 => {
            let mut header = bytes(rng, 20..21);
            header[12] = 0x50;
            (6, [header, bytes(rng, 0..200)].concat())
        }
        4..7 => {
            let payload = bytes(rng, 0..200);
            (17, udp(rng.random(), rng.random(), &payload))
        }
        7 => (1, icmp(rng)),
        // A tunnel of the tenant's own.
        8 if depth < 2 => {
            let (kind, payload) = packet(rng, tables, depth + 1);
            let mut frame = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]].concat();
            frame.extend(kind.to_be_bytes());
            let vxlan = [&[8, 0, 0, 0, 0, 0, 1, 0], frame.as_slice(), &payload].concat();
            (17, udp(rng.random(), 4789, &vxlan))
        }
        _ => (rng.random(), bytes(rng, 0..64)),
    }
}

fn icmp(rng: &mut SmallRng) -> Vec<u8> {
    let mut packet = bytes(rng, 8..80);
    packet[0] = *[0, 8, 3, 128, 133, 134, 135, 136].choose(rng).expect("some");
    packet[1] = 0;
    packet
}

pub(super) fn udp(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).unwrap_or(u16::MAX);
    let mut datagram = [from, to, length, 0xbeef].map(u16::to_be_bytes).concat();
    datagram.extend(payload);
    datagram
}

/// For IPv4 over Ethernet (RFC 826).
fn arp(rng: &mut SmallRng) -> Vec<u8> {
    let operation = if rng.random_bool(0.7) { 1 } else { rng.random_range(1..=4) };
    let mut packet = vec![0, 1, 8, 0, 6, 4, 0, operation];
    let own = address(rng);
    packet.extend(draw::mac(rng.random_range(0..12)));
    packet.extend(own.octets());
    packet.extend(if rng.random() { [0; 6] } else { draw::mac(rng.random_range(0..12)) });
    let gratuitous = rng.random_bool(0.2);
    packet.extend(if gratuitous { own } else { address(rng) }.octets());
    packet
}

/// What a sender says of itself in ARP is mostly true, and questions are mostly put to all.
fn sworn(rng: &mut SmallRng, frame: &mut [u8]) {
    let is_arp = frame.len() >= 42 && frame[12..14] == TYPE_ARP.to_be_bytes();
    let is_solicitation = frame.len() >= 78 && frame[12..14] == TYPE_IPV6.to_be_bytes() && frame[54] == 135;
    if is_arp && rng.random_bool(0.8) {
        frame.copy_within(6..12, 22);
    }
    if (is_arp || is_solicitation) && rng.random_bool(0.7) {
        frame[..6].copy_from_slice(&[0xff; 6]);
    }
}

/// Now and then a frame is as long as a path takes, or by a little more or less.
fn fitted(rng: &mut SmallRng, tables: &Tables, mut frame: Vec<u8>) -> Vec<u8> {
    let mtus: Vec<u16> = tables.vteps.values().map(|vtep| vtep.mtu).collect();
    if let Some(mtu) = mtus.choose(rng)
        && rng.random_bool(0.06)
    {
        // From an IPv6 header's down to those of GRE over IPv4.
        let outer = *[28, 36, 48, 56, 0].choose(rng).expect("some");
        let length = usize::from(*mtu) - outer + 2 - rng.random_range(0..5);
        frame.resize(length, 0xa5);
    }
    let mtus: Vec<u32> = tables.local_ports.values().map(|port| port.mtu).filter(|mtu| *mtu < 2000).collect();
    if let Some(mtu) = mtus.choose(rng)
        && rng.random_bool(0.06)
    {
        // With or without a tag that counts not.
        frame.resize(*mtu as usize + 20 - rng.random_range(0..9), 0x5a);
    }
    frame
}

pub(super) fn bytes(rng: &mut SmallRng, length: std::ops::Range<usize>) -> Vec<u8> {
    let mut bytes = vec![0; rng.random_range(length)];
    rng.fill(bytes.as_mut_slice());
    bytes
}

/// RFC 1071.
fn checksum(header: &[u8]) -> u16 {
    let mut sum: u32 = header.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !u16::try_from(sum).expect("folded into 16 bits")
}
