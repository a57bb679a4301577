//! Frames that both kinds of host have the same opinion of.

use rand::{Rng as _, rngs::SmallRng, seq::IndexedRandom as _};
use vtep_tests::{frame, fuzz, lab::rig::VNI};

use crate::twin::{FAR, FAR_TOO, Setting, VM};

const STATIONS: [[u8; 6]; 6] = [VM, FAR, FAR_TOO, [0xff; 6], [2, 0, 3, 0, 0, 1], [1, 0, 0x5e, 0, 0, 1]];
const ETHER_LEN: usize = 14;
const TAG_LEN: usize = 4;

/// As the VM sends them.
pub(crate) fn from_vm(rng: &mut SmallRng, setting: Setting, count: usize) -> Vec<Vec<u8>> {
    let mut frames = fuzz::frames(rng.random(), &STATIONS, count);
    for frame in &mut frames {
        resize(rng, setting, frame);
    }
    frames.retain(|frame| is_undisputed(frame));
    frames
}

/// As far VTEPs send them.
pub(crate) fn from_vteps(rng: &mut SmallRng, setting: Setting, count: usize) -> Vec<Vec<u8>> {
    let mut inner = fuzz::frames(rng.random(), &STATIONS, count);
    // Of a host's own MAC a frame from outside is a loop, which the kernel's bridge does not look for.
    inner.retain(|frame| frame[6..12] != VM);
    for frame in &mut inner {
        resize(rng, setting, frame);
    }
    inner.retain(|frame| is_undisputed(frame));
    inner.iter().map(|inner| outer(rng, setting, inner)).collect()
}

/// From an Ethernet header, or what the kernel's VXLAN device wants of IP (`skb_vlan_inet_prepare`), to the path's MTU;
/// often these, and odd lengths.
fn resize(rng: &mut SmallRng, setting: Setting, frame: &mut Vec<u8>) {
    let tag = if is_tag(frame, 12) { TAG_LEN } else { 0 };
    let min = ETHER_LEN
        + tag
        + match frame.get(12 + tag..14 + tag) {
            Some([0x08, 0x00]) => 20,
            Some([0x86, 0xdd]) => 40,
            // Its bridge wants a session's whole PPPoE header, if it has a firewall (`nf_bridge_encap_header_len`).
            Some([0x88, 0x64]) => 8,
            // The kernel's receive path wants that much behind a tag (`skb_vlan_untag`).
            _ => tag,
        };
    let max = setting.inner_max();
    let length = match rng.random_range(0..10) {
        0 => min,
        1 => max - rng.random_range(0..3),
        2..5 => rng.random_range(min..=max),
        _ => frame.len().clamp(min, max),
    };
    let before = frame.len();
    frame.resize(length, 0);
    if let Some(grown) = frame.get_mut(before..) {
        rng.fill(grown);
    }
}

/// What we do otherwise on purpose: a second tag inside is dropped, one that only says a priority is taken off, frames
/// for the next bridge stay on their link, where a kernel's bridge without spanning tree forwards one kind of them, and those to
/// where VTEPs speak BFD are no tenant's.
fn is_undisputed(frame: &[u8]) -> bool {
    const BRIDGE_GROUP: [u8; 6] = [1, 0x80, 0xc2, 0, 0, 0];
    const VTEPS_BFD: [u8; 6] = [0, 0x23, 0x20, 0, 0, 1];
    let is_tagged = is_tag(frame, 12);
    let says_priority = is_tagged && (frame[14] << 4, frame[15]) == (0, 0);
    frame[..6] != BRIDGE_GROUP
        && frame[..6] != VTEPS_BFD
        && !says_priority
        && !(is_tagged && is_tag(frame, 16))
}

pub(crate) fn is_tag(frame: &[u8], at: usize) -> bool {
    matches!(frame.get(at..at + 2), Some([0x81, 0] | [0x88, 0xa8]))
}

/// Mostly in order. Not among them: a UDP length that contradicts IP's, which costs the frame here, where the kernel cuts it.
fn outer(rng: &mut SmallRng, setting: Setting, inner: &[u8]) -> Vec<u8> {
    let ip = if setting.ipv6 { 40 } else { 20 };
    let (udp, vxlan) = (ETHER_LEN + ip, ETHER_LEN + ip + 8);
    let vni = if rng.random_bool(0.02) { VNI + 1 } else { VNI };
    let carrier = setting.carrier(rng.random_range(0..2), vni);
    let (mut frame, checksum) = carrier.wrap_checksummed(inner);
    let checksum = checksum.expect("VXLAN has one");
    let mut keeps_checksum = rng.random_bool(0.3);
    if rng.random_bool(0.05) {
        let reserved = *[0, 1, 2, 3, 7].choose(rng).expect("some");
        frame[vxlan + reserved] ^= 1 << rng.random_range(0..8);
        keeps_checksum = false;
    }
    if !keeps_checksum {
        frame[udp..udp + 2].copy_from_slice(&rng.random::<u16>().to_be_bytes());
        frame[checksum].fill(0);
    } else if !setting.packet_rate && rng.random_bool(0.05) {
        // XDP verifies none.
        frame[checksum][0] ^= 0x55;
    }
    frame[if setting.ipv6 { 21 } else { 22 }] = rng.random_range(1..=255);
    let tos = if rng.random_bool(0.5) { 0 } else { rng.random() };
    frame = frame::with_tos(&frame, tos);
    if !setting.ipv6 && rng.random_bool(0.03) {
        frame[ETHER_LEN + 10] ^= 1 << rng.random_range(0..8);
    }
    if rng.random_bool(0.03) {
        let length = frame.len() + rng.random_range(1..40);
        frame.resize(length.min(ETHER_LEN + 1500), 0x5a);
    }
    frame
}
