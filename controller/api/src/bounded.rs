use std::fmt;

use serde::{Deserialize, Serialize};

/// An integer from `MIN` to `MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "u32", try_from = "i64")]
pub struct Bounded<const MIN: u32, const MAX: u32>(u32);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value} is out of range; expected {min} to {max}")]
pub struct BoundedError {
    pub value: i64,
    pub min: u32,
    pub max: u32,
}

impl<const MIN: u32, const MAX: u32> Bounded<MIN, MAX> {
    /// For values that stand in the source.
    pub const fn preset(value: u32) -> Self {
        assert!(value >= MIN && value <= MAX, "a default is in its own range");
        Self(value)
    }

    pub const fn as_u32(self) -> u32 {
        self.0
    }

    pub const fn as_usize(self) -> usize {
        self.0 as usize
    }

    pub fn as_u16(self) -> u16 {
        u16::try_from(self.0).unwrap_or(u16::MAX)
    }

    pub fn as_u8(self) -> u8 {
        u8::try_from(self.0).unwrap_or(u8::MAX)
    }
}

/// For `serde(default = …)`.
pub const fn preset<const VALUE: u32, const MIN: u32, const MAX: u32>() -> Bounded<MIN, MAX> {
    Bounded::preset(VALUE)
}

impl<const MIN: u32, const MAX: u32> TryFrom<i64> for Bounded<MIN, MAX> {
    type Error = BoundedError;

    fn try_from(value: i64) -> Result<Self, Self::Error> {
        match u32::try_from(value) {
            Ok(inside) if (MIN..=MAX).contains(&inside) => Ok(Self(inside)),
            _ => Err(BoundedError { value, min: MIN, max: MAX }),
        }
    }
}

impl<const MIN: u32, const MAX: u32> From<Bounded<MIN, MAX>> for u32 {
    fn from(bounded: Bounded<MIN, MAX>) -> Self {
        bounded.0
    }
}

impl<const MIN: u32, const MAX: u32> fmt::Display for Bounded<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
