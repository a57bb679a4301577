//! What hosts see of the places of MACs, beside what they are told.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

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

/// Those that wait to be told: of one MAC and sender they are added up.
#[derive(Debug, Clone, Default)]
pub struct WaitingSightings(BTreeMap<(LogicalSwitchName, MacAddr, VtepName, bool), u32>);

impl WaitingSightings {
    /// Whether there was room. What waits already takes none.
    pub fn add(&mut self, sighting: Sighting, has_room: bool) -> bool {
        let Sighting { logical_switch, mac, sender, as_slave, count } = sighting;
        match self.0.entry((logical_switch, mac, sender, as_slave)) {
            Entry::Occupied(mut waiting) => *waiting.get_mut() = waiting.get().saturating_add(count),
            Entry::Vacant(place) if has_room => {
                place.insert(count);
            }
            Entry::Vacant(_) => return false,
        }
        true
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As many as fit in a message.
    pub fn take(&mut self) -> Vec<Sighting> {
        let next = || {
            let ((logical_switch, mac, sender, as_slave), count) = self.0.pop_first()?;
            Some(Sighting { logical_switch, mac, sender, as_slave, count })
        };
        std::iter::from_fn(next).take(SIGHTINGS_MAX).collect()
    }
}

/// In one message at most.
pub const SIGHTINGS_MAX: usize = 256;
