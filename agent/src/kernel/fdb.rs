//! The MAC table: map `FDB`.

use std::path::Path;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use vtep_abi::{FdbKey, FdbValue, map};

use super::bpf::Map;
use super::error::{ApplyError, failed};
use super::{Applied, Entry, Reason, write};
use crate::dataplane::FdbTarget;

/// Entries that are turned into keys and values at a time.
const CHUNK: usize = 4096;

#[derive(Debug)]
pub(super) struct Fdb {
    map: Map<FdbKey, FdbValue>,
}

impl Fdb {
    pub(super) fn open(maps: &Path) -> Result<Self, ApplyError> {
        Map::open(&maps.join(map::FDB)).map(|map| Self { map }).map_err(failed("opening", map::FDB))
    }

    pub(super) fn installed(&self) -> Result<HashMap<FdbKey, FdbTarget, RandomState>, ApplyError> {
        let rows = self.map.dump().map_err(failed("dump", map::FDB))?;
        Ok(rows.into_iter().map(|(key, value)| (key, target(value))).collect())
    }

    pub(super) fn lookup(&self, key: &FdbKey) -> Result<Option<FdbValue>, ApplyError> {
        self.map.lookup(key).map_err(failed("lookup", map::FDB))
    }

    pub(super) fn put(&self, rows: &[(FdbKey, FdbTarget)]) -> Result<Applied, ApplyError> {
        let mut applied = Applied::default();
        let (mut keys, mut values) = (Vec::with_capacity(CHUNK), Vec::with_capacity(CHUNK));
        for rows in rows.chunks(CHUNK) {
            keys.clear();
            values.clear();
            keys.extend(rows.iter().map(|(key, _)| *key));
            values.extend(rows.iter().map(|(_, target)| value(target)));
            let full = write::upsert(&self.map, &keys, &values).map_err(failed("update", map::FDB))?;
            applied.written += rows.len() - full.len();
            applied.refuse(full.into_iter().map(|at| Entry::Fdb(keys[at])), Reason::Full);
        }
        Ok(applied)
    }

    pub(super) fn remove(&self, keys: &[FdbKey]) -> Result<Applied, ApplyError> {
        write::remove(&self.map, keys).map(Applied::written).map_err(failed("deletion", map::FDB))
    }

    pub(super) fn copy_to(&self, other: &Self) -> Result<bool, ApplyError> {
        write::copy(&self.map, &other.map).map_err(failed("copy", map::FDB))
    }
}

fn value(target: &FdbTarget) -> FdbValue {
    FdbValue::new(target.master, target.slave, target.flags)
}

fn target(value: FdbValue) -> FdbTarget {
    FdbTarget { master: value.master(), slave: value.slave(), flags: value.flags() }
}
