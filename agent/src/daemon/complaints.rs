use std::collections::BTreeSet;
use std::error::Error;

/// What fails, so that a log gets a line when that changes and not with each attempt.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    last: BTreeSet<String>,
    present: BTreeSet<String>,
}

impl Complaints {
    /// Another attempt at everything begins.
    pub(super) fn turn(&mut self) {
        self.last = std::mem::take(&mut self.present);
    }

    /// Whether this failure is new in this attempt and was not there in the one before.
    pub(super) fn is_news(&mut self, subject: &str, error: &dyn Error) -> bool {
        let (mut text, mut cause) = (subject.to_owned(), Some(error));
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        let is_known = self.last.contains(&text);
        self.present.insert(text) && !is_known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_news_once_until_it_was_away() {
        let mut complaints = Complaints::default();
        let failure = std::io::Error::other("full");
        let mut check = |subject, expected| assert_eq!(complaints.is_news(subject, &failure), expected);
        check("step", true);
        check("step", false);
        check("attach", true);
        complaints.turn();
        let mut check = |subject, expected| assert_eq!(complaints.is_news(subject, &failure), expected);
        check("step", false);
        complaints.turn();
        assert!(!complaints.is_news("step", &failure));
        complaints.turn();
        complaints.turn();
        assert!(complaints.is_news("step", &failure));
    }
}
