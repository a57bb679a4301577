use std::future::pending;

use tokio::sync::watch;

use crate::tor::Mastery;

/// When the TOR may be written to, beside that its lock is ours.
pub(in crate::tor) enum Writes {
    /// Whoever else would is kept off by the lock alone.
    Always,
    /// Who is elected takes the lock from whoever has it.
    Elected(watch::Receiver<Option<Mastery>>),
}

impl Writes {
    pub(super) fn may(&self) -> bool {
        match self {
            Self::Always => true,
            Self::Elected(told) => told.borrow().as_ref().is_some_and(|mastery| mastery.tenure.holds()),
        }
    }

    /// Whether it was ours to write by a reign that is over, though nobody has taken that back yet.
    pub(super) fn is_over(&self) -> bool {
        match self {
            Self::Always => false,
            Self::Elected(told) => told.borrow().as_ref().is_some_and(|mastery| !mastery.tenure.holds()),
        }
    }

    pub(super) async fn changed(&mut self) {
        let told = match self {
            Self::Always => pending().await,
            Self::Elected(told) => told.changed().await,
        };
        if told.is_err() {
            pending::<()>().await;
        }
    }
}
