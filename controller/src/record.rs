//! Every event of the cores, with its time, as lines of JSON; and the same cores made of them again.
//!
//! A run begins with a header and the start of each core; what follows are their events in the order in which they were
//! stepped. A restart appends. At the size limit, or when the disk has no room, a last line says so and the daemon goes on.

mod replay;

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::{Now, logical, physical};

pub use replay::{ReplayError, Replayed, replay};

/// Of the lines. Another one is not replayed.
const FORMAT: u32 = 1;

/// One line.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Run { format: u32, version: String },
    LogicalStart { now: Now, start: logical::Start },
    Logical { now: Now, event: logical::Event },
    PhysicalStart { now: Now, start: physical::Start },
    Physical { now: Now, event: physical::Event },
    End { reason: String },
}

/// The same, of what is not ours to give away.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Written<'a> {
    Run { format: u32, version: &'a str },
    LogicalStart { now: Now, start: &'a logical::Start },
    Logical { now: Now, event: &'a logical::Event },
    PhysicalStart { now: Now, start: &'a physical::Start },
    Physical { now: Now, event: &'a physical::Event },
    End { reason: &'a str },
}

#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("recording {path} cannot be opened")]
    Open { path: PathBuf, source: io::Error },
}

/// Shared by the tasks that own the cores. Events of one core stand in their order.
#[derive(Debug, Clone)]
pub struct Recorder(Arc<Mutex<Recording>>);

#[derive(Debug)]
struct Recording {
    path: PathBuf,
    file: File,
    written: u64,
    bytes_max: u64,
    line: Vec<u8>,
    ended: Option<String>,
}

/// Kept free for the last line.
const END_BYTES: u64 = 256;

impl Recorder {
    /// Appends to what is there. The file never becomes longer than `bytes_max`.
    pub fn append(path: &Path, bytes_max: u64) -> Result<Self, RecordError> {
        let failed = |source| RecordError::Open { path: path.to_owned(), source };
        let mut options = OpenOptions::new();
        let mut file = options.read(true).append(true).create(true).open(path).map_err(failed)?;
        let written = mend(&mut file).map_err(failed)?;
        let path = path.to_owned();
        let mut recording = Recording { path, file, written, bytes_max, line: Vec::new(), ended: None };
        recording.write(&Written::Run { format: FORMAT, version: env!("CARGO_PKG_VERSION") });
        Ok(Self(Arc::new(Mutex::new(recording))))
    }

    pub fn logical_start(&self, start: &logical::Start, now: Now) {
        self.write(&Written::LogicalStart { now, start });
    }

    /// Before it is stepped.
    pub fn logical(&self, event: &logical::Event, now: Now) {
        self.write(&Written::Logical { now, event });
    }

    pub fn physical_start(&self, start: &physical::Start, now: Now) {
        self.write(&Written::PhysicalStart { now, start });
    }

    /// Before it is stepped.
    pub fn physical(&self, event: &physical::Event, now: Now) {
        self.write(&Written::Physical { now, event });
    }

    /// Why nothing is written down any more.
    pub fn ended(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).ended.clone()
    }

    fn write(&self, line: &Written<'_>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(line);
    }
}

impl Recording {
    fn write(&mut self, line: &Written<'_>) {
        if self.ended.is_some() {
            return;
        }
        self.line.clear();
        let result = serde_json::to_writer(&mut self.line, line).map_err(io::Error::from);
        self.line.push(b'\n');
        let length = self.line.len() as u64;
        if self.written + length + END_BYTES > self.bytes_max {
            self.end(format!("the recording has reached its limit of {} bytes", self.bytes_max));
            return;
        }
        match result.and_then(|()| self.file.write_all(&self.line)) {
            Ok(()) => self.written += length,
            Err(error) => {
                // Half a line would hide the last one.
                self.file.set_len(self.written).ok();
                self.end(format!("the recording failed: {error}"));
            }
        }
    }

    fn end(&mut self, reason: String) {
        tracing::warn!(path = %self.path.display(), "{reason}; nothing more is recorded");
        let mut line = serde_json::to_vec(&Written::End { reason: &reason }).unwrap_or_default();
        line.push(b'\n');
        if self.written + line.len() as u64 <= self.bytes_max {
            self.file.write_all(&line).ok();
        }
        self.ended = Some(reason);
    }
}

/// A crash may have cut the last line. Returns the length.
fn mend(file: &mut File) -> io::Result<u64> {
    let length = file.seek(SeekFrom::End(0))?;
    if length == 0 {
        return Ok(0);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    if last == *b"\n" {
        return Ok(length);
    }
    file.write_all(b"\n")?;
    Ok(length + 1)
}

#[cfg(test)]
mod tests;
