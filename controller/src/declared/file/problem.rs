use std::fmt;

/// What is wrong at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// From 1.
    pub line: usize,
    /// The line as it stands there, cut.
    pub text: String,
    pub message: String,
}

/// Everything that is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct FileError {
    pub name: String,
    /// The first of them, by line.
    pub problems: Vec<Problem>,
    pub count: usize,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let things = if self.count == 1 { "1 error" } else { &format!("{} errors", self.count) };
        write!(f, "{} is refused, and nothing of it is applied: {things}", self.name)?;
        for Problem { line, text, message } in &self.problems {
            write!(f, "\n  line {line}: {message}\n    {line:>4} | {text}")?;
        }
        match self.count - self.problems.len() {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}

const LISTED_MAX: usize = 20;
const TEXT_MAX: usize = 120;

pub(super) struct Problems<'a> {
    name: &'a str,
    text: &'a str,
    /// Where each line begins.
    lines: Vec<usize>,
    found: Vec<(usize, String)>,
}

impl<'a> Problems<'a> {
    pub(super) fn of(name: &'a str, text: &'a str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        Self { name, text, lines: std::iter::once(0).chain(breaks).collect(), found: Vec::new() }
    }

    /// `at` counts bytes from the beginning of the file.
    pub(super) fn push(&mut self, at: usize, message: impl Into<String>) {
        self.found.push((at, message.into()));
    }

    pub(super) fn count(&self) -> usize {
        self.found.len()
    }

    /// The line in which something stands, from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        self.lines.partition_point(|&start| start <= at)
    }

    /// `declared`, if nothing is wrong.
    pub(super) fn finish<T>(mut self, declared: T) -> Result<T, FileError> {
        if self.found.is_empty() {
            return Ok(declared);
        }
        self.found.sort_by_key(|(at, _)| *at);
        let problem = |(at, message): &(usize, String)| {
            let line = self.line(*at);
            let start = self.lines.get(line - 1).copied().unwrap_or_default();
            let text = self.text.get(start..).unwrap_or_default().lines().next().unwrap_or_default();
            let plain = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
            Problem { line, text: plain.take(TEXT_MAX).collect(), message: message.clone() }
        };
        let problems = self.found.iter().take(LISTED_MAX).map(problem).collect();
        Err(FileError { name: self.name.to_owned(), problems, count: self.found.len() })
    }
}
