//! Which VTEPs take part in which logical switches: by declaration, or by what they say themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use vtep_api::{Cause, ControllerName, LogicalSwitchName, MacAddr, Session, Version};

use super::contested::Mastery;
use super::ledger::{Flags, Record, Slot};
use super::switch::{Switch, Teller};
use super::vteps::VtepId;
use super::{Action, Logical, Remembered};
use crate::Now;
use crate::declared::{Declared, DuplicateAction, Pin};

impl Logical {
    pub(super) fn declare(&mut self, declared: Arc<Declared>, now: Now, actions: &mut Vec<Action>) {
        let old = std::mem::replace(&mut self.declared, declared);
        let declared = self.declared.clone();
        for name in declared.vteps.keys() {
            self.vteps.number(name);
        }
        let mut removed = Vec::new();
        for id in self.vteps.iter().map(|(id, _)| id).collect::<Vec<_>>() {
            let vtep = &mut self.vteps[id];
            let now_declared = declared.vteps.get(&vtep.name).cloned();
            if vtep.declared.is_some() && now_declared.is_none() {
                removed.push(id);
            }
            vtep.declared = now_declared;
        }
        let owned = |name: &LogicalSwitchName| {
            let switch = declared.logical_switches.get(name)?;
            switch.logical_controller.as_ref().is_none_or(|owner| *owner == self.name).then_some(switch)
        };
        for (name, switch) in self.switches.extract_if(.., |name, _| owned(name).is_none()) {
            let version = Version(switch.published.version().0 + 1);
            self.version_from = self.version_from.max(version);
            self.strays.entry(name).or_default().extend(switch.contested.macs());
        }
        let mut reweighed = Vec::new();
        for (name, switch) in &declared.logical_switches {
            if owned(name).is_some() {
                let entry = self.switches.entry(name.clone());
                let new = || Switch::new(name.clone(), switch.clone(), self.version_from, now.mono_ms);
                let known = entry.or_insert_with(new);
                if known.declared.witness != switch.witness {
                    reweighed.push(name.clone());
                }
                known.declared = switch.clone();
            }
        }
        self.forget_strays(actions);
        self.join_all(now, actions);
        self.persist |= !removed.is_empty();
        for vtep in removed {
            self.forget(vtep, now, actions);
        }
        self.pin_all(now, actions);
        let (policy, was) = (&declared.policy, &old.policy);
        if policy.duplicate.action == DuplicateAction::Warn && was.duplicate.action == DuplicateAction::Freeze
        {
            self.unfreeze_all();
        }
        if policy != was {
            self.decide_all(now, actions);
        }
        self.decide_seen(&reweighed, now, actions);
        self.touched.extend(self.switches.keys().cloned());
        self.outlines_stale = true;
        self.hear_strangers(now, actions);
    }

    /// Of every network who takes part in it.
    fn join_all(&mut self, now: Now, actions: &mut Vec<Action>) {
        let mut declared: BTreeMap<&LogicalSwitchName, BTreeSet<VtepId>> = BTreeMap::new();
        let all = self.declared.clone();
        for (name, bindings) in &all.bindings {
            for binding in bindings {
                declared.entry(&binding.logical_switch).or_default().extend(self.vteps.declared(name));
            }
        }
        for (name, networks) in &all.subscriptions {
            for network in networks {
                declared.entry(network).or_default().extend(self.vteps.declared(name));
            }
        }
        let mut told: BTreeMap<LogicalSwitchName, BTreeSet<VtepId>> = BTreeMap::new();
        for (id, vtep) in self.vteps.iter().filter(|(_, vtep)| vtep.declared.is_some()) {
            for network in &vtep.status.state.networks {
                told.entry(network.clone()).or_default().insert(id);
            }
        }
        for name in self.switches.keys().cloned().collect::<Vec<_>>() {
            let by_operator = declared.remove(&name).unwrap_or_default();
            let members = told.remove(&name).unwrap_or_default().union(&by_operator).copied().collect();
            self.set_members(&name, by_operator, members, now, actions);
        }
    }

    /// A VTEP says that it takes part in other networks.
    pub(super) fn follow_networks(&mut self, vtep: VtepId, now: Now, actions: &mut Vec<Action>) {
        let told = self.vteps[vtep].status.state.networks.clone();
        let differs = |switch: &&Switch| {
            let is = switch.declared_members.contains(&vtep) || told.contains(&switch.name);
            is != switch.members.contains(&vtep)
        };
        let changed: Vec<LogicalSwitchName> =
            self.switches.values().filter(differs).map(|s| s.name.clone()).collect();
        for name in changed {
            let switch = &self.switches[&name];
            let (by_operator, mut members) = (switch.declared_members.clone(), switch.members.clone());
            if !members.remove(&vtep) {
                members.insert(vtep);
            }
            self.set_members(&name, by_operator, members, now, actions);
        }
    }

    fn set_members(
        &mut self,
        name: &LogicalSwitchName,
        by_operator: BTreeSet<VtepId>,
        members: BTreeSet<VtepId>,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let (switches, mut cx) = self.parts(now, actions);
        let switch = switches.get_mut(name).expect("its members are set");
        let old_by_operator = std::mem::replace(&mut switch.declared_members, by_operator);
        let old = std::mem::replace(&mut switch.members, members);
        if old == switch.members {
            return;
        }
        for vtep in old.difference(&switch.members.clone()) {
            // What the operator decides passes the guard; what a VTEP's database says of a sudden does not.
            let cause = if old_by_operator.contains(vtep) { Cause::Operator } else { Cause::Withdrawn };
            let slots: Vec<Slot> = switch.ledger.of_vtep(*vtep).collect();
            for slot in slots {
                let flags = switch.ledger[slot].flags;
                if flags.has(Flags::OWN) && !(flags.has(Flags::KEPT) && cause != Cause::Operator) {
                    switch.leave(slot, cause, &mut cx);
                }
            }
            switch.tellers.remove(vtep);
            switch.reporters.remove(vtep);
            cx.vteps[*vtep].applied.remove(name);
        }
        let joined: Vec<VtepId> = switch.members.difference(&old).copied().collect();
        for &vtep in &joined {
            switch.tellers.insert(vtep, Teller::asked(now.mono_ms));
        }
        self.to_ask.extend(joined.into_iter().map(|vtep| (name.clone(), vtep)));
        self.touched.insert(name.clone());
        self.outlines_stale = true;
    }

    /// A VTEP that is no longer declared.
    fn forget(&mut self, vtep: VtepId, now: Now, actions: &mut Vec<Action>) {
        let (switches, mut cx) = self.parts(now, actions);
        for switch in switches.values_mut() {
            let slots: Vec<Slot> = switch.ledger.of_vtep(vtep).collect();
            for slot in slots {
                if switch.ledger[slot].flags.has(Flags::OWN) {
                    switch.drop_claim(slot, Cause::Operator, &mut cx);
                }
            }
        }
        let state = &mut self.vteps[vtep];
        state.status = vtep_api::VtepStatus::default();
        state.peer = None;
        state.cut_ms = None;
        state.lost_ms = None;
        state.away_ms = None;
        state.lost_noted = false;
        state.expired = false;
        state.applied.clear();
        state.storm.release();
        self.vteps.hear_witness(vtep);
    }

    /// Brings the pins in force to those that are declared or were made by hand.
    pub(super) fn pin_all(&mut self, now: Now, actions: &mut Vec<Action>) {
        let valid = |pin: &&Pin| {
            self.switches.contains_key(&pin.logical_switch) && self.vteps.declared(&pin.vtep).is_some()
        };
        let wanted: BTreeSet<Pin> = self.declared.pins.union(&self.pins).filter(valid).cloned().collect();
        let old = std::mem::replace(&mut self.pinned, wanted);
        let (added, dropped): (Vec<Pin>, Vec<Pin>) = (
            self.pinned.difference(&old).cloned().collect(),
            old.difference(&self.pinned).cloned().collect(),
        );
        if added.is_empty() && dropped.is_empty() {
            return;
        }
        for (pins, on) in [(added, true), (dropped, false)] {
            for pin in pins {
                let Some(vtep) = self.vteps.find(&pin.vtep) else { continue };
                let (switches, mut cx) = self.parts(now, actions);
                let Some(switch) = switches.get_mut(&pin.logical_switch) else { continue };
                switch.pin(pin.mac, vtep, on, &mut cx);
                self.touched.insert(pin.logical_switch);
            }
        }
        self.outlines_stale = true;
    }

    /// The rules changed.
    fn decide_all(&mut self, now: Now, actions: &mut Vec<Action>) {
        let (switches, mut cx) = self.parts(now, actions);
        for switch in switches.values_mut() {
            let macs: Vec<MacAddr> = switch.ledger.iter_macs().collect();
            for mac in macs {
                switch.decide(mac, None, None, &mut cx);
            }
        }
    }

    /// What hosts saw counts where it did not, or the other way round.
    fn decide_seen(&mut self, networks: &[LogicalSwitchName], now: Now, actions: &mut Vec<Action>) {
        let (switches, mut cx) = self.parts(now, actions);
        for name in networks {
            let Some(switch) = switches.get_mut(name) else { continue };
            for mac in switch.sightings.macs().collect::<Vec<_>>() {
                if switch.ledger.of_mac(mac).nth(1).is_some() {
                    switch.decide(mac, None, None, &mut cx);
                }
            }
        }
    }

    fn unfreeze_all(&mut self) {
        for switch in self.switches.values_mut() {
            for mac in std::mem::take(&mut switch.frozen).into_keys() {
                switch.flap.clear(mac);
            }
        }
        self.persist = true;
    }

    /// As an earlier reign left them.
    pub(super) fn freeze_again(&mut self, frozen: &BTreeSet<Pin>, now: Now) {
        for pin in frozen {
            let Some(switch) = self.switches.get_mut(&pin.logical_switch) else { continue };
            let vtep = self.vteps.number(&pin.vtep);
            switch.frozen.insert(pin.mac, vtep);
            switch.flap.mark(pin.mac, &self.declared.policy.duplicate, now.mono_ms);
        }
    }

    /// Who was master where the claims do not tell.
    pub(super) fn remember_again(
        &mut self,
        masters: BTreeMap<LogicalSwitchName, BTreeMap<MacAddr, Remembered>>,
    ) {
        for (network, masters) in masters {
            let Some(switch) = self.switches.get_mut(&network) else {
                self.strays.insert(network, masters.into_keys().collect());
                continue;
            };
            for (mac, Remembered { master, kept }) in masters {
                switch.contested.recall(mac, Mastery { vtep: self.vteps.number(&master), kept });
            }
        }
    }

    /// Where an earlier reign kept what left.
    pub(super) fn guard_again(&mut self, kept: &BTreeSet<LogicalSwitchName>) {
        for network in kept {
            if let Some(switch) = self.switches.get_mut(network) {
                switch.departures.recalled = true;
                switch.departures.note();
            }
        }
    }

    /// Nothing need be remembered of logical switches that are not ours by the file that was applied.
    fn forget_strays(&mut self, actions: &mut Vec<Action>) {
        for (logical_switch, macs) in std::mem::take(&mut self.strays) {
            if !self.switches.contains_key(&logical_switch) && !macs.is_empty() {
                let masters = macs.into_iter().map(|mac| (mac, None)).collect();
                actions.push(Action::Remember { logical_switch, masters });
            }
        }
    }

    /// Whether a physical controller's word on a VTEP counts.
    pub(super) fn may_serve(&self, peer: &ControllerName, vtep: VtepId, session: Session) -> bool {
        if self.elected {
            // Its term has been looked at.
            return true;
        }
        let vtep = &self.vteps[vtep];
        let named = vtep.declared.as_ref().and_then(|declared| declared.physical_controller.as_ref());
        if let Some(named) = named {
            return named == peer;
        }
        // Who has no session of it does not speak for it while another has, nor before anybody had.
        match session {
            Session::Up => true,
            _ if vtep.peer.as_ref() == Some(peer) => true,
            Session::Lost => !vtep.is_up(),
            Session::Awaited => vtep.peer.is_none() && self.only_peer().as_ref() == Some(peer),
        }
    }

    /// Nobody else can have a session with the VTEP.
    pub(super) fn is_appointed(&self, peer: &ControllerName, vtep: VtepId) -> bool {
        let named = self.vteps[vtep].declared.as_ref().and_then(|vtep| vtep.physical_controller.as_ref());
        self.elected || named == Some(peer)
    }

    /// Who serves a VTEP.
    pub(super) fn server<'a>(
        &'a self,
        vtep: VtepId,
        only: Option<&'a ControllerName>,
    ) -> Option<&'a ControllerName> {
        let vtep = &self.vteps[vtep];
        let named = vtep.declared.as_ref()?.physical_controller.as_ref();
        named.or(vtep.peer.as_ref()).or(only)
    }

    /// The only physical controller, if there is only one.
    pub(super) fn only_peer(&self) -> Option<ControllerName> {
        let named = self.declared.vteps.values().filter_map(|vtep| vtep.physical_controller.as_ref());
        let mut all: BTreeSet<&ControllerName> = named.collect();
        all.extend(self.terms.keys());
        let only = all.pop_first()?;
        all.is_empty().then(|| only.clone())
    }
}

impl Switch {
    fn pin(&mut self, mac: MacAddr, vtep: VtepId, on: bool, cx: &mut super::Context<'_>) {
        match (self.ledger.find(mac, vtep), on) {
            (Some(slot), true) => self.ledger[slot].flags.set(Flags::PINNED, true),
            (None, true) => {
                self.ledger.insert(Record::pinned(mac, vtep));
            }
            (Some(slot), false) if self.ledger[slot].flags.has(Flags::OWN) => {
                self.ledger[slot].flags.set(Flags::PINNED, false);
            }
            (Some(slot), false) => {
                let left = self.ledger[slot].flags.has(Flags::MASTER).then_some(vtep);
                self.ledger.remove(slot);
                self.decide(mac, left, Some(Cause::Operator), cx);
                return;
            }
            (None, false) => return,
        }
        // Somebody stands for the MAC: what was kept in its place goes.
        if on
            && let Some((keeper, cause)) = self.departures.kept.remove(&mac)
            && let Some(slot) = self.ledger.find(mac, keeper)
        {
            self.drop_claim(slot, cause, cx);
        }
        let pins = |slot: &Slot| self.ledger[*slot].flags.has(Flags::PINNED);
        if on && self.ledger.of_mac(mac).filter(pins).count() > 1 {
            let fields: [(&str, &dyn ToString); 2] = [("logical_switch", &self.name), ("mac", &mac)];
            cx.notice(true, "a MAC is pinned at several VTEPs; the lowest name has it", &fields);
        }
        self.decide(mac, None, None, cx);
    }
}
