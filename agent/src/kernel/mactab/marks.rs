//! Which slots are at rest: a slot gets another key at most once in a grace period, for a reader compares the key
//! before and after it loads the value, and must not be shown its key, another one's value, and its key again.

use super::grace::Grace;

/// Per slot: whether it lost its key, and whether it then got another one, in a grace period that is not over. Two
/// generations take turns: marks of the one wait for their grace period, marks of the other are still being made.
#[derive(Debug)]
pub(super) struct Marks {
    slots: Vec<u8>,
    made: [Vec<u32>; 2],
    current: usize,
    waiting: Option<u64>,
}

/// Bits of a slot for each generation.
const FREED: [u8; 2] = [1, 2];
const REKEYED: [u8; 2] = [4, 8];

impl Marks {
    pub(super) fn new(slots: usize) -> Self {
        Self { slots: vec![0; slots], made: [Vec::new(), Vec::new()], current: 0, waiting: None }
    }

    /// Of the table.
    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Those that no grace period has begun for.
    pub(super) fn len(&self) -> usize {
        self.made[self.current].len()
    }

    pub(super) fn was_rekeyed(&self, slot: usize) -> bool {
        self.slots[slot] & (REKEYED[0] | REKEYED[1]) != 0
    }

    pub(super) fn freed(&mut self, slot: usize) {
        self.mark(slot, FREED[self.current]);
    }

    /// A slot that lost no key lately shows nobody two of them.
    pub(super) fn inserted(&mut self, slot: usize) {
        if self.slots[slot] & (FREED[0] | FREED[1]) != 0 {
            self.mark(slot, REKEYED[self.current]);
        }
    }

    fn mark(&mut self, slot: usize, bit: u8) {
        if self.slots[slot] & (FREED[self.current] | REKEYED[self.current]) == 0 {
            self.made[self.current].push(u32::try_from(slot).expect("a table has fewer than 2^32 slots"));
        }
        self.slots[slot] |= bit;
    }

    /// Takes off what has waited long enough, and lets the rest wait.
    pub(super) fn turn(&mut self, grace: &Grace) {
        if let Some(number) = self.waiting {
            if !grace.is_over(number) {
                return;
            }
            let over = 1 - self.current;
            for slot in self.made[over].drain(..) {
                self.slots[slot as usize] &= !(FREED[over] | REKEYED[over]);
            }
            self.waiting = None;
        }
        if self.len() > 0 {
            self.current = 1 - self.current;
            self.waiting = Some(grace.begin());
        }
    }

    /// Waits until some marks are off. False if there are none.
    pub(super) fn wait(&mut self, grace: &Grace) -> bool {
        if self.waiting.is_none() {
            self.turn(grace);
        }
        let Some(number) = self.waiting else { return false };
        grace.wait(number);
        self.turn(grace);
        true
    }
}
