use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::time::Instant;

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
        let tenure = Self { began, until_us: Arc::default() };
        tenure.extend(end);
        tenure
    }

    pub(super) fn extend(&self, end: Instant) {
        let until = u64::try_from((end - self.began).as_micros()).unwrap_or(u64::MAX);
        self.until_us.fetch_max(until, Ordering::Relaxed);
    }

    /// Nothing prolongs it any more.
    pub(super) fn end(&self) {
        self.until_us.store(0, Ordering::Relaxed);
    }

    pub(super) fn deadline(&self) -> Instant {
        self.began + Duration::from_micros(self.until_us.load(Ordering::Relaxed))
    }

    pub fn holds(&self) -> bool {
        Instant::now() < self.deadline()
    }
}
