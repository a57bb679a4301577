//! The text as values that know where they stand, whichever notation they were written in.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::Problems;

#[derive(Debug)]
pub(super) struct Node {
    /// Bytes from the beginning of the text.
    pub(super) at: usize,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    Table(Vec<(String, Node)>),
    List(Vec<Node>),
    Leaf(Value),
}

impl Node {
    pub(super) fn json(&self) -> Value {
        match &self.kind {
            Kind::Table(entries) => entries.iter().map(|(key, node)| (key.clone(), node.json())).collect(),
            Kind::List(nodes) => nodes.iter().map(Node::json).collect(),
            Kind::Leaf(value) => value.clone(),
        }
    }
}

/// `None`: it is in no notation that we read, and that was said.
pub(super) fn parse(name: &str, text: &str, problems: &mut Problems<'_>) -> Option<Node> {
    let extension = name.rsplit_once('.').map(|(_, extension)| extension);
    match extension {
        Some("toml") => {
            let (table, errors) = DeTable::parse_recoverable(text);
            for error in &errors {
                problems.push(error.span().map_or(0, |span| span.start), error.message());
            }
            errors.is_empty().then(|| from_toml(0, &DeValue::Table(table.into_inner())))
        }
        Some("json") => match serde_json::from_str::<&RawValue>(text) {
            Ok(raw) => from_json(raw, text, problems),
            Err(error) => {
                let at = text
                    .split_inclusive('\n')
                    .take(error.line().saturating_sub(1))
                    .map(str::len)
                    .sum::<usize>();
                problems.push(at + error.column().saturating_sub(1), error.to_string());
                None
            }
        },
        _ => {
            problems.push(0, format!("the name {name:?} has no known extension; expected .toml or .json"));
            None
        }
    }
}

fn from_toml(at: usize, value: &DeValue<'_>) -> Node {
    let kind = match value {
        DeValue::Table(table) => {
            // What a key says stands where the key stands.
            let entry = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
                let key: (&std::borrow::Cow<'_, str>, usize) = (key.get_ref(), key.span().start);
                (key.0.clone().into_owned(), from_toml(key.1, value.get_ref()))
            };
            Kind::Table(table.iter().map(entry).collect())
        }
        DeValue::Array(items) => {
            Kind::List(items.iter().map(|item| from_toml(item.span().start, item.get_ref())).collect())
        }
        DeValue::String(text) => Kind::Leaf(Value::String(text.clone().into_owned())),
        DeValue::Integer(number) => {
            let parsed = i64::from_str_radix(number.as_str(), number.radix());
            Kind::Leaf(parsed.map_or_else(|_| Value::String(number.as_str().to_owned()), Value::from))
        }
        DeValue::Float(number) => {
            let parsed = number.as_str().parse::<f64>();
            Kind::Leaf(parsed.map_or_else(|_| Value::String(number.as_str().to_owned()), Value::from))
        }
        DeValue::Boolean(truth) => Kind::Leaf(Value::Bool(*truth)),
        DeValue::Datetime(time) => Kind::Leaf(Value::String(time.to_string())),
    };
    Node { at, kind }
}

/// `raw` is a part of `text`.
fn from_json(raw: &RawValue, text: &str, problems: &mut Problems<'_>) -> Option<Node> {
    let at = raw.get().as_ptr().addr().saturating_sub(text.as_ptr().addr());
    let mut failed = |error: serde_json::Error| {
        problems.push(at, error.to_string());
        None
    };
    let kind = match raw.get().as_bytes().first() {
        Some(b'{') => match serde_json::from_str::<Entries<'_>>(raw.get()) {
            Ok(Entries(entries)) => {
                let mut table: Vec<(String, Node)> = Vec::with_capacity(entries.len());
                for (key, raw) in entries {
                    let node = from_json(raw, text, problems)?;
                    if table.iter().any(|(before, _)| *before == key) {
                        problems.push(node.at, format!("the key {key:?} stands twice; expected once"));
                    }
                    table.push((key, node));
                }
                Kind::Table(table)
            }
            Err(error) => return failed(error),
        },
        Some(b'[') => match serde_json::from_str::<Vec<&RawValue>>(raw.get()) {
            Ok(items) => Kind::List(
                items.into_iter().map(|raw| from_json(raw, text, problems)).collect::<Option<_>>()?,
            ),
            Err(error) => return failed(error),
        },
        _ => match serde_json::from_str(raw.get()) {
            Ok(value) => Kind::Leaf(value),
            Err(error) => return failed(error),
        },
    };
    Some(Node { at, kind })
}

/// An object's entries in their order, none of them lost.
struct Entries<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(Collect)
    }
}
