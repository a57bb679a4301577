//! Sessions of BFD: what the agent says of one, what the programs heard, and what they hand up.

use bytemuck::{Pod, Zeroable};

use crate::AddrBytes;

/// A session with the VTEP of the same index, as its agent last had it. Written by the agent only.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
pub struct BfdSession {
    /// When the agent last sent, on the monotonic clock.
    pub sent_ns: u64,
    /// After so long without a packet of the agent's the program answers the peer's in its stead.
    pub silence_ns: u64,
    /// What we tell the peer: a control packet (RFC 5880 §4.1) without P and F.
    pub packet: [u8; BfdSession::PACKET_LEN],
    /// The interval that the peer is held to, which `packet` may be about to change.
    pub required_min_rx_us: u32,
    /// Network order.
    pub source_port: [u8; 2],
    /// One of the constants; 0: there is no session.
    pub transport: u8,
    pub flags: u8,
}

impl BfdSession {
    pub const PACKET_LEN: usize = 24;

    pub const SINGLE_HOP: u8 = 1;
    pub const MULTI_HOP: u8 = 2;
    pub const VXLAN: u8 = 3;

    /// The peer's silence takes the VTEP down: the session is Up, or was, and frames came on without it.
    pub const WATCHED: u8 = 1;
    /// Not while frames come from it.
    pub const IF_RX: u8 = 2;
}

/// What the kernel knows as `struct bpf_timer`: it finds the field by this name in the map's BTF.
#[repr(C, align(8))]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
pub struct bpf_timer {
    pub opaque: [u64; 2],
}

/// What the programs heard of a VTEP. Written by the programs only; the agent reads zeros for the timer.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
pub struct BfdHeard {
    /// Started anew by every control packet that counts.
    pub timer: bpf_timer,
    /// Of the last packet that counted, on the monotonic clock.
    pub heard_ns: u64,
    /// The detection time (RFC 5880 §6.8.4) that followed from it.
    pub detect_ns: u64,
    /// When the program last answered in the agent's stead.
    pub answered_ns: u64,
    /// Until when what was handed up is paid for.
    pub paid_ns: u64,
    pub heard: u64,
    pub answered: u64,
    /// How often the time was up.
    pub expired: u64,
    /// Of a session with [`BfdSession::IF_RX`]: how many frames had come when the time was up last.
    pub received: u64,
    /// The last packet that counted.
    pub packet: [u8; BfdSession::PACKET_LEN],
}

/// A control packet, handed up as it came.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
pub struct BfdReceived {
    /// When, on the monotonic clock.
    pub at_ns: u64,
    /// The VTEP that it came from, and its outer address.
    pub vtep: u32,
    /// That it came in, if it came in one.
    pub vni: u32,
    pub source: AddrBytes,
    /// Where it came to.
    pub port: u16,
    /// Of the UDP payload, of which `packet` is the beginning.
    pub len: u16,
    pub ttl: u8,
    /// As in [`BfdSession`].
    pub transport: u8,
    pub pad: [u8; 2],
    pub packet: [u8; BfdSession::PACKET_LEN],
}

/// Where a program takes a control packet apart, for its stack has no room.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
pub struct BfdScratch {
    pub received: BfdReceived,
    /// Of the IP header that is next to UDP, and of UDP.
    pub ip_at: u32,
    pub udp_at: u32,
    /// An IP and a UDP header.
    pub head: [u8; 48],
    /// What is answered.
    pub packet: [u8; BfdSession::PACKET_LEN],
}

const _: () = assert!(size_of::<BfdSession>() == 48);
const _: () = assert!(size_of::<BfdHeard>() == 104);
const _: () = assert!(size_of::<BfdReceived>() == 64);
const _: () = assert!(size_of::<BfdScratch>() == 144);
