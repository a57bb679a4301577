//! Most MACs of a network share few placements: each is allocated once.

use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use vtep_api::Placement;

use super::vteps::{VtepId, Vteps};

#[derive(Debug, Clone, Default)]
pub(super) struct Placements {
    /// By the master and then the slaves.
    shared: HashMap<Box<[VtepId]>, Arc<Placement>, FixedState>,
    /// At this many those that nobody uses are let go.
    sweep_at: usize,
}

const SWEEP_MIN: usize = 1024;

impl Placements {
    pub(super) fn share(&mut self, ranked: &[VtepId], vteps: &Vteps) -> Arc<Placement> {
        if let Some(placement) = self.shared.get(ranked) {
            return placement.clone();
        }
        if self.shared.len() >= self.sweep_at.max(SWEEP_MIN) {
            self.shared.retain(|_, placement| Arc::strong_count(placement) > 1);
            self.sweep_at = self.shared.len() * 2;
        }
        let mut names = ranked.iter().map(|vtep| vteps[*vtep].name.clone());
        let master = names.next().expect("a MAC in the table has a claimant");
        let placement = Arc::new(Placement { master, slaves: names.collect() });
        self.shared.insert(ranked.into(), placement.clone());
        placement
    }
}
