//! Addresses of stations: maps `NEIGH`, which the programs answer from, and `ALLOWED`, what ports may send from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use vtep_abi::{AllowedKey, AllowedValue, NeighbourKey, NeighbourValue, map};

use super::bpf::Map;
use super::error::{ApplyError, failed};
use super::{Applied, Entry, Reason, write};

#[derive(Debug)]
pub(super) struct Addresses {
    neighbours: Map<NeighbourKey, NeighbourValue>,
    allowed: Map<AllowedKey, AllowedValue>,
}

impl Addresses {
    pub(super) fn open(maps: &Path) -> Result<Self, ApplyError> {
        Ok(Self {
            neighbours: Map::open(&maps.join(map::NEIGH)).map_err(failed("opening", map::NEIGH))?,
            allowed: Map::open(&maps.join(map::ALLOWED)).map_err(failed("opening", map::ALLOWED))?,
        })
    }

    pub(super) fn installed_neighbours(&self) -> Result<BTreeMap<NeighbourKey, [u8; 6]>, ApplyError> {
        let rows = self.neighbours.dump().map_err(failed("dump", map::NEIGH))?;
        Ok(rows.into_iter().map(|(key, value)| (key, value.mac)).collect())
    }

    pub(super) fn installed_allowed(&self) -> Result<BTreeSet<AllowedKey>, ApplyError> {
        let rows = self.allowed.dump().map_err(failed("dump", map::ALLOWED))?;
        Ok(rows.into_iter().map(|(key, _)| key).collect())
    }

    pub(super) fn put_neighbours(&self, rows: &[(NeighbourKey, [u8; 6])]) -> Result<Applied, ApplyError> {
        let value = |mac| NeighbourValue { mac, pad: 0 };
        let (keys, values): (Vec<_>, Vec<_>) = rows.iter().map(|(key, mac)| (*key, value(*mac))).unzip();
        let full = write::upsert(&self.neighbours, &keys, &values).map_err(failed("update", map::NEIGH))?;
        let mut applied = Applied::written(rows.len() - full.len());
        applied.refuse(full.into_iter().map(|at| Entry::Neighbour(keys[at])), Reason::Full);
        Ok(applied)
    }

    pub(super) fn remove_neighbours(&self, keys: &[NeighbourKey]) -> Result<Applied, ApplyError> {
        write::remove(&self.neighbours, keys).map(Applied::written).map_err(failed("deletion", map::NEIGH))
    }

    pub(super) fn allow(&self, keys: &[AllowedKey]) -> Result<Applied, ApplyError> {
        let values = vec![1; keys.len()];
        let full = write::upsert(&self.allowed, keys, &values).map_err(failed("update", map::ALLOWED))?;
        let mut applied = Applied::written(keys.len() - full.len());
        applied.refuse(full.into_iter().map(|at| Entry::Allowed(keys[at])), Reason::Full);
        Ok(applied)
    }

    pub(super) fn forbid(&self, keys: &[AllowedKey]) -> Result<Applied, ApplyError> {
        write::remove(&self.allowed, keys).map(Applied::written).map_err(failed("deletion", map::ALLOWED))
    }

    /// The name of the map in which the entries have no room, if there is one.
    pub(super) fn copy_to(&self, other: &Self) -> Result<Option<&'static str>, ApplyError> {
        if !write::copy(&self.allowed, &other.allowed).map_err(failed("copy", map::ALLOWED))? {
            return Ok(Some(map::ALLOWED));
        }
        let fits = write::copy(&self.neighbours, &other.neighbours).map_err(failed("copy", map::NEIGH))?;
        Ok((!fits).then_some(map::NEIGH))
    }
}
