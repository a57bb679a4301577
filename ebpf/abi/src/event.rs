use bytemuck::{Pod, Zeroable};

use crate::AddrBytes;

/// What a program tells the agent.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
pub struct Event {
    /// An [`EventKind`].
    pub kind: u32,
    pub vni: u32,
    /// Of the port; 0 for a frame from the underlay.
    pub ifindex: u32,
    pub vlan: u16,
    pub mac: [u8; 6],
    /// The IP address that it is about, if it is about one.
    pub address: AddrBytes,
}

/// Unknown kinds are skipped by the agent.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EventKind {
    /// A source MAC came from a learning port where the FDB does not show it.
    MacSeen = 1,
    /// A frame was dropped for its source MAC.
    MacRefused = 2,
    /// A frame was dropped for the IP address that it claims.
    IpRefused = 3,
    /// A station told everybody what its MAC is, perhaps for an address: gratuitous ARP, RARP, unsolicited NA.
    Announced = 4,
    /// A station asks whether an address is free (RFC 5227 §2.1, RFC 4862 §5.4).
    Probed = 5,
    /// A source MAC came from a VTEP behind which the FDB does not show it. `address` is the VTEP's.
    MacBehind = 6,
    /// A station has this IP address, as it asked for another: ARP request, neighbour solicitation.
    AddressHeard = 7,
    /// A frame came from a VTEP that is neither master nor slave of its source MAC by the FDB. `address` is the VTEP's.
    SourceElsewhere = 17,
    /// A frame came from the slave of its source MAC. `address` is the slave's.
    SourceAtSlave = 18,
    /// A VTEP's control packets stopped; its slaves serve. `address` is the VTEP's.
    VtepSilent = 13,
}

const _: () = assert!(size_of::<Event>() == 36);
