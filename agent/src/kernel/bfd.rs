//! Sessions of BFD as the programs know them: maps `BFD_SESSION`, `BFD_HEARD` and `BFD_RECEIVED`.

use std::io;
use std::path::Path;

use aya::maps::Map as AyaMap;
use bytemuck::Zeroable;
use vtep_abi::{BfdHeard, BfdReceived, BfdSession, VtepStats, map};

use super::bpf::{Map, PerCpu};
use super::error::{ApplyError, failed};
use super::ring::{Ring, pod};
use super::write;

#[derive(Debug)]
pub struct Bfd {
    sessions: Map<u32, BfdSession>,
    heard: Map<u32, BfdHeard>,
    stats: PerCpu<VtepStats>,
}

impl Bfd {
    pub(super) fn open(maps: &Path) -> Result<Self, ApplyError> {
        Ok(Self {
            sessions: Map::open(&maps.join(map::BFD_SESSION)).map_err(failed("opening", map::BFD_SESSION))?,
            heard: Map::open(&maps.join(map::BFD_HEARD)).map_err(failed("opening", map::BFD_HEARD))?,
            stats: PerCpu::open(&maps.join(map::VTEP_STATS)).map_err(failed("opening", map::VTEP_STATS))?,
        })
    }

    /// Those that there are, by VTEP index.
    pub(crate) fn sessions(&self) -> Result<Vec<(u32, BfdSession)>, ApplyError> {
        let mut sessions = self.sessions.dump().map_err(failed("dump", map::BFD_SESSION))?;
        sessions.retain(|(_, session)| session.transport != 0);
        Ok(sessions)
    }

    pub fn set(&self, vtep: u32, session: &BfdSession) -> Result<(), ApplyError> {
        self.sessions.update(&vtep, session).map_err(failed("update", map::BFD_SESSION))
    }

    pub(crate) fn remove(&self, vtep: u32) -> Result<(), ApplyError> {
        self.set(vtep, &BfdSession::zeroed())
    }

    /// Whether they have room. What was heard is not copied: the next packet starts it anew.
    pub(super) fn copy_to(&self, other: &Self) -> Result<bool, ApplyError> {
        write::copy(&self.sessions, &other.sessions).map_err(failed("copy", map::BFD_SESSION))
    }

    pub(crate) fn heard(&self, vtep: u32) -> Result<BfdHeard, ApplyError> {
        let heard = self.heard.lookup(&vtep).map_err(failed("lookup", map::BFD_HEARD))?;
        Ok(heard.unwrap_or_else(BfdHeard::zeroed))
    }

    /// Frames from the VTEP, control packets not among them.
    pub(crate) fn received(&self, vtep: u32) -> Result<u64, ApplyError> {
        let cpus = self.stats.lookup(vtep).map_err(failed("lookup", map::VTEP_STATS))?.unwrap_or_default();
        Ok(cpus.iter().map(|stats| stats.received.packets).sum())
    }
}

/// The one reader of the control packets that the programs hand up.
pub struct BfdPackets {
    ring: Ring,
}

impl BfdPackets {
    /// As [`Ring::open`].
    pub(super) fn open(map: AyaMap) -> io::Result<Self> {
        Ok(Self { ring: Ring::open(map)? })
    }

    /// As [`Ring::wait`].
    pub(crate) async fn wait(&mut self) -> io::Result<()> {
        self.ring.wait().await
    }

    /// As [`Ring::take`].
    pub(crate) fn take(&mut self, packets: &mut Vec<BfdReceived>, limit: usize) {
        self.ring.take(packets, limit, pod);
    }
}
