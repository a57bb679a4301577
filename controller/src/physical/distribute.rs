//! Towards VTEPs: each is sent the tables of the logical switches that it takes part in, from where it is to where the
//! table is, at its own pace.

use std::collections::BTreeSet;

use vtep_api::{
    Change, LogicalSwitchName, MacAddr, Outline, PROTOCOL, ROWS_MAX, TableUpdate, ToVtep, VtepName,
    VtepOutline,
};

use super::table::Table;
use super::vtep::{Cursor, Live, Sending};
use super::{Action, Physical, WINDOW};
use crate::Now;
use crate::bugs::bug;

impl Physical {
    pub(super) fn distribute(&mut self, name: &VtepName, now: Now, actions: &mut Vec<Action>) {
        loop {
            let Some(vtep) = self.vteps.get_mut(name) else { return };
            let Some(session) = vtep.session.as_mut() else { return };
            if session.untaken >= WINDOW {
                #[cfg(feature = "seeded-bugs")]
                if bug!(LostWhenSlow) {
                    session.skip_due(&self.tables);
                }
                return;
            }
            let Some(message) = self.next_for(name, now) else { return };
            let Some(vtep) = self.vteps.get_mut(name) else { return };
            let Some(session) = &mut vtep.session else { return };
            session.untaken += 1;
            if let ToVtep::Table(update) = &message {
                vtep.counters.pushes += 1;
                vtep.counters.rows_pushed += update.changes.len() as u64;
                vtep.counters.snapshots += u64::from(update.from.is_none() && update.end);
            }
            actions.push(Action::ToVtep { vtep: name.clone(), session: session.id, message });
        }
    }

    fn next_for(&mut self, name: &VtepName, now: Now) -> Option<ToVtep> {
        let session = self.vteps.get_mut(name)?.session.as_mut()?;
        if !session.admitted {
            return self.next_for_standby(name);
        }
        let term = self.term_of(name)?;
        let session = self.vteps.get_mut(name)?.session.as_mut()?;
        if !std::mem::replace(&mut session.welcomed, true) {
            let (name, elected) = (self.start.name.clone(), self.start.elected);
            return Some(ToVtep::Welcome { protocol: PROTOCOL, name, term, elected });
        }
        let heard = self.is_outline_heard_for(name);
        let session = self.vteps.get_mut(name)?.session.as_mut()?;
        if heard && std::mem::take(&mut session.outline_due) {
            let outline = self.outline_of(name, now);
            let session = self.vteps.get_mut(name)?.session.as_mut()?;
            if session.outline.as_ref() != Some(&outline) {
                if outline.complete {
                    session.held.retain(|name, _| outline.networks.contains_key(name));
                }
                session.outline = Some(outline.clone());
                return Some(ToVtep::Outline(outline));
            }
        }
        let session = self.vteps.get_mut(name)?.session.as_mut()?;
        if let Some(update) = continue_sending(session, &self.tables, now) {
            return Some(ToVtep::Table(update));
        }
        while let Some(logical_switch) = self.next_due(name) {
            let Some(table) = self.tables.get(&logical_switch) else { continue };
            let session = self.vteps.get_mut(name)?.session.as_mut()?;
            session.sending = plan(session, &logical_switch, table);
            if let Some(update) = continue_sending(session, &self.tables, now) {
                return Some(ToVtep::Table(update));
            }
        }
        let session = self.vteps.get_mut(name)?.session.as_mut()?;
        if let Some(logical_switch) = session.no_change.pop_first() {
            return Some(ToVtep::NoChange { logical_switch });
        }
        std::mem::take(&mut session.heartbeat).then_some(ToVtep::Heartbeat { wall_ms: now.wall_ms })
    }

    /// An agent is told who serves it. A TOR's adapter is ours, and mirrors it anyhow.
    fn next_for_standby(&mut self, name: &VtepName) -> Option<ToVtep> {
        let host = self.roster.served.get(name).is_some_and(|served| served.ovsdb.is_none());
        if !host || !self.start.elected || self.serves(name) {
            return None;
        }
        let server = self.reigns.others.get(name).cloned();
        let session = self.vteps.get_mut(name)?.session.as_mut()?;
        if std::mem::replace(&mut session.stands_by, true) && session.server_told == server {
            return None;
        }
        session.server_told.clone_from(&server);
        Some(ToVtep::Standby { protocol: PROTOCOL, name: self.start.name.clone(), server })
    }

    /// The next logical switch that it takes part in, and of which it may be told. One that waits for its logical controller
    /// comes again when that has answered.
    fn next_due(&mut self, name: &VtepName) -> Option<LogicalSwitchName> {
        loop {
            let next = self.vteps.get_mut(name)?.session.as_mut()?.next_due()?;
            let owner = self.tables.get(&next).and_then(|table| table.owner.as_ref());
            let current = owner.is_some_and(|owner| self.is_current_for(name, owner));
            if current && (self.roster.is_member(name, &next) || bug!(ToldToStrangers)) {
                return Some(next);
            }
        }
    }

    fn is_outline_heard_for(&self, name: &VtepName) -> bool {
        self.peers.iter().any(|(peer, known)| known.outline.is_some() && self.is_current_for(name, peer))
    }

    fn outline_of(&self, name: &VtepName, now: Now) -> VtepOutline {
        let named = |logical_switch: &LogicalSwitchName| -> Option<&BTreeSet<VtepName>> {
            self.tables.get(logical_switch).map(|table| &table.named)
        };
        let mut outline = self.roster.outline_for(name, named, |owner| self.is_current_for(name, owner));
        let own = self.vteps.get(name).and_then(|vtep| vtep.state.as_ref()).map(|state| &state.networks);
        let as_it_says =
            own.is_some_and(|own| own.iter().all(|network| outline.networks.contains_key(network)));
        let began_ms =
            self.vteps.get(name).and_then(|vtep| vtep.session.as_ref()).map_or(0, |session| session.began_ms);
        let is_unplaced = |outline: &Outline| outline.unplaced.contains(name);
        let unplaced = self.peers.values().filter_map(|peer| peer.outline.as_ref()).any(is_unplaced)
            && !bug!(PlaceAssumed);
        let graced = now.mono_ms >= self.grace_until_ms.max(began_ms + super::GRACE_MS);
        let known = (as_it_says && !unplaced) || graced;
        let heard = self.roster.missing.is_empty() && self.is_current(name) && known;
        outline.complete = heard || bug!(OutlineTooEarly);
        outline
    }
}

/// What leads the session's VTEP to the present table, if that is not where it is.
fn plan(session: &mut Live, logical_switch: &LogicalSwitchName, table: &Table) -> Option<Sending> {
    let published = &table.published;
    if !session.cursors.contains_key(logical_switch)
        && let Some(held) = session.held.get(logical_switch)
    {
        // It is ahead of us: what we have is older, and we shall be told.
        if (held.term, held.version) > (table.term, published.version()) {
            return None;
        }
        let held = session.held.remove(logical_switch)?;
        // The VTEP may have heard more than its kernel has: where that was passed over here, a delta would not undo it.
        if held.term == table.term && !published.is_passed_over_after(held.version) {
            let exact = table.is_exact_at(held.version);
            let (term, version) = (held.term, held.version);
            let cursor = Cursor { generation: table.generation, term, version, exact, sent_wall_ms: 0 };
            session.cursors.insert(logical_switch.clone(), cursor);
        }
    }
    let cursor = session.cursors.get(logical_switch);
    let sending = |from, to, complete, exact, rest: Vec<_>| Sending {
        logical_switch: logical_switch.clone(),
        generation: table.generation,
        from,
        to,
        complete,
        exact,
        rest: rest.into_iter(),
    };
    if let Some(cursor) = cursor.filter(|cursor| cursor.generation == table.generation)
        && (cursor.exact || !table.complete)
    {
        if cursor.version == published.version() {
            return None;
        }
        if let Some(changes) = published.since(cursor.version) {
            let named = |(mac, change)| match change {
                Change::Put(_) => (mac, None),
                Change::Remove(cause) => (mac, Some(cause)),
            };
            let rest = changes.into_iter().map(named).collect();
            return Some(sending(
                Some(cursor.version),
                published.version(),
                table.complete,
                cursor.exact,
                rest,
            ));
        }
    }
    let bridged = cursor.zip(table.bridge.as_ref()).filter(|(cursor, bridge)| {
        cursor.exact && cursor.generation + 1 == table.generation && cursor.version == bridge.from
    });
    if let Some((_, bridge)) = bridged {
        let puts = bridge.puts.iter().map(|mac| (*mac, None)).collect();
        return Some(sending(None, bridge.to, false, true, puts));
    }
    let rest = published.iter().map(|(mac, _)| (mac, None)).collect();
    Some(sending(None, published.version(), table.complete, table.complete, rest))
}

fn continue_sending(
    session: &mut Live,
    tables: &std::collections::BTreeMap<LogicalSwitchName, Table>,
    now: Now,
) -> Option<TableUpdate> {
    let sending = session.sending.as_mut()?;
    let logical_switch = sending.logical_switch.clone();
    let Some(table) = tables.get(&logical_switch).filter(|table| table.generation == sending.generation)
    else {
        session.sending = None;
        session.mark(&logical_switch);
        return None;
    };
    let part = sending.rest.by_ref().take(ROWS_MAX);
    let changes: Vec<(MacAddr, Change)> = part
        .filter_map(|(mac, cause)| match (table.published.row(mac), cause) {
            (Some(row), _) => Some((mac, Change::Put(row.clone()))),
            (None, Some(cause)) => Some((mac, Change::Remove(cause))),
            // It went meanwhile: the next update says why.
            (None, None) => None,
        })
        .collect();
    let end = sending.rest.len() == 0;
    let (from, to, complete) = (sending.from, sending.to, sending.complete);
    if end {
        let (term, exact) = (table.term, sending.exact);
        let cursor =
            Cursor { generation: table.generation, term, version: to, exact, sent_wall_ms: now.wall_ms };
        session.cursors.insert(logical_switch.clone(), cursor);
        session.sending = None;
        if to < table.published.version() || (table.complete && !exact) {
            session.mark(&logical_switch);
        }
    }
    Some(TableUpdate { logical_switch, term: table.term, from, to, complete, changes, end })
}
