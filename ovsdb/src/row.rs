//! Typed rows: a consumer names the columns it wants of a table, and each row is decoded from the buffer it arrived in.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, Visitor};

use crate::Uuid;
use crate::cell::Mode;
use crate::word::WordSeed;

/// A row of one table, as far as its consumer wants to know it; written by [`row!`](crate::row). Its default has
/// OVSDB's defaults (RFC 7047 §5.2.1): a server leaves out columns that hold them.
pub trait Row: Default + Clone + PartialEq {
    const TABLE: &'static str;
    /// The columns that are asked for; those from `REQUIRED` on only if the server's schema has them.
    const COLUMNS: &'static [&'static str];
    const REQUIRED: usize;

    /// Reads the next cell, which belongs to `COLUMNS[column]`.
    fn read_cell<'de, A: MapAccess<'de>>(
        &mut self,
        column: usize,
        cells: &mut A,
        mode: Mode,
    ) -> Result<(), A::Error>;
}

/// Declares a struct with a [`Row`] impl. The fields under `optional` may be absent from the server's schema.
///
/// ```
/// ovsdb::row! {
///     #[derive(Debug)]
///     pub struct Bridge in "Bridge" {
///         pub name: String = "name",
///         pub ports: std::collections::BTreeSet<ovsdb::Uuid> = "ports",
///     }
///     optional {
///         pub datapath_version: Option<String> = "datapath_version",
///     }
/// }
/// ```
#[macro_export]
macro_rules! row {
    (
        $(#[$meta:meta])* $vis:vis struct $name:ident in $table:literal {
            $($(#[$field_meta:meta])* $field_vis:vis $field:ident: $type:ty = $column:literal,)*
        }
        $(optional { $($(#[$more_meta:meta])* $more_vis:vis $more:ident: $more_type:ty = $more_column:literal,)* })?
    ) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq, Default)]
        $vis struct $name {
            $($(#[$field_meta])* $field_vis $field: $type,)*
            $($($(#[$more_meta])* $more_vis $more: $more_type,)*)?
        }

        impl $crate::Row for $name {
            const TABLE: &'static str = $table;
            const COLUMNS: &'static [&'static str] = &[$($column,)* $($($more_column,)*)?];
            const REQUIRED: usize = <[&str]>::len(&[$($column),*]);

            fn read_cell<'de, A: $crate::reexport::MapAccess<'de>>(
                &mut self,
                column: usize,
                cells: &mut A,
                mode: $crate::Mode,
            ) -> Result<(), A::Error> {
                let mut fields = 0..;
                $(if fields.next() == Some(column) {
                    return cells.next_value_seed($crate::CellSeed { field: &mut self.$field, mode });
                })*
                $($(if fields.next() == Some(column) {
                    return cells.next_value_seed($crate::CellSeed { field: &mut self.$more, mode });
                })*)?
                unreachable!("column numbers are those of COLUMNS")
            }
        }
    };
}

/// Reads a cell into its field.
#[derive(Debug)]
pub struct CellSeed<'a, T> {
    pub field: &'a mut T,
    pub mode: Mode,
}

impl<'de, T: crate::Cell> DeserializeSeed<'de> for CellSeed<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, cell: D) -> Result<(), D::Error> {
        self.field.read(cell, self.mode)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum RowError {
    #[error("row {uuid} of table {table} is malformed")]
    Malformed { table: &'static str, uuid: Uuid, source: serde_json::Error },
    #[error("row {uuid} of table {table} was modified, but had not been inserted")]
    Unknown { table: &'static str, uuid: Uuid },
}

/// What became of a row: `Some` with its new state, or `None` when it was deleted. `before` is asked for the row's
/// earlier state if the server sent a difference.
pub(crate) fn decode<R: Row>(
    uuid: Uuid,
    update: &[u8],
    before: impl FnOnce() -> Option<R>,
) -> Result<Option<R>, RowError> {
    let mut decoder = serde_json::Deserializer::from_slice(update);
    let mut seed = UpdateSeed { before: Some(before), row: None, unknown: false };
    let read = decoder.deserialize_map(&mut seed).and_then(|()| decoder.end());
    if seed.unknown {
        return Err(RowError::Unknown { table: R::TABLE, uuid });
    }
    read.map_err(|source| RowError::Malformed { table: R::TABLE, uuid, source })?;
    Ok(seed.row)
}

/// `<row-update>` (RFC 7047 §4.1.6) and `<row-update2>` (`ovsdb-server.7`) differ in their keys, which tell them apart.
struct UpdateSeed<R, F> {
    before: Option<F>,
    row: Option<R>,
    unknown: bool,
}

const KINDS: [&str; 6] = ["initial", "insert", "new", "modify", "delete", "old"];
const MODIFY: usize = 3;

impl<'de, R: Row, F: FnOnce() -> Option<R>> Visitor<'de> for &mut UpdateSeed<R, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a row update")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut update: A) -> Result<(), A::Error> {
        let mut kinds = 0;
        while let Some(kind) = update.next_key_seed(WordSeed(&KINDS))? {
            kinds += 1;
            match kind {
                Some(MODIFY) => {
                    let Some(before) = self.before.take().and_then(|before| before()) else {
                        self.unknown = true;
                        return Err(de::Error::custom("no earlier state"));
                    };
                    let row = self.row.insert(before);
                    update.next_value_seed(RowSeed { row, mode: Mode::Difference })?;
                }
                Some(..MODIFY) => {
                    let row = self.row.insert(R::default());
                    update.next_value_seed(RowSeed { row, mode: Mode::Whole })?;
                }
                Some(_) => {
                    update.next_value::<de::IgnoredAny>()?;
                }
                None => return Err(de::Error::custom(format_args!("expected one of {KINDS:?}"))),
            }
        }
        if kinds == 0 { Err(de::Error::custom("row update says nothing")) } else { Ok(()) }
    }
}

struct RowSeed<'a, R> {
    row: &'a mut R,
    mode: Mode,
}

impl<'de, R: Row> DeserializeSeed<'de> for RowSeed<'_, R> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, row: D) -> Result<(), D::Error> {
        row.deserialize_map(self)
    }
}

impl<'de, R: Row> Visitor<'de> for RowSeed<'_, R> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a row of table {}", R::TABLE)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut cells: A) -> Result<(), A::Error> {
        while let Some(column) = cells.next_key_seed(WordSeed(R::COLUMNS))? {
            match column {
                Some(column) => self.row.read_cell(column, &mut cells, self.mode)?,
                None => {
                    cells.next_value::<de::IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}
