//! What the service manager is told.

use std::time::Duration;

use sd_notify::NotifyState;

/// What the service manager is told, if there is one.
#[derive(Debug)]
pub struct Notify {
    watchdog: Option<Duration>,
}

impl Notify {
    #[expect(clippy::new_without_default, reason = "it asks the environment")]
    pub fn new() -> Self {
        Self { watchdog: sd_notify::watchdog_enabled() }
    }

    /// Twice within the watchdog's patience, and now and then for the status line.
    pub fn watchdog_period(&self) -> Duration {
        const STATUS: Duration = Duration::from_secs(5);
        self.watchdog.map_or(STATUS, |patience| (patience / 2).clamp(Duration::from_millis(10), STATUS))
    }

    pub fn ready() {
        send(&[NotifyState::Ready]);
    }

    pub fn alive(&self, status: &str) {
        match self.watchdog {
            Some(_) => send(&[NotifyState::Watchdog, NotifyState::Status(status)]),
            None => send(&[NotifyState::Status(status)]),
        }
    }

    pub fn reloading() {
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            send(&[NotifyState::Reloading, now]);
        }
    }

    pub fn stopping() {
        send(&[NotifyState::Stopping]);
    }
}

fn send(states: &[NotifyState<'_>]) {
    // Nobody listens, or it went away: the daemon works without.
    sd_notify::notify(states).ok();
}
