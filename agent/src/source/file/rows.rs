//! From rows to a table: each row is judged alone, and a bad one takes nothing else with it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use vtep_abi::FLOOD_MEMBERS_MAX;
use vtep_api::{LogicalSwitchName, MacAddr, PortName, VlanId, Vni, VtepName};

use super::document::{BindingRow, Document, LogicalSwitchRow, MacRow, VtepRow};
use crate::source::Refusals;
use crate::table::{Encapsulation, LogicalSwitch, MacEntry, Replication, Table, TunnelTerms, Vtep};
use crate::tunnel_address::{OwnAddresses, TunnelAddress};

/// What stood in `previous` and has a bad row now stays as it was.
pub fn build(document: Document, own: OwnAddresses, previous: &Table) -> (Table, Refusals) {
    let mut build = Build {
        own,
        previous,
        own_names: BTreeSet::new(),
        addresses: BTreeMap::new(),
        table: Table::default(),
        refusals: Refusals::default(),
    };
    build.vteps(document.vtep);
    build.logical_switches(document.logical_switch);
    build.macs(document.mac);
    build.bindings(document.binding);
    (build.table, build.refusals)
}

struct Build<'a> {
    own: OwnAddresses,
    previous: &'a Table,
    /// Names of this host's own VTEP.
    own_names: BTreeSet<VtepName>,
    /// The first name of each address, and the encapsulation that it has with it.
    addresses: BTreeMap<IpAddr, (VtepName, Encapsulation)>,
    table: Table,
    refusals: Refusals,
}

impl Build<'_> {
    fn vteps(&mut self, rows: Vec<VtepRow>) {
        for (at, row) in rows.into_iter().enumerate() {
            let name = match VtepName::try_from(row.name) {
                Ok(name) => name,
                Err(error) => {
                    self.refusals.push(|| format!("vtep[{at}].name"), &error, "a name");
                    continue;
                }
            };
            if self.table.vteps.contains_key(&name) || self.own_names.contains(&name) {
                self.refusals.push(|| format!("vtep[{at}].name"), &name, "a name that no earlier VTEP has");
                continue;
            }
            match row.address.parse::<TunnelAddress>() {
                Ok(address) if self.own.contains(address.ip()) => {
                    let expected = "another address than this host's own (underlay.address)";
                    self.refusals.push(|| format!("vtep[{at}].address"), &address, expected);
                    self.own_names.insert(name);
                }
                Ok(address) => {
                    self.vtep_at(
                        at,
                        name,
                        Vtep {
                            address: address.ip(),
                            encapsulation: row.encapsulation,
                            bfd: row.bfd,
                            tunnel: TunnelTerms::default(),
                        },
                    );
                }
                Err(error) => {
                    self.refusals.note(format!("vtep[{at}].address"), error.to_string());
                    if let Some(vtep) = self.previous.vteps.get(&name) {
                        self.table.vteps.insert(name, vtep.clone());
                    }
                }
            }
        }
    }

    /// An address has one encapsulation, whatever names it has.
    fn vtep_at(&mut self, at: usize, name: VtepName, vtep: Vtep) {
        let first = self.addresses.entry(vtep.address).or_insert_with(|| (name.clone(), vtep.encapsulation));
        if first.1 != vtep.encapsulation {
            let expected = format!("{}, which {:?} with the same address has", first.1, first.0);
            self.refusals.push(|| format!("vtep[{at}].encapsulation"), &vtep.encapsulation, expected);
            return;
        }
        self.table.vteps.insert(name, vtep);
    }

    fn logical_switches(&mut self, rows: Vec<LogicalSwitchRow>) {
        let mut vnis = BTreeMap::<Vni, LogicalSwitchName>::new();
        let mut kept = Vec::new();
        for (at, row) in rows.into_iter().enumerate() {
            let name = match LogicalSwitchName::try_from(row.name.as_str()) {
                Ok(name) => name,
                Err(error) => {
                    self.refusals.push(|| format!("logical_switch[{at}].name"), &error, "a name");
                    continue;
                }
            };
            if self.table.logical_switches.contains_key(&name) {
                let expected = "a name that no earlier logical switch has";
                self.refusals.push(|| format!("logical_switch[{at}].name"), &name, expected);
                continue;
            }
            match self.logical_switch(at, row, &vnis) {
                Some(logical_switch) => {
                    vnis.insert(logical_switch.vni, name.clone());
                    self.table.logical_switches.insert(name, logical_switch);
                }
                None => kept.push(name),
            }
        }
        for name in kept {
            let Some(before) = self.previous.logical_switches.get(&name) else { continue };
            if !self.table.logical_switches.contains_key(&name) && !vnis.contains_key(&before.vni) {
                vnis.insert(before.vni, name.clone());
                let flood = before.flood.iter().filter(|vtep| self.table.vteps.contains_key(*vtep));
                let flood = flood.cloned().collect();
                let before = LogicalSwitch { flood, macs: hashbrown::HashMap::default(), ..*before };
                self.table.logical_switches.insert(name, before);
            }
        }
    }

    fn logical_switch(
        &mut self,
        at: usize,
        row: LogicalSwitchRow,
        vnis: &BTreeMap<Vni, LogicalSwitchName>,
    ) -> Option<LogicalSwitch> {
        let Ok(vni) = Vni::try_from(row.vni) else {
            self.refusals.push(|| format!("logical_switch[{at}].vni"), &row.vni, "1 to 16777215");
            return None;
        };
        if let Some(holder) = vnis.get(&vni) {
            let expected = format!("a VNI that no earlier logical switch has; {holder:?} has this one");
            self.refusals.push(|| format!("logical_switch[{at}].vni"), &vni, expected);
            return None;
        }
        if row.replication == Replication::SourceNode && row.flood.len() > FLOOD_MEMBERS_MAX as usize {
            let expected = format!("at most {FLOOD_MEMBERS_MAX} members, or replication = \"service_node\"");
            let members = format!("{} members", row.flood.len());
            self.refusals.push(|| format!("logical_switch[{at}].flood"), &members, expected);
            return None;
        }
        let mut flood = BTreeSet::new();
        for (member, name) in row.flood.into_iter().enumerate() {
            match self.vtep(&name) {
                Ok(name) => {
                    flood.insert(name);
                }
                Err(expected) => {
                    self.refusals.push(|| format!("logical_switch[{at}].flood[{member}]"), &name, expected);
                }
            }
        }
        Some(LogicalSwitch {
            vni,
            unknown_unicast: row.unknown_unicast,
            replication: row.replication,
            flood,
            macs: hashbrown::HashMap::default(),
            partial: false,
            flood_partial: false,
        })
    }

    fn macs(&mut self, rows: Vec<MacRow>) {
        for (at, row) in rows.into_iter().enumerate() {
            let Some((name, mac)) = self.mac_key(at, &row) else { continue };
            let entry = self.mac_entry(at, &row);
            let before = || {
                let entry = self.previous.logical_switches.get(&name)?.macs.get(&mac)?;
                let known = |vtep: &VtepName| self.table.vteps.contains_key(vtep);
                (known(&entry.master) && entry.slave.as_ref().is_none_or(known)).then(|| entry.clone())
            };
            let Some(entry) = entry.or_else(before) else { continue };
            let Some(logical_switch) = self.table.logical_switches.get_mut(&name) else { continue };
            if logical_switch.macs.try_insert(mac, entry).is_err() {
                let expected = "one row for each MAC of a logical switch; an earlier row stands";
                self.refusals.push(|| format!("mac[{at}].mac"), &mac, expected);
            }
        }
    }

    fn mac_key(&mut self, at: usize, row: &MacRow) -> Option<(LogicalSwitchName, MacAddr)> {
        let Some(name) = self.logical_switch_name(&row.logical_switch) else {
            let expected = "the name of a logical switch of this table";
            self.refusals.push(|| format!("mac[{at}].logical_switch"), &row.logical_switch, expected);
            return None;
        };
        match row.mac.parse::<MacAddr>() {
            Ok(mac) if mac.is_station() => Some((name, mac)),
            Ok(mac) => {
                let expected = "the address of one station, neither zero nor a group";
                self.refusals.push(|| format!("mac[{at}].mac"), &mac, expected);
                None
            }
            Err(_) => {
                let expected = "six octets such as 02:00:00:00:00:01";
                self.refusals.push(|| format!("mac[{at}].mac"), &row.mac, expected);
                None
            }
        }
    }

    fn mac_entry(&mut self, at: usize, row: &MacRow) -> Option<MacEntry> {
        let master = match self.vtep(&row.master) {
            Ok(name) => name,
            Err(expected) => {
                self.refusals.push(|| format!("mac[{at}].master"), &row.master, expected);
                return None;
            }
        };
        let slave = match row.slave.as_ref().map(|name| (name, self.vtep(name))) {
            None => None,
            Some((_, Ok(name))) => Some(name),
            Some((name, Err(expected))) => {
                self.refusals.push(|| format!("mac[{at}].slave"), name, expected);
                return None;
            }
        };
        let ips = row.ips.as_slice().into();
        Some(MacEntry { slave: slave.filter(|slave| *slave != master), master, ips })
    }

    fn bindings(&mut self, rows: Vec<BindingRow>) {
        let mut seen = BTreeSet::new();
        for (at, row) in rows.into_iter().enumerate() {
            let port = match PortName::try_from(row.port.as_str()) {
                Ok(port) => port,
                Err(error) => {
                    self.refusals.push(|| format!("binding[{at}].port"), &row.port, error.to_string());
                    continue;
                }
            };
            let Ok(vlan) = VlanId::try_from(row.vlan) else {
                self.refusals.push(|| format!("binding[{at}].vlan"), &row.vlan, "0 (untagged) to 4094");
                continue;
            };
            let key = (port, vlan);
            if !seen.insert(key.clone()) {
                let value = format!("{} VLAN {vlan}", key.0);
                self.refusals.push(|| format!("binding[{at}]"), &value, "one binding for each port and VLAN");
                continue;
            }
            if let Some(name) = self.logical_switch_name(&row.logical_switch) {
                self.table.bindings.insert(key, name);
                continue;
            }
            let expected = "the name of a logical switch of this table";
            self.refusals.push(|| format!("binding[{at}].logical_switch"), &row.logical_switch, expected);
            let before = self.previous.bindings.get(&key);
            if let Some(name) = before.filter(|name| self.table.logical_switches.contains_key(*name)) {
                self.table.bindings.insert(key, name.clone());
            }
        }
    }

    /// The table's own copy of a name: a million rows share it.
    fn vtep(&self, name: &str) -> Result<VtepName, &'static str> {
        const UNKNOWN: &str = "the name of a VTEP of this table";
        let name = VtepName::try_from(name).map_err(|_| UNKNOWN)?;
        if self.own_names.contains(&name) {
            return Err("another VTEP than this host's own");
        }
        self.table.vteps.get_key_value(&name).map(|(name, _)| name.clone()).ok_or(UNKNOWN)
    }

    fn logical_switch_name(&self, name: &str) -> Option<LogicalSwitchName> {
        let name = LogicalSwitchName::try_from(name).ok()?;
        self.table.logical_switches.get_key_value(&name).map(|(name, _)| name.clone())
    }
}
