//! Logical networks: maps `VNI`, `FLOOD` and `STATS`.
//!
//! A flood list is written under a fresh generation and published by one write of its `VNI` value. The last one stays
//! for a while, for a program that has read the old value goes through the old list, and the memory of one that is deleted
//! is the next one's at once.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use vtep_abi::{
    Counter, FLOOD_MEMBERS_MAX, FloodKey, FloodValue, Target, VERDICTS_MAX, VniStats, VniValue, map,
};

use super::bpf::{Map, PerCpu};
use super::error::{ApplyError, failed};
use super::{Applied, Entry, Reason, write};
use crate::dataplane::Network;

/// A program that floods to the longest list is done in a fraction of a millisecond.
const GRACE: Duration = Duration::from_secs(1);
/// What is waited for where there is no room.
const GRACE_MIN: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(super) struct Networks {
    vni: Map<u32, VniValue>,
    flood: Map<FloodKey, FloodValue>,
    stats: PerCpu<VniStats>,
    retired: Vec<Retired>,
}

/// A list that is published no more.
#[derive(Debug)]
struct Retired {
    vni: u32,
    generation: u16,
    since: Instant,
}

impl Networks {
    pub(super) fn open(maps: &Path) -> Result<Self, ApplyError> {
        let pin = |name| maps.join(name);
        Ok(Self {
            vni: Map::open(&pin(map::VNI)).map_err(failed("opening", map::VNI))?,
            flood: Map::open(&pin(map::FLOOD)).map_err(failed("opening", map::FLOOD))?,
            stats: PerCpu::open(&pin(map::STATS)).map_err(failed("opening", map::STATS))?,
            retired: Vec::new(),
        })
    }

    /// What networks counted that a process removed which was killed before it could do this.
    pub(super) fn retire_left(&self) -> Result<(), ApplyError> {
        let used: BTreeSet<u32> = self.domains()?.into_iter().map(|(_, bd)| bd).collect();
        for bd in (1..=self.vni.capacity()).filter(|bd| !used.contains(bd)) {
            if self.stats(bd)?.iter().any(|counter| counter.packets > 0) {
                self.retire_counters(bd)?;
            }
        }
        Ok(())
    }

    /// VNIs and their bridge domains.
    pub(super) fn domains(&self) -> Result<Vec<(u32, u32)>, ApplyError> {
        let values = self.vni.dump().map_err(failed("dump", map::VNI))?;
        Ok(values.into_iter().map(|(vni, value)| (vni, value.bd)).collect())
    }

    /// Also clears lists that nobody publishes or retires: a process was killed between filling and publishing.
    pub(super) fn installed(&mut self) -> Result<BTreeMap<u32, Network>, ApplyError> {
        self.sweep(GRACE)?;
        let values: BTreeMap<u32, VniValue> =
            self.vni.dump().map_err(failed("dump", map::VNI))?.into_iter().collect();
        let mut networks: BTreeMap<u32, Network> =
            values.iter().map(|(vni, value)| (*vni, empty(value))).collect();
        let mut orphans = Vec::new();
        for (key, list) in self.flood.dump().map_err(failed("dump", map::FLOOD))? {
            let published = values.get(&key.vni).filter(|value| value.flood_generation == key.generation);
            match networks.get_mut(&key.vni).filter(|_| published.is_some()) {
                Some(network) => read(&list, &mut network.flood),
                None if self.is_retired(key.vni, key.generation) => {}
                None => orphans.push(key),
            }
        }
        write::remove(&self.flood, &orphans).map_err(failed("deletion", map::FLOOD))?;
        Ok(networks)
    }

    pub(super) fn lookup(&self, vni: u32) -> Result<Option<Network>, ApplyError> {
        let Some(value) = self.vni.lookup(&vni).map_err(failed("lookup", map::VNI))? else { return Ok(None) };
        Ok(Some(Network { flood: self.members(vni, &value)?, ..empty(&value) }))
    }

    pub(super) fn put(&mut self, rows: &[(u32, Network)]) -> Result<Applied, ApplyError> {
        self.sweep(GRACE)?;
        let mut applied = Applied::default();
        let mut waits = true;
        for (vni, network) in rows {
            match self.put_one(*vni, network, &mut waits)? {
                None => applied.written += 1,
                Some(reason) => applied.refuse([Entry::Network(*vni)], reason),
            }
        }
        Ok(applied)
    }

    fn put_one(
        &mut self,
        vni: u32,
        network: &Network,
        waits: &mut bool,
    ) -> Result<Option<Reason>, ApplyError> {
        if network.flood.len() > FLOOD_MEMBERS_MAX as usize || network.bd > self.vni.capacity() {
            return Ok(Some(Reason::OutOfRange));
        }
        let last = self.vni.lookup(&vni).map_err(failed("lookup", map::VNI))?;
        // Bridge domains are reused, and what their last VNI counted is not this one's. Domain 0 belongs to none.
        if last.is_none_or(|last| last.bd != network.bd) {
            self.retire_counters(network.bd)?;
            last.map_or(Ok(()), |last| self.retire_counters(last.bd))?;
        }
        if let Some(last) = last
            && self.members(vni, &last)? == network.flood
        {
            return self.publish(vni, &network.value(last.flood_generation));
        }
        let generation = self.fresh_generation(vni, last);
        let key = FloodKey::new(vni, generation);
        if !network.flood.is_empty() && !self.fill(key, &network.flood, waits)? {
            return Ok(Some(Reason::Full));
        }
        let value = network.value(generation);
        let refused = self.publish(vni, &value)?;
        // Whichever of the two lists is not in force.
        match refused {
            Some(_) => self.retire(vni, &value),
            None => last.iter().for_each(|last| self.retire(vni, last)),
        }
        Ok(refused)
    }

    pub(super) fn remove(&mut self, vnis: &[u32]) -> Result<Applied, ApplyError> {
        let mut removed = 0;
        for vni in vnis {
            if let Some(last) = self.vni.lookup(vni).map_err(failed("lookup", map::VNI))? {
                self.vni.delete(vni).map_err(failed("deletion", map::VNI))?;
                self.retire(*vni, &last);
                self.retire_counters(last.bd)?;
                removed += 1;
            }
        }
        self.sweep(GRACE)?;
        Ok(Applied::written(removed))
    }

    /// Per verdict code, all CPUs together.
    pub(super) fn stats(&self, bd: u32) -> Result<[Counter; VERDICTS_MAX], ApplyError> {
        let mut sums = [Counter::default(); VERDICTS_MAX];
        for cpu in self.stats.lookup(bd).map_err(failed("lookup", map::STATS))?.unwrap_or_default() {
            for (sum, counter) in sums.iter_mut().zip(cpu.verdicts) {
                *sum += counter;
            }
        }
        Ok(sums)
    }

    /// Of the bridge domains' networks that are gone, together.
    pub(super) fn past_stats(&self) -> Result<[Counter; VERDICTS_MAX], ApplyError> {
        self.stats(self.past())
    }

    /// Beyond the bridge domains.
    fn past(&self) -> u32 {
        self.vni.capacity() + 1
    }

    /// The next network of a bridge domain counts from zero, and what the last one counted stays in the sum of all.
    fn retire_counters(&self, bd: u32) -> Result<(), ApplyError> {
        if bd == 0 {
            return Ok(());
        }
        let values = |index| Ok(self.stats.lookup(index)?.unwrap_or_default());
        let (counted, mut past) = values(bd)
            .and_then(|counted| Ok((counted, values(self.past())?)))
            .map_err(failed("lookup", map::STATS))?;
        for (past, counted) in past.iter_mut().zip(counted) {
            past.verdicts.iter_mut().zip(counted.verdicts).for_each(|(past, counted)| *past += counted);
        }
        self.stats.move_to([bd, self.past()], &past).map_err(failed("update", map::STATS))
    }

    /// The name of the map in which the entries have no room, if there is one.
    pub(super) fn copy_to(&self, other: &Self) -> Result<Option<&'static str>, ApplyError> {
        if !write::copy(&self.flood, &other.flood).map_err(failed("copy", map::FLOOD))? {
            return Ok(Some(map::FLOOD));
        }
        let fits = write::copy(&self.vni, &other.vni).map_err(failed("copy", map::VNI))?;
        Ok((!fits).then_some(map::VNI))
    }

    fn members(&self, vni: u32, value: &VniValue) -> Result<Vec<Target>, ApplyError> {
        let mut members = empty(value).flood;
        let key = FloodKey::new(vni, value.flood_generation);
        if let Some(list) = self.flood.lookup(&key).map_err(failed("lookup", map::FLOOD))? {
            read(&list, &mut members);
        }
        Ok(members)
    }

    /// False if there is no room. Room is waited for once, however many lists have none.
    fn fill(&mut self, key: FloodKey, flood: &[Target], waits: &mut bool) -> Result<bool, ApplyError> {
        let write = |map: &Map<FloodKey, FloodValue>| {
            let full = write::upsert(map, &[key], &[FloodValue::new(flood)]);
            full.map(|full| full.is_empty()).map_err(failed("update", map::FLOOD))
        };
        if write(&self.flood)? {
            return Ok(true);
        }
        let Some(last) = self.retired.iter().map(|list| list.since).max() else { return Ok(false) };
        if mem::take(waits) {
            thread::sleep(GRACE_MIN.saturating_sub(last.elapsed()));
        }
        self.sweep(GRACE_MIN)?;
        write(&self.flood)
    }

    fn publish(&self, vni: u32, value: &VniValue) -> Result<Option<Reason>, ApplyError> {
        let full = write::upsert(&self.vni, &[vni], &[*value]).map_err(failed("update", map::VNI))?;
        Ok((!full.is_empty()).then_some(Reason::Full))
    }

    fn fresh_generation(&self, vni: u32, last: Option<VniValue>) -> u16 {
        let mut generation = last.map_or(0, |last| last.flood_generation);
        loop {
            generation = generation.wrapping_add(1);
            if !self.is_retired(vni, generation) {
                return generation;
            }
        }
    }

    fn is_retired(&self, vni: u32, generation: u16) -> bool {
        self.retired.iter().any(|list| (list.vni, list.generation) == (vni, generation))
    }

    fn retire(&mut self, vni: u32, value: &VniValue) {
        if value.flood_members > 0 {
            self.retired.push(Retired { vni, generation: value.flood_generation, since: Instant::now() });
        }
    }

    /// Removes the lists that were retired longer ago than `grace`.
    fn sweep(&mut self, grace: Duration) -> Result<(), ApplyError> {
        let now = Instant::now();
        let is_due = |list: &Retired| now.duration_since(list.since) >= grace;
        let due = self.retired.iter().filter(|list| is_due(list));
        let keys: Vec<FloodKey> = due.map(|list| FloodKey::new(list.vni, list.generation)).collect();
        write::remove(&self.flood, &keys).map_err(failed("deletion", map::FLOOD))?;
        self.retired.retain(|list| !is_due(list));
        Ok(())
    }
}

fn read(list: &FloodValue, members: &mut [Target]) {
    for (index, member) in (0..FLOOD_MEMBERS_MAX).zip(members) {
        *member = list.target(index);
    }
}

/// A network whose members are still to be read.
fn empty(value: &VniValue) -> Network {
    let flood = vec![Target::None; usize::from(value.flood_members)];
    Network { bd: value.bd, flags: value.flags, flood_limit: value.flood, flood }
}
