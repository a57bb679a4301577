//! The end of a run: the network heals, clocks run steadily, guards are released, and everything must agree with what is
//! true.

use std::collections::{BTreeMap, BTreeSet};

use vtep_api::{LogicalSwitchName, MacAddr, VtepName};
use vtep_controller::declared::TimePolicy;
use vtep_controller::{logical, physical};

use crate::observer::Verdict;
use crate::truth::Latest;
use crate::world::{LinkId, World};

/// Of each MAC its master, and everyone else.
pub(crate) type Placements = BTreeMap<(LogicalSwitchName, MacAddr), (VtepName, BTreeSet<VtepName>)>;

impl World {
    pub(crate) fn calm(&mut self) -> Verdict {
        self.quiet = true;
        self.trace.note(self.now, || "all is quiet".to_owned());
        let links: Vec<LinkId> = self.links.keys().copied().collect();
        for id in links {
            self.link(id).blocked = false;
            if self.link(id).doomed {
                self.cut(id, None);
            }
        }
        // Restarts end, sessions come back, logical controllers have waited for them.
        self.run_until(self.now + 25_000)?;
        self.release()?;
        // Those who are gone are given up.
        self.run_until(self.now + 45_000)?;
        self.release()?;
        self.run_until(self.now + 5000)?;
        self.agrees()
    }

    /// The operator looks at what the guards hold, and lets it go.
    fn release(&mut self) -> Verdict {
        self.observer.releases();
        for logical in 0..self.logicals.len() {
            for vtep in 0..self.vteps.len() {
                let vtep = self.vteps[vtep].shape.name.clone();
                self.operates(logical, logical::Operation::ReleaseStorm { vtep })?;
            }
            for at in self.owned(logical) {
                let logical_switch = self.scenario.switches[at].clone();
                self.operates(logical, logical::Operation::ReleaseWithdrawals { logical_switch })?;
            }
            for frozen in self.logicals[logical].durable.frozen.clone() {
                let (logical_switch, mac) = (frozen.logical_switch, frozen.mac);
                self.operates(logical, logical::Operation::ClearDuplicate { logical_switch, mac })?;
            }
        }
        for physical in 0..self.physicals.len() {
            for logical_switch in self.scenario.switches.clone() {
                let operation = physical::Operation::ReleaseWithdrawals { logical_switch };
                self.physical(physical, physical::Event::Operate(operation))?;
            }
        }
        Ok(())
    }

    fn operates(&mut self, logical: usize, operation: logical::Operation) -> Verdict {
        self.logical(logical, logical::Event::Operate(operation))
    }

    pub(crate) fn placements(&self) -> Placements {
        let mut placements = Placements::new();
        for name in &self.scenario.switches {
            for (mac, row) in self.observer.latest(name).into_iter().flat_map(|(_, _, rows)| rows) {
                let slaves = row.placement.slaves.iter().cloned().collect();
                placements.insert((name.clone(), *mac), (row.placement.master.clone(), slaves));
            }
        }
        placements
    }

    fn agrees(&mut self) -> Verdict {
        for at in 0..self.scenario.switches.len() {
            self.tells_the_truth(at)?;
            for vtep in 0..self.vteps.len() {
                self.has_the_table(vtep, at)?;
            }
        }
        Ok(())
    }

    /// Whether a VTEP takes part, as far as was declared or it said itself.
    fn is_member(&self, vtep: usize, at: usize) -> bool {
        let (name, switch) = (&self.vteps[vtep].shape.name, &self.scenario.switches[at]);
        let declared = &self.declared;
        let bound =
            declared.bindings.get(name).is_some_and(|of| of.iter().any(|b| b.logical_switch == *switch));
        let subscribed = declared.subscriptions.get(name).is_some_and(|of| of.contains(switch));
        declared.vteps.contains_key(name)
            && declared.logical_switches.contains_key(switch)
            && (bound || subscribed || self.vteps[vtep].networks.contains(&at))
    }

    fn tells_the_truth(&self, at: usize) -> Verdict {
        let name = &self.scenario.switches[at];
        let owner = (0..self.logicals.len()).find(|&l| self.owned(l).contains(&at)).expect("it has an owner");
        let core = self.logicals[owner].core.as_ref().expect("it runs");
        let table = core.published(name);
        if !self.declared.logical_switches.contains_key(name) {
            return match table {
                Some(table) if !table.is_empty() => Err(format!("{name} is not declared, and has a table")),
                _ => Ok(()),
            };
        }
        let Some(table) = table else { return Err(format!("{name} has no table")) };
        for mac in &self.scenario.macs {
            let row = table.row(*mac);
            let durable = &self.logicals[owner].durable.pins;
            let pins = durable.iter().chain(&self.declared.pins);
            let pinned: BTreeSet<usize> = pins
                .filter(|pin| pin.logical_switch == *name && pin.mac == *mac)
                .map(|pin| self.vtep_named(&pin.vtep))
                .collect();
            if pinned.iter().any(|&vtep| !self.is_member(vtep, at) || self.vteps[vtep].gone) {
                continue;
            }
            let counts = |vtep: usize| !self.vteps[vtep].gone && self.is_member(vtep, at);
            let expected = self.truth.expected((at, *mac), counts, &pinned, self.latest());
            match (row, expected) {
                (None, None) => {}
                (Some(row), Some(expected)) => {
                    let masters = self.names(&expected.masters);
                    let named = self.names(&expected.named);
                    let placement = &row.placement;
                    let has: BTreeSet<VtepName> =
                        placement.slaves.iter().cloned().chain([placement.master.clone()]).collect();
                    if !masters.contains(&placement.master) || has != named {
                        return Err(format!(
                            "{name} {mac} is at {placement:?}; expected one of {masters:?} of {named:?}\n{}",
                            self.truth.tell((at, *mac))
                        ));
                    }
                }
                (row, expected) => {
                    return Err(format!(
                        "{name} {mac} is at {row:?}; expected {expected:?}\n{}",
                        self.truth.tell((at, *mac))
                    ));
                }
            }
        }
        if table.iter().any(|(mac, _)| !self.scenario.macs.contains(&mac)) {
            return Err(format!("{name} has a MAC that nobody ever claimed"));
        }
        Ok(())
    }

    /// By what the latest of several masters can be told.
    fn latest(&self) -> Latest {
        let faults = &self.scenario.faults;
        let orderly = !(faults.sessions
            || faults.logical_restarts
            || faults.physical_restarts
            || faults.vtep_restarts
            || faults.zombies
            || faults.lossy
            || faults.redeclared
            || faults.clocks);
        match self.declared.policy.time {
            _ if faults.storms => Latest::Anyone,
            TimePolicy::Arrival => Latest::Arrival,
            TimePolicy::PhysicalControllerTime if orderly => Latest::ReceivedAt,
            TimePolicy::PhysicalControllerTime | TimePolicy::VtepTime => Latest::Anyone,
        }
    }

    fn has_the_table(&self, vtep: usize, at: usize) -> Verdict {
        let (shape, name) = (&self.vteps[vtep].shape, &self.scenario.switches[at]);
        if self.vteps[vtep].gone || !self.declared.vteps.contains_key(&shape.name) {
            return Ok(());
        }
        let has = self.vteps[vtep].tables.get(name);
        if !self.is_member(vtep, at) {
            return match has {
                None => Ok(()),
                Some(_) => Err(format!("{} has a table of {name}, and is no member", shape.name)),
            };
        }
        let Some(has) = has else { return Err(format!("{} has no table of {name}", shape.name)) };
        let Some((term, version, rows)) = self.observer.latest(name) else {
            return Err(format!("{name} was never published"));
        };
        if has.rows != *rows {
            let differing: Vec<_> = self
                .scenario
                .macs
                .iter()
                .filter(|mac| has.rows.get(mac) != rows.get(mac))
                .map(|mac| format!("{mac}: {:?}, published is {:?}", has.rows.get(mac), rows.get(mac)))
                .collect();
            return Err(format!(
                "{} differs in {name} at {:?} {:?}, published is {term:?} {version:?}: {}",
                shape.name,
                has.term,
                has.version,
                differing.join("; ")
            ));
        }
        let outline = self.vteps[vtep].outline.as_ref().expect("it has a table");
        // One that is gone may be pinned, and its address was perhaps never known.
        let gone = &self.observer.gone;
        let unknown = |name: &&VtepName| !outline.vteps.contains_key(*name) && !gone.contains(*name);
        let named = rows.values().flat_map(|row| row.placement.slaves.iter().chain([&row.placement.master]));
        if let Some(unknown) = named.into_iter().find(|name| unknown(name)) {
            return Err(format!(
                "{} does not know where {unknown} is, which its table of {name} names",
                shape.name
            ));
        }
        let members: BTreeSet<VtepName> = (0..self.vteps.len())
            .filter(|&other| self.is_member(other, at) && !self.vteps[other].gone)
            .map(|other| self.vteps[other].shape.name.clone())
            .collect();
        let flood = &outline.networks[name].flood;
        if !members.is_subset(flood) {
            return Err(format!("{} floods {name} to {flood:?}; members are {members:?}", shape.name));
        }
        Ok(())
    }
}
