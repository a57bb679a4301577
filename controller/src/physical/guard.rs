//! One bad snapshot must not empty a logical switch: more than this that leaves by absence waits for the operator.

/// Entries that may leave in any case …
const ENTRIES: usize = 64;
/// … or this part of the table, whichever is more …
const PERCENT: usize = 20;
/// … within this.
const WINDOW_MS: u64 = 60_000;

#[derive(Debug, Default)]
pub(super) struct Guard {
    began_ms: u64,
    /// When the window began.
    rows: usize,
    gone: usize,
}

impl Guard {
    /// Whether so many of so many rows may leave; if so, they count.
    pub(super) fn admits(&mut self, leaving: usize, rows: usize, now_ms: u64) -> bool {
        if self.gone == 0 || now_ms.saturating_sub(self.began_ms) >= WINDOW_MS {
            *self = Self { began_ms: now_ms, rows, gone: 0 };
        }
        let limit = ENTRIES.max(self.rows * PERCENT / 100);
        if self.gone + leaving > limit {
            return false;
        }
        self.gone += leaving;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_table_may_lose_64_and_a_large_one_a_fifth() {
        assert!(Guard::default().admits(64, 64, 0));
        assert!(!Guard::default().admits(65, 100, 0));
        assert!(Guard::default().admits(200, 1000, 0));
        assert!(!Guard::default().admits(201, 1000, 0));
    }

    #[test]
    fn many_small_losses_within_the_window_are_one_large_one() {
        let mut guard = Guard::default();
        assert!(guard.admits(40, 100, 0));
        assert!(!guard.admits(40, 60, 59_999));
        assert!(guard.admits(40, 60, 60_000));
    }
}
