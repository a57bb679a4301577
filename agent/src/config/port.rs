use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use vtep_api::{MacAddr, PortName};

use super::{Bounded, Decap, Deliver, FloodLimit};

/// What is known of one VM port beforehand.
#[expect(clippy::struct_excessive_bools, reason = "each is a key of the file, independent of the others")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written")]
pub struct Port {
    pub name: PortName,
    /// MACs behind the port, in every logical switch that it is bound to.
    pub macs: BTreeSet<MacAddr>,
    /// Whether source addresses of the port's frames are taken as its MACs.
    pub learn: bool,
    /// Learnt MACs beyond which no more are taken from this port.
    pub learn_max: Bounded<1, 1_000_000>,
    /// Instead of `dataplane.decap`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decap: Option<Decap>,
    pub deliver: Deliver,
    /// Control frames of one link are carried, both ways.
    pub link_local: bool,
    /// Frames must come from one of `macs`.
    pub enforce_macs: bool,
    /// IP addresses that frames may come from; none: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_ips: Option<BTreeSet<IpAddr>>,
    /// Of what is flooded from the port, over all its VLANs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flood_limit: Option<FloodLimit>,
    /// XDP serves the port, if it can be (`packet_rate`).
    pub packet_rate: bool,
    /// What becomes of a frame whose tag has no binding of its own.
    pub unbound_tag: UnboundTag,
    /// The tag that a binding is for goes on inside the tunnel.
    pub keep_tag: bool,
    /// What becomes of a frame with a tag behind the one that a binding is for.
    pub inner_tag: InnerTag,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnboundTag {
    #[default]
    Drop,
    /// It belongs to the untagged binding, without its tag.
    Pop,
    /// It belongs to the untagged binding and has its tag inside the tunnel.
    Keep,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InnerTag {
    #[default]
    Drop,
    /// It has that tag inside the tunnel.
    Keep,
}

/// A port as it stands in the file.
#[expect(clippy::struct_excessive_bools, reason = "as of `Port`")]
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: PortName,
    #[serde(default, deserialize_with = "stations")]
    macs: BTreeSet<MacAddr>,
    learn: Option<bool>,
    #[serde(default = "vtep_api::daemon::preset::<{ Port::LEARN_MAX }, 1, 1_000_000>")]
    learn_max: Bounded<1, 1_000_000>,
    decap: Option<Decap>,
    #[serde(default)]
    deliver: Deliver,
    #[serde(default)]
    link_local: bool,
    #[serde(default)]
    enforce_macs: bool,
    allowed_ips: Option<BTreeSet<IpAddr>>,
    flood_limit: Option<FloodLimit>,
    #[serde(default)]
    packet_rate: bool,
    #[serde(default)]
    unbound_tag: UnboundTag,
    #[serde(default)]
    keep_tag: bool,
    #[serde(default)]
    inner_tag: InnerTag,
}

#[derive(Debug, thiserror::Error)]
enum PortError {
    #[error(
        "port {0:?} has keep_tag = true and inner_tag = \"keep\"; expected one of them, for one tag goes inside"
    )]
    TwoTags(PortName),
    #[error(
        "port {0:?} has enforce_macs = true and no macs; expected macs, for every frame would be refused"
    )]
    NoMacs(PortName),
    #[error("port {0:?} has allowed_ips = []; expected an address, or no allowed_ips, which allows all")]
    NoIps(PortName),
}

/// Who lists the MACs of a port has said which it has.
impl TryFrom<Written> for Port {
    type Error = PortError;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        let Written {
            name,
            macs,
            learn,
            learn_max,
            decap,
            deliver,
            link_local,
            enforce_macs,
            allowed_ips,
            flood_limit,
            packet_rate,
            unbound_tag,
            keep_tag,
            inner_tag,
        } = written;
        if keep_tag && inner_tag == InnerTag::Keep {
            return Err(PortError::TwoTags(name));
        }
        if enforce_macs && macs.is_empty() {
            return Err(PortError::NoMacs(name));
        }
        if allowed_ips.as_ref().is_some_and(BTreeSet::is_empty) {
            return Err(PortError::NoIps(name));
        }
        let learn = learn.unwrap_or(macs.is_empty());
        Ok(Self {
            name,
            macs,
            learn,
            learn_max,
            decap,
            deliver,
            link_local,
            enforce_macs,
            allowed_ips,
            flood_limit,
            packet_rate,
            unbound_tag,
            keep_tag,
            inner_tag,
        })
    }
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
            deliver: Deliver::Interface,
            link_local: false,
            enforce_macs: false,
            allowed_ips: None,
            flood_limit: None,
            packet_rate: false,
            unbound_tag: UnboundTag::Drop,
            keep_tag: false,
            inner_tag: InnerTag::Drop,
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

fn stations<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<BTreeSet<MacAddr>, D::Error> {
    let macs = BTreeSet::<MacAddr>::deserialize(deserializer)?;
    match macs.iter().find(|mac| !mac.is_station()) {
        Some(mac) => Err(serde::de::Error::custom(format!(
            "MAC address {mac} names no station; expected a unicast address that is not zero"
        ))),
        None => Ok(macs),
    }
}
