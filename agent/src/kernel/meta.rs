//! What the maps are, and what the programs need to know of the host: maps `META` and `CONFIG`.

use std::path::Path;

use bytemuck::Zeroable;
use vtep_abi::{Config, Meta, map};

use super::Applied;
use super::bpf::Map;
use super::error::{ApplyError, failed};

#[derive(Debug)]
pub(super) struct Host {
    meta: Map<u32, Meta>,
    config: Map<u32, Config>,
}

impl Host {
    pub(super) fn open(maps: &Path) -> Result<Self, ApplyError> {
        Ok(Self {
            meta: Map::open(&maps.join(map::META)).map_err(failed("opening", map::META))?,
            config: Map::open(&maps.join(map::CONFIG)).map_err(failed("opening", map::CONFIG))?,
        })
    }

    pub(super) fn meta(&self) -> Result<Meta, ApplyError> {
        self.meta
            .lookup(&0)
            .map(|meta| meta.unwrap_or_else(Meta::zeroed))
            .map_err(failed("lookup", map::META))
    }

    pub(super) fn set_meta(&self, meta: &Meta) -> Result<(), ApplyError> {
        self.meta.update(&0, meta).map_err(failed("update", map::META))
    }

    /// None if it was never set.
    pub(super) fn config(&self) -> Result<Option<Config>, ApplyError> {
        let config = self.config.lookup(&0).map_err(failed("lookup", map::CONFIG))?;
        Ok(config.filter(|config| *config != Config::zeroed()))
    }

    pub(super) fn set_config(&self, config: &Config) -> Result<Applied, ApplyError> {
        self.config.update(&0, config).map(|()| Applied::written(1)).map_err(failed("update", map::CONFIG))
    }
}
