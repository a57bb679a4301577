//! What somebody says of sessions of BFD with a VTEP.

use serde::{Deserialize, Serialize};

use crate::Bounded;

/// How control packets travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
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

impl BfdTransport {
    pub const fn name(self) -> &'static str {
        match self {
            Self::SingleHop => "single-hop",
            Self::MultiHop => "multi-hop",
            Self::Vxlan => "vxlan",
        }
    }
}

/// What is absent is left to whoever else has a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BfdWord {
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
    /// Of the tunnel in which packets travel, by [`BfdTransport::Vxlan`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vni: Option<Bounded<0, 16_777_215>>,
    /// How long a session has to be up again before its VTEP serves; doubled by failures in a row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_ms: Option<Bounded<0, 3_600_000>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_max_ms: Option<Bounded<0, 3_600_000>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revertive: Option<bool>,
    /// In the place of `min_rx_ms`, if it is longer, while no frames come from the VTEP. 0: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decay_min_rx_ms: Option<Bounded<0, 60_000>>,
    /// The VTEP serves while frames come from it, whatever becomes of its control packets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forwarding_if_rx: Option<bool>,
}

impl BfdWord {
    pub fn is_silent(&self) -> bool {
        *self == Self::default()
    }

    /// Key by key, the other's word where this says nothing.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            enabled: self.enabled.or(other.enabled),
            transport: self.transport.or(other.transport),
            min_tx_ms: self.min_tx_ms.or(other.min_tx_ms),
            min_rx_ms: self.min_rx_ms.or(other.min_rx_ms),
            multiplier: self.multiplier.or(other.multiplier),
            vni: self.vni.or(other.vni),
            hold_ms: self.hold_ms.or(other.hold_ms),
            hold_max_ms: self.hold_max_ms.or(other.hold_max_ms),
            revertive: self.revertive.or(other.revertive),
            decay_min_rx_ms: self.decay_min_rx_ms.or(other.decay_min_rx_ms),
            forwarding_if_rx: self.forwarding_if_rx.or(other.forwarding_if_rx),
        }
    }

    /// Of a session between two VTEPs, the same seen from both: what one end says alone counts, and of what both say the
    /// more patient. Who says that there is no session has none.
    #[must_use]
    pub fn between(one: Self, other: Self) -> Self {
        Self {
            enabled: either(one.enabled, other.enabled, |one, other| one && other),
            transport: either(one.transport, other.transport, Ord::max),
            min_tx_ms: either(one.min_tx_ms, other.min_tx_ms, Ord::max),
            min_rx_ms: either(one.min_rx_ms, other.min_rx_ms, Ord::max),
            multiplier: either(one.multiplier, other.multiplier, Ord::max),
            vni: either(one.vni, other.vni, Ord::max),
            hold_ms: either(one.hold_ms, other.hold_ms, Ord::max),
            hold_max_ms: either(one.hold_max_ms, other.hold_max_ms, Ord::max),
            revertive: either(one.revertive, other.revertive, |one, other| one && other),
            decay_min_rx_ms: either(one.decay_min_rx_ms, other.decay_min_rx_ms, Ord::max),
            forwarding_if_rx: either(one.forwarding_if_rx, other.forwarding_if_rx, |one, other| one || other),
        }
    }
}

fn either<T: Copy>(one: Option<T>, other: Option<T>, both: impl FnOnce(T, T) -> T) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(both(one, other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_of_a_session_come_to_the_same() {
        let tor = BfdWord { enabled: Some(true), min_tx_ms: Some(Bounded::preset(50)), ..BfdWord::default() };
        let host = BfdWord {
            min_tx_ms: Some(Bounded::preset(300)),
            transport: Some(BfdTransport::Vxlan),
            ..BfdWord::default()
        };
        let between = BfdWord::between(tor, host);
        assert_eq!(between, BfdWord::between(host, tor));
        assert_eq!(between, BfdWord { enabled: Some(true), ..host });
        let off = BfdWord { enabled: Some(false), ..BfdWord::default() };
        assert_eq!(BfdWord::between(tor, off).enabled, Some(false));
    }

    #[test]
    fn a_word_yields_key_by_key() {
        let own = BfdWord { min_rx_ms: Some(Bounded::preset(100)), ..BfdWord::default() };
        let general = BfdWord { min_rx_ms: Some(Bounded::preset(300)), enabled: Some(true), ..own };
        assert_eq!(own.or(general), BfdWord { enabled: Some(true), ..own });
        assert!(BfdWord::default().is_silent());
    }
}
