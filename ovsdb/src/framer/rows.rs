use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::Uuid;

/// Rows of one table, each as the bytes of its `<row-update>` or `<row-update2>` object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowBatch {
    table: Arc<str>,
    bytes: Bytes,
    rows: Vec<RowSpan>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct RowSpan {
    uuid: Uuid,
    start: usize,
    end: usize,
}

impl RowBatch {
    pub fn table(&self) -> &str {
        &self.table
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    /// The length of the longest row.
    pub(super) fn row_len_max(&self) -> usize {
        self.rows.iter().map(|row| row.end - row.start).max().unwrap_or_default()
    }

    pub fn iter(&self) -> impl Iterator<Item = (Uuid, &[u8])> {
        self.rows.iter().map(|row| (row.uuid, &self.bytes[row.start..row.end]))
    }
}

/// A batch is handed over once it has this many bytes; a larger row goes alone.
const BATCH_LEN: usize = 64 << 10;

/// Follows the members of one table's object, from after the first key up to, not with, its closing brace.
#[derive(Debug)]
pub(super) struct RowScanner {
    table: Arc<str>,
    depth_outside: usize,
    state: State,
    rows: Vec<RowSpan>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Colon(Uuid),
    Open(Uuid),
    Row(Row),
    Next,
    KeyQuote,
    Key { text: [u8; Uuid::TEXT_LEN], len: usize },
}

#[derive(Debug, Clone, Copy)]
struct Row {
    uuid: Uuid,
    start: usize,
    /// Braces open inside the row, its own included.
    depth: usize,
    string: bool,
    escaped: bool,
}

#[derive(Debug)]
pub(super) enum Refused {
    /// `at` counts from the start of the buffer.
    Byte {
        byte: u8,
        at: usize,
        expected: &'static str,
    },
    TooDeep,
}

impl RowScanner {
    pub(super) fn new(table: &str, first: Uuid, depth_outside: usize) -> Self {
        Self { table: table.into(), depth_outside, state: State::Colon(first), rows: Vec::new() }
    }

    /// Goes on at `scanned`; true when the table's closing brace is next. Stops early when a batch is full.
    pub(super) fn scan(
        &mut self,
        buffer: &[u8],
        scanned: &mut usize,
        depth_max: usize,
    ) -> Result<bool, Refused> {
        while let Some(&byte) = buffer.get(*scanned) {
            if let State::Row(row) = &mut self.state {
                let ended = row.scan(buffer, scanned, depth_max.saturating_sub(self.depth_outside))?;
                if ended {
                    self.rows.push(RowSpan { uuid: row.uuid, start: row.start, end: *scanned });
                    self.state = State::Next;
                    if *scanned >= BATCH_LEN {
                        return Ok(false);
                    }
                }
                continue;
            }
            if let State::Key { text, len } = &mut self.state {
                let copied = copy_up_to_quote(&mut text[*len..], &buffer[*scanned..]);
                *len += copied;
                *scanned += copied;
                if copied > 0 {
                    continue;
                }
            } else if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                *scanned += 1;
                continue;
            }
            if matches!((self.state, byte), (State::Next, b'}')) {
                return Ok(true);
            }
            self.state = self.state.after(byte, *scanned)?;
            *scanned += 1;
        }
        Ok(false)
    }

    /// What was completed, cut off the front of the buffer.
    pub(super) fn take_batch(&mut self, buffer: &mut BytesMut) -> Option<RowBatch> {
        let end = self.rows.last()?.end;
        let bytes = buffer.split_to(end).freeze();
        self.rebase(end);
        let capacity = self.rows.len();
        let rows = std::mem::replace(&mut self.rows, Vec::with_capacity(capacity));
        Some(RowBatch { table: self.table.clone(), bytes, rows })
    }

    /// The first byte that is still needed, given that all before `scanned` were looked at.
    pub(super) fn needed_from(&self, scanned: usize) -> usize {
        match &self.state {
            State::Row(row) => row.start,
            _ => scanned,
        }
    }

    /// The buffer lost this many bytes at its front.
    pub(super) fn rebase(&mut self, by: usize) {
        if let State::Row(row) = &mut self.state {
            row.start -= by;
        }
    }
}

impl State {
    /// The state after one byte that lies outside rows and is no white space nor part of a key.
    fn after(self, byte: u8, at: usize) -> Result<Self, Refused> {
        let expected = match (self, byte) {
            (State::Colon(uuid), b':') => return Ok(State::Open(uuid)),
            (State::Open(uuid), b'{') => {
                return Ok(State::Row(Row { uuid, start: at, depth: 1, string: false, escaped: false }));
            }
            (State::Next, b',') => return Ok(State::KeyQuote),
            (State::KeyQuote, b'"') => return Ok(State::Key { text: [0; Uuid::TEXT_LEN], len: 0 }),
            (State::Key { text, len }, b'"') if len == text.len() => match Uuid::from_text(&text) {
                Some(uuid) => return Ok(State::Colon(uuid)),
                None => "the UUID of a row",
            },
            (State::Colon(_), _) => "`:` after a row's UUID",
            (State::Open(_), _) => "the object of a row",
            (State::Next, _) => "`,` or `}` after a row",
            (State::KeyQuote | State::Key { .. } | State::Row(_), _) => "the UUID of a row",
        };
        Err(Refused::Byte { byte, at, expected })
    }
}

/// The number of bytes that were copied: as many as both have, short of a closing quote.
fn copy_up_to_quote(text: &mut [u8], bytes: &[u8]) -> usize {
    let len = text.len().min(bytes.len());
    let len = bytes[..len].iter().position(|&byte| byte == b'"').unwrap_or(len);
    text[..len].copy_from_slice(&bytes[..len]);
    len
}

/// What ends a run of bytes that mean nothing to the framer.
const SIGNIFICANT: [u8; 256] = {
    let mut significant = [0; 256];
    significant[b'"' as usize] = QUOTE;
    significant[b'\\' as usize] = ESCAPE;
    significant[b'{' as usize] = OPEN;
    significant[b'}' as usize] = CLOSE;
    significant
};
const QUOTE: u8 = 1;
const ESCAPE: u8 = 2;
const OPEN: u8 = 3;
const CLOSE: u8 = 4;

impl Row {
    /// True when the row's closing brace was met. Square brackets are not counted: `serde_json` bounds those.
    fn scan(&mut self, buffer: &[u8], scanned: &mut usize, depth_max: usize) -> Result<bool, Refused> {
        // Strings in rows are short: a loop over their bytes beats setting up a vector search for each.
        let mut rest = buffer[*scanned..].iter();
        let Self { depth, string, escaped, .. } = self;
        let (mut inside, mut open) = (*string, *depth);
        if *escaped && rest.next().is_some() {
            *escaped = false;
        }
        while let Some(&byte) = rest.next() {
            let significant = SIGNIFICANT[usize::from(byte)];
            if significant == 0 {
                continue;
            }
            match (significant, inside) {
                (QUOTE, _) => inside = !inside,
                (ESCAPE, true) => *escaped = rest.next().is_none(),
                (OPEN, false) => {
                    open += 1;
                    if open > depth_max {
                        return Err(Refused::TooDeep);
                    }
                }
                (CLOSE, false) => {
                    open -= 1;
                    if open == 0 {
                        *scanned = buffer.len() - rest.len();
                        return Ok(true);
                    }
                }
                _ => {}
            }
        }
        (*string, *depth) = (inside, open);
        *scanned = buffer.len();
        Ok(false)
    }
}
