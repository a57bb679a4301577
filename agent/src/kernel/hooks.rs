//! Which programs stand at the tcx hooks of an interface, whoever put them there. Nothing is changed, and nothing is locked: an
//! agent may run.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use vtep_abi::ABI_VERSION;

use super::bpf::{self, Direction, HookLink};

/// A program at a hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Occupant {
    pub id: u32,
    /// None where it has none, or where we may not ask.
    pub name: Option<String>,
    /// It is on a link of the agent's.
    pub ours: bool,
}

/// The programs of this host.
#[derive(Debug, Default)]
pub struct Occupants {
    names: BTreeMap<u32, String>,
    ours: BTreeSet<u32>,
}

impl Occupants {
    /// `pin_root` is where the agent keeps its links.
    ///
    /// # Errors
    ///
    /// It cannot be told which are ours, as for who may not read the pins.
    pub fn read(pin_root: &Path) -> io::Result<Self> {
        // Needs CAP_SYS_ADMIN; without it programs have numbers only.
        let loaded = aya::programs::loaded_programs().filter_map(Result::ok);
        let names = loaded.filter_map(|program| Some((program.id(), program.name_as_str()?.to_owned())));
        let links = pin_root.join(format!("v{ABI_VERSION}")).join("links");
        let ours = match std::fs::read_dir(links) {
            Ok(pins) => {
                pins.map(|pin| HookLink::open(&pin?.path())?.program_id()).collect::<io::Result<_>>()?
            }
            // No agent ran here.
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeSet::new(),
            Err(error) => return Err(error),
        };
        Ok(Self { names: names.filter(|(_, name)| !name.is_empty()).collect(), ours })
    }

    /// In the order in which they run.
    pub fn tcx_ingress(&self, ifindex: u32) -> io::Result<Vec<Occupant>> {
        self.tcx(ifindex, Direction::Ingress)
    }

    pub fn tcx_egress(&self, ifindex: u32) -> io::Result<Vec<Occupant>> {
        self.tcx(ifindex, Direction::Egress)
    }

    fn tcx(&self, ifindex: u32, direction: Direction) -> io::Result<Vec<Occupant>> {
        Ok(bpf::tcx_programs(ifindex, direction)?.into_iter().map(|id| self.occupant(id)).collect())
    }

    pub fn occupant(&self, id: u32) -> Occupant {
        Occupant { id, name: self.names.get(&id).cloned(), ours: self.ours.contains(&id) }
    }
}
