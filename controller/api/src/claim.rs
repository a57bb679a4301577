//! What a VTEP says of the MACs behind it, and what a controller makes of it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// What a VTEP is for a MAC: the one to which frames go, or one that stands by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    #[default]
    Master,
    Slave,
}

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::Slave => "slave",
        }
    }
}

/// IP addresses of a station. Mostly none.
pub type Ips = Box<[IpAddr]>;

/// Tells a record from an equal one that was withdrawn and made again: a row's UUID, or a number that an agent gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Origin(pub u128);

/// Orders what one VTEP claims: `epoch` counts how often its collector lost what it knew of it, `seq` the changes within
/// one epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Stamp {
    pub epoch: u64,
    pub seq: u64,
}

/// One record of a VTEP's inventory: a MAC behind it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LocalMac {
    pub role: Role,
    /// The VTEP's own time of its claim, in milliseconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_at_ms: Option<i64>,
    /// `None`: told again by a VTEP that lost its own state, which is never news.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub ips: Ips,
}

/// "I am `role` for this MAC", as the physical controller passes it on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    pub local: LocalMac,
    /// Of the change that made it. A record that is told again keeps its stamp.
    pub stamp: Stamp,
    /// The physical controller's time of that change, in milliseconds since the epoch.
    pub received_at_ms: i64,
    /// The last table that the physical controller has names this VTEP as the MAC's master. Only in a snapshot, for a
    /// logical controller that begins anew.
    #[serde(default)]
    pub was_master: bool,
}

/// Why a MAC, or a VTEP's claim of it, is no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The VTEP took its record back.
    Withdrawn,
    /// The MAC is behind the receiving VTEP itself by now.
    ClaimMoved,
    /// The VTEP was away for longer than its claims are held.
    HoldExpired,
    /// By the declared configuration, or by hand.
    Operator,
}

impl Cause {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Withdrawn => "withdrawn",
            Self::ClaimMoved => "claim moved",
            Self::HoldExpired => "hold expired",
            Self::Operator => "operator",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("origin {text:?} is malformed; expected up to 32 hexadecimal digits")]
pub struct OriginParseError {
    pub text: String,
}

impl From<Origin> for String {
    fn from(origin: Origin) -> Self {
        format!("{:x}", origin.0)
    }
}

impl TryFrom<String> for Origin {
    type Error = OriginParseError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let refused = |_| OriginParseError { text: text.chars().take(64).collect() };
        u128::from_str_radix(&text, 16).map(Self).map_err(refused)
    }
}
