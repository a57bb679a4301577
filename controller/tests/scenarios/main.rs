//! The acceptance scenarios whose rule is pure, by their number.

#[path = "../harness/mod.rs"]
mod harness;

mod absence;
mod awaited;
mod distribution;
mod guards;
mod laws;
mod moves;
mod policies;
mod restart;
mod witness;
