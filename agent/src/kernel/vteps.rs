//! Remote VTEPs: their adjacencies, states, senders and counters. `VTEP_OPER` is the programs': it is read here, and
//! cleared where an index gets another VTEP, and where nothing speaks against one any more.

use std::collections::BTreeMap;
use std::path::Path;

use bytemuck::Zeroable;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use vtep_abi::{VtepAdj, VtepAdmin, VtepByIpKey, VtepByIpValue, VtepOper, VtepStats, map};

use super::bpf::{Map, PerCpu};
use super::error::{ApplyError, failed};
use super::{Applied, Entry, Reason, write};
use crate::dataplane::VtepRow;

#[derive(Debug)]
pub(super) struct Vteps {
    adj: Map<u32, VtepAdj>,
    admin: Map<u32, VtepAdmin>,
    oper: Map<u32, VtepOper>,
    by_ip: Map<VtepByIpKey, VtepByIpValue>,
    stats: PerCpu<VtepStats>,
}

impl Vteps {
    pub(super) fn open(maps: &Path) -> Result<Self, ApplyError> {
        let pin = |name| maps.join(name);
        Ok(Self {
            adj: Map::open(&pin(map::VTEP_ADJ)).map_err(failed("opening", map::VTEP_ADJ))?,
            admin: Map::open(&pin(map::VTEP_ADMIN)).map_err(failed("opening", map::VTEP_ADMIN))?,
            oper: Map::open(&pin(map::VTEP_OPER)).map_err(failed("opening", map::VTEP_OPER))?,
            by_ip: Map::open(&pin(map::VTEP_BY_IP)).map_err(failed("opening", map::VTEP_BY_IP))?,
            stats: PerCpu::open(&pin(map::VTEP_STATS)).map_err(failed("opening", map::VTEP_STATS))?,
        })
    }

    pub(super) fn installed(&self) -> Result<BTreeMap<u32, VtepRow>, ApplyError> {
        let admin = self.admin.dump().map_err(failed("dump", map::VTEP_ADMIN))?;
        let present = admin.into_iter().filter(|(_, admin)| admin.bits & VtepAdmin::PRESENT != 0);
        present.map(|(index, admin)| Ok((index, self.row(index, admin)?))).collect()
    }

    pub(super) fn installed_senders(&self) -> Result<HashMap<VtepByIpKey, u32, RandomState>, ApplyError> {
        let rows = self.by_ip.dump().map_err(failed("dump", map::VTEP_BY_IP))?;
        Ok(rows.into_iter().map(|(key, value)| (key, value.vtep)).collect())
    }

    pub(super) fn lookup(&self, index: u32) -> Result<Option<VtepRow>, ApplyError> {
        let admin = self.admin.lookup(&index).map_err(failed("lookup", map::VTEP_ADMIN))?;
        let present = admin.filter(|admin| admin.bits & VtepAdmin::PRESENT != 0);
        present.map(|admin| self.row(index, admin)).transpose()
    }

    /// What the programs found out and what the agent wrote count alike against a VTEP.
    fn row(&self, index: u32, admin: VtepAdmin) -> Result<VtepRow, ApplyError> {
        let suspect = admin.is_suspect() || !self.oper_up(index)?;
        Ok(VtepRow { adj: self.adj(index, admin)?, up: admin.is_up(), suspect })
    }

    pub(super) fn lookup_sender(&self, key: &VtepByIpKey) -> Result<Option<u32>, ApplyError> {
        let sender = self.by_ip.lookup(key).map_err(failed("lookup", map::VTEP_BY_IP))?;
        Ok(sender.map(|sender| sender.vtep))
    }

    pub(super) fn put(&self, rows: &[(u32, VtepRow)]) -> Result<Applied, ApplyError> {
        let mut applied = Applied::default();
        for (index, row) in rows {
            if *index == 0 || *index >= self.admin.capacity() {
                applied.refuse([Entry::Vtep(*index)], Reason::OutOfRange);
                continue;
            }
            self.put_one(*index, row)?;
            applied.written += 1;
        }
        Ok(applied)
    }

    /// Programs read the slot that the state byte names, so only the other one may be written. One byte then puts
    /// address and state in force together.
    fn put_one(&self, index: u32, row: &VtepRow) -> Result<(), ApplyError> {
        let admin = self.admin(index)?;
        let down = if row.up { 0 } else { VtepAdmin::DOWN };
        let suspect = if row.suspect { VtepAdmin::SUSPECT } else { 0 };
        let in_force = admin.bits & VtepAdmin::PRESENT != 0 && self.adj(index, admin)? == row.adj;
        let slot = if in_force { admin.bits & VtepAdmin::SLOT } else { !admin.bits & VtepAdmin::SLOT };
        let next = VtepAdmin { bits: VtepAdmin::PRESENT | down | suspect | slot };
        if !in_force {
            self.adj.update(&next.adj_index(index), &row.adj).map_err(failed("update", map::VTEP_ADJ))?;
        }
        if admin.bits & VtepAdmin::PRESENT == 0 {
            self.forget_predecessor(index)?;
        } else if !row.suspect && (admin.is_suspect() || next == admin) && !self.oper_up(index)? {
            // What the programs have said since is not known to whoever changes something else.
            self.clear_oper(index)?;
        }
        if next == admin {
            return Ok(());
        }
        self.admin.update(&index, &next).map_err(failed("update", map::VTEP_ADMIN))
    }

    /// Indices are reused: what was counted and found out under this one is another VTEP's.
    fn forget_predecessor(&self, index: u32) -> Result<(), ApplyError> {
        self.stats.clear(index).map_err(failed("update", map::VTEP_STATS))?;
        self.clear_oper(index)
    }

    /// The programs' word, which only we take back.
    fn clear_oper(&self, index: u32) -> Result<(), ApplyError> {
        self.oper.update(&index, &VtepOper::zeroed()).map_err(failed("update", map::VTEP_OPER))
    }

    /// Only the byte goes: a program that has read it may still be reading the adjacency. The slot bit stays, so that
    /// the next VTEP of this index gets the other slot.
    pub(super) fn remove(&self, indices: &[u32]) -> Result<Applied, ApplyError> {
        let mut removed = 0;
        for index in indices {
            let admin = self.admin(*index)?;
            if admin.bits & VtepAdmin::PRESENT != 0 {
                let gone = VtepAdmin { bits: admin.bits & VtepAdmin::SLOT };
                self.admin.update(index, &gone).map_err(failed("update", map::VTEP_ADMIN))?;
                removed += 1;
            }
        }
        Ok(Applied::written(removed))
    }

    pub(super) fn put_senders(&self, rows: &[(VtepByIpKey, u32)]) -> Result<Applied, ApplyError> {
        let (keys, values): (Vec<_>, Vec<_>) =
            rows.iter().map(|(key, vtep)| (*key, VtepByIpValue { vtep: *vtep })).unzip();
        let full = write::upsert(&self.by_ip, &keys, &values).map_err(failed("update", map::VTEP_BY_IP))?;
        let mut applied = Applied::written(rows.len() - full.len());
        applied.refuse(full.into_iter().map(|at| Entry::Sender(keys[at])), Reason::Full);
        Ok(applied)
    }

    pub(super) fn remove_senders(&self, keys: &[VtepByIpKey]) -> Result<Applied, ApplyError> {
        write::remove(&self.by_ip, keys).map(Applied::written).map_err(failed("deletion", map::VTEP_BY_IP))
    }

    /// Whether the programs hold the VTEP for alive.
    pub(super) fn oper_up(&self, index: u32) -> Result<bool, ApplyError> {
        let oper = self.oper.lookup(&index).map_err(failed("lookup", map::VTEP_OPER))?;
        Ok(oper.is_some_and(VtepOper::is_up))
    }

    /// All CPUs together.
    pub(super) fn stats(&self, index: u32) -> Result<VtepStats, ApplyError> {
        let values = self.stats.lookup(index).map_err(failed("lookup", map::VTEP_STATS))?;
        let mut sum = VtepStats::default();
        for cpu in values.unwrap_or_default() {
            sum.sent += cpu.sent;
            sum.received += cpu.received;
            sum.served_as_slave += cpu.served_as_slave;
            sum.copy_errors += cpu.copy_errors;
            sum.copies_too_big += cpu.copies_too_big;
            sum.last_received_ns = sum.last_received_ns.max(cpu.last_received_ns);
        }
        Ok(sum)
    }

    /// The name of the map in which the entries have no room, if there is one.
    pub(super) fn copy_to(&self, other: &Self) -> Result<Option<&'static str>, ApplyError> {
        let fits = [
            (map::VTEP_ADJ, write::copy(&self.adj, &other.adj).map_err(failed("copy", map::VTEP_ADJ))?),
            (map::VTEP_OPER, write::copy(&self.oper, &other.oper).map_err(failed("copy", map::VTEP_OPER))?),
            (
                map::VTEP_ADMIN,
                write::copy(&self.admin, &other.admin).map_err(failed("copy", map::VTEP_ADMIN))?,
            ),
            (
                map::VTEP_BY_IP,
                write::copy(&self.by_ip, &other.by_ip).map_err(failed("copy", map::VTEP_BY_IP))?,
            ),
        ];
        Ok(fits.into_iter().find(|(_, fits)| !fits).map(|(name, _)| name))
    }

    fn admin(&self, index: u32) -> Result<VtepAdmin, ApplyError> {
        let admin = self.admin.lookup(&index).map_err(failed("lookup", map::VTEP_ADMIN))?;
        Ok(admin.unwrap_or(VtepAdmin { bits: 0 }))
    }

    fn adj(&self, index: u32, admin: VtepAdmin) -> Result<VtepAdj, ApplyError> {
        let adj = self.adj.lookup(&admin.adj_index(index)).map_err(failed("lookup", map::VTEP_ADJ))?;
        Ok(adj.unwrap_or_else(bytemuck::Zeroable::zeroed))
    }
}
