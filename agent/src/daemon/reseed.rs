//! Another seed for the bucketed MAC table, where MACs find no room under the one it has.

use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use super::host::Host;
use crate::kernel::{Applied, ApplyError};
use crate::plan::Step;

/// The table is copied each time, and MACs that crowd it under one seed after the other are no chance: nobody who sends
/// them may keep us copying.
const PACE: Duration = Duration::from_mins(1);

#[derive(Debug, Default)]
pub(super) struct Reseeds {
    tried: Option<Instant>,
    done: u64,
}

impl Reseeds {
    pub(super) fn done(&self) -> u64 {
        self.done
    }
}

impl Host {
    /// Carries out a step, under another seed if that helps.
    pub(super) fn write(&mut self, step: &Step) -> Result<Applied, ApplyError> {
        let applied = self.kernel.apply(step)?;
        if applied.is_crowded() && self.reseed() { self.kernel.apply(step) } else { Ok(applied) }
    }

    fn reseed(&mut self) -> bool {
        let now = Instant::now();
        if self.reseeds.tried.is_some_and(|tried| now < tried + PACE) {
            return false;
        }
        self.reseeds.tried = Some(now);
        match self.kernel.reseed() {
            Ok(true) => {
                self.reseeds.done += 1;
                info!(took = ?now.elapsed(), "the MAC table has another seed, under which there is more room");
                true
            }
            Ok(false) => {
                warn!("the MAC table has no room for all its entries under another seed either");
                false
            }
            Err(error) => {
                error!(error = &error as &dyn std::error::Error, "the MAC table keeps its seed");
                false
            }
        }
    }
}
