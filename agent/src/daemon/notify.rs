use std::time::Duration;

use sd_notify::NotifyState;

/// What the service manager is told, if there is one.
pub(super) struct Notify {
    watchdog: Option<Duration>,
}

impl Notify {
    pub(super) fn new() -> Self {
        Self { watchdog: sd_notify::watchdog_enabled() }
    }

    /// Twice within the watchdog's patience, and now and then for the status line.
    pub(super) fn watchdog_period(&self) -> Duration {
        const STATUS: Duration = Duration::from_secs(5);
        self.watchdog.map_or(STATUS, |patience| (patience / 2).clamp(Duration::from_millis(10), STATUS))
    }

    pub(super) fn ready() {
        send(&[NotifyState::Ready]);
    }

    pub(super) fn alive(&self, status: &str) {
        match self.watchdog {
            Some(_) => send(&[NotifyState::Watchdog, NotifyState::Status(status)]),
            None => send(&[NotifyState::Status(status)]),
        }
    }

    pub(super) fn reloading() {
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            send(&[NotifyState::Reloading, now]);
        }
    }

    pub(super) fn stopping() {
        send(&[NotifyState::Stopping]);
    }
}

fn send(states: &[NotifyState<'_>]) {
    // Nobody listens, or it went away: the agent works without.
    sd_notify::notify(states).ok();
}
