//! The state of the cluster at one revision, as it was read.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use vtep_api::{ControllerName, Term, VtepName};

use super::Office;
use super::etcd::Entry;
use super::keys::{Key, Keys};
use crate::config::Role;

/// Made with the cluster and never changed: all members go by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    pub shards: u16,
    /// Added to a revision it makes a term: receivers remember terms of controllers without etcd, or of an etcd that is
    /// gone, and those were not higher.
    pub term_base: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberEntry {
    pub role: Role,
    /// Where its sessions are: `HOST:PORT`.
    pub address: String,
    pub version: String,
    /// It has been one for so long that it has what serving VTEPs needs.
    #[serde(default)]
    pub settled: bool,
    #[serde(skip)]
    pub lease: i64,
    #[serde(skip)]
    pub created: i64,
}

/// Who has an office.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    pub name: ControllerName,
    #[serde(skip)]
    pub lease: i64,
    #[serde(skip)]
    pub created: i64,
}

/// Whom an operator named, and by which revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moved {
    pub to: ControllerName,
    pub(super) changed: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct View {
    pub revision: i64,
    pub settings: Option<Settings>,
    pub members: BTreeMap<ControllerName, MemberEntry>,
    pub offices: BTreeMap<Office, Holder>,
    /// By the operator's word.
    pub moves: BTreeMap<Office, Moved>,
    /// That are declared.
    pub vteps: BTreeSet<VtepName>,
}

impl View {
    /// What is not understood is left out: another release may have written it.
    pub(super) fn of(keys: &Keys, revision: i64, entries: &[Entry]) -> Self {
        let mut view = Self { revision, ..Self::default() };
        for entry in entries {
            match keys.read(&entry.key) {
                Some(Key::Settings) => view.settings = serde_json::from_slice(&entry.value).ok(),
                Some(Key::Member(name)) => {
                    if let Ok(member) = serde_json::from_slice::<MemberEntry>(&entry.value) {
                        let (lease, created) = (entry.lease, entry.created);
                        view.members.insert(name, MemberEntry { lease, created, ..member });
                    }
                }
                Some(Key::Office(office)) => {
                    if let Ok(holder) = serde_json::from_slice::<Holder>(&entry.value) {
                        let (lease, created) = (entry.lease, entry.created);
                        view.offices.insert(office, Holder { lease, created, ..holder });
                    }
                }
                Some(Key::Move(office)) => {
                    if let Ok(to) = serde_json::from_slice(&entry.value) {
                        view.moves.insert(office, Moved { to, changed: entry.changed });
                    }
                }
                None => {}
            }
        }
        view
    }

    pub fn shards(&self) -> u16 {
        self.settings.map_or(0, |settings| settings.shards)
    }

    pub fn term(&self, created: i64) -> Term {
        let base = self.settings.map_or(0, |settings| settings.term_base);
        Term(base + created.unsigned_abs())
    }

    /// All offices that there are to have, held or not.
    pub fn all_offices(&self) -> impl Iterator<Item = Office> {
        (0..self.shards()).map(Office::Shard).chain(self.vteps.iter().cloned().map(Office::Vtep))
    }
}
