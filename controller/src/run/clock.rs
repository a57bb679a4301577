//! The one place that reads the clock: the cores are told the time.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::Now;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { start: Instant::now() }
    }

    pub(crate) fn now(self) -> Now {
        let mono_ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        Now { mono_ms, wall_ms: wall_ms() }
    }
}

/// Milliseconds since the epoch; negative before it.
pub(crate) fn wall_ms() -> i64 {
    let whole = |since: std::time::Duration| i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => whole(since),
        Err(before) => -whole(before.duration()),
    }
}
