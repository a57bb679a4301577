//! What a reign that begins does not say yet: where the master of a MAC may be a VTEP that it has not heard. Whoever has a
//! table of the reign before goes on by that; another row would be taken back when the VTEP is heard.

use std::collections::{BTreeMap, BTreeSet};

use vtep_api::{MacAddr, Role, VtepName};

use super::ledger::Flags;
use super::select::LIVE;
use super::switch::{Context, Switch};
use super::vteps::{VtepId, Vteps};

/// MACs of which nothing is said, and whom they wait for.
#[derive(Debug, Clone, Default)]
pub(super) struct Withheld {
    macs: BTreeMap<MacAddr, VtepId>,
    /// All of them.
    awaited: BTreeSet<VtepId>,
}

impl Withheld {
    pub(super) fn awaits(&self, mac: MacAddr, vteps: &Vteps) -> Option<VtepName> {
        self.macs.get(&mac).map(|vtep| vteps[*vtep].name.clone())
    }
}

impl Switch {
    /// Takes out of what is to be published what must wait.
    pub(super) fn withhold<T>(&mut self, touched: &mut Vec<(MacAddr, T)>, cx: &Context<'_>) {
        let Some(first) = self.members.iter().copied().find(|vtep| self.is_awaited(*vtep, cx)) else {
            return;
        };
        touched.retain(|(mac, _)| {
            let awaited = self.awaits(*mac, first, cx);
            match awaited {
                Some(vtep) => {
                    self.withheld.macs.insert(*mac, vtep);
                    self.withheld.awaited.insert(vtep);
                }
                None => drop(self.withheld.macs.remove(mac)),
            }
            awaited.is_none()
        });
    }

    /// What need not wait any more is looked at again.
    pub(super) fn let_go(&mut self, cx: &Context<'_>) {
        let awaited: BTreeSet<VtepId> =
            self.withheld.awaited.iter().copied().filter(|vtep| self.is_awaited(*vtep, cx)).collect();
        if awaited.len() == self.withheld.awaited.len() {
            return;
        }
        let waits = |vtep: &VtepId| awaited.contains(vtep);
        let (stay, go): (BTreeMap<_, _>, BTreeMap<_, _>) =
            std::mem::take(&mut self.withheld.macs).into_iter().partition(|(_, vtep)| waits(vtep));
        self.withheld = Withheld { macs: stay, awaited };
        for mac in go.into_keys() {
            self.touch(mac, None);
        }
    }

    /// The VTEP that may be the MAC's master though another one is, of those that were heard. `first`: of those that were not.
    fn awaits(&self, mac: MacAddr, first: VtepId, cx: &Context<'_>) -> Option<VtepId> {
        let chosen = &self.ledger[self.ledger.master(mac)?];
        // What an operator said is followed already, and what was published is not taken back.
        if chosen.flags.has(Flags::PINNED) || self.published.row(mac).is_some() {
            return None;
        }
        let other = |vtep: VtepId| (vtep != chosen.vtep && self.is_awaited(vtep, cx)).then_some(vtep);
        if let Some(frozen) = self.frozen.get(&mac) {
            return other(*frozen);
        }
        if chosen.arrived >= LIVE {
            return None;
        }
        match self.contested.master(mac) {
            Some(master) => other(master),
            // A slave's claim says that there is a master.
            None => (chosen.role() == Role::Slave).then_some(first),
        }
    }

    /// It takes part and has told nothing, and nobody who would know it says that it is gone.
    pub(super) fn is_awaited(&self, vtep: VtepId, cx: &Context<'_>) -> bool {
        if self.complete_from.is_some() {
            return false;
        }
        let wait_ms = u64::from(cx.policy.start_wait_secs) * 1000;
        let away = &cx.vteps[vtep];
        let gone = away.is_given_up() || away.cut_ms.is_none() && away.is_absent(wait_ms, cx.now);
        self.members.contains(&vtep) && !self.has_heard(vtep) && !gone
    }
}
