//! How long to rest between two checks.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Unless a check takes long.
const REST: Duration = Duration::from_secs(1);
/// What checks may take of a CPU,
const SHARE: u32 = 100;
/// unless the rest became longer than this;
const REST_MAX: Duration = Duration::from_secs(5);
/// then they may take this.
const SHARE_MAX: u32 = 10;

/// Runs a check and measures what it took of a CPU: whoever waits for one, or is stopped, does not work.
pub fn measured<T>(check: impl FnOnce() -> T) -> (T, Duration) {
    let began = thread_cpu();
    let done = check();
    (done, thread_cpu().saturating_sub(began))
}

/// From the end of a check that took as much to the next.
pub(super) fn rest(work: Duration) -> Duration {
    work.saturating_mul(SHARE).min(REST_MAX).max(work.saturating_mul(SHARE_MAX)).max(REST)
}

fn thread_cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_check_is_no_longer_for_waiting() {
        let (waited, work) = measured(|| {
            let began = Instant::now();
            std::thread::sleep(Duration::from_millis(400));
            began.elapsed()
        });
        assert!(waited >= Duration::from_millis(400));
        assert!(work < waited / 10, "{work:?}");
        assert!(rest(work) < Duration::from_secs(5), "{work:?}");
    }

    #[test]
    fn a_check_that_works_is_counted() {
        let ((), work) = measured(|| {
            let until = thread_cpu() + Duration::from_millis(20);
            while thread_cpu() < until {}
        });
        assert!(work >= Duration::from_millis(20), "{work:?}");
    }

    #[test]
    fn the_share_gives_way_to_the_longest_rest_and_that_to_the_largest_share() {
        let after = |ms| rest(Duration::from_millis(ms)).as_millis();
        assert_eq!([after(0), after(10), after(30), after(50)], [1000, 1000, 3000, 5000]);
        assert_eq!([after(400), after(500), after(2000)], [5000, 5000, 20_000]);
        assert!(rest(Duration::MAX) >= Duration::from_secs(5), "no overflow");
    }
}
