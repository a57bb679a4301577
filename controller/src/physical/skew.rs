//! How far a VTEP's clock is from ours. What it says is always older than when it arrives, so the estimate is the
//! largest of the last differences: the one that was delayed least.

use std::collections::VecDeque;

const SAMPLES: usize = 8;
/// A smaller change is told nobody.
const STEP_MS: i64 = 250;

#[derive(Debug, Default)]
pub(super) struct Skew {
    samples: VecDeque<i64>,
    /// It sends heartbeats, which are better than the times of its claims.
    beats: bool,
    told_ms: Option<i64>,
}

impl Skew {
    pub(super) fn heartbeat(&mut self, theirs_ms: i64, ours_ms: i64) {
        if !self.beats {
            self.samples.clear();
            self.beats = true;
        }
        self.sample(theirs_ms, ours_ms);
    }

    /// A claim that was made just now, as far as is known.
    pub(super) fn live_claim(&mut self, theirs_ms: i64, ours_ms: i64) {
        if !self.beats {
            self.sample(theirs_ms, ours_ms);
        }
    }

    pub(super) fn estimate_ms(&self) -> Option<i64> {
        self.samples.iter().copied().max()
    }

    /// The estimate as others know it, which follows in steps.
    pub(super) fn told_ms(&self) -> Option<i64> {
        self.told_ms
    }

    /// Whether it moved by a step.
    pub(super) fn step(&mut self) -> bool {
        let moved = match (self.estimate_ms(), self.told_ms) {
            (Some(estimate), Some(told)) => estimate.abs_diff(told) >= STEP_MS.unsigned_abs(),
            (estimate, told) => estimate != told,
        };
        if moved {
            self.told_ms = self.estimate_ms();
        }
        moved
    }

    fn sample(&mut self, theirs_ms: i64, ours_ms: i64) {
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }
        self.samples.push_back(theirs_ms.saturating_sub(ours_ms));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_delayed_heartbeat_gives_the_skew() {
        let mut skew = Skew::default();
        for delay in [40, 3, 900] {
            skew.heartbeat(10_000, 10_000 - 500 + delay);
        }
        assert_eq!(skew.estimate_ms(), Some(497));
    }

    #[test]
    fn jitter_is_told_nobody_and_a_step_is() {
        let mut skew = Skew::default();
        skew.heartbeat(1000, 1000);
        assert!(skew.step());
        skew.heartbeat(1100, 1000);
        assert!(!skew.step());
        skew.heartbeat(6000, 1000);
        assert!(skew.step());
        assert_eq!(skew.told_ms(), Some(5000));
    }

    #[test]
    fn the_times_of_claims_count_only_without_heartbeats() {
        let mut skew = Skew::default();
        skew.live_claim(1000, 601_000);
        assert_eq!(skew.estimate_ms(), Some(-600_000));
        skew.heartbeat(5, 5);
        skew.live_claim(1000, 601_000);
        assert_eq!(skew.estimate_ms(), Some(0));
    }
}
