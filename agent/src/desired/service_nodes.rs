//! Of a network whose copies others make: who makes them for us.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::{Duration, Instant};

use vtep_abi::AddrBytes;

use super::Inputs;
use super::network::Numbered;
use super::vtep::VtepIndices;
use crate::dataplane::Dataplane;
use crate::table::Replication;

/// Who is new, or failed and is back, takes networks from others when it was sound for so long: it may have to hear its own
/// table first.
const SETTLED: Duration = Duration::from_mins(1);

/// By address, since when a service node is sound.
pub(super) type SoundSince = BTreeMap<AddrBytes, Instant>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    Down,
    Suspect,
    Sound,
}

fn state(dataplane: &Dataplane, index: u32) -> State {
    match dataplane.vteps.get(&index) {
        Some(row) if row.up && !row.suspect => State::Sound,
        Some(row) if row.up => State::Suspect,
        Some(_) | None => State::Down,
    }
}

pub(super) fn note_sound(
    inputs: &Inputs<'_>,
    vteps: &VtepIndices,
    networks: &Numbered<'_>,
    dataplane: &Dataplane,
    sound: &mut SoundSince,
) {
    let shared = networks
        .values()
        .map(|network| network.logical_switch)
        .filter(|switch| switch.replication == Replication::ServiceNode);
    let nodes: BTreeSet<AddrBytes> = shared
        .flat_map(|switch| &switch.flood)
        .filter_map(|name| vteps.get(name))
        .filter(|index| state(dataplane, **index) == State::Sound)
        .filter_map(|index| dataplane.vteps.get(index).map(|row| row.adj.remote))
        .collect();
    sound.retain(|address, _| nodes.contains(address));
    for address in nodes {
        sound.entry(address).or_insert(inputs.now);
    }
}

/// Of one network.
pub(super) struct ServiceNodes<'a> {
    pub(super) vni: u32,
    pub(super) members: BTreeSet<u32>,
    pub(super) dataplane: &'a Dataplane,
    pub(super) sound: &'a SoundSince,
    pub(super) now: Instant,
}

impl ServiceNodes<'_> {
    /// Of those of which the best is known. Networks choose differently, so that none has to copy for all of them, also when
    /// one has failed and is back.
    pub(super) fn choose(&self, before: Option<u32>) -> Option<u32> {
        let best = self.members.iter().map(|index| state(self.dataplane, *index)).max()?;
        let is_fit = |index: &u32| self.members.contains(index) && state(self.dataplane, *index) == best;
        let fit = || self.members.iter().copied().filter(is_fit);
        before
            .filter(|index| is_fit(index) && !self.is_settled(*index))
            .or_else(|| fit().filter(|index| self.is_settled(*index)).max_by_key(|index| self.weight(*index)))
            .or_else(|| fit().max_by_key(|index| self.weight(*index)))
    }

    fn is_settled(&self, index: u32) -> bool {
        let since = self.address(index).and_then(|address| self.sound.get(&address));
        since.is_some_and(|since| self.now.saturating_duration_since(*since) >= SETTLED)
    }

    /// Who leaves moves only the networks that it served, who comes only those that it serves (rendezvous hashing).
    fn weight(&self, index: u32) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.vni, self.address(index)).hash(&mut hasher);
        hasher.finish()
    }

    fn address(&self, index: u32) -> Option<AddrBytes> {
        self.dataplane.vteps.get(&index).map(|row| row.adj.remote)
    }
}
