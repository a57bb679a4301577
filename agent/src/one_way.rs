//! VTEPs to which frames go and from which none comes back, though their control packets may: a path that is broken one
//! way, a dataplane that is dead under a living control plane. Traffic may be one-way by itself, so this is for an
//! operator's eyes and takes nothing down.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// How many frames have to be sent in each second in which none came. A broadcast now and then to one that has nothing to
/// say is no sign.
const FRAMES_PER_SEC: u64 = 10;
/// Between two looks at the counters: a twelfth of the window, within this.
const PACE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(5);

#[derive(Debug, Clone, Default)]
pub struct OneWay {
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
    /// How often to look.
    pub fn pace(window: Duration) -> Duration {
        (window / 12).clamp(*PACE.start(), *PACE.end())
    }

    /// All VTEPs that there are. Whether what is to be told is another than before.
    pub fn look(&mut self, all: impl IntoIterator<Item = Traffic>, window: Duration, now: Instant) -> bool {
        let before = std::mem::take(&mut self.since);
        for Traffic { vtep, sent, received } in all {
            let anew = Since { at: now, sent, received, last: sent, unanswered: None };
            let since = match before.get(&vtep) {
                // Counters that went back are another VTEP's of this address, or of new maps.
                Some(since) if since.received == received && since.last <= sent => {
                    let frames = sent - since.sent;
                    if now.saturating_duration_since(since.at) < window {
                        Since { last: sent, ..*since }
                    } else {
                        // What the last window says stands through the next.
                        Since {
                            unanswered: (frames >= window.as_secs() * FRAMES_PER_SEC).then_some(frames),
                            ..anew
                        }
                    }
                }
                _ => anew,
            };
            self.since.insert(vtep, since);
        }
        told(&before).ne(told(&self.since))
    }

    /// How many frames were sent to a VTEP in a window in which nothing came from it; none where that says nothing.
    pub fn unanswered(&self, vtep: IpAddr) -> Option<u64> {
        self.since.get(&vtep)?.unanswered
    }
}

fn told(since: &BTreeMap<IpAddr, Since>) -> impl Iterator<Item = (&IpAddr, u64)> {
    since.iter().filter_map(|(vtep, since)| Some((vtep, since.unanswered?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);
    const VTEP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 11));

    /// Looks once a second: (seconds, sent a second, received a second) in a row.
    #[track_caller]
    fn check(phases: &[(u64, u64, u64)], expected: Option<u64>) {
        let mut one_way = OneWay::default();
        let mut now = Instant::now();
        let (mut sent, mut received) = (0, 0);
        for &(seconds, sent_each, received_each) in phases {
            for _ in 0..seconds {
                one_way.look([Traffic { vtep: VTEP, sent, received }], MINUTE, now);
                now += Duration::from_secs(1);
                (sent, received) = (sent + sent_each, received + received_each);
            }
        }
        one_way.look([Traffic { vtep: VTEP, sent, received }], MINUTE, now);
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
        assert!(!one_way.look([traffic(0)], MINUTE, at(0)), "nothing is to be told");
        assert!(one_way.look([traffic(1000)], MINUTE, at(60)));
        assert_eq!(one_way.unanswered(VTEP), Some(1000));
        assert!(!one_way.look([traffic(1010)], MINUTE, at(61)), "it was told");
        assert!(one_way.look([traffic(700)], MINUTE, at(62)));
        assert_eq!(one_way.unanswered(VTEP), None);
        one_way.look([], MINUTE, at(63));
        one_way.look([traffic(5000)], MINUTE, at(200));
        assert_eq!(one_way.unanswered(VTEP), None);
    }

    #[test]
    fn a_shorter_window_needs_fewer_frames_and_more_looks() {
        let (mut one_way, start, window) = (OneWay::default(), Instant::now(), Duration::from_secs(3));
        for (secs, sent, expected) in [(0, 0, None), (2, 100, None), (3, 130, Some(130)), (6, 159, None)] {
            one_way.look(
                [Traffic { vtep: VTEP, sent, received: 0 }],
                window,
                start + Duration::from_secs(secs),
            );
            assert_eq!(one_way.unanswered(VTEP), expected, "after {secs} s");
        }
        assert_eq!(OneWay::pace(window), Duration::from_secs(1));
        assert_eq!(OneWay::pace(MINUTE), Duration::from_secs(5));
    }
}
