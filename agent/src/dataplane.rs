//! The kernel's tables as values. `desired` makes one of these, `kernel` reads the installed one back, and `plan`
//! compares them; both sides are whole, so an orphan shows like any other difference.

use std::collections::{BTreeMap, BTreeSet};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use vtep_abi::{
    AllowedKey, Config, FdbKey, FdbValue, Limit, LocalPort, NeighbourKey, PortKey, PortValue, Target,
    VniValue, VtepAdj, VtepByIpKey,
};

/// What the maps hold, except counters, events and `META`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Dataplane {
    pub config: Option<Config>,
    /// By VTEP index, from 1.
    pub vteps: BTreeMap<u32, VtepRow>,
    /// Who may send into which VNI: VTEP index.
    pub senders: HashMap<VtepByIpKey, u32, RandomState>,
    pub networks: BTreeMap<u32, Network>,
    /// By local port index, from 1.
    pub local_ports: BTreeMap<u32, LocalPort>,
    pub ports: BTreeMap<PortId, PortValue>,
    pub fdb: HashMap<FdbKey, FdbTarget, RandomState>,
    /// The MACs that answer for IP addresses, where they are answered for.
    pub neighbours: BTreeMap<NeighbourKey, [u8; 6]>,
    /// Where learnt MACs are seen, and need not be reported.
    pub seen: HashMap<FdbKey, Target, RandomState>,
    /// What frames of a port may come from, where that is checked.
    pub allowed: BTreeSet<AllowedKey>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VtepRow {
    pub adj: VtepAdj,
    pub up: bool,
    /// Something speaks against it: others serve its MACs, where others can.
    pub suspect: bool,
}

/// A VNI and its flood list: local ports first, then VTEPs.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Network {
    /// Bridge domain: the index of this VNI's counters.
    pub bd: u32,
    /// [`VniValue`] flags.
    pub flags: u32,
    /// Of the frames that are flooded.
    pub flood_limit: Limit,
    pub flood: Vec<Target>,
}

/// What `PortKey` says, in an order that a plan can be read in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId {
    pub ifindex: u32,
    pub vlan: u16,
}

/// What an `FdbValue` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FdbTarget {
    pub master: Target,
    pub slave: Target,
    pub flags: u32,
}

impl Dataplane {
    /// MACs are compared by their digests, and where learnt ones are seen the programs write.
    pub fn is_equal_but_macs(&self, other: &Self) -> bool {
        let Self {
            config,
            vteps,
            senders,
            networks,
            local_ports,
            ports,
            fdb: _,
            neighbours,
            seen: _,
            allowed,
        } = self;
        *config == other.config
            && *vteps == other.vteps
            && *senders == other.senders
            && *networks == other.networks
            && *local_ports == other.local_ports
            && *ports == other.ports
            && *neighbours == other.neighbours
            && *allowed == other.allowed
    }
}

impl FdbTarget {
    /// Seen on a port or behind a VTEP: nobody configured it, and no table has it.
    pub const fn is_learnt(&self) -> bool {
        self.flags & FdbValue::LEARNT != 0
    }

    pub fn value(&self) -> FdbValue {
        FdbValue::new(self.master, self.slave, self.flags)
    }
}

impl From<PortId> for PortKey {
    fn from(id: PortId) -> Self {
        Self::new(id.ifindex, id.vlan)
    }
}

impl Network {
    /// The map value that publishes this network's flood list, once it stands under `generation`.
    pub fn value(&self, generation: u16) -> VniValue {
        let local = self.flood.iter().filter(|target| matches!(target, Target::LocalPort(_))).count();
        let count = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
        VniValue::new(self.bd, self.flags).with_limit(self.flood_limit).with_flood(
            generation,
            count(local),
            count(self.flood.len()),
        )
    }
}
