use bytemuck::{Pod, Zeroable};

/// What a program tells the agent.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
pub struct Event {
    /// An [`EventKind`].
    pub kind: u32,
    pub vni: u32,
    pub ifindex: u32,
    pub vlan: u16,
    pub mac: [u8; 6],
}

/// Unknown kinds are skipped by the agent.
#[repr(u32)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EventKind {
    /// A source MAC came from a learning port where the FDB does not show it.
    MacSeen = 1,
}

const _: () = assert!(size_of::<Event>() == 20);
