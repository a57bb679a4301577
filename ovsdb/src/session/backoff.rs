use std::time::Duration;

use rand::Rng;

/// How long to wait before the next attempt to connect: a random part of a ceiling that doubles with each failure, so
/// that the clients of one server that restarts do not come back as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    pub ceiling_min: Duration,
    pub ceiling_max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { ceiling_min: Duration::from_secs(1), ceiling_max: Duration::from_secs(8) }
    }
}

impl Backoff {
    pub(super) fn delay(self, failures: u32, random: &mut impl Rng) -> Duration {
        let ceiling = self.ceiling_min.saturating_mul(1 << failures.min(16)).min(self.ceiling_max);
        ceiling.mul_f64(random.random())
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn delays_fill_a_ceiling_that_doubles_up_to_its_limit() {
        let mut random = StdRng::seed_from_u64(1);
        for (failures, ceiling) in [(0, 1), (1, 2), (3, 8), (4, 8), (u32::MAX, 8)] {
            let delays = (0..1000).map(|_| Backoff::default().delay(failures, &mut random));
            let (mut low, mut high) = (Duration::MAX, Duration::ZERO);
            for delay in delays {
                low = low.min(delay);
                high = high.max(delay);
            }
            let ceiling = Duration::from_secs(ceiling);
            assert!(
                low < ceiling / 20 && high > ceiling * 19 / 20 && high <= ceiling,
                "{failures}: {low:?} {high:?}"
            );
        }
    }
}
