//! The agent as the device of a real `hardware_vtep` database: the rows that a controller and a device share.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "device/flood.rs"]
mod flood;
#[path = "device/local.rs"]
mod local;
#[path = "device/networks.rs"]
mod networks;
#[path = "device/remote.rs"]
mod remote;
#[path = "device/rig.rs"]
mod rig;
#[path = "device/session.rs"]
mod session;
