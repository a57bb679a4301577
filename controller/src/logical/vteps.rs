//! The VTEPs that are declared, by number, and what their physical controllers say of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::{Index, IndexMut};

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use vtep_api::{
    BfdWord, ControllerName, Encapsulation, Locator, LogicalSwitchName, Session, Term, Version, VtepName,
    VtepStatus,
};

use super::guard::Storm;
use crate::declared::{Declared, DeclaredVtep, Policy};

/// Stands for a name as long as the process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct VtepId(pub(super) u32);

#[derive(Debug, Clone)]
pub(super) struct Vtep {
    pub(super) name: VtepName,
    pub(super) declared: Option<DeclaredVtep>,
    /// Whose word on it counts: the physical controller that spoke of it last.
    pub(super) peer: Option<ControllerName>,
    pub(super) status: VtepStatus,
    /// By an election: the highest term of a physical controller that spoke of it.
    pub(super) reign: Term,
    /// Some physical controller spoke of it.
    pub(super) reported: bool,
    /// Since when that physical controller is away itself: nothing is known of the VTEP, and nothing expires.
    pub(super) cut_ms: Option<u64>,
    /// Since when there is no session.
    pub(super) lost_ms: Option<u64>,
    /// What it claimed has been given up.
    pub(super) expired: bool,
    /// The addresses that it counts as a witness of.
    witnessed: BTreeSet<IpAddr>,
    /// The session is lost and another VTEP finds its address dead.
    pub(super) dead: bool,
    /// Orders the VTEPs that say the same address.
    pub(super) addressed: u64,
    pub(super) storm: Storm,
    /// What it forwards by.
    pub(super) applied: BTreeMap<LogicalSwitchName, Applied>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Applied {
    pub(super) term: Term,
    pub(super) version: Version,
    pub(super) wall_ms: i64,
}

impl Vtep {
    pub(super) fn address(&self) -> Option<IpAddr> {
        let declared = self.declared.as_ref()?;
        declared.address.or(self.status.state.address)
    }

    pub(super) fn locator(&self, address: IpAddr, declared: &Declared) -> Locator {
        let vtep = self.declared.as_ref();
        Locator {
            address,
            encapsulation: vtep.map_or_else(Encapsulation::default, |vtep| vtep.encapsulation),
            bfd: vtep.map_or_else(BfdWord::default, |vtep| declared.bfd_of(vtep)),
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.status.session == Session::Up && self.cut_ms.is_none()
    }

    pub(super) fn clock_trusted(&self, policy: &Policy) -> bool {
        self.status.skew_ms.is_some_and(|skew| skew.unsigned_abs() <= u64::from(policy.skew_bound_ms))
    }
}

/// Who has no place in the directory, who has it instead, and the address of both.
pub(super) type AddressConflict = (VtepId, VtepId, IpAddr);

#[derive(Debug, Clone, Default)]
pub(super) struct Vteps {
    list: Vec<Vtep>,
    ids: HashMap<VtepName, VtepId, FixedState>,
    /// How many VTEPs that are up find an address dead.
    witnesses: BTreeMap<IpAddr, usize>,
}

impl Vteps {
    pub(super) fn find(&self, name: &VtepName) -> Option<VtepId> {
        self.ids.get(name).copied()
    }

    pub(super) fn declared(&self, name: &VtepName) -> Option<VtepId> {
        self.find(name).filter(|&vtep| self[vtep].declared.is_some())
    }

    pub(super) fn number(&mut self, name: &VtepName) -> VtepId {
        if let Some(vtep) = self.find(name) {
            return vtep;
        }
        let vtep = VtepId(u32::try_from(self.list.len()).expect("fewer VTEPs than addresses"));
        self.list.push(Vtep {
            name: name.clone(),
            declared: None,
            peer: None,
            status: VtepStatus::default(),
            reign: Term::default(),
            reported: false,
            cut_ms: None,
            lost_ms: None,
            expired: false,
            witnessed: BTreeSet::new(),
            dead: false,
            addressed: 0,
            storm: Storm::default(),
            applied: BTreeMap::new(),
        });
        self.ids.insert(name.clone(), vtep);
        vtep
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (VtepId, &Vtep)> {
        (0..).map(VtepId).zip(&self.list)
    }

    /// What a VTEP is a witness of may be another by now. Returns those on whose life that bears, and itself.
    pub(super) fn hear_witness(&mut self, vtep: VtepId) -> BTreeSet<VtepId> {
        let said =
            if self[vtep].is_up() { self[vtep].status.state.unreachable.clone() } else { BTreeSet::new() };
        let old = std::mem::replace(&mut self[vtep].witnessed, said.clone());
        for address in old.difference(&said) {
            if let Some(count) = self.witnesses.get_mut(address) {
                *count -= 1;
                if *count == 0 {
                    self.witnesses.remove(address);
                }
            }
        }
        for address in said.difference(&old) {
            *self.witnesses.entry(*address).or_default() += 1;
        }
        let addresses: BTreeSet<IpAddr> = old.symmetric_difference(&said).copied().collect();
        let mut concerned = BTreeSet::from([vtep]);
        if !addresses.is_empty() {
            let named =
                |(_, other): &(VtepId, &Vtep)| other.address().is_some_and(|a| addresses.contains(&a));
            concerned.extend(self.iter().filter(named).map(|(other, _)| other));
        }
        concerned
    }

    pub(super) fn is_unreachable(&self, vtep: VtepId) -> bool {
        self[vtep].address().is_some_and(|address| self.witnesses.contains_key(&address))
    }

    /// Of several VTEPs with one address the first has it: the declared one, then the one that said it first. The others
    /// are returned with the one that has it.
    pub(super) fn directory(&self) -> (BTreeMap<VtepId, IpAddr>, Vec<AddressConflict>) {
        let mut claimed: BTreeMap<IpAddr, Vec<(bool, u64, VtepId)>> = BTreeMap::new();
        for (id, vtep) in self.iter() {
            if let Some(address) = vtep.address() {
                let told = vtep.declared.as_ref().is_none_or(|declared| declared.address.is_none());
                claimed.entry(address).or_default().push((told, vtep.addressed, id));
            }
        }
        let (mut directory, mut conflicts) = (BTreeMap::new(), Vec::new());
        for (address, mut vteps) in claimed {
            vteps.sort_unstable();
            let first = vteps[0].2;
            directory.insert(first, address);
            conflicts.extend(vteps[1..].iter().map(|(.., later)| (*later, first, address)));
        }
        (directory, conflicts)
    }
}

impl Index<VtepId> for Vteps {
    type Output = Vtep;

    fn index(&self, vtep: VtepId) -> &Vtep {
        &self.list[vtep.0 as usize]
    }
}

impl IndexMut<VtepId> for Vteps {
    fn index_mut(&mut self, vtep: VtepId) -> &mut Vtep {
        &mut self.list[vtep.0 as usize]
    }
}
