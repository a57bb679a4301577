//! One logical switch: what is claimed in it, what follows from that, and what has been published of it.

use std::collections::{BTreeMap, BTreeSet};

use vtep_api::{
    Cause, Change, Claim, Claims, ControllerName, LocalMac, LogicalSwitchName, MacAddr, Report, Role, Row,
    Stamp, Version,
};

use super::awaited::Withheld;
use super::contested::Contested;
use super::guard::{Departures, Flap, Mark};
use super::history::{Entry, History, What};
use super::ledger::{Flags, Ledger, Record, Slot};
use super::placements::Placements;
use super::recent::Recent;
use super::select::{Contender, LIVE, RESTORED_MASTER, rank};
use super::sightings::Sightings;
use super::vteps::{VtepId, Vteps};
use super::{Action, Counters, Notice};
use crate::Now;
use crate::bugs::bug;
use crate::declared::{DeclaredSwitch, DuplicateAction, Policy, WitnessPolicy};
use crate::published::Published;

#[derive(Debug, Clone)]
pub(super) struct Switch {
    pub(super) name: LogicalSwitchName,
    pub(super) declared: DeclaredSwitch,
    pub(super) ledger: Ledger,
    pub(super) published: Published,
    pub(super) tellers: BTreeMap<VtepId, Teller>,
    pub(super) members: BTreeSet<VtepId>,
    /// Those of them that the operator declared.
    pub(super) declared_members: BTreeSet<VtepId>,
    pub(super) flap: Flap,
    pub(super) frozen: BTreeMap<MacAddr, VtepId>,
    pub(super) departures: Departures,
    pub(super) contested: Contested,
    pub(super) withheld: Withheld,
    recent: Recent,
    pub(super) sightings: Sightings,
    pub(super) history: History,
    /// MACs whose row may have changed since it was published, and the cause of those that went.
    unpublished: Vec<(MacAddr, Option<Cause>)>,
    compact_at: usize,
    touches: u64,
    pub(super) unpublished_since_ms: Option<u64>,
    /// Who caused it.
    pub(super) reporters: BTreeSet<VtepId>,
    /// Tables are handed on.
    pub(super) started: bool,
    /// Since when this controller has it.
    pub(super) since_ms: u64,
    /// From this version on every VTEP that takes part has been heard: who has an older one needs the whole table.
    pub(super) complete_from: Option<Version>,
}

/// A VTEP that claims, or may.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Teller {
    /// It told all in its present session.
    pub(super) fresh: bool,
    /// It told all once.
    pub(super) heard: bool,
    /// It was found dead, and has not told all since.
    pub(super) dead: bool,
    /// The count of arrivals when its session was lost; it has not told all since.
    pub(super) stale_since: Option<u64>,
    /// A snapshot is coming in.
    telling: bool,
    /// Its session ended, or another began, meanwhile: it is all that there was, but not of the present session.
    interrupted: bool,
    /// What it says at present may change the table.
    pub(super) changed: bool,
    /// It did.
    pub(super) published: bool,
    /// It has said all of it.
    pub(super) spoke: bool,
    /// Claims above the quota that it has not told again.
    pub(super) refused: u64,
    /// When it was last asked to tell all.
    pub(super) asked_ms: Option<u64>,
    /// Whose count the stamps of its claims are, and the last of them: what was stamped before is no news, even when it
    /// has been given up.
    stamped_by: Option<ControllerName>,
    stamped: Stamp,
}

impl Teller {
    /// One that has been told that it takes part, and so to tell all.
    pub(super) fn asked(mono_ms: u64) -> Self {
        Self { asked_ms: Some(mono_ms), ..Self::default() }
    }

    /// What it says from here on is not known to be all. `goes_on`: the rest of a snapshot that is coming in still comes.
    pub(super) fn distrust(&mut self, goes_on: bool, mono_ms: u64) {
        self.fresh = false;
        self.telling &= goes_on;
        self.interrupted = self.telling;
        (self.changed, self.published, self.spoke) = (false, false, false);
        self.asked_ms = Some(mono_ms);
    }

    fn is_counted_by(&self, peer: Option<&ControllerName>, stamp: Stamp) -> bool {
        self.stamped_by.as_ref() == peer && self.stamped.epoch == stamp.epoch
    }

    pub(super) fn is_telling(&self) -> bool {
        self.telling
    }
}

/// What a switch works with that is not its own.
pub(super) struct Context<'a> {
    pub(super) vteps: &'a mut Vteps,
    pub(super) placements: &'a mut Placements,
    pub(super) policy: &'a Policy,
    pub(super) counters: &'a mut Counters,
    pub(super) contenders: &'a mut Vec<Contender>,
    pub(super) ranked: &'a mut Vec<VtepId>,
    /// Counts arrivals.
    pub(super) clock: &'a mut u64,
    pub(super) actions: &'a mut Vec<Action>,
    pub(super) now: Now,
    pub(super) began_wall_ms: i64,
    /// What outlives the process changed.
    pub(super) persist: &'a mut bool,
    /// Claims to set aside, in any network.
    pub(super) aside: &'a mut Vec<(LogicalSwitchName, MacAddr, VtepId)>,
}

impl Context<'_> {
    pub(super) fn notice(
        &mut self,
        alarm: bool,
        message: impl Into<String>,
        fields: &[(&str, &dyn ToString)],
    ) {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), value.to_string())).collect();
        self.actions.push(Action::Notice(Notice { alarm, message: message.into(), fields }));
    }
}

/// What comes of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// More parts follow.
    Part,
    Whole,
    /// It is not known what these are changes to.
    Unfounded,
}

impl Switch {
    /// `version`: above all that it had before in this term.
    pub(super) fn new(
        name: LogicalSwitchName,
        declared: DeclaredSwitch,
        version: Version,
        since_ms: u64,
    ) -> Self {
        Self {
            name,
            declared,
            ledger: Ledger::default(),
            published: Published::at(version),
            tellers: BTreeMap::new(),
            members: BTreeSet::new(),
            declared_members: BTreeSet::new(),
            flap: Flap::default(),
            frozen: BTreeMap::new(),
            departures: Departures::default(),
            contested: Contested::default(),
            withheld: Withheld::default(),
            recent: Recent::default(),
            sightings: Sightings::default(),
            history: History::default(),
            unpublished: Vec::new(),
            compact_at: 0,
            touches: 0,
            unpublished_since_ms: None,
            reporters: BTreeSet::new(),
            started: false,
            since_ms,
            complete_from: None,
        }
    }

    pub(super) fn hear(&mut self, vtep: VtepId, claims: Claims, cx: &mut Context<'_>) -> Heard {
        let Claims { snapshot, records, end, .. } = claims;
        let teller = self.tellers.entry(vtep).or_default();
        if snapshot && !teller.telling {
            teller.telling = true;
            teller.refused = 0;
            let slots: Vec<Slot> = self.ledger.of_vtep(vtep).collect();
            for slot in slots {
                self.ledger[slot].flags.set(Flags::TOLD, false);
            }
        } else if !snapshot && !teller.fresh && !teller.telling {
            return Heard::Unfounded;
        }
        let first = snapshot && !teller.heard;
        let before = self.touches;
        for (mac, report) in records {
            match report {
                Report::Claim(claim) => self.claim(vtep, mac, &claim, snapshot.then_some(first), cx),
                Report::Withdraw { stamp, cause } => self.withdraw(vtep, mac, stamp, cause, cx),
            }
        }
        if snapshot && end {
            self.told_all(vtep, cx);
        }
        let changed = self.touches != before;
        if let Some(teller) = self.tellers.get_mut(&vtep) {
            teller.changed |= changed;
            teller.spoke |= end;
        }
        self.reporters.insert(vtep);
        if end { Heard::Whole } else { Heard::Part }
    }

    /// `first`: in a snapshot, whether it is the VTEP's first.
    fn claim(
        &mut self,
        vtep: VtepId,
        mac: MacAddr,
        claim: &Claim,
        first: Option<bool>,
        cx: &mut Context<'_>,
    ) {
        cx.counters.claims += 1;
        let slot = self.ledger.find(mac, vtep);
        let known = slot.is_some_and(|slot| self.ledger[slot].flags.has(Flags::OWN));
        if let (true, Some(slot)) = (known, slot) {
            let record = &mut self.ledger[slot];
            record.flags.set(Flags::TOLD, true);
            // Who counted the stamp that is known still counts: then the stamps say what is new. Otherwise the records do.
            let peer = cx.vteps[vtep].peer.as_ref();
            let by_peer = |teller: &Teller| teller.is_counted_by(peer, claim.stamp);
            let counted = first.is_none()
                || self.tellers.get(&vtep).is_some_and(by_peer) && record.stamp.epoch == claim.stamp.epoch;
            let again = !bug!(ReReportClaims) && record.is_told_again_by(claim, counted);
            if again {
                cx.counters.told_again += 1;
                let same_ips = record.same_ips(&claim.local);
                record.tell_again(claim);
                if record.flags.has(Flags::KEPT) {
                    record.flags.set(Flags::KEPT, false);
                    self.departures.kept.remove(&mac);
                    self.contested.settle(mac, None);
                }
                if !same_ips {
                    self.touch(mac, None);
                }
                return;
            }
            if counted && claim.stamp <= record.stamp && !bug!(ReReportClaims) {
                cx.counters.outdated += 1;
                return;
            }
        } else if self.ledger.share(vtep) >= cx.policy.quota as usize {
            self.refuse(vtep, mac, cx);
            return;
        }
        let beginning = self.complete_from.is_none();
        let was_master = (claim.was_master || (beginning && self.contested.master(mac) == Some(vtep)))
            && !bug!(MasterForgotten);
        let teller = self.tellers.entry(vtep).or_default();
        let given_up = first.is_some()
            && teller.is_counted_by(cx.vteps[vtep].peer.as_ref(), claim.stamp)
            && claim.stamp <= teller.stamped;
        if first.is_none() {
            teller.stamped = teller.stamped.max(claim.stamp);
        }
        let arrived = arrival(claim, first == Some(true) || given_up, beginning || given_up, was_master, cx);
        self.recent.note(*cx.clock, cx.now.mono_ms);
        let slot = match slot {
            Some(slot) => {
                self.ledger[slot].claim(claim, arrived);
                slot
            }
            None => self.ledger.insert(Record::claimed(mac, vtep, claim, arrived)),
        };
        self.sightings.claimed(mac);
        self.ledger[slot].flags.set(Flags::TOLD, true);
        if was_master && arrived < LIVE {
            self.ledger[slot].mastered = RESTORED_MASTER;
        }
        self.note(mac, vtep, What::Claim(claim.local.role), cx);
        if let Some((keeper, _)) = self.departures.kept.remove(&mac)
            && keeper != vtep
        {
            // Somebody has it again: what was kept in its place goes.
            let kept = self.ledger.find(mac, keeper).expect("what is kept has a record");
            let was_master = self.ledger[kept].flags.has(Flags::MASTER);
            self.ledger.remove(kept);
            let moved = self.decide(mac, was_master.then_some(keeper), None, cx);
            self.count_move(mac, moved, cx);
            return;
        }
        let moved = self.decide(mac, None, None, cx);
        let new = !known && claim.local.role == Role::Master;
        if new && self.is_take(vtep, moved, cx) {
            let took = (self.name.clone(), mac);
            let storm = &mut cx.vteps[vtep].storm;
            let was_tripped = storm.tripped;
            let aside = storm.took(took, cx.policy.storm, cx.now.mono_ms);
            if storm.tripped && !was_tripped {
                self.trip(vtep, aside.len(), cx);
            }
            let at_once = !aside.is_empty();
            cx.aside.extend(aside.into_iter().map(|(network, mac)| (network, mac, vtep)));
            if at_once {
                return;
            }
            self.moved_to(slot, cx.now.mono_ms);
        }
        if new {
            self.warn_of_pin(vtep, mac, moved, cx);
        }
        if let Some(frozen) = self.frozen.get(&mac)
            && *frozen != vtep
            && claim.local.role == Role::Master
        {
            self.flap.attempted(mac, cx.now.mono_ms);
        }
        self.count_move(mac, moved, cx);
    }

    /// Nobody else has the MAC of this claim by now, but whoever saw it at about the same time: those stand by.
    fn moved_to(&mut self, slot: Slot, mono_ms: u64) {
        let old = LIVE + self.recent.old(mono_ms);
        let elsewhere = self.ledger.of_mac(self.ledger[slot].mac).filter(|other| *other != slot);
        for other in elsewhere.collect::<Vec<_>>() {
            let record = &mut self.ledger[other];
            if record.flags.has(Flags::OWN) && record.arrived <= old {
                record.flags.set(Flags::MOVED, true);
            }
        }
    }

    /// Says once that a VTEP claims a MAC that is pinned elsewhere.
    fn warn_of_pin(&self, vtep: VtepId, mac: MacAddr, moved: Move, cx: &mut Context<'_>) {
        let Some(master) = moved.after.filter(|master| *master != vtep) else { return };
        let pinned = |slot: Slot| self.ledger[slot].flags.has(Flags::PINNED);
        if self.ledger.find(mac, master).is_some_and(pinned) {
            let (claimant, master) = (cx.vteps[vtep].name.clone(), cx.vteps[master].name.clone());
            cx.notice(
                true,
                "a MAC is claimed that is pinned elsewhere",
                &[("logical_switch", &self.name), ("mac", &mac), ("vtep", &claimant), ("pinned_at", &master)],
            );
        }
    }

    fn refuse(&mut self, vtep: VtepId, mac: MacAddr, cx: &mut Context<'_>) {
        cx.counters.refused += 1;
        self.note(mac, vtep, What::Refused, cx);
        let Some(teller) = self.tellers.get_mut(&vtep) else { return };
        teller.refused += 1;
        if teller.refused == 1 {
            let (name, quota) = (cx.vteps[vtep].name.clone(), cx.policy.quota);
            cx.notice(
                true,
                "a VTEP claims more MACs than it may",
                &[("vtep", &name), ("logical_switch", &self.name), ("quota", &quota)],
            );
        }
    }

    /// Whether it took the MAC from a VTEP that is alive. `vtep` had no claim of it before.
    fn is_take(&self, vtep: VtepId, moved: Move, cx: &Context<'_>) -> bool {
        let Move { before: Some(before), after: Some(after) } = moved else { return false };
        let alive = || {
            let owner = &cx.vteps[before];
            owner.is_up() && self.tellers.get(&before).is_some_and(|teller| !teller.dead && teller.fresh)
        };
        self.started && after == vtep && before != vtep && alive()
    }

    fn trip(&mut self, vtep: VtepId, count: usize, cx: &mut Context<'_>) {
        let name = cx.vteps[vtep].name.clone();
        cx.counters.storms += 1;
        cx.notice(
            true,
            "a VTEP claims too many MACs of others; what it took is set aside until it is released",
            &[("vtep", &name), ("logical_switch", &self.name), ("claims", &count)],
        );
    }

    /// The storm guard's doing.
    pub(super) fn set_aside(&mut self, vtep: VtepId, mac: MacAddr, cx: &mut Context<'_>) {
        let Some(slot) = self.ledger.find(mac, vtep) else { return };
        self.ledger[slot].flags.set(Flags::HELD, true);
        cx.counters.set_aside += 1;
        self.note(mac, vtep, What::SetAside, cx);
        self.decide(mac, None, None, cx);
    }

    /// What was set aside counts.
    pub(super) fn release(&mut self, vtep: VtepId, cx: &mut Context<'_>) -> usize {
        let held = |&slot: &Slot| self.ledger[slot].flags.has(Flags::HELD);
        let held: Vec<Slot> = self.ledger.of_vtep(vtep).filter(held).collect();
        for &slot in &held {
            self.ledger[slot].flags.set(Flags::HELD, false);
            let mac = self.ledger[slot].mac;
            self.note(mac, vtep, What::Released, cx);
            let moved = self.decide(mac, None, None, cx);
            self.count_move(mac, moved, cx);
        }
        held.len()
    }

    fn withdraw(&mut self, vtep: VtepId, mac: MacAddr, stamp: Stamp, cause: Cause, cx: &mut Context<'_>) {
        cx.counters.withdrawals += 1;
        let Some(slot) = self.ledger.find(mac, vtep) else { return };
        let record = &self.ledger[slot];
        if !record.flags.has(Flags::OWN) || record.flags.has(Flags::KEPT) {
            return;
        }
        if record.stamp > stamp && !bug!(WithdrawAnyClaim) {
            cx.counters.outdated += 1;
            return;
        }
        self.leave(slot, cause, cx);
    }

    /// What was not told is withdrawn; what was stale is not.
    fn told_all(&mut self, vtep: VtepId, cx: &mut Context<'_>) {
        let (mut left, mut stayed) = (Vec::new(), Vec::new());
        for slot in self.ledger.of_vtep(vtep) {
            let flags = self.ledger[slot].flags;
            let gone = flags.has(Flags::OWN) && !flags.has(Flags::TOLD) && !flags.has(Flags::KEPT);
            if gone { left.push(slot) } else { stayed.push(self.ledger[slot].mac) }
        }
        let Some(teller) = self.tellers.get_mut(&vtep) else { return };
        let stale_since = teller.stale_since;
        let mut was_away = teller.dead || stale_since.is_some();
        if std::mem::take(&mut teller.interrupted) {
            (teller.telling, teller.heard, was_away) = (false, true, false);
        } else {
            let Teller { changed, published, spoke, refused, dead, .. } = *teller;
            let stamped_by = cx.vteps[vtep].peer.clone();
            let told = self.ledger.of_vtep(vtep).map(|slot| self.ledger[slot].stamp);
            let before = if teller.stamped_by == stamped_by { teller.stamped } else { Stamp::default() };
            let stamped = told.fold(before, Stamp::max);
            *teller = Teller {
                fresh: true,
                heard: true,
                changed,
                published,
                spoke,
                refused,
                stamped_by,
                stamped,
                ..Teller::default()
            };
            if !cx.vteps[vtep].is_up() {
                // Its physical controller tells what it remembers of it.
                (teller.dead, teller.stale_since) = (dead, stale_since.or(Some(LIVE + *cx.clock)));
            }
        }
        for slot in left {
            cx.counters.withdrawals += 1;
            self.leave(slot, Cause::Withdrawn, cx);
        }
        if was_away {
            for mac in stayed {
                let moved = self.decide(mac, None, None, cx);
                self.count_move(mac, moved, cx);
            }
        }
    }

    /// A VTEP's own claim goes, unless too many do.
    pub(super) fn leave(&mut self, slot: Slot, cause: Cause, cx: &mut Context<'_>) {
        let (mac, vtep, flags) = (self.ledger[slot].mac, self.ledger[slot].vtep, self.ledger[slot].flags);
        self.note(mac, vtep, What::Withdrawal(cause), cx);
        let last = self.ledger.of_mac(mac).nth(1).is_none() && !flags.has(Flags::PINNED);
        if last && cause != Cause::Operator {
            let admitted =
                self.departures.admit(self.ledger.macs(), &cx.policy.mass_withdraw, cx.now.mono_ms);
            if !admitted {
                self.keep(slot, cause, cx);
                return;
            }
        }
        self.drop_claim(slot, cause, cx);
    }

    fn keep(&mut self, slot: Slot, cause: Cause, cx: &mut Context<'_>) {
        let (mac, vtep) = (self.ledger[slot].mac, self.ledger[slot].vtep);
        self.ledger[slot].flags.set(Flags::KEPT, true);
        self.contested.keep(mac, vtep);
        if self.departures.kept.insert(mac, (vtep, cause)).is_none() && self.departures.kept.len() == 1 {
            cx.notice(
                true,
                "too many MACs leave at once; the rest is kept until it is released",
                &[("logical_switch", &self.name), ("vtep", &cx.vteps[vtep].name.clone())],
            );
        }
        cx.counters.kept += 1;
        self.note(mac, vtep, What::Kept, cx);
    }

    /// What an earlier reign kept, and nobody claims. All others have been heard.
    pub(super) fn keep_again(&mut self, cx: &mut Context<'_>) {
        if !std::mem::take(&mut self.departures.recalled) {
            return;
        }
        let recalled: Vec<(MacAddr, VtepId)> = self.contested.kept().collect();
        for (mac, vtep) in recalled {
            if self.ledger.of_mac(mac).next().is_some() || !self.members.contains(&vtep) {
                continue;
            }
            let local = LocalMac { role: Role::Master, ..LocalMac::default() };
            let claim = Claim { local, stamp: Stamp::default(), received_at_ms: 0, was_master: true };
            let slot = self.ledger.insert(Record::claimed(mac, vtep, &claim, RESTORED_MASTER));
            self.ledger[slot].flags.set(Flags::KEPT, true);
            self.ledger[slot].mastered = RESTORED_MASTER;
            self.departures.keep_again(mac, vtep, cx.now.mono_ms);
            self.note(mac, vtep, What::Kept, cx);
            self.decide(mac, None, None, cx);
        }
        let kept = self.departures.kept.len();
        if kept > 0 {
            let fields: [(&str, &dyn ToString); 2] = [("logical_switch", &self.name), ("macs", &kept)];
            cx.notice(true, "MACs that left at once are kept still, until they are released", &fields);
        }
    }

    /// Past the guard.
    pub(super) fn drop_claim(&mut self, slot: Slot, cause: Cause, cx: &mut Context<'_>) {
        let (mac, vtep, flags) = (self.ledger[slot].mac, self.ledger[slot].vtep, self.ledger[slot].flags);
        if flags.has(Flags::KEPT) {
            self.departures.kept.remove(&mac);
        }
        if flags.has(Flags::PINNED) {
            self.ledger[slot].disown();
        } else {
            self.ledger.remove(slot);
        }
        let left = (flags.has(Flags::MASTER) && !flags.has(Flags::PINNED)).then_some(vtep);
        if bug!(NoSuccessor) && left.is_some() && self.ledger.of_mac(mac).next().is_some() {
            return;
        }
        let moved = self.decide(mac, left, Some(cause), cx);
        self.count_move(mac, moved, cx);
    }

    /// Chooses the master anew. `left` was it, and has no claim any more.
    pub(super) fn decide(
        &mut self,
        mac: MacAddr,
        left: Option<VtepId>,
        cause: Option<Cause>,
        cx: &mut Context<'_>,
    ) -> Move {
        cx.counters.decisions += 1;
        self.touch(mac, cause);
        let mut chain = self.ledger.of_mac(mac);
        let Some(first) = chain.next() else {
            if let Some(before) = left {
                self.note(mac, before, What::Gone(cause.unwrap_or(Cause::Withdrawn)), cx);
            }
            self.thaw(mac, None, cx);
            self.contested.settle(mac, None);
            return Move { before: left, after: None };
        };
        if chain.next().is_none() {
            let record = &mut self.ledger[first];
            record.flags.set(Flags::HELD, false);
            let vtep = record.vtep;
            if record.flags.has(Flags::KEPT) {
                self.contested.keep(mac, vtep);
            } else {
                self.contested.settle(mac, None);
            }
            if record.flags.has(Flags::MASTER) {
                return Move { before: Some(vtep), after: Some(vtep) };
            }
            record.flags.set(Flags::MASTER, true);
            record.flags.set(Flags::MOVED, false);
            if self.started {
                record.mastered = LIVE + *cx.clock;
            }
            self.note(mac, vtep, What::Master, cx);
            self.thaw(mac, Some(vtep), cx);
            return Move { before: left, after: Some(vtep) };
        }
        self.choose(mac, left, cx)
    }

    fn choose(&mut self, mac: MacAddr, left: Option<VtepId>, cx: &mut Context<'_>) -> Move {
        self.claims().contenders(mac, cx.vteps, cx.policy, cx.contenders);
        rank(cx.contenders, cx.policy.time);
        for contender in cx.contenders.iter() {
            if contender.superseded {
                self.ledger[Slot(contender.key)].flags.set(Flags::SUPERSEDED, true);
            }
        }
        let best = Slot(cx.contenders.first().expect("a MAC in the ledger has a claim").key);
        // What is set aside claims alike to whoever hears it without knowing that.
        let held = self.ledger.of_mac(mac).any(|slot| self.ledger[slot].flags.has(Flags::HELD));
        let alike = held || cx.contenders.get(1).is_some_and(|second| second.role == cx.contenders[0].role);
        self.contested.settle(mac, alike.then_some(self.ledger[best].vtep));
        let mut before = left;
        let slots: Vec<Slot> = self.ledger.of_mac(mac).collect();
        for slot in slots {
            let record = &mut self.ledger[slot];
            if record.flags.has(Flags::MASTER) {
                before = Some(record.vtep);
                record.flags.set(Flags::MASTER, false);
            }
        }
        let record = &mut self.ledger[best];
        let vtep = record.vtep;
        record.flags.set(Flags::MASTER, true);
        record.flags.set(Flags::MOVED, false);
        // When nobody else is left, what was set aside counts.
        record.flags.set(Flags::HELD, false);
        if before != Some(vtep) {
            // Before all have been heard, who comes first is chance.
            if self.started {
                record.mastered = LIVE + *cx.clock;
            }
            self.note(mac, vtep, What::Master, cx);
            self.thaw(mac, Some(vtep), cx);
        }
        Move { before, after: Some(vtep) }
    }

    /// A frozen MAC's master is another one, because the one that it had is gone.
    fn thaw(&mut self, mac: MacAddr, master: Option<VtepId>, cx: &mut Context<'_>) {
        if self.frozen.is_empty() || !self.started {
            return;
        }
        if self.frozen.get(&mac).is_some_and(|frozen| self.is_awaited(*frozen, cx)) {
            return;
        }
        match (self.frozen.get_mut(&mac), master) {
            (Some(frozen), Some(master)) if *frozen != master => {
                *frozen = master;
                *cx.persist = true;
            }
            (Some(_), None) => {
                self.frozen.remove(&mac);
                *cx.persist = true;
            }
            _ => {}
        }
    }

    pub(super) fn count_move(&mut self, mac: MacAddr, moved: Move, cx: &mut Context<'_>) {
        let Move { before: Some(before), after: Some(after) } = moved else { return };
        if before == after {
            return;
        }
        cx.counters.moves += 1;
        if !self.started || self.flap.moved(mac, &cx.policy.duplicate, cx.now.mono_ms) != Mark::Fresh {
            return;
        }
        cx.counters.duplicates += 1;
        self.note(mac, after, What::Duplicate, cx);
        let freeze = cx.policy.duplicate.action == DuplicateAction::Freeze;
        if freeze {
            self.frozen.insert(mac, after);
            *cx.persist = true;
        }
        let message =
            if freeze { "a MAC moves too often; it keeps its master" } else { "a MAC moves too often" };
        cx.notice(
            true,
            message,
            &[
                ("logical_switch", &self.name),
                ("mac", &mac),
                ("master", &cx.vteps[after].name.clone()),
                ("before", &cx.vteps[before].name.clone()),
            ],
        );
    }

    /// Its row may be another by now.
    pub(super) fn touch(&mut self, mac: MacAddr, cause: Option<Cause>) {
        if self.unpublished.len() >= self.compact_at.max(COMPACT_MIN) {
            // Only the last word on each MAC counts.
            self.unpublished.reverse();
            self.unpublished.sort_by_key(|(mac, _)| *mac);
            self.unpublished.dedup_by_key(|(mac, _)| *mac);
            self.compact_at = self.unpublished.len() * 2;
        }
        self.touches += 1;
        self.unpublished.push((mac, cause));
    }

    /// Whether the VTEP told all once.
    pub(super) fn has_heard(&self, vtep: VtepId) -> bool {
        self.tellers.get(&vtep).is_some_and(|teller| teller.heard)
    }

    pub(super) fn unpublished(&self) -> usize {
        self.unpublished.len()
    }

    /// Makes one version of all that changed. Returns whether anything did.
    pub(super) fn publish(&mut self, cx: &mut Context<'_>) -> bool {
        self.unpublished_since_ms = None;
        self.compact_at = 0;
        let mut touched = std::mem::take(&mut self.unpublished);
        self.withhold(&mut touched, cx);
        let claims = Claimed {
            ledger: &self.ledger,
            tellers: &self.tellers,
            frozen: &self.frozen,
            sightings: self.breaks_ties().then_some(&self.sightings),
        };
        let rows = touched.drain(..).rev().map(|(mac, cause)| {
            let row = claims.row(mac, cx);
            (mac, row.map_or(Change::Remove(cause.unwrap_or(Cause::Withdrawn)), Change::Put))
        });
        let changed = self.published.publish(rows);
        if touched.capacity() <= COMPACT_MIN {
            self.unpublished = touched;
        }
        changed
    }

    pub(super) fn claims(&self) -> Claimed<'_> {
        Claimed {
            ledger: &self.ledger,
            tellers: &self.tellers,
            frozen: &self.frozen,
            sightings: self.breaks_ties().then_some(&self.sightings),
        }
    }

    pub(super) fn breaks_ties(&self) -> bool {
        self.declared.witness == WitnessPolicy::TieBreak
    }

    pub(super) fn note(&mut self, mac: MacAddr, vtep: VtepId, what: What, cx: &Context<'_>) {
        self.history.add(Entry { wall_ms: cx.now.wall_ms, mac, vtep, what });
    }
}

const COMPACT_MIN: usize = 1024;

/// Where a claim stands among all others. A logical controller that begins anew hears old claims in whatever order they
/// come: those rank by what its predecessor had chosen, then by when they were made.
fn arrival(claim: &Claim, first: bool, beginning: bool, was_master: bool, cx: &mut Context<'_>) -> u64 {
    let old = first && (beginning || was_master || claim.received_at_ms < cx.began_wall_ms);
    if old {
        let received = u64::try_from(claim.received_at_ms).unwrap_or(0).min(RESTORED_MASTER - 1);
        return received + if was_master { RESTORED_MASTER } else { 0 };
    }
    *cx.clock += 1;
    LIVE + *cx.clock
}

/// Who was master, and who is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Move {
    pub(super) before: Option<VtepId>,
    pub(super) after: Option<VtepId>,
}

/// What decisions are made of.
#[derive(Clone, Copy)]
pub(super) struct Claimed<'a> {
    pub(super) ledger: &'a Ledger,
    tellers: &'a BTreeMap<VtepId, Teller>,
    frozen: &'a BTreeMap<MacAddr, VtepId>,
    /// Where they break ties.
    sightings: Option<&'a Sightings>,
}

impl Claimed<'_> {
    pub(super) fn row(&self, mac: MacAddr, cx: &mut Context<'_>) -> Option<Row> {
        let mut chain = self.ledger.of_mac(mac);
        let first = chain.next()?;
        cx.ranked.clear();
        let master = if chain.next().is_none() {
            cx.ranked.push(self.ledger[first].vtep);
            first
        } else {
            self.contenders(mac, cx.vteps, cx.policy, cx.contenders);
            rank(cx.contenders, cx.policy.time);
            cx.ranked.extend(cx.contenders.iter().map(|c| self.ledger[Slot(c.key)].vtep));
            Slot(cx.contenders.first()?.key)
        };
        Some(Row { placement: cx.placements.share(cx.ranked, cx.vteps), ips: self.ledger[master].ips() })
    }

    /// Without those that the storm guard set aside, unless there are no others.
    pub(super) fn contenders(
        &self,
        mac: MacAddr,
        vteps: &Vteps,
        policy: &Policy,
        contenders: &mut Vec<Contender>,
    ) {
        contenders.clear();
        let held = |slot: &Slot| self.ledger[*slot].flags.has(Flags::HELD);
        let all_held = self.ledger.of_mac(mac).all(|slot| held(&slot));
        let slots = self.ledger.of_mac(mac).filter(|slot| all_held || !held(slot));
        contenders.extend(slots.map(|slot| self.contender(slot, vteps, policy)));
    }

    pub(super) fn contender(&self, slot: Slot, vteps: &Vteps, policy: &Policy) -> Contender {
        let record = &self.ledger[slot];
        let vtep = &vteps[record.vtep];
        let teller = self.tellers.get(&record.vtep);
        let stale_since = teller.and_then(|teller| teller.stale_since);
        let superseded = record.flags.has(Flags::SUPERSEDED);
        // Whose claim may be out of date does not claim alike.
        let sightings = self.sightings.filter(|_| stale_since.is_none() && !superseded);
        Contender {
            key: slot.0,
            vtep: vtep.name.clone(),
            role: record.role(),
            pinned: record.flags.has(Flags::PINNED),
            frozen: !self.frozen.is_empty() && self.frozen.get(&record.mac) == Some(&record.vtep),
            dead: teller.is_some_and(|teller| teller.dead),
            stale_since,
            superseded,
            witnessed: sightings.is_some_and(|seen| seen.attested(record.mac) == Some(record.vtep)),
            arrived: record.arrived,
            received_at_ms: record.received_at_ms,
            claimed_at_ms: record.claimed_at_ms(),
            clock_trusted: vtep.clock_trusted(policy),
            mastered: record.mastered,
        }
    }
}
