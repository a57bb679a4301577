//! Fewer packets from a peer from which nothing else comes (`decay_min_rx` of Open vSwitch).

use std::time::{Duration, Instant};

/// How long nothing has to come, at least.
const WINDOW_MIN: Duration = Duration::from_secs(2);

#[derive(Debug, Clone)]
pub struct Decay {
    min_rx: Duration,
    /// What had been received when it was looked at last, and when the next look is due.
    received: u64,
    due: Instant,
    is_idle: bool,
}

impl Decay {
    /// `min_rx`: the interval that is asked for while nothing comes. `received`: frames so far, without control packets.
    pub fn new(min_rx: Duration, received: u64, now: Instant) -> Self {
        Self { min_rx, received, due: now + min_rx.max(WINDOW_MIN), is_idle: false }
    }

    pub const fn due(&self) -> Instant {
        self.due
    }

    /// The interval below which no packets are wanted, if there is one now.
    pub fn min_rx(&self) -> Option<Duration> {
        self.is_idle.then_some(self.min_rx)
    }

    /// What was received is not known.
    pub fn postpone(&mut self, now: Instant) {
        self.due = now + self.min_rx.max(WINDOW_MIN);
    }

    /// Whether [`Self::min_rx`] is another than before.
    pub fn look(&mut self, received: u64, now: Instant) -> bool {
        self.postpone(now);
        let is_idle = std::mem::replace(&mut self.received, received) == received;
        std::mem::replace(&mut self.is_idle, is_idle) != is_idle
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_from_which_nothing_came_for_a_window_is_asked_for_less_until_something_comes() {
        let start = Instant::now();
        for (min_rx, window) in [(Duration::from_secs(1), 2), (Duration::from_secs(5), 5)] {
            let window = Duration::from_secs(window);
            let mut decay = Decay::new(min_rx, 7, start);
            assert_eq!((decay.due(), decay.min_rx()), (start + window, None));
            assert!(!decay.look(8, start + window), "something came");
            assert!(decay.look(8, start + window * 2));
            assert_eq!((decay.due(), decay.min_rx()), (start + window * 3, Some(min_rx)));
            assert!(!decay.look(8, start + window * 3));
            assert!(decay.look(9, start + window * 4));
            assert_eq!(decay.min_rx(), None);
        }
    }
}
