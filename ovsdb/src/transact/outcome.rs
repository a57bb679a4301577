use std::fmt;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::Uuid;

/// What the operations of a committed transaction gave, in their order.
#[derive(Debug, Default)]
pub struct Results(Vec<Outcome>);

/// What one operation gave; empty for those that give nothing.
#[derive(Debug, Default, Deserialize)]
pub struct Outcome {
    /// Rows that an update, mutate or delete matched.
    pub count: Option<u64>,
    #[serde(default, deserialize_with = "inserted")]
    pub uuid: Option<Uuid>,
    rows: Option<Box<RawValue>>,
}

#[derive(Debug, thiserror::Error)]
pub enum OutcomeError {
    /// No operation took effect.
    #[error("operation {index} of {operations} failed: {refusal}")]
    Operation { index: usize, operations: usize, refusal: Refusal },
    /// Each operation was acceptable, but not all of them together (RFC 7047 §4.1.3): no operation took effect.
    #[error("commit of {operations} operations failed: {refusal}")]
    Commit { operations: usize, refusal: Refusal },
    #[error("{found} results came for {operations} operations")]
    Count { found: usize, operations: usize },
    #[error("result of a transaction is malformed")]
    Malformed(#[source] serde_json::Error),
}

impl OutcomeError {
    /// What the server said, if it was the server that refused.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Operation { refusal, .. } | Self::Commit { refusal, .. } => Some(refusal),
            Self::Count { .. } | Self::Malformed(_) => None,
        }
    }

    /// Whether an `assert` failed: the lock is not ours (RFC 7047 §5.2.10).
    pub fn is_not_owner(&self) -> bool {
        self.refusal().is_some_and(|refusal| refusal.error == "not owner")
    }
}

/// An `<error>` (RFC 7047 §3.1).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Refusal {
    /// The error's name, such as "constraint violation" or "not owner".
    pub error: String,
    pub details: Option<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.details {
            Some(details) => write!(f, "{}: {}", self.error.escape_debug(), details.escape_debug()),
            None => write!(f, "{}", self.error.escape_debug()),
        }
    }
}

impl Results {
    /// Reads the `result` of a `transact` that had so many operations.
    pub(crate) fn read(result: &[u8], operations: usize) -> Result<Self, OutcomeError> {
        let elements: Vec<Option<&RawValue>> =
            serde_json::from_slice(result).map_err(OutcomeError::Malformed)?;
        let mut outcomes = Vec::with_capacity(operations);
        for (index, element) in elements.iter().enumerate() {
            let Some(element) = element else {
                outcomes.push(Outcome::default());
                continue;
            };
            if let Ok(refusal) = serde_json::from_str::<Refusal>(element.get()) {
                return Err(if index < operations {
                    OutcomeError::Operation { index, operations, refusal }
                } else {
                    OutcomeError::Commit { operations, refusal }
                });
            }
            outcomes.push(serde_json::from_str(element.get()).map_err(OutcomeError::Malformed)?);
        }
        if outcomes.len() != operations {
            return Err(OutcomeError::Count { found: outcomes.len(), operations });
        }
        Ok(Self(outcomes))
    }

    pub fn iter(&self) -> impl Iterator<Item = &Outcome> {
        self.0.iter()
    }

    pub fn operation(&self, index: usize) -> Option<&Outcome> {
        self.0.get(index)
    }
}

impl Outcome {
    /// The rows that a select found.
    pub fn rows<T: DeserializeOwned>(&self) -> Result<Vec<T>, OutcomeError> {
        match &self.rows {
            Some(rows) => serde_json::from_str(rows.get()).map_err(OutcomeError::Malformed),
            None => Ok(Vec::new()),
        }
    }
}

fn inserted<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Uuid>, D::Error> {
    let (_, uuid) = <(String, Uuid)>::deserialize(deserializer)?;
    Ok(Some(uuid))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "00000000-0000-0000-0000-000000000001";

    #[test]
    fn an_extra_element_is_the_error_of_the_commit() {
        let result =
            format!(r#"[{{"uuid":["uuid","{UUID}"]}},{{"error":"constraint violation","details":"d"}}]"#);
        let error = Results::read(result.as_bytes(), 1).unwrap_err();
        assert_eq!(error.to_string(), "commit of 1 operations failed: constraint violation: d");
    }

    #[test]
    fn the_failed_operation_is_named_and_those_after_it_are_null() {
        let error = Results::read(br#"[{},{"error":"not owner"},null]"#, 3).unwrap_err();
        assert!(matches!(&error, OutcomeError::Operation { index: 1, .. }), "{error}");
    }

    #[derive(Deserialize)]
    struct Named {
        name: String,
    }

    #[test]
    fn results_tell_counts_new_rows_and_found_rows() {
        let result = format!(r#"[{{"uuid":["uuid","{UUID}"]}},{{"count":2}},{{"rows":[{{"name":"a"}}]}}]"#);
        let results = Results::read(result.as_bytes(), 3).unwrap();
        assert_eq!(results.operation(0).unwrap().uuid, Some(Uuid::from_u128(1)));
        assert_eq!(results.operation(1).unwrap().count, Some(2));
        assert_eq!(results.operation(2).unwrap().rows::<Named>().unwrap()[0].name, "a");
        assert!(matches!(Results::read(b"[{}]", 2), Err(OutcomeError::Count { found: 1, operations: 2 })));
    }
}
