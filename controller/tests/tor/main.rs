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

use std::time::Duration;

const MAC: &str = "02:00:00:00:00:01";
const SECOND: Duration = Duration::from_secs(1);
