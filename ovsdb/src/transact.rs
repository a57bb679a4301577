//! The operations of one transaction (RFC 7047 §5.2), and what became of them.

mod datum;
mod outcome;

use serde::Serialize;
use serde::ser::{SerializeMap, SerializeSeq, Serializer};

pub use self::datum::{Datum, Reference, Scalar};
pub use self::outcome::{Outcome, OutcomeError, Refusal, Results};
use crate::Uuid;

/// Operations that take effect together or not at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transaction {
    operations: Vec<Operation>,
}

impl Transaction {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn len(&self) -> usize {
        self.operations.len()
    }

    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    pub fn push(&mut self, operation: Operation) {
        self.operations.push(operation);
    }

    pub fn append(&mut self, other: Self) {
        self.operations.extend(other.operations);
    }

    /// `name` must be an identifier that no other insert of this transaction has; a reference to the new row is
    /// `Reference::Named(name)`.
    pub fn insert(&mut self, table: &'static str, name: Option<String>, row: Cells) {
        self.push(Operation::Insert { table, uuid_name: name, row });
    }

    pub fn update(&mut self, table: &'static str, rows: impl Into<Conditions>, row: Cells) {
        self.push(Operation::Update { table, conditions: rows.into(), row });
    }

    pub fn mutate(&mut self, table: &'static str, rows: impl Into<Conditions>, mutations: Vec<Mutation>) {
        self.push(Operation::Mutate { table, conditions: rows.into(), mutations });
    }

    pub fn delete(&mut self, table: &'static str, rows: impl Into<Conditions>) {
        self.push(Operation::Delete { table, conditions: rows.into() });
    }

    pub fn select(&mut self, table: &'static str, rows: impl Into<Conditions>, columns: Vec<&'static str>) {
        self.push(Operation::Select { table, conditions: rows.into(), columns });
    }

    /// Fails the transaction unless this session owns the lock.
    pub fn assert_lock(&mut self, lock: impl Into<String>) {
        self.push(Operation::Assert { lock: lock.into() });
    }

    /// Recorded in the server's log with the transaction.
    pub fn comment(&mut self, comment: impl Into<String>) {
        self.push(Operation::Comment { comment: comment.into() });
    }

    /// Fails the transaction unless exactly one row matches and has these cells.
    pub fn expect_row(&mut self, table: &'static str, rows: impl Into<Conditions>, row: Cells) {
        let columns = row.columns().collect();
        self.push(Operation::Wait {
            table,
            conditions: rows.into(),
            columns,
            until: Until::Equal,
            rows: vec![row],
            timeout_ms: Some(0),
        });
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum Operation {
    Insert {
        table: &'static str,
        #[serde(rename = "uuid-name", skip_serializing_if = "Option::is_none")]
        uuid_name: Option<String>,
        row: Cells,
    },
    Select {
        table: &'static str,
        #[serde(rename = "where")]
        conditions: Conditions,
        columns: Vec<&'static str>,
    },
    Update {
        table: &'static str,
        #[serde(rename = "where")]
        conditions: Conditions,
        row: Cells,
    },
    Mutate {
        table: &'static str,
        #[serde(rename = "where")]
        conditions: Conditions,
        mutations: Vec<Mutation>,
    },
    Delete {
        table: &'static str,
        #[serde(rename = "where")]
        conditions: Conditions,
    },
    Wait {
        table: &'static str,
        #[serde(rename = "where")]
        conditions: Conditions,
        columns: Vec<&'static str>,
        until: Until,
        rows: Vec<Cells>,
        /// How long the server may hold the transaction back; without it, for ever.
        #[serde(rename = "timeout", skip_serializing_if = "Option::is_none")]
        timeout_ms: Option<u64>,
    },
    Commit {
        durable: bool,
    },
    Abort,
    Comment {
        comment: String,
    },
    Assert {
        lock: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Until {
    #[serde(rename = "==")]
    Equal,
    #[serde(rename = "!=")]
    NotEqual,
}

/// Cells of one row, by column.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cells(Vec<(&'static str, Datum)>);

impl Cells {
    pub fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn with(mut self, column: &'static str, value: impl Into<Datum>) -> Self {
        self.0.push((column, value.into()));
        self
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn columns(&self) -> impl Iterator<Item = &'static str> {
        self.0.iter().map(|(column, _)| *column)
    }
}

impl Serialize for Cells {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut row = serializer.serialize_map(Some(self.0.len()))?;
        for (column, value) in &self.0 {
            row.serialize_entry(column, value)?;
        }
        row.end()
    }
}

/// Which rows an operation is about: those that meet all conditions; none means every row.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Conditions(Vec<Condition>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Condition {
    column: &'static str,
    function: &'static str,
    value: Datum,
}

impl Conditions {
    pub fn every_row() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn equal(self, column: &'static str, value: impl Into<Datum>) -> Self {
        self.and(column, "==", value)
    }

    /// `function` as in RFC 7047 §5.1: `==`, `!=`, `<`, `<=`, `>`, `>=`, `includes`, `excludes`.
    #[must_use]
    pub fn and(mut self, column: &'static str, function: &'static str, value: impl Into<Datum>) -> Self {
        self.0.push(Condition { column, function, value: value.into() });
        self
    }
}

/// The row with this UUID: the only condition for which `ovsdb-server` has an index of its own.
impl From<Uuid> for Conditions {
    fn from(uuid: Uuid) -> Self {
        Self::default().equal("_uuid", uuid)
    }
}

impl Serialize for Condition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        triple(serializer, self.column, self.function, &self.value)
    }
}

/// A change of one column that keeps what it does not name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mutation {
    column: &'static str,
    mutator: &'static str,
    value: Datum,
}

impl Mutation {
    /// Puts elements or pairs in. A map's pair whose key is there already is ignored.
    pub fn insert(column: &'static str, value: impl Into<Datum>) -> Self {
        Self { column, mutator: "insert", value: value.into() }
    }

    /// Takes elements or pairs out; for a map, a set of keys will do.
    pub fn delete(column: &'static str, value: impl Into<Datum>) -> Self {
        Self { column, mutator: "delete", value: value.into() }
    }
}

impl Serialize for Mutation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        triple(serializer, self.column, self.mutator, &self.value)
    }
}

fn triple<S: Serializer>(serializer: S, column: &str, verb: &str, value: &Datum) -> Result<S::Ok, S::Error> {
    let mut triple = serializer.serialize_seq(Some(3))?;
    triple.serialize_element(column)?;
    triple.serialize_element(verb)?;
    triple.serialize_element(value)?;
    triple.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(write: impl FnOnce(&mut Transaction), expected: &str) {
        let mut transaction = Transaction::new();
        write(&mut transaction);
        assert_eq!(serde_json::to_string(transaction.operations()).unwrap(), expected);
    }

    #[test]
    fn operations_are_written_as_rfc_7047_has_them() {
        let row = || Cells::new().with("name", "a").with("ports", [Reference::Named("p".into())]);
        check(
            |t| t.insert("Bridge", Some("b".into()), row()),
            r#"[{"op":"insert","table":"Bridge","uuid-name":"b","row":{"name":"a","ports":["set",[["named-uuid","p"]]]}}]"#,
        );
        check(
            |t| t.update("Bridge", Uuid::from_u128(1), Cells::new().with("k", Datum::optional(None::<i64>))),
            r#"[{"op":"update","table":"Bridge","where":[["_uuid","==",["uuid","00000000-0000-0000-0000-000000000001"]]],"row":{"k":["set",[]]}}]"#,
        );
        let vlans = vec![Mutation::insert("vlans", Datum::map([(5, true)]))];
        check(
            |t| t.mutate("Port", Conditions::every_row(), vlans),
            r#"[{"op":"mutate","table":"Port","where":[],"mutations":[["vlans","insert",["map",[[5,true]]]]]}]"#,
        );
        check(
            |t| {
                t.assert_lock("l");
                t.comment("c");
            },
            r#"[{"op":"assert","lock":"l"},{"op":"comment","comment":"c"}]"#,
        );
        check(
            |t| t.expect_row("Bridge", Conditions::default().equal("name", "a"), Cells::new().with("key", 1)),
            r#"[{"op":"wait","table":"Bridge","where":[["name","==","a"]],"columns":["key"],"until":"==","rows":[{"key":1}],"timeout":0}]"#,
        );
    }
}
