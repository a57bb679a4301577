//! What happened, for a reader. Costs nothing unless somebody reads: a run that fails is run again to be read.

use std::collections::VecDeque;

#[derive(Debug, Default)]
pub(crate) struct Trace {
    kept: Option<usize>,
    lines: VecDeque<String>,
    /// Everything, as it happens.
    aloud: bool,
}

impl Trace {
    pub(crate) fn last(lines: usize) -> Self {
        Self { kept: Some(lines), ..Self::default() }
    }

    pub(crate) fn aloud() -> Self {
        Self { aloud: true, ..Self::last(0) }
    }

    pub(crate) fn note(&mut self, at: u64, line: impl FnOnce() -> String) {
        let Some(kept) = self.kept else { return };
        let line = format!("{:>5}.{:03} s  {}", at / 1000, at % 1000, line());
        if self.aloud {
            eprintln!("{line}");
        }
        self.lines.push_back(line);
        while self.lines.len() > kept {
            self.lines.pop_front();
        }
    }

    pub(crate) fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }
}
