//! What a new document changes, object by object.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Declared;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    pub sign: Sign,
    /// Such as `logical_switch "blue"`.
    pub object: String,
    /// What it says, or what of it becomes what.
    pub detail: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Sign {
    #[serde(rename = "-")]
    Removed,
    #[serde(rename = "~")]
    Changed,
    #[serde(rename = "+")]
    Added,
}

impl Sign {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Removed => "-",
            Self::Changed => "~",
            Self::Added => "+",
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.sign.as_str(), self.object)?;
        if self.detail.is_empty() { Ok(()) } else { write!(f, ": {}", self.detail) }
    }
}

/// In the order of the sections; nothing, if both say the same.
pub fn diff(old: &Declared, new: &Declared) -> Vec<Difference> {
    let mut found = Vec::new();
    let changes = keys(&json(&old.policy), &json(&new.policy));
    if !changes.is_empty() {
        found.push(Difference { sign: Sign::Changed, object: "policy".to_owned(), detail: changes });
    }
    let changes = keys(&json(&old.bfd), &json(&new.bfd));
    if !changes.is_empty() {
        found.push(Difference { sign: Sign::Changed, object: "bfd".to_owned(), detail: changes });
    }
    objects(&mut found, "vtep", &old.vteps, &new.vteps);
    objects(&mut found, "logical_switch", &old.logical_switches, &new.logical_switches);
    let binding = |declared: &Declared| -> BTreeMap<(String, String, u16), String> {
        let of_vtep = |(vtep, bindings): (&vtep_api::VtepName, &BTreeSet<vtep_api::Binding>)| {
            let key = |binding: &vtep_api::Binding| {
                let place = (vtep.to_string(), binding.port.to_string(), binding.vlan.as_u16());
                (place, format!("logical_switch = {:?}", binding.logical_switch.as_str()))
            };
            bindings.iter().map(key).collect::<Vec<_>>()
        };
        declared.bindings.iter().flat_map(of_vtep).collect()
    };
    let name = |(vtep, port, vlan): &(String, String, u16)| {
        let vlan = if *vlan == 0 { "untagged".to_owned() } else { format!("VLAN {vlan}") };
        format!("binding of {vtep:?}, port {port:?}, {vlan}")
    };
    texts(&mut found, name, &binding(old), &binding(new));
    let subscription = |declared: &Declared| -> BTreeMap<(String, String), String> {
        let of_vtep = |(vtep, switches): (&vtep_api::VtepName, &BTreeSet<vtep_api::LogicalSwitchName>)| {
            switches
                .iter()
                .map(|name| ((vtep.to_string(), name.to_string()), String::new()))
                .collect::<Vec<_>>()
        };
        declared.subscriptions.iter().flat_map(of_vtep).collect()
    };
    let name = |(vtep, switch): &(String, String)| format!("subscription of {vtep:?} to {switch:?}");
    texts(&mut found, name, &subscription(old), &subscription(new));
    let pin = |declared: &Declared| -> BTreeMap<(String, String, String), String> {
        let pins = declared.pins.iter();
        pins.map(|pin| {
            let place = (pin.logical_switch.to_string(), pin.mac.to_string(), pin.vtep.to_string());
            (place, String::new())
        })
        .collect()
    };
    let name =
        |(switch, mac, vtep): &(String, String, String)| format!("pin of {mac} in {switch:?} to {vtep:?}");
    texts(&mut found, name, &pin(old), &pin(new));
    found
}

fn objects<K, T>(found: &mut Vec<Difference>, what: &str, old: &BTreeMap<K, T>, new: &BTreeMap<K, T>)
where
    K: Ord + fmt::Display,
    T: Serialize + PartialEq,
{
    for name in both(old, new) {
        let object = format!("{what} {:?}", name.to_string());
        let (sign, detail) = match (old.get(name), new.get(name)) {
            (Some(_), None) => (Sign::Removed, String::new()),
            (None, Some(new)) => (Sign::Added, keys(&Value::Null, &json(new))),
            (Some(old), Some(new)) if old != new => (Sign::Changed, keys(&json(old), &json(new))),
            _ => continue,
        };
        found.push(Difference { sign, object, detail });
    }
}

fn texts<K: Ord>(
    found: &mut Vec<Difference>,
    name: impl Fn(&K) -> String,
    old: &BTreeMap<K, String>,
    new: &BTreeMap<K, String>,
) {
    for key in both(old, new) {
        let (sign, detail) = match (old.get(key), new.get(key)) {
            (Some(_), None) => (Sign::Removed, String::new()),
            (None, Some(new)) => (Sign::Added, new.clone()),
            (Some(old), Some(new)) if old != new => (Sign::Changed, format!("{new}, was {old}")),
            _ => continue,
        };
        found.push(Difference { sign, object: name(key), detail });
    }
}

fn both<'a, K: Ord, T>(old: &'a BTreeMap<K, T>, new: &'a BTreeMap<K, T>) -> BTreeSet<&'a K> {
    old.keys().chain(new.keys()).collect()
}

fn json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

/// `key = new, was old` for each that differs.
fn keys(old: &Value, new: &Value) -> String {
    let (mut before, mut after) = (BTreeMap::new(), BTreeMap::new());
    flatten("", old, &mut before);
    flatten("", new, &mut after);
    let mut changes = Vec::new();
    for key in both(&before, &after) {
        match (before.get(key), after.get(key)) {
            (Some(old), Some(new)) if old != new => changes.push(format!("{key} = {new}, was {old}")),
            (None, Some(new)) => changes.push(format!("{key} = {new}")),
            (Some(old), None) => changes.push(format!("no {key}, was {old}")),
            _ => {}
        }
    }
    changes.join("; ")
}

fn flatten(prefix: &str, value: &Value, found: &mut BTreeMap<String, String>) {
    match value {
        Value::Null => {}
        Value::Object(table) => {
            for (key, value) in table {
                let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                flatten(&key, value, found);
            }
        }
        value => {
            found.insert(prefix.to_owned(), value.to_string());
        }
    }
}
