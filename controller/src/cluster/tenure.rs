use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::time::Instant;

/// In place of an end.
const OVER: u64 = 0;

/// Until when this process may take its lease to be its own, by its own clock, which goes on while the process is stopped.
/// Counted from before each request, so that it ends before the lease does in etcd. It saves stale messages; what keeps
/// them from doing harm are terms.
#[derive(Debug, Clone)]
pub struct Tenure {
    began: Instant,
    until_us: Arc<AtomicU64>,
}

impl Tenure {
    pub(super) fn until(end: Instant) -> Self {
        let began = Instant::now();
        Self { began, until_us: Arc::new(AtomicU64::new(micros(began, end))) }
    }

    /// Returns whether it goes on. One that somebody saw to be over is over for ever: he has stopped what he did by it, and
    /// must not be taken to go on.
    pub(super) fn extend(&self, end: Instant) -> bool {
        let until = micros(self.began, end);
        let later = |before: u64| (before != OVER).then_some(before.max(until));
        self.until_us.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later).is_ok()
    }

    /// Nothing prolongs it any more.
    pub(super) fn end(&self) {
        self.until_us.store(OVER, Ordering::Relaxed);
    }

    pub(super) fn deadline(&self) -> Instant {
        self.at(self.until_us.load(Ordering::Relaxed))
    }

    pub fn holds(&self) -> bool {
        let mut until = self.until_us.load(Ordering::Relaxed);
        while Instant::now() >= self.at(until) {
            match self.until_us.compare_exchange(until, OVER, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) | Err(OVER) => return false,
                Err(prolonged) => until = prolonged,
            }
        }
        true
    }

    fn at(&self, until_us: u64) -> Instant {
        self.began + Duration::from_micros(until_us)
    }
}

fn micros(began: Instant, end: Instant) -> u64 {
    u64::try_from((end - began).as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_to_be_over_is_not_prolonged_by_an_answer_that_comes_late() {
        let (began, second) = (Instant::now(), Duration::from_secs(1));
        let tenure = Tenure::until(began + second);
        assert!(tenure.extend(began + 2 * second), "it was prolonged in time");
        assert!(tenure.holds());
        let over = Tenure::until(began);
        assert!(!over.holds());
        assert!(!over.extend(began + 2 * second), "somebody has seen that it was over");
        assert!(!over.holds());
    }
}
