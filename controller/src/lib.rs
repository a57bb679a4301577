//! The controllers: collect what every VTEP claims, resolve it to one master for each MAC, distribute the result.
//!
//! [`Logical`] and [`Physical`] are pure: `step(event, now, actions)`, without I/O, clock or randomness. The rest of the
//! crate carries messages to them and carries out what they ask for.

pub mod bugs;
pub mod check;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod control;
pub mod declared;
pub mod logical;
pub mod metrics;
pub mod now;
pub mod physical;
pub mod published;
pub mod record;
pub mod run;
pub mod store;
mod tor;

pub use declared::Declared;
pub use logical::Logical;
pub use now::Now;
pub use physical::Physical;
