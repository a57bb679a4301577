//! Intervals: what we want, what both ends agree on, and jitter.

use std::num::NonZeroU8;
use std::time::Duration;

use thiserror::Error;

/// What an end wants of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameters {
    desired_min_tx_us: u32,
    required_min_rx_us: u32,
    detect_mult: NonZeroU8,
    control_plane_independent: bool,
    concatenated_path_down: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ParametersError {
    #[error("the {which} interval is {found:?}, expected 1 µs to {} s", u32::MAX / 1_000_000)]
    Interval { which: &'static str, found: Duration },
    #[error("the detection multiplier is 0, expected 1 to 255")]
    DetectMult,
}

impl Parameters {
    pub fn new(
        desired_min_tx: Duration,
        required_min_rx: Duration,
        detect_mult: u8,
    ) -> Result<Self, ParametersError> {
        let micros = |which, interval: Duration| match u32::try_from(interval.as_micros()) {
            Ok(micros) if micros != 0 => Ok(micros),
            _ => Err(ParametersError::Interval { which, found: interval }),
        };
        Ok(Self {
            desired_min_tx_us: micros("transmit", desired_min_tx)?,
            required_min_rx_us: micros("receive", required_min_rx)?,
            detect_mult: NonZeroU8::new(detect_mult).ok_or(ParametersError::DetectMult)?,
            control_plane_independent: false,
            concatenated_path_down: false,
        })
    }

    /// Tells the peer that our end outlives our control plane (RFC 5880 §4.1, bit C).
    #[must_use]
    pub const fn control_plane_independent(mut self, independent: bool) -> Self {
        self.control_plane_independent = independent;
        self
    }

    /// Tells the peer, while the session is up, that frames should go elsewhere (RFC 5880 §6.8.17).
    #[must_use]
    pub const fn concatenated_path_down(mut self, down: bool) -> Self {
        self.concatenated_path_down = down;
        self
    }

    /// Wants packets no more often than that.
    #[must_use]
    pub fn receiving_no_faster_than(mut self, interval: Duration) -> Self {
        let interval_us = u32::try_from(interval.as_micros()).unwrap_or(u32::MAX);
        self.required_min_rx_us = slower(self.required_min_rx_us, interval_us);
        self
    }

    pub const fn is_concatenated_path_down(&self) -> bool {
        self.concatenated_path_down
    }

    /// While our control plane is away the peer's packets are answered, no more: no faster than they are asked for.
    pub const fn desired_min_tx_us(&self) -> u32 {
        if self.control_plane_independent {
            slower(self.desired_min_tx_us, self.required_min_rx_us)
        } else {
            self.desired_min_tx_us
        }
    }

    pub const fn required_min_rx_us(&self) -> u32 {
        self.required_min_rx_us
    }

    pub const fn detect_mult(&self) -> u8 {
        self.detect_mult.get()
    }

    pub const fn is_control_plane_independent(&self) -> bool {
        self.control_plane_independent
    }
}

/// Of both ends' wishes the slower.
pub(crate) const fn slower(one_us: u32, other_us: u32) -> u32 {
    if one_us > other_us { one_us } else { other_us }
}

/// How long nothing may be heard (RFC 5880 §6.8.4): the *remote* end's multiplier, times the interval at which it sends.
pub(crate) fn detection(remote_mult: u8, interval_us: u32) -> Duration {
    Duration::from_micros(u64::from(remote_mult) * u64::from(interval_us))
}

/// Shortens an interval by up to 25 %, but by at least 10 % where a single loss ends the session (RFC 5880 §6.8.7).
pub(crate) fn jittered(interval_us: u32, detect_mult: u8, random: u32) -> Duration {
    const PARTS: u64 = 1000;
    let (least, most) = if detect_mult == 1 { (750, 900) } else { (750, 1000) };
    let parts = least + u64::from(random) % (most - least + 1);
    Duration::from_micros(u64::from(interval_us) * parts / PARTS)
}

/// Xorshift (Marsaglia 2003): jitter wants no secret, only to differ.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(crate) fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from(self.0 >> 32).expect("half of 64 bits")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_answers_while_the_control_plane_is_away_promises_no_more_than_answers() {
        let millis = Duration::from_millis;
        let parameters = Parameters::new(millis(50), millis(300), 3).expect("within bounds");
        assert_eq!(parameters.desired_min_tx_us(), 50_000);
        let independent = parameters.control_plane_independent(true);
        assert_eq!(independent.desired_min_tx_us(), 300_000);
        assert_eq!(independent.receiving_no_faster_than(millis(1000)).desired_min_tx_us(), 1_000_000);
    }
}
