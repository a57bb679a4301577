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
use crate::Now;
use crate::declared::{Declared, DeclaredVtep, Policy};

/// Who begins to serve a VTEP that is alive has found it by then.
const TAKEOVER_MS: i64 = 5000;

/// Stands for a name as long as the process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct VtepId(pub(super) u32);

#[expect(clippy::struct_excessive_bools, reason = "each is heard from somebody else, and at another time")]
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
    /// Since when there is no session: before this process began, where others say so.
    pub(super) lost_ms: Option<i64>,
    /// Since when who serves it has no session with it, by its own word.
    pub(super) away_ms: Option<i64>,
    /// It had one, and lost it.
    pub(super) was_lost: bool,
    /// What outlives this process says that it is lost.
    pub(super) lost_noted: bool,
    /// What it claimed is told by nobody before it comes back.
    pub(super) unheard: bool,
    /// What it claimed has been given up.
    pub(super) expired: bool,
    /// What it counts for as a witness: the addresses that it finds alive, and dead.
    witnessed: BTreeMap<IpAddr, Life>,
    /// The session is lost and most that knew its address alive find it dead.
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

    /// Where it is, and in which networks by its own word, was said by itself: now, or in an earlier reign.
    pub(super) fn is_heard(&self) -> bool {
        let state = &self.status.state;
        self.status.session == Session::Up || state.address.is_some() || !state.networks.is_empty()
    }

    pub(super) fn is_up(&self) -> bool {
        self.status.session == Session::Up && self.cut_ms.is_none()
    }

    /// Its session is lost, by the word of who serves it. One that just began to may not have been found yet.
    pub(super) fn is_lost(&self, now: Now) -> bool {
        let away = |at: i64| at + TAKEOVER_MS <= now.mono_ms.cast_signed();
        let served = self.cut_ms.is_none() && self.status.session != Session::Up;
        served && (self.was_lost || self.away_ms.is_some_and(away))
    }

    /// What it claimed was given up, and it has not come back.
    pub(super) fn is_given_up(&self) -> bool {
        self.expired && !self.is_up()
    }

    /// Nothing that it claims can be waited for: it was given up before, or nobody has known it for so long.
    pub(super) fn is_absent(&self, wait_ms: u64, now: Now) -> bool {
        let long = |at: i64| at + wait_ms.cast_signed() <= now.mono_ms.cast_signed();
        if let Some(cut_ms) = self.cut_ms {
            return long(cut_ms.cast_signed());
        }
        !self.is_up() && (self.expired || (self.unheard && self.away_ms.is_some_and(long)))
    }

    pub(super) fn clock_trusted(&self, policy: &Policy) -> bool {
        self.status.skew_ms.is_some_and(|skew| skew.unsigned_abs() <= u64::from(policy.skew_bound_ms))
    }
}

/// A tunnel address, as another VTEP finds it by BFD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Alive,
    Dead,
}

/// By how many VTEPs that are up.
#[derive(Debug, Clone, Copy, Default)]
struct Witnesses {
    alive: usize,
    dead: usize,
}

impl Witnesses {
    fn of(&mut self, life: Life) -> &mut usize {
        match life {
            Life::Alive => &mut self.alive,
            Life::Dead => &mut self.dead,
        }
    }
}

/// Who has no place in the directory, who has it instead, and the address of both.
pub(super) type AddressConflict = (VtepId, VtepId, IpAddr);

#[derive(Debug, Clone, Default)]
pub(super) struct Vteps {
    list: Vec<Vtep>,
    ids: HashMap<VtepName, VtepId, FixedState>,
    witnesses: BTreeMap<IpAddr, Witnesses>,
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
            away_ms: None,
            was_lost: false,
            lost_noted: false,
            unheard: false,
            expired: false,
            witnessed: BTreeMap::new(),
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
        let mut said = BTreeMap::new();
        if self[vtep].is_up() {
            let state = &self[vtep].status.state;
            said.extend(state.reachable.iter().map(|address| (*address, Life::Alive)));
            said.extend(state.unreachable.iter().map(|address| (*address, Life::Dead)));
        }
        let old = std::mem::replace(&mut self[vtep].witnessed, said.clone());
        let mut addresses = BTreeSet::new();
        for (address, life) in old.iter().filter(|(address, life)| said.get(*address) != Some(life)) {
            addresses.insert(*address);
            *self.witnesses.entry(*address).or_default().of(*life) -= 1;
        }
        for (address, life) in said.iter().filter(|(address, life)| old.get(*address) != Some(life)) {
            addresses.insert(*address);
            *self.witnesses.entry(*address).or_default().of(*life) += 1;
        }
        for address in &addresses {
            if self.witnesses.get(address).is_some_and(|witnesses| witnesses.alive + witnesses.dead == 0) {
                self.witnesses.remove(address);
            }
        }
        let mut concerned = BTreeSet::from([vtep]);
        if !addresses.is_empty() {
            let named =
                |(_, other): &(VtepId, &Vtep)| other.address().is_some_and(|a| addresses.contains(&a));
            concerned.extend(self.iter().filter(named).map(|(other, _)| other));
        }
        concerned
    }

    /// Most of those that knew its address alive find it dead.
    pub(super) fn is_unreachable(&self, vtep: VtepId) -> bool {
        let witnesses = self[vtep].address().and_then(|address| self.witnesses.get(&address));
        witnesses.is_some_and(|witnesses| witnesses.dead > witnesses.alive)
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
