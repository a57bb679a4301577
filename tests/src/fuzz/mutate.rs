//! Well-formed frames and what chance makes of them: flipped bits, cut ends, junk.

use rand::{Rng, rngs::SmallRng, seq::IndexedRandom as _};

use super::{
    Stimulus, grammar,
    rig::{PORTS, UPLINKS},
};
use crate::model::{Hook, Tables};

/// What a test-run takes of a TC program (`bpf_prog_test_run_skb` in the kernel's `net/bpf/test_run.c`): an Ethernet
/// header, an IP header where the frame says IP, and less than a page.
pub(super) fn is_runnable(frame: &[u8]) -> bool {
    let min = match frame.get(12..14) {
        None => return false,
        Some([0x08, 0x00]) => 34,
        Some([0x86, 0xdd]) => 54,
        Some(_) => 14,
    };
    (min..=3400).contains(&frame.len())
}

/// Appends a frame, or all that can be cut from one.
pub(super) fn extend(rng: &mut SmallRng, tables: &Tables, stimuli: &mut Vec<Stimulus>) {
    let (hook, ifindex, mut frame) = if rng.random_bool(0.55) {
        let bound: Vec<_> = tables.bindings.iter().filter(|((_, vlan), _)| *vlan == 0).collect();
        let (ifindex, vni) = match bound.choose(rng) {
            Some(((ifindex, _), binding)) if rng.random_bool(0.97) => (*ifindex, binding.vni),
            _ => (*PORTS.choose(rng).expect("there are four"), 1),
        };
        (Hook::Port, ifindex, grammar::inner(rng, tables, vni))
    } else {
        (Hook::Uplink, *UPLINKS.choose(rng).expect("there are two"), grammar::outer(rng, tables))
    };
    match rng.random_range(0..1000) {
        0..600 => {}
        600..880 => flip(rng, &mut frame),
        880..900 if hook == Hook::Uplink => {
            frame.extend((0..rng.random_range(1..=60)).map(|_| rng.random::<u8>()))
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
            stimuli.extend(cuts.filter(|cut| is_runnable(&cut.frame)));
        }
    }
    if is_runnable(&frame) {
        stimuli.push(Stimulus { hook, ifindex, frame });
    }
}

/// One to four bits, most of them in the headers.
fn flip(rng: &mut SmallRng, frame: &mut [u8]) {
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
