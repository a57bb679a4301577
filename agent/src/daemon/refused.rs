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
