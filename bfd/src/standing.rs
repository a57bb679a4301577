//! What a session's ups and downs are worth: whether frames should rather go elsewhere, and when they may come back.

use std::time::{Duration, Instant};

/// How a failback is held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holding {
    /// How long a session has to be Up before its VTEP gets its MACs back. Doubled by each failure that comes within
    /// [`Self::calm`] of the last one, up to `hold_max`.
    pub hold: Duration,
    pub hold_max: Duration,
    pub calm: Duration,
    /// Otherwise only an operator brings it back.
    pub revertive: bool,
}

/// What is to be thought of a VTEP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum View {
    /// Its session was never Up: its silence says nothing.
    Unproven,
    Alive,
    /// Its session failed, and frames come from it all the same.
    Receiving,
    Failed,
    /// Up again, and on trial until then.
    Returning(Instant),
    /// Up again, and waits for an operator.
    Waiting,
}

#[derive(Debug, Clone)]
pub struct Standing {
    view: View,
    failed_at: Option<Instant>,
    hold: Duration,
    failures: u64,
}

impl Standing {
    pub const fn new() -> Self {
        Self { view: View::Unproven, failed_at: None, hold: Duration::ZERO, failures: 0 }
    }

    /// Of a session that was Up when it was adopted; `failed`: its VTEP was out of service.
    pub fn adopted(failed: bool, holding: &Holding, now: Instant) -> Self {
        let mut standing = Self::new();
        standing.view = View::Alive;
        if failed {
            standing.fail(holding, now);
            standing.rise(holding, now);
        }
        standing
    }

    /// Whether another VTEP should serve, if there is one.
    pub const fn is_suspect(&self) -> bool {
        matches!(self.view, View::Failed | View::Returning(_) | View::Waiting)
    }

    pub const fn name(&self) -> &'static str {
        match self.view {
            View::Unproven => "unproven",
            View::Alive => "alive",
            View::Receiving => "receiving",
            View::Failed => "failed",
            View::Returning(_) => "returning",
            View::Waiting => "waiting",
        }
    }

    pub const fn failures(&self) -> u64 {
        self.failures
    }

    /// When [`Self::tick`] has something to do.
    pub const fn due(&self) -> Option<Instant> {
        match self.view {
            View::Returning(until) => Some(until),
            _ => None,
        }
    }

    pub fn rise(&mut self, holding: &Holding, now: Instant) {
        self.view = match self.view {
            View::Unproven | View::Alive | View::Receiving => View::Alive,
            View::Failed if holding.revertive => View::Returning(now + self.hold),
            View::Failed => View::Waiting,
            other => other,
        };
    }

    pub fn fail(&mut self, holding: &Holding, now: Instant) {
        match self.view {
            View::Unproven | View::Failed => return,
            View::Alive | View::Receiving | View::Returning(_) | View::Waiting => {}
        }
        let restless = self.failed_at.is_some_and(|at| now.saturating_duration_since(at) < holding.calm);
        self.hold =
            if restless { (self.hold * 2).clamp(holding.hold, holding.hold_max) } else { holding.hold };
        self.failed_at = Some(now);
        self.failures += 1;
        self.view = View::Failed;
    }

    /// Its session failed, but it serves as long as frames come from it. Whether it served.
    pub fn spare(&mut self) -> bool {
        if matches!(self.view, View::Alive) {
            self.view = View::Receiving;
        }
        self.is_spared()
    }

    pub const fn is_spared(&self) -> bool {
        matches!(self.view, View::Receiving)
    }

    /// The peer says that it is out of service on purpose, which is no word on the path (RFC 5882 §4.1.1).
    pub fn pardon(&mut self) {
        if matches!(self.view, View::Alive | View::Receiving) {
            self.view = View::Unproven;
        }
    }

    pub fn tick(&mut self, now: Instant) {
        if self.due().is_some_and(|due| now >= due) {
            self.view = View::Alive;
        }
    }

    /// The operator's word. Whether there was something to bring back.
    pub fn restore(&mut self) -> bool {
        let back = matches!(self.view, View::Returning(_) | View::Waiting);
        if back {
            self.view = View::Alive;
        }
        back
    }
}

impl Default for Standing {
    fn default() -> Self {
        Self::new()
    }
}
