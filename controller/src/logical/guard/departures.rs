//! Mass withdrawal: when too many of a network's MACs leave at once, the rest of them is kept.

use std::collections::{BTreeMap, VecDeque};

use vtep_api::{Cause, MacAddr};

use crate::bugs::bug;
use crate::declared::MassWithdraw;
use crate::logical::vteps::VtepId;

#[derive(Debug, Clone, Default)]
pub(in crate::logical) struct Departures {
    /// How many wanted to leave, by the time of the last of them. What is kept counts too: an ebb that goes on does not
    /// drain the table window by window.
    recent: VecDeque<(u64, usize)>,
    total: usize,
    pub(in crate::logical) kept: BTreeMap<MacAddr, (VtepId, Cause)>,
    /// An earlier reign kept some, which will be kept again when all that is claimed is known.
    pub(in crate::logical) recalled: bool,
    /// What outlives this process says that some are kept.
    noted: bool,
}

/// Times within this part of the window are counted together, as the latest of them.
const PARTS: u64 = 16;

impl Departures {
    /// Whether one more may leave a table of `len` MACs.
    pub(in crate::logical) fn admit(&mut self, len: usize, policy: &MassWithdraw, mono_ms: u64) -> bool {
        if bug!(NoMassWithdrawGuard) {
            return true;
        }
        let window_ms = u64::from(policy.window_secs) * 1000;
        while self.recent.front().is_some_and(|(at, _)| at + window_ms <= mono_ms) {
            self.total -= self.recent.pop_front().map_or(0, |(_, count)| count);
        }
        // Of the table as it was when the window began.
        let share = (len + self.total - self.kept.len().min(self.total)) * usize::from(policy.percent) / 100;
        let allowed = (policy.entries as usize).max(share);
        self.count((window_ms / PARTS).max(1), mono_ms);
        self.total <= allowed
    }

    /// One more that wants to leave, together with those of the same part of time.
    fn count(&mut self, part_ms: u64, mono_ms: u64) {
        self.total += 1;
        match self.recent.back_mut() {
            Some((at, count)) if *at / part_ms == mono_ms / part_ms => {
                *at = mono_ms;
                *count += 1;
            }
            _ => self.recent.push_back((mono_ms, 1)),
        }
    }

    pub(in crate::logical) fn keep_again(&mut self, mac: MacAddr, vtep: VtepId, mono_ms: u64) {
        self.kept.insert(mac, (vtep, Cause::Withdrawn));
        self.count(1, mono_ms);
    }

    pub(in crate::logical) fn keeps(&self) -> bool {
        self.recalled || !self.kept.is_empty()
    }

    /// Whether what outlives this process has to say something else by now.
    pub(in crate::logical) fn note(&mut self) -> bool {
        let keeps = self.keeps();
        std::mem::replace(&mut self.noted, keeps) != keeps
    }

    pub(in crate::logical) fn release(&mut self) -> BTreeMap<MacAddr, (VtepId, Cause)> {
        self.recent.clear();
        self.total = 0;
        std::mem::take(&mut self.kept)
    }
}
