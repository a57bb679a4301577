use std::fmt;

use serde::Serialize;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    Ok,
    /// Worth knowing.
    Note,
    /// Some frames may be lost, or go a slower way.
    Warning,
    /// It will not work.
    Problem,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Problem => "problem",
        })
    }
}

/// What a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    Kernel,
    Capabilities,
    Config,
    Underlay,
    Hooks,
    Uplink,
    Frames,
    Port,
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Kernel => "kernel",
            Self::Capabilities => "capabilities",
            Self::Config => "config",
            Self::Underlay => "underlay",
            Self::Hooks => "hooks",
            Self::Uplink => "uplink",
            Self::Frames => "frames",
            Self::Port => "port",
        })
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub group: Group,
    /// An interface, an address; none where the group has but one.
    pub subject: Option<String>,
    /// A name that stays.
    pub check: &'static str,
    pub level: Level,
    pub value: String,
    pub expected: Option<String>,
    /// What to type, or what to do.
    pub remedy: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    pub problems: usize,
    pub warnings: usize,
    pub findings: Vec<Finding>,
}

impl Report {
    pub fn new(findings: Vec<Finding>) -> Self {
        let count = |level| findings.iter().filter(|finding| finding.level == level).count();
        Self { problems: count(Level::Problem), warnings: count(Level::Warning), findings }
    }
}

/// Findings of one group and subject.
pub(super) struct Section<'a> {
    group: Group,
    subject: Option<String>,
    findings: &'a mut Vec<Finding>,
}

impl<'a> Section<'a> {
    pub(super) fn new(group: Group, subject: Option<&str>, findings: &'a mut Vec<Finding>) -> Self {
        Self { group, subject: subject.map(str::to_owned), findings }
    }

    pub(super) fn ok(&mut self, check: &'static str, value: impl Into<String>) {
        self.push(Level::Ok, check, value.into(), None, None);
    }

    pub(super) fn note(&mut self, check: &'static str, value: impl Into<String>) {
        self.push(Level::Note, check, value.into(), None, None);
    }

    pub(super) fn warning(&mut self, check: &'static str, value: impl Into<String>, mend: Mend) {
        self.push(Level::Warning, check, value.into(), mend.expected, mend.remedy);
    }

    pub(super) fn problem(&mut self, check: &'static str, value: impl Into<String>, mend: Mend) {
        self.push(Level::Problem, check, value.into(), mend.expected, mend.remedy);
    }

    fn push(
        &mut self,
        level: Level,
        check: &'static str,
        value: String,
        expected: Option<String>,
        remedy: Option<String>,
    ) {
        let (group, subject) = (self.group, self.subject.clone());
        self.findings.push(Finding { group, subject, check, level, value, expected, remedy });
    }
}

/// What should have been found, and how it gets there.
#[derive(Debug, Default)]
pub(super) struct Mend {
    expected: Option<String>,
    remedy: Option<String>,
}

impl Mend {
    pub(super) fn expected(expected: impl Into<String>) -> Self {
        Self { expected: Some(expected.into()), remedy: None }
    }

    pub(super) fn by(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }
}
