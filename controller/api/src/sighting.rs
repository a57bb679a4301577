//! What hosts see of the places of MACs, beside what they are told.

use serde::{Deserialize, Serialize};

use crate::{LogicalSwitchName, MacAddr, VtepName};

/// Frames from a MAC came from another VTEP than the table of whoever received them has it behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    pub logical_switch: LogicalSwitchName,
    pub mac: MacAddr,
    pub sender: VtepName,
    /// By that table the sender is the MAC's slave.
    pub as_slave: bool,
    /// How often it was noticed since it was told last: about once a second at most.
    pub count: u32,
}

impl Sighting {
    /// How often anything was noticed.
    pub fn total(sightings: &[Self]) -> u64 {
        sightings.iter().map(|sighting| u64::from(sighting.count)).sum()
    }
}

/// In one message at most.
pub const SIGHTINGS_MAX: usize = 256;
