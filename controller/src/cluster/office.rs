use std::fmt;

use serde::{Deserialize, Serialize};
use vtep_api::{ControllerName, LogicalSwitchName, VtepName};

use crate::config::Role;

/// What one process at a time may do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Office {
    /// Being the logical controller of a part of the logical switches.
    Shard(u16),
    /// Being the physical controller of a VTEP.
    Vtep(VtepName),
}

impl Office {
    /// As the controller of a shard is called towards physical controllers, wherever it is.
    pub fn controller(&self) -> Option<ControllerName> {
        match self {
            Self::Shard(number) => Some(shard_name(*number)),
            Self::Vtep(_) => None,
        }
    }

    /// Whether a member of that role can have it.
    pub fn is_for(&self, role: Role) -> bool {
        match self {
            Self::Shard(_) => role.is_logical(),
            Self::Vtep(_) => role.is_physical(),
        }
    }

    /// Whether a process may not be called so.
    pub fn is_reserved(name: &ControllerName) -> bool {
        name.as_str().strip_prefix("shard-").is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_digit()))
    }
}

impl fmt::Display for Office {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shard(number) => write!(f, "shard {number}"),
            Self::Vtep(vtep) => write!(f, "VTEP {vtep}"),
        }
    }
}

pub(crate) fn shard_name(shard: u16) -> ControllerName {
    ControllerName::try_from(format!("shard-{shard}")).expect("it is a name")
}

/// Where a logical switch belongs: for ever, by its name alone.
pub fn shard_of(logical_switch: &LogicalSwitchName, shards: u16) -> u16 {
    let hash = scatter(logical_switch.as_str().as_bytes()) % u64::from(shards.max(1));
    u16::try_from(hash).expect("it is below a 16-bit number")
}

/// The same on every machine and in every release. CRC-32 alone is linear: names of equal length would be ranked alike.
pub(super) fn scatter(bytes: &[u8]) -> u64 {
    // The finalizer of SplitMix64.
    let mut z = u64::from(crc32fast::hash(bytes)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logical_switches_are_spread_over_all_shards() {
        let mut counts = [0; 16];
        for number in 0..1600 {
            let name = LogicalSwitchName::try_from(format!("ls-{number}")).unwrap();
            counts[usize::from(shard_of(&name, 16))] += 1;
        }
        assert!(counts.iter().all(|count| (60..=140).contains(count)), "{counts:?}");
    }

    #[test]
    fn a_logical_switch_stays_in_its_shard_in_every_release() {
        let blue = LogicalSwitchName::try_from("blue").unwrap();
        assert_eq!(shard_of(&blue, 16), 15);
        assert!(Office::is_reserved(&shard_name(3)));
    }
}
