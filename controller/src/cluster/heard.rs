//! Whether etcd gives terms that receivers refuse: it was put back to an older state, and they obeyed later ones. Their word
//! is not believed, for whoever lies would spoil terms for ever: an operator is told, and raises them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use vtep_api::Term;

use super::raise::ABOVE_MAX;

/// Who may say something; more are not noted.
const WITNESSES_MAX: usize = 4096;

/// The terms that others say they obeyed, by who says so. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heard(Arc<Mutex<BTreeMap<String, Term>>>);

/// The cluster's terms are lower than one that was obeyed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outdated {
    /// By etcd's present revision.
    pub highest: Term,
    pub obeyed: Term,
    pub by: String,
}

impl Heard {
    /// What somebody says counts until he says something else.
    pub(crate) fn note(&self, by: String, obeyed: Term) {
        // It cannot have been given, and nobody could raise terms above it.
        if obeyed > ABOVE_MAX {
            return;
        }
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.len() < WITNESSES_MAX || heard.contains_key(&by) {
            heard.insert(by, obeyed);
        }
    }

    /// The highest, and who says so.
    pub(super) fn highest(&self) -> Option<(Term, String)> {
        let heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.iter().max_by_key(|(_, term)| **term).map(|(by, term)| (*term, by.clone()))
    }
}

impl fmt::Display for Outdated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { highest: Term(highest), obeyed: Term(obeyed), by } = self;
        write!(
            f,
            "etcd gives terms up to {highest}, and {by} obeyed {obeyed}: etcd was put back to an older state, and what \
             its controllers say is refused; `vtep-controller raise-term --above {obeyed}` ends that"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_of_each_counts_and_the_highest_of_all_is_told() {
        let heard = Heard::default();
        assert_eq!(heard.highest(), None);
        heard.note("VTEP a".to_owned(), Term(9));
        heard.note("VTEP b".to_owned(), Term(7));
        assert_eq!(heard.highest(), Some((Term(9), "VTEP a".to_owned())));
        heard.note("VTEP a".to_owned(), Term(3));
        assert_eq!(heard.highest(), Some((Term(7), "VTEP b".to_owned())));
    }
}
