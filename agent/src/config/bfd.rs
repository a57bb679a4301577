//! Whether VTEPs are watched by BFD, and how.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use vtep_api::VtepName;
use vtep_bfd::{Holding, Parameters};

use super::Bounded;

/// A failure is forgotten after so many holds.
const CALM: u32 = 6;

/// Of all VTEPs, but for what [`BfdVtep`] says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bfd {
    pub enabled: bool,
    pub transport: BfdTransport,
    pub min_tx_ms: Bounded<50, 60_000>,
    pub min_rx_ms: Bounded<50, 60_000>,
    pub multiplier: Bounded<2, 255>,
    /// Of the tunnel in which packets travel, with `transport = "vxlan"`.
    pub vni: Bounded<0, 16_777_215>,
    /// How long a session has to be up again before its VTEP serves; doubled by failures in a row.
    pub hold_ms: Bounded<0, 3_600_000>,
    pub hold_max_ms: Bounded<0, 3_600_000>,
    /// Otherwise a VTEP comes back by `vtep-agent bfd restore` only.
    pub revertive: bool,
    #[serde(rename = "vtep", skip_serializing_if = "BfdVteps::is_empty")]
    pub vteps: BfdVteps,
}

/// How control packets travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BfdTransport {
    /// RFC 5881: the VTEP is on the same link.
    SingleHop,
    /// RFC 5883.
    #[default]
    MultiHop,
    /// Inside the tunnel, as Open vSwitch and TORs do it.
    Vxlan,
}

/// What differs for one VTEP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BfdVtep {
    pub name: VtepName,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transport: Option<BfdTransport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_tx_ms: Option<Bounded<50, 60_000>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_rx_ms: Option<Bounded<50, 60_000>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multiplier: Option<Bounded<2, 255>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vni: Option<Bounded<0, 16_777_215>>,
}

/// By unique name, in the order of the file.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<BfdVtep>")]
pub struct BfdVteps(Vec<BfdVtep>);

#[derive(Debug, thiserror::Error)]
#[error("VTEP {0} stands twice; expected one [[bfd.vtep]] for each")]
pub struct DuplicateBfdVtepError(VtepName);

/// What a session is to be like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BfdSettings {
    pub transport: BfdTransport,
    pub parameters: Parameters,
    pub vni: u32,
    pub holding: Holding,
}

impl Bfd {
    pub fn is_on(&self) -> bool {
        self.enabled || self.vteps.0.iter().any(|vtep| vtep.enabled == Some(true))
    }

    /// `None`: the VTEP is not watched.
    pub fn of(&self, name: &VtepName) -> Option<BfdSettings> {
        let own = self.vteps.0.iter().find(|vtep| vtep.name == *name);
        let enabled = own.and_then(|own| own.enabled).unwrap_or(self.enabled);
        let millis = |ms: u32| Duration::from_millis(ms.into());
        let tx = own.and_then(|own| own.min_tx_ms).unwrap_or(self.min_tx_ms);
        let rx = own.and_then(|own| own.min_rx_ms).unwrap_or(self.min_rx_ms);
        let multiplier = own.and_then(|own| own.multiplier).unwrap_or(self.multiplier);
        let parameters = Parameters::new(millis(tx.as_u32()), millis(rx.as_u32()), multiplier.as_u8());
        let hold = millis(self.hold_ms.as_u32());
        let hold_max = millis(self.hold_max_ms.as_u32()).max(hold);
        enabled.then(|| BfdSettings {
            transport: own.and_then(|own| own.transport).unwrap_or(self.transport),
            // The programs answer while the agent is gone.
            parameters: parameters.expect("the bounds are narrower").control_plane_independent(true),
            vni: own.and_then(|own| own.vni).unwrap_or(self.vni).as_u32(),
            holding: Holding { hold, hold_max, calm: hold_max * CALM, revertive: self.revertive },
        })
    }
}

impl Default for Bfd {
    fn default() -> Self {
        Self {
            enabled: false,
            transport: BfdTransport::MultiHop,
            min_tx_ms: Bounded::preset(300),
            min_rx_ms: Bounded::preset(300),
            multiplier: Bounded::preset(3),
            vni: Bounded::preset(0),
            hold_ms: Bounded::preset(10_000),
            hold_max_ms: Bounded::preset(300_000),
            revertive: true,
            vteps: BfdVteps::default(),
        }
    }
}

impl BfdVteps {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl TryFrom<Vec<BfdVtep>> for BfdVteps {
    type Error = DuplicateBfdVtepError;

    fn try_from(vteps: Vec<BfdVtep>) -> Result<Self, Self::Error> {
        let mut names = BTreeSet::new();
        match vteps.iter().find(|vtep| !names.insert(&vtep.name)) {
            Some(twice) => Err(DuplicateBfdVtepError(twice.name.clone())),
            None => Ok(Self(vteps)),
        }
    }
}
