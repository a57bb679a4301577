//! Every claim to the MACs of one logical switch.
//!
//! Records lie in chunks that never move, without a heap allocation of their own. Those of one MAC are a chain, those of
//! one VTEP a ring list, so that neither a change nor a VTEP's end looks at the claims of others.

use std::collections::BTreeMap;
use std::ops::{Index, IndexMut};

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use vtep_api::{Claim, Ips, LocalMac, MacAddr, Origin, Role, Stamp};

use super::vteps::VtepId;

/// Where a record lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Slot(pub(super) u32);

const NONE: Slot = Slot(u32::MAX);

/// What is known of a claim beside its times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Flags(u16);

impl Flags {
    pub(super) const SLAVE: Self = Self(1);
    /// The VTEP claims it itself. Without it the record is there for a pin only.
    pub(super) const OWN: Self = Self(1 << 1);
    /// The operator claims it for the VTEP.
    pub(super) const PINNED: Self = Self(1 << 2);
    /// The master by the last decision.
    pub(super) const MASTER: Self = Self(1 << 3);
    /// Set aside by the storm guard.
    pub(super) const HELD: Self = Self(1 << 4);
    /// Gone, but kept by the mass-withdraw guard.
    pub(super) const KEPT: Self = Self(1 << 5);
    /// Overtaken while its VTEP was away; it stays so until it is claimed anew.
    pub(super) const SUPERSEDED: Self = Self(1 << 6);
    /// Named by the snapshot that is coming in.
    pub(super) const TOLD: Self = Self(1 << 7);
    const HAS_ORIGIN: Self = Self(1 << 8);
    /// The MAC appeared elsewhere after it was seen here. It stays so until it is seen here anew, or master after all.
    pub(super) const MOVED: Self = Self(1 << 9);

    pub(super) fn has(self, flag: Self) -> bool {
        self.0 & flag.0 != 0
    }

    pub(super) fn set(&mut self, flag: Self, on: bool) {
        if on { self.0 |= flag.0 } else { self.0 &= !flag.0 }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) mac: MacAddr,
    pub(super) flags: Flags,
    pub(super) vtep: VtepId,
    next_of_mac: Slot,
    next_of_vtep: Slot,
    previous_of_vtep: Slot,
    pub(super) stamp: Stamp,
    pub(super) received_at_ms: i64,
    claimed_at_ms: i64,
    origin: [u64; 2],
    /// By the logical controller's count.
    pub(super) arrived: u64,
    /// When it last became master, by the same count. 0: never.
    pub(super) mastered: u64,
    /// Mostly none, and then no allocation either.
    ips: Option<Box<Ips>>,
}

const _: () = assert!(size_of::<Record>() == 96, "the budget is 300 bytes for a MAC with two claims");

impl Record {
    pub(super) fn pinned(mac: MacAddr, vtep: VtepId) -> Self {
        Self {
            mac,
            flags: Flags::PINNED,
            vtep,
            next_of_mac: NONE,
            next_of_vtep: NONE,
            previous_of_vtep: NONE,
            stamp: Stamp::default(),
            received_at_ms: 0,
            claimed_at_ms: i64::MIN,
            origin: [0; 2],
            arrived: 0,
            mastered: 0,
            ips: None,
        }
    }

    pub(super) fn claimed(mac: MacAddr, vtep: VtepId, claim: &Claim, arrived: u64) -> Self {
        let mut record = Self { flags: Flags::default(), ..Self::pinned(mac, vtep) };
        record.claim(claim, arrived);
        record
    }

    /// A new claim of the same VTEP. Another role of a MAC that has moved since it was seen here is as old as that sight.
    pub(super) fn claim(&mut self, claim: &Claim, arrived: u64) {
        let known = self.origin().filter(|_| self.flags.has(Flags::OWN));
        let is_seen = known.is_none_or(|known| claim.local.origin.is_some_and(|origin| origin != known));
        self.flags.set(Flags::OWN, true);
        for flag in [Flags::KEPT, Flags::SUPERSEDED] {
            self.flags.set(flag, false);
        }
        self.flags.set(Flags::SLAVE, claim.local.role == Role::Slave);
        if is_seen || !self.flags.has(Flags::MOVED) {
            self.flags.set(Flags::MOVED, false);
            self.claimed_at_ms = claim.local.claimed_at_ms.unwrap_or(i64::MIN);
            self.received_at_ms = claim.received_at_ms;
            self.arrived = arrived;
        }
        if is_seen {
            self.set_origin(claim.local.origin);
        }
        self.tell_again(claim);
    }

    /// Whether a claim is the one that is known: by its stamp, if who counted that still counts.
    pub(super) fn is_told_again_by(&self, claim: &Claim, counted: bool) -> bool {
        let (was, is) = (self.origin(), claim.local.origin);
        let times = self.claimed_at_ms().zip(claim.local.claimed_at_ms);
        let same = || was == is && times.is_none_or(|(was, is)| was == is) || was.is_none() || is.is_none();
        self.role() == claim.local.role && if counted { self.stamp == claim.stamp } else { same() }
    }

    /// A claim that is told again: it keeps its times, but is withdrawn by what comes after its present stamp.
    pub(super) fn tell_again(&mut self, claim: &Claim) {
        self.stamp = claim.stamp;
        if claim.local.origin.is_some() {
            self.set_origin(claim.local.origin);
        }
        self.ips = (!claim.local.ips.is_empty()).then(|| Box::new(claim.local.ips.clone()));
    }

    /// The VTEP's own claim goes, the operator's stays.
    pub(super) fn disown(&mut self) {
        let flags = self.flags;
        self.flags = Flags::PINNED;
        for flag in [Flags::MASTER, Flags::TOLD, Flags::HAS_ORIGIN] {
            self.flags.set(flag, flags.has(flag));
        }
        self.ips = None;
    }

    fn set_origin(&mut self, origin: Option<Origin>) {
        self.flags.set(Flags::HAS_ORIGIN, origin.is_some());
        let origin = origin.map_or(0, |origin| origin.0);
        #[expect(clippy::cast_possible_truncation, reason = "the halves of a number")]
        let halves = [(origin >> 64) as u64, origin as u64];
        self.origin = halves;
    }

    pub(super) fn role(&self) -> Role {
        if self.flags.has(Flags::SLAVE) { Role::Slave } else { Role::Master }
    }

    pub(super) fn origin(&self) -> Option<Origin> {
        self.flags
            .has(Flags::HAS_ORIGIN)
            .then(|| Origin(u128::from(self.origin[0]) << 64 | u128::from(self.origin[1])))
    }

    pub(super) fn claimed_at_ms(&self) -> Option<i64> {
        (self.claimed_at_ms != i64::MIN).then_some(self.claimed_at_ms)
    }

    pub(super) fn ips(&self) -> Ips {
        self.ips.as_deref().cloned().unwrap_or_default()
    }

    pub(super) fn same_ips(&self, local: &LocalMac) -> bool {
        self.ips.as_deref().map_or(local.ips.is_empty(), |ips| *ips == local.ips)
    }
}

/// The claims of one VTEP.
#[derive(Debug, Clone, Copy)]
struct Share {
    first: Slot,
    /// Those that are the VTEP's own.
    count: usize,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Ledger {
    heads: HashMap<MacAddr, Slot, FixedState>,
    shares: BTreeMap<VtepId, Share>,
    chunks: Vec<Vec<Record>>,
    free: Vec<Slot>,
    len: usize,
}

const CHUNK: usize = 1024;

impl Ledger {
    /// Claims.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn macs(&self) -> usize {
        self.heads.len()
    }

    /// Claims of one VTEP.
    pub(super) fn share(&self, vtep: VtepId) -> usize {
        self.shares.get(&vtep).map_or(0, |share| share.count)
    }

    pub(super) fn vteps(&self) -> impl Iterator<Item = VtepId> {
        self.shares.keys().copied()
    }

    /// The same order in every process.
    pub(super) fn iter_macs(&self) -> impl Iterator<Item = MacAddr> {
        self.heads.keys().copied()
    }

    pub(super) fn of_mac(&self, mac: MacAddr) -> Chain<'_> {
        Chain { ledger: self, at: self.heads.get(&mac).copied().unwrap_or(NONE), next: |r| r.next_of_mac }
    }

    /// By the last decision.
    pub(super) fn master(&self, mac: MacAddr) -> Option<Slot> {
        self.of_mac(mac).find(|&slot| self[slot].flags.has(Flags::MASTER))
    }

    pub(super) fn of_vtep(&self, vtep: VtepId) -> Chain<'_> {
        let first = self.shares.get(&vtep).map_or(NONE, |share| share.first);
        Chain { ledger: self, at: first, next: |r| r.next_of_vtep }
    }

    pub(super) fn find(&self, mac: MacAddr, vtep: VtepId) -> Option<Slot> {
        self.of_mac(mac).find(|&slot| self[slot].vtep == vtep)
    }

    /// There must be none of the same VTEP and MAC.
    pub(super) fn insert(&mut self, mut record: Record) -> Slot {
        let (mac, vtep) = (record.mac, record.vtep);
        let share = self.shares.entry(vtep).or_insert(Share { first: NONE, count: 0 });
        record.previous_of_vtep = NONE;
        record.next_of_vtep = share.first;
        let second = share.first;
        let slot = self.free.pop().unwrap_or_else(|| {
            let chunk = self.chunks.len().saturating_sub(1);
            let used = self.chunks.last().map_or(CHUNK, Vec::len);
            let at = if used == CHUNK { self.chunks.len() * CHUNK } else { chunk * CHUNK + used };
            Slot(u32::try_from(at).expect("four thousand million claims do not fit in memory"))
        });
        share.first = slot;
        share.count += 1;
        let head = self.heads.entry(mac).or_insert(NONE);
        record.next_of_mac = *head;
        *head = slot;
        self.put(slot, record);
        if second != NONE {
            self[second].previous_of_vtep = slot;
        }
        self.len += 1;
        slot
    }

    fn put(&mut self, slot: Slot, record: Record) {
        let (chunk, at) = place(slot);
        if chunk == self.chunks.len() {
            // The first chunk grows, for a small network; later ones are made whole.
            self.chunks.push(if chunk == 0 { Vec::new() } else { Vec::with_capacity(CHUNK) });
        }
        let chunk = &mut self.chunks[chunk];
        if at == chunk.len() { chunk.push(record) } else { chunk[at] = record }
    }

    pub(super) fn remove(&mut self, slot: Slot) {
        let (mac, vtep, next_of_mac) = (self[slot].mac, self[slot].vtep, self[slot].next_of_mac);
        let (previous, next) = (self[slot].previous_of_vtep, self[slot].next_of_vtep);
        self[slot].ips = None;
        let before = self.of_mac(mac).find(|&at| self[at].next_of_mac == slot);
        match before {
            Some(before) => self[before].next_of_mac = next_of_mac,
            None if next_of_mac == NONE => {
                self.heads.remove(&mac);
            }
            None => {
                self.heads.insert(mac, next_of_mac);
            }
        }
        if next != NONE {
            self[next].previous_of_vtep = previous;
        }
        if previous != NONE {
            self[previous].next_of_vtep = next;
        }
        let share = self.shares.get_mut(&vtep).expect("a record is in its VTEP's list");
        share.count -= 1;
        if previous == NONE {
            share.first = next;
        }
        if share.count == 0 {
            self.shares.remove(&vtep);
        }
        self.free.push(slot);
        self.len -= 1;
    }
}

fn place(slot: Slot) -> (usize, usize) {
    (slot.0 as usize / CHUNK, slot.0 as usize % CHUNK)
}

impl Index<Slot> for Ledger {
    type Output = Record;

    fn index(&self, slot: Slot) -> &Record {
        let (chunk, at) = place(slot);
        &self.chunks[chunk][at]
    }
}

impl IndexMut<Slot> for Ledger {
    fn index_mut(&mut self, slot: Slot) -> &mut Record {
        let (chunk, at) = place(slot);
        &mut self.chunks[chunk][at]
    }
}

/// The slots of one list. The next one is read before a slot is handed out.
#[derive(Debug, Clone)]
pub(super) struct Chain<'a> {
    ledger: &'a Ledger,
    at: Slot,
    next: fn(&Record) -> Slot,
}

impl Iterator for Chain<'_> {
    type Item = Slot;

    fn next(&mut self) -> Option<Slot> {
        if self.at == NONE {
            return None;
        }
        let slot = self.at;
        self.at = (self.next)(&self.ledger[slot]);
        Some(slot)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn claim(seq: u64) -> Claim {
        let local = LocalMac { origin: Some(Origin(u128::from(seq) << 90 | 7)), ..LocalMac::default() };
        Claim { local, stamp: Stamp { epoch: 1, seq }, received_at_ms: 5, was_master: false }
    }

    fn mac(number: u8) -> MacAddr {
        MacAddr::new([2, 0, 0, 0, 0, number])
    }

    #[test]
    fn an_origin_survives_being_cut_in_halves() {
        let record = Record::claimed(mac(1), VtepId(0), &claim(9), 1);
        assert_eq!(record.origin(), Some(Origin(9 << 90 | 7)));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, max_shrink_iters: 1000, ..ProptestConfig::default() })]

        #[test]
        fn both_lists_hold_what_was_put_in_and_not_taken_out(
            operations in prop::collection::vec((0_u8..6, 0_u32..4, any::<bool>()), 0..40)
        ) {
            let mut ledger = Ledger::default();
            let mut model = std::collections::BTreeSet::new();
            for (number, vtep, put) in operations {
                let key = (mac(number), VtepId(vtep));
                match (ledger.find(key.0, key.1), put) {
                    (None, true) => {
                        ledger.insert(Record::claimed(key.0, key.1, &claim(1), 1));
                        model.insert(key);
                    }
                    (Some(slot), false) => {
                        ledger.remove(slot);
                        model.remove(&key);
                    }
                    _ => {}
                }
            }
            prop_assert_eq!(ledger.len(), model.len());
            for number in 0..6 {
                let found: std::collections::BTreeSet<_> =
                    ledger.of_mac(mac(number)).map(|slot| (mac(number), ledger[slot].vtep)).collect();
                let expected = model.iter().filter(|key| key.0 == mac(number)).copied().collect();
                prop_assert_eq!(found, expected);
            }
            for vtep in (0..4).map(VtepId) {
                let found: std::collections::BTreeSet<_> =
                    ledger.of_vtep(vtep).map(|slot| (ledger[slot].mac, vtep)).collect();
                let expected: std::collections::BTreeSet<_> =
                    model.iter().filter(|key| key.1 == vtep).copied().collect();
                prop_assert_eq!(ledger.share(vtep), expected.len());
                prop_assert_eq!(found, expected);
            }
        }
    }
}
