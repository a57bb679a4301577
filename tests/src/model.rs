//! The dataplane as its documents describe it, in user space: what becomes of one frame, bit for bit.
//!
//! Written from `docs/`, RFC 7348 and RFC 6040. It shares no code with the programs: of the contract it takes the
//! verdicts' names and numbers alone, and keeps tables of its own. Being slow and plain is its purpose.

mod ecn;
mod encap;
mod header;
mod outcome;
mod port;
mod tables;
mod uplink;

pub use self::{
    outcome::{Leaving, Outcome, VtepCount, Way},
    tables::{Binding, Entry, Host, LocalPort, Mac, Network, Place, Tables, Vtep},
};

/// Where a frame came in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub enum Hook {
    Port,
    Uplink,
}

/// What becomes of a frame that came in at the interface `ifindex`. Its outermost tag is where TC has it: beside the
/// frame, TPID and TCI.
pub fn judge(tables: &Tables, hook: Hook, ifindex: u32, tag: Option<(u16, u16)>, frame: &[u8]) -> Outcome {
    match hook {
        Hook::Port => port::enter(tables, ifindex, tag, frame),
        Hook::Uplink => uplink::enter(tables, tag, frame),
    }
}
