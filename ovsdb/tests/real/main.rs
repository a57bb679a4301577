//! The client against a real `ovsdb-server`.
#![cfg(test)]

mod follow;
mod follower;
#[allow(dead_code, reason = "the tests of hardware_vtep use the rest")]
mod server;

use std::path::Path;

fn schema() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real/things.ovsschema"))
}
