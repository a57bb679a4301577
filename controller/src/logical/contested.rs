//! Which MACs several VTEPs claim alike, and who of them is master: what their claims would not tell to whoever hears them
//! without their order. And whose those are that nobody claims any more, and the mass-withdraw guard keeps.

use std::collections::{BTreeMap, BTreeSet};

use vtep_api::MacAddr;

use super::vteps::VtepId;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mastery {
    pub(super) vtep: VtepId,
    /// Nobody claims the MAC any more.
    pub(super) kept: bool,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Contested {
    masters: BTreeMap<MacAddr, Mastery>,
    /// Since they were last taken.
    changes: BTreeMap<MacAddr, Option<Mastery>>,
    /// An earlier reign's word, until all have been heard.
    recalled: BTreeMap<MacAddr, Mastery>,
}

impl Contested {
    /// What an earlier reign remembered.
    pub(super) fn recall(&mut self, mac: MacAddr, master: Mastery) {
        self.recalled.insert(mac, master);
    }

    /// What an earlier reign kept.
    pub(super) fn kept(&self) -> impl Iterator<Item = (MacAddr, VtepId)> {
        self.recalled.iter().filter(|(_, master)| master.kept).map(|(mac, master)| (*mac, master.vtep))
    }

    /// Whom an earlier reign had as the MAC's master.
    pub(super) fn master(&self, mac: MacAddr) -> Option<VtepId> {
        self.recalled.get(&mac).map(|master| master.vtep)
    }

    /// All have been heard: what was remembered is confirmed by now, or void.
    pub(super) fn begin(&mut self) {
        for (mac, recalled) in std::mem::take(&mut self.recalled) {
            let master = self.masters.get(&mac).copied();
            if master != Some(recalled) {
                self.changes.insert(mac, master);
            }
        }
    }

    /// Who is master of a MAC of which the claims do not tell it; `None` where they do.
    pub(super) fn settle(&mut self, mac: MacAddr, master: Option<VtepId>) {
        self.put(mac, master.map(|vtep| Mastery { vtep, kept: false }));
    }

    /// Nobody claims it, and the mass-withdraw guard keeps it there.
    pub(super) fn keep(&mut self, mac: MacAddr, vtep: VtepId) {
        self.put(mac, Some(Mastery { vtep, kept: true }));
    }

    fn put(&mut self, mac: MacAddr, master: Option<Mastery>) {
        if self.masters.is_empty() && master.is_none() {
            return;
        }
        let before = match master {
            Some(master) => self.masters.insert(mac, master),
            None => self.masters.remove(&mac),
        };
        if before != master && !self.recalled.contains_key(&mac) {
            self.changes.insert(mac, master);
        }
    }

    /// Those of which something may be remembered.
    pub(super) fn macs(&self) -> BTreeSet<MacAddr> {
        let Self { masters, changes, recalled } = self;
        masters.keys().chain(changes.keys()).chain(recalled.keys()).copied().collect()
    }

    pub(super) fn take_changes(&mut self) -> BTreeMap<MacAddr, Option<Mastery>> {
        std::mem::take(&mut self.changes)
    }
}
