//! What the programs report: map `EVENTS`.

use std::io;

use aya::maps::Map;
use vtep_abi::Event;

use super::ring::{Ring, pod};

/// The one reader of the ring.
pub struct Events {
    ring: Ring,
}

impl Events {
    /// As [`Ring::open`].
    pub(super) fn open(map: Map) -> io::Result<Self> {
        Ok(Self { ring: Ring::open(map)? })
    }

    /// As [`Ring::read`].
    pub async fn read(&mut self, events: &mut Vec<Event>, limit: usize) -> io::Result<()> {
        self.ring.read(events, limit, pod).await
    }
}
