//! What stations do, and what goes wrong.

use std::collections::BTreeSet;

use vtep_api::{FromVtep, MacAddr, Origin};

use super::world::{LinkId, MACS, Message, What, World};
use crate::link::End;
use crate::scenario::Kind;

impl World {
    /// Somebody appears, moves or goes; or claims what others go on claiming.
    pub(super) fn operate(&mut self) {
        let network = self.random.index(self.networks.len());
        let number = self.random.below(MACS);
        let mac = MacAddr::new([2, 0, 0, 0, 0, u8::try_from(number).expect("there are few")]);
        if self.random.percent(35) {
            self.claim_too(network, mac);
            return;
        }
        let had = self.places.remove(&(network, mac)).unwrap_or_default();
        for from in &had {
            self.stations[*from].macs.remove(&(self.networks[network].clone(), mac));
            self.tell(*from, network, mac);
        }
        let Some(to) = self.member(network) else { return };
        if had.is_empty() || (!had.contains(&to) && self.random.percent(70)) {
            self.claim(to, network, mac);
        }
    }

    /// One that does not have it as the last one claims it, beside whoever does.
    pub(super) fn claim_too(&mut self, network: usize, mac: MacAddr) -> bool {
        let Some(to) = self.member(network) else { return false };
        let last = self.places.get(&(network, mac)).and_then(|vteps| vteps.last());
        let other = last != Some(&to);
        if other {
            self.claim(to, network, mac);
        }
        other
    }

    fn claim(&mut self, to: usize, network: usize, mac: MacAddr) {
        let origin = Origin(u128::from(self.random.next()));
        self.stations[to].macs.insert((self.networks[network].clone(), mac), origin);
        let vteps = self.places.entry((network, mac)).or_default();
        vteps.retain(|vtep| *vtep != to);
        vteps.push(to);
        let vteps = vteps.clone();
        self.trace.note(self.now, || format!("{mac} of ls-{network} is claimed by {vteps:?}"));
        self.tell(to, network, mac);
    }

    fn member(&mut self, network: usize) -> Option<usize> {
        let name = &self.networks[network];
        let members = (0..self.stations.len()).filter(|vtep| self.stations[*vtep].takes_part(name));
        let members: Vec<_> = members.collect();
        (!members.is_empty()).then(|| *self.random.pick(&members))
    }

    fn tell(&mut self, vtep: usize, network: usize, mac: MacAddr) {
        let change = self.stations[vtep].change(&self.networks[network], mac);
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
        let shard = self.random.index(self.shards.len());
        let kind = self.random.below(10);
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
            7 => self.kill_logical(shard, until - self.now),
            8 => self.nodes[physical].deceived = true,
            9 => self.succeed(shard),
            _ => {}
        }
    }

    /// A TOR's adapter is in the process that hears it. That its own session with the database fails is not modelled, only
    /// that it is slow.
    fn is_remote(&self, link: LinkId) -> bool {
        match link {
            LinkId::Peer { .. } => true,
            LinkId::Vtep { vtep, .. } => self.stations[vtep].kind == Kind::Agent,
        }
    }

    fn links_of(&self, physical: usize) -> Vec<LinkId> {
        let vteps = (0..self.stations.len()).map(|vtep| LinkId::Vtep { vtep, physical });
        vteps.chain((0..self.shards.len()).map(|shard| LinkId::Peer { physical, shard })).collect()
    }

    fn kill_logical(&mut self, shard: usize, away: u64) {
        let Some(killed) = self.shards[shard].reign.take() else { return };
        for physical in 0..self.nodes.len() {
            if self.nodes[physical].joined[shard] == killed.term {
                self.cut(LinkId::Peer { physical, shard }, Some(End::Server), 6000);
            }
        }
        if self.random.percent(30) {
            // What it learnt last was not written any more, or etcd was put back to an older state.
            for known in self.shards[shard].durable.known.values_mut() {
                (known.address, known.networks) = (None, BTreeSet::new());
            }
        }
        self.after(away, What::StartLogical(shard));
    }

    fn kill(&mut self, physical: usize) {
        if self.nodes[physical].core.take().is_none() {
            return;
        }
        self.nodes[physical].life += 1;
        for link in self.links_of(physical) {
            let dead = if matches!(link, LinkId::Peer { .. }) { End::Client } else { End::Server };
            self.cut(link, Some(dead), 50);
        }
        for vtep in self.tors.keys().copied().collect::<Vec<_>>() {
            self.adapter_begins(vtep, physical, 3000);
        }
        let away = self.random.between(10, 6000);
        self.after(away, What::Start(physical));
    }
}
