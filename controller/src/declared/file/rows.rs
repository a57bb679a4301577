//! The rows of the file, each key with a type of its own. A key that is absent is looked at where the row is used.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ovsdb::Remote;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use vtep_api::{
    BfdWord, ControllerName, Encapsulation, LogicalSwitchName, MacAddr, Replication, SwitchPortName,
    UnknownUnicast, VlanId, Vni, VtepName,
};

use super::problem::Problems;
use super::tree::{Kind, Node};
use crate::declared::WitnessPolicy;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct VtepRow {
    pub(super) name: Option<VtepName>,
    pub(super) ovsdb: Option<Remote>,
    pub(super) address: Option<TunnelAddress>,
    pub(super) encapsulation: Encapsulation,
    pub(super) physical_controller: Option<ControllerName>,
    pub(super) bfd: BfdWord,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SwitchRow {
    pub(super) name: Option<LogicalSwitchName>,
    pub(super) vni: Option<Vni>,
    pub(super) logical_controller: Option<ControllerName>,
    pub(super) unknown_unicast: UnknownUnicast,
    pub(super) replication: Replication,
    pub(super) service_nodes: BTreeSet<VtepName>,
    pub(super) witness: WitnessPolicy,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct BindingRow {
    pub(super) vtep: Option<VtepName>,
    pub(super) port: Option<SwitchPortName>,
    pub(super) vlan: Option<VlanId>,
    pub(super) logical_switch: Option<LogicalSwitchName>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SubscriptionRow {
    pub(super) vtep: Option<VtepName>,
    pub(super) logical_switch: Option<LogicalSwitchName>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct PinRow {
    pub(super) logical_switch: Option<LogicalSwitchName>,
    pub(super) mac: Option<Station>,
    pub(super) vtep: Option<VtepName>,
}

/// Where encapsulated frames can be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct TunnelAddress(pub(super) IpAddr);

/// A MAC that one station can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Station(pub(super) MacAddr);

impl TryFrom<String> for TunnelAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let refused =
            || format!("tunnel address {text:?} is no unicast IP address; expected one such as 192.0.2.11");
        let address: IpAddr = text.parse().map_err(|_| refused())?;
        let broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
        if address.is_unspecified() || address.is_multicast() || broadcast {
            Err(refused())
        } else {
            Ok(Self(address))
        }
    }
}

impl TryFrom<String> for Station {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let mac: MacAddr = text.parse().map_err(|error: vtep_api::MacParseError| error.to_string())?;
        if mac.is_station() {
            Ok(Self(mac))
        } else {
            Err(format!("MAC address {mac} names no station; expected a unicast address that is not zero"))
        }
    }
}

/// A table's keys, each that is wrong said at its own line and left out.
pub(super) fn read<T: DeserializeOwned + Default>(
    what: &str,
    node: &Node,
    problems: &mut Problems<'_>,
) -> Option<T> {
    let Kind::Table(entries) = &node.kind else {
        problems.push(node.at, format!("{what} is {}; expected a table", node.json()));
        return None;
    };
    if let Ok(row) = serde_json::from_value(node.json()) {
        return Some(row);
    }
    let mut good = serde_json::Map::new();
    for (key, node) in entries {
        check_key::<T>(
            key,
            node,
            &|inner| Value::Object([(key.clone(), inner)].into_iter().collect()),
            problems,
        );
        let alone: Value = [(key.clone(), node.json())].into_iter().collect();
        if serde_json::from_value::<T>(alone).is_ok() {
            good.insert(key.clone(), node.json());
        }
    }
    Some(serde_json::from_value(Value::Object(good)).unwrap_or_default())
}

/// `within` puts a value where the key stands.
fn check_key<T: DeserializeOwned>(
    key: &str,
    node: &Node,
    within: &dyn Fn(Value) -> Value,
    problems: &mut Problems<'_>,
) {
    let Err(error) = serde_json::from_value::<T>(within(node.json())) else { return };
    let before = problems.count();
    if let Kind::Table(entries) = &node.kind {
        for (inner, node) in entries {
            let deeper = |value| within([(inner.clone(), value)].into_iter().collect());
            check_key::<T>(inner, node, &deeper, problems);
        }
    }
    // It is none of the keys within.
    if problems.count() == before {
        problems.push(node.at, format!("{key}: {error}"));
    }
}
