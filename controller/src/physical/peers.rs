//! Sessions of logical controllers, and what they say.

use vtep_api::{
    ControllerName, FromLogical, LogicalSwitchName, Outline, PROTOCOL, TableUpdate, Term, VtepName,
};

use super::outbox::Outbox;
use super::roster::Roster;
use super::table::Installed;
use super::vtep::Vtep;
use super::{Action, GRACE_MS, ORPHAN_MS, Physical, notice};
use crate::Now;
use crate::bugs::bug;

/// A logical controller; what it declared outlives its session.
#[derive(Debug, Default)]
pub(super) struct Peer {
    pub(super) connected: bool,
    pub(super) since_wall_ms: i64,
    pub(super) welcomed: bool,
    /// In this session.
    pub(super) outline_told: bool,
    /// The highest that was obeyed, or that etcd told.
    pub(super) term: Term,
    /// That of the session.
    pub(super) session_term: Term,
    pub(super) outline: Option<Outline>,
    pub(super) outbox: Outbox,
    pub(super) refused: u64,
}

impl Physical {
    pub(super) fn connect(&mut self, name: ControllerName, now: Now) {
        self.grace_until_ms = now.mono_ms + GRACE_MS;
        let question = self.question_for(&name);
        let peer = self.peers.entry(name.clone()).or_default();
        peer.connected = true;
        peer.since_wall_ms = now.wall_ms;
        peer.welcomed = false;
        peer.outline_told = false;
        peer.outbox = Outbox::begin();
        peer.outbox.sync = question;
        for table in self.tables.values_mut().filter(|table| table.owner.as_ref() == Some(&name)) {
            table.begin_session();
        }
        self.ready_peers.insert(name);
    }

    pub(super) fn elected(&mut self, name: ControllerName, term: Term) {
        let peer = self.peers.entry(name).or_default();
        peer.term = peer.term.max(term);
    }

    /// Everything that it said stands.
    pub(super) fn disconnect(&mut self, name: &ControllerName, now: Now) {
        let Some(peer) = self.peers.get_mut(name) else { return };
        peer.connected = false;
        peer.since_wall_ms = now.wall_ms;
        peer.welcomed = false;
        peer.outbox = Outbox::default();
    }

    pub(super) fn peer_took(&mut self, name: ControllerName, messages: u32) {
        if let Some(peer) = self.peers.get_mut(&name).filter(|peer| peer.connected) {
            peer.outbox.untaken = peer.outbox.untaken.saturating_sub(messages);
            self.ready_peers.insert(name);
        }
    }

    pub(super) fn obey(
        &mut self,
        name: &ControllerName,
        message: FromLogical,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let Some(peer) = self.peers.get_mut(name).filter(|peer| peer.connected) else {
            self.counters.stale_messages += 1;
            return;
        };
        if !peer.welcomed && !matches!(message, FromLogical::Welcome { .. }) {
            self.close_peer(name, "it did not say welcome first".to_owned(), now, actions);
            return;
        }
        match message {
            FromLogical::Welcome { protocol, name: called, term } => {
                let reason = if protocol != PROTOCOL {
                    format!("it speaks protocol {protocol}, this physical controller speaks {PROTOCOL}")
                } else if called != *name {
                    format!("it calls itself {called}, and is {name} by its session")
                } else if term < peer.term && !bug!(DropTermCheck) {
                    self.counters.refused_welcomes += 1;
                    format!("its term {} is lower than {}, which was obeyed", term.0, peer.term.0)
                } else {
                    self.welcome(name, term);
                    return;
                };
                self.close_peer(name, reason, now, actions);
            }
            FromLogical::Outline(outline) => self.outline(name, outline, now, actions),
            FromLogical::Table(update) => self.install(name, update, now, actions),
            FromLogical::NoChange { vtep, logical_switch } => {
                let session = self.vteps.get_mut(&vtep).and_then(|vtep| vtep.session.as_mut());
                if let Some(session) = session {
                    session.no_change.insert(logical_switch);
                    self.ready_vteps.insert(vtep);
                }
            }
            FromLogical::Resync { vtep, logical_switch } => {
                // While a session's first inventory comes in, the mirror is that of the session before.
                let current = |vtep: &Vtep| {
                    vtep.mirror.heard() && vtep.session.as_ref().is_none_or(|session| session.inventoried)
                };
                let heard = self.vteps.get(&vtep).is_some_and(current);
                let owned = self.roster.owner(&logical_switch) == Some(name);
                if heard && owned && self.roster.is_member(&vtep, &logical_switch) {
                    self.tell_pair_whole((vtep, logical_switch));
                }
            }
            // One that was succeeded meanwhile does not know what its successor distributes.
            FromLogical::Synced { token } if peer.session_term == peer.term || bug!(FormerAnswers) => {
                self.synced(name, token);
            }
            FromLogical::Synced { .. } | FromLogical::Heartbeat { .. } => {}
        }
    }

    pub(super) fn release(
        &mut self,
        logical_switch: &LogicalSwitchName,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let Some(table) = self.tables.get_mut(logical_switch).filter(|table| table.kept() > 0) else {
            return;
        };
        let rows = table.release();
        let fields: [(&str, &dyn std::fmt::Display); 2] =
            [("logical_switch", logical_switch), ("rows", &rows)];
        actions.push(notice(false, "withdrawals released", &fields));
        self.mark_members(logical_switch, now);
    }

    pub(super) fn tick_peers(&mut self, beat: bool, now: Now) {
        for (name, peer) in self.peers.iter_mut().filter(|(_, peer)| peer.connected) {
            peer.outbox.heartbeat |= beat && peer.welcomed;
            self.ready_peers.insert(name.clone());
        }
        if !beat {
            return;
        }
        for (name, table) in &mut self.tables {
            let orphan = !self.roster.networks.contains_key(name);
            table.orphan_since_ms = orphan.then(|| table.orphan_since_ms.unwrap_or(now.mono_ms));
        }
        if self.roster.missing.is_empty() && now.mono_ms >= self.grace_until_ms {
            self.tables.retain(|_, table| {
                table.orphan_since_ms.is_none_or(|since| now.mono_ms.saturating_sub(since) < ORPHAN_MS)
            });
        }
    }

    fn welcome(&mut self, name: &ControllerName, term: Term) {
        let ours = |vtep: &&VtepName| self.roster.served.contains_key(*vtep) && self.serves(vtep);
        let ours = self.vteps.keys().filter(ours).cloned().collect();
        let Some(peer) = self.peers.get_mut(name) else { return };
        (peer.term, peer.session_term) = (term, term);
        peer.welcomed = true;
        peer.outbox.statuses = ours;
        self.ready_peers.insert(name.clone());
    }

    fn outline(&mut self, name: &ControllerName, outline: Outline, now: Now, actions: &mut Vec<Action>) {
        let Some(peer) = self.peers.get_mut(name) else { return };
        // A session's messages come in order: only within it can a lower version be an older one.
        let known = peer.outline.as_ref().filter(|_| peer.outline_told);
        let older = known.is_some_and(|known| outline.version < known.version);
        if outline.term != peer.term || older {
            peer.refused += 1;
            self.counters.refused_outlines += 1;
            let fields: [(&str, &dyn std::fmt::Display); 3] =
                [("logical_controller", name), ("term", &outline.term.0), ("obeyed", &peer.term.0)];
            actions.push(notice(true, "outline refused: it is older than one that was obeyed", &fields));
            return;
        }
        let first = !std::mem::replace(&mut peer.outline_told, true);
        let same = peer.outline.as_ref() == Some(&outline);
        peer.outline = Some(outline);
        if !same {
            self.merge(now, actions);
        }
        if first || !same {
            self.admit_vteps(now, actions);
            self.tell_pairs();
        }
    }

    fn merge(&mut self, now: Now, actions: &mut Vec<Action>) {
        let outlines = self.peers.iter().filter_map(|(name, peer)| Some((name, peer.outline.as_ref()?)));
        let roster = Roster::merge(outlines, &self.roster);
        let before = std::mem::replace(&mut self.roster, roster);
        for conflict in self.roster.conflicts.difference(&before.conflicts) {
            actions.push(notice(true, format!("logical controllers contradict each other: {conflict}"), &[]));
        }
        if self.served.as_ref() != Some(&self.roster.served) {
            self.served = Some(self.roster.served.clone());
            actions.push(Action::Serve(self.roster.served.clone()));
        }
        for (name, vtep) in &mut self.vteps {
            let Some(session) = &mut vtep.session else { continue };
            session.outline_due = true;
            let networks = self.roster.memberships.get(name);
            let takes_part =
                |name: &LogicalSwitchName| networks.is_some_and(|networks| networks.contains(name));
            session.cursors.retain(|name, _| takes_part(name));
            session.no_change.retain(takes_part);
            session.behind_since_ms.retain(|name, _| takes_part(name));
            if session.sending.as_ref().is_some_and(|sending| !takes_part(&sending.logical_switch)) {
                session.sending = None;
            }
            let earlier = before.memberships.get(name);
            for logical_switch in networks.into_iter().flatten() {
                if earlier.is_none_or(|earlier| !earlier.contains(logical_switch)) {
                    session.mark(logical_switch);
                    session.behind_since_ms.entry(logical_switch.clone()).or_insert(now.mono_ms);
                }
            }
            self.ready_vteps.insert(name.clone());
        }
        self.status_due.extend(self.vteps.keys().cloned());
    }

    fn install(&mut self, name: &ControllerName, update: TableUpdate, now: Now, actions: &mut Vec<Action>) {
        let logical_switch = update.logical_switch.clone();
        if self.roster.owner(&logical_switch) != Some(name) {
            let refused = format!("{name} does not own it");
            self.refuse_table(name, &logical_switch, &refused, actions);
            return;
        }
        let Some(peer) = self.peers.get_mut(name) else { return };
        if update.term != peer.term {
            let refused = format!("its term {} is not {}, that of its session", update.term.0, peer.term.0);
            self.refuse_table(name, &logical_switch, &refused, actions);
            return;
        }
        let table = self.tables.entry(logical_switch.clone()).or_default();
        let kept = table.kept();
        let names_more = match table.install(name, update, now) {
            Installed::Nothing => return,
            Installed::Changed { names_more } => names_more,
            Installed::Kept { names_more, rows } => {
                if rows != kept {
                    let message =
                        "a snapshot leaves out too many rows: they are kept until they are released";
                    let fields: [(&str, &dyn std::fmt::Display); 2] =
                        [("logical_switch", &logical_switch), ("rows", &rows)];
                    actions.push(notice(true, message, &fields));
                }
                names_more
            }
            Installed::Resync => {
                self.counters.resyncs += 1;
                peer.outbox.resyncs.insert(logical_switch);
                self.ready_peers.insert(name.clone());
                return;
            }
            Installed::Refused(refusal) => {
                self.refuse_table(name, &logical_switch, &refusal.to_string(), actions);
                return;
            }
        };
        if names_more {
            for vtep in self.roster.members(&logical_switch) {
                if let Some(session) = self.vteps.get_mut(vtep).and_then(|vtep| vtep.session.as_mut()) {
                    session.outline_due = true;
                }
            }
        }
        self.mark_members(&logical_switch, now);
    }

    fn mark_members(&mut self, logical_switch: &LogicalSwitchName, now: Now) {
        let strangers = self.roster.served.keys().filter(|_| bug!(ToldToStrangers));
        for vtep in self.roster.members(logical_switch).chain(strangers) {
            let Some(session) = self.vteps.get_mut(vtep).and_then(|vtep| vtep.session.as_mut()) else {
                continue;
            };
            session.mark(logical_switch);
            session.behind_since_ms.entry(logical_switch.clone()).or_insert(now.mono_ms);
            self.ready_vteps.insert(vtep.clone());
        }
    }

    /// The operator is told once of each: a fenced controller may go on for long.
    fn refuse_table(
        &mut self,
        name: &ControllerName,
        logical_switch: &LogicalSwitchName,
        reason: &str,
        actions: &mut Vec<Action>,
    ) {
        self.counters.refused_tables += 1;
        let Some(peer) = self.peers.get_mut(name) else { return };
        peer.refused += 1;
        if peer.outbox.noticed.len() < NOTICED_MAX && peer.outbox.noticed.insert(logical_switch.clone()) {
            let fields: [(&str, &dyn std::fmt::Display); 3] =
                [("logical_controller", name), ("logical_switch", logical_switch), ("reason", &reason)];
            actions.push(notice(true, "table refused", &fields));
        }
    }

    fn close_peer(&mut self, name: &ControllerName, reason: String, now: Now, actions: &mut Vec<Action>) {
        if let Some(peer) = self.peers.get_mut(name) {
            peer.refused += 1;
        }
        self.disconnect(name, now);
        actions.push(notice(
            true,
            "logical controller refused",
            &[("logical_controller", name), ("reason", &reason)],
        ));
        actions.push(Action::Close { peer: name.clone(), reason });
    }
}

/// Refusals in one session that the operator is told of.
const NOTICED_MAX: usize = 64;
