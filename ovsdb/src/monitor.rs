//! What a session asks to follow, and by which of the three methods.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::row::Row;
use crate::schema::Schema;

/// The tables and columns to follow.
#[derive(Debug, Clone, Default)]
pub struct Monitor {
    tables: Vec<FollowedTable>,
}

#[derive(Debug, Clone)]
struct FollowedTable {
    name: &'static str,
    columns: &'static [&'static str],
    required: usize,
}

impl Monitor {
    pub fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn table<R: Row>(mut self) -> Self {
        self.tables.push(FollowedTable { name: R::TABLE, columns: R::COLUMNS, required: R::REQUIRED });
        self
    }

    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    /// What to ask of a server with this schema.
    pub(crate) fn requests(&self, schema: &Schema) -> Result<Requests, SchemaError> {
        let mut tables = Vec::new();
        for table in &self.tables {
            let (required, optional) = table.columns.split_at(table.required);
            if let Some(column) = required.iter().find(|column| !schema.has_column(table.name, column)) {
                let version = schema.version.clone();
                return Err(SchemaError {
                    database: schema.name.clone(),
                    version,
                    table: table.name,
                    column,
                });
            }
            let present = optional.iter().filter(|column| schema.has_column(table.name, column));
            tables.push((table.name, required.iter().chain(present).copied().collect()));
        }
        Ok(Requests(tables))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("schema {database} {version} has no column {column} in a table {table}")]
pub struct SchemaError {
    pub database: String,
    pub version: String,
    pub table: &'static str,
    pub column: &'static str,
}

/// `<monitor-requests>`: one for each table.
pub(crate) struct Requests(Vec<(&'static str, Vec<&'static str>)>);

impl Serialize for Requests {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Request<'a> {
            columns: &'a [&'static str],
        }

        let mut tables = serializer.serialize_map(Some(self.0.len()))?;
        for (table, columns) in &self.0 {
            tables.serialize_entry(table, &[Request { columns }])?;
        }
        tables.end()
    }
}

/// The ways to follow a database, best first. A server that refuses one is asked for the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum MonitorMethod {
    /// Resumes after a reconnect where the server kept its history (`ovsdb-server.7`).
    #[default]
    CondSince,
    /// Sends differences instead of whole rows (`ovsdb-server.7`).
    Cond,
    /// RFC 7047 §4.1.5.
    Plain,
}

impl MonitorMethod {
    pub fn name(self) -> &'static str {
        match self {
            Self::CondSince => "monitor_cond_since",
            Self::Cond => "monitor_cond",
            Self::Plain => "monitor",
        }
    }

    pub(crate) fn next(self) -> Option<Self> {
        match self {
            Self::CondSince => Some(Self::Cond),
            Self::Cond => Some(Self::Plain),
            Self::Plain => None,
        }
    }
}
