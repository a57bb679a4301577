//! The agent: takes reconciled tables from a source, keeps the kernel's maps equal to them, and reports the MACs
//! behind its own ports.
//!
//! Data flows one way: [`source`] → [`table`] → [`desired`] → [`plan`] → [`kernel`]. What is installed flows back into
//! `plan` only. The pure modules (`table`, `learnt`, `desired`, `plan`) do no I/O and read no clock; [`daemon`] is the
//! one task that owns all state, and [`control`] and [`metrics`] ask it.

pub mod alarm;
pub mod announced;
pub mod capabilities;
pub mod capture;
pub mod check;
pub mod claims;
pub mod cli;
pub mod config;
pub mod contested;
pub mod control;
mod counts;
pub mod daemon;
pub mod dataplane;
pub mod desired;
pub mod doctor;
pub mod genetlink;
pub mod kernel;
pub mod learnt;
pub mod links;
pub mod liveness;
pub mod metrics;
pub mod monitor;
pub mod netlink;
pub mod one_way;
pub mod overheard;
pub mod packet_rate;
pub mod plan;
pub mod proof;
pub mod roles;
pub mod source;
pub mod table;
pub mod trace;
pub mod tunnel_address;
pub mod underlay;
pub mod witness;
