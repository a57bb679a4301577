//! VTEPs to which frames go and from which none comes back, though their control packets may: a path that is broken one
//! way, a dataplane that is dead under a living control plane. Traffic may be one-way by itself, so this is for an
//! operator's eyes and takes nothing down.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How long nothing came.
const WINDOW: Duration = Duration::from_mins(1);
/// How much was sent in one such window: ten a second. A broadcast now and then to one that has nothing to say is no sign.
const FRAMES_MIN: u64 = 600;
/// Between two looks at the counters.
const PACE: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Default)]
pub struct OneWay {
    looked: Option<Instant>,
    since: BTreeMap<IpAddr, Since>,
}

/// When a window began, since which nothing came, and what had been counted by then.
#[derive(Debug, Clone, Copy)]
struct Since {
    at: Instant,
    sent: u64,
    received: u64,
    /// Of `sent`, at the last look.
    last: u64,
    /// In the window before, without an answer.
    unanswered: Option<u64>,
}

/// Frames so far.
#[derive(Debug, Clone, Copy)]
pub struct Traffic {
    pub vtep: IpAddr,
    pub sent: u64,
    pub received: u64,
}

impl OneWay {
    pub fn is_due(&self, now: Instant) -> bool {
        self.looked.is_none_or(|looked| now.saturating_duration_since(looked) >= PACE)
    }

    /// All VTEPs that there are.
    pub fn look(&mut self, all: impl IntoIterator<Item = Traffic>, now: Instant) {
        self.looked = Some(now);
        let before = std::mem::take(&mut self.since);
        for Traffic { vtep, sent, received } in all {
            let anew = Since { at: now, sent, received, last: sent, unanswered: None };
            let since = match before.get(&vtep) {
                // Counters that went back are another VTEP's of this address, or of new maps.
                Some(since) if since.received == received && since.last <= sent => {
                    let frames = sent - since.sent;
                    if now.saturating_duration_since(since.at) < WINDOW {
                        Since { last: sent, ..*since }
                    } else {
                        // What the last window says stands through the next.
                        Since { unanswered: (frames >= FRAMES_MIN).then_some(frames), ..anew }
                    }
                }
                _ => anew,
            };
            self.since.insert(vtep, since);
        }
    }

    /// How many frames were sent to a VTEP in a window in which nothing came from it; none where that says nothing.
    pub fn unanswered(&self, vtep: IpAddr) -> Option<u64> {
        self.since.get(&vtep)?.unanswered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VTEP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 11));

    /// Looks once a second: (seconds, sent a second, received a second) in a row.
    #[track_caller]
    fn check(phases: &[(u64, u64, u64)], expected: Option<u64>) {
        let mut one_way = OneWay::default();
        let mut now = Instant::now();
        let (mut sent, mut received) = (0, 0);
        for &(seconds, sent_each, received_each) in phases {
            for _ in 0..seconds {
                one_way.look([Traffic { vtep: VTEP, sent, received }], now);
                now += Duration::from_secs(1);
                (sent, received) = (sent + sent_each, received + received_each);
            }
        }
        one_way.look([Traffic { vtep: VTEP, sent, received }], now);
        assert_eq!(one_way.unanswered(VTEP), expected, "{phases:?}");
    }

    #[test]
    fn frames_that_nobody_answers_for_a_minute_are_told() {
        check(&[(60, 10, 0)], Some(600));
        check(&[(59, 100, 0)], None);
        check(&[(60, 9, 0)], None);
        check(&[(600, 9, 0)], None);
        check(&[(90, 10, 0)], Some(600));
        check(&[(100, 10, 1)], None);
        check(&[(100, 10, 0), (1, 10, 1)], None);
        check(&[(100, 10, 10), (60, 10, 0)], Some(600));
    }

    #[test]
    fn a_vtep_that_is_gone_or_counts_anew_is_forgotten() {
        let mut one_way = OneWay::default();
        let start = Instant::now();
        let at = |secs| start + Duration::from_secs(secs);
        let traffic = |sent| Traffic { vtep: VTEP, sent, received: 0 };
        one_way.look([traffic(0)], at(0));
        one_way.look([traffic(1000)], at(60));
        assert_eq!(one_way.unanswered(VTEP), Some(1000));
        one_way.look([traffic(700)], at(61));
        assert_eq!(one_way.unanswered(VTEP), None);
        one_way.look([], at(62));
        one_way.look([traffic(5000)], at(200));
        assert_eq!(one_way.unanswered(VTEP), None);
        assert!(!one_way.is_due(at(204)) && one_way.is_due(at(205)));
    }
}
