//! Whether VTEPs are watched by BFD, and how.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use vtep_api::{BfdWord, VtepName};
use vtep_bfd::{Holding, Parameters};

pub use vtep_api::BfdTransport;

use super::Bounded;
use crate::table::TunnelTerms;

/// A failure is forgotten after so many holds.
const CALM: u32 = 6;

/// Of all VTEPs, but for what [`BfdVtep`] and the source say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
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
    /// How often a VTEP is asked for packets from which no frames come, if that is less often. 0: as any.
    pub decay_min_rx_ms: Bounded<0, 60_000>,
    /// A VTEP serves while frames come from it, whatever becomes of its control packets.
    pub forwarding_if_rx: bool,
    /// Whether what the source says of a VTEP counts.
    pub heed_source: bool,
    #[serde(rename = "vtep", skip_serializing_if = "BfdVteps::is_empty")]
    pub vteps: BfdVteps,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_ms: Option<Bounded<0, 3_600_000>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_max_ms: Option<Bounded<0, 3_600_000>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revertive: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decay_min_rx_ms: Option<Bounded<0, 60_000>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forwarding_if_rx: Option<bool>,
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
    /// Zero: never.
    pub decay_min_rx: Duration,
    pub forwarding_if_rx: bool,
    pub tunnel: TunnelTerms,
    pub origin: BfdOrigin,
}

/// Who has a word of their own on a VTEP's session. The file's stands over the source's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BfdOrigin {
    /// What the file says of all.
    General,
    File,
    Source,
    FileAndSource,
}

impl Bfd {
    /// Whether the file alone asks for sessions.
    pub fn is_on(&self) -> bool {
        self.enabled || self.vteps.0.iter().any(|vtep| vtep.enabled == Some(true))
    }

    /// Key by key: what the file says of the VTEP, what the source says of it, what the file says of all. `None`: the
    /// VTEP is not watched.
    pub fn of(&self, name: &VtepName, source: &BfdWord, tunnel: &TunnelTerms) -> Option<BfdSettings> {
        let own = self.vteps.0.iter().find(|vtep| vtep.name == *name).map(BfdVtep::word);
        let tunnel = if self.heed_source { *tunnel } else { TunnelTerms::default() };
        let source = Some(*source).filter(|word| self.heed_source && !word.is_silent());
        let word = own.unwrap_or_default().or(source.unwrap_or_default());
        let millis = |ms: u32| Duration::from_millis(ms.into());
        let tx = word.min_tx_ms.unwrap_or(self.min_tx_ms);
        let rx = word.min_rx_ms.unwrap_or(self.min_rx_ms);
        let multiplier = word.multiplier.unwrap_or(self.multiplier);
        let parameters = Parameters::new(millis(tx.as_u32()), millis(rx.as_u32()), multiplier.as_u8());
        let hold = millis(word.hold_ms.unwrap_or(self.hold_ms).as_u32());
        let hold_max = millis(word.hold_max_ms.unwrap_or(self.hold_max_ms).as_u32()).max(hold);
        let revertive = word.revertive.unwrap_or(self.revertive);
        let decay_min_rx = millis(word.decay_min_rx_ms.unwrap_or(self.decay_min_rx_ms).as_u32());
        word.enabled.unwrap_or(self.enabled).then(|| BfdSettings {
            transport: word.transport.unwrap_or(self.transport),
            // The programs answer while the agent is gone.
            parameters: parameters
                .expect("the bounds are narrower")
                .control_plane_independent(true)
                .concatenated_path_down(tunnel.path_down),
            tunnel,
            vni: word.vni.unwrap_or(self.vni).as_u32(),
            holding: Holding { hold, hold_max, calm: hold_max * CALM, revertive },
            decay_min_rx,
            forwarding_if_rx: word.forwarding_if_rx.unwrap_or(self.forwarding_if_rx),
            origin: match (own.is_some(), source.is_some()) {
                (false, false) => BfdOrigin::General,
                (true, false) => BfdOrigin::File,
                (false, true) => BfdOrigin::Source,
                (true, true) => BfdOrigin::FileAndSource,
            },
        })
    }
}

impl BfdVtep {
    fn word(&self) -> BfdWord {
        BfdWord {
            enabled: self.enabled,
            transport: self.transport,
            min_tx_ms: self.min_tx_ms,
            min_rx_ms: self.min_rx_ms,
            multiplier: self.multiplier,
            vni: self.vni,
            hold_ms: self.hold_ms,
            hold_max_ms: self.hold_max_ms,
            revertive: self.revertive,
            decay_min_rx_ms: self.decay_min_rx_ms,
            forwarding_if_rx: self.forwarding_if_rx,
        }
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
            decay_min_rx_ms: Bounded::preset(0),
            forwarding_if_rx: false,
            heed_source: true,
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
