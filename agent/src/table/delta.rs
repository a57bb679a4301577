//! Changes to a table, for a source that follows one row at a time.

use std::collections::BTreeMap;

use vtep_api::{LogicalSwitchName, MacAddr, PortName, VlanId, VtepName};

use super::{LogicalSwitch, MacEntry, Table, Vtep};

/// What changed since the snapshot and the deltas before this one. Applied in whole or not at all.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Delta {
    /// Everything but MACs, whole, if any of it changed.
    pub outline: Option<Outline>,
    /// `None`: withdrawn.
    pub macs: Vec<(LogicalSwitchName, MacAddr, Option<MacEntry>)>,
}

/// A table without its MACs. The `macs` of its logical switches are empty.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outline {
    pub vteps: BTreeMap<VtepName, Vtep>,
    pub logical_switches: BTreeMap<LogicalSwitchName, LogicalSwitch>,
    pub bindings: BTreeMap<(PortName, VlanId), LogicalSwitchName>,
    pub partial: bool,
}

impl Delta {
    /// What makes `new` of `old`.
    pub fn between(old: &Table, new: &Table) -> Self {
        let outline = Outline::of(new);
        let mut macs = Vec::new();
        for (name, logical_switch) in &new.logical_switches {
            let before = old.logical_switches.get(name).map(|before| &before.macs);
            let upserts = logical_switch.macs.iter();
            let upserts =
                upserts.filter(|(mac, entry)| before.and_then(|macs| macs.get(*mac)) != Some(*entry));
            macs.extend(upserts.map(|(mac, entry)| (name.clone(), *mac, Some(entry.clone()))));
            let removals = before.into_iter().flat_map(|macs| macs.keys());
            let removals = removals.filter(|mac| !logical_switch.macs.contains_key(*mac));
            macs.extend(removals.map(|mac| (name.clone(), *mac, None)));
        }
        Self { outline: (outline != Outline::of(old)).then_some(outline), macs }
    }

    pub fn is_empty(&self) -> bool {
        self.outline.is_none() && self.macs.is_empty()
    }
}

impl Outline {
    pub(crate) fn of(table: &Table) -> Self {
        let bare = |logical_switch: &LogicalSwitch| LogicalSwitch {
            macs: hashbrown::HashMap::default(),
            flood: logical_switch.flood.clone(),
            ..*logical_switch
        };
        let switches = table.logical_switches.iter().map(|(name, switch)| (name.clone(), bare(switch)));
        Self {
            vteps: table.vteps.clone(),
            logical_switches: switches.collect(),
            bindings: table.bindings.clone(),
            partial: table.partial,
        }
    }
}

impl Table {
    /// Costs as much as the delta has rows. MACs of a logical switch that the table does not hold are dropped.
    pub fn apply(&mut self, delta: Delta) {
        if let Some(outline) = delta.outline {
            self.replace_outline(outline);
        }
        for (name, mac, entry) in delta.macs {
            let Some(logical_switch) = self.logical_switches.get_mut(&name) else { continue };
            match entry {
                Some(entry) => logical_switch.macs.insert(mac, entry),
                None => logical_switch.macs.remove(&mac),
            };
        }
    }

    fn replace_outline(&mut self, outline: Outline) {
        let mut before = std::mem::replace(&mut self.logical_switches, outline.logical_switches);
        for (name, logical_switch) in &mut self.logical_switches {
            if let Some(old) = before.remove(name) {
                logical_switch.macs = old.macs;
            }
        }
        self.vteps = outline.vteps;
        self.bindings = outline.bindings;
        self.partial = outline.partial;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::{Replication, UnknownUnicast};

    fn logical_switch(vni: i64, macs: &[(u8, &str)]) -> LogicalSwitch {
        let entry = |(mac, vtep): &(u8, &str)| {
            let master = VtepName::try_from(*vtep).unwrap();
            (MacAddr::new([2, 0, 0, 0, 0, *mac]), MacEntry { master, slave: None, ips: Box::default() })
        };
        LogicalSwitch {
            vni: vni.try_into().unwrap(),
            unknown_unicast: UnknownUnicast::Flood,
            replication: Replication::SourceNode,
            flood: std::collections::BTreeSet::default(),
            macs: macs.iter().map(entry).collect(),
            partial: false,
            flood_partial: false,
        }
    }

    #[test]
    fn a_new_outline_keeps_the_macs_of_switches_that_stay() {
        let name = |text: &str| LogicalSwitchName::try_from(text).unwrap();
        let mut table = Table::default();
        table.logical_switches.insert(name("blue"), logical_switch(1, &[(1, "a")]));
        table.logical_switches.insert(name("red"), logical_switch(2, &[(1, "a")]));
        let rekeyed = BTreeMap::from([(name("blue"), logical_switch(9, &[]))]);
        let moved = MacEntry { master: VtepName::try_from("b").unwrap(), slave: None, ips: Box::default() };
        table.apply(Delta {
            outline: Some(Outline { logical_switches: rekeyed, ..Outline::default() }),
            macs: vec![
                (name("blue"), MacAddr::new([2, 0, 0, 0, 0, 2]), Some(moved.clone())),
                (name("red"), MacAddr::new([2, 0, 0, 0, 0, 2]), Some(moved)),
            ],
        });
        let expected = logical_switch(9, &[(1, "a"), (2, "b")]);
        assert_eq!(table.logical_switches, BTreeMap::from([(name("blue"), expected)]));
    }

    #[test]
    fn what_lies_between_two_tables_leads_from_one_to_the_other() {
        type Switch<'a> = (&'a str, i64, &'a [(u8, &'a str)]);
        let table = |switches: &[Switch<'_>]| {
            let mut table = Table::default();
            for (name, vni, macs) in switches {
                let name = LogicalSwitchName::try_from(*name).unwrap();
                table.logical_switches.insert(name, logical_switch(*vni, macs));
            }
            table
        };
        let tables = [
            Table::default(),
            table(&[("blue", 1, &[(1, "a"), (2, "b")])]),
            table(&[("blue", 1, &[(1, "b"), (3, "b")]), ("red", 2, &[(1, "a")])]),
            table(&[("red", 1, &[])]),
        ];
        for old in &tables {
            for new in &tables {
                let delta = Delta::between(old, new);
                assert_eq!(delta.is_empty(), old == new);
                let mut table = old.clone();
                table.apply(delta);
                assert_eq!(table, *new);
            }
        }
    }
}
