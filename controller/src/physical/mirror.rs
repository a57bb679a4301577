//! What one VTEP has behind it, as it last said. A difference against it is news; the same again is none.

use std::collections::{BTreeMap, BTreeSet};

use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};
use vtep_api::{Cause, Claim, Ips, LocalMac, LogicalSwitchName, MacAddr, Origin, Report, Role, Stamp};

/// MACs that one VTEP may tell, so that it cannot fill our memory.
pub(super) const MACS_MAX: usize = 2_000_000;

type Records = HashMap<MacAddr, Record, FixedState>;

#[derive(Debug, Default)]
pub(super) struct Mirror {
    networks: BTreeMap<LogicalSwitchName, Records>,
    macs: usize,
    /// It was told whole once. Before that a MAC that is not here may well be there.
    heard: bool,
}

/// A claim, packed: there may be millions.
#[derive(Debug)]
struct Record {
    origin: [u64; 2],
    claimed_at_ms: i64,
    received_at_ms: i64,
    seq: u64,
    ips: Ips,
    role: Role,
    has_origin: bool,
    has_claimed_at: bool,
}

/// Gives out stamps.
#[derive(Debug)]
pub(super) struct Clock<'a> {
    pub(super) epoch: u64,
    pub(super) seq: &'a mut u64,
    pub(super) wall_ms: i64,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Observed {
    News(Report),
    /// Its addresses changed, and nothing that a decision looks at: the claim keeps its stamp.
    Updated(Report),
    Same,
    Refused(&'static str),
}

/// An inventory whose last part has not come.
pub(super) type Staged = BTreeMap<LogicalSwitchName, Vec<(MacAddr, Option<LocalMac>)>>;

impl Mirror {
    pub(super) fn heard(&self) -> bool {
        self.heard
    }

    pub(super) fn logical_switches(&self) -> impl Iterator<Item = (&LogicalSwitchName, usize)> {
        self.networks.iter().map(|(name, records)| (name, records.len()))
    }

    /// Of one logical switch, by MAC.
    pub(super) fn macs(&self, logical_switch: &LogicalSwitchName) -> Vec<MacAddr> {
        let mut macs: Vec<_> = self
            .networks
            .get(logical_switch)
            .map(|records| records.keys().copied().collect())
            .unwrap_or_default();
        macs.sort_unstable();
        macs
    }

    pub(super) fn claim(
        &self,
        epoch: u64,
        logical_switch: &LogicalSwitchName,
        mac: MacAddr,
    ) -> Option<Claim> {
        Some(self.networks.get(logical_switch)?.get(&mac)?.claim(epoch))
    }

    /// Takes in what the VTEP says of one MAC: what it is for it, or that it is gone.
    pub(super) fn observe(
        &mut self,
        logical_switch: &LogicalSwitchName,
        mac: MacAddr,
        told: Option<LocalMac>,
        clock: &mut Clock<'_>,
    ) -> Observed {
        let Some(told) = told else { return self.withdraw(logical_switch, mac, clock) };
        if !mac.is_station() {
            return Observed::Refused("a group or zero address names no station");
        }
        let known = self.networks.get_mut(logical_switch).and_then(|records| records.get_mut(&mac));
        if let Some(known) = known {
            return known.renew(told, clock);
        }
        if self.macs >= MACS_MAX {
            return Observed::Refused("it has told more MACs than are kept of one VTEP");
        }
        let record = Record::new(told, clock);
        let report = Report::Claim(record.claim(clock.epoch));
        if !self.networks.contains_key(logical_switch) {
            self.networks.insert(logical_switch.clone(), Records::default());
        }
        let records = self.networks.get_mut(logical_switch).expect("it was put there");
        records.insert(mac, record);
        self.macs += 1;
        Observed::News(report)
    }

    /// Takes in a whole inventory: what it does not name is gone.
    pub(super) fn replace(
        &mut self,
        staged: Staged,
        clock: &mut Clock<'_>,
        mut each: impl FnMut(&LogicalSwitchName, MacAddr, Observed),
    ) {
        let gone: Vec<_> = self.networks.keys().filter(|name| !staged.contains_key(*name)).cloned().collect();
        for name in gone {
            for mac in self.macs(&name) {
                each(&name, mac, self.observe(&name, mac, None, clock));
            }
        }
        for (name, records) in staged {
            let mut told: HashMap<MacAddr, LocalMac, FixedState> = HashMap::default();
            for (mac, local) in records {
                match local {
                    Some(local) => told.insert(mac, local),
                    None => told.remove(&mac),
                };
            }
            let macs: HashSet<MacAddr, FixedState> = told.keys().copied().collect();
            for mac in self.macs(&name) {
                if !macs.contains(&mac) {
                    each(&name, mac, self.observe(&name, mac, None, clock));
                }
            }
            let mut told: Vec<_> = told.into_iter().collect();
            told.sort_unstable_by_key(|(mac, _)| *mac);
            for (mac, local) in told {
                each(&name, mac, self.observe(&name, mac, Some(local), clock));
            }
        }
        self.heard = true;
    }

    /// Logical switches in which it has MACs and may not.
    pub(super) fn outside(&self, members: Option<&BTreeSet<LogicalSwitchName>>) -> Vec<LogicalSwitchName> {
        self.networks
            .keys()
            .filter(|name| members.is_none_or(|members| !members.contains(*name)))
            .cloned()
            .collect()
    }

    fn withdraw(
        &mut self,
        logical_switch: &LogicalSwitchName,
        mac: MacAddr,
        clock: &mut Clock<'_>,
    ) -> Observed {
        let Some(records) = self.networks.get_mut(logical_switch) else { return Observed::Same };
        if records.remove(&mac).is_none() {
            return Observed::Same;
        }
        self.macs -= 1;
        if records.is_empty() {
            self.networks.remove(logical_switch);
        }
        Observed::News(Report::Withdraw { stamp: clock.stamp(), cause: Cause::Withdrawn })
    }
}

impl Record {
    fn new(told: LocalMac, clock: &mut Clock<'_>) -> Self {
        let stamp = clock.stamp();
        let mut record = Self {
            origin: [0; 2],
            claimed_at_ms: told.claimed_at_ms.unwrap_or_default(),
            received_at_ms: clock.wall_ms,
            seq: stamp.seq,
            ips: told.ips,
            role: told.role,
            has_origin: false,
            has_claimed_at: told.claimed_at_ms.is_some(),
        };
        record.put_origin(told.origin);
        record
    }

    fn renew(&mut self, told: LocalMac, clock: &mut Clock<'_>) -> Observed {
        if self.is_claimed_anew_by(&told) {
            *self = Self::new(told, clock);
            return Observed::News(Report::Claim(self.claim(clock.epoch)));
        }
        // A VTEP that lost its state counts its claims anew: the number that it gave before means nothing any more.
        self.put_origin(told.origin);
        if self.ips == told.ips {
            return Observed::Same;
        }
        self.ips = told.ips;
        Observed::Updated(Report::Claim(self.claim(clock.epoch)))
    }

    fn is_claimed_anew_by(&self, told: &LocalMac) -> bool {
        if told.role != self.role {
            return true;
        }
        let Some(origin) = told.origin else { return false };
        self.origin() != Some(origin)
            || told.claimed_at_ms.is_some_and(|at| !self.has_claimed_at || at != self.claimed_at_ms)
    }

    fn origin(&self) -> Option<Origin> {
        let [high, low] = self.origin;
        self.has_origin.then_some(Origin(u128::from(high) << 64 | u128::from(low)))
    }

    fn put_origin(&mut self, origin: Option<Origin>) {
        self.has_origin = origin.is_some();
        let bytes = origin.map_or([0; 16], |origin| origin.0.to_be_bytes());
        let (high, low) = bytes.split_at(8);
        self.origin =
            [high, low].map(|half| u64::from_be_bytes(half.try_into().expect("eight bytes of sixteen")));
    }

    fn claim(&self, epoch: u64) -> Claim {
        let local = LocalMac {
            role: self.role,
            claimed_at_ms: self.has_claimed_at.then_some(self.claimed_at_ms),
            origin: self.origin(),
            ips: self.ips.clone(),
        };
        let stamp = Stamp { epoch, seq: self.seq };
        Claim { local, stamp, received_at_ms: self.received_at_ms, was_master: false }
    }
}

impl Clock<'_> {
    fn stamp(&mut self) -> Stamp {
        *self.seq += 1;
        Stamp { epoch: self.epoch, seq: *self.seq }
    }
}

#[cfg(test)]
mod tests;
