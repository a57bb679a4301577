//! Which VTEPs are ours, where that is elected. Of the others we hear what they say, as far as they say it to us, and pass
//! nothing on: when one becomes ours, what it said last is told as whatever is told again, and nothing of it is a claim.
//!
//! Who served it before may have told it more than we have heard, and may not know yet that his time is over. So it is told
//! nothing of a logical switch before it obeys us, and then the logical controller has said that we have all that it had
//! distributed until then. One that does not answer holds back its own logical switches, and no others.

use std::collections::BTreeSet;

use vtep_api::{ControllerName, Session, Term, VtepName};

use super::mirror::Mirror;
use super::vtep::{Seal, Vtep};
use super::{Action, Physical, Reigns, SessionId, notice};
use crate::Now;
use crate::bugs::bug;

/// Agents say something every second, and end a session in which they hear nothing for five.
const SILENT_MS: u64 = 3000;

impl Physical {
    pub(super) fn reign(&mut self, reigns: Reigns, now: Now, actions: &mut Vec<Action>) {
        let before = std::mem::replace(&mut self.reigns, reigns);
        let (lost, gained): (Vec<VtepName>, Vec<VtepName>) = {
            let changed = |of: &Reigns, other: &Reigns| {
                let differs = |(vtep, term): &(&VtepName, &Term)| other.own.get(*vtep) != Some(*term);
                of.own.iter().filter(differs).map(|(vtep, _)| vtep.clone()).collect()
            };
            (changed(&before, &self.reigns), changed(&self.reigns, &before))
        };
        for vtep in lost {
            if self.stand_by(&vtep) {
                continue;
            }
            let session =
                self.vteps.get(&vtep).and_then(|known| known.session.as_ref()).map(|known| known.id);
            if let Some(session) = session {
                self.close_vtep(
                    &vtep,
                    session,
                    "another physical controller may serve it".to_owned(),
                    now,
                    actions,
                );
            }
        }
        for vtep in gained {
            let Some(term) = self.term_of(&vtep) else { continue };
            actions.push(notice(false, "VTEP is ours by election", &[("vtep", &vtep), ("term", &term.0)]));
            if let Some(session) = self.silent(&vtep, now) {
                let reason =
                    "it was silent before it became ours, and may have said more elsewhere".to_owned();
                self.close_vtep(&vtep, session, reason, now, actions);
            }
            self.take_over(&vtep, now);
        }
        // Others wait for who serves them, or have to go there.
        self.admit_vteps(now, actions);
        self.tell_pairs();
    }

    /// Nobody of a lower term is heard by it any more: what we are sent from here on is as new as anything that it heard.
    pub(super) fn seal(&mut self, vtep: &VtepName, term: Term) {
        if !self.start.elected || self.term_of(vtep) != Some(term) {
            return;
        }
        let Some(session) = self.vteps.get_mut(vtep).and_then(|vtep| vtep.session.as_mut()) else { return };
        if session.seal != Seal::Open {
            return;
        }
        self.asked += 1;
        let known = self.peers.iter_mut().filter(|(_, peer)| peer.connected || peer.outline.is_some());
        let mut awaited = BTreeSet::new();
        for (name, peer) in known {
            peer.outbox.sync = peer.connected.then_some(self.asked);
            self.ready_peers.insert(name.clone());
            awaited.insert(name.clone());
        }
        session.seal = Seal::Sealed { asked: self.asked, awaited };
        self.ready_vteps.insert(vtep.clone());
    }

    /// A logical controller has sent us all that there was when it was asked.
    pub(super) fn synced(&mut self, peer: &ControllerName, token: u64) {
        for (name, vtep) in &mut self.vteps {
            let Some(session) = &mut vtep.session else { continue };
            let Seal::Sealed { asked, awaited } = &mut session.seal else { continue };
            if *asked > token || !awaited.remove(peer) {
                continue;
            }
            if bug!(OneAnswersForAll) {
                awaited.clear();
            }
            session.outline_due = true;
            for logical_switch in self.roster.memberships.get(name).into_iter().flatten() {
                session.mark(logical_switch);
            }
            self.ready_vteps.insert(name.clone());
        }
    }

    /// What a logical controller is to be asked whose session begins.
    pub(super) fn question_for(&self, peer: &ControllerName) -> Option<u64> {
        let sessions = self.vteps.values().filter_map(|vtep| vtep.session.as_ref());
        let awaits = |seal: &Seal| matches!(seal, Seal::Sealed { awaited, .. } if awaited.contains(peer));
        sessions.map(|session| &session.seal).any(awaits).then_some(self.asked)
    }

    /// Whether of what a logical controller distributes nothing that the VTEP may have heard is newer than what we have.
    pub(super) fn is_current_for(&self, vtep: &VtepName, of: &ControllerName) -> bool {
        if !self.start.elected || bug!(StaleTakeover) {
            return true;
        }
        let session = self.vteps.get(vtep).and_then(|vtep| vtep.session.as_ref());
        session.is_some_and(|session| match &session.seal {
            Seal::Open => false,
            Seal::Sealed { awaited, .. } => !awaited.contains(of),
        })
    }

    /// Whether that is so of every logical controller.
    pub(super) fn is_current(&self, vtep: &VtepName) -> bool {
        self.peers.keys().all(|peer| self.is_current_for(vtep, peer))
    }

    /// The term by which we serve a VTEP. `None`: we do not.
    pub(super) fn term_of(&self, vtep: &VtepName) -> Option<Term> {
        if self.start.elected { self.reigns.own.get(vtep).copied() } else { Some(self.start.term) }
    }

    pub(super) fn serves(&self, vtep: &VtepName) -> bool {
        self.term_of(vtep).is_some() || bug!(SpeaksForOthers)
    }

    /// Whether it is a host, whose agent goes on telling us what it tells who serves it.
    fn stand_by(&mut self, name: &VtepName) -> bool {
        let host = self.roster.served.get(name).is_some_and(|served| served.ovsdb.is_none());
        let stands_by = host && self.vteps.get_mut(name).is_some_and(Vtep::stand_by);
        if stands_by {
            self.status_due.insert(name.clone());
        }
        stands_by
    }

    /// The session of a host's agent that has not said anything of late: both were parted, and it may have ended the session
    /// since, so that what it claimed and withdrew meanwhile was told others only.
    fn silent(&self, name: &VtepName, now: Now) -> Option<SessionId> {
        let host = self.roster.served.get(name).is_some_and(|served| served.ovsdb.is_none());
        let session = self.vteps.get(name)?.session.as_ref()?;
        let silent = now.mono_ms.saturating_sub(session.heard_ms) >= SILENT_MS;
        (host && silent).then_some(session.id)
    }

    fn take_over(&mut self, name: &VtepName, now: Now) {
        let term = self.term_of(name).unwrap_or_default();
        let host = self.roster.served.get(name).is_some_and(|served| served.ovsdb.is_none());
        let Some(vtep) = self.vteps.get_mut(name) else { return };
        if vtep.session.is_none() {
            // It was lost, if at all, to others; and a host's agent looks for few of us at a time.
            vtep.status.session = Session::Awaited;
            if host {
                vtep.away_since_ms = now.mono_ms;
            }
        }
        if vtep.session.as_ref().is_none_or(|session| !session.inventoried) {
            // What it said here at another time may be long over.
            vtep.mirror = Mirror::default();
            if !bug!(ForgottenUnsaid) {
                vtep.epoch = term.0;
                // What it tells next is no change of what was told before.
                self.peers.values_mut().for_each(|peer| peer.outbox.retain(|(vtep, _)| vtep != name));
            }
        }
        self.status_due.insert(name.clone());
        self.tell_status_to_all(name);
        if let Some(term) = self.term_of(name).filter(|_| bug!(AskedTooEarly)) {
            self.seal(name, term);
        }
    }
}
