//! What all logical controllers together declare: who owns which logical switch, who takes part in it, who is served.
//! Where two of them contradict each other one stands, always the same, and the contradiction has a name.

use std::collections::{BTreeMap, BTreeSet};

use vtep_api::{
    BfdWord, Binding, ControllerName, Locator, LogicalSwitchName, NetworkOutline, Outline, Served, VtepName,
    VtepOutline,
};

#[derive(Debug, Default)]
pub(super) struct Roster {
    pub(super) served: BTreeMap<VtepName, Served>,
    pub(super) networks: BTreeMap<LogicalSwitchName, Owned>,
    pub(super) memberships: BTreeMap<VtepName, BTreeSet<LogicalSwitchName>>,
    pub(super) conflicts: BTreeSet<String>,
    /// Logical controllers that have not been heard.
    pub(super) missing: BTreeSet<ControllerName>,
    directory: BTreeMap<VtepName, Locator>,
    /// With the one who says it.
    bfd: Option<(ControllerName, BfdWord)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owned {
    pub(super) owner: ControllerName,
    pub(super) outline: NetworkOutline,
}

impl Roster {
    /// `before` decides where nothing else does: who owns a logical switch keeps it.
    pub(super) fn merge<'a>(
        outlines: impl Iterator<Item = (&'a ControllerName, &'a Outline)> + Clone,
        before: &Self,
    ) -> Self {
        let mut roster = Self::default();
        for (name, outline) in outlines.clone() {
            roster.serve(name, outline);
            roster.missing.extend(outline.controllers.iter().cloned());
        }
        for (name, _) in outlines.clone() {
            roster.missing.remove(name);
        }
        let mut offers = BTreeMap::<_, Vec<_>>::new();
        for (name, outline) in outlines {
            for (logical_switch, network) in &outline.networks {
                offers.entry(logical_switch).or_default().push((name, outline.term, network));
            }
        }
        let (known, new): (Vec<_>, Vec<_>) =
            offers.into_iter().partition(|(name, _)| before.networks.contains_key(*name));
        let mut vnis = BTreeMap::new();
        for (name, offers) in known.into_iter().chain(new) {
            let incumbent = before.networks.get(name).map(|owned| &owned.owner);
            let best = offers.iter().max_by(|(a, a_term, _), (b, b_term, _)| {
                let incumbency = |name| Some(name) == incumbent;
                a_term.cmp(b_term).then(incumbency(*a).cmp(&incumbency(*b))).then(b.cmp(a))
            });
            let Some((owner, _, outline)) = best else { continue };
            for (other, ..) in offers.iter().filter(|(other, ..)| other != owner) {
                roster
                    .conflicts
                    .insert(format!("{owner} and {other} both claim to own {name}; {owner} is obeyed"));
            }
            let vni = outline.network.vni;
            if let Some(other) = vnis.get(&vni) {
                roster
                    .conflicts
                    .insert(format!("{other} and {name} both have VNI {vni}; {name} is left out"));
                continue;
            }
            vnis.insert(vni, name);
            roster.admit(name, owner, outline);
        }
        roster
    }

    pub(super) fn owner(&self, logical_switch: &LogicalSwitchName) -> Option<&ControllerName> {
        self.networks.get(logical_switch).map(|owned| &owned.owner)
    }

    pub(super) fn members(&self, logical_switch: &LogicalSwitchName) -> impl Iterator<Item = &VtepName> {
        self.networks.get(logical_switch).into_iter().flat_map(|owned| &owned.outline.members)
    }

    pub(super) fn is_member(&self, vtep: &VtepName, logical_switch: &LogicalSwitchName) -> bool {
        self.memberships.get(vtep).is_some_and(|networks| networks.contains(logical_switch))
    }

    /// What one VTEP is told; `named` are the VTEPs that a logical switch's table names. Nothing is said of logical switches
    /// whose owner's word does not count yet.
    pub(super) fn outline_for<'a>(
        &self,
        vtep: &VtepName,
        named: impl Fn(&LogicalSwitchName) -> Option<&'a BTreeSet<VtepName>>,
        counts: impl Fn(&ControllerName) -> bool,
    ) -> VtepOutline {
        let mut outline = VtepOutline::default();
        let Some(memberships) = self.memberships.get(vtep) else { return outline };
        let own = self.directory.get(vtep).map_or_else(BfdWord::default, |own| own.bfd);
        let general = self.bfd.as_ref().map_or_else(BfdWord::default, |(_, word)| *word);
        for name in memberships {
            let Some(owned) = self.networks.get(name).filter(|owned| counts(&owned.owner)) else { continue };
            let network = &owned.outline.network;
            for vtep in network.flood.iter().chain(named(name).into_iter().flatten()) {
                if let Some(locator) = self.directory.get(vtep) {
                    let bfd = BfdWord::between(own, locator.bfd).or(general);
                    outline.vteps.entry(vtep.clone()).or_insert(Locator { bfd, ..*locator });
                }
            }
            outline.networks.insert(name.clone(), network.clone());
        }
        if let Some(served) = self.served.get(vtep) {
            let networks = &outline.networks;
            let taken_part = |binding: &&Binding| networks.contains_key(&binding.logical_switch);
            outline.bindings = served.bindings.iter().filter(taken_part).cloned().collect();
        }
        outline
    }

    fn admit(&mut self, name: &LogicalSwitchName, owner: &ControllerName, outline: &NetworkOutline) {
        for vtep in &outline.members {
            self.memberships.entry(vtep.clone()).or_default().insert(name.clone());
        }
        self.networks.insert(name.clone(), Owned { owner: owner.clone(), outline: outline.clone() });
    }

    fn serve(&mut self, by: &ControllerName, outline: &Outline) {
        let (first, general) = self.bfd.get_or_insert_with(|| (by.clone(), outline.bfd));
        if *general != outline.bfd {
            self.conflicts.insert(format!("{by} declares other BFD than {first}; {first} is obeyed"));
        }
        for (vtep, locator) in &outline.directory {
            let known = self.directory.entry(vtep.clone()).or_insert(*locator);
            if (known.address, known.encapsulation) != (locator.address, locator.encapsulation) {
                self.conflicts.insert(format!("{by} declares {vtep} at {locator}; {known} stands"));
            } else if known.bfd != locator.bfd {
                self.conflicts.insert(format!("{by} declares other BFD for {vtep} than those before it"));
            }
        }
        for (vtep, served) in &outline.served {
            let Some(known) = self.served.get_mut(vtep) else {
                self.served.insert(vtep.clone(), served.clone());
                continue;
            };
            if known.ovsdb != served.ovsdb {
                let shown = |ovsdb: &Option<String>| ovsdb.clone().unwrap_or_else(|| "a host's agent".into());
                let (theirs, ours) = (shown(&served.ovsdb), shown(&known.ovsdb));
                self.conflicts.insert(format!("{by} declares {vtep} as {theirs}; {ours} stands"));
            }
            for binding in &served.bindings {
                let other = known.bindings.iter().find(|known| {
                    (&known.port, known.vlan) == (&binding.port, binding.vlan)
                        && known.logical_switch != binding.logical_switch
                });
                let Some(other) = other else {
                    known.bindings.insert(binding.clone());
                    continue;
                };
                self.conflicts.insert(format!(
                    "{by} binds port {} VLAN {} of {vtep} to {}; {} stands",
                    binding.port, binding.vlan, binding.logical_switch, other.logical_switch
                ));
            }
        }
    }
}
