//! Scenarios of the control plane with real agents, ovsdb-servers, controllers and traffic. Needs root.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "control_plane/figures.rs"]
mod figures;
#[path = "control_plane/liveness.rs"]
mod liveness;
#[path = "control_plane/moves.rs"]
mod moves;
#[path = "control_plane/outages.rs"]
mod outages;
#[path = "control_plane/rehearsal.rs"]
mod rehearsal;
#[path = "control_plane/rig.rs"]
mod rig;
#[path = "control_plane/shards.rs"]
mod shards;
