//! Towards logical controllers: each hears of the logical switches that it owns, and of those only what VTEPs that take
//! part in them claim.

use vtep_api::{FromPhysical, Held, LogicalSwitchName, MacAddr, PROTOCOL, Report, Sighting, VtepName};

use super::outbox::{Outbox, Pair};
use super::vtep::Acknowledged;
use super::{Action, ControllerName, Physical, WINDOW};
use crate::Now;

impl Physical {
    /// What of a VTEP's records is new, split by who has to know.
    pub(super) fn forward_news(
        &mut self,
        vtep: &VtepName,
        news: impl Iterator<Item = (LogicalSwitchName, MacAddr, Report)>,
        now: Now,
    ) {
        if !self.serves(vtep) {
            return;
        }
        for (logical_switch, mac, report) in news {
            if !self.roster.is_member(vtep, &logical_switch) {
                continue;
            }
            let Some(owner) = self.roster.owner(&logical_switch) else { continue };
            let Some(peer) = self.peers.get_mut(owner) else { continue };
            let pair = (vtep.clone(), logical_switch);
            let merged = peer.outbox.push(&pair, mac, report, now.mono_ms);
            self.counters.merged += u64::try_from(merged).expect("fewer than 2^64 changes wait");
            self.ready_peers.insert(owner.clone());
        }
    }

    pub(super) fn forward_applied(&mut self, vtep: &VtepName, held: Held) {
        if !self.serves(vtep) {
            return;
        }
        let Some(owner) = self.roster.owner(&held.logical_switch) else { return };
        let Some(peer) = self.peers.get_mut(owner).filter(|peer| peer.welcomed) else { return };
        peer.outbox.applied.insert((vtep.clone(), held.logical_switch.clone()), held);
        self.ready_peers.insert(owner.clone());
    }

    /// What a VTEP saw, to who decides. What finds nobody there, or no room, is lost.
    pub(super) fn forward_sightings(&mut self, witness: &VtepName, sightings: Vec<Sighting>) {
        if !self.serves(witness) {
            return;
        }
        for sighting in sightings {
            if !self.roster.is_member(witness, &sighting.logical_switch) {
                continue;
            }
            let Some(owner) = self.roster.owner(&sighting.logical_switch) else { continue };
            let Some(peer) = self.peers.get_mut(owner).filter(|peer| peer.welcomed) else { continue };
            self.counters.sightings_lost += u64::from(!peer.outbox.witness(witness, sighting));
            self.ready_peers.insert(owner.clone());
        }
    }

    /// All that a VTEP claims, to all whom it concerns.
    pub(super) fn tell_whole(&mut self, vtep: &VtepName) {
        let networks: Vec<_> = self.roster.memberships.get(vtep).into_iter().flatten().cloned().collect();
        for logical_switch in networks {
            self.tell_pair_whole((vtep.clone(), logical_switch));
        }
    }

    pub(super) fn tell_pair_whole(&mut self, pair: Pair) {
        if !self.serves(&pair.0) {
            return;
        }
        let Some(owner) = self.roster.owner(&pair.1) else { return };
        let Some(peer) = self.peers.get_mut(owner).filter(|peer| peer.outline_told) else { return };
        if peer.connected {
            peer.outbox.tell_whole(pair);
            self.ready_peers.insert(owner.clone());
        }
    }

    /// Tells each logical controller of the pairs that became its business, and forgets those that are not any more.
    pub(super) fn tell_pairs(&mut self) {
        let (roster, reigns, elected) = (&self.roster, &self.reigns, self.start.elected);
        let serves = |vtep: &VtepName| !elected || reigns.own.contains_key(vtep);
        for (name, peer) in &mut self.peers {
            if !peer.connected || !peer.outline_told {
                continue;
            }
            peer.outbox.retain(|(vtep, logical_switch)| {
                let owned = roster.owner(logical_switch) == Some(name);
                owned && roster.is_member(vtep, logical_switch) && serves(vtep)
            });
            for (logical_switch, owned) in roster.networks.iter().filter(|(_, owned)| owned.owner == *name) {
                for vtep in owned.outline.members.iter().filter(|vtep| serves(vtep)) {
                    let heard = self.vteps.get(vtep).is_some_and(|vtep| vtep.mirror.heard());
                    let pair = (vtep.clone(), logical_switch.clone());
                    if !heard || peer.outbox.knows(&pair) {
                        continue;
                    }
                    peer.outbox.tell_whole(pair.clone());
                    let known = self.vteps.get(vtep).and_then(|vtep| vtep.acknowledged.get(logical_switch));
                    if let Some(&Acknowledged { term, version, .. }) = known {
                        let held = Held { logical_switch: logical_switch.clone(), term, version };
                        peer.outbox.applied.insert(pair, held);
                    }
                }
            }
            self.ready_peers.insert(name.clone());
        }
    }

    pub(super) fn tell_status_to_all(&mut self, vtep: &VtepName) {
        if !self.serves(vtep) {
            return;
        }
        for (name, peer) in self.peers.iter_mut().filter(|(_, peer)| peer.welcomed) {
            peer.outbox.statuses.insert(vtep.clone());
            self.ready_peers.insert(name.clone());
        }
    }

    /// Works out the statuses that may have changed, and tells those that did.
    pub(super) fn tell_statuses(&mut self, now: Now) {
        for name in std::mem::take(&mut self.status_due) {
            if !self.roster.served.contains_key(&name) {
                continue;
            }
            let Some(vtep) = self.vteps.get_mut(&name) else { continue };
            let outside = vtep.mirror.outside(self.roster.memberships.get(&name));
            let status = vtep.present_status(&outside);
            if status == vtep.status {
                continue;
            }
            if status.session != vtep.status.session {
                vtep.since_wall_ms = now.wall_ms;
            }
            vtep.status = status;
            self.tell_status_to_all(&name);
        }
    }

    pub(super) fn forward(&mut self, name: &ControllerName, now: Now, actions: &mut Vec<Action>) {
        loop {
            let Some(peer) = self.peers.get_mut(name).filter(|peer| peer.connected) else { return };
            if peer.outbox.untaken >= WINDOW {
                return;
            }
            let mut outbox = std::mem::take(&mut peer.outbox);
            let message = self.next_message(&mut outbox, now);
            outbox.untaken += u32::from(message.is_some());
            if let Some(peer) = self.peers.get_mut(name) {
                peer.outbox = outbox;
            }
            let Some(message) = message else { return };
            actions.push(Action::Send { peer: name.clone(), message });
        }
    }

    fn next_message(&self, outbox: &mut Outbox, now: Now) -> Option<FromPhysical> {
        if std::mem::take(&mut outbox.hello) {
            let (name, term) = (self.start.name.clone(), self.start.term);
            return Some(FromPhysical::Hello { protocol: PROTOCOL, name, term, tables: self.held() });
        }
        if let Some(logical_switch) = outbox.resyncs.pop_first() {
            return Some(FromPhysical::Resync { logical_switch });
        }
        while let Some(vtep) = outbox.statuses.pop_first() {
            let Some(term) = self.term_of(&vtep) else { continue };
            let status = self.vteps.get(&vtep).map(|vtep| vtep.told_status(now.mono_ms)).unwrap_or_default();
            let reign = self.start.elected.then_some(term);
            return Some(FromPhysical::Vtep { vtep, status, reign });
        }
        if outbox.begin_snapshot(|(vtep, logical_switch)| {
            self.vteps.get(vtep).map(|vtep| vtep.mirror.macs(logical_switch)).unwrap_or_default()
        }) {
            let claims = outbox.snapshot_part(|pair, mac| self.snapshot_claim(pair, mac));
            return claims.map(FromPhysical::Claims);
        }
        if let Some(claims) = outbox.next_changes(self.start.batch, now.mono_ms) {
            return Some(FromPhysical::Claims(claims));
        }
        if let Some(((vtep, _), held)) = outbox.applied.pop_first() {
            return Some(FromPhysical::Applied { vtep, held });
        }
        if let Some((witness, sightings)) = outbox.next_sightings() {
            return Some(FromPhysical::Sightings { witness, sightings });
        }
        if let Some(token) = outbox.sync.take() {
            return Some(FromPhysical::Sync { token });
        }
        std::mem::take(&mut outbox.heartbeat).then_some(FromPhysical::Heartbeat { wall_ms: now.wall_ms })
    }

    /// The tables from which changes lead on. One that is not whole has to be sent whole.
    fn held(&self) -> Vec<Held> {
        let told = self.tables.iter().filter(|(_, table)| table.complete && table.kept() == 0);
        told.map(|(name, table)| Held {
            logical_switch: name.clone(),
            term: table.term,
            version: table.published.version(),
        })
        .collect()
    }

    fn snapshot_claim(&self, (vtep, logical_switch): &Pair, mac: MacAddr) -> Option<Report> {
        let known = self.vteps.get(vtep)?;
        let epoch = self.start.term.0.max(known.epoch);
        let mut claim = known.mirror.claim(epoch, logical_switch, mac)?;
        let row = self.tables.get(logical_switch).and_then(|table| table.published.row(mac));
        claim.was_master = row.is_some_and(|row| row.placement.master == *vtep);
        Some(Report::Claim(claim))
    }
}
