//! What each physical controller is told beside tables: networks, members, addresses, and whom it serves.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use vtep_api::{
    Binding, ControllerName, Network, NetworkOutline, Outline, Replication, Served, Version, VtepName,
};

use super::switch::Switch;
use super::vteps::{Vtep, VtepId};
use super::{Action, Logical};
use crate::Now;
use crate::bugs::bug;

type Directory = BTreeMap<VtepId, IpAddr>;

impl Logical {
    /// Brings every session's outline up to date.
    pub(super) fn outline_all(&mut self, now: Now, actions: &mut Vec<Action>) {
        let (directory, conflicts) = self.vteps.directory();
        self.tell_of_conflicts(conflicts, now, actions);
        let only = self.only_peer();
        let mut members: BTreeMap<&ControllerName, BTreeSet<VtepId>> = BTreeMap::new();
        for (id, _) in self.vteps.iter().filter(|_| !self.elected) {
            if let Some(server) = self.server(id, only.as_ref()) {
                members.entry(server).or_default().insert(id);
            }
        }
        let unheard = self.unheard(now);
        let nobody = BTreeSet::new();
        // Each may be elected at any time.
        let everybody = self.vteps.iter().map(|(id, _)| id).collect();
        let greeted = self.peers.iter().filter(|(_, peer)| peer.greeted).map(|(name, _)| name);
        let outlines: Vec<(ControllerName, Outline)> = greeted
            .map(|peer| {
                let own = if self.elected { &everybody } else { members.get(peer).unwrap_or(&nobody) };
                (peer.clone(), self.outline(peer, own, &directory, &unheard, only.as_ref()))
            })
            .collect();
        self.outlines_lack = unheard;
        for (peer, outline) in outlines {
            if let Some(peer) = self.peers.get_mut(&peer) {
                peer.set_outline(outline, &mut self.outlines);
            }
        }
    }

    fn outline(
        &self,
        peer: &ControllerName,
        own: &BTreeSet<VtepId>,
        directory: &Directory,
        unheard: &BTreeSet<VtepId>,
        only: Option<&ControllerName>,
    ) -> Outline {
        let mut named = BTreeSet::new();
        let mut networks = BTreeMap::new();
        for (name, switch) in &self.switches {
            let members: BTreeSet<VtepName> =
                switch.members.intersection(own).map(|vtep| self.vteps[*vtep].name.clone()).collect();
            if members.is_empty() {
                continue;
            }
            let nodes = self.nodes(switch);
            let lacks = |vtep: &&VtepId| {
                let takes_part = nodes.contains(vtep) || switch.members.contains(vtep);
                // A TOR may take part in any of them.
                self.is_tor(**vtep) || (takes_part && self.vteps[**vtep].address().is_none())
            };
            let lacked = unheard.iter().filter(lacks).filter(|_| !bug!(MembersForgotten));
            let unheard = lacked.map(|vtep| self.vteps[*vtep].name.clone()).collect();
            let flood: BTreeSet<VtepId> =
                nodes.into_iter().filter(|vtep| directory.contains_key(vtep)).collect();
            named.extend(flood.iter().copied());
            named.extend(switch.members.iter().copied());
            named.extend(switch.ledger.vteps());
            let network = Network {
                vni: switch.declared.vni,
                unknown_unicast: switch.declared.unknown_unicast,
                replication: switch.declared.replication,
                flood: flood.into_iter().map(|vtep| self.vteps[vtep].name.clone()).collect(),
                unheard,
            };
            networks.insert(name.clone(), NetworkOutline { network, members });
        }
        let locator = |id: VtepId| {
            let vtep = &self.vteps[id];
            Some((vtep.name.clone(), vtep.locator(*directory.get(&id)?, &self.declared)))
        };
        let served = self.served(peer, only);
        let elsewhere = |name: &&VtepName| {
            let vtep = self.vteps.find(name);
            !self.elected && vtep.and_then(|vtep| self.server(vtep, only)) != Some(peer)
        };
        Outline {
            term: self.term,
            version: Version::default(),
            controllers: self.controllers(),
            networks,
            directory: named.into_iter().filter_map(locator).collect(),
            unplaced: served.keys().filter(elsewhere).cloned().collect(),
            served,
            bfd: self.declared.bfd,
        }
    }

    fn controllers(&self) -> BTreeSet<ControllerName> {
        let named =
            self.declared.logical_switches.values().filter_map(|switch| switch.logical_controller.clone());
        named.chain([self.name.clone()]).collect()
    }

    /// Who gets a copy of a flooded frame, as far as his address is known.
    fn nodes(&self, switch: &Switch) -> BTreeSet<VtepId> {
        match switch.declared.replication {
            Replication::SourceNode => switch.members.clone(),
            Replication::ServiceNode => {
                switch.declared.service_nodes.iter().filter_map(|name| self.vteps.declared(name)).collect()
            }
        }
    }

    /// VTEPs that neither said anything yet, nor did before what outlives us was written last. Others may know where they
    /// are. They are waited for as long as the claims of a lost one are kept.
    pub(super) fn unheard(&self, now: Now) -> BTreeSet<VtepId> {
        if now.mono_ms - self.began.mono_ms >= u64::from(self.declared.policy.hold_secs) * 1000 {
            return BTreeSet::new();
        }
        let unheard = |vtep: &Vtep| vtep.declared.is_some() && !vtep.is_heard() && !vtep.expired;
        self.vteps.iter().filter(|(_, vtep)| unheard(vtep)).map(|(id, _)| id).collect()
    }

    fn is_tor(&self, vtep: VtepId) -> bool {
        self.vteps[vtep].declared.as_ref().is_some_and(|declared| declared.ovsdb.is_some())
    }

    /// An agent may come to any physical controller unless one is named; a TOR's is known when there is only one.
    fn served(&self, peer: &ControllerName, only: Option<&ControllerName>) -> BTreeMap<VtepName, Served> {
        let serves =
            |(name, vtep): &(&VtepName, &crate::declared::DeclaredVtep)| match &vtep.physical_controller {
                _ if self.elected => true,
                Some(named) => named == peer,
                None if vtep.ovsdb.is_none() => true,
                None => {
                    let id = self.vteps.find(name);
                    id.and_then(|id| self.server(id, only)) == Some(peer)
                }
            };
        let bindings = |name: &VtepName| -> BTreeSet<Binding> {
            let all = self.declared.bindings.get(name).into_iter().flatten();
            all.filter(|binding| self.switches.contains_key(&binding.logical_switch)).cloned().collect()
        };
        let own = self.declared.vteps.iter().filter(serves);
        own.map(|(name, vtep)| (name.clone(), Served { ovsdb: vtep.ovsdb.clone(), bindings: bindings(name) }))
            .collect()
    }

    fn tell_of_conflicts(
        &mut self,
        conflicts: Vec<(VtepId, VtepId, IpAddr)>,
        now: Now,
        actions: &mut Vec<Action>,
    ) {
        let conflicts: BTreeMap<_, _> = conflicts.into_iter().map(|(l, f, a)| (l, (f, a))).collect();
        let old = std::mem::replace(&mut self.address_conflicts, conflicts.clone());
        let (_, mut cx) = self.parts(now, actions);
        for (later, (first, address)) in conflicts {
            if old.get(&later) == Some(&(first, address)) {
                continue;
            }
            let (vtep, has_it) = (cx.vteps[later].name.clone(), cx.vteps[first].name.clone());
            cx.notice(
                true,
                "two VTEPs have one tunnel address; the later is left out",
                &[("vtep", &vtep), ("has_it", &has_it), ("address", &address)],
            );
        }
    }
}
