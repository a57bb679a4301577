//! What happened of late to the MACs of one logical switch.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use vtep_api::{Cause, MacAddr, Role};

use super::vteps::VtepId;

#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    pub(super) wall_ms: i64,
    pub(super) mac: MacAddr,
    pub(super) vtep: VtepId,
    pub(super) what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    Claim(Role),
    Withdrawal(Cause),
    /// It became master.
    Master,
    /// No VTEP claims the MAC.
    Gone(Cause),
    /// The storm guard set its claim aside.
    SetAside,
    /// The mass-withdraw guard keeps it.
    Kept,
    Duplicate,
    Released,
    /// Above the quota.
    Refused,
    /// Hosts receive the MAC's frames from it, which decides from here on.
    Witnessed,
    /// They receive them from several, so that it decides no more.
    Disputed,
}

#[derive(Debug, Clone, Default)]
pub(super) struct History {
    entries: VecDeque<Entry>,
}

const ENTRIES_MAX: usize = 8192;

impl History {
    pub(super) fn add(&mut self, entry: Entry) {
        if self.entries.len() == ENTRIES_MAX {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
    }

    pub(super) fn of(&self, mac: MacAddr) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(move |entry| entry.mac == mac)
    }
}
