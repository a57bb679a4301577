//! Which VTEPs are ours, where that is elected. Of the others we hear what they say, as far as they say it to us, and pass
//! nothing on: when one becomes ours, what it said last is told as whatever is told again, and nothing of it is a claim. It
//! is told nothing before every logical controller has said that we have all it had said until then.

use vtep_api::{Term, VtepName};

use super::mirror::Mirror;
use super::vtep::Vtep;
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
        self.ask_for_everything(&gained);
        for vtep in gained {
            let Some(term) = self.term_of(&vtep) else { continue };
            actions.push(notice(false, "VTEP is ours by election", &[("vtep", &vtep), ("term", &term.0)]));
            if let Some(session) = self.silent(&vtep, now) {
                let reason =
                    "it was silent before it became ours, and may have said more elsewhere".to_owned();
                self.close_vtep(&vtep, session, reason, now, actions);
            }
            self.take_over(&vtep);
        }
        // Others wait for who serves them, or have to go there.
        self.admit_vteps(now, actions);
        self.tell_pairs();
    }

    /// What we have may be old: who was cut off may be elected before he has heard what others distributed meanwhile.
    fn ask_for_everything(&mut self, gained: &[VtepName]) {
        self.asked_for.retain(|vtep, _| self.reigns.own.contains_key(vtep));
        if gained.is_empty() {
            return;
        }
        self.asked += 1;
        self.asked_for.extend(gained.iter().map(|vtep| (vtep.clone(), self.asked)));
        for (name, peer) in self.peers.iter_mut().filter(|(_, peer)| peer.connected) {
            peer.outbox.sync = Some(self.asked);
            self.ready_peers.insert(name.clone());
        }
    }

    /// Whether we have all that was distributed before the VTEP became ours.
    pub(super) fn is_current_for(&self, vtep: &VtepName) -> bool {
        let asked = self.asked_for.get(vtep).copied().unwrap_or_default();
        self.peers.values().all(|peer| peer.synced >= asked) || bug!(StaleTakeover)
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

    fn take_over(&mut self, name: &VtepName) {
        let Some(vtep) = self.vteps.get_mut(name) else { return };
        if vtep.session.as_ref().is_none_or(|session| !session.inventoried) {
            // What it said here at another time may be long over.
            vtep.mirror = Mirror::default();
        }
        self.status_due.insert(name.clone());
        self.tell_status_to_all(name);
    }
}
