//! What this process would have said or written after its time, where it was kept back before a receiver could refuse it:
//! by its own clock, or by the lock of a TOR.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counts over all reigns of the process. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Late(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    withheld: AtomicU64,
    locks_lost: AtomicU64,
    writes_refused: AtomicU64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LateView {
    /// Messages, writes and requests for a TOR's lock that were kept back because the reign was over by our clock. What is
    /// only looked at is none of them, nor is a message that came and would have had no consequence.
    pub withheld: u64,
    /// Times that another controller took a TOR's lock from us.
    pub locks_lost: u64,
    /// Transactions that a TOR refused because its lock was not ours.
    pub writes_refused: u64,
}

impl Late {
    /// One that would have gone out.
    pub(crate) fn withhold(&self) {
        self.0.withheld.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn lock_lost(&self) {
        self.0.locks_lost.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn write_refused(&self) {
        self.0.writes_refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn view(&self) -> LateView {
        let Counts { withheld, locks_lost, writes_refused } = &*self.0;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        LateView {
            withheld: read(withheld),
            locks_lost: read(locks_lost),
            writes_refused: read(writes_refused),
        }
    }
}
