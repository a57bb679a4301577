//! The acceptance scenarios whose rule is pure, by their number.

#[path = "../harness/mod.rs"]
mod harness;

mod moves;
