//! Sessions of VTEPs, and what they say.
//!
//! A VTEP may connect before a logical controller has told whether it is declared. Then its session waits, unanswered but
//! heard, and is admitted or closed by the outlines that come; if none comes it is closed after a while, and tries again.

use vtep_api::{FromVtep, Held, Inventory, LogicalSwitchName, MacAddr, PROTOCOL, Report, VtepName};

use super::mirror::{Clock, MACS_MAX, Observed};
use super::vtep::{Acknowledged, Live, Vtep};
use super::{ADMIT_WAIT_MS, Action, Physical, SessionId, WAITING_MAX, notice};
use crate::Now;

/// Records of an inventory that has not come to its end, with what changed meanwhile.
const STAGED_MAX: usize = 2 * MACS_MAX;
/// Beside the logical switches that it takes part in.
const ACKNOWLEDGED_MAX: usize = 4096;

impl Physical {
    pub(super) fn hear(
        &mut self,
        vtep: VtepName,
        session: SessionId,
        message: FromVtep,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        if let FromVtep::Hello { protocol, name, term, tables } = message {
            let known = self.vteps.get(&vtep).and_then(|known| known.session.as_ref());
            let refused = if protocol != PROTOCOL {
                Some(format!("it speaks protocol {protocol}, this physical controller speaks {PROTOCOL}"))
            } else if name != vtep {
                Some(format!("it calls itself {name}, and is {vtep} by its session"))
            } else if known.is_some_and(|known| known.id == session) {
                Some("it said hello twice in one session".to_owned())
            } else {
                None
            };
            if let Some(reason) = refused {
                self.close_vtep(&vtep, session, reason, now, actions);
                return;
            }
            if let Some(own) = self.term_of(&vtep).filter(|own| term > *own) {
                let message = "VTEP obeyed a physical controller of a higher term, and may refuse this one";
                actions.push(notice(
                    true,
                    message,
                    &[("vtep", &vtep), ("obeyed", &term.0), ("term", &own.0)],
                ));
            }
            self.begin(vtep, session, tables, now, actions);
            return;
        }
        let known = self.vteps.get(&vtep).and_then(|known| known.session.as_ref());
        if known.is_none_or(|known| known.id != session) {
            self.counters.stale_messages += 1;
            return;
        }
        if let Some(session) = self.vteps.get_mut(&vtep).and_then(|known| known.session.as_mut()) {
            session.heard_ms = now.mono_ms;
        }
        match message {
            FromVtep::Hello { .. } => {}
            FromVtep::State(state) => {
                let Some(known) = self.vteps.get_mut(&vtep) else { return };
                if known.state.as_ref() == Some(&state) {
                    return;
                }
                known.state = Some(state);
                if let Some(session) = &mut known.session {
                    session.outline_due = true;
                }
                self.status_due.insert(vtep.clone());
                self.ready_vteps.insert(vtep);
            }
            FromVtep::Inventory(inventory) => self.collect(&vtep, inventory, now, actions),
            FromVtep::Obeys { term } => self.seal(&vtep, term),
            FromVtep::Applied(held) => self.acknowledge(&vtep, held, now),
            FromVtep::Resync { logical_switch } => self.resync(vtep, &logical_switch),
            FromVtep::Sightings(sightings) => {
                if let Some(known) = self.vteps.get_mut(&vtep) {
                    known.counters.sightings += sightings.len() as u64;
                }
                self.forward_sightings(&vtep, sightings);
            }
            FromVtep::Heartbeat { wall_ms } => {
                let Some(known) = self.vteps.get_mut(&vtep) else { return };
                known.skew.heartbeat(wall_ms, now.wall_ms);
                if known.skew.step() {
                    self.status_due.insert(vtep);
                }
            }
        }
    }

    pub(super) fn lose_vtep(&mut self, vtep: &VtepName, session: SessionId, now: Now) {
        let Some(known) = self.vteps.get_mut(vtep) else { return };
        if known.session.as_ref().is_none_or(|known| known.id != session) {
            return;
        }
        self.drop_session(vtep, now);
    }

    pub(super) fn vtep_took(&mut self, vtep: VtepName, session: SessionId, messages: u32) {
        let known = self.vteps.get_mut(&vtep).and_then(|known| known.session.as_mut());
        if let Some(known) = known.filter(|known| known.id == session) {
            known.untaken = known.untaken.saturating_sub(messages);
            self.ready_vteps.insert(vtep);
        }
    }

    pub(super) fn tick_vteps(&mut self, beat: bool, now: Now, actions: &mut Vec<Action>) {
        let mut late = Vec::new();
        for (name, vtep) in &mut self.vteps {
            let Some(session) = &mut vtep.session else { continue };
            if !session.admitted {
                // One that is declared stands by, or waits for an election.
                let declared = self.roster.served.contains_key(name);
                if !declared && now.mono_ms.saturating_sub(session.began_ms) >= ADMIT_WAIT_MS {
                    late.push((name.clone(), session.id));
                }
                continue;
            }
            session.heartbeat |= beat;
            let unsure = session.outline.as_ref().is_some_and(|outline| !outline.complete);
            session.outline_due |= beat && unsure;
            if session.heartbeat || session.outline_due {
                self.ready_vteps.insert(name.clone());
            }
        }
        for (vtep, session) in late {
            let reason = "no logical controller that was heard so far declares it".to_owned();
            self.close_vtep(&vtep, session, reason, now, actions);
        }
    }

    /// Admits or closes sessions by the present roster.
    pub(super) fn admit_vteps(&mut self, now: Now, actions: &mut Vec<Action>) {
        let served = &self.roster.served;
        for vtep in served.keys().filter(|vtep| !self.vteps.contains_key(*vtep)).cloned().collect::<Vec<_>>()
        {
            let (since_wall_ms, away_since_ms) = (now.wall_ms, now.mono_ms);
            self.vteps.insert(vtep.clone(), Vtep { away_since_ms, since_wall_ms, ..Vtep::default() });
            self.tell_status_to_all(&vtep);
        }
        let names: Vec<_> = self.vteps.keys().cloned().collect();
        for name in names {
            self.admit(&name, now, actions);
        }
    }

    /// Ends a session for a reason that the VTEP is told.
    pub(super) fn close_vtep(
        &mut self,
        vtep: &VtepName,
        session: SessionId,
        reason: String,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        actions.push(notice(false, "VTEP session closed", &[("vtep", vtep), ("reason", &reason)]));
        actions.push(Action::CloseVtep { vtep: vtep.clone(), session, reason });
        self.lose_vtep(vtep, session, now);
    }

    fn begin(
        &mut self,
        vtep: VtepName,
        session: SessionId,
        tables: Vec<Held>,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let served = &self.roster.served;
        let waiting = |(name, vtep): &(&VtepName, &Vtep)| {
            !served.contains_key(*name) && vtep.session.as_ref().is_some_and(|session| !session.admitted)
        };
        if !served.contains_key(&vtep) && self.vteps.iter().filter(waiting).count() >= WAITING_MAX {
            self.counters.undeclared += 1;
            let reason = "too many VTEPs wait to be declared".to_owned();
            actions.push(Action::CloseVtep { vtep, session, reason });
            return;
        }
        if let Some(earlier) = self.vteps.get(&vtep).and_then(|known| known.session.as_ref()) {
            let reason = "a later session of the same VTEP began".to_owned();
            actions.push(Action::CloseVtep { vtep: vtep.clone(), session: earlier.id, reason });
        }
        let known = self.vteps.entry(vtep.clone()).or_default();
        known.session = Some(Live::new(session, now.mono_ms, tables.clone()));
        for held in tables {
            self.acknowledge(&vtep, held, now);
        }
        self.admit(&vtep, now, actions);
    }

    fn admit(&mut self, name: &VtepName, now: Now, actions: &mut Vec<Action>) {
        let declared = self.roster.served.contains_key(name);
        let ours = self.serves(name);
        let known = declared || self.all_peers_heard();
        let Some(vtep) = self.vteps.get_mut(name) else { return };
        match &mut vtep.session {
            Some(session) if declared && ours && !session.admitted => {
                session.admitted = true;
                vtep.since_wall_ms = now.wall_ms;
                vtep.counters.sessions += 1;
                let inventoried = session.inventoried;
                for logical_switch in self.roster.memberships.get(name).into_iter().flatten() {
                    session.mark(logical_switch);
                }
                self.status_due.insert(name.clone());
                self.ready_vteps.insert(name.clone());
                if inventoried {
                    self.tell_whole(name);
                }
            }
            Some(session) if !declared && (session.admitted || known) => {
                let id = session.id;
                self.counters.undeclared += 1;
                let reason = "no logical controller declares it".to_owned();
                self.close_vtep(name, id, reason, now, actions);
            }
            Some(session) if !session.admitted && declared => {
                self.ready_vteps.insert(name.clone());
            }
            None if !declared => {
                self.vteps.remove(name);
            }
            _ => {}
        }
    }

    /// Whether every logical controller that is there has told what it declares.
    fn all_peers_heard(&self) -> bool {
        let mut connected = self.peers.values().filter(|peer| peer.connected).peekable();
        connected.peek().is_some() && connected.all(|peer| peer.outline_told)
    }

    fn drop_session(&mut self, name: &VtepName, now: Now) {
        let declared = self.roster.served.contains_key(name);
        let Some(vtep) = self.vteps.get_mut(name) else { return };
        vtep.session = None;
        vtep.away_since_ms = now.mono_ms;
        vtep.since_wall_ms = now.wall_ms;
        if declared {
            self.status_due.insert(name.clone());
        } else {
            self.vteps.remove(name);
        }
    }

    fn collect(&mut self, name: &VtepName, inventory: Inventory, now: Now, actions: &mut Vec<Action>) {
        let Some(vtep) = self.vteps.get_mut(name) else { return };
        let Some(session) = &mut vtep.session else { return };
        if inventory.snapshot || session.staged.is_some() {
            session.staged_records +=
                inventory.networks.iter().map(|(_, records)| 1 + records.len()).sum::<usize>();
            if session.staged_records > STAGED_MAX {
                let (id, reason) = (session.id, "its inventory has no end".to_owned());
                self.close_vtep(name, id, reason, now, actions);
                return;
            }
        }
        let epoch = self.start.term.0.max(vtep.epoch);
        let mut clock = Clock { epoch, seq: &mut self.seq, wall_ms: now.wall_ms };
        let mut tally = Tally::default();
        let mut whole = false;
        if inventory.snapshot {
            let staged = session.staged.get_or_insert_default();
            for (logical_switch, records) in inventory.networks {
                staged.entry(logical_switch).or_default().extend(records);
            }
            if !inventory.end {
                return;
            }
            let staged = session.staged.take().unwrap_or_default();
            session.staged_records = 0;
            whole = !std::mem::replace(&mut session.inventoried, true);
            tally.told.extend(staged.keys().cloned());
            vtep.mirror.replace(staged, &mut clock, |logical_switch, mac, observed| {
                tally.count(logical_switch, mac, observed);
            });
        } else {
            for (logical_switch, records) in inventory.networks {
                for (mac, local) in records {
                    if let Some(staged) = &mut session.staged {
                        staged.entry(logical_switch.clone()).or_default().push((mac, local.clone()));
                    }
                    let claimed_at_ms = local.as_ref().and_then(|local| local.claimed_at_ms);
                    let observed = vtep.mirror.observe(&logical_switch, mac, local, &mut clock);
                    if let (Observed::News(Report::Claim(_)), Some(at_ms)) = (&observed, claimed_at_ms) {
                        vtep.skew.live_claim(at_ms, now.wall_ms);
                    }
                    tally.count(&logical_switch, mac, observed);
                }
                tally.told.insert(logical_switch);
            }
        }
        vtep.counters.re_reports += tally.same;
        vtep.counters.refused += tally.refused;
        let mut status_due = vtep.skew.step();
        if tally.first_refused.is_some() || inventory.snapshot {
            status_due |= vtep.refused != tally.first_refused;
            vtep.refused = tally.first_refused;
        }
        for (logical_switch, _, report) in &tally.news {
            match report {
                Report::Claim(_) => vtep.counters.claims += 1,
                Report::Withdraw { .. } => vtep.counters.withdrawals += 1,
            }
            status_due |= !self.roster.is_member(name, logical_switch);
        }
        for (logical_switch, ..) in &tally.updates {
            vtep.counters.updates += 1;
            status_due |= !self.roster.is_member(name, logical_switch);
        }
        if status_due {
            self.status_due.insert(name.clone());
        }
        // What is new in nothing changes nothing, and no logical controller need be asked. Of a session's first inventory
        // it is told all the same, for it may have forgotten it meanwhile.
        if !whole {
            let newly = tally.news.iter().chain(&tally.updates).map(|(name, ..)| name).collect();
            let same: Vec<_> = tally
                .told
                .iter()
                .collect::<std::collections::BTreeSet<_>>()
                .difference(&newly)
                .copied()
                // Names of its own making are not kept for it.
                .filter(|logical_switch| self.roster.is_member(name, logical_switch))
                .collect();
            if !same.is_empty() {
                session.no_change.extend(same.into_iter().cloned());
                self.ready_vteps.insert(name.clone());
            }
        }
        self.forward_news(name, tally.news.into_iter().chain(tally.updates), now);
        if whole {
            self.tell_whole(name);
        }
    }

    fn acknowledge(&mut self, name: &VtepName, held: Held, now: Now) {
        let Some(vtep) = self.vteps.get_mut(name) else { return };
        let Held { term, version, .. } = held;
        let logical_switch = held.logical_switch.clone();
        if vtep.acknowledged.len() >= ACKNOWLEDGED_MAX && !self.roster.is_member(name, &logical_switch) {
            return;
        }
        if let Some(session) = vtep.session.as_mut().filter(|session| !session.admitted) {
            // From there we lead it on when it is ours.
            session.held.insert(logical_switch.clone(), held.clone());
        }
        let table = self.tables.get(&logical_switch);
        if table.is_some_and(|table| (table.term, table.published.version()) == (term, version))
            && let Some(session) = &mut vtep.session
        {
            session.behind_since_ms.remove(&logical_switch);
        }
        let acknowledged = Acknowledged { term, version, wall_ms: now.wall_ms };
        vtep.acknowledged.insert(logical_switch, acknowledged);
        self.forward_applied(name, held);
    }

    fn resync(&mut self, name: VtepName, logical_switch: &LogicalSwitchName) {
        let Some(vtep) = self.vteps.get_mut(&name) else { return };
        let Some(session) = &mut vtep.session else { return };
        vtep.counters.resyncs += 1;
        session.held.remove(logical_switch);
        session.cursors.remove(logical_switch);
        if session.sending.as_ref().is_some_and(|sending| sending.logical_switch == *logical_switch) {
            session.sending = None;
        }
        session.mark(logical_switch);
        self.ready_vteps.insert(name);
    }
}

/// What an inventory came to.
#[derive(Default)]
struct Tally {
    told: std::collections::BTreeSet<LogicalSwitchName>,
    news: Vec<(LogicalSwitchName, MacAddr, Report)>,
    updates: Vec<(LogicalSwitchName, MacAddr, Report)>,
    same: u64,
    refused: u64,
    first_refused: Option<String>,
}

impl Tally {
    fn count(&mut self, logical_switch: &LogicalSwitchName, mac: MacAddr, observed: Observed) {
        match observed {
            Observed::News(report) => self.news.push((logical_switch.clone(), mac, report)),
            Observed::Updated(report) => self.updates.push((logical_switch.clone(), mac, report)),
            Observed::Same => self.same += 1,
            Observed::Refused(why) => {
                self.refused += 1;
                self.first_refused
                    .get_or_insert_with(|| format!("MAC {mac} of logical switch {logical_switch}: {why}"));
            }
        }
    }
}
