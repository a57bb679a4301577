//! Cuts the byte stream, which has no framing of its own (RFC 7047 §4), into JSON-RPC messages.
//!
//! A dump of a large table is one message of hundreds of megabytes. Its rows are therefore cut out as they pass and
//! handed over in batches; what is left of the message, its *skeleton*, follows at its end. Every byte is looked at
//! once, however it arrives. Rows are told by their place and key alone: an object keyed by UUIDs at the depth where
//! RFC 7047's `<table-updates>` have it, which no other message can have, since no identifier holds a dash.
//!
//! It checks brackets and strings only; whether the rest is JSON shows when it is decoded.

mod levels;
mod rows;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use memchr::memchr2;

use self::levels::Levels;
pub use self::rows::RowBatch;
use self::rows::{Refused, RowScanner};

/// What a peer may make us hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// One message with all its rows, in bytes.
    pub message_len_max: u64,
    /// One row, or one message without its rows, in bytes: what has to be held in memory at once.
    pub held_len_max: usize,
    /// Nesting of objects and arrays.
    pub depth_max: usize,
}

impl Default for Limits {
    /// A dump of a few million rows passes; `depth_max` stays below the 128 at which `serde_json` gives up.
    fn default() -> Self {
        Self { message_len_max: 4 << 30, held_len_max: 64 << 20, depth_max: 64 }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("message has more than {len_max} bytes")]
    MessageTooLong { len_max: u64 },
    #[error("row, or message without its rows, has more than {len_max} bytes")]
    HeldTooLong { len_max: usize },
    #[error("message nests deeper than {depth_max} levels")]
    TooDeep { depth_max: usize },
    #[error("byte {byte:#04x} stands at offset {offset} of a message; expected {expected}")]
    Unexpected { byte: u8, offset: u64, expected: &'static str },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Rows of the message that is under way; its skeleton comes later.
    Rows(RowBatch),
    /// The end of a message: all of it but the rows that were handed over before.
    Message(Bytes),
}

#[derive(Debug)]
pub struct Framer {
    limits: Limits,
    /// What was received and is still needed; its first `scanned` bytes were looked at.
    buffer: BytesMut,
    scanned: usize,
    /// Bytes of the message under way that have left the buffer.
    passed: u64,
    skeleton: BytesMut,
    levels: Levels,
    string: Option<StringState>,
    rows: Option<RowScanner>,
}

#[derive(Debug, Clone, Copy)]
struct StringState {
    /// Where in the skeleton the text begins, after its quote.
    start: usize,
    escaped: bool,
}

impl Framer {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            buffer: BytesMut::new(),
            scanned: 0,
            passed: 0,
            skeleton: BytesMut::new(),
            levels: Levels::default(),
            string: None,
            rows: None,
        }
    }

    /// Where received bytes are appended.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// The next piece of what was received, or `None` when more bytes are needed. After an error the stream is lost.
    pub fn next_piece(&mut self) -> Result<Option<Piece>, FrameError> {
        loop {
            let step = if self.rows.is_some() { self.next_rows()? } else { self.next_message()? };
            match step {
                Step::Piece(piece) => return Ok(Some(piece)),
                Step::Switch => {}
                Step::Starved => return Ok(None),
            }
        }
    }

    /// Drops the front of the buffer.
    fn pass(&mut self, len: usize) {
        self.buffer.advance(len);
        self.scanned -= len;
        self.passed += len as u64;
    }

    fn check_len(&self, held_len: usize) -> Result<(), FrameError> {
        if held_len > self.limits.held_len_max {
            return Err(FrameError::HeldTooLong { len_max: self.limits.held_len_max });
        }
        if self.passed > self.limits.message_len_max {
            return Err(FrameError::MessageTooLong { len_max: self.limits.message_len_max });
        }
        Ok(())
    }

    fn next_rows(&mut self) -> Result<Step, FrameError> {
        let Some(rows) = &mut self.rows else { return Ok(Step::Switch) };
        let depth_max = self.limits.depth_max;
        let ended =
            rows.scan(&self.buffer, &mut self.scanned, depth_max).map_err(|refused| match refused {
                Refused::Byte { byte, at, expected } => {
                    FrameError::Unexpected { byte, offset: self.passed + at as u64, expected }
                }
                Refused::TooDeep => FrameError::TooDeep { depth_max },
            })?;
        if let Some(batch) = rows.take_batch(&mut self.buffer) {
            self.scanned -= batch.bytes_len();
            self.passed += batch.bytes_len() as u64;
            self.check_len(batch.row_len_max())?;
            return Ok(Step::Piece(Piece::Rows(batch)));
        }
        let needed_from = rows.needed_from(self.scanned);
        rows.rebase(needed_from);
        self.pass(needed_from);
        self.check_len(self.scanned)?;
        if ended {
            self.rows = None;
            return Ok(Step::Switch);
        }
        Ok(Step::Starved)
    }

    fn next_message(&mut self) -> Result<Step, FrameError> {
        let step = self.scan_skeleton()?;
        self.pass(self.scanned);
        if let Step::Piece(Piece::Message(skeleton)) = &step {
            self.check_len(skeleton.len())?;
            self.passed = 0;
        } else {
            self.check_len(self.skeleton.len())?;
        }
        Ok(step)
    }

    fn scan_skeleton(&mut self) -> Result<Step, FrameError> {
        while self.scanned < self.buffer.len() {
            if self.string.is_some() {
                if self.scan_string() && self.enter_rows() {
                    return Ok(Step::Switch);
                }
                continue;
            }
            let byte = self.buffer[self.scanned];
            match byte {
                b' ' | b'\t' | b'\n' | b'\r' => {
                    self.scanned += 1;
                    continue;
                }
                b'{' => self.open(false)?,
                _ if self.levels.is_empty() => return Err(self.unexpected(byte, "`{`")),
                b'[' => self.open(true)?,
                b'"' => self.string = Some(StringState { start: self.skeleton.len() + 1, escaped: false }),
                b'}' | b']' if !self.levels.close(byte == b']') => {
                    return Err(self.unexpected(byte, "the bracket that closes what was opened last"));
                }
                _ => {}
            }
            self.skeleton.put_u8(byte);
            self.scanned += 1;
            if self.levels.is_empty() {
                return Ok(Step::Piece(Piece::Message(self.skeleton.split().freeze())));
            }
        }
        Ok(Step::Starved)
    }

    fn open(&mut self, array: bool) -> Result<(), FrameError> {
        if self.levels.depth() == self.limits.depth_max {
            return Err(FrameError::TooDeep { depth_max: self.limits.depth_max });
        }
        self.levels.open(array, self.skeleton.len());
        Ok(())
    }

    fn unexpected(&self, byte: u8, expected: &'static str) -> FrameError {
        FrameError::Unexpected { byte, offset: self.passed + self.scanned as u64, expected }
    }

    /// Copies what there is of a string to the skeleton; true when its closing quote was met.
    fn scan_string(&mut self) -> bool {
        let Some(mut string) = self.string.take() else { return false };
        let mut rest = &self.buffer[self.scanned..];
        let mut closed = false;
        while !rest.is_empty() && !closed {
            let len =
                if string.escaped { 1 } else { memchr2(b'"', b'\\', rest).map_or(rest.len(), |at| at + 1) };
            let last = rest[len - 1];
            closed = !string.escaped && last == b'"';
            string.escaped = !string.escaped && last == b'\\';
            self.skeleton.extend_from_slice(&rest[..len]);
            rest = &rest[len..];
        }
        self.scanned = self.buffer.len() - rest.len();
        if closed {
            self.levels.string(string.start..self.skeleton.len() - 1);
        } else {
            self.string = Some(string);
        }
        closed
    }

    /// Whether the string that just ended is the key of a table's first row; if so, it is taken out of the skeleton.
    fn enter_rows(&mut self) -> bool {
        let Some(place) = self.levels.row_place(&self.skeleton) else { return false };
        self.rows = Some(RowScanner::new(place.table, place.uuid, self.levels.depth()));
        let skeleton_len = place.skeleton_len;
        self.skeleton.truncate(skeleton_len);
        true
    }
}

enum Step {
    Piece(Piece),
    /// The other scanner goes on.
    Switch,
    Starved,
}

#[cfg(test)]
mod tests;
