//! The placements of a table, each once: rows that were decoded one by one share them again.

use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashSet;
use vtep_api::Placement;

#[derive(Debug, Default)]
pub(super) struct Placements {
    known: HashSet<Arc<Placement>, FixedState>,
    swept: usize,
}

const SWEEP_MIN: usize = 64;

impl Placements {
    /// The one that is kept, and whether it is new.
    pub(super) fn intern(&mut self, placement: Arc<Placement>) -> (Arc<Placement>, bool) {
        if let Some(known) = self.known.get(&placement) {
            return (Arc::clone(known), false);
        }
        if self.known.len() >= 2 * self.swept.max(SWEEP_MIN) {
            self.sweep();
        }
        self.known.insert(Arc::clone(&placement));
        (placement, true)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Placement> {
        self.known.iter().map(Arc::as_ref)
    }

    /// Forgets those that no row has.
    pub(super) fn sweep(&mut self) {
        self.known.retain(|placement| Arc::strong_count(placement) > 1);
        self.swept = self.known.len();
    }
}
