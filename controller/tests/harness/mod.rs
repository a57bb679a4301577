//! Drives the pure cores: no clock, no network.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a fixture of tests")]

pub mod arbiter;
pub mod words;

pub use arbiter::{Arbiter, Received};
pub use words::*;
