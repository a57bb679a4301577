//! BFD between the agent and daemons of others, and what a VTEP's silence does to frames, with the agent and without.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "bfd/evidence.rs"]
mod evidence;
#[path = "bfd/failover.rs"]
mod failover;
#[path = "bfd/ipv6.rs"]
mod ipv6;
#[path = "bfd/ovs.rs"]
mod ovs;
#[path = "bfd/rig.rs"]
mod rig;
#[path = "bfd/sessions.rs"]
mod sessions;
