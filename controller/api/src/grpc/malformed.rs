use crate::{NameError, VlanIdError, VniError};

/// Why a message was refused.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    #[error("message is no protocol buffer of the expected kind")]
    Encoding(#[from] prost::DecodeError),
    #[error("field {field} is missing; expected {expected}")]
    Missing { field: &'static str, expected: &'static str },
    #[error("field {field} is {value}; expected {expected}")]
    Value { field: &'static str, value: String, expected: String },
    #[error("field {field} is malformed")]
    Name { field: &'static str, source: NameError },
    #[error("field {field} is malformed")]
    Vni { field: &'static str, source: VniError },
    #[error("field {field} is malformed")]
    Vlan { field: &'static str, source: VlanIdError },
}

impl Malformed {
    pub(super) fn value(
        field: &'static str,
        value: impl std::fmt::Display,
        expected: impl Into<String>,
    ) -> Self {
        Self::Value { field, value: value.to_string(), expected: expected.into() }
    }

    /// With its causes, in one line.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    }
}
