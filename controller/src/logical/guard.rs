//! What keeps one VTEP's faults from becoming everybody's.

mod departures;
mod flap;
mod storm;

pub(super) use departures::Departures;
pub(super) use flap::{Flap, Mark};
pub(super) use storm::Storm;
