//! The dataplane as its documents describe it, in user space: what becomes of one frame, bit for bit.
//!
//! Written from `docs/`, RFC 7348, RFC 8926, RFC 7637 and RFC 6040. It shares no code with the programs: of the contract
//! it takes the verdicts' names and numbers alone, and keeps tables of its own. Being slow and plain is its purpose.

mod ecn;
mod encap;
mod header;
mod icmp;
mod outcome;
mod port;
mod security;
mod suppress;
mod tables;
mod tags;
mod tunnel;
mod uplink;

pub use self::{
    header::untagged,
    outcome::{Free, Leaving, Outcome, Paid, PortCount, VtepCount, Way},
    tables::{
        Address, Binding, Encapsulation, Entry, Host, Interface, LocalPort, Mac, Network, Place, Policy,
        Storm, Tables, Tag, Tags, Vtep,
    },
    tunnel::Decapsulated,
};

/// Where a frame came in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub enum Hook {
    Port,
    Uplink,
    Tunnel(Decapsulated),
    /// In packet-rate mode. What XDP does not finish goes on to TC.
    PortXdp,
    UplinkXdp,
}

/// What becomes of a frame that came in at the interface `ifindex`, its tags in its bytes.
pub fn judge(tables: &Tables, hook: Hook, ifindex: u32, frame: &[u8]) -> Outcome {
    let (tag, frame) = untagged(frame);
    match hook {
        Hook::Port | Hook::PortXdp => port::enter(tables, ifindex, tag, &frame),
        Hook::Uplink => uplink::enter(tables, false, tag, &frame),
        Hook::UplinkXdp => uplink::enter(tables, true, tag, &frame),
        Hook::Tunnel(tunnel) => tunnel::enter(tables, tunnel, tag, &frame),
    }
}

impl Hook {
    pub fn is_xdp(self) -> bool {
        matches!(self, Self::PortXdp | Self::UplinkXdp)
    }
}
