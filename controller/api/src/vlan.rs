use std::fmt;

use serde::{Deserialize, Serialize};

/// The VLAN of a port binding: 0 means untagged (`vtep(5)`, `vlan_bindings`), 1 to 4094 an IEEE 802.1Q tag.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "u16", try_from = "i64")]
pub struct VlanId(u16);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("VLAN id {value} is out of range; expected 0 (untagged) to 4094")]
pub struct VlanIdError {
    pub value: i64,
}

impl VlanId {
    pub const UNTAGGED: Self = Self(0);

    pub const fn as_u16(self) -> u16 {
        self.0
    }
}

impl TryFrom<i64> for VlanId {
    type Error = VlanIdError;

    fn try_from(value: i64) -> Result<Self, Self::Error> {
        match u16::try_from(value) {
            Ok(vlan @ 0..=4094) => Ok(Self(vlan)),
            _ => Err(VlanIdError { value }),
        }
    }
}

impl From<VlanId> for u16 {
    fn from(vlan: VlanId) -> Self {
        vlan.0
    }
}

impl fmt::Display for VlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for VlanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserved_id_4095_and_negative_ids_are_refused() {
        assert_eq!(VlanId::try_from(0), Ok(VlanId::UNTAGGED));
        assert_eq!(VlanId::try_from(4094).map(VlanId::as_u16), Ok(4094));
        for value in [-1, 4095, 65536] {
            assert_eq!(VlanId::try_from(value), Err(VlanIdError { value }));
        }
    }
}
