//! The daemon itself, with the real kernel: what it refuses, what it keeps, what it leaves. As root.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod controller;
mod doctor;
mod file;
mod host;
mod intent;
mod learning;
mod ovsdb;
mod seeing;
mod trace;
