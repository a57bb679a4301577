//! What hosts saw of the MACs of one logical switch: frames that came from another VTEP than the master. Where a MAC is
//! claimed by several alike, it can say whose claim is true.
//!
//! Nobody reports what comes from the master. So what speaks for a VTEP does not fade once it is master by it; only what
//! speaks for another one ends it. When two send from a MAC, each is reported while the other is master: then neither counts
//! for a while, and for longer each time.

use std::collections::BTreeMap;

use vtep_api::{MacAddr, Role};

use super::history::What;
use super::ledger::{Flags, Slot};
use super::switch::{Context, Switch};
use super::vteps::VtepId;
use crate::Now;

/// In one logical switch.
const MACS_MAX: usize = 4096;
/// Pairs of a witness and a sender for one MAC.
const SIGHTS_MAX: usize = 16;
/// Nothing is remembered for longer than so.
const AGE_MS: u64 = 900_000;
/// For so long frames have to come from a VTEP before it counts: those that come late do not.
const SPEAK_MS: u64 = 5000;
/// What speaks less often is silent.
const PAUSE_MS: u64 = 15_000;
/// Two that send from one MAC within so long contradict each other.
const DISPUTE_MS: u64 = 60_000;
/// How often the time for which neither of them counts is doubled.
const DISPUTES_MAX: u32 = 10;

#[derive(Debug, Clone, Default)]
pub(super) struct Sightings {
    by_mac: BTreeMap<MacAddr, Seen>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// The latest last.
    sights: Vec<Sight>,
    /// From when to when frames came from a VTEP without a pause, since the MAC was claimed last.
    spoke: Vec<(VtepId, u64, u64)>,
    attested: Option<(VtepId, u64)>,
    disputes: u32,
    quiet_until_ms: u64,
    last_ms: u64,
}

/// By one witness, of one sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sight {
    pub(super) witness: VtepId,
    pub(super) sender: VtepId,
    /// By the witness's table the sender was the MAC's slave.
    pub(super) as_slave: bool,
    pub(super) first_wall_ms: i64,
    pub(super) last_wall_ms: i64,
    pub(super) count: u64,
}

/// What a sighting comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weight {
    None,
    /// From here on it speaks for its sender.
    Attests,
    /// What spoke for another one until now does not any more.
    Disputes,
}

impl Sightings {
    /// `seen` begins and ends now.
    pub(super) fn see(&mut self, mac: MacAddr, seen: Sight, now: Now) {
        if self.by_mac.len() >= MACS_MAX && !self.by_mac.contains_key(&mac) && !self.make_room() {
            return;
        }
        let known = self.by_mac.entry(mac).or_default();
        known.last_ms = now.mono_ms;
        let same = |sight: &Sight| (sight.witness, sight.sender) == (seen.witness, seen.sender);
        let before = known.sights.iter().position(same).map(|at| known.sights.remove(at));
        if known.sights.len() >= SIGHTS_MAX {
            known.sights.remove(0);
        }
        let (first_wall_ms, count) =
            before.map_or((seen.first_wall_ms, 0), |before| (before.first_wall_ms, before.count));
        known.sights.push(Sight { first_wall_ms, count: count.saturating_add(seen.count), ..seen });
    }

    /// Frames came from a VTEP that claims to be the MAC's master, and is not. After [`Self::see`].
    pub(super) fn weigh(&mut self, mac: MacAddr, sender: VtepId, mono_ms: u64) -> Weight {
        let Some(seen) = self.by_mac.get_mut(&mac) else { return Weight::None };
        seen.spoke.retain(|(_, _, last)| last + PAUSE_MS > mono_ms);
        let since = if let Some((_, first, last)) = seen.spoke.iter_mut().find(|(vtep, ..)| *vtep == sender) {
            *last = mono_ms;
            *first
        } else {
            if seen.spoke.len() < SIGHTS_MAX {
                seen.spoke.push((sender, mono_ms, mono_ms));
            }
            mono_ms
        };
        if since + SPEAK_MS > mono_ms || seen.quiet_until_ms > mono_ms {
            return Weight::None;
        }
        match seen.attested {
            Some((vtep, _)) if vtep == sender => Weight::None,
            Some((_, at)) if at + DISPUTE_MS > mono_ms => {
                seen.attested = None;
                seen.quiet_until_ms = mono_ms + (DISPUTE_MS << seen.disputes.min(DISPUTES_MAX));
                seen.disputes += 1;
                Weight::Disputes
            }
            _ => {
                seen.attested = Some((sender, mono_ms));
                Weight::Attests
            }
        }
    }

    /// Who claims a MAC anew may have it by now: what is still on its way from elsewhere says nothing.
    pub(super) fn claimed(&mut self, mac: MacAddr) {
        if let Some(seen) = self.by_mac.get_mut(&mac) {
            seen.spoke.clear();
            seen.attested = None;
        }
    }

    /// The VTEP from which a MAC's frames come, as far as that is known for sure.
    pub(super) fn attested(&self, mac: MacAddr) -> Option<VtepId> {
        self.by_mac.get(&mac)?.attested.map(|(vtep, _)| vtep)
    }

    /// The latest first.
    pub(super) fn of(&self, mac: MacAddr) -> impl Iterator<Item = &Sight> {
        self.by_mac.get(&mac).into_iter().flat_map(|seen| seen.sights.iter().rev())
    }

    pub(super) fn macs(&self) -> impl Iterator<Item = MacAddr> {
        self.by_mac.keys().copied()
    }

    /// Forgets what is old, but what speaks for a VTEP as long as that claims the MAC.
    pub(super) fn age(&mut self, mono_ms: u64, claims: impl Fn(MacAddr, VtepId) -> bool) {
        self.by_mac.retain(|mac, seen| {
            seen.last_ms + AGE_MS > mono_ms || seen.attested.is_some_and(|(vtep, _)| claims(*mac, vtep))
        });
    }

    /// In place of the oldest that decides nothing. Whether there is one.
    fn make_room(&mut self) -> bool {
        let idle = self.by_mac.iter().filter(|(_, seen)| seen.attested.is_none());
        let oldest = idle.min_by_key(|(_, seen)| seen.last_ms).map(|(mac, _)| *mac);
        oldest.is_some_and(|mac| self.by_mac.remove(&mac).is_some())
    }
}

impl Switch {
    /// A VTEP saw frames of a MAC come from another one. Whether that decides otherwise.
    pub(super) fn see(&mut self, mac: MacAddr, seen: Sight, cx: &mut Context<'_>) -> bool {
        let sender = seen.sender;
        self.sightings.see(mac, seen, cx.now);
        let stands = |slot: Slot| {
            let (role, flags) = (self.ledger[slot].role(), self.ledger[slot].flags);
            let set_aside = [Flags::MASTER, Flags::HELD, Flags::KEPT].into_iter().any(|flag| flags.has(flag));
            role == Role::Master && flags.has(Flags::OWN) && !set_aside
        };
        if !self.breaks_ties() || !self.ledger.find(mac, sender).is_some_and(stands) {
            return false;
        }
        let what = match self.sightings.weigh(mac, sender, cx.now.mono_ms) {
            Weight::None => return false,
            Weight::Attests => What::Witnessed,
            Weight::Disputes => What::Disputed,
        };
        self.note(mac, sender, what, cx);
        let moved = self.decide(mac, None, None, cx);
        self.count_move(mac, moved, cx);
        true
    }

    pub(super) fn age_sightings(&mut self, mono_ms: u64) {
        let ledger = &self.ledger;
        self.sightings.age(mono_ms, |mac, vtep| ledger.find(mac, vtep).is_some());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: VtepId = VtepId(1);
    const B: VtepId = VtepId(2);
    const HOST: VtepId = VtepId(9);

    fn mac(number: u32) -> MacAddr {
        let [a, b, c, d] = number.to_be_bytes();
        MacAddr::new([2, 0, a, b, c, d])
    }

    fn now(mono_ms: u64) -> Now {
        Now { mono_ms, wall_ms: i64::try_from(mono_ms).unwrap() }
    }

    impl Sightings {
        fn come(&mut self, mac: MacAddr, sender: VtepId, mono_ms: u64) -> Weight {
            let now = now(mono_ms);
            let (first_wall_ms, last_wall_ms) = (now.wall_ms, now.wall_ms);
            let seen = Sight { witness: HOST, sender, as_slave: true, first_wall_ms, last_wall_ms, count: 1 };
            self.see(mac, seen, now);
            self.weigh(mac, sender, mono_ms)
        }

        /// Every two seconds, from one time up to another; when it had which weight.
        fn speak(&mut self, sender: VtepId, from_ms: u64, to_ms: u64) -> Vec<(u64, Weight)> {
            let times = (from_ms..to_ms).step_by(2000);
            let weights = times.map(|at| (at, self.come(mac(1), sender, at)));
            weights.filter(|(_, weight)| *weight != Weight::None).collect()
        }
    }

    #[test]
    fn only_who_goes_on_speaking_counts_and_a_claim_begins_it_anew() {
        let mut sightings = Sightings::default();
        assert_eq!(sightings.speak(A, 1000, 6000), [], "too short");
        assert_eq!(sightings.speak(A, 30_000, 34_000), [], "after a pause");
        sightings.claimed(mac(1));
        assert_eq!(sightings.speak(A, 36_000, 41_000), [], "of a time before the claim");
        assert_eq!(sightings.speak(A, 42_000, 60_000), [(42_000, Weight::Attests)]);
        assert_eq!(sightings.attested(mac(1)), Some(A));
        sightings.claimed(mac(1));
        assert_eq!(sightings.attested(mac(1)), None);
    }

    #[test]
    fn what_decides_outlives_its_age_and_ends_with_its_claim() {
        let mut sightings = Sightings::default();
        sightings.speak(A, 0, 8000);
        sightings.come(mac(2), A, 0);
        sightings.age(10 * AGE_MS, |_, vtep| vtep == A);
        assert_eq!((sightings.attested(mac(1)), sightings.of(mac(2)).count()), (Some(A), 0));
        assert_eq!(sightings.speak(B, 10 * AGE_MS, 10 * AGE_MS + 8000).len(), 1, "it moved since");
        assert_eq!(sightings.attested(mac(1)), Some(B));
        sightings.age(20 * AGE_MS, |_, _| false);
        assert_eq!(sightings.macs().count(), 0);
    }

    #[test]
    fn two_that_send_alike_move_a_mac_ever_more_rarely() {
        let mut sightings = Sightings::default();
        // By time B is master; whoever is not master is reported.
        let (mut master, mut moves) = (B, Vec::new());
        for at in (0..4 * 3600 * 1000_u64).step_by(2000) {
            let other = if master == A { B } else { A };
            if sightings.come(mac(1), other, at) != Weight::None {
                let next = sightings.attested(mac(1)).unwrap_or(B);
                moves.extend((next != master).then_some(at));
                master = next;
            }
        }
        let within = |ms: u64| moves.iter().filter(|at| **at < ms).count();
        assert!(within(180_000) <= 4, "{moves:?}");
        assert!((6..=18).contains(&within(4 * 3600 * 1000)), "{moves:?}");
    }

    #[test]
    fn a_flood_of_macs_keeps_its_bound_and_what_decides_stays() {
        let mut sightings = Sightings::default();
        sightings.speak(A, 0, 8000);
        for number in 2..3 * u32::try_from(MACS_MAX).unwrap() {
            sightings.come(mac(number), B, 10_000 + u64::from(number));
        }
        assert_eq!((sightings.macs().count(), sightings.attested(mac(1))), (MACS_MAX, Some(A)));
        for witness in (100..200).map(VtepId) {
            let (first_wall_ms, last_wall_ms) = (1, 1);
            let seen = Sight { witness, sender: B, as_slave: false, first_wall_ms, last_wall_ms, count: 1 };
            sightings.see(mac(1), seen, now(90_000));
        }
        let witnesses: Vec<u32> = sightings.of(mac(1)).map(|sight| sight.witness.0).collect();
        assert_eq!(witnesses, (184..200).rev().collect::<Vec<_>>());
    }
}
