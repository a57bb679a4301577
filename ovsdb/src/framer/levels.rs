use std::ops::Range;
use std::str;

use crate::Uuid;

/// The objects and arrays that are open in the skeleton, outermost first.
#[derive(Debug, Default)]
pub(super) struct Levels(Vec<Level>);

#[derive(Debug)]
struct Level {
    array: bool,
    /// Where in the skeleton its bracket stands.
    opened_at: usize,
    strings: usize,
    /// Where in the skeleton the latest of its strings stands, without quotes.
    last_string: Range<usize>,
}

/// The place of a table's first row.
pub(super) struct RowPlace<'a> {
    pub table: &'a str,
    pub uuid: Uuid,
    /// Up to and with the brace that opens the table.
    pub skeleton_len: usize,
}

/// Where RFC 7047 has the rows of `<table-updates>`: below `result` directly, or below an element of `result` or
/// `params`.
const ROW_DEPTHS: [usize; 2] = [3, 4];

impl Levels {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn depth(&self) -> usize {
        self.0.len()
    }

    pub(super) fn open(&mut self, array: bool, opened_at: usize) {
        self.0.push(Level { array, opened_at, strings: 0, last_string: 0..0 });
    }

    /// Whether the bracket matches the one that was opened last.
    pub(super) fn close(&mut self, array: bool) -> bool {
        self.0.pop().is_some_and(|level| level.array == array)
    }

    pub(super) fn string(&mut self, text: Range<usize>) {
        if let Some(level) = self.0.last_mut() {
            level.strings += 1;
            level.last_string = text;
        }
    }

    pub(super) fn row_place<'a>(&self, skeleton: &'a [u8]) -> Option<RowPlace<'a>> {
        if !ROW_DEPTHS.contains(&self.0.len()) {
            return None;
        }
        let [.., tables, table] = self.0.as_slice() else { return None };
        if tables.array || table.array || table.strings != 1 {
            return None;
        }
        let uuid = Uuid::from_text(&skeleton[table.last_string.clone()])?;
        let name = str::from_utf8(&skeleton[tables.last_string.clone()]).ok()?;
        Some(RowPlace { table: name, uuid, skeleton_len: table.opened_at + 1 })
    }
}
