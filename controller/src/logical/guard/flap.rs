//! Duplicate MACs: those whose master changes again and again (RFC 7432 §15.1).

use std::collections::BTreeSet;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use vtep_api::MacAddr;

use crate::declared::Duplicate;

#[derive(Debug, Clone, Default)]
pub(in crate::logical) struct Flap {
    moved: HashMap<MacAddr, Moves, FixedState>,
    /// When each MAC of `moved` should be looked at.
    due: BTreeSet<(u64, MacAddr)>,
    marked: usize,
}

#[derive(Debug, Clone, Default)]
struct Moves {
    last_ms: u64,
    /// Within the window before the last, at most as many as mark a duplicate.
    earlier: Vec<u64>,
    marked: bool,
}

/// What a move means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::logical) enum Mark {
    None,
    /// One too many.
    Fresh,
    Already,
}

impl Flap {
    /// The master changed.
    pub(in crate::logical) fn moved(&mut self, mac: MacAddr, policy: &Duplicate, mono_ms: u64) -> Mark {
        if policy.moves == 0 || (policy.exempt_vrrp && is_vrrp(mac)) {
            return Mark::None;
        }
        let window_ms = u64::from(policy.window_secs) * 1000;
        let moves = match self.moved.entry(mac) {
            hashbrown::hash_map::Entry::Occupied(entry) => {
                let moves = entry.into_mut();
                let last_ms = moves.last_ms;
                moves.earlier.retain(|at| at + window_ms > mono_ms);
                if last_ms + window_ms > mono_ms && moves.earlier.len() < policy.moves as usize {
                    moves.earlier.push(last_ms);
                }
                moves.last_ms = mono_ms;
                moves
            }
            hashbrown::hash_map::Entry::Vacant(entry) => {
                self.due.insert((mono_ms + window_ms, mac));
                entry.insert(Moves { last_ms: mono_ms, ..Moves::default() })
            }
        };
        if moves.marked {
            return Mark::Already;
        }
        if moves.earlier.len() + 1 < policy.moves as usize {
            return Mark::None;
        }
        moves.marked = true;
        self.marked += 1;
        self.due.insert((mono_ms + u64::from(policy.recover_secs) * 1000, mac));
        Mark::Fresh
    }

    /// A marked MAC would have moved, had it not been frozen: the mark lasts longer.
    pub(in crate::logical) fn attempted(&mut self, mac: MacAddr, mono_ms: u64) {
        if let Some(moves) = self.moved.get_mut(&mac) {
            moves.last_ms = mono_ms;
        }
    }

    /// As an earlier reign had marked it.
    pub(in crate::logical) fn mark(&mut self, mac: MacAddr, policy: &Duplicate, mono_ms: u64) {
        let moves = self.moved.entry(mac).or_default();
        moves.last_ms = mono_ms;
        self.due.insert((mono_ms + u64::from(policy.recover_secs) * 1000, mac));
        if !std::mem::replace(&mut moves.marked, true) {
            self.marked += 1;
        }
    }

    /// Whether it was marked.
    pub(in crate::logical) fn clear(&mut self, mac: MacAddr) -> bool {
        let Some(moves) = self.moved.get_mut(&mac) else { return false };
        moves.earlier.clear();
        // It ages away like one that never moved.
        moves.last_ms = 0;
        let was = std::mem::take(&mut moves.marked);
        self.marked -= usize::from(was);
        was
    }

    pub(in crate::logical) fn is_marked(&self, mac: MacAddr) -> bool {
        self.marked > 0 && self.moved.get(&mac).is_some_and(|moves| moves.marked)
    }

    /// In order.
    pub(in crate::logical) fn marked(&self) -> Vec<MacAddr> {
        let mut marked: Vec<MacAddr> = Vec::with_capacity(self.marked);
        marked.extend(self.moved.iter().filter(|(_, moves)| moves.marked).map(|(mac, _)| *mac));
        marked.sort_unstable();
        marked
    }

    /// Forgets what is old enough. Those that were marked are returned.
    pub(in crate::logical) fn age(&mut self, policy: &Duplicate, mono_ms: u64) -> Vec<MacAddr> {
        let (window_ms, recover_ms) =
            (u64::from(policy.window_secs) * 1000, u64::from(policy.recover_secs) * 1000);
        let mut recovered = Vec::new();
        while let Some(&(due_ms, mac)) = self.due.first() {
            if due_ms > mono_ms {
                break;
            }
            self.due.pop_first();
            let Some(moves) = self.moved.get(&mac) else { continue };
            let keep_ms = if moves.marked { recover_ms } else { window_ms };
            if moves.last_ms + keep_ms > mono_ms {
                self.due.insert((moves.last_ms + keep_ms, mac));
                continue;
            }
            if moves.marked {
                self.marked -= 1;
                recovered.push(mac);
            }
            self.moved.remove(&mac);
        }
        recovered
    }
}

/// RFC 5798 §7.3: of IPv4 and of IPv6.
fn is_vrrp(mac: MacAddr) -> bool {
    matches!(mac.octets(), [0, 0, 0x5e, 0, 1 | 2, _])
}
