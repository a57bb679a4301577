//! Messages on their way.
//!
//! The contract of a session is a stream: in order, each message once, until it ends; what is on its way when it ends is
//! lost. In a share of the runs more is taken from it than that, as far as messages carry what is needed to survive it:
//!
//! - from logical to physical controllers tables and outlines, which have versions, are lost (30 %), doubled (50 %, the
//!   second up to two seconds late) and reordered. A last update that is lost is only missed in the next session, so that
//!   a session that lost something ends at the latest when the quiet begins.
//! - towards VTEPs tables are doubled, the second late. Loss and reordering are not modelled there: a table of a new term
//!   builds on what was sent before in the same session.
//! - from physical to logical controllers changes of claims, which have stamps, are doubled, one right behind the other,
//!   and withdrawals come a second time late.

use vtep_api::{Claims, FromLogical, FromPhysical, FromVtep, Inventory, Report, TableUpdate, ToVtep};
use vtep_controller::physical::SessionId;
use vtep_controller::{logical, physical};

use crate::floods::Floods;
use crate::link::End;
use crate::observer::{Guard, Verdict};
use crate::random::Random;
use crate::vtep::{Effect, Vtep};
use crate::world::{LinkId, Message, What, World};

impl World {
    /// Counted until it is taken.
    pub(crate) fn send(&mut self, id: LinkId, to: End, message: Message) -> Verdict {
        let untaken = &mut self.link(id).untaken[to.other() as usize];
        *untaken += 1;
        if *untaken > logical::WINDOW.max(physical::WINDOW) {
            return Err(format!("{untaken} messages over {id:?} are not taken"));
        }
        self.transmit(id, to, message);
        Ok(())
    }

    pub(crate) fn transmit(&mut self, id: LinkId, to: End, message: Message) {
        let generation = self.link(id).at(to.other()).expect("who sends has a session");
        let now = self.now;
        let faults = &self.scenario.faults;
        // What is in parts has to come in order: parts have no numbers.
        let mut parts =
            if faults.parts && !faults.lossy { split(message, &mut self.random) } else { vec![message] };
        let last = parts.pop().expect("there is at least one part");
        for part in parts {
            let at = self.next_arrival(id, to);
            self.arrive_at(at, id, generation, to, part, false);
        }
        let delay = self.delay(id, to);
        let lossy = self.scenario.faults.lossy && !self.quiet;
        if lossy && is_versioned(&last) {
            let may_lose = matches!(last, Message::FromLogical(_));
            if may_lose && self.random.percent(30) {
                let at = self.link(id).arrival(to, now, delay);
                self.link(id).doomed = true;
                self.after(at - now, What::Taken { link: id, generation, end: to.other() });
                return;
            }
            if self.random.percent(50) {
                let late = self.random.below(2000);
                let overtakes = matches!(last, Message::FromLogical(FromLogical::Table(_)));
                let at = if overtakes { now + delay } else { self.next_arrival(id, to) };
                self.arrive_at(at + late, id, generation, to, last.clone(), false);
                if !overtakes {
                    return self.arrive_at(at, id, generation, to, last, true);
                }
            }
            // An outline may be lost or come twice; it comes after the welcome.
            let may_overtake = matches!(last, Message::FromLogical(FromLogical::Table(_)));
            if may_overtake && self.random.percent(30) {
                self.link(id).doomed = true;
                let late = self.random.below(500);
                return self.arrive_at(now + delay + late, id, generation, to, last, true);
            }
        } else if lossy && is_stamped(&last) && self.random.percent(50) {
            let at = self.link(id).arrival(to, now, delay);
            let late = if is_withdrawal(&last) { self.random.below(3000) } else { 0 };
            self.arrive_at(at + late, id, generation, to, last.clone(), false);
            return self.arrive_at(at, id, generation, to, last, true);
        }
        let at = self.next_arrival(id, to);
        self.arrive_at(at, id, generation, to, last, true);
    }

    /// In order. Who is slow takes his time with each, one after the other.
    fn next_arrival(&mut self, id: LinkId, to: End) -> u64 {
        let (now, delay) = (self.now, self.delay(id, to));
        let slow = to == End::Client && self.is_slow(id);
        let before = if slow { self.link(id).arrival(to, now, 0) } else { now };
        self.link(id).arrival(to, before, delay)
    }

    fn is_slow(&self, id: LinkId) -> bool {
        matches!(id, LinkId::Vtep { vtep } if self.vteps[vtep].shape.slow) && !self.quiet
    }

    fn arrive_at(&mut self, at: u64, link: LinkId, generation: u64, to: End, message: Message, taken: bool) {
        self.after(at - self.now, What::Arrives { link, generation, to, message: Box::new(message), taken });
    }

    fn delay(&mut self, id: LinkId, to: End) -> u64 {
        let slow = to == End::Client && self.is_slow(id);
        match self.random.below(100) {
            _ if slow => self.random.between(100, 2500),
            0 => self.random.between(100, 1000),
            _ => self.random.between(1, 40),
        }
    }

    pub(crate) fn arrives(
        &mut self,
        id: LinkId,
        generation: u64,
        to: End,
        message: Message,
        taken: bool,
    ) -> Verdict {
        if let (Message::FromVtep(FromVtep::Hello { tables, .. }), LinkId::Vtep { vtep }) = (&message, id) {
            let shape = &self.vteps[vtep].shape;
            if self.physicals[shape.home].core.is_none() || self.links[&id].is_cut(generation) {
                return Ok(());
            }
            let home = &self.scenario.physicals[shape.home];
            self.observer.vtep_begins(home, &shape.name);
            for held in tables {
                self.observer.vtep_has(home, &shape.name, held);
            }
            self.link(id).open(End::Server, generation);
        }
        if !self.links[&id].delivers(to, generation, self.now) {
            return Ok(());
        }
        self.deliver(id, message)?;
        if taken { self.taken(id, generation, to.other()) } else { Ok(()) }
    }

    fn deliver(&mut self, id: LinkId, message: Message) -> Verdict {
        match (id, message) {
            (LinkId::Peer { logical, physical }, Message::FromLogical(message)) => {
                let peer = self.scenario.logicals[logical].clone();
                self.physical(physical, physical::Event::Message { peer, message })
            }
            (LinkId::Peer { logical, physical }, Message::FromPhysical(message)) => {
                self.note_arrivals(&message);
                let peer = self.scenario.physicals[physical].clone();
                self.logical(logical, logical::Event::Message { peer, message })
            }
            (LinkId::Vtep { vtep }, Message::FromVtep(message)) => {
                let session = SessionId(self.links[&id].at(End::Server).expect("it was just looked at"));
                let shape = &self.vteps[vtep].shape;
                let event = physical::Event::Vtep { vtep: shape.name.clone(), session, message };
                self.physical(shape.home, event)
            }
            (LinkId::Vtep { vtep }, Message::ToVtep(message)) => self.vtep_takes(vtep, message),
            (_, message) => unreachable!("{message:?} does not go there"),
        }
    }

    fn vtep_takes(&mut self, vtep: usize, message: ToVtep) -> Verdict {
        let name = self.vteps[vtep].shape.name.clone();
        if !matches!(message, ToVtep::Heartbeat { .. }) {
            self.trace.note(self.now, || format!("{name} ← {message:?}"));
        }
        let floods = |vtep: &Vtep| vtep.outline.as_ref().map(Floods::of).unwrap_or_default();
        let before = floods(&self.vteps[vtep]);
        let effects = self.vteps[vtep].take(message);
        if self.observer.frozen {
            before.hold(&floods(&self.vteps[vtep]), &name, &self.observer.gone)?;
        }
        for effect in effects {
            match effect {
                Effect::Reply(reply) => self.vtep_says(vtep, reply),
                Effect::Reached { logical_switch, removed } => {
                    let table = &self.vteps[vtep].tables[&logical_switch];
                    self.observer.reached(&logical_switch, table, &removed, &name)?;
                }
                Effect::Refused(_) if self.scenario.faults.lossy || self.scenario.faults.zombies => {}
                Effect::Refused(why) => return Err(format!("{name} refuses {why}")),
            }
        }
        Ok(())
    }

    pub(crate) fn taken(&mut self, id: LinkId, generation: u64, end: End) -> Verdict {
        if self.links[&id].at(end) != Some(generation) {
            return Ok(());
        }
        let untaken = &mut self.link(id).untaken[end as usize];
        *untaken = untaken.saturating_sub(1);
        match (id, end) {
            (LinkId::Peer { logical, physical }, End::Server) => {
                let peer = self.scenario.physicals[physical].clone();
                self.logical(logical, logical::Event::Taken { peer, messages: 1 })
            }
            (LinkId::Peer { logical, physical }, End::Client) => {
                let peer = self.scenario.logicals[logical].clone();
                self.physical(physical, physical::Event::Taken { peer, messages: 1 })
            }
            (LinkId::Vtep { vtep }, End::Server) => {
                let shape = &self.vteps[vtep].shape;
                let (vtep, session) = (shape.name.clone(), SessionId(generation));
                self.physical(shape.home, physical::Event::VtepTaken { vtep, session, messages: 1 })
            }
            (LinkId::Vtep { .. }, End::Client) => Ok(()),
        }
    }

    pub(crate) fn note_arrivals(&mut self, message: &FromPhysical) {
        let FromPhysical::Claims(claims) = message else { return };
        let (vtep, at) = (self.vtep_named(&claims.vtep), self.switch_named(&claims.logical_switch));
        for (mac, report) in &claims.records {
            if let Report::Claim(claim) = report {
                self.truth.arrived(vtep, (at, *mac), claim, claims.snapshot);
            }
        }
        if claims.snapshot && claims.end {
            self.truth.told_all(vtep, at);
        }
    }

    /// The tables of a logical controller after a step.
    pub(crate) fn look_at(&mut self, logical: usize) -> Verdict {
        let node = &self.logicals[logical];
        let Some(core) = &node.core else { return Ok(()) };
        let policy = &self.declared.policy.mass_withdraw;
        let guard = Guard {
            entries: policy.entries,
            percent: policy.percent,
            window_ms: u64::from(policy.window_secs) * 1000,
        };
        let faults = &self.scenario.faults;
        // What the operator takes away himself is not held.
        let guarded = !self.quiet && faults.mass_withdrawals && !faults.redeclared && !faults.pins;
        let guard = guarded.then_some(guard);
        for name in &self.scenario.switches {
            let Some(table) = core.published(name) else { continue };
            self.observer.publishes(name, node.term, table.version(), table.iter(), self.now, guard)?;
        }
        Ok(())
    }
}

fn is_versioned(message: &Message) -> bool {
    matches!(
        message,
        Message::FromLogical(FromLogical::Table(_) | FromLogical::Outline(_))
            | Message::ToVtep(ToVtep::Table(_))
    )
}

fn is_stamped(message: &Message) -> bool {
    matches!(message, Message::FromPhysical(FromPhysical::Claims(claims)) if !claims.snapshot)
}

fn is_withdrawal(message: &Message) -> bool {
    let withdrawn = |(_, report): &(_, Report)| matches!(report, Report::Withdraw { .. });
    matches!(message, Message::FromPhysical(FromPhysical::Claims(claims)) if claims.records.iter().all(withdrawn))
}

/// The same in parts, as a sender may make them of anything long.
fn split(message: Message, random: &mut Random) -> Vec<Message> {
    match message {
        Message::FromLogical(FromLogical::Table(update)) => split_table(&update, random)
            .into_iter()
            .map(|part| Message::FromLogical(FromLogical::Table(part)))
            .collect(),
        Message::ToVtep(ToVtep::Table(update)) => split_table(&update, random)
            .into_iter()
            .map(|part| Message::ToVtep(ToVtep::Table(part)))
            .collect(),
        Message::FromPhysical(FromPhysical::Claims(claims)) if claims.snapshot => {
            let parts = chunks(claims.records.clone(), random);
            let last = parts.len() - 1;
            let part = |(at, records)| Claims { records, end: claims.end && at == last, ..claims.clone() };
            let message = |part| Message::FromPhysical(FromPhysical::Claims(part));
            parts.into_iter().enumerate().map(part).map(message).collect()
        }
        Message::FromVtep(FromVtep::Inventory(inventory)) if inventory.snapshot => {
            let parts = chunks(inventory.networks, random);
            let last = parts.len() - 1;
            let part =
                |(at, networks)| Inventory { snapshot: true, networks, end: inventory.end && at == last };
            let message = |part| Message::FromVtep(FromVtep::Inventory(part));
            parts.into_iter().enumerate().map(part).map(message).collect()
        }
        other => vec![other],
    }
}

fn split_table(update: &TableUpdate, random: &mut Random) -> Vec<TableUpdate> {
    let parts = chunks(update.changes.clone(), random);
    let last = parts.len() - 1;
    let part = |(at, changes)| TableUpdate { changes, end: update.end && at == last, ..update.clone() };
    parts.into_iter().enumerate().map(part).collect()
}

fn chunks<T>(mut all: Vec<T>, random: &mut Random) -> Vec<Vec<T>> {
    let mut parts = Vec::new();
    while all.len() > 1 && random.percent(60) {
        let rest = all.split_off(random.index(all.len() - 1) + 1);
        parts.push(std::mem::replace(&mut all, rest));
    }
    parts.push(all);
    parts
}
