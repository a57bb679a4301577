//! The processes: how they begin, keep their leases and hear of elections.

use std::collections::BTreeMap;
use std::sync::Arc;

use vtep_api::Term;
use vtep_controller::logical::{self, Logical};
use vtep_controller::physical::{self, Physical, Reigns};

use super::office::{LEASE_MS, Member};
use super::world::{LinkId, Reign, Shard, TICK_MS, What, World};
use crate::link::End;
use crate::observer::Verdict;

impl World {
    pub(super) fn start_logical(&mut self, shard: usize) {
        if self.shards[shard].reign.is_some() {
            return;
        }
        let term = self.etcd.next_term();
        let (now, started) = (self.now_since(self.now), self.now);
        let Shard { name, durable, .. } = &self.shards[shard];
        let (name, durable, declared) = (name.clone(), durable.clone(), Arc::clone(&self.declared));
        self.trace.note(self.now, || format!("{name} begins, {term:?}"));
        let start = logical::Start { name, term, declared, durable, elected: true };
        let core = Logical::new(start, now);
        self.shards[shard].term = term;
        self.shards[shard].reign = Some(Reign { core, term, started });
        self.after(TICK_MS, What::LogicalTick { shard, term });
    }

    /// etcd has given its office to another one, and it does not know yet.
    pub(super) fn succeed(&mut self, shard: usize) {
        let known = &mut self.shards[shard];
        if known.former.is_some() {
            return;
        }
        let Some(reign) = known.reign.take() else { return };
        let term = reign.term;
        known.former = Some(reign);
        self.start_logical(shard);
        let ends = self.random.between(50, 1200);
        self.after(ends, What::EndFormer { shard, term });
    }

    pub(super) fn end_former(&mut self, shard: usize, term: Term) {
        self.shards[shard].former.take_if(|former| former.term == term);
        for physical in 0..self.nodes.len() {
            if self.nodes[physical].joined[shard] == term {
                self.cut(LinkId::Peer { physical, shard }, Some(End::Server), 6000);
            }
        }
    }

    pub(super) fn start(&mut self, physical: usize) {
        let term = self.etcd.next_term();
        // A process of a name waits for the end of the one before.
        self.etcd.lose(physical);
        let now = self.now_since(self.now);
        let started = self.now;
        let node = &mut self.nodes[physical];
        let start = physical::Start {
            name: node.name.clone(),
            term,
            batch: self.declared.policy.batch,
            elected: true,
        };
        node.core = Some(Physical::new(start, now));
        node.started = started;
        (node.member, node.told) = (Member::default(), Reigns::default());
        node.elected.fill(Term(0));
        let (life, name) = (node.life, node.name.clone());
        self.observer.physical_starts(&name);
        self.trace.note(self.now, || format!("{name} starts, {term:?}"));
        self.after(0, What::Keep { physical, life });
        self.after(1, What::Look { physical, life });
        self.after(TICK_MS, What::Tick { physical, life });
        for shard in 0..self.shards.len() {
            let delay = self.random.below(1500);
            self.connect(LinkId::Peer { physical, shard }, delay);
        }
    }

    pub(super) fn keep(&mut self, physical: usize) {
        self.etcd.expire(self.now);
        if self.nodes[physical].no_etcd_until > self.now {
            return;
        }
        let deceived = std::mem::take(&mut self.nodes[physical].deceived);
        let had = self.etcd.has_lease(physical);
        let goes_on = had || self.nodes[physical].member.tenure <= self.now || deceived;
        if deceived && had {
            self.etcd.lose(physical);
        } else if goes_on {
            self.etcd.grant(physical, self.now);
        }
        let node = &mut self.nodes[physical];
        // That its lease is gone it is told, and begins anew.
        node.member.tenure = if goes_on { self.now + LEASE_MS } else { self.now };
    }

    /// At one revision; it is heard of a little later.
    pub(super) fn look(&mut self, physical: usize, life: u64) {
        self.etcd.expire(self.now);
        if self.nodes[physical].no_etcd_until > self.now {
            return;
        }
        self.etcd.look(physical, self.stations.len());
        let mut reigns = Reigns::default();
        for (vtep, office) in &self.etcd.offices {
            let vtep = self.stations[*vtep].name.clone();
            if office.holder == physical {
                reigns.own.insert(vtep, office.term);
            } else {
                reigns.others.insert(vtep, (self.nodes[office.holder].name.clone(), office.term));
            }
        }
        let delay = self.random.below(40);
        let elected = self.shards.iter().map(|shard| shard.term).collect();
        self.after(delay, What::Hear { physical, life, reigns, elected });
    }

    pub(super) fn hear(&mut self, physical: usize, mut reigns: Reigns, elected: &[Term]) -> Verdict {
        if self.nodes[physical].member.tenure <= self.now {
            reigns.own.clear();
        }
        for (shard, &term) in elected.iter().enumerate() {
            let known = &mut self.nodes[physical].elected[shard];
            if term <= *known {
                continue;
            }
            *known = term;
            let peer = self.shards[shard].name.clone();
            self.step(physical, physical::Event::Elected { peer, term })?;
            if self.nodes[physical].joined[shard] < term {
                self.cut(LinkId::Peer { physical, shard }, None, 20);
            }
        }
        self.tell_reigns(physical, reigns)
    }

    fn tell_reigns(&mut self, physical: usize, reigns: Reigns) -> Verdict {
        if self.nodes[physical].told == reigns {
            return Ok(());
        }
        self.nodes[physical].told = reigns.clone();
        self.adapters_hear(physical);
        self.step(physical, physical::Event::Reigns(reigns))
    }

    /// Its own clock says that its time is over.
    pub(super) fn mind_tenure(&mut self, physical: usize) -> Verdict {
        let node = &self.nodes[physical];
        if node.member.tenure > self.now || node.told.own.is_empty() {
            return Ok(());
        }
        let reigns = Reigns { own: BTreeMap::new(), ..node.told.clone() };
        self.tell_reigns(physical, reigns)
    }
}
