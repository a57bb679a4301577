//! What a reign that begins does not say yet: where the master of a MAC may be a VTEP that it has not heard. Whoever has a
//! table of the reign before goes on by that; another row would be taken back when the VTEP is heard.

use std::collections::{BTreeMap, BTreeSet};

use vtep_api::{MacAddr, Role, VtepName};

use super::ledger::Flags;
use super::select::LIVE;
use super::switch::{Context, Switch};
use super::vteps::{VtepId, Vteps};

/// MACs of which nothing is said, by whom they wait for.
#[derive(Debug, Clone, Default)]
pub(super) struct Withheld(BTreeMap<VtepId, BTreeSet<MacAddr>>);

impl Withheld {
    pub(super) fn awaits(&self, mac: MacAddr, vteps: &Vteps) -> Option<VtepName> {
        let (vtep, _) = self.0.iter().find(|(_, macs)| macs.contains(&mac))?;
        Some(vteps[*vtep].name.clone())
    }
}

impl Switch {
    /// Takes out of what is to be published what must wait.
    pub(super) fn withhold<T>(&mut self, touched: &mut Vec<(MacAddr, T)>, cx: &Context<'_>) {
        let Some(first) = self.members.iter().copied().find(|vtep| self.is_awaited(*vtep, cx)) else {
            return;
        };
        touched.retain(|(mac, _)| match self.awaits(*mac, first, cx) {
            Some(vtep) => {
                self.withheld.0.entry(vtep).or_default().insert(*mac);
                false
            }
            None => true,
        });
    }

    /// What need not wait any more is looked at again.
    pub(super) fn let_go(&mut self, cx: &Context<'_>) {
        let over = |vtep: &VtepId| !self.is_awaited(*vtep, cx);
        let over: Vec<VtepId> = self.withheld.0.keys().copied().filter(over).collect();
        let macs = over.iter().filter_map(|vtep| self.withheld.0.remove(vtep)).flatten().collect::<Vec<_>>();
        for mac in macs {
            self.touch(mac, None);
        }
    }

    /// The VTEP that may be the MAC's master though another one is, of those that were heard. `first`: of those that were not.
    fn awaits(&self, mac: MacAddr, first: VtepId, cx: &Context<'_>) -> Option<VtepId> {
        let mut claims = self.ledger.of_mac(mac).map(|slot| &self.ledger[slot]);
        let chosen = claims.find(|record| record.flags.has(Flags::MASTER))?;
        // It was claimed since, or what an operator or the reign before said is followed already.
        let known = chosen.arrived >= LIVE
            || chosen.flags.has(Flags::PINNED)
            || self.frozen.get(&mac) == Some(&chosen.vtep)
            || self.published.row(mac).is_some();
        if known {
            return None;
        }
        match self.contested.master(mac).or_else(|| self.frozen.get(&mac).copied()) {
            Some(master) => self.is_awaited(master, cx).then_some(master),
            // A slave's claim says that there is a master.
            None => (chosen.role() == Role::Slave).then_some(first),
        }
    }

    /// It takes part and has told nothing, and nobody who would know it says that it is gone.
    pub(super) fn is_awaited(&self, vtep: VtepId, cx: &Context<'_>) -> bool {
        if self.complete_from.is_some() {
            return false;
        }
        let heard = self.tellers.get(&vtep).is_some_and(|teller| teller.heard);
        let wait_ms = u64::from(cx.policy.start_wait_secs) * 1000;
        let away = &cx.vteps[vtep];
        let gone = away.expired && !away.is_up() || away.cut_ms.is_none() && away.is_absent(wait_ms, cx.now);
        self.members.contains(&vtep) && !heard && !gone
    }
}
