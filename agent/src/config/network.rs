use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use vtep_api::Vni;

use super::{Bounded, FloodLimit};

/// What this host does about one logical network, or about all that have no section of their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_excessive_bools, reason = "the operator's switches")]
pub struct Network {
    /// None: every other network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vni: Option<Vni>,
    /// A frame from the underlay must come from a VTEP behind which its source MAC lives.
    pub check_source: bool,
    /// What admitted VTEPs send from MACs that the table has behind others is told upstream. It is forwarded all the same.
    pub witness: bool,
    /// ARP requests and neighbour solicitations of our ports are answered where the address is known.
    pub suppress: bool,
    /// Of all flooded frames, from ports and from the underlay together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flood_limit: Option<FloodLimit>,
    /// Sources of what admitted VTEPs send are entries where the table has none.
    pub learn_underlay: bool,
    /// Of one VTEP, MACs beyond which no more are learnt.
    pub learn_underlay_max: Bounded<1, 1_000_000>,
    /// MACs learnt from our ports beyond which no more are taken.
    pub learn_max: Bounded<1, 1_000_000>,
    /// Of the table, MACs of one VTEP beyond which no more are taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub macs_per_vtep_max: Option<Bounded<1, 16_000_000>>,
    /// A learnt MAC that was not seen for so long is forgotten; 0: none is.
    pub mac_age_secs: Bounded<0, 31_536_000>,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            vni: None,
            check_source: false,
            witness: true,
            suppress: false,
            flood_limit: None,
            learn_underlay: false,
            learn_underlay_max: Bounded::preset(1024),
            learn_max: Bounded::preset(16_384),
            macs_per_vtep_max: None,
            mac_age_secs: Bounded::preset(300),
        }
    }
}

/// Networks by unique VNI, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(into = "Vec<Network>", try_from = "Vec<Network>")]
pub struct Networks {
    listed: Vec<Network>,
    fallback: Network,
}

#[derive(Debug, thiserror::Error)]
pub enum DuplicateNetworkError {
    #[error("VNI {0} stands twice; expected one [[network]] for each VNI")]
    Vni(Vni),
    #[error(
        "two [[network]] sections have no vni; expected one for all VNIs that have no section of their own"
    )]
    Fallback,
}

impl Networks {
    /// Of all sections, and of networks that have none.
    pub fn iter(&self) -> impl Iterator<Item = &Network> {
        self.listed.iter().chain([&self.fallback])
    }

    pub fn of(&self, vni: u32) -> &Network {
        let own = self.listed.iter().find(|network| network.vni.is_some_and(|own| own.as_u32() == vni));
        own.unwrap_or(&self.fallback)
    }
}

impl TryFrom<Vec<Network>> for Networks {
    type Error = DuplicateNetworkError;

    fn try_from(networks: Vec<Network>) -> Result<Self, Self::Error> {
        let mut vnis = BTreeSet::new();
        let mut fallback = None;
        for network in &networks {
            match network.vni {
                Some(vni) if !vnis.insert(vni) => return Err(DuplicateNetworkError::Vni(vni)),
                None if fallback.is_some() => return Err(DuplicateNetworkError::Fallback),
                None => fallback = Some(network.clone()),
                Some(_) => {}
            }
        }
        Ok(Self { listed: networks, fallback: fallback.unwrap_or_default() })
    }
}

impl From<Networks> for Vec<Network> {
    fn from(networks: Networks) -> Self {
        networks.listed
    }
}
