use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use vtep_api::{MacAddr, PortName};

use super::{Bounded, Decap, bounded};

/// What is known of one VM port beforehand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    pub name: PortName,
    /// MACs behind the port, in every logical switch that it is bound to.
    #[serde(default, deserialize_with = "stations")]
    pub macs: BTreeSet<MacAddr>,
    /// Whether source addresses of the port's frames are taken as its MACs.
    #[serde(default = "yes")]
    pub learn: bool,
    /// Learnt MACs beyond which no more are taken from this port.
    #[serde(default = "bounded::preset::<{ Port::LEARN_MAX }, 1, 1_000_000>")]
    pub learn_max: Bounded<1, 1_000_000>,
    /// Instead of `dataplane.decap`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decap: Option<Decap>,
}

impl Port {
    pub const LEARN_MAX: u32 = 1024;

    /// What holds for a port that the configuration does not name.
    pub fn unnamed(name: PortName) -> Self {
        Self {
            name,
            macs: BTreeSet::new(),
            learn: true,
            learn_max: Bounded::preset(Self::LEARN_MAX),
            decap: None,
        }
    }
}

/// Ports by unique name, in the order of the file.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(into = "Vec<Port>", try_from = "Vec<Port>")]
pub struct Ports(Vec<Port>);

#[derive(Debug, thiserror::Error)]
#[error("port {name:?} stands twice; expected one [[port]] for each name")]
pub struct DuplicatePortError {
    pub name: PortName,
}

impl Ports {
    pub fn iter(&self) -> impl Iterator<Item = &Port> {
        self.0.iter()
    }

    pub fn named(&self, name: &PortName) -> Option<&Port> {
        self.0.iter().find(|port| port.name == *name)
    }
}

impl TryFrom<Vec<Port>> for Ports {
    type Error = DuplicatePortError;

    fn try_from(ports: Vec<Port>) -> Result<Self, Self::Error> {
        let mut names = BTreeSet::new();
        match ports.iter().find(|port| !names.insert(&port.name)) {
            Some(port) => Err(DuplicatePortError { name: port.name.clone() }),
            None => Ok(Self(ports)),
        }
    }
}

impl From<Ports> for Vec<Port> {
    fn from(ports: Ports) -> Self {
        ports.0
    }
}

fn yes() -> bool {
    true
}

fn stations<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<MacAddr>, D::Error> {
    let macs = BTreeSet::<MacAddr>::deserialize(deserializer)?;
    match macs.iter().find(|mac| !mac.is_station()) {
        Some(mac) => Err(serde::de::Error::custom(format!(
            "MAC address {mac} names no station; expected a unicast address that is not zero"
        ))),
        None => Ok(macs),
    }
}
