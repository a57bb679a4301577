//! etcd as physical controllers see it: who has which VTEP by which term, leases that end, and what a member believes of
//! its own. It errs as etcd 3.4 does: a lease may be prolonged that is gone.

use std::collections::BTreeMap;

use vtep_api::Term;

/// As `store.lease_secs`.
pub(super) const LEASE_MS: u64 = 3000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Office {
    pub(super) holder: usize,
    pub(super) term: Term,
}

#[derive(Debug, Default)]
pub(super) struct Etcd {
    pub(super) revision: u64,
    /// By VTEP.
    pub(super) offices: BTreeMap<usize, Office>,
    /// Until when the lease of a member lasts, if it has one.
    leases: BTreeMap<usize, u64>,
}

/// What a member knows.
#[derive(Debug, Clone, Default)]
pub(super) struct Member {
    /// By its own clock, counted from before the request.
    pub(super) tenure: u64,
}

impl Etcd {
    pub(super) fn next_term(&mut self) -> Term {
        self.revision += 1;
        Term(self.revision)
    }

    /// The lease is gone, and all that hung on it.
    pub(super) fn lose(&mut self, member: usize) {
        self.leases.remove(&member);
        self.offices.retain(|_, office| office.holder != member);
    }

    pub(super) fn expire(&mut self, now: u64) {
        let over: Vec<usize> =
            self.leases.iter().filter(|(_, until)| **until <= now).map(|(member, _)| *member).collect();
        for member in over {
            self.lose(member);
        }
    }

    pub(super) fn has_lease(&self, member: usize) -> bool {
        self.leases.contains_key(&member)
    }

    pub(super) fn grant(&mut self, member: usize, now: u64) {
        self.leases.insert(member, now + LEASE_MS);
    }

    /// One look of a member, and what it does about it: what nobody has and should be its is taken, what should be
    /// another's is left. At once: real members wait until the other one has settled.
    pub(super) fn look(&mut self, member: usize, vteps: usize) {
        if !self.has_lease(member) {
            return;
        }
        for vtep in 0..vteps {
            let mine = self.desired(vtep) == Some(member);
            match self.offices.get(&vtep) {
                None if mine => {
                    let term = self.next_term();
                    self.offices.insert(vtep, Office { holder: member, term });
                }
                Some(office) if office.holder == member && !mine => drop(self.offices.remove(&vtep)),
                _ => {}
            }
        }
    }

    /// By hashes, as `cluster::plan`: few move when one comes or goes.
    fn desired(&self, vtep: usize) -> Option<usize> {
        let weight = |member: usize| {
            let mixed = (vtep as u64 * 31 + member as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            mixed ^ (mixed >> 29)
        };
        self.leases.keys().copied().max_by_key(|member| weight(*member))
    }
}
