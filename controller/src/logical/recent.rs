//! Which claims are recent, by this controller's own clock: by their numbers, for no claim has room for its time.

use std::collections::VecDeque;

/// VTEPs that saw a MAC within so long have it behind both of them, as a rack's two TORs do.
const RECENT_MS: u64 = 60_000;
/// To so much it is told.
const STEP_MS: u64 = 10_000;

#[derive(Debug, Clone, Default)]
pub(super) struct Recent {
    /// Until when, and the last number by then.
    steps: VecDeque<(u64, u64)>,
    old: u64,
}

impl Recent {
    /// A claim has this number.
    pub(super) fn note(&mut self, number: u64, mono_ms: u64) {
        self.old(mono_ms);
        match self.steps.back_mut() {
            Some((until, last)) if mono_ms < *until => *last = number,
            _ => self.steps.push_back((mono_ms + STEP_MS, number)),
        }
    }

    /// The last number that is not recent.
    pub(super) fn old(&mut self, mono_ms: u64) -> u64 {
        while let Some((_, last)) = self.steps.pop_front_if(|(until, _)| *until + RECENT_MS <= mono_ms) {
            self.old = last;
        }
        self.old
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recent_is_so_for_a_minute_and_kept_in_bounds() {
        let mut recent = Recent::default();
        for number in 1..=10_000 {
            recent.note(number, number * 100);
            assert!(recent.steps.len() <= 8);
        }
        // The last at 1000 s.
        let old = recent.old(1_000_000);
        assert!((9300..=9400).contains(&old), "{old}");
        assert!(recent.old(1_060_000) < 10_000);
        assert_eq!(recent.old(1_070_000), 10_000);
    }
}
