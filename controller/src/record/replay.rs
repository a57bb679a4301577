//! Cores made again of what was recorded.

use std::io::{self, BufRead};

use super::{FORMAT, Line};
use crate::{Logical, Physical};

/// The state at the end of the recording.
#[derive(Debug, Default)]
pub struct Replayed {
    pub logical: Option<Logical>,
    pub physical: Option<Physical>,
    pub events: u64,
    /// Lines that a crash cut.
    pub torn: u64,
    /// Why the recording ends before the run did.
    pub ended: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("the recording cannot be read")]
    Read(#[from] io::Error),
    #[error("line {line} of the recording is not understood")]
    Line { line: u64, source: serde_json::Error },
    #[error("line {line}: the recording has format {found}, of release {release}; expected {FORMAT}")]
    Format { line: u64, found: u32, release: String },
    #[error("line {line}: an event of a {core} controller that was not started")]
    NotStarted { line: u64, core: &'static str },
    #[error("the recording is empty")]
    Empty,
}

/// Steps through all of it.
pub fn replay(recording: impl BufRead) -> Result<Replayed, ReplayError> {
    let mut replayed = Replayed::default();
    let mut cut: Option<ReplayError> = None;
    let mut line = 0;
    for text in recording.split(b'\n') {
        line += 1;
        let text = text?;
        match serde_json::from_slice(&text) {
            Ok(Line::Run { format, version }) => {
                // What a crash cut stands before the next run.
                replayed.torn += u64::from(cut.take().is_some());
                if format != FORMAT {
                    return Err(ReplayError::Format { line, found: format, release: version });
                }
                replayed = Replayed { events: replayed.events, torn: replayed.torn, ..Replayed::default() };
            }
            Ok(_) if cut.is_some() => break,
            Ok(step) => replayed.step(step, line)?,
            Err(source) if cut.is_none() => cut = Some(ReplayError::Line { line, source }),
            Err(_) => break,
        }
        if line == 1
            && let Some(error) = cut
        {
            return Err(error);
        }
    }
    match cut {
        // Or it is the last.
        Some(ReplayError::Line { line: at, .. }) if at == line => replayed.torn += 1,
        Some(error) => return Err(error),
        None if line == 0 => return Err(ReplayError::Empty),
        None => {}
    }
    Ok(replayed)
}

impl Replayed {
    fn step(&mut self, step: Line, line: u64) -> Result<(), ReplayError> {
        let not_started = |core| ReplayError::NotStarted { line, core };
        match step {
            Line::Run { .. } => {}
            Line::LogicalStart { now, start } => self.logical = Some(Logical::new(start, now)),
            Line::PhysicalStart { now, start } => self.physical = Some(Physical::new(start, now)),
            Line::Logical { now, event } => {
                let core = self.logical.as_mut().ok_or_else(|| not_started("logical"))?;
                core.step(event, now, &mut Vec::new());
                self.events += 1;
            }
            Line::Physical { now, event } => {
                let core = self.physical.as_mut().ok_or_else(|| not_started("physical"))?;
                core.step(event, now, &mut Vec::new());
                self.events += 1;
            }
            Line::End { reason } => self.ended = Some(reason),
        }
        Ok(())
    }
}
