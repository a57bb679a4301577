use bytemuck::{Pod, Zeroable};

use crate::AddrBytes;

/// What the maps hold, for whoever opens the pins next.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
pub struct Meta {
    /// [`ABI_VERSION`](crate::ABI_VERSION) of the agent that made the maps.
    pub abi_version: u32,
    pad: u32,
    /// Counts the tables that were installed.
    pub epoch: u64,
    /// The highest term of a controller that was obeyed; a lower one is refused. 0: none was.
    pub term: u64,
    /// Order-free digest of all (VNI, MAC, master, slave, flags) that the last agent wrote, indices being this host's own.
    pub digest: u64,
}

impl Meta {
    pub const fn new(abi_version: u32) -> Self {
        Self { abi_version, pad: 0, epoch: 0, term: 0, digest: 0 }
    }
}

/// What the programs need to know of the host.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
pub struct Config {
    /// Our tunnel address of each family; zero: there is none.
    pub local_v6: AddrBytes,
    pub local_v4: [u8; 4],
    /// The collect-metadata VXLAN device.
    pub tunnel_ifindex: u32,
    /// Where VXLAN arrives, network order.
    pub udp_port: [u8; 2],
    pub flags: u16,
}

impl Config {
    /// Some VTEP uses it, so what arrives in it is looked at. Otherwise it is the host's.
    pub const GENEVE: u16 = 1;
    pub const NVGRE: u16 = 2;
    /// A reserved bit that is set costs the frame, instead of being ignored.
    pub const STRICT_RESERVED: u16 = 4;
    /// There are sessions of BFD, so control packets are looked for.
    pub const BFD: u16 = 8;
}

/// The bits of a packet's mark by which `tunnel_in` knows what `uplink_in` admitted. Other bits are the host's.
pub const ADMITTED_MARK: u32 = 0x0076_0000;

const _: () = assert!(size_of::<Meta>() == 32);
const _: () = assert!(size_of::<Config>() == 28);
