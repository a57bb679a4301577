//! Controllers of several processes with real etcd and real ovsdb-servers: one is killed, stopped or cut off, and others
//! go on. Scenario 15.

#![expect(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

mod early;
mod logical;
mod physical;
mod restored;
mod site;
#[path = "../tor/tors.rs"]
#[expect(dead_code, reason = "some of it is for one TOR alone")]
mod tors;
mod whole;
