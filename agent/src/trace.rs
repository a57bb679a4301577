//! What would become of a frame, and why: the question of `vtep-agent trace`, and its answer. The programs give the
//! verdict; the chain of entries that leads there is read from the maps beside it, and both are compared.

pub mod device;
pub mod outer;
mod probe;
pub mod view;

use serde::{Deserialize, Serialize};
use vtep_abi::Verdict;

pub use probe::{Probe, ProbeError, digits, hex};
pub(crate) use probe::{array, tag};

/// Which frame, and where it comes in: at a port or an uplink; given whole, or by its addresses.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Question {
    pub port: Option<String>,
    pub uplink: Option<String>,
    /// Hexadecimal, from the destination address on, tags in their place.
    pub frame: Option<String>,
    pub dst: Option<String>,
    pub src: Option<String>,
    pub vlan: Option<u16>,
    pub ether_type: Option<u16>,
}

/// Whether the chain of entries alone can lead to this verdict. The others say that the program ended before: the frame
/// is malformed, a policy forbids it, a helper failed.
pub fn is_of_the_tables(verdict: Verdict) -> bool {
    matches!(
        verdict,
        Verdict::Local
            | Verdict::Master
            | Verdict::Slave
            | Verdict::Device
            | Verdict::Flooded
            | Verdict::Delivered
            | Verdict::DeliveredFlood
            | Verdict::Admitted
            | Verdict::NotOurs
            | Verdict::Unbound
            | Verdict::UnknownVni
            | Verdict::UnknownUnicast
            | Verdict::BothDown
            | Verdict::NoRoute
            | Verdict::UnknownSender
            | Verdict::SenderNotInVni
            | Verdict::SplitHorizon
            | Verdict::SamePort
            | Verdict::PortGone
    )
}
