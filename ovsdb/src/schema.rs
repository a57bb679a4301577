use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::value::RawValue;

/// Which tables and columns a database has (RFC 7047 §3.2).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Schema {
    pub name: String,
    pub version: String,
    tables: BTreeMap<String, BTreeSet<String>>,
}

impl Schema {
    pub fn has_table(&self, table: &str) -> bool {
        self.tables.contains_key(table)
    }

    pub fn has_column(&self, table: &str, column: &str) -> bool {
        self.tables.get(table).is_some_and(|columns| columns.contains(column))
    }

    pub(crate) fn read(schema: &[u8]) -> Result<Self, serde_json::Error> {
        let Written { name, version, tables } = serde_json::from_slice(schema)?;
        let columns = |table: WrittenTable| table.columns.into_keys().collect();
        let tables = tables.into_iter().map(|(table, written)| (table, columns(written))).collect();
        Ok(Self { name, version, tables })
    }
}

#[derive(Deserialize)]
struct Written {
    name: String,
    #[serde(default)]
    version: String,
    tables: BTreeMap<String, WrittenTable>,
}

#[derive(Deserialize)]
struct WrittenTable {
    columns: BTreeMap<String, Box<RawValue>>,
}
