//! What follows from a step, once: versions, messages, and what is to be written down.

use std::collections::BTreeMap;

use vtep_api::{LogicalSwitchName, MacAddr, Version};

use super::contested::Mastery;
use super::distribute::Source;
use super::switch::{Context, Switch};
use super::vteps::{VtepId, Vteps};
use super::{Action, Durable, Logical, Remembered};
use crate::Now;
use crate::declared::{Batch, Pin};

/// Shows each side that the other is alive when nothing else is said.
const HEARTBEAT_MS: u64 = 10_000;

/// How long changes are gathered that are batched by number only.
const PERIOD_MAX_MS: u64 = 1000;

impl Logical {
    pub(super) fn tick(&mut self, now: Now, actions: &mut Vec<Action>) {
        self.expire(now, actions);
        self.bury(now, actions);
        self.recover(now, actions);
        self.ask_those_due(now);
        for switch in self.switches.values_mut() {
            switch.age_sightings(now.mono_ms);
        }
        let restless =
            |switch: &&Switch| !switch.started || switch.complete_from.is_none() || switch.unpublished() > 0;
        let restless = self.switches.values().filter(restless).map(|switch| switch.name.clone());
        self.touched.extend(restless);
        self.outlines_stale |= !self.outlines_lack.is_empty() && self.unheard(now) != self.outlines_lack;
        if self.heartbeat_ms + HEARTBEAT_MS <= now.mono_ms {
            self.heartbeat_ms = now.mono_ms;
            self.peers.values_mut().for_each(super::distribute::Peer::beat);
        }
    }

    /// Duplicates that have rested for long enough are followed again.
    fn recover(&mut self, now: Now, actions: &mut Vec<Action>) {
        let (switches, mut cx) = self.parts(now, actions);
        let mut changed = Vec::new();
        for switch in switches.values_mut() {
            for mac in switch.flap.age(&cx.policy.duplicate, now.mono_ms) {
                *cx.persist |= switch.frozen.remove(&mac).is_some();
                cx.notice(
                    false,
                    "a MAC has settled; it is followed again",
                    &[("logical_switch", &switch.name), ("mac", &mac)],
                );
                let moved = switch.decide(mac, None, None, &mut cx);
                switch.count_move(mac, moved, &mut cx);
                changed.push(switch.name.clone());
            }
        }
        self.touched.extend(changed);
    }

    pub(super) fn settle(&mut self, now: Now, actions: &mut Vec<Action>) {
        while let Some((network, mac, vtep)) = self.aside.pop() {
            let (switches, mut cx) = self.parts(now, actions);
            if let Some(switch) = switches.get_mut(&network) {
                switch.set_aside(vtep, mac, &mut cx);
                self.touched.insert(network);
            }
        }
        if std::mem::take(&mut self.outlines_stale) {
            self.outline_all(now, actions);
        }
        while let Some(network) = self.touched.pop_first() {
            self.settle_switch(&network, now, actions);
        }
        if std::mem::take(&mut self.persist) {
            actions.push(Action::Persist(self.durable()));
        }
        self.send(now, actions);
    }

    fn settle_switch(&mut self, network: &LogicalSwitchName, now: Now, actions: &mut Vec<Action>) {
        let batch = self.declared.policy.batch;
        let start_wait_ms = u64::from(self.declared.policy.start_wait_secs) * 1000;
        let hold_ms = u64::from(self.declared.policy.hold_secs) * 1000;
        let Some(switch) = self.switches.get(network) else { return };
        let begins = !switch.started;
        let mut whole = begins;
        if begins || switch.complete_from.is_none() {
            let (roster_known, waited_ms) = (self.is_roster_known(), now.mono_ms - switch.since_ms);
            // What was given up is in no table any more.
            let given_up = |vtep| self.vteps[vtep].is_given_up();
            let heard = roster_known && switch.heard_all_but(given_up);
            if begins && !heard && waited_ms < start_wait_ms {
                // Physical controllers are waited for, not VTEPs that they cannot speak for.
                let began = roster_known || now.mono_ms - self.began.mono_ms >= start_wait_ms;
                if !began || !switch.heard_all_but(|vtep| self.vteps[vtep].is_absent(start_wait_ms, now)) {
                    return;
                }
            }
            let complete = heard || waited_ms >= hold_ms;
            let (switches, mut cx) = self.parts(now, actions);
            let Some(switch) = switches.get_mut(network) else { return };
            if complete {
                switch.keep_again(&mut cx);
            }
            if begins {
                switch.begin();
                switch.thaw_again(&mut cx);
            }
            if complete && switch.complete_from.is_none() {
                let version = switch.published.version();
                // Who has an incomplete table gets a complete one, though no row may have changed.
                let from = if begins { version } else { Version(version.0 + 1) };
                switch.published.skip_to(from);
                switch.complete_from = Some(from);
                switch.thaw_again(&mut cx);
                switch.contested.begin();
                whole = true;
                self.peers.values_mut().for_each(|peer| peer.changed(network));
            } else if begins {
                self.peers.values_mut().for_each(|peer| peer.changed(network));
            }
        }
        let (switches, mut cx) = self.parts(now, actions);
        let Some(switch) = switches.get_mut(network) else { return };
        switch.let_go(&cx);
        *cx.persist |= switch.departures.note();
        let masters = switch.contested.take_changes();
        if !masters.is_empty() {
            let named = |master: Mastery| Remembered {
                master: cx.vteps[master.vtep].name.clone(),
                kept: master.kept,
            };
            let masters = masters.into_iter().map(|(mac, master)| (mac, master.map(named))).collect();
            cx.actions.push(Action::Remember { logical_switch: network.clone(), masters });
        }
        // A table that is called complete must not lack what waits for the end of a batch.
        let due = switch.is_due(batch, now.mono_ms) || whole;
        let changed = due && switch.unpublished() > 0 && switch.publish(&mut cx);
        cx.counters.versions += u64::from(changed);
        let unchanged = switch.unchanged(changed, due, cx.vteps);
        if changed {
            self.peers.values_mut().for_each(|peer| peer.changed(network));
        }
        for (peer, vtep) in unchanged {
            self.counters.no_changes += 1;
            if let Some(peer) = self.peers.get_mut(&peer) {
                peer.no_change(vtep, network.clone());
            }
        }
    }

    /// Every physical controller that is named is there, and every VTEP was spoken of.
    fn is_roster_known(&self) -> bool {
        let named = |vtep: &super::vteps::Vtep| {
            let declared = vtep.declared.as_ref()?;
            Some(declared.physical_controller.as_ref().is_none_or(|named| self.terms.contains_key(named)))
        };
        self.vteps.iter().all(|(_, vtep)| named(vtep).is_none_or(|there| there && vtep.reported))
    }

    pub(super) fn durable(&self) -> Durable {
        let frozen = self.switches.values().flat_map(|switch| {
            switch.frozen.iter().map(|(mac, vtep)| Pin {
                logical_switch: switch.name.clone(),
                mac: *mac,
                vtep: self.vteps[*vtep].name.clone(),
            })
        });
        let keeping = self.switches.values().filter(|switch| switch.departures.keeps());
        Durable {
            pins: self.pins.clone(),
            frozen: frozen.collect(),
            known: self.known(),
            masters: BTreeMap::new(),
            kept: keeping.map(|switch| switch.name.clone()).collect(),
        }
    }

    fn send(&mut self, now: Now, actions: &mut Vec<Action>) {
        let source = Source {
            name: &self.name,
            term: self.term,
            switches: &self.switches,
            distribution: self.declared.policy.distribution,
            now,
        };
        for (name, peer) in &mut self.peers {
            if !peer.has_something() {
                continue;
            }
            if !self.counters.pushes.contains_key(name) {
                self.counters.pushes.insert(name.clone(), super::Pushes::default());
            }
            let pushes = self.counters.pushes.get_mut(name).expect("it was put there");
            while let Some(message) = peer.next(&source, pushes) {
                actions.push(Action::Send { peer: name.clone(), message });
            }
        }
    }
}

impl Switch {
    fn heard_all_but(&self, is_away: impl Fn(VtepId) -> bool) -> bool {
        self.members.iter().all(|vtep| self.has_heard(*vtep) || is_away(*vtep))
    }

    fn begin(&mut self) {
        self.started = true;
        let macs: Vec<_> = self.ledger.iter_macs().collect();
        for mac in macs {
            if let Some(slot) = self.ledger.master(mac) {
                let mastered = &mut self.ledger[slot].mastered;
                *mastered = (*mastered).max(1);
            }
        }
    }

    /// A frozen MAC whose master did not come back has another one by now, or is nobody's.
    fn thaw_again(&mut self, cx: &mut Context<'_>) {
        let frozen: Vec<(MacAddr, VtepId)> = self.frozen.iter().map(|(mac, vtep)| (*mac, *vtep)).collect();
        for (mac, vtep) in frozen {
            if self.ledger.find(mac, vtep).is_some() || self.is_awaited(vtep, cx) {
                continue;
            }
            match self.ledger.master(mac) {
                Some(slot) => drop(self.frozen.insert(mac, self.ledger[slot].vtep)),
                None if self.complete_from.is_some() => drop(self.frozen.remove(&mac)),
                None => continue,
            }
            *cx.persist = true;
        }
    }

    fn is_due(&mut self, batch: Batch, mono_ms: u64) -> bool {
        if batch.period_ms == 0 && batch.size == 0 {
            return true;
        }
        if self.unpublished() == 0 {
            return false;
        }
        let since = *self.unpublished_since_ms.get_or_insert(mono_ms);
        let period_ms = if batch.period_ms == 0 { PERIOD_MAX_MS } else { u64::from(batch.period_ms) };
        since + period_ms <= mono_ms || (batch.size > 0 && self.unpublished() >= batch.size as usize)
    }

    /// Those who reported and changed nothing, with who serves them.
    fn unchanged(
        &mut self,
        changed: bool,
        due: bool,
        vteps: &Vteps,
    ) -> Vec<(vtep_api::ControllerName, vtep_api::VtepName)> {
        let mut unchanged = Vec::new();
        let mut waiting = std::collections::BTreeSet::new();
        for vtep in std::mem::take(&mut self.reporters) {
            let Some(teller) = self.tellers.get_mut(&vtep) else { continue };
            teller.published |= teller.changed && changed;
            if !teller.spoke || (teller.changed && !due) {
                waiting.insert(vtep);
                continue;
            }
            if !teller.published {
                let state = &vteps[vtep];
                unchanged.extend(state.peer.clone().map(|peer| (peer, state.name.clone())));
            }
            (teller.changed, teller.published, teller.spoke) = (false, false, false);
        }
        self.reporters = waiting;
        unchanged
    }
}
