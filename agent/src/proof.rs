//! Proof of intent: that the kernel's tables are what was written, checked all the time.
//!
//! MACs are compared by a digest per VNI, kept along with every write on one side and taken from the kernel's table on the
//! other. The rest of the tables is small and compared as it is.

mod difference;
mod entry;
mod pace;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant, SystemTime};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use vtep_abi::{FdbKey, FdbValue};

pub use difference::{Difference, DifferenceKind, differences};
pub use entry::Entry;
pub use pace::measured;

use crate::dataplane::{Dataplane, FdbTarget};
use crate::plan::Step;

/// How many differences that were mended are remembered.
const REMEMBERED_MAX: usize = 1000;

/// The MACs of a VNI, in any order: equal tables have equal digests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Digest {
    macs: u64,
    sum: u64,
}

/// By VNI; one without MACs has none.
pub type Digests = BTreeMap<u32, Digest>;

impl Digest {
    pub fn add(&mut self, vni: u32, mac: [u8; 6], value: FdbValue) {
        self.macs += 1;
        self.sum = self.sum.wrapping_add(hash(vni, mac, value.word()));
    }

    fn remove(&mut self, key: &FdbKey, target: &FdbTarget) {
        self.macs = self.macs.saturating_sub(1);
        self.sum = self.sum.wrapping_sub(hash(key.vni, key.mac, target.value().word()));
    }
}

/// Of a whole table.
pub fn digests(fdb: &HashMap<FdbKey, FdbTarget, RandomState>) -> Digests {
    let mut digests = Digests::new();
    for (key, target) in fdb {
        digests.entry(key.vni).or_default().add(key.vni, key.mac, target.value());
    }
    digests
}

/// Finds accidents, not forgeries: the constants are no secret.
fn hash(vni: u32, mac: [u8; 6], value: u64) -> u64 {
    const KEYS: [u64; 3] = [0x9e37_79b9_7f4a_7c15, 0xd1b5_4a32_d192_ed03, 0x8cb9_2ba7_2f3d_8dd7];
    let mac = mac.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
    fold(fold(mac ^ KEYS[0], u64::from(vni) ^ KEYS[1]) ^ value, KEYS[2])
}

/// Both halves of the product in one.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    #[expect(clippy::cast_possible_truncation, reason = "the halves are what is wanted")]
    let (low, high) = (product as u64, (product >> 64) as u64);
    low ^ high
}

/// What was proved, and since when.
#[derive(Debug, Default)]
pub struct Proof {
    /// Of what was written.
    written: Digests,
    /// VNIs whose MACs are proved, and since when they have been at every check.
    since: BTreeMap<u32, SystemTime>,
    /// The same of the other tables.
    rest_since: Option<SystemTime>,
    mended: VecDeque<(Instant, Difference)>,
    pub checks: u64,
    /// Entries that were found to be another than was written.
    pub found: u64,
    pub last_check: Duration,
    /// What that took of a CPU.
    pub last_work: Duration,
}

/// What a check found to differ.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Doubts {
    pub vnis: BTreeSet<u32>,
    pub rest: bool,
}

impl Doubts {
    pub fn is_empty(&self) -> bool {
        self.vnis.is_empty() && !self.rest
    }
}

impl Proof {
    pub fn of(installed: &Dataplane) -> Self {
        Self { written: digests(&installed.fdb), ..Self::default() }
    }

    /// Keeps up with a step that is about to change `installed`.
    pub fn follow(&mut self, step: &Step, installed: &Dataplane) {
        match step {
            Step::PutFdb(rows) => {
                for (key, target) in rows {
                    self.forget(key, installed);
                    self.written.entry(key.vni).or_default().add(key.vni, key.mac, target.value());
                }
            }
            Step::RemoveFdb(keys) => {
                for key in keys {
                    self.forget(key, installed);
                }
                self.written.retain(|_, digest| digest.macs > 0);
            }
            _ => {}
        }
    }

    fn forget(&mut self, key: &FdbKey, installed: &Dataplane) {
        if let Some(last) = installed.fdb.get(key) {
            self.written.entry(key.vni).or_default().remove(key, last);
        }
    }

    /// Compares what was written with what the kernel holds; `rest` says whether all but MACs is equal.
    pub fn check(&mut self, kernel: &Digests, rest: bool, vnis: impl Iterator<Item = u32>) -> Doubts {
        let doubts = self.doubt(kernel, rest);
        let now = SystemTime::now();
        let proved = vnis.filter(|vni| !doubts.vnis.contains(vni));
        self.since = proved.map(|vni| (vni, self.since.get(&vni).copied().unwrap_or(now))).collect();
        if rest {
            self.rest_since.get_or_insert(now);
        }
        self.checks += 1;
        doubts
    }

    /// What differs is proved no more.
    fn doubt(&mut self, kernel: &Digests, rest: bool) -> Doubts {
        let of = |digests: &Digests, vni: u32| digests.get(&vni).copied().unwrap_or_default();
        let all = self.written.keys().chain(kernel.keys()).copied();
        let vnis: BTreeSet<u32> = all.filter(|vni| of(&self.written, *vni) != of(kernel, *vni)).collect();
        self.since.retain(|vni, _| !vnis.contains(vni));
        self.rest_since = self.rest_since.filter(|_| rest);
        Doubts { vnis, rest: !rest }
    }

    /// What was read back replaces what was written; the differences are remembered.
    pub fn correct(
        &mut self,
        written: &Dataplane,
        kernel: &Dataplane,
        interface: &dyn Fn(u32) -> String,
    ) -> usize {
        let found = digests(&kernel.fdb);
        self.doubt(&found, kernel.is_equal_but_macs(written));
        let (differences, count) = differences(written, kernel, interface, REMEMBERED_MAX);
        self.found += count as u64;
        for difference in differences {
            self.remember(difference);
        }
        self.written = found;
        count
    }

    fn remember(&mut self, difference: Difference) {
        if self.mended.len() == REMEMBERED_MAX {
            self.mended.pop_front();
        }
        self.mended.push_back((Instant::now(), difference));
    }

    /// Since when each of these VNIs has been proved, and the other tables (`None`).
    pub fn since(&self) -> impl Iterator<Item = (Option<u32>, SystemTime)> {
        let rest = self.rest_since.iter().map(|since| (None, *since));
        rest.chain(self.since.iter().map(|(vni, since)| (Some(*vni), *since)))
    }

    pub fn vni_since(&self, vni: u32) -> Option<SystemTime> {
        self.since.get(&vni).copied()
    }

    /// Since when everything has been proved.
    pub fn all_since(&self, mut vnis: impl Iterator<Item = u32>) -> Option<SystemTime> {
        vnis.try_fold(self.rest_since?, |latest, vni| Some(latest.max(self.vni_since(vni)?)))
    }

    /// The oldest first.
    pub fn mended(&self) -> impl Iterator<Item = &(Instant, Difference)> {
        self.mended.iter()
    }

    /// One number for all MACs.
    pub fn digest(&self) -> u64 {
        self.written.values().fold(0, |sum, digest| sum.wrapping_add(digest.sum))
    }

    /// From the end of a check to the next.
    pub fn rest(&self) -> Duration {
        pace::rest(self.last_work)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use vtep_abi::Target;

    use super::*;

    fn row(vni: u32, mac: u8, vtep: u32) -> (FdbKey, FdbTarget) {
        let target = FdbTarget { master: Target::Vtep(vtep), slave: Target::None, flags: 0 };
        (FdbKey::new(vni, [2, 0, 0, 0, 0, mac]), target)
    }

    proptest! {
        #[test]
        fn a_digest_that_follows_steps_is_that_of_the_table(
            steps in proptest::collection::vec((any::<bool>(), 1_u32..4, 0_u8..8, 1_u32..4), 0..60)
        ) {
            let (mut proof, mut installed) = (Proof::default(), Dataplane::default());
            for (put, vni, mac, vtep) in steps {
                let (key, target) = row(vni, mac, vtep);
                let step = if put { Step::PutFdb(vec![(key, target)]) } else { Step::RemoveFdb(vec![key]) };
                proof.follow(&step, &installed);
                installed.apply(step);
            }
            prop_assert_eq!(proof.written, digests(&installed.fdb));
        }
    }

    #[test]
    fn every_part_of_an_entry_counts() {
        let digest = |rows: &[(FdbKey, FdbTarget)]| digests(&rows.iter().copied().collect());
        let (key, target) = row(1, 1, 1);
        let one = digest(&[(key, target)]);
        let others = [
            (FdbKey::new(1, [2, 0, 0, 0, 0, 2]), target),
            (key, FdbTarget { master: Target::LocalPort(1), ..target }),
            (key, FdbTarget { slave: Target::Vtep(1), ..target }),
            (key, FdbTarget { flags: FdbValue::LEARNT, ..target }),
        ];
        for other in others {
            assert_ne!(digest(&[other]), one, "{other:?}");
        }
        // The same MACs at exchanged places.
        let exchanged = [digest(&[row(1, 1, 1), row(1, 2, 2)]), digest(&[row(1, 1, 2), row(1, 2, 1)])];
        assert_ne!(exchanged[0], exchanged[1]);
    }

    #[test]
    fn what_is_found_is_in_doubt_until_the_next_check_proves_it() {
        let mut written = Dataplane::default();
        written.fdb.extend([row(1, 1, 1), row(2, 1, 1)]);
        let mut proof = Proof::of(&written);
        assert!(proof.all_since([1, 2].into_iter()).is_none(), "nothing was checked");
        assert!(proof.check(&digests(&written.fdb), true, [1, 2].into_iter()).is_empty());
        let (first, all) = (proof.vni_since(1), proof.all_since([1, 2].into_iter()));
        assert!(first.is_some() && all.is_some());

        let mut kernel = written.clone();
        kernel.fdb.extend([row(2, 1, 9)]);
        let doubts = proof.check(&digests(&kernel.fdb), true, [1, 2].into_iter());
        assert_eq!(doubts, Doubts { vnis: [2].into(), rest: false });
        assert_eq!(proof.correct(&written, &kernel, &|ifindex| ifindex.to_string()), 1);
        assert_eq!((proof.vni_since(1), proof.vni_since(2)), (first, None));
        assert_eq!(proof.all_since([1, 2].into_iter()), None);
        assert_eq!(proof.mended().count(), 1);

        proof.follow(&Step::PutFdb(vec![row(2, 1, 1)]), &kernel);
        assert!(proof.check(&digests(&written.fdb), true, [1, 2].into_iter()).is_empty());
        assert_eq!(proof.vni_since(1), first);
        assert!(proof.vni_since(2) > first);
    }
}
