//! What is going to happen, in the order in which it will.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

#[derive(Debug)]
pub(crate) struct Queue<W> {
    due: BinaryHeap<Reverse<Due<W>>>,
    scheduled: u64,
}

#[derive(Debug)]
pub(crate) struct Due<W> {
    pub(crate) at: u64,
    /// Of what is due at one time, that first which was scheduled first.
    order: u64,
    pub(crate) what: W,
}

impl<W> Queue<W> {
    pub(crate) const fn new() -> Self {
        Self { due: BinaryHeap::new(), scheduled: 0 }
    }

    pub(crate) fn push(&mut self, at: u64, what: W) {
        self.scheduled += 1;
        self.due.push(Reverse(Due { at, order: self.scheduled, what }));
    }

    /// To a later time, in its old place among what is due then.
    pub(crate) fn put_off(&mut self, due: Due<W>, at: u64) {
        self.due.push(Reverse(Due { at, ..due }));
    }

    /// The next, if it is due until then.
    pub(crate) fn pop(&mut self, until: u64) -> Option<Due<W>> {
        if self.due.peek()?.0.at > until {
            return None;
        }
        self.due.pop().map(|Reverse(due)| due)
    }
}

impl<W> PartialEq for Due<W> {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl<W> Eq for Due<W> {}

impl<W> PartialOrd for Due<W> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<W> Ord for Due<W> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}
