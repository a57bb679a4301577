//! Ports of this host: maps `PORT`, `LOCAL_PORT` and `PORT_STATS`.

use std::collections::BTreeMap;
use std::path::Path;

use bytemuck::Zeroable;
use vtep_abi::{LocalPort, PortKey, PortStats, PortValue, map};

use super::bpf::{Map, PerCpu};
use super::error::{ApplyError, failed};
use super::{Applied, Entry, Reason, write};
use crate::dataplane::PortId;

#[derive(Debug)]
pub(super) struct Ports {
    port: Map<PortKey, PortValue>,
    local: Map<u32, LocalPort>,
    stats: PerCpu<PortStats>,
}

impl Ports {
    pub(super) fn open(maps: &Path) -> Result<Self, ApplyError> {
        Ok(Self {
            port: Map::open(&maps.join(map::PORT)).map_err(failed("opening", map::PORT))?,
            local: Map::open(&maps.join(map::LOCAL_PORT)).map_err(failed("opening", map::LOCAL_PORT))?,
            stats: PerCpu::open(&maps.join(map::PORT_STATS)).map_err(failed("opening", map::PORT_STATS))?,
        })
    }

    pub(super) fn installed(&self) -> Result<BTreeMap<PortId, PortValue>, ApplyError> {
        let rows = self.port.dump().map_err(failed("dump", map::PORT))?;
        let id = |key: PortKey| PortId { ifindex: key.ifindex, vlan: key.vlan };
        Ok(rows.into_iter().map(|(key, value)| (id(key), value)).collect())
    }

    pub(super) fn installed_local(&self) -> Result<BTreeMap<u32, LocalPort>, ApplyError> {
        let rows = self.local.dump().map_err(failed("dump", map::LOCAL_PORT))?;
        Ok(rows.into_iter().filter(|(_, port)| port.ifindex != 0).collect())
    }

    pub(super) fn lookup(&self, id: PortId) -> Result<Option<PortValue>, ApplyError> {
        self.port.lookup(&PortKey::from(id)).map_err(failed("lookup", map::PORT))
    }

    pub(super) fn lookup_local(&self, index: u32) -> Result<Option<LocalPort>, ApplyError> {
        let port = self.local.lookup(&index).map_err(failed("lookup", map::LOCAL_PORT))?;
        Ok(port.filter(|port| port.ifindex != 0))
    }

    pub(super) fn put(&self, rows: &[(PortId, PortValue)]) -> Result<Applied, ApplyError> {
        let (keys, values): (Vec<PortKey>, Vec<PortValue>) =
            rows.iter().map(|(id, value)| (PortKey::from(*id), *value)).unzip();
        let full = write::upsert(&self.port, &keys, &values).map_err(failed("update", map::PORT))?;
        let mut applied = Applied::written(rows.len() - full.len());
        applied.refuse(full.into_iter().map(|at| Entry::Port(rows[at].0)), Reason::Full);
        Ok(applied)
    }

    pub(super) fn remove(&self, ids: &[PortId]) -> Result<Applied, ApplyError> {
        let keys: Vec<PortKey> = ids.iter().map(|id| PortKey::from(*id)).collect();
        write::remove(&self.port, &keys).map(Applied::written).map_err(failed("deletion", map::PORT))
    }

    pub(super) fn put_local(&self, rows: &[(u32, LocalPort)]) -> Result<Applied, ApplyError> {
        let fits = |index: u32| index != 0 && index < self.local.capacity();
        let (keys, values): (Vec<u32>, Vec<LocalPort>) =
            rows.iter().filter(|(index, _)| fits(*index)).copied().unzip();
        for (index, port) in keys.iter().zip(&values) {
            self.forget_predecessor(*index, port)?;
        }
        write::upsert(&self.local, &keys, &values).map_err(failed("update", map::LOCAL_PORT))?;
        let mut applied = Applied::written(keys.len());
        let beyond =
            rows.iter().filter(|(index, _)| !fits(*index)).map(|(index, _)| Entry::LocalPort(*index));
        applied.refuse(beyond, Reason::OutOfRange);
        Ok(applied)
    }

    /// Indices are reused: what was counted under this one may be another port's.
    fn forget_predecessor(&self, index: u32, port: &LocalPort) -> Result<(), ApplyError> {
        let last = self.lookup_local(index)?;
        if last.is_some_and(|last| (last.ifindex, last.vlan) == (port.ifindex, port.vlan)) {
            return Ok(());
        }
        self.stats.clear(index).map_err(failed("update", map::PORT_STATS))
    }

    /// All CPUs together.
    pub(super) fn stats(&self, index: u32) -> Result<PortStats, ApplyError> {
        let values = self.stats.lookup(index).map_err(failed("lookup", map::PORT_STATS))?;
        let mut sum = PortStats::default();
        for cpu in values.unwrap_or_default() {
            sum.received += cpu.received;
            sum.dropped += cpu.dropped;
            sum.sent += cpu.sent;
            sum.copy_errors += cpu.copy_errors;
            sum.too_big += cpu.too_big;
            sum.no_headroom += cpu.no_headroom;
        }
        Ok(sum)
    }

    pub(super) fn remove_local(&self, indices: &[u32]) -> Result<Applied, ApplyError> {
        let within: Vec<u32> =
            indices.iter().copied().filter(|index| *index < self.local.capacity()).collect();
        let gone = vec![LocalPort::zeroed(); within.len()];
        write::upsert(&self.local, &within, &gone).map_err(failed("update", map::LOCAL_PORT))?;
        Ok(Applied::written(within.len()))
    }

    /// The name of the map in which the entries have no room, if there is one.
    pub(super) fn copy_to(&self, other: &Self) -> Result<Option<&'static str>, ApplyError> {
        if !write::copy(&self.local, &other.local).map_err(failed("copy", map::LOCAL_PORT))? {
            return Ok(Some(map::LOCAL_PORT));
        }
        let fits = write::copy(&self.port, &other.port).map_err(failed("copy", map::PORT))?;
        Ok((!fits).then_some(map::PORT))
    }
}
