//! Well-formed frames and what chance makes of them: flipped bits, cut ends, junk.

use rand::{Rng, rngs::SmallRng, seq::IndexedRandom as _};

use super::{
    Stimulus, grammar, outer,
    rig::{PORTS, TUNNEL, UPLINKS},
};
use crate::{
    frame::mend_ipv4_checksum,
    model::{Hook, Tables, untagged},
};

/// What a test-run takes: of XDP an Ethernet header (`bpf_prog_test_run_xdp` in the kernel's `net/bpf/test_run.c`), of TC
/// an IP header, too, where the frame says IP (`bpf_prog_test_run_skb`); and less than a page.
fn is_runnable(stimulus: &Stimulus) -> bool {
    const MAX: usize = 3400;
    if stimulus.hook.is_xdp() {
        return (14..=MAX).contains(&stimulus.frame.len());
    }
    let (_, frame) = untagged(&stimulus.frame);
    let min = match frame.get(12..14) {
        None => return false,
        Some([0x08, 0x00]) => 34,
        Some([0x86, 0xdd]) => 54,
        Some(_) => 14,
    };
    (min..=MAX).contains(&frame.len())
}

/// A tag behind another that is cut short is not: the hooks drop it for different reasons.
pub(super) fn is_judged(stimulus: &Stimulus) -> bool {
    let (mut tag, mut bare) = untagged(&stimulus.frame);
    while tag.is_some() {
        if bare.len() < 18 && matches!(bare.get(12..14), Some([0x81, 0] | [0x88, 0xa8])) {
            return false;
        }
        (tag, bare) = untagged(&bare);
    }
    is_runnable(stimulus)
}

/// Appends a frame, or all that can be cut from one.
pub(super) fn extend(rng: &mut SmallRng, tables: &Tables, stimuli: &mut Vec<Stimulus>) {
    let (hook, ifindex, mut frame) = drawn(rng, tables);
    match rng.random_range(0..1000) {
        0..600 => {}
        600..880 => flip(rng, &mut frame),
        880..900 if matches!(hook, Hook::Uplink | Hook::UplinkXdp) => {
            let trail = grammar::bytes(rng, 1..61);
            frame.extend(trail);
        }
        880..960 => frame.truncate(rng.random_range(14..=frame.len().max(14))),
        960..990 => scramble(rng, &mut frame),
        990..998 => {
            frame = vec![0; rng.random_range(14..200)];
            rng.fill(frame.as_mut_slice());
        }
        _ => {
            let cuts =
                (14..frame.len()).map(|length| Stimulus { hook, ifindex, frame: frame[..length].to_vec() });
            stimuli.extend(cuts.filter(is_judged));
        }
    }
    // A wrong sum would hide what else is wrong with an outer header.
    let is_ipv4 = frame.len() >= 34 && frame[12..15] == [0x08, 0x00, 0x45];
    if is_ipv4 && matches!(hook, Hook::Uplink | Hook::UplinkXdp) && rng.random_bool(0.7) {
        mend_ipv4_checksum(&mut frame);
    }
    let stimulus = Stimulus { hook, ifindex, frame };
    if is_judged(&stimulus) {
        stimuli.push(stimulus);
    }
}

fn drawn(rng: &mut SmallRng, tables: &Tables) -> (Hook, u32, Vec<u8>) {
    let at_xdp = rng.random_bool(0.4);
    match rng.random_range(0..20) {
        0..10 => {
            let bound: Vec<_> = tables.bindings.iter().collect();
            let (ifindex, vlan, vni) = match bound.choose(rng) {
                Some(((ifindex, vlan), binding)) if rng.random_bool(0.97) => (*ifindex, *vlan, binding.vni),
                _ => (*PORTS.choose(rng).expect("there are four"), 0, 1),
            };
            let mut frame = grammar::inner(rng, tables, vni);
            if vlan != 0 || rng.random_bool(0.03) {
                // With a priority (IEEE 802.1Q).
                let tci = vlan | if rng.random() { 0 } else { rng.random::<u16>() & 0xf000 };
                frame.splice(12..12, [[0x81, 0], tci.to_be_bytes()].concat());
            }
            (if at_xdp { Hook::PortXdp } else { Hook::Port }, ifindex, frame)
        }
        10..17 => {
            let ifindex = *UPLINKS.choose(rng).expect("there are two");
            let hook = if at_xdp { Hook::UplinkXdp } else { Hook::Uplink };
            (hook, ifindex, outer::frame(rng, tables))
        }
        _ => {
            let (tunnel, frame) = outer::decapsulated(rng, tables);
            (Hook::Tunnel(tunnel), TUNNEL, frame)
        }
    }
}

/// One to four bits, most of them in the headers.
pub(super) fn flip(rng: &mut SmallRng, frame: &mut [u8]) {
    for _ in 0..rng.random_range(1..=4) {
        let end = if rng.random_bool(0.9) { frame.len().min(100) } else { frame.len() };
        frame[rng.random_range(0..end)] ^= 1 << rng.random_range(0..8);
    }
}

/// Some bytes in a row become others: all zeros, all ones, or any.
fn scramble(rng: &mut SmallRng, frame: &mut [u8]) {
    let at = rng.random_range(0..frame.len().min(100));
    let end = (at + rng.random_range(1..=8)).min(frame.len());
    match rng.random_range(0..3) {
        0 => frame[at..end].fill(0),
        1 => frame[at..end].fill(0xff),
        _ => rng.fill(&mut frame[at..end]),
    }
}
