//! Outer headers, made and read: bytes in, bytes out. It knows no packet memory and no kernel helper, so the programs,
//! the agent and the tests share it.
//!
//! The agent makes a [`template`] for each VTEP. [`Outer`] is that template with what depends on the frame written into
//! it. [`read`] is the way back, and [`ecn`] joins what both headers say of congestion.

#![no_std]
#![expect(
    clippy::inline_always,
    reason = "a call in a BPF program costs registers and a share of 512 bytes of stack"
)]
#![expect(
    clippy::cast_possible_truncation,
    reason = "header fields have their own widths, and the casts say so"
)]

pub mod checksum;
pub mod ecn;
mod encapsulation;
mod outer;
pub mod read;
mod shape;
mod template;

pub use encapsulation::{Encapsulation, GENEVE_PORT};
pub use outer::{Inner, InnerIp, Outer, Room};
pub use shape::Shape;
pub use template::{Policy, Tunnel};

pub const ETH_LEN: usize = 14;
pub const IPV4_LEN: usize = 20;
pub const IPV6_LEN: usize = 40;
pub const UDP_LEN: usize = 8;
/// Of VXLAN, of Geneve without options, and of GRE with a key.
pub const TUNNEL_LEN: usize = 8;

pub const IPPROTO_UDP: u8 = 17;
pub const IPPROTO_GRE: u8 = 47;
pub const ETHERTYPE_IPV4: u16 = 0x0800;
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
/// Transparent Ethernet bridging: an Ethernet frame is inside (RFC 7637 §3.2, RFC 8926 §3.4).
pub const ETHERTYPE_TEB: u16 = 0x6558;

#[cfg(test)]
extern crate std;
#[cfg(test)]
mod tests;
