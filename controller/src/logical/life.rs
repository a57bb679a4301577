//! Which VTEPs are there, and what becomes of the claims of those that are not.

use std::collections::BTreeMap;

use vtep_api::{
    Away, Cause, ControllerName, LogicalSwitchName, MacAddr, Session, VtepName, VtepState, VtepStatus,
};

use super::ledger::Slot;
use super::select::LIVE;
use super::vteps::VtepId;
use super::{Action, Known, Logical};
use crate::Now;

/// A VTEP that should tell all by itself is asked when it has not begun for so long; one that was asked, again.
const PATIENCE_MS: u64 = 2000;

impl Logical {
    /// A physical controller speaks of a VTEP.
    pub(super) fn report(
        &mut self,
        peer: &ControllerName,
        name: &VtepName,
        status: VtepStatus,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let declared = self.vteps.declared(name);
        if let Some(vtep) = declared
            && !std::mem::replace(&mut self.vteps[vtep].reported, true)
        {
            self.touched.extend(self.switches.keys().cloned());
        }
        let Some(vtep) = declared.filter(|&vtep| self.may_serve(peer, vtep, status.session)) else {
            self.counters.strange += u64::from(declared.is_none());
            return;
        };
        let appointed = self.is_appointed(peer, vtep);
        let state = &mut self.vteps[vtep];
        let (served_by, was_up) = (state.peer.replace(peer.clone()), state.is_up());
        // It may have been with another one since, which has not told us yet.
        if !appointed && served_by.is_none() {
            state.lost_ms = None;
        }
        // While nobody could speak for it, its claims did not age.
        if let Some(cut_ms) = state.cut_ms.take()
            && let Some(lost_ms) = &mut state.lost_ms
        {
            *lost_ms += (now.mono_ms - cut_ms).cast_signed();
        }
        // That somebody has no session with it says little where any other one may have one.
        let says = appointed && status.session != Session::Up;
        let away = says.then(|| status.away.unwrap_or_default());
        let since_ms = |away: Away| now.mono_ms.cast_signed().saturating_sub_unsigned(away.ms);
        state.away_ms = away.map(since_ms);
        state.was_lost = status.session == Session::Lost;
        state.unheard = away.is_some_and(|away| away.unheard);
        let lost = match status.session {
            Session::Up => false,
            Session::Lost => true,
            Session::Awaited => state.lost_noted,
        };
        let loss_is_news = std::mem::replace(&mut state.lost_noted, lost) != lost;
        if let Some(away_ms) = state.away_ms {
            state.lost_ms = Some(state.lost_ms.map_or(away_ms, |lost_ms| lost_ms.min(away_ms)));
        }
        // One that begins anew has not heard of the VTEP yet, which takes back nothing of what was heard before.
        let status = match (status.session, state.status.session) {
            (Session::Awaited, Session::Up | Session::Lost) => {
                VtepStatus { session: Session::Lost, ..state.status.clone() }
            }
            _ => status,
        };
        let old = std::mem::replace(&mut state.status, status);
        let other_peer = served_by.as_ref() != Some(peer);
        let address_changed = old.state.address != state.status.state.address;
        if address_changed {
            self.clock += 1;
            state.addressed = self.clock;
            self.outlines_stale = true;
        }
        let faults: Vec<String> = state.status.state.faults.difference(&old.state.faults).cloned().collect();
        let refusals = state.status.state.refusals.len() > old.state.refusals.len();
        let (up, session) = (state.is_up(), state.status.session);
        let networks_changed = old.state.networks != state.status.state.networks;
        let skew_changed = old.skew_ms != state.status.skew_ms;
        let (_, mut cx) = self.parts(now, actions);
        if session != old.session {
            let message = match session {
                Session::Up => "a VTEP's session is up",
                Session::Lost => "a VTEP's session is lost; its claims are held",
                Session::Awaited => "a VTEP is awaited",
            };
            cx.notice(false, message, &[("vtep", name), ("physical_controller", peer)]);
        }
        for fault in faults {
            cx.notice(true, "a VTEP reports a fault", &[("vtep", name), ("fault", &fault)]);
        }
        if refusals {
            cx.notice(false, "some of a VTEP's data was set aside", &[("vtep", name)]);
        }
        if other_peer {
            self.outlines_stale = true;
        }
        self.persist |= address_changed || networks_changed || loss_is_news;
        if networks_changed {
            self.follow_networks(vtep, now, actions);
        }
        if other_peer || was_up != up {
            self.forget_freshness(vtep, !other_peer, now);
        }
        if skew_changed {
            self.skew_moved(vtep, old.skew_ms, now, actions);
        }
        self.weigh(vtep, now, actions);
    }

    /// What an earlier reign knew of VTEPs, before anybody speaks of them.
    pub(super) fn recall(&mut self, known: BTreeMap<VtepName, Known>) {
        let mut known: Vec<(VtepName, Known)> = known.into_iter().collect();
        known.sort_by_key(|(_, known)| known.addressed);
        for (name, Known { address, networks, reign, lost_since_ms, given_up, .. }) in known {
            self.clock += 1;
            let vtep = self.vteps.number(&name);
            let vtep = &mut self.vteps[vtep];
            let state = VtepState { address, networks, ..VtepState::default() };
            vtep.status = VtepStatus { session: Session::Lost, state, ..VtepStatus::default() };
            vtep.addressed = self.clock;
            vtep.reign = reign;
            vtep.cut_ms = Some(self.began.mono_ms);
            // Neither process can have told the future: another clock was ahead of ours.
            let ago_ms = |at_ms: i64| self.began.wall_ms.saturating_sub(at_ms).max(0);
            vtep.lost_ms = lost_since_ms.map(|at_ms| self.began.mono_ms.cast_signed() - ago_ms(at_ms));
            vtep.lost_noted = lost_since_ms.is_some();
            vtep.expired = given_up;
        }
    }

    pub(super) fn known(&self) -> BTreeMap<VtepName, Known> {
        let declared = self.vteps.iter().filter(|(_, vtep)| vtep.declared.is_some());
        let known = declared.map(|(_, vtep)| {
            let state = &vtep.status.state;
            let (address, networks, reign) = (state.address, state.networks.clone(), vtep.reign);
            let lost_ms = vtep.lost_ms.filter(|_| vtep.lost_noted);
            let lost_since_ms = lost_ms.map(|at| self.began.wall_ms + at - self.began.mono_ms.cast_signed());
            let (given_up, addressed) = (vtep.expired, address.map_or(0, |_| vtep.addressed));
            let known = Known { address, networks, reign, lost_since_ms, given_up, addressed };
            (vtep.name.clone(), known)
        });
        known.filter(|(_, known)| *known != Known::default()).collect()
    }

    /// Nobody speaks for the VTEPs of a physical controller that is away.
    pub(super) fn cut(&mut self, peer: &ControllerName, now: Now, actions: &mut Vec<Action>) {
        let of_peer =
            |(id, vtep): (VtepId, &super::vteps::Vtep)| (vtep.peer.as_ref() == Some(peer)).then_some(id);
        let served: Vec<VtepId> = self.vteps.iter().filter_map(of_peer).collect();
        for &vtep in &served {
            self.vteps[vtep].cut_ms.get_or_insert(now.mono_ms);
            self.forget_freshness(vtep, false, now);
        }
        for vtep in served {
            self.weigh(vtep, now, actions);
        }
        self.outlines_stale = true;
    }

    /// What it claimed is not known to hold until it tells all again.
    fn forget_freshness(&mut self, vtep: VtepId, goes_on: bool, now: Now) {
        let since = LIVE + self.clock;
        for (name, switch) in &mut self.switches {
            if !switch.members.contains(&vtep) {
                continue;
            }
            let teller = switch.tellers.entry(vtep).or_default();
            if switch.ledger.share(vtep) > 0 {
                teller.stale_since.get_or_insert(since);
            }
            teller.distrust(goes_on, now.mono_ms);
            self.to_ask.insert((name.clone(), vtep));
        }
    }

    /// Whether it is dead, and those on whose life its word bears.
    fn weigh(&mut self, vtep: VtepId, now: Now, actions: &mut Vec<Action>) {
        let state = &mut self.vteps[vtep];
        if state.is_up() {
            state.lost_ms = None;
            self.persist |= std::mem::take(&mut state.expired);
        } else {
            state.lost_ms.get_or_insert(now.mono_ms.cast_signed());
        }
        for vtep in self.vteps.hear_witness(vtep) {
            let state = &self.vteps[vtep];
            // While nobody speaks for it, nothing is found out of it.
            let dead = match state.cut_ms {
                Some(_) => state.dead,
                None => state.is_lost(now) && self.vteps.is_unreachable(vtep),
            };
            if std::mem::replace(&mut self.vteps[vtep].dead, dead) || !dead {
                continue;
            }
            let name = self.vteps[vtep].name.clone();
            let (_, mut cx) = self.parts(now, actions);
            cx.notice(true, "a VTEP is lost and unreachable; its slaves take over", &[("vtep", &name)]);
            self.decide_all_of(vtep, |teller| teller.dead = true, now, actions);
        }
    }

    /// Those that are found dead already, and are lost for long enough by now.
    pub(super) fn bury(&mut self, now: Now, actions: &mut Vec<Action>) {
        let due = |(id, vtep): (VtepId, &super::vteps::Vtep)| {
            (!vtep.dead && vtep.is_lost(now) && self.vteps.is_unreachable(id)).then_some(id)
        };
        let due: Vec<VtepId> = self.vteps.iter().filter_map(due).collect();
        for vtep in due {
            self.weigh(vtep, now, actions);
        }
    }

    /// A clock that came within the bound, or left it, changes what its claims count for.
    fn skew_moved(&mut self, vtep: VtepId, old: Option<i64>, now: Now, actions: &mut Vec<Action>) {
        let policy = &self.declared.policy;
        let bound = u64::from(policy.skew_bound_ms);
        let trusted = old.is_some_and(|skew| skew.unsigned_abs() <= bound);
        let by_vteps = policy.time == crate::declared::TimePolicy::VtepTime;
        if by_vteps && trusted != self.vteps[vtep].clock_trusted(policy) {
            self.decide_all_of(vtep, |_| {}, now, actions);
        }
    }

    fn decide_all_of(
        &mut self,
        vtep: VtepId,
        mark: impl Fn(&mut super::switch::Teller),
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let concerned: Vec<LogicalSwitchName> =
            self.switches.values().filter(|s| s.ledger.share(vtep) > 0).map(|s| s.name.clone()).collect();
        let (switches, mut cx) = self.parts(now, actions);
        for name in &concerned {
            let Some(switch) = switches.get_mut(name) else { continue };
            mark(switch.tellers.entry(vtep).or_default());
            let macs: Vec<MacAddr> =
                switch.ledger.of_vtep(vtep).map(|slot| switch.ledger[slot].mac).collect();
            for mac in macs {
                let moved = switch.decide(mac, None, None, &mut cx);
                switch.count_move(mac, moved, &mut cx);
            }
        }
        self.touched.extend(concerned);
    }

    /// Claims of VTEPs that are away for too long go.
    pub(super) fn expire(&mut self, now: Now, actions: &mut Vec<Action>) {
        let hold_ms = i64::from(self.declared.policy.hold_secs) * 1000;
        let due = |vtep: &super::vteps::Vtep| {
            // Not by the word of an earlier reign alone: who begins to serve it may not have found it yet.
            let is_known_lost = vtep.away_ms.is_none() || vtep.is_lost(now);
            vtep.cut_ms.is_none()
                && !vtep.expired
                && is_known_lost
                && vtep.lost_ms.is_some_and(|at| at + hold_ms <= now.mono_ms.cast_signed())
        };
        let due: Vec<VtepId> = self.vteps.iter().filter(|(_, vtep)| due(vtep)).map(|(id, _)| id).collect();
        for vtep in due {
            self.vteps[vtep].expired = true;
            self.persist = true;
            let mut concerned = Vec::new();
            let (switches, mut cx) = self.parts(now, actions);
            for (name, switch) in switches {
                let own = |&slot: &Slot| switch.ledger[slot].flags.has(super::ledger::Flags::OWN);
                let slots: Vec<Slot> = switch.ledger.of_vtep(vtep).filter(own).collect();
                if slots.is_empty() {
                    continue;
                }
                concerned.push(name.clone());
                for slot in slots {
                    if !switch.ledger[slot].flags.has(super::ledger::Flags::KEPT) {
                        switch.leave(slot, Cause::HoldExpired, &mut cx);
                    }
                }
            }
            if !concerned.is_empty() {
                let name = cx.vteps[vtep].name.clone();
                cx.notice(true, "a VTEP was away for too long; its claims are given up", &[("vtep", &name)]);
            }
            self.touched.extend(concerned);
        }
    }

    /// Asks VTEPs to tell all: those that should have begun by themselves, and those with room for what was refused.
    pub(super) fn ask_those_due(&mut self, now: Now) {
        let quota = self.declared.policy.quota as usize;
        let mut ask = Vec::new();
        let Self { to_ask, switches, vteps, .. } = self;
        to_ask.retain(|(name, vtep)| {
            let Some(switch) = switches.get(name).filter(|switch| switch.members.contains(vtep)) else {
                return false;
            };
            let Some(teller) = switch.tellers.get(vtep) else { return false };
            if teller.fresh && teller.refused == 0 {
                return false;
            }
            let patient = teller.asked_ms.is_some_and(|at| at + PATIENCE_MS > now.mono_ms);
            let has_room = !teller.fresh || switch.ledger.share(*vtep) < quota;
            if vteps[*vtep].is_up() && !teller.is_telling() && has_room && !patient {
                ask.push((name.clone(), *vtep));
            }
            true
        });
        for (name, vtep) in ask {
            self.ask(&name, vtep, now);
        }
    }

    pub(super) fn ask(&mut self, network: &LogicalSwitchName, vtep: VtepId, now: Now) {
        let Some(switch) = self.switches.get_mut(network) else { return };
        switch.tellers.entry(vtep).or_default().asked_ms = Some(now.mono_ms);
        self.to_ask.insert((network.clone(), vtep));
        let state = &self.vteps[vtep];
        let peer = state.peer.as_ref().and_then(|peer| self.peers.get_mut(peer));
        if let Some(peer) = peer
            && peer.ask(state.name.clone(), network.clone())
        {
            self.counters.resyncs_asked += 1;
        }
    }
}
