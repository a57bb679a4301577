//! Sessions and what they carry: between physical controllers and the logical ones, and VTEPs.

use vtep_api::{ControllerName, FromVtep, Term, ToVtep};
use vtep_controller::logical;
use vtep_controller::physical::{self, SessionId};

use super::station::Effect;
use super::world::{LinkId, Message, What, World};
use crate::link::{End, Link};
use crate::observer::Verdict;
use crate::scenario::Kind;

impl World {
    pub(super) fn link(&mut self, id: LinkId) -> &mut Link {
        self.links.get_mut(&id).expect("every link is there from the start")
    }

    pub(super) fn connect(&mut self, link: LinkId, delay: u64) {
        if !std::mem::replace(&mut self.link(link).opening, true) {
            self.after(delay, What::Connect(link));
        }
    }

    pub(super) fn connects(&mut self, id: LinkId) {
        let (LinkId::Peer { physical, .. } | LinkId::Vtep { physical, .. }) = id;
        let node = &self.nodes[physical];
        let is_gone = node.core.is_none();
        let up = !is_gone && node.cut_off_until <= self.now;
        let up = up
            && match id {
                LinkId::Vtep { .. } => true,
                LinkId::Peer { physical, shard } => {
                    self.reigns(shard, self.nodes[physical].elected[shard]).is_some()
                }
            };
        let open = self.link(id).at(End::Client).is_some();
        if open || (is_gone && matches!(id, LinkId::Peer { .. })) {
            return;
        }
        if !up {
            let delay = self.random.between(200, 1200);
            self.connect(id, delay);
            return;
        }
        let generation = self.link(id).begin();
        match id {
            LinkId::Peer { physical, shard } => {
                self.nodes[physical].joined[shard] = self.nodes[physical].elected[shard];
                let now = self.now;
                let accepted = self.random.between(1, 30);
                let opened = accepted + self.random.between(0, 30);
                self.link(id).arrival(End::Server, now, accepted);
                self.link(id).arrival(End::Client, now, opened);
                self.after(accepted, What::Opens { link: id, generation, end: End::Server });
                self.after(opened, What::Opens { link: id, generation, end: End::Client });
            }
            LinkId::Vtep { vtep, .. } => {
                self.link(id).open(End::Client, generation);
                let held = match self.stations[vtep].kind {
                    Kind::Agent => self.stations[vtep].held(),
                    Kind::Tor => self.adapter_says(vtep, physical),
                };
                for message in self.stations[vtep].hello(held) {
                    self.transmit(id, End::Server, Message::FromVtep(message));
                }
            }
        }
    }

    pub(super) fn opens(&mut self, id: LinkId, generation: u64, end: End) -> Verdict {
        let LinkId::Peer { physical, shard } = id else { return Ok(()) };
        if self.link(id).is_cut(generation) || self.link(id).generation != generation {
            if end == End::Client {
                let delay = self.random.between(200, 1200);
                self.connect(id, delay);
            }
            return Ok(());
        }
        self.link(id).open(end, generation);
        match end {
            End::Server => {
                let (peer, term) = self.peer(physical, shard);
                self.step_logical(shard, term, logical::Event::Connected { peer })
            }
            End::Client => {
                let peer = self.shards[shard].name.clone();
                self.step(physical, physical::Event::Connected { peer })
            }
        }
    }

    pub(super) fn closes(&mut self, id: LinkId, generation: u64, end: End) -> Verdict {
        if self.link(id).at(end) != Some(generation) {
            return Ok(());
        }
        let now = self.now;
        self.link(id).close(end, now);
        if end == End::Client {
            let delay = self.random.between(50, 1500);
            self.connect(id, delay);
        }
        match (id, end) {
            (LinkId::Peer { physical, shard }, End::Server) => {
                let (peer, term) = self.peer(physical, shard);
                self.step_logical(shard, term, logical::Event::Disconnected { peer })
            }
            (LinkId::Peer { physical, shard }, End::Client) => {
                let peer = self.shards[shard].name.clone();
                self.step(physical, physical::Event::Disconnected { peer })
            }
            (LinkId::Vtep { vtep, physical }, End::Server) => {
                let vtep = self.stations[vtep].name.clone();
                self.step(physical, physical::Event::VtepDown { vtep, session: SessionId(generation) })
            }
            (LinkId::Vtep { vtep, physical }, End::Client) => {
                self.stations[vtep].lost(physical);
                Ok(())
            }
        }
    }

    /// Each end hears of it in its own time, which may be long; one whose process is gone never does.
    pub(super) fn cut(&mut self, id: LinkId, dead: Option<End>, noticed_within: u64) {
        let at = [self.now + self.random.below(20), self.now + self.random.below(20)];
        let generation = self.link(id).generation;
        let now = self.now;
        if let Some(end) = dead {
            self.link(id).close(end, now);
        }
        if !self.link(id).cut(at) {
            return;
        }
        for end in [End::Server, End::Client].into_iter().filter(|end| dead != Some(*end)) {
            let noticed = if self.random.percent(50) { 20 } else { 20 + self.random.below(noticed_within) };
            self.after(noticed, What::Closes { link: id, generation, end });
        }
        if dead == Some(End::Client) {
            // Its process begins sessions when it starts again.
            self.link(id).opening = false;
        }
    }

    pub(super) fn transmit(&mut self, id: LinkId, to: End, message: Message) {
        let Some(generation) = self.link(id).at(to.other()) else { return };
        let within_a_process = match id {
            LinkId::Vtep { vtep, .. } => self.stations[vtep].kind == Kind::Tor,
            LinkId::Peer { .. } => false,
        };
        let delay = match self.random.percent(2) {
            _ if within_a_process => self.random.below(2),
            true => self.random.between(50, 800),
            false => self.random.between(1, 30),
        };
        let now = self.now;
        let at = self.link(id).arrival(to, now, delay);
        self.after(at - now, What::Arrives { link: id, generation, to, message: Box::new(message) });
    }

    pub(super) fn arrives(&mut self, id: LinkId, generation: u64, to: End, message: Message) -> Verdict {
        if let (Message::FromVtep(FromVtep::Hello { .. }), LinkId::Vtep { physical, .. }) = (&message, id) {
            if self.nodes[physical].core.is_none() || self.links[&id].is_cut(generation) {
                return Ok(());
            }
            self.link(id).open(End::Server, generation);
        }
        if !self.links[&id].delivers(to, generation, self.now) {
            return Ok(());
        }
        match (id, message) {
            (LinkId::Peer { physical, shard }, Message::FromLogical(message)) => {
                let peer = self.shards[shard].name.clone();
                self.step(physical, physical::Event::Message { peer, message })?;
            }
            (LinkId::Peer { physical, shard }, Message::FromPhysical(message)) => {
                let (peer, term) = self.peer(physical, shard);
                self.step_logical(shard, term, logical::Event::Message { peer, message })?;
            }
            (LinkId::Vtep { vtep, physical }, Message::FromVtep(message)) => {
                let vtep = self.stations[vtep].name.clone();
                return self
                    .step(physical, physical::Event::Vtep { vtep, session: SessionId(generation), message });
            }
            (LinkId::Vtep { vtep, physical }, Message::ToVtep(message)) => {
                self.takes(vtep, physical, message)?;
            }
            (_, message) => unreachable!("{message:?} does not go there"),
        }
        let delay = self.random.between(0, 5);
        self.after(delay, What::Taken { link: id, generation, end: to.other() });
        Ok(())
    }

    pub(super) fn taken(&mut self, id: LinkId, generation: u64, end: End) -> Verdict {
        if self.links[&id].at(end) != Some(generation) {
            return Ok(());
        }
        match (id, end) {
            (LinkId::Peer { physical, shard }, End::Server) => {
                let (peer, term) = self.peer(physical, shard);
                self.step_logical(shard, term, logical::Event::Taken { peer, messages: 1 })
            }
            (LinkId::Peer { physical, shard }, End::Client) => {
                let peer = self.shards[shard].name.clone();
                self.step(physical, physical::Event::Taken { peer, messages: 1 })
            }
            (LinkId::Vtep { vtep, physical }, End::Server) => {
                let (vtep, session) = (self.stations[vtep].name.clone(), SessionId(generation));
                self.step(physical, physical::Event::VtepTaken { vtep, session, messages: 1 })
            }
            (LinkId::Vtep { .. }, End::Client) => Ok(()),
        }
    }

    /// A physical controller as a logical one knows it, and which of these it is.
    fn peer(&self, physical: usize, shard: usize) -> (ControllerName, Term) {
        (self.nodes[physical].name.clone(), self.nodes[physical].joined[shard])
    }

    fn takes(&mut self, vtep: usize, physical: usize, message: ToVtep) -> Verdict {
        self.trace.note(self.now, || format!("v{vtep} ← pc-{physical}: {message:?}"));
        if self.stations[vtep].kind == Kind::Tor {
            self.adapter_takes(vtep, physical, message);
            return Ok(());
        }
        let link = LinkId::Vtep { vtep, physical };
        for effect in self.stations[vtep].take(physical, message) {
            match effect {
                Effect::Reply(reply) => self.transmit(link, End::Server, Message::FromVtep(reply)),
                Effect::Reached { logical_switch, removed, reached } => {
                    let station = &self.stations[vtep];
                    let table = station.table(&logical_switch);
                    self.observer.reached(&logical_switch, table, &removed, &station.name)?;
                    let slow = self.random.percent(10);
                    let delay =
                        if slow { self.random.between(100, 3000) } else { self.random.between(1, 40) };
                    self.after(delay, What::Installed { vtep, reached });
                }
                Effect::Refused => self.cut(link, None, 50),
                Effect::Wrong(what) => return Err(what),
            }
        }
        Ok(())
    }

    /// An agent's kernel follows.
    pub(super) fn installed(&mut self, vtep: usize, reached: u64) {
        for (applied, to_server_alone) in self.stations[vtep].installed(reached) {
            let server = self.stations[vtep].serving;
            for physical in 0..self.nodes.len() {
                if !to_server_alone || server == Some(physical) {
                    let link = LinkId::Vtep { vtep, physical };
                    self.transmit(link, End::Server, Message::FromVtep(applied.clone()));
                }
            }
        }
    }
}
