//! Frames as VTEPs send them to us, or nearly: every encapsulation over both families.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rand::{Rng, rngs::SmallRng, seq::IndexedRandom as _};

use super::grammar::{self, bytes, ipv4, udp};
use crate::model::{Decapsulated, Encapsulation, Tables};

pub(super) fn frame(rng: &mut SmallRng, tables: &Tables) -> Vec<u8> {
    let vni = vni(rng, tables);
    let inner = grammar::inner(rng, tables, vni);
    let kinds = [Encapsulation::Vxlan, Encapsulation::Vxlan, Encapsulation::Geneve, Encapsulation::Nvgre];
    let encapsulation = *kinds.choose(rng).expect("some");
    let (protocol, datagram) = match encapsulation {
        Encapsulation::Nvgre => (47, nvgre(rng, vni, &inner)),
        Encapsulation::Vxlan => {
            let payload = vxlan(rng, vni, &inner);
            (17, in_udp(rng, tables.host.udp_port, &payload))
        }
        Encapsulation::Geneve => {
            let payload = geneve(rng, vni, &inner);
            (17, in_udp(rng, 6081, &payload))
        }
    };
    let mut frame = [[2, 0xaa, 0, 0, 0, 1], [2, 0xbb, 0, 0, 0, 1]].concat();
    match (sender(rng, tables, vni), tables.host.v4, tables.host.v6) {
        (IpAddr::V4(from), ours, _) => {
            let to = if rng.random_bool(0.96) { ours } else { None };
            let to = to.unwrap_or_else(|| Ipv4Addr::from(rng.random::<[u8; 4]>()));
            frame.extend([8, 0]);
            frame.extend(ipv4(rng, protocol, from, to, &datagram));
        }
        (IpAddr::V6(from), _, ours) => {
            let to = if rng.random_bool(0.96) { ours } else { None };
            let to = to.unwrap_or_else(|| Ipv6Addr::from(rng.random::<[u8; 16]>()));
            frame.extend([0x86, 0xdd]);
            frame.extend((0x6000_0000 | (rng.random::<u32>() & 0x0fff_ffff)).to_be_bytes());
            frame.extend(u16::try_from(datagram.len()).unwrap_or(u16::MAX).to_be_bytes());
            frame.extend([protocol, rng.random_range(1..=255)]);
            frame.extend([from.octets(), to.octets()].concat());
            frame.extend(datagram);
        }
    }
    frame
}

/// What the tunnel device hands on, and what it says of it.
pub(super) fn decapsulated(rng: &mut SmallRng, tables: &Tables) -> (Decapsulated, Vec<u8>) {
    let vni = vni(rng, tables);
    let (sender, admitted) = (sender(rng, tables, vni), rng.random_bool(0.97));
    (Decapsulated { vni, sender, admitted }, grammar::inner(rng, tables, vni))
}

fn vni(rng: &mut SmallRng, tables: &Tables) -> u32 {
    match tables.networks.keys().copied().collect::<Vec<_>>().choose(rng) {
        Some(vni) if rng.random_bool(0.94) => *vni,
        _ => rng.random_range(0..1 << 24),
    }
}

fn sender(rng: &mut SmallRng, tables: &Tables, vni: u32) -> IpAddr {
    let of =
        |other: u32| tables.senders.keys().filter(move |(of, _)| *of == other).map(|(_, address)| *address);
    let pool: Vec<IpAddr> = if rng.random_bool(0.92) { of(vni).collect() } else { of(0).collect() };
    match pool.choose(rng) {
        Some(address) if rng.random_bool(0.96) => *address,
        _ if rng.random() => Ipv4Addr::new(198, 51, 100, rng.random()).into(),
        _ => Ipv6Addr::from(rng.random::<[u8; 16]>()).into(),
    }
}

/// With a checksum, now and then.
fn in_udp(rng: &mut SmallRng, port: u16, payload: &[u8]) -> Vec<u8> {
    let port = if rng.random_bool(0.97) { port } else { rng.random() };
    let mut datagram = udp(rng.random(), port, payload);
    if rng.random_bool(0.8) {
        datagram[6..8].fill(0);
    }
    // Bytes behind a datagram are in its packet, and not in its own length.
    if rng.random_bool(0.05) {
        datagram.extend(bytes(rng, 1..30));
    }
    datagram
}

/// Mostly zero.
fn reserved(rng: &mut SmallRng) -> u8 {
    if rng.random_bool(0.95) { 0 } else { rng.random() }
}

fn vxlan(rng: &mut SmallRng, vni: u32, inner: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = vni.to_be_bytes();
    let flags = if rng.random_bool(0.94) { 8 } else { rng.random() };
    let mut header = [flags, reserved(rng), reserved(rng), reserved(rng), a, b, c, reserved(rng)].to_vec();
    header.extend(inner);
    header
}

fn geneve(rng: &mut SmallRng, vni: u32, inner: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = vni.to_be_bytes();
    let words = if rng.random_bool(0.6) { 0 } else { rng.random_range(0..64) };
    let version = if rng.random_bool(0.97) { 0 } else { 0x40 };
    let kind: u16 = if rng.random_bool(0.97) { 0x6558 } else { rng.random() };
    // Options that are said to be there and are not, too.
    let options = bytes(rng, 0..256);
    let there = if rng.random_bool(0.95) { usize::from(words) * 4 } else { 0 };
    let options = &options[..there.min(options.len())];
    let mut header = vec![version | words, reserved(rng)];
    header.extend(kind.to_be_bytes());
    header.extend([a, b, c, reserved(rng)]);
    [&header, options, inner].concat()
}

fn nvgre(rng: &mut SmallRng, vni: u32, inner: &[u8]) -> Vec<u8> {
    let [_, a, b, c] = vni.to_be_bytes();
    let flags = if rng.random_bool(0.95) { 0x20 } else { rng.random() };
    [&[flags, reserved(rng), 0x65, 0x58, a, b, c, rng.random()], inner].concat()
}
