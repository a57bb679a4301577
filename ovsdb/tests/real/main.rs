//! The client against a real `ovsdb-server`.
#![cfg(test)]

mod connection;
mod follow;
mod follower;
mod proxy;
#[allow(dead_code, reason = "the tests of hardware_vtep use the rest")]
mod server;
mod transactions;
mod transports;

use std::path::Path;

fn schema() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real/things.ovsschema"))
}
