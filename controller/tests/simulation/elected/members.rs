//! The processes: how they begin, keep their leases and hear of elections.

use std::collections::BTreeMap;
use std::sync::Arc;

use vtep_api::Term;
use vtep_controller::logical::{self, Logical};
use vtep_controller::physical::{self, Physical, Reigns};

use super::office::{LEASE_MS, Member};
use super::world::{LinkId, TICK_MS, What, World};
use crate::observer::Verdict;
use crate::scenario::name;

impl World {
    pub(super) fn start_logical(&mut self) {
        if self.logical.is_some() {
            return;
        }
        self.logical_term = self.etcd.next_term();
        self.logical_started = self.now;
        let (term, declared, durable) = (self.logical_term, Arc::clone(&self.declared), self.durable.clone());
        self.trace.note(self.now, || format!("the logical controller begins, {term:?}"));
        let start = logical::Start { name: name("shard-0"), term, declared, durable, elected: true };
        self.logical = Some(Logical::new(start, self.now_since(self.now)));
        self.after(TICK_MS, What::LogicalTick(term));
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
        (node.member, node.told, node.elected) = (Member::default(), Reigns::default(), Term(0));
        let (life, name) = (node.life, node.name.clone());
        self.observer.physical_starts(&name);
        self.trace.note(self.now, || format!("{name} starts, {term:?}"));
        self.after(0, What::Keep { physical, life });
        self.after(1, What::Look { physical, life });
        self.after(TICK_MS, What::Tick { physical, life });
        let delay = self.random.below(1500);
        self.connect(LinkId::Peer(physical), delay);
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
        self.after(delay, What::Hear { physical, life, reigns, elected: self.logical_term });
    }

    pub(super) fn hear(&mut self, physical: usize, mut reigns: Reigns, elected: Term) -> Verdict {
        let node = &mut self.nodes[physical];
        if node.member.tenure <= self.now {
            reigns.own.clear();
        }
        if elected > node.elected {
            node.elected = elected;
            self.step(physical, physical::Event::Elected { peer: name("shard-0"), term: elected })?;
        }
        self.tell_reigns(physical, reigns)
    }

    fn tell_reigns(&mut self, physical: usize, reigns: Reigns) -> Verdict {
        if self.nodes[physical].told == reigns {
            return Ok(());
        }
        self.nodes[physical].told = reigns.clone();
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
