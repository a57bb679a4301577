//! Whom a VTEP floods to. While only controllers fail that becomes nobody less.

use std::collections::{BTreeMap, BTreeSet};

use vtep_api::{LogicalSwitchName, VtepName, VtepOutline};

use crate::observer::Verdict;

/// By logical switch those whose address is known.
#[derive(Debug, Clone, Default)]
pub(crate) struct Floods(BTreeMap<LogicalSwitchName, BTreeSet<VtepName>>);

impl Floods {
    pub(crate) fn of(outline: &VtepOutline) -> Self {
        let networks = outline.networks.keys();
        Self(networks.map(|name| (name.clone(), members(outline, name))).collect())
    }

    pub(crate) fn has(&self, network: &LogicalSwitchName) -> BTreeSet<VtepName> {
        self.0.get(network).cloned().unwrap_or_default()
    }

    /// What a TOR's database has from here on.
    pub(crate) fn write(&mut self, network: &LogicalSwitchName, members: BTreeSet<VtepName>, whole: bool) {
        let known = self.0.entry(network.clone()).or_default();
        if whole { *known = members } else { known.extend(members) }
    }

    /// `gone`: whoever is not missed.
    pub(crate) fn hold(&self, later: &Self, whose: &VtepName, gone: &BTreeSet<VtepName>) -> Verdict {
        for (network, before) in &self.0 {
            let has = later.has(network);
            let missed: Vec<_> = before.difference(&has).filter(|vtep| !gone.contains(*vtep)).collect();
            if !missed.is_empty() {
                return Err(format!("{whose} floods {network} to {missed:?} no more"));
            }
        }
        Ok(())
    }
}

pub(crate) fn members(outline: &VtepOutline, network: &LogicalSwitchName) -> BTreeSet<VtepName> {
    let flood = outline.networks.get(network).into_iter().flat_map(|network| &network.flood);
    flood.filter(|vtep| outline.vteps.contains_key(*vtep)).cloned().collect()
}
