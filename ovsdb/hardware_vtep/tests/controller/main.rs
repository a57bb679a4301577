//! The controller's side against a real `ovsdb-server`, with a TOR that `vtep-ctl` plays.
#![cfg(test)]

mod extension;
mod lock;
mod macs;
mod networks;
mod observes;
#[path = "../device/schema.rs"]
mod schema;
#[allow(dead_code, reason = "the client's own tests use the rest")]
#[path = "../../../tests/real/server.rs"]
mod server;
mod tor;
#[path = "../device/tunnel_row.rs"]
mod tunnel_row;
mod tunnels;
