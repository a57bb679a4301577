//! Rows → [`Declared`], with what no row can tell alone: names that are taken, and names that nobody has.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::net::IpAddr;

use vtep_api::{
    Binding, Encapsulation, LogicalSwitchName, Replication, SwitchPortName, VlanId, Vni, VtepName,
};

use super::VERSION;
use super::problem::Problems;
use super::rows::{BindingRow, PinRow, SubscriptionRow, SwitchRow, VtepRow, read};
use super::tree::{Kind, Node};
use crate::declared::{Declared, DeclaredSwitch, DeclaredVtep, Pin};

/// A row and where it stands.
type Placed<T> = (Place, T);

#[derive(Debug, Clone, Copy)]
struct Place {
    at: usize,
    /// Every key that it has could be read.
    whole: bool,
}

pub(super) fn build(document: &Node, problems: &mut Problems<'_>) -> Declared {
    let Kind::Table(sections) = &document.kind else {
        problems.push(document.at, "the file is no table; expected `version = 1` and what is declared");
        return Declared::default();
    };
    let version = sections.iter().find(|(key, _)| key == "version");
    match version.map(|(_, node)| (node.at, node.json())) {
        Some((_, found)) if found == VERSION => {}
        Some((at, found)) => {
            // What another version means by the rest is not known.
            problems.push(at, format!("the file has version {found}; expected {VERSION}"));
            return Declared::default();
        }
        None => problems.push(0, format!("the file has no version; expected `version = {VERSION}`")),
    }
    let mut builder = Builder {
        problems,
        declared: Declared::default(),
        vteps: BTreeMap::new(),
        switches: BTreeMap::new(),
    };
    let mut rows = Rows::default();
    for (key, node) in sections {
        match key.as_str() {
            "version" => {}
            "policy" => builder.policy(node),
            "bfd" => builder.declared.bfd = read("bfd", node, builder.problems).unwrap_or_default(),
            "vtep" => rows.vteps = builder.rows(key, node),
            "logical_switch" => rows.switches = builder.rows(key, node),
            "binding" => rows.bindings = builder.rows(key, node),
            "subscription" => rows.subscriptions = builder.rows(key, node),
            "pin" => rows.pins = builder.rows(key, node),
            _ => builder.problems.push(
                node.at,
                format!("unknown section `{key}`; expected policy, bfd, vtep, logical_switch, binding, subscription or pin"),
            ),
        }
    }
    builder.vteps(rows.vteps);
    builder.switches(rows.switches);
    builder.bindings(rows.bindings);
    builder.subscriptions(rows.subscriptions);
    builder.pins(rows.pins);
    builder.declared
}

#[derive(Default)]
struct Rows {
    vteps: Vec<Placed<VtepRow>>,
    switches: Vec<Placed<SwitchRow>>,
    bindings: Vec<Placed<BindingRow>>,
    subscriptions: Vec<Placed<SubscriptionRow>>,
    pins: Vec<Placed<PinRow>>,
}

struct Builder<'p, 'a> {
    problems: &'p mut Problems<'a>,
    declared: Declared,
    /// Where each name was given, also those whose row is wrong otherwise.
    vteps: BTreeMap<VtepName, usize>,
    switches: BTreeMap<LogicalSwitchName, usize>,
}

impl Builder<'_, '_> {
    fn rows<T: serde::de::DeserializeOwned + Default>(&mut self, what: &str, node: &Node) -> Vec<Placed<T>> {
        let Kind::List(rows) = &node.kind else {
            self.problems.push(node.at, format!("`{what}` is one table; expected [[{what}]] for each"));
            return Vec::new();
        };
        let mut placed = Vec::with_capacity(rows.len());
        for node in rows {
            let before = self.problems.count();
            if let Some(row) = read(what, node, self.problems) {
                placed.push((Place { at: node.at, whole: self.problems.count() == before }, row));
            }
        }
        placed
    }

    fn policy(&mut self, node: &Node) {
        self.declared.policy = read("policy", node, self.problems).unwrap_or_default();
        let percent = self.declared.policy.mass_withdraw.percent;
        if percent > 100 {
            self.problems
                .push(node.at, format!("policy.mass_withdraw.percent = {percent}; expected 0 to 100"));
        }
    }

    fn vteps(&mut self, rows: Vec<Placed<VtepRow>>) {
        let mut addresses: BTreeMap<IpAddr, (VtepName, usize)> = BTreeMap::new();
        for (place @ Place { at, .. }, row) in rows {
            let Some(name) = self.required("vtep", "name", place, row.name) else { continue };
            if let Some(&before) = self.vteps.get(&name) {
                self.twice(at, &format!("VTEP \"{name}\""), before);
                continue;
            }
            self.vteps.insert(name.clone(), at);
            let address = row.address.as_ref().map(|address| address.0);
            if let Some(address) = address {
                if let Some((holder, before)) = addresses.get(&address) {
                    let line = self.problems.line(*before);
                    let message = format!(
                        "VTEP \"{name}\" has the address {address}, which \"{holder}\" has (line {line}); \
                         expected one of its own"
                    );
                    self.problems.push(at, message);
                }
                addresses.insert(address, (name.clone(), at));
            }
            let ovsdb = row.ovsdb.as_ref().map(ToString::to_string);
            let VtepRow { encapsulation, physical_controller, bfd, .. } = row;
            if ovsdb.is_some() && encapsulation != Encapsulation::Vxlan {
                let message = format!(
                    "VTEP \"{name}\" has encapsulation \"{encapsulation}\"; expected \"vxlan\", the only one that a TOR's \
                     database knows"
                );
                self.problems.push(at, message);
            }
            let vtep = DeclaredVtep { ovsdb, address, encapsulation, physical_controller, bfd };
            self.declared.vteps.insert(name, vtep);
        }
    }

    fn switches(&mut self, rows: Vec<Placed<SwitchRow>>) {
        let mut vnis: BTreeMap<Vni, (LogicalSwitchName, usize)> = BTreeMap::new();
        for (place @ Place { at, .. }, row) in rows {
            let Some(name) = self.required("logical_switch", "name", place, row.name) else { continue };
            if let Some(&before) = self.switches.get(&name) {
                self.twice(at, &format!("logical switch \"{name}\""), before);
                continue;
            }
            self.switches.insert(name.clone(), at);
            let Some(vni) = self.required("logical_switch", "vni", place, row.vni) else { continue };
            if let Some((holder, before)) = vnis.get(&vni) {
                let line = self.problems.line(*before);
                let message = format!(
                    "logical switch \"{name}\" has VNI {vni}, which \"{holder}\" has (line {line}); \
                     expected one of its own"
                );
                self.problems.push(at, message);
            } else {
                vnis.insert(vni, (name.clone(), at));
            }
            for node in &row.service_nodes {
                self.vtep(at, node);
            }
            match (row.replication, row.service_nodes.is_empty()) {
                (Replication::ServiceNode, true) => self.problems.push(
                    at,
                    format!("logical switch \"{name}\" has replication = \"service_node\"; expected service_nodes too"),
                ),
                (Replication::SourceNode, false) => self.problems.push(
                    at,
                    format!("logical switch \"{name}\" has service_nodes; expected replication = \"service_node\" too"),
                ),
                _ => {}
            }
            let switch = DeclaredSwitch {
                vni,
                logical_controller: row.logical_controller,
                unknown_unicast: row.unknown_unicast,
                replication: row.replication,
                service_nodes: row.service_nodes,
                witness: row.witness,
            };
            self.declared.logical_switches.insert(name, switch);
        }
    }

    fn bindings(&mut self, rows: Vec<Placed<BindingRow>>) {
        let mut seen: BTreeMap<(VtepName, SwitchPortName, VlanId), usize> = BTreeMap::new();
        for (place @ Place { at, .. }, row) in rows {
            let vtep = self.required("binding", "vtep", place, row.vtep);
            let port = self.required("binding", "port", place, row.port);
            let logical_switch = self.required("binding", "logical_switch", place, row.logical_switch);
            let (Some(vtep), Some(port), Some(logical_switch)) = (vtep, port, logical_switch) else {
                continue;
            };
            self.vtep(at, &vtep);
            self.switch(at, &logical_switch);
            let vlan = row.vlan.unwrap_or(VlanId::UNTAGGED);
            let key = (vtep.clone(), port.clone(), vlan);
            if let Some(&before) = seen.get(&key) {
                self.twice(
                    at,
                    &format!("the binding of VLAN {vlan} at port \"{port}\" of VTEP \"{vtep}\""),
                    before,
                );
                continue;
            }
            seen.insert(key, at);
            self.declared.bindings.entry(vtep).or_default().insert(Binding { port, vlan, logical_switch });
        }
    }

    fn subscriptions(&mut self, rows: Vec<Placed<SubscriptionRow>>) {
        let mut seen: BTreeMap<(VtepName, LogicalSwitchName), usize> = BTreeMap::new();
        for (place @ Place { at, .. }, row) in rows {
            let vtep = self.required("subscription", "vtep", place, row.vtep);
            let logical_switch = self.required("subscription", "logical_switch", place, row.logical_switch);
            let (Some(vtep), Some(logical_switch)) = (vtep, logical_switch) else { continue };
            self.vtep(at, &vtep);
            self.switch(at, &logical_switch);
            let key = (vtep.clone(), logical_switch.clone());
            if let Some(&before) = seen.get(&key) {
                self.twice(
                    at,
                    &format!("the subscription of VTEP \"{vtep}\" to \"{logical_switch}\""),
                    before,
                );
                continue;
            }
            seen.insert(key, at);
            self.declared.subscriptions.entry(vtep).or_default().insert(logical_switch);
        }
    }

    fn pins(&mut self, rows: Vec<Placed<PinRow>>) {
        let mut seen: BTreeMap<Pin, usize> = BTreeMap::new();
        for (place @ Place { at, .. }, row) in rows {
            let logical_switch = self.required("pin", "logical_switch", place, row.logical_switch);
            let mac = self.required("pin", "mac", place, row.mac);
            let vtep = self.required("pin", "vtep", place, row.vtep);
            let (Some(logical_switch), Some(mac), Some(vtep)) = (logical_switch, mac, vtep) else { continue };
            self.vtep(at, &vtep);
            self.switch(at, &logical_switch);
            if mac.0.is_group() {
                let problem = format!("{} is a group address; expected the MAC of a station", mac.0);
                self.problems.push(at, problem);
                continue;
            }
            let pin = Pin { logical_switch, mac: mac.0, vtep };
            if let Some(&before) = seen.get(&pin) {
                self.twice(at, &format!("the pin of {} in \"{}\"", pin.mac, pin.logical_switch), before);
                continue;
            }
            seen.insert(pin.clone(), at);
            self.declared.pins.insert(pin);
        }
    }

    /// A key that is there but wrong was said already.
    fn required<T>(&mut self, what: &str, key: &str, place: Place, value: Option<T>) -> Option<T> {
        if value.is_none() && place.whole {
            self.problems.push(place.at, format!("this {what} has no `{key}`; expected one"));
        }
        value
    }

    fn twice(&mut self, at: usize, what: &dyn Display, before: usize) {
        let line = self.problems.line(before);
        self.problems.push(at, format!("{what} stands twice, first in line {line}; expected once"));
    }

    fn vtep(&mut self, at: usize, name: &VtepName) {
        if !self.vteps.contains_key(name) {
            let known: BTreeSet<&str> = self.vteps.keys().map(VtepName::as_str).collect();
            let message = format!("there is no VTEP \"{name}\"; expected one of {}", listed(&known));
            self.problems.push(at, message);
        }
    }

    fn switch(&mut self, at: usize, name: &LogicalSwitchName) {
        if !self.switches.contains_key(name) {
            let known: BTreeSet<&str> = self.switches.keys().map(LogicalSwitchName::as_str).collect();
            let message =
                format!("there is no logical switch \"{name}\"; expected one of {}", listed(&known));
            self.problems.push(at, message);
        }
    }
}

fn listed(names: &BTreeSet<&str>) -> String {
    const SHOWN: usize = 5;
    if names.is_empty() {
        return "those that the file names: there is none".to_owned();
    }
    let mut text = names.iter().take(SHOWN).map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
    if names.len() > SHOWN {
        text = format!("{text} and {} more", names.len() - SHOWN);
    }
    text
}
