//! Making room: the shortest row of moves, each to the other bucket of a key, that ends at a free slot.

use std::ops::Deref;
use std::sync::atomic::AtomicU64;

use vtep_abi::{MacKey, SLOTS};

use super::{MacTab, slots_of};

/// Keys that are considered. At a load of 0.95 a few dozen do.
const KEYS_MAX: usize = 1024;

/// A key that could move, and for whom it would make room.
struct Step {
    slot: usize,
    before: Option<usize>,
}

/// Moves in the order in which they are to be made, (from, to); the last one empties a slot of `buckets`. Slots that are
/// at rest take no part.
pub(super) fn shortest<W: Deref<Target = [AtomicU64]>>(
    table: &MacTab<W>,
    buckets: [u32; 2],
) -> Option<Vec<(usize, usize)>> {
    let mut steps: Vec<Step> = Vec::new();
    for bucket in buckets {
        reach(table, &mut steps, bucket, None);
    }
    let mut next = 0;
    while next < steps.len() {
        let slot = steps[next].slot;
        let bucket = other_bucket(table, slot)?;
        if let Some(free) = slots_of(bucket).find(|slot| table.is_usable(*slot)) {
            return Some(moves(&steps, next, free));
        }
        if steps.len() < KEYS_MAX {
            reach(table, &mut steps, bucket, Some(next));
        }
        next += 1;
    }
    None
}

fn reach<W: Deref<Target = [AtomicU64]>>(
    table: &MacTab<W>,
    steps: &mut Vec<Step>,
    bucket: u32,
    before: Option<usize>,
) {
    // All slots of a bucket are reached at once.
    let known = |slot| steps.iter().any(|step| step.slot / SLOTS == slot / SLOTS);
    if slots_of(bucket).next().is_some_and(known) {
        return;
    }
    let movable = slots_of(bucket).filter(|slot| {
        table.key(*slot) != 0 && !table.marks.was_rekeyed(*slot) && other_bucket(table, *slot) != Some(bucket)
    });
    let movable: Vec<usize> = movable.collect();
    steps.extend(movable.into_iter().map(|slot| Step { slot, before }));
}

pub(super) fn other_bucket<W: Deref<Target = [AtomicU64]>>(table: &MacTab<W>, slot: usize) -> Option<u32> {
    let [first, second] = table.geometry.buckets_of(MacKey::from_word(table.key(slot))?);
    Some(if first as usize == slot / SLOTS { second } else { first })
}

fn moves(steps: &[Step], last: usize, free: usize) -> Vec<(usize, usize)> {
    let (mut moves, mut to, mut at) = (Vec::new(), free, Some(last));
    while let Some(step) = at.and_then(|at| steps.get(at)) {
        moves.push((step.slot, to));
        (to, at) = (step.slot, step.before);
    }
    moves
}
