use std::collections::BTreeMap;
use std::num::NonZeroUsize;

/// Cheapest for the server: 25 µs a row, against 74 µs one by one.
pub const BATCH_MAX: usize = 100;

/// A write that failed while the database changed beneath it is tried so many times more.
const EXCUSES_MAX: u8 = 3;

/// Finds the write that a database will not have by halving, and sets it aside so that the rest lands. `S` is what a
/// write is about, which stays the same when it is planned anew.
#[derive(Debug)]
pub(crate) struct Bisection<S> {
    /// So many of the next writes failed together: at least one of them cannot be.
    suspects: Option<NonZeroUsize>,
    refused: BTreeMap<S, String>,
    excused: BTreeMap<S, u8>,
}

impl<S> Default for Bisection<S> {
    fn default() -> Self {
        Self { suspects: None, refused: BTreeMap::new(), excused: BTreeMap::new() }
    }
}

impl<S: Ord> Bisection<S> {
    /// How many writes go into the next transaction.
    pub(crate) fn limit(&self) -> usize {
        self.suspects.map_or(BATCH_MAX, |suspects| suspects.get().div_ceil(2))
    }

    pub(crate) fn landed(&mut self, writes: usize) {
        self.suspects =
            self.suspects.and_then(|suspects| NonZeroUsize::new(suspects.get().saturating_sub(writes)));
        self.excused.clear();
    }

    /// So many writes were refused together; the culprit is known if the server named it, or it was alone. `stale`: the
    /// database changed after they were planned, which may be why.
    pub(crate) fn failed(&mut self, writes: usize, culprit: Option<S>, stale: bool, reason: &impl ToString) {
        let Some(culprit) = culprit else {
            self.suspects = NonZeroUsize::new(writes);
            return;
        };
        let excused = self.excused.get(&culprit).copied().unwrap_or_default();
        if stale && excused < EXCUSES_MAX {
            self.excused.insert(culprit, excused + 1);
            return;
        }
        self.suspects = None;
        self.excused.remove(&culprit);
        self.refuse(culprit, reason);
    }

    pub(crate) fn refuse(&mut self, subject: S, reason: &impl ToString) {
        self.refused.insert(subject, reason.to_string());
    }

    pub(crate) fn is_refused(&self, subject: &S) -> bool {
        !self.refused.is_empty() && self.refused.contains_key(subject)
    }

    pub(crate) fn refused(&self) -> impl Iterator<Item = (&S, &str)> {
        self.refused.iter().map(|(subject, reason)| (subject, reason.as_str()))
    }

    /// What is set aside and nobody wants any longer is forgotten.
    pub(crate) fn retain(&mut self, wanted: impl Fn(&S) -> bool) {
        self.refused.retain(|subject, _| wanted(subject));
    }

    pub(crate) fn forget(&mut self, subject: impl FnOnce() -> S) {
        if !self.refused.is_empty() {
            self.refused.remove(&subject());
        }
    }

    /// What was set aside, to be tried again.
    pub(crate) fn release(&mut self) -> Vec<S> {
        std::mem::take(&mut self.refused).into_keys().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_that_failed_on_a_changed_database_is_tried_again_but_not_for_ever() {
        let mut bisection = Bisection::default();
        for _ in 0..EXCUSES_MAX {
            bisection.failed(1, Some(7), true, &"gone");
            assert!(!bisection.is_refused(&7));
        }
        bisection.failed(1, Some(7), true, &"gone");
        assert_eq!(bisection.refused().collect::<Vec<_>>(), [(&7, "gone")]);
    }

    #[test]
    fn halving_ends_at_one_and_the_limit_returns_when_the_suspects_have_landed() {
        let mut bisection = Bisection::<u8>::default();
        bisection.failed(100, None, false, &"");
        for limit in [50, 25, 13, 7, 4, 2, 1] {
            assert_eq!(bisection.limit(), limit);
            bisection.failed(limit, None, false, &"");
        }
        bisection.landed(1);
        assert_eq!(bisection.limit(), BATCH_MAX);
    }
}
