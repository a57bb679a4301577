//! Where learnt MACs are, and when they were last seen there: map `SEEN`. Programs write the times.

use std::path::Path;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use nix::time::{ClockId, clock_gettime};
use vtep_abi::{FdbKey, SEEN_SHIFT, SeenValue, Target, map};

use super::bpf::Map;
use super::error::{ApplyError, failed};
use super::{Applied, Entry, Reason, write};

#[derive(Debug)]
pub(super) struct Seen(Map<FdbKey, SeenValue>);

/// Seconds of the programs' clock, by MAC: those in which the unit began in which it was seen.
pub type SeenTimes = HashMap<FdbKey, u32, RandomState>;

/// Seconds of the programs' clock.
pub fn now_secs() -> u32 {
    u32::try_from(now().as_secs()).unwrap_or(u32::MAX)
}

/// The programs' clock.
pub fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from).unwrap_or_default()
}

fn secs(at: u32) -> u32 {
    let ns = u64::from(at) << SEEN_SHIFT;
    u32::try_from(Duration::from_nanos(ns).as_secs()).unwrap_or(u32::MAX)
}

impl Seen {
    pub(super) fn open(maps: &Path) -> Result<Self, ApplyError> {
        Map::open(&maps.join(map::SEEN)).map(Self).map_err(failed("opening", map::SEEN))
    }

    pub(super) fn installed(&self) -> Result<HashMap<FdbKey, Target, RandomState>, ApplyError> {
        let rows = self.0.dump().map_err(failed("dump", map::SEEN))?;
        Ok(rows.into_iter().map(|(key, seen)| (key, Target::from_bits(seen.target))).collect())
    }

    pub(super) fn times(&self) -> Result<SeenTimes, ApplyError> {
        let rows = self.0.dump().map_err(failed("dump", map::SEEN))?;
        Ok(rows.into_iter().map(|(key, seen)| (key, secs(seen.at))).collect())
    }

    pub(super) fn time(&self, key: &FdbKey) -> Result<Option<u32>, ApplyError> {
        let seen = self.0.lookup(key).map_err(failed("lookup", map::SEEN))?;
        Ok(seen.map(|seen| secs(seen.at)))
    }

    /// As seen by now.
    pub(super) fn put(&self, rows: &[(FdbKey, Target)]) -> Result<Applied, ApplyError> {
        let at = u32::try_from(now().as_nanos() >> SEEN_SHIFT).unwrap_or(u32::MAX);
        let value = |target: &Target| SeenValue { target: target.to_bits(), at };
        let (keys, values): (Vec<_>, Vec<_>) = rows.iter().map(|(key, target)| (*key, value(target))).unzip();
        let full = write::upsert(&self.0, &keys, &values).map_err(failed("update", map::SEEN))?;
        let mut applied = Applied::written(rows.len() - full.len());
        applied.refuse(full.into_iter().map(|at| Entry::Seen(keys[at])), Reason::Full);
        Ok(applied)
    }

    pub(super) fn remove(&self, keys: &[FdbKey]) -> Result<Applied, ApplyError> {
        write::remove(&self.0, keys).map(Applied::written).map_err(failed("deletion", map::SEEN))
    }

    /// The name of the map in which the entries have no room, if there is one.
    pub(super) fn copy_to(&self, other: &Self) -> Result<Option<&'static str>, ApplyError> {
        let fits = write::copy(&self.0, &other.0).map_err(failed("copy", map::SEEN))?;
        Ok((!fits).then_some(map::SEEN))
    }
}
