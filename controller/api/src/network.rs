//! What is declared of logical networks, apart from their MACs.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{Locator, LogicalSwitchName, SwitchPortName, VlanId, Vni, VtepName};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownUnicast {
    #[default]
    Flood,
    Drop,
}

/// Who makes the copies of a flooded frame (`vtep(5)`, `Logical_Switch.replication_mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Replication {
    /// We do: one copy to each member.
    #[default]
    SourceNode,
    /// The member does: one copy to one live member.
    ServiceNode,
}

/// A logical switch without its MACs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    pub vni: Vni,
    #[serde(default)]
    pub unknown_unicast: UnknownUnicast,
    #[serde(default)]
    pub replication: Replication,
    /// The VTEPs that take part in it, or the service nodes that replicate for them. A receiver floods to all but itself.
    #[serde(default)]
    pub flood: BTreeSet<VtepName>,
    /// Those whom `flood` may lack: whether they are to be flooded to is not known yet, or not where they are. Of them
    /// nobody whom an earlier one named is gone.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub unheard: BTreeSet<VtepName>,
}

impl Network {
    /// What is not known is as an earlier one said.
    fn follow(&mut self, earlier: &Self) {
        if self.replication != earlier.replication {
            return;
        }
        self.flood.extend(self.unheard.intersection(&earlier.flood).cloned());
        self.unheard.retain(|vtep| earlier.unheard.contains(vtep) && !earlier.flood.contains(vtep));
    }
}

/// Which frames of a VTEP's port belong to which logical switch.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Binding {
    pub port: SwitchPortName,
    pub vlan: VlanId,
    pub logical_switch: LogicalSwitchName,
}

/// Everything that one VTEP is told, apart from MACs. Of the networks that it names it replaces what was told before.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct VtepOutline {
    /// Whether the VTEP takes part in no others, and forgets their tables and bindings. A physical controller that begins
    /// anew does not know before every logical controller has been heard: until then what is not named stays.
    #[serde(default)]
    pub complete: bool,
    /// Every VTEP that a table or a flood list of these networks may name.
    pub vteps: BTreeMap<VtepName, Locator>,
    /// The networks that the VTEP takes part in.
    pub networks: BTreeMap<LogicalSwitchName, Network>,
    pub bindings: BTreeSet<Binding>,
}

impl VtepOutline {
    /// Takes over what a later one says. Absence from what is not the whole removes nothing.
    pub fn follow(&mut self, later: Self) {
        let earlier = std::mem::replace(self, later);
        let unheard: BTreeSet<VtepName> =
            self.networks.values().flat_map(|network| &network.unheard).cloned().collect();
        for (name, network) in &mut self.networks {
            if let Some(before) = earlier.networks.get(name) {
                network.follow(before);
            }
        }
        let complete = self.complete;
        for (vtep, locator) in
            earlier.vteps.into_iter().filter(|(vtep, _)| !complete || unheard.contains(vtep))
        {
            self.vteps.entry(vtep).or_insert(locator);
        }
        if complete {
            return;
        }
        let named = &self.networks;
        let bindings =
            earlier.bindings.into_iter().filter(|binding| !named.contains_key(&binding.logical_switch));
        self.bindings.extend(bindings.collect::<Vec<_>>());
        for (name, network) in earlier.networks {
            self.networks.entry(name).or_insert(network);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> VtepName {
        text.try_into().unwrap()
    }

    /// Of one network, with those who are flooded to at 192.0.2.1 and so on.
    fn outline(network: &str, flood: &[&str], unheard: &[&str]) -> VtepOutline {
        let network_name = network.try_into().unwrap();
        let network = Network {
            vni: 7_u32.try_into().unwrap(),
            unknown_unicast: UnknownUnicast::Flood,
            replication: Replication::SourceNode,
            flood: flood.iter().map(|vtep| name(vtep)).collect(),
            unheard: unheard.iter().map(|vtep| name(vtep)).collect(),
        };
        let address = |last| Locator::from(std::net::IpAddr::from([192, 0, 2, last]));
        let vteps = flood.iter().zip(1..).map(|(vtep, last)| (name(vtep), address(last)));
        VtepOutline {
            complete: true,
            vteps: vteps.collect(),
            networks: [(network_name, network)].into(),
            bindings: BTreeSet::new(),
        }
    }

    #[track_caller]
    fn check(later: VtepOutline, networks: &[&str], flood: &[&str]) {
        let mut followed = outline("x", &["a", "b", "c"], &[]);
        followed.follow(later);
        let named: Vec<_> = followed.networks.keys().map(LogicalSwitchName::as_str).collect();
        assert_eq!(named, networks);
        let floods = |of: &str| followed.networks.get(&of.try_into().unwrap()).map(|found| &found.flood);
        let flood: BTreeSet<_> = flood.iter().map(|vtep| name(vtep)).collect();
        assert_eq!(floods("x").cloned().unwrap_or_default(), flood);
        assert!(flood.iter().all(|vtep| followed.vteps.contains_key(vtep)), "somebody has no address");
    }

    #[test]
    fn a_later_outline_that_is_the_whole_replaces_an_earlier_one() {
        check(outline("x", &["a"], &[]), &["x"], &["a"]);
        check(outline("y", &[], &[]), &["y"], &[]);
    }

    #[test]
    fn a_flood_list_takes_away_those_that_it_does_not_name_unless_it_may_lack_them() {
        check(outline("x", &["a", "d"], &["b", "c", "e"]), &["x"], &["a", "b", "c", "d"]);
        check(outline("x", &["a", "d"], &["b"]), &["x"], &["a", "b", "d"]);
        check(VtepOutline { complete: false, ..outline("x", &["a"], &[]) }, &["x"], &["a"]);
        let mut followed = outline("x", &["a", "b"], &[]);
        followed.follow(outline("x", &[], &["b"]));
        followed.follow(outline("x", &["a"], &[]));
        assert_eq!(followed, outline("x", &["a"], &[]));
    }

    #[test]
    fn what_an_earlier_outline_said_of_somebody_unheard_is_known() {
        let unheard = |outline: &VtepOutline| outline.networks[&"x".try_into().unwrap()].unheard.clone();
        let mut followed = outline("x", &["a", "b"], &["d"]);
        for _ in 0..2 {
            followed.follow(outline("x", &["a"], &["b", "c", "d"]));
            assert_eq!(unheard(&followed), BTreeSet::from([name("d")]));
        }
        followed.follow(outline("x", &["a", "d"], &[]));
        assert!(unheard(&followed).is_empty());
        let mut first = VtepOutline::default();
        first.follow(outline("x", &["a"], &["b"]));
        assert_eq!(unheard(&first), BTreeSet::from([name("b")]));
    }

    #[test]
    fn a_network_that_an_outline_in_part_does_not_name_stays() {
        check(VtepOutline { complete: false, ..outline("y", &["a"], &[]) }, &["x", "y"], &["a", "b", "c"]);
        check(outline("y", &["a"], &["b"]), &["y"], &[]);
    }
}
