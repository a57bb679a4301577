//! What happens to the network of a run: stations come, go and move; machines and sessions fail.

use std::sync::Arc;

use vtep_api::{FromLogical, FromPhysical, MacAddr, Origin, PROTOCOL, Role};
use vtep_controller::declared::Pin;
use vtep_controller::{logical, physical};

use crate::link::End;
use crate::observer::Verdict;
use crate::scenario::{Kind, declared_switch, join, leave};
use crate::vtep::Record;
use crate::world::{LinkId, What, World};

/// Claims of a VTEP that was away for so long may have been given up.
pub(crate) const LONG_MS: u64 = 25_000;

impl World {
    /// One thing that somebody does.
    pub(crate) fn operate(&mut self) -> Verdict {
        let at = self.random.index(self.scenario.switches.len());
        let mac = self.mac();
        let vtep = self.random.index(self.vteps.len());
        let partner = self.vteps[vtep].shape.partner.unwrap_or_else(|| (vtep + 1) % self.vteps.len());
        let holder = self.holder(at, mac).unwrap_or(vtep);
        match self.random.below(100) {
            0..25 => self.claims(vtep, at, mac, Role::Master),
            // A rack learns it: one is master, the other stands by.
            25..40 => {
                self.claims(vtep, at, mac, Role::Master);
                self.claims(partner, at, mac, Role::Slave);
            }
            40..52 => self.withdraws(holder, at, mac),
            // Failover, with or without a word of the one that fails.
            52..62 => {
                let partner = self.vteps[holder].shape.partner.unwrap_or(vtep);
                self.claims(partner, at, mac, Role::Master);
                match self.random.below(3) {
                    0 => self.claims(holder, at, mac, Role::Slave),
                    1 => self.withdraws(holder, at, mac),
                    _ => {}
                }
            }
            // Failback: the other goes.
            62..70 => self.withdraws(partner, at, mac),
            70..76 => {
                self.claims(vtep, at, mac, Role::Slave);
                self.claims(partner, at, mac, Role::Slave);
            }
            // Migration: the old place keeps quiet, or is late.
            76..84 => {
                self.claims(vtep, at, mac, Role::Master);
                if holder != vtep && self.random.percent(70) {
                    self.withdraws(holder, at, mac);
                }
            }
            // The same once more: a row deleted and made again.
            84..88 => {
                if let Some(record) = self.vteps[holder].records.get(&(at, mac)) {
                    let role = record.role;
                    self.withdraws(holder, at, mac);
                    self.claims(holder, at, mac, role);
                }
            }
            88..91 if self.scenario.faults.pins => return self.pins(at, mac, vtep),
            91..95 if self.scenario.faults.redeclared => self.redeclares(),
            95..97 if self.scenario.faults.storms => {
                for mac in self.scenario.macs.clone() {
                    self.claims(vtep, at, mac, Role::Master);
                }
            }
            97..100 if self.scenario.faults.mass_withdrawals => {
                let all: Vec<_> = self.vteps[vtep].records.keys().copied().collect();
                for (at, mac) in all {
                    self.withdraws(vtep, at, mac);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn mac(&mut self) -> MacAddr {
        let macs = &self.scenario.macs;
        *self.random.pick(macs)
    }

    fn holder(&self, at: usize, mac: MacAddr) -> Option<usize> {
        let master = |vtep: &usize| {
            self.vteps[*vtep].records.get(&(at, mac)).is_some_and(|record| record.role == Role::Master)
        };
        (0..self.vteps.len()).find(master)
    }

    fn claims(&mut self, vtep: usize, at: usize, mac: MacAddr, role: Role) {
        if self.vteps[vtep].gone {
            return;
        }
        let before = self.vteps[vtep].records.get(&(at, mac));
        if before.is_some_and(|record| record.role == role) {
            return;
        }
        let kept = match (self.vteps[vtep].shape.kind, before) {
            (Kind::Tor, Some(record)) => record.origin,
            _ => None,
        };
        let origin = kept.unwrap_or_else(|| Origin(u128::from(self.random.next())));
        let claimed_at_ms = self.wall(self.vteps[vtep].clock_ms);
        let name = self.vteps[vtep].shape.name.clone();
        self.trace.note(self.now, || format!("{name} claims {mac} in ls-{at} as {}", role.as_str()));
        self.truth.claim(vtep, (at, mac), role, Some(origin));
        self.vteps[vtep].records.insert((at, mac), Record { role, origin: Some(origin), claimed_at_ms });
        self.tells(vtep, at, mac);
    }

    fn withdraws(&mut self, vtep: usize, at: usize, mac: MacAddr) {
        if self.vteps[vtep].gone || self.vteps[vtep].records.remove(&(at, mac)).is_none() {
            return;
        }
        let name = self.vteps[vtep].shape.name.clone();
        self.trace.note(self.now, || format!("{name} withdraws {mac} in ls-{at}"));
        self.truth.withdraw(vtep, (at, mac));
        self.tells(vtep, at, mac);
    }

    fn tells(&mut self, vtep: usize, at: usize, mac: MacAddr) {
        let change = self.vteps[vtep].change(at, mac, &self.scenario.switches);
        self.vtep_says(vtep, change);
    }

    fn pins(&mut self, at: usize, mac: MacAddr, vtep: usize) -> Verdict {
        let name = self.scenario.switches[at].clone();
        let owner = (0..self.logicals.len()).find(|&logical| self.owned(logical).contains(&at));
        let logical = owner.expect("every logical switch has an owner");
        let pin = Pin { logical_switch: name, mac, vtep: self.vteps[vtep].shape.name.clone() };
        let pinned = self.logicals[logical]
            .durable
            .pins
            .iter()
            .find(|p| p.logical_switch == pin.logical_switch)
            .cloned();
        let operation = match pinned {
            Some(pinned) if self.random.percent(50) => logical::Operation::Unpin(pinned),
            _ => logical::Operation::Pin(pin),
        };
        self.logical(logical, logical::Event::Operate(operation))
    }

    fn redeclares(&mut self) {
        let mut declared = (*self.declared).clone();
        let at = self.random.index(self.scenario.switches.len());
        let switch = self.scenario.switches[at].clone();
        let vtep = self.random.index(self.vteps.len());
        let shape = self.vteps[vtep].shape.clone();
        let is_declared = declared.logical_switches.contains_key(&switch);
        match self.random.below(10) {
            // The whole logical switch goes, or comes back.
            0 if is_declared && declared.logical_switches.len() > 1 => {
                declared.logical_switches.remove(&switch);
                for shape in &self.scenario.vteps {
                    leave(&mut declared, &shape.name, &switch);
                }
                self.truth.blur_all(at);
            }
            0..3 if !is_declared => {
                let owner = self.scenario.declared.logical_switches[&switch].logical_controller.clone();
                declared.logical_switches.insert(switch, declared_switch(at, owner.expect("it was named")));
                self.truth.blur_all(at);
            }
            1 => {
                // A VTEP is taken out of service, or put back into it.
                if declared.vteps.remove(&shape.name).is_none() {
                    declared
                        .vteps
                        .insert(shape.name.clone(), self.scenario.declared.vteps[&shape.name].clone());
                } else {
                    declared.bindings.remove(&shape.name);
                    declared.subscriptions.remove(&shape.name);
                }
                self.blur_vtep(vtep);
            }
            3 => {
                // Somebody binds it where nobody declared it.
                if !self.vteps[vtep].networks.remove(&at) {
                    self.vteps[vtep].networks.insert(at);
                }
                self.truth.blur(vtep, at);
                let state = self.vteps[vtep].state(&self.scenario.switches);
                return self.vtep_says(vtep, state);
            }
            4..7 => {
                leave(&mut declared, &shape.name, &switch);
                self.truth.blur(vtep, at);
            }
            _ if is_declared && declared.vteps.contains_key(&shape.name) => {
                join(&mut declared, &shape, at, &switch);
                self.truth.blur(vtep, at);
            }
            _ => return,
        }
        self.trace.note(self.now, || "the operator declares anew".to_owned());
        self.declared = Arc::new(declared);
        for logical in 0..self.logicals.len() {
            let delay = self.random.below(2000);
            self.after(delay, What::Declared { logical });
        }
    }

    pub(crate) fn blur_vtep(&mut self, vtep: usize) {
        (0..self.scenario.switches.len()).for_each(|at| self.truth.blur(vtep, at));
    }

    /// One thing that goes wrong. `long`: it may last until claims are given up.
    pub(crate) fn fail(&mut self, long: bool) -> Verdict {
        let faults = self.scenario.faults.clone();
        let logical = self.random.index(self.logicals.len());
        let physical = self.random.index(self.physicals.len());
        let vtep = self.random.index(self.vteps.len());
        let peer = LinkId::Peer { logical, physical };
        match self.random.below(14) {
            12 | 13 if long && faults.sessions && faults.logical_restarts => {
                // It begins anew, and not everybody is there.
                let lasting = self.random.between(11_000, 22_000);
                self.parts(peer, lasting);
                if self.logicals[logical].core.is_some() {
                    self.stop_logical(logical);
                    self.after(100, What::StartLogical { logical });
                }
            }
            0 | 1 if faults.sessions => self.cut(peer, None),
            2 if faults.sessions => self.cut(LinkId::Vtep { vtep }, None),
            3 if faults.sessions => {
                let link = if self.random.percent(50) { peer } else { LinkId::Vtep { vtep } };
                let most = if long && self.random.percent(20) { 70_000 } else { 15_000 };
                let lasting = self.random.between(1000, most);
                self.parts(link, lasting);
            }
            4 if faults.logical_restarts && self.logicals[logical].core.is_some() => {
                self.stop_logical(logical);
                let away = self.random.between(10, 5000);
                self.after(away, What::StartLogical { logical });
            }
            5 if faults.physical_restarts && self.physicals[physical].core.is_some() => {
                self.stop_physical(physical);
                let away = self.random.between(10, 5000);
                self.after(away, What::StartPhysical { physical });
            }
            6 | 7 if faults.vtep_restarts => {
                let away =
                    if long && self.random.percent(10) { 60_000 } else { self.random.between(10, 8000) };
                self.restart_vtep(vtep, away);
            }
            8 if faults.clocks => {
                let jump = self.random.around_zero(3_600_000);
                match self.random.below(3) {
                    0 => self.logicals[logical].clock_ms += jump,
                    1 => self.physicals[physical].clock_ms += jump,
                    _ => self.vteps[vtep].clock_ms += jump,
                }
            }
            9 if faults.zombies => return self.late_logical(logical, physical),
            10 if faults.zombies => return self.late_physical(logical, physical),
            11 if faults.loss_of_vtep && long && self.vteps.iter().all(|vtep| !vtep.gone) => {
                self.vteps[vtep].gone = true;
                self.observer.gone.insert(self.vteps[vtep].shape.name.clone());
                self.vteps[vtep].up = false;
                self.cut(LinkId::Vtep { vtep }, Some(End::Client));
            }
            _ => {}
        }
        Ok(())
    }

    /// Nothing gets through for a while.
    fn parts(&mut self, link: LinkId, lasting: u64) {
        self.trace.note(self.now, || format!("{link:?} is parted for {lasting} ms"));
        self.link(link).blocked = true;
        self.cut(link, None);
        self.after(lasting, What::Heals { link });
        if lasting > LONG_MS {
            match link {
                LinkId::Vtep { vtep } => self.blur_vtep(vtep),
                LinkId::Peer { physical, .. } => {
                    self.at_home(physical).into_iter().for_each(|v| self.blur_vtep(v));
                }
            }
        }
    }

    fn restart_vtep(&mut self, vtep: usize, away: u64) {
        if !self.vteps[vtep].up {
            return;
        }
        let name = self.vteps[vtep].shape.name.clone();
        self.trace.note(self.now, || format!("{name} restarts"));
        self.vteps[vtep].up = false;
        self.cut(LinkId::Vtep { vtep }, Some(End::Client));
        if self.vteps[vtep].shape.kind == Kind::Agent {
            self.vteps[vtep].restarted();
            self.truth.restarted(vtep);
        }
        if self.random.percent(20) {
            self.vteps[vtep].forget_tables();
        }
        if away > LONG_MS {
            self.blur_vtep(vtep);
        }
        self.after(away, What::StartVtep { vtep });
    }

    /// A process of an earlier reign, stopped for a while, says what it had to say.
    fn late_logical(&mut self, logical: usize, physical: usize) -> Verdict {
        let own = self.logicals[logical].term;
        let mut spoken: Vec<_> =
            self.logicals[logical].spoke.iter().filter(|(to, _)| *to == physical).collect();
        let is_late = |message: &FromLogical| match message {
            FromLogical::Welcome { term, .. } => *term < own,
            FromLogical::Table(update) => update.term < own,
            FromLogical::Outline(outline) => outline.term < own,
            _ => true,
        };
        spoken.retain(|(_, message)| is_late(message));
        // A session begins with the outline that holds, not with those before it.
        let mut outlines =
            spoken.iter().filter(|(_, message)| matches!(message, FromLogical::Outline(_))).count();
        spoken.retain(|(_, message)| {
            let is_outline = matches!(message, FromLogical::Outline(_));
            outlines -= usize::from(is_outline);
            !is_outline || outlines == 0
        });
        let old = spoken.iter().find_map(|(_, message)| match message {
            FromLogical::Table(update) => Some(update.term),
            FromLogical::Outline(outline) => Some(outline.term),
            _ => None,
        });
        let Some(term) = old else { return Ok(()) };
        let spoken: Vec<FromLogical> = spoken.into_iter().map(|(_, message)| message.clone()).collect();
        let link = LinkId::Peer { logical, physical };
        if self.physicals[physical].core.is_none() {
            return Ok(());
        }
        self.trace.note(self.now, || format!("a late lc-{logical} of {term:?} speaks to pc-{physical}"));
        let peer = self.scenario.logicals[logical].clone();
        if self.link(link).at(End::Client).is_some() {
            let now = self.now;
            self.link(link).close(End::Client, now);
            self.physical_in_vain(physical, physical::Event::Disconnected { peer: peer.clone() })?;
        }
        self.cut(link, Some(End::Client));
        let mut events = vec![physical::Event::Connected { peer: peer.clone() }];
        let name = peer.clone();
        let welcome = FromLogical::Welcome { protocol: PROTOCOL, name, term };
        for message in std::iter::once(welcome).chain(spoken) {
            events.push(physical::Event::Message { peer: peer.clone(), message });
        }
        events.push(physical::Event::Disconnected { peer });
        for event in events {
            self.physical_in_vain(physical, event)?;
        }
        let delay = self.random.below(1000);
        self.connect(link, delay);
        Ok(())
    }

    /// What it sends to logical controllers meanwhile reaches nobody.
    fn physical_in_vain(&mut self, physical: usize, event: physical::Event) -> Verdict {
        let mut actions = Vec::new();
        self.physical_core(physical, event, &mut actions);
        for action in actions {
            match &action {
                physical::Action::Send { peer, .. } => {
                    let logical = self.logical_named(peer);
                    if self.links[&LinkId::Peer { logical, physical }].at(End::Client).is_some() {
                        self.physical_acts(physical, action)?;
                    }
                }
                physical::Action::Close { .. } => {}
                _ => self.physical_acts(physical, action)?,
            }
        }
        Ok(())
    }

    fn late_physical(&mut self, logical: usize, physical: usize) -> Verdict {
        let own = self.physicals[physical].term;
        let late: Vec<FromPhysical> = self.physicals[physical]
            .spoke
            .iter()
            .filter(|(to, _)| *to == logical)
            .map(|(_, message)| message.clone())
            .collect();
        let Some(FromPhysical::Hello { term: first, .. }) = late.first().cloned() else { return Ok(()) };
        if first >= own {
            return Ok(());
        }
        let to = logical;
        if self.logicals[to].core.is_none() {
            return Ok(());
        }
        self.trace.note(self.now, || format!("a late pc-{physical} of {first:?} speaks to lc-{logical}"));
        let peer = self.scenario.physicals[physical].clone();
        let link = LinkId::Peer { logical, physical };
        self.cut(link, Some(End::Server));
        let mut actions = Vec::new();
        self.logical_core(logical, logical::Event::Connected { peer: peer.clone() }, &mut actions);
        let mut refused = false;
        for message in late {
            self.logical_core(logical, logical::Event::Message { peer: peer.clone(), message }, &mut actions);
            // Each version is seen before the next one.
            self.look_at(logical)?;
            refused |= actions.iter().any(|action| matches!(action, logical::Action::Close { .. }));
            if refused {
                break;
            }
        }
        if !refused {
            self.owned(logical).into_iter().for_each(|at| self.truth.blur_all(at));
        }
        self.logical_core(logical, logical::Event::Disconnected { peer: peer.clone() }, &mut actions);
        self.look_at(logical)?;
        for action in actions {
            let to_late = matches!(&action, logical::Action::Send { peer: to, .. } | logical::Action::Close { peer: to, .. } if *to == peer);
            if !to_late {
                self.logical_acts(logical, action)?;
            }
        }
        Ok(())
    }
}
