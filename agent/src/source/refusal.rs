use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// One row, or one member of a row, that was set aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Where it stands, as `mac[17].master`.
    pub path: String,
    /// The value that stands there, and what was expected.
    pub problem: String,
}

/// Everything that was set aside: all of it counted, the first of it kept.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Refusals {
    first: Vec<Refusal>,
    count: usize,
}

impl Refusals {
    pub const KEPT_MAX: usize = 100;
    const VALUE_CHARS_MAX: usize = 64;

    pub fn push(
        &mut self,
        path: impl FnOnce() -> String,
        value: &dyn fmt::Display,
        expected: impl Into<Cow<'static, str>>,
    ) {
        self.count += 1;
        if self.first.len() < Self::KEPT_MAX {
            let value: String = value.to_string().chars().take(Self::VALUE_CHARS_MAX).collect();
            let problem = format!("{value:?}; expected {}", expected.into());
            self.first.push(Refusal { path: path(), problem });
        }
    }

    /// What another judge has set aside.
    pub fn note(&mut self, path: String, problem: String) {
        self.count += 1;
        if self.first.len() < Self::KEPT_MAX {
            self.first.push(Refusal { path, problem });
        }
    }

    /// Counts what is not listed.
    pub fn note_more(&mut self, count: usize) {
        self.count += count;
    }

    pub fn count(&self) -> usize {
        self.count
    }

    pub fn first(&self) -> &[Refusal] {
        &self.first
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.problem)
    }
}
