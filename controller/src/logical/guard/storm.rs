//! A VTEP that suddenly claims many MACs which others own.

use std::collections::VecDeque;

use vtep_api::{LogicalSwitchName, MacAddr};

/// Of one VTEP, in all networks together.
#[derive(Debug, Clone, Default)]
pub(in crate::logical) struct Storm {
    /// At most one more than may be taken.
    takes: VecDeque<(u64, LogicalSwitchName, MacAddr)>,
    pub(in crate::logical) tripped: bool,
}

impl Storm {
    /// The VTEP took a MAC that another owns. Returns what is to be set aside: nothing, or all that it took of late.
    pub(in crate::logical) fn took(
        &mut self,
        what: (LogicalSwitchName, MacAddr),
        policy: crate::declared::Storm,
        mono_ms: u64,
    ) -> Vec<(LogicalSwitchName, MacAddr)> {
        if self.tripped {
            return vec![what];
        }
        let window_ms = u64::from(policy.window_secs) * 1000;
        while self.takes.front().is_some_and(|(at, ..)| at + window_ms <= mono_ms) {
            self.takes.pop_front();
        }
        self.takes.push_back((mono_ms, what.0, what.1));
        if self.takes.len() <= policy.takes_max as usize {
            return Vec::new();
        }
        self.tripped = true;
        std::mem::take(&mut self.takes).into_iter().map(|(_, network, mac)| (network, mac)).collect()
    }

    pub(in crate::logical) fn release(&mut self) -> bool {
        self.takes.clear();
        std::mem::take(&mut self.tripped)
    }
}
