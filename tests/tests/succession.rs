//! Controllers and etcd's members are killed, stopped and cut off, one after the other, under traffic and under changes:
//! others take over in time, and nothing is lost, taken back or written by whoever's time is over. Needs root.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "succession/churn.rs"]
mod churn;
#[path = "succession/database.rs"]
mod database;
#[path = "succession/fault.rs"]
mod fault;
#[path = "succession/held.rs"]
mod held;
#[path = "succession/herd.rs"]
mod herd;
#[path = "succession/late.rs"]
mod late;
#[path = "succession/rig.rs"]
mod rig;
#[path = "succession/scenario.rs"]
mod scenario;
#[path = "succession/stages.rs"]
mod stages;
#[path = "succession/standby.rs"]
mod standby;
#[path = "succession/watch.rs"]
mod watch;
