//! The clock and the chance of the cluster's tasks: the machine's, or those of a simulation.

use std::time::Duration;

#[cfg(test)]
pub(super) use super::tests::time::{Instant, chance, sleep, sleep_until, timeout_at, unix_ms};
#[cfg(not(test))]
pub(super) use tokio::time::{Instant, sleep, sleep_until, timeout_at};

#[cfg(not(test))]
fn chance() -> f64 {
    rand::random()
}

#[cfg(not(test))]
pub(super) fn unix_ms() -> u64 {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or_default()
}

/// A random part of it.
pub(super) fn jitter(ceiling: Duration) -> Duration {
    ceiling.mul_f64(chance())
}
