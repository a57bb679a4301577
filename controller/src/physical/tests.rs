//! The physical controller alone, between hand-made logical controllers and VTEPs.

mod collect;
mod distribute;
mod elected;
mod forward;
mod laws;
mod operators;
mod peers;
mod receiver;
mod scenarios;
mod sessions;
mod world;
