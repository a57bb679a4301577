//! What physical controllers say.

use vtep_api::{Claims, ControllerName, FromPhysical, Held, PROTOCOL, Sighting, Term, VtepName};

use super::distribute::Peer;
use super::sightings::Sight;
use super::switch::Heard;
use super::vteps::Applied;
use super::{Action, Logical};
use crate::Now;
use crate::bugs::bug;

impl Logical {
    pub(super) fn connect(&mut self, peer: ControllerName, now: Now, actions: &mut Vec<Action>) {
        self.disconnect(&peer, now, actions);
        self.peers.insert(peer, Peer::default());
    }

    pub(super) fn disconnect(&mut self, peer: &ControllerName, now: Now, actions: &mut Vec<Action>) {
        if self.peers.remove(peer).is_some() {
            self.forget_strangers(peer);
            self.cut(peer, now, actions);
        }
    }

    fn close(&mut self, peer: &ControllerName, reason: String, now: Now, actions: &mut Vec<Action>) {
        actions.push(Action::Close { peer: peer.clone(), reason });
        self.disconnect(peer, now, actions);
    }

    pub(super) fn hear(
        &mut self,
        peer: &ControllerName,
        message: FromPhysical,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let Some(session) = self.peers.get_mut(peer) else { return };
        if let FromPhysical::Hello { protocol, name, term, tables } = message {
            if let Err(reason) = self.greet(peer, protocol, &name, term, tables) {
                self.close(peer, reason, now, actions);
            }
            return;
        }
        if !session.greeted {
            self.close(peer, "the first message is not a hello".to_owned(), now, actions);
            return;
        }
        match message {
            FromPhysical::Hello { .. } | FromPhysical::Heartbeat { .. } => {}
            FromPhysical::Vtep { vtep, status, reign } => {
                if self.obeys(&vtep, reign) {
                    self.hear_status(peer, vtep, status, now, actions);
                }
            }
            FromPhysical::Claims(claims) => self.claims(peer, claims, now, actions),
            FromPhysical::Applied { vtep, held } => {
                let Held { logical_switch, term, version } = held;
                match self.vteps.declared(&vtep) {
                    Some(vtep) if self.elected && self.vteps[vtep].peer.as_ref() != Some(peer) => {
                        self.counters.fenced += 1;
                    }
                    Some(vtep) if self.switches.contains_key(&logical_switch) => {
                        let applied = Applied { term, version, wall_ms: now.wall_ms };
                        self.vteps[vtep].applied.insert(logical_switch, applied);
                    }
                    _ => self.counters.strange += 1,
                }
            }
            FromPhysical::Resync { logical_switch } => session.restart(&logical_switch),
            FromPhysical::Sightings { witness, sightings } => {
                self.sightings(peer, &witness, sightings, now, actions);
            }
            FromPhysical::Sync { token } => session.sync(token),
        }
    }

    /// By an election: not of a term that is over. The VTEP may not be declared here yet.
    fn obeys(&mut self, vtep: &VtepName, reign: Option<Term>) -> bool {
        let Some(reign) = reign.filter(|_| self.elected) else { return !self.elected };
        let vtep = self.vteps.number(vtep);
        let known = &mut self.vteps[vtep].reign;
        if reign < *known && !bug!(ReignUnheeded) {
            self.counters.fenced += 1;
            return false;
        }
        self.persist |= reign > *known;
        *known = reign;
        true
    }

    fn greet(
        &mut self,
        peer: &ControllerName,
        protocol: u32,
        name: &ControllerName,
        term: Term,
        tables: Vec<Held>,
    ) -> Result<(), String> {
        if protocol != PROTOCOL {
            return Err(format!("protocol {protocol} is not spoken here; expected {PROTOCOL}"));
        }
        if name != peer {
            return Err(format!("it says that it is {name}, but is known as {peer}"));
        }
        let known = self.terms.entry(peer.clone()).or_insert(term);
        if term < *known {
            return Err(format!("term {} is over; expected at least {}", term.0, known.0));
        }
        *known = term;
        let own = self.term;
        let session = self.peers.get_mut(peer).expect("only a peer that is there is greeted");
        if session.greeted {
            return Err("it says hello a second time".to_owned());
        }
        let mine = tables.into_iter().filter(|held| held.term == own);
        session.greet(mine.map(|held| (held.logical_switch, held.version)).collect());
        self.outlines_stale = true;
        Ok(())
    }

    fn claims(&mut self, peer: &ControllerName, claims: Claims, now: Now, actions: &mut Vec<Action>) {
        let vtep =
            self.vteps.declared(&claims.vtep).filter(|&vtep| self.vteps[vtep].peer.as_ref() == Some(peer));
        let member =
            |vtep| self.switches.get(&claims.logical_switch).is_some_and(|s| s.members.contains(&vtep));
        // What a VTEP said that was given up says nothing, though its physical controller still knows it.
        let counts = |vtep: super::vteps::VtepId| member(vtep) && !self.vteps[vtep].expired;
        let Some(vtep) = vtep.filter(|&vtep| counts(vtep)) else {
            if self.elected && self.is_anothers(&claims.vtep, peer) {
                self.counters.fenced += 1;
            } else {
                self.counters.strange += 1;
            }
            return;
        };
        let network = claims.logical_switch.clone();
        let (switches, mut cx) = self.parts(now, actions);
        let switch = switches.get_mut(&network).expect("a VTEP is a member of it");
        match switch.hear(vtep, claims, &mut cx) {
            Heard::Part => {}
            Heard::Whole => {
                let wants_more = switch.tellers.get(&vtep).is_some_and(|teller| teller.refused > 0);
                if wants_more {
                    self.to_ask.insert((network.clone(), vtep));
                }
            }
            Heard::Unfounded => {
                self.ask(&network, vtep, now);
            }
        }
        self.touched.insert(network);
    }

    /// Whether somebody else speaks of a VTEP, by a term that is not lower than that of whoever did before.
    fn is_anothers(&self, vtep: &VtepName, peer: &ControllerName) -> bool {
        let known = self.vteps.declared(vtep).and_then(|vtep| self.vteps[vtep].peer.as_ref());
        known.is_some_and(|known| known != peer)
    }

    fn sightings(
        &mut self,
        peer: &ControllerName,
        witness: &VtepName,
        sightings: Vec<Sighting>,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let told = self.vteps.declared(witness).filter(|&vtep| self.vteps[vtep].peer.as_ref() == Some(peer));
        let Some(witness) = told else {
            self.counters.strange += 1;
            return;
        };
        for sighting in sightings {
            let sender = self.vteps.declared(&sighting.sender).filter(|sender| *sender != witness);
            let (switches, mut cx) = self.parts(now, actions);
            let switch = switches.get_mut(&sighting.logical_switch);
            let switch = switch.filter(|switch| switch.members.contains(&witness));
            let (Some(switch), Some(sender)) = (switch, sender) else {
                cx.counters.strange += 1;
                continue;
            };
            cx.counters.sightings += 1;
            let Sighting { logical_switch, mac, as_slave, count, .. } = sighting;
            let (first_wall_ms, last_wall_ms) = (now.wall_ms, now.wall_ms);
            let count = u64::from(count);
            let seen = Sight { witness, sender, as_slave, first_wall_ms, last_wall_ms, count };
            if switch.see(mac, seen, &mut cx) {
                self.touched.insert(logical_switch);
            }
        }
    }
}
