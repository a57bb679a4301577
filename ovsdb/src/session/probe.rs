use std::time::{Duration, Instant};

/// Whether the peer is alive, and whether it can know that we are. Asks no clock: time is an argument.
#[derive(Debug)]
pub(super) struct Probe {
    interval: Option<Duration>,
    /// How long a server may be busy with a dump and say nothing.
    dump_timeout: Duration,
    heard_at: Instant,
    sent_at: Instant,
    /// When the peer was asked for a sign of life that has not come.
    asked_at: Option<Instant>,
}

/// What the connection is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hearing {
    Listening,
    /// A large answer was asked for; the server is single-threaded and answers nothing else until it has it.
    AwaitingDump,
    /// The consumer is behind, so nothing is read: the peer's silence says nothing, and ours must not end the session.
    Deaf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    Wait(Option<Instant>),
    Ask,
    Dead { silence: Duration },
}

/// How often a sign of life is given while nothing is read; Open vSwitch's own probes come no faster
/// (`reconnect_set_probe_interval` in `lib/reconnect.c`).
const KEEP_ALIVE: Duration = Duration::from_secs(1);

impl Probe {
    pub(super) fn new(interval: Option<Duration>, dump_timeout: Duration, now: Instant) -> Self {
        Self { interval, dump_timeout, heard_at: now, sent_at: now, asked_at: None }
    }

    pub(super) fn heard(&mut self, now: Instant) {
        self.heard_at = now;
        self.asked_at = None;
    }

    pub(super) fn sent(&mut self, now: Instant) {
        self.sent_at = now;
    }

    /// What to do at this time; after `Ask` an echo request is taken for sent.
    pub(super) fn poll(&mut self, now: Instant, hearing: Hearing) -> Sign {
        if hearing == Hearing::Deaf {
            self.heard(now);
            return self.ask_after(self.sent_at + KEEP_ALIVE, now);
        }
        let Some(interval) = self.interval else { return Sign::Wait(None) };
        let Some(asked_at) = self.asked_at else {
            let sign = self.ask_after(self.heard_at + interval, now);
            if sign == Sign::Ask {
                self.asked_at = Some(now);
            }
            return sign;
        };
        let patience =
            if hearing == Hearing::AwaitingDump { interval.max(self.dump_timeout) } else { interval };
        let ends_at = asked_at + patience;
        if now >= ends_at { Sign::Dead { silence: now - self.heard_at } } else { Sign::Wait(Some(ends_at)) }
    }

    fn ask_after(&mut self, at: Instant, now: Instant) -> Sign {
        if now < at {
            return Sign::Wait(Some(at));
        }
        self.sent(now);
        Sign::Ask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn a_silent_peer_is_asked_once_and_then_given_up() {
        let start = Instant::now();
        let mut probe = Probe::new(Some(secs(5)), secs(60), start);
        let mut poll = |after| probe.poll(start + secs(after), Hearing::Listening);
        assert_eq!(poll(4), Sign::Wait(Some(start + secs(5))));
        assert_eq!(poll(5), Sign::Ask);
        assert_eq!(poll(9), Sign::Wait(Some(start + secs(10))));
        assert_eq!(poll(10), Sign::Dead { silence: secs(10) });
    }

    #[test]
    fn any_byte_is_a_sign_of_life() {
        let start = Instant::now();
        let mut probe = Probe::new(Some(secs(5)), secs(60), start);
        assert_eq!(probe.poll(start + secs(5), Hearing::Listening), Sign::Ask);
        probe.heard(start + secs(9));
        assert_eq!(probe.poll(start + secs(10), Hearing::Listening), Sign::Wait(Some(start + secs(14))));
    }

    #[test]
    fn a_server_that_prepares_a_dump_may_be_silent_longer() {
        let start = Instant::now();
        let mut probe = Probe::new(Some(secs(5)), secs(60), start);
        let mut poll = |after| probe.poll(start + secs(after), Hearing::AwaitingDump);
        assert_eq!(poll(5), Sign::Ask);
        assert_eq!(poll(64), Sign::Wait(Some(start + secs(65))));
        assert_eq!(poll(65), Sign::Dead { silence: secs(65) });
    }

    #[test]
    fn while_nothing_is_read_signs_of_life_go_out_and_none_is_expected() {
        let start = Instant::now();
        let mut probe = Probe::new(Some(secs(5)), secs(60), start);
        for after in 1..100 {
            assert_eq!(probe.poll(start + secs(after), Hearing::Deaf), Sign::Ask);
        }
        assert_eq!(probe.poll(start + secs(101), Hearing::Listening), Sign::Wait(Some(start + secs(104))));
    }
}
