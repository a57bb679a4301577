//! How tunnels run over the underlay.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use vtep_abi::VtepAdj;
use vtep_api::PortName;

use super::Bounded;
use crate::tunnel_address::OwnAddresses;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Underlay {
    /// Our own tunnel address, or one of each family.
    pub address: OwnAddresses,
    pub uplinks: Vec<PortName>,
    /// Those of them that XDP serves, if they can be.
    #[serde(default)]
    pub packet_rate: Vec<PortName>,
    /// Of VXLAN.
    #[serde(default = "vtep_api::daemon::preset::<4789, 1, 65535>")]
    pub udp_port: Bounded<1, 65535>,
    #[serde(default = "ttl")]
    pub ttl: Inheritable<1, 255>,
    #[serde(default = "dscp")]
    pub dscp: Inheritable<0, 63>,
    #[serde(default)]
    pub df: DontFragment,
    #[serde(default)]
    pub source_ports: SourcePorts,
    #[serde(default)]
    pub reserved_bits: ReservedBits,
    /// How long nothing has to come from a VTEP to which frames go; 0: never told.
    #[serde(default = "vtep_api::daemon::preset::<60, 0, 3600>")]
    pub one_way_secs: Bounded<0, 3600>,
}

/// IANA's recommendation for hosts (RFC 1700); also where there is no inner packet to inherit from.
const TTL: u32 = 64;

fn ttl() -> Inheritable<1, 255> {
    Inheritable::Fixed(Bounded::preset(TTL))
}

fn dscp() -> Inheritable<0, 63> {
    Inheritable::Fixed(Bounded::preset(0))
}

impl Underlay {
    pub fn policy(&self) -> vtep_outer::Policy {
        let (ttl, inherit_ttl) = match self.ttl {
            Inheritable::Fixed(ttl) => (ttl.as_u8(), 0),
            Inheritable::Inherit => (Bounded::<1, 255>::preset(TTL).as_u8(), VtepAdj::INHERIT_TTL),
        };
        let (dscp, inherit_dscp) = match self.dscp {
            Inheritable::Fixed(dscp) => (dscp.as_u8(), 0),
            Inheritable::Inherit => (0, VtepAdj::INHERIT_DSCP),
        };
        let df = match self.df {
            DontFragment::Set => VtepAdj::DONT_FRAGMENT,
            DontFragment::Clear => 0,
            // What is not IP has nothing to say against it.
            DontFragment::Inherit => VtepAdj::INHERIT_DONT_FRAGMENT,
        };
        let SourcePorts { first, last } = self.source_ports;
        vtep_outer::Policy { ttl, dscp, flags: inherit_ttl | inherit_dscp | df, source_ports: (first, last) }
    }
}

/// A number, or the inner packet's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "Written", try_from = "Written")]
pub enum Inheritable<const MIN: u32, const MAX: u32> {
    Fixed(Bounded<MIN, MAX>),
    Inherit,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "a number, or \"inherit\"")]
enum Written {
    Number(i64),
    Word(String),
}

const INHERIT: &str = "inherit";

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{value} is no value; expected {min} to {max}, or \"inherit\"")]
pub struct InheritableError {
    value: String,
    min: u32,
    max: u32,
}

impl<const MIN: u32, const MAX: u32> TryFrom<Written> for Inheritable<MIN, MAX> {
    type Error = InheritableError;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        let refused = |value| InheritableError { value, min: MIN, max: MAX };
        match written {
            Written::Number(number) => {
                Bounded::try_from(number).map(Self::Fixed).map_err(|_| refused(number.to_string()))
            }
            Written::Word(word) if word == INHERIT => Ok(Self::Inherit),
            Written::Word(word) => Err(refused(format!("{:?}", word.chars().take(64).collect::<String>()))),
        }
    }
}

impl<const MIN: u32, const MAX: u32> From<Inheritable<MIN, MAX>> for Written {
    fn from(value: Inheritable<MIN, MAX>) -> Self {
        match value {
            Inheritable::Fixed(number) => Self::Number(number.as_u32().into()),
            Inheritable::Inherit => Self::Word(INHERIT.to_owned()),
        }
    }
}

/// Of outer IPv4 headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DontFragment {
    #[default]
    Set,
    Clear,
    /// As the inner IPv4 packet has it; set for an inner IPv6 packet.
    Inherit,
}

/// What becomes of a frame whose tunnel header has a reserved bit set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReservedBits {
    /// RFC 7348 §5.
    #[default]
    Ignore,
    Drop,
}

/// UDP source ports, by which the underlay tells flows apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct SourcePorts {
    pub first: u16,
    pub last: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("source ports {text:?} are no range; expected two of 1 to 65535 in order, such as \"49152-65535\"")]
pub struct SourcePortsError {
    text: String,
}

/// The dynamic ports (RFC 7348 §5, RFC 8926 §3.3).
impl Default for SourcePorts {
    fn default() -> Self {
        Self { first: 49152, last: 65535 }
    }
}

impl FromStr for SourcePorts {
    type Err = SourcePortsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let range = || {
            let (first, last) = text.split_once('-')?;
            let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
            (0 < first && first <= last).then_some(Self { first, last })
        };
        range().ok_or_else(|| SourcePortsError { text: text.chars().take(64).collect() })
    }
}

impl TryFrom<String> for SourcePorts {
    type Error = SourcePortsError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<SourcePorts> for String {
    fn from(ports: SourcePorts) -> Self {
        ports.to_string()
    }
}

impl fmt::Display for SourcePorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}
