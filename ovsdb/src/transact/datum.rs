use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde::ser::{SerializeTuple, Serializer};

use crate::Uuid;

/// A value to be written (RFC 7047 §5.1, `<value>`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Datum {
    Scalar(Scalar),
    Set(Vec<Scalar>),
    Map(Vec<(Scalar, Scalar)>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scalar {
    String(String),
    Integer(i64),
    Boolean(bool),
    Reference(Reference),
}

/// A row, by its UUID or, in the transaction that inserts it, by the name given there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reference {
    Uuid(Uuid),
    Named(String),
}

impl Datum {
    pub fn optional(value: Option<impl Into<Scalar>>) -> Self {
        Self::Set(value.into_iter().map(Into::into).collect())
    }

    pub fn set(values: impl IntoIterator<Item = impl Into<Scalar>>) -> Self {
        Self::Set(values.into_iter().map(Into::into).collect())
    }

    pub fn map(pairs: impl IntoIterator<Item = (impl Into<Scalar>, impl Into<Scalar>)>) -> Self {
        Self::Map(pairs.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }
}

impl<T: Into<Scalar>> From<T> for Datum {
    fn from(value: T) -> Self {
        Self::Scalar(value.into())
    }
}

impl<T: Into<Scalar>, const N: usize> From<[T; N]> for Datum {
    fn from(values: [T; N]) -> Self {
        Self::set(values)
    }
}

impl<T: Into<Scalar>> From<Vec<T>> for Datum {
    fn from(values: Vec<T>) -> Self {
        Self::set(values)
    }
}

impl<T: Into<Scalar>> From<BTreeSet<T>> for Datum {
    fn from(values: BTreeSet<T>) -> Self {
        Self::set(values)
    }
}

impl<K: Into<Scalar>, V: Into<Scalar>> From<BTreeMap<K, V>> for Datum {
    fn from(pairs: BTreeMap<K, V>) -> Self {
        Self::map(pairs)
    }
}

impl From<&str> for Scalar {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<String> for Scalar {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}

impl From<i64> for Scalar {
    fn from(integer: i64) -> Self {
        Self::Integer(integer)
    }
}

impl From<bool> for Scalar {
    fn from(boolean: bool) -> Self {
        Self::Boolean(boolean)
    }
}

impl From<Uuid> for Scalar {
    fn from(uuid: Uuid) -> Self {
        Self::Reference(Reference::Uuid(uuid))
    }
}

impl From<Reference> for Scalar {
    fn from(reference: Reference) -> Self {
        Self::Reference(reference)
    }
}

impl From<Uuid> for Reference {
    fn from(uuid: Uuid) -> Self {
        Self::Uuid(uuid)
    }
}

impl Serialize for Datum {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Scalar(scalar) => scalar.serialize(serializer),
            Self::Set(elements) => tagged(serializer, "set", elements),
            Self::Map(pairs) => tagged(serializer, "map", pairs),
        }
    }
}

impl Serialize for Scalar {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::String(text) => serializer.serialize_str(text),
            Self::Integer(integer) => serializer.serialize_i64(*integer),
            Self::Boolean(boolean) => serializer.serialize_bool(*boolean),
            Self::Reference(Reference::Uuid(uuid)) => tagged(serializer, "uuid", uuid),
            Self::Reference(Reference::Named(name)) => tagged(serializer, "named-uuid", name),
        }
    }
}

fn tagged<S: Serializer>(serializer: S, tag: &str, value: &impl Serialize) -> Result<S::Ok, S::Error> {
    let mut pair = serializer.serialize_tuple(2)?;
    pair.serialize_element(tag)?;
    pair.serialize_element(value)?;
    pair.end()
}
