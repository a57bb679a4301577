use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use crate::BfdWord;

/// How frames to a VTEP are wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encapsulation {
    /// RFC 7348.
    #[default]
    Vxlan,
    /// RFC 8926.
    Geneve,
    /// RFC 7637.
    Nvgre,
}

impl Encapsulation {
    pub const ALL: [Self; 3] = [Self::Vxlan, Self::Geneve, Self::Nvgre];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Vxlan => "vxlan",
            Self::Geneve => "geneve",
            Self::Nvgre => "nvgre",
        }
    }
}

impl fmt::Display for Encapsulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where a VTEP is reached, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Locator {
    pub address: IpAddr,
    #[serde(default)]
    pub encapsulation: Encapsulation,
    /// What is said of its sessions of BFD.
    #[serde(default, skip_serializing_if = "BfdWord::is_silent")]
    pub bfd: BfdWord,
}

/// By VXLAN.
impl From<IpAddr> for Locator {
    fn from(address: IpAddr) -> Self {
        Self { address, encapsulation: Encapsulation::Vxlan, bfd: BfdWord::default() }
    }
}

/// By VXLAN.
impl From<Ipv4Addr> for Locator {
    fn from(address: Ipv4Addr) -> Self {
        IpAddr::from(address).into()
    }
}

impl fmt::Display for Locator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.address, f)?;
        match self.encapsulation {
            Encapsulation::Vxlan => Ok(()),
            other => write!(f, " by {other}"),
        }
    }
}
