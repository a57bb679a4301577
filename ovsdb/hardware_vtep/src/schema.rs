//! The schema extension: stock `hardware_vtep` 1.7 with our optional columns is 1.8.0. Clients of the stock schema work
//! with it unchanged.

mod cksum;
mod convert;

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use self::cksum::cksum;
pub use self::convert::{ConvertError, Converted, convert};
use crate::DATABASE;

/// Of the schema that [`extend`] gives.
pub const VERSION: &str = "1.8.0";
/// Of those that it takes.
const STOCK: &str = "1.7.";

const ROLE: &str =
    r#"{"type": {"key": {"type": "string", "enum": ["set", ["master", "slave"]]}, "min": 0, "max": 1}}"#;
const TIME: &str = r#"{"type": {"key": "integer", "min": 0, "max": 1}}"#;
const LOCATORS: &str =
    r#"{"type": {"key": {"type": "uuid", "refTable": "Physical_Locator"}, "min": 0, "max": "unlimited"}}"#;

/// What is added to which table.
const COLUMNS: [(&str, &[(&str, &str)]); 2] = [
    ("Ucast_Macs_Local", &[("role", ROLE), ("claimed_at", TIME)]),
    ("Ucast_Macs_Remote", &[("slave_locators", LOCATORS), ("role", ROLE)]),
];

#[derive(Debug, thiserror::Error)]
pub enum ExtendError {
    #[error("schema is malformed")]
    Malformed(#[source] serde_json::Error),
    #[error("schema is that of database {found:?}; expected {DATABASE:?}")]
    Name { found: String },
    #[error("schema has version {found:?}; expected {STOCK}x")]
    Version { found: String },
    /// Nothing is left to be done.
    #[error("schema has version {found:?} and is extended already; expected {STOCK}x")]
    Extended { found: String },
    #[error("schema has no table {table}")]
    Table { table: &'static str },
    #[error("table {table} has a column {column} already, which is not that of version {VERSION}")]
    Column { table: &'static str, column: &'static str },
}

/// The stock schema with our columns. The text is otherwise as it was, but for its version, and its checksum if it has
/// one (of the lines without it, as Open vSwitch makes it).
pub fn extend(stock: &str) -> Result<String, ExtendError> {
    // A server gives its schema in one line.
    let text = if stock.trim().contains('\n') { Cow::from(stock) } else { Cow::from(lines(stock)?) };
    let schema: Written<'_> = serde_json::from_str(&text).map_err(ExtendError::Malformed)?;
    if schema.name != DATABASE {
        return Err(ExtendError::Name { found: schema.name.into_owned() });
    }
    let version: Cow<'_, str> = string(schema.version)?;
    if schema.is_extended() {
        return Err(ExtendError::Extended { found: version.into_owned() });
    }
    if !version.starts_with(STOCK) {
        return Err(ExtendError::Version { found: version.into_owned() });
    }
    let mut edits = vec![Edit::replace(&text, schema.version, format!("{VERSION:?}"))];
    for (table, columns) in COLUMNS {
        let written = schema.tables.get(table).ok_or(ExtendError::Table { table })?;
        let present = columns_of(written)?;
        if let Some(&(column, _)) = columns.iter().find(|(column, _)| present.contains_key(*column)) {
            return Err(ExtendError::Column { table, column });
        }
        edits.push(Edit::add_members(&text, written.columns, columns, present.is_empty()));
    }
    let extended = apply(&text, edits);
    sign(extended)
}

#[derive(Deserialize)]
struct Written<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow)]
    version: &'a RawValue,
    #[serde(borrow)]
    cksum: Option<&'a RawValue>,
    #[serde(borrow)]
    tables: BTreeMap<Cow<'a, str>, WrittenTable<'a>>,
}

#[derive(Deserialize)]
struct WrittenTable<'a> {
    #[serde(borrow)]
    columns: &'a RawValue,
}

impl Written<'_> {
    fn is_extended(&self) -> bool {
        COLUMNS.iter().all(|(table, columns)| {
            let present = self.tables.get(*table).and_then(|written| columns_of(written).ok());
            present.is_some_and(|present| columns.iter().all(|(column, _)| present.contains_key(*column)))
        })
    }
}

fn columns_of<'a>(table: &WrittenTable<'a>) -> Result<BTreeMap<Cow<'a, str>, &'a RawValue>, ExtendError> {
    serde_json::from_str(table.columns.get()).map_err(ExtendError::Malformed)
}

fn string(value: &RawValue) -> Result<Cow<'_, str>, ExtendError> {
    serde_json::from_str(value.get()).map(Cow::Owned).map_err(ExtendError::Malformed)
}

fn lines(stock: &str) -> Result<String, ExtendError> {
    let value: serde_json::Value = serde_json::from_str(stock).map_err(ExtendError::Malformed)?;
    Ok(format!("{value:#}\n"))
}

/// A new text for a stretch of an old one.
struct Edit {
    from: usize,
    to: usize,
    text: String,
}

impl Edit {
    fn replace(text: &str, value: &RawValue, by: String) -> Self {
        let from = place(text, value);
        Self { from, to: from + value.get().len(), text: by }
    }

    fn add_members(text: &str, object: &RawValue, members: &[(&str, &str)], empty: bool) -> Self {
        let body = object.get().strip_suffix('}').expect("it is an object").trim_end();
        let end = place(text, object) + body.len();
        let members: Vec<_> =
            members.iter().map(|(name, value)| format!("\n        {name:?}: {value}")).collect();
        let comma = if empty { "" } else { "," };
        Self { from: end, to: end, text: format!("{comma}{}", members.join(",")) }
    }
}

/// Where a value of a text stands in it.
fn place(text: &str, value: &RawValue) -> usize {
    value.get().as_ptr() as usize - text.as_ptr() as usize
}

fn apply(text: &str, mut edits: Vec<Edit>) -> String {
    edits.sort_by_key(|edit| edit.from);
    let mut edited = String::with_capacity(text.len() + 1024);
    let mut done = 0;
    for Edit { from, to, text: by } in edits {
        edited.push_str(&text[done..from]);
        edited.push_str(&by);
        done = to;
    }
    edited.push_str(&text[done..]);
    edited
}

fn sign(text: String) -> Result<String, ExtendError> {
    let schema: Written<'_> = serde_json::from_str(&text).map_err(ExtendError::Malformed)?;
    let Some(sum) = schema.cksum else { return Ok(text) };
    let unsigned: String = text.split_inclusive('\n').filter(|line| !line.contains("cksum")).collect();
    let signature = format!("\"{} {}\"", cksum(unsigned.as_bytes()), unsigned.len());
    Ok(apply(&text, vec![Edit::replace(&text, sum, signature)]))
}

#[cfg(test)]
mod tests;
