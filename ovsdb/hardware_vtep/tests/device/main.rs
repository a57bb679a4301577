//! The device's side against a real `ovsdb-server` with the schema that Open vSwitch ships, written to by `vtep-ctl`.
#![cfg(test)]

mod device;
mod reads;
mod schema;
#[allow(dead_code, reason = "the client's own tests use the rest")]
#[path = "../../../tests/real/server.rs"]
mod server;
mod tunnel_row;
mod tunnels;
mod writes;
