//! What stations do, and what goes wrong.

use vtep_api::{FromVtep, MacAddr, Origin};

use super::world::{LinkId, MACS, Message, What, World};
use crate::link::End;
use crate::scenario::Kind;

impl World {
    /// Somebody appears, moves or goes: at most one VTEP has a MAC.
    pub(super) fn operate(&mut self) {
        let number = self.random.below(MACS);
        let mac = MacAddr::new([2, 0, 0, 0, 0, u8::try_from(number).expect("there are few")]);
        let to = self.random.index(self.stations.len());
        let had = self.places.remove(&mac);
        if let Some(from) = had {
            self.stations[from].macs.remove(&mac);
            self.tell(from, mac);
        }
        if had.is_none() || (had != Some(to) && self.random.percent(70)) {
            let origin = Origin(u128::from(self.random.next()));
            self.stations[to].macs.insert(mac, origin);
            self.places.insert(mac, to);
            self.tell(to, mac);
        }
        let place = self.places.get(&mac).copied();
        self.trace.note(self.now, || format!("{mac} is at {place:?}"));
    }

    fn tell(&mut self, vtep: usize, mac: MacAddr) {
        let change = self.stations[vtep].change(&self.network, mac);
        self.tell_all(vtep, &change);
    }

    pub(super) fn tell_all(&mut self, vtep: usize, message: &FromVtep) {
        for physical in 0..self.nodes.len() {
            let link = LinkId::Vtep { vtep, physical };
            if self.link(link).at(End::Client).is_some() {
                self.transmit(link, End::Server, Message::FromVtep(message.clone()));
            }
        }
    }

    pub(super) fn fail(&mut self) {
        let physical = self.random.index(self.nodes.len());
        let vtep = self.random.index(self.stations.len());
        let until = self.now + self.random.between(500, 9000);
        let kind = self.random.below(9);
        self.trace.note(self.now, || format!("fault {kind} of pc-{physical} or v{vtep} until {until}"));
        match kind {
            0 => self.kill(physical),
            1 | 2 if self.nodes[physical].stopped_until <= self.now => {
                self.nodes[physical].stopped_until = until;
            }
            3 => self.nodes[physical].no_etcd_until = until,
            // Shorter ones are only slow: TCP tells again what was lost.
            4 | 5 => {
                let until = until + 4000;
                let node = &mut self.nodes[physical];
                (node.no_etcd_until, node.cut_off_until) = (until, until);
                let parted = self.links_of(physical).into_iter().filter(|link| self.is_remote(*link));
                parted.collect::<Vec<_>>().into_iter().for_each(|link| self.cut(link, None, 6000));
            }
            6 if self.is_remote(LinkId::Vtep { vtep, physical }) => {
                self.cut(LinkId::Vtep { vtep, physical }, None, 50);
            }
            7 if self.logical.is_some() => {
                self.logical = None;
                (0..self.nodes.len())
                    .for_each(|physical| self.cut(LinkId::Peer(physical), Some(End::Server), 6000));
                self.after(until - self.now, What::StartLogical);
            }
            8 => self.nodes[physical].deceived = true,
            _ => {}
        }
    }

    /// A TOR's adapter is in the process that hears it. How its own session with the database may fail is not modelled.
    fn is_remote(&self, link: LinkId) -> bool {
        match link {
            LinkId::Peer(_) => true,
            LinkId::Vtep { vtep, .. } => self.stations[vtep].kind == Kind::Agent,
        }
    }

    fn links_of(&self, physical: usize) -> Vec<LinkId> {
        let vteps = (0..self.stations.len()).map(|vtep| LinkId::Vtep { vtep, physical });
        vteps.chain([LinkId::Peer(physical)]).collect()
    }

    fn kill(&mut self, physical: usize) {
        if self.nodes[physical].core.take().is_none() {
            return;
        }
        self.nodes[physical].life += 1;
        for link in self.links_of(physical) {
            let dead = if matches!(link, LinkId::Peer(_)) { End::Client } else { End::Server };
            self.cut(link, Some(dead), 50);
        }
        let away = self.random.between(10, 6000);
        self.after(away, What::Start(physical));
    }
}
