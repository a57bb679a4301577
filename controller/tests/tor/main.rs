//! TORs with real databases, and the controller's real binary.

#![expect(clippy::unwrap_used, reason = "tests")]

mod faults;
mod foreign;
mod garbled;
mod moves;
mod peers;
mod restarts;
mod rig;
mod split;
mod tors;
mod transports;

const MAC: &str = "02:00:00:00:00:01";
