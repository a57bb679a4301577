use std::borrow::Cow;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The programs' object, if it was there when this was built.
pub static OBJECT: Option<&[u8]> = include!(concat!(env!("OUT_DIR"), "/object.rs"));

#[derive(Debug, Clone)]
pub struct Settings {
    /// On a BPF filesystem; made if it is not there.
    pub pin_root: PathBuf,
    pub sizes: Sizes,
    pub mac_table: MacTable,
    pub object: Option<Cow<'static, [u8]>>,
}

impl Settings {
    pub fn new(pin_root: impl Into<PathBuf>) -> Self {
        let object = OBJECT.map(Cow::Borrowed);
        Self { pin_root: pin_root.into(), sizes: Sizes::default(), mac_table: MacTable::default(), object }
    }
}

/// How MACs are kept. Changing it makes new maps and copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MacTable {
    /// Map `MACTAB`: one cache miss for a lookup. On `x86_64`, whose loads keep their order.
    Bucketed,
    /// Map `FDB`, a hash of the kernel's.
    Hash,
}

impl MacTable {
    pub const BUCKETED_IS_SAFE: bool = cfg!(target_arch = "x86_64");
}

impl Default for MacTable {
    fn default() -> Self {
        if Self::BUCKETED_IS_SAFE { Self::Bucketed } else { Self::Hash }
    }
}

/// How many entries the maps have room for. Changing one makes new maps and copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    pub macs_max: u32,
    /// The highest VTEP index.
    pub vteps_max: u32,
    /// VNIs, and the highest bridge domain.
    pub vnis_max: u32,
    /// Bindings of a port and a VLAN, and the highest local port index.
    pub ports_max: u32,
    /// Pairs of a VNI and an address that may send into it.
    pub senders_max: u32,
    /// Flood lists, of each network two while it changes.
    pub flood_max: u32,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            macs_max: 1_000_000,
            vteps_max: 4096,
            vnis_max: 1024,
            ports_max: 4096,
            senders_max: 65_536,
            flood_max: 2048,
        }
    }
}
