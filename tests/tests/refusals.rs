//! Bad input: each refused with its clear message, and nothing lost.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "refusals/host.rs"]
mod host;
#[path = "refusals/quota.rs"]
mod quota;
#[path = "refusals/size.rs"]
mod size;
#[path = "refusals/table.rs"]
mod table;
