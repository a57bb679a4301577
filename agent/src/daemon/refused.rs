use std::hash::Hash;

use hashbrown::HashSet;

use crate::kernel::{Entry, Refused};
use crate::plan::Step;

/// The step as it was carried out.
pub(super) fn without(step: Step, refused: &[Refused]) -> Step {
    if refused.is_empty() {
        return step;
    }
    let entries = refused.iter().map(|refused| refused.entry);
    match step {
        Step::PutVteps(rows) => Step::PutVteps(rest(rows, entries, |entry| match entry {
            Entry::Vtep(index) => Some(index),
            _ => None,
        })),
        Step::PutLocalPorts(rows) => Step::PutLocalPorts(rest(rows, entries, |entry| match entry {
            Entry::LocalPort(index) => Some(index),
            _ => None,
        })),
        Step::PutFdb(rows) => Step::PutFdb(rest(rows, entries, |entry| match entry {
            Entry::Fdb(key) => Some(key),
            _ => None,
        })),
        Step::PutSenders(rows) => Step::PutSenders(rest(rows, entries, |entry| match entry {
            Entry::Sender(key) => Some(key),
            _ => None,
        })),
        Step::PutNetworks(rows) => Step::PutNetworks(rest(rows, entries, |entry| match entry {
            Entry::Network(vni) => Some(vni),
            _ => None,
        })),
        Step::PutPorts(rows) => Step::PutPorts(rest(rows, entries, |entry| match entry {
            Entry::Port(id) => Some(id),
            _ => None,
        })),
        Step::PutNeighbours(rows) => Step::PutNeighbours(rest(rows, entries, |entry| match entry {
            Entry::Neighbour(key) => Some(key),
            _ => None,
        })),
        Step::Allow(mut keys) => {
            keys.retain(|key| !refused.iter().any(|refused| refused.entry == Entry::Allowed(*key)));
            Step::Allow(keys)
        }
        Step::PutSeen(rows) => Step::PutSeen(rest(rows, entries, |entry| match entry {
            Entry::Seen(key) => Some(key),
            _ => None,
        })),
        removal_or_config => removal_or_config,
    }
}

fn rest<K: Eq + Hash, V>(
    rows: Vec<(K, V)>,
    entries: impl Iterator<Item = Entry>,
    key: impl Fn(Entry) -> Option<K>,
) -> Vec<(K, V)> {
    let refused: HashSet<K, foldhash::fast::RandomState> = entries.filter_map(key).collect();
    rows.into_iter().filter(|(key, _)| !refused.contains(key)).collect()
}

#[cfg(test)]
mod tests {
    use vtep_abi::{FdbKey, Target};

    use super::*;
    use crate::dataplane::FdbTarget;
    use crate::kernel::Reason;

    #[test]
    fn the_mirror_gets_what_the_kernel_took() {
        let key = |last| FdbKey::new(1, [2, 0, 0, 0, 0, last]);
        let target = FdbTarget { master: Target::Vtep(1), slave: Target::None, flags: 0 };
        let step = Step::PutFdb(vec![(key(1), target), (key(2), target)]);
        let full = Refused { entry: Entry::Fdb(key(2)), reason: Reason::Full };
        assert_eq!(without(step.clone(), &[full]), Step::PutFdb(vec![(key(1), target)]));
        assert_eq!(without(step.clone(), &[]), step);
    }
}
