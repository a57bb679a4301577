//! What programs keep of lookups counts until something changes: map `GENERATION`.

use std::path::Path;

use vtep_abi::{Generation, map};

use super::bpf::Map;
use super::error::{ApplyError, failed};

/// Programs rely on it that loads keep their order, as those of the bucketed table do.
const LOADS_KEEP_THEIR_ORDER: bool = cfg!(target_arch = "x86_64");

#[derive(Debug)]
pub(super) struct Generations {
    generation: Map<u32, Generation>,
}

impl Generations {
    /// Whoever had the maps before may have died within a change.
    pub(super) fn open(maps: &Path) -> Result<Self, ApplyError> {
        let generation =
            Map::open(&maps.join(map::GENERATION)).map_err(failed("opening", map::GENERATION))?;
        let generations = Self { generation };
        generations.around(|| Ok(()))?;
        Ok(generations)
    }

    /// Carries out a change of what programs keep. While it goes on, they keep nothing; then, nothing older.
    pub(super) fn around<T>(&self, change: impl FnOnce() -> Result<T, ApplyError>) -> Result<T, ApplyError> {
        let last = self.generation.lookup(&0).map_err(failed("lookup", map::GENERATION))?;
        let during = last.map_or(0, |last| last.number) | 1;
        self.set(during)?;
        // What failed may have changed something, too.
        let done = change();
        if LOADS_KEEP_THEIR_ORDER {
            self.set(during + 1)?;
        }
        done
    }

    fn set(&self, number: u64) -> Result<(), ApplyError> {
        self.generation.update(&0, &Generation { number }).map_err(failed("update", map::GENERATION))
    }
}
