use std::fmt;

use serde::{Deserialize, Serialize};

/// A VXLAN network identifier: 1 to 2²⁴ − 1 (RFC 7348 §5). Zero is refused: hypervisors and `hardware_vtep` use it for
/// "not set", and a frame that carries it belongs to no logical network.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "u32", try_from = "i64")]
pub struct Vni(u32);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("VNI {value} is out of range; expected 1 to 16777215")]
pub struct VniError {
    pub value: i64,
}

impl Vni {
    pub const MAX: u32 = (1 << 24) - 1;

    pub const fn as_u32(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for Vni {
    type Error = VniError;

    fn try_from(value: u32) -> Result<Self, Self::Error> {
        Self::try_from(i64::from(value))
    }
}

/// OVSDB integers and TOML integers are signed 64-bit: the value is reported as it was written.
impl TryFrom<i64> for Vni {
    type Error = VniError;

    fn try_from(value: i64) -> Result<Self, Self::Error> {
        match u32::try_from(value) {
            Ok(vni @ 1..=Self::MAX) => Ok(Self(vni)),
            _ => Err(VniError { value }),
        }
    }
}

impl From<Vni> for u32 {
    fn from(vni: Vni) -> Self {
        vni.0
    }
}

impl fmt::Display for Vni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Vni {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_is_that_of_rfc_7348_without_zero() {
        assert_eq!(Vni::try_from(1_i64).map(Vni::as_u32), Ok(1));
        assert_eq!(Vni::try_from(16_777_215_i64).map(Vni::as_u32), Ok(Vni::MAX));
        for value in [0, -1, 1 << 24, i64::MAX] {
            assert_eq!(Vni::try_from(value), Err(VniError { value }));
        }
    }
}
