use std::collections::BTreeSet;

use ovsdb::transact::OutcomeError;

use super::batch::compose;
use super::{Batch, DesiredDevice, Subject, Write, plan};
use crate::bisect::Bisection;
use crate::mirror::Mirror;

/// Turns a plan into transactions, one at a time, each planned on what the database said after the one before. A write
/// that the database will not have is found by halving and set aside, and the rest lands.
#[derive(Debug, Default)]
pub struct Writer {
    bisection: Bisection<Subject>,
}

impl Writer {
    /// The next transaction, or `None` when nothing is left to write. The one before must have landed or failed, and
    /// its update must have been taken in by the mirror: a reply comes after it.
    pub fn next(&mut self, mirror: &Mirror, desired: &DesiredDevice) -> Option<Batch> {
        let mut planned = plan(mirror, desired);
        if self.refused().next().is_some() && mirror.is_synchronized() {
            let subjects: BTreeSet<_> = planned.iter().map(Write::subject).collect();
            self.bisection.retain(|subject| subjects.contains(subject));
            planned.retain(|write| !self.bisection.is_refused(&write.subject()));
        }
        planned.truncate(self.bisection.limit());
        (!planned.is_empty()).then(|| compose(mirror, desired, planned))
    }

    /// The transaction was committed.
    pub fn landed(&mut self, batch: &Batch) {
        self.bisection.landed(batch.writes().len());
    }

    /// The server refused the transaction. For a connection that ended there is nothing to tell: the mirror will show
    /// what became of it.
    pub fn failed(&mut self, batch: &Batch, error: &OutcomeError) {
        let culprit = batch.culprit(error).map(Write::subject);
        self.bisection.failed(batch.writes().len(), culprit, false, error);
    }

    /// What was set aside, and why.
    pub fn refused(&self) -> impl Iterator<Item = (&Subject, &str)> {
        self.bisection.refused()
    }

    /// Tries what was set aside again.
    pub fn retry_refused(&mut self) {
        self.bisection.release();
    }
}
