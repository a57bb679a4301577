//! BFD between the agent and daemons of others, and what a VTEP's silence does to frames, with the agent and without.

#[path = "bfd/failover.rs"]
mod failover;
#[path = "bfd/rig.rs"]
mod rig;
#[path = "bfd/sessions.rs"]
mod sessions;
