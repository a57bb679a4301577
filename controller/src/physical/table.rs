//! The table of one logical switch as its logical controller told it last: the rows, which version they are, and whether
//! a MAC that is not among them is known to be nowhere.

use std::collections::BTreeSet;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashSet;
use vtep_api::{Cause, Change, ControllerName, MacAddr, ROWS_MAX, TableUpdate, Term, Version, VtepName};

use super::guard::Guard;
use super::placements::Placements;
use crate::Now;
use crate::bugs::bug;
use crate::published::Published;

#[derive(Debug, Default)]
pub(super) struct Table {
    pub(super) published: Published,
    pub(super) term: Term,
    /// Who told it. `None`: nothing was told.
    pub(super) owner: Option<ControllerName>,
    pub(super) complete: bool,
    /// Counts how often the versions began anew: what a receiver has of an earlier generation leads nowhere.
    pub(super) generation: u32,
    /// How a receiver that was up to date in the generation before comes into this one without a snapshot.
    pub(super) bridge: Option<Bridge>,
    /// Every VTEP that a row names or named.
    pub(super) named: BTreeSet<VtepName>,
    /// An update did not fit, and a snapshot was asked for.
    pub(super) awaits_snapshot: bool,
    /// Since when no outline names it.
    pub(super) orphan_since_ms: Option<u64>,
    /// Of this term: the first version that was complete …
    complete_from: Option<Version>,
    /// … and the last that was not.
    incomplete_until: Option<Version>,
    placements: Placements,
    staged: Option<TableUpdate>,
    guard: Guard,
    /// Rows that a snapshot did not name and that the guard keeps.
    kept: HashSet<MacAddr, FixedState>,
}

/// Only rows that were put lead from the last version of the generation before to `to`.
#[derive(Debug)]
pub(super) struct Bridge {
    pub(super) from: Version,
    pub(super) to: Version,
    pub(super) puts: Vec<MacAddr>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Installed {
    /// More parts are to come, or it was known.
    Nothing,
    Changed {
        names_more: bool,
    },
    /// The same, but the guard keeps so many rows that the snapshot does not name.
    Kept {
        names_more: bool,
        rows: usize,
    },
    /// It does not fit: a snapshot is needed. Said once.
    Resync,
    Refused(Refusal),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("its term {} is lower than {}, which was obeyed", offered.0, obeyed.0)]
    LowerTerm { offered: Term, obeyed: Term },
    #[error("its term {} is that of {owner}, which was obeyed", term.0)]
    SameTerm { term: Term, owner: ControllerName },
    #[error("its version {} is lower than {} in the same term", offered.0, held.0)]
    LowerVersion { offered: Version, held: Version },
}

impl Table {
    pub(super) fn install(&mut self, from: &ControllerName, update: TableUpdate, now: Now) -> Installed {
        if let Err(refusal) = self.admit(from, &update) {
            return Installed::Refused(refusal);
        }
        if update.from.is_some() && (update.term != self.term || self.awaits_snapshot) {
            return self.resync();
        }
        let Some(update) = self.assemble(update) else { return Installed::Nothing };
        match update.from {
            Some(version) if version != self.published.version() && !bug!(GapIsNoGap) => self.resync(),
            Some(_) => self.install_delta(update),
            None => self.install_snapshot(from, update, now),
        }
    }

    /// Its logical controller is connected anew: nothing that was asked for or half sent before will come.
    pub(super) fn begin_session(&mut self) {
        self.staged = None;
        self.awaits_snapshot = false;
    }

    /// Whether a receiver that has this version of this term has neither more nor less than the rows of that version.
    pub(super) fn is_exact_at(&self, version: Version) -> bool {
        self.complete
            && self.complete_from.is_some_and(|from| version >= from)
            && self.incomplete_until.is_none_or(|until| version > until)
    }

    pub(super) fn kept(&self) -> usize {
        self.kept.len()
    }

    pub(super) fn placements(&self) -> usize {
        self.placements.iter().count()
    }

    /// Lets go what the guard keeps.
    pub(super) fn release(&mut self) -> usize {
        let kept = std::mem::take(&mut self.kept);
        let released = kept.len();
        let mut macs: Vec<_> = kept.into_iter().collect();
        macs.sort_unstable();
        let removals = macs.into_iter().map(|mac| (mac, Change::Remove(Cause::Operator))).collect();
        let version = self.published.version();
        self.begin_anew(version, removals);
        self.incomplete_until = Some(version);
        released
    }

    fn admit(&self, from: &ControllerName, update: &TableUpdate) -> Result<(), Refusal> {
        let Some(owner) = &self.owner else { return Ok(()) };
        if update.term < self.term && !bug!(DropTermCheck) {
            return Err(Refusal::LowerTerm { offered: update.term, obeyed: self.term });
        }
        if update.term > self.term {
            return Ok(());
        }
        if owner != from {
            return Err(Refusal::SameTerm { term: self.term, owner: owner.clone() });
        }
        let held = self.published.version();
        if update.from.is_none() && update.to < held {
            return Err(Refusal::LowerVersion { offered: update.to, held });
        }
        Ok(())
    }

    fn resync(&mut self) -> Installed {
        self.staged = None;
        if std::mem::replace(&mut self.awaits_snapshot, true) {
            Installed::Nothing
        } else {
            Installed::Resync
        }
    }

    /// Gathers the parts of an update up to its end. A part of another update voids the earlier ones.
    fn assemble(&mut self, part: TableUpdate) -> Option<TableUpdate> {
        let whole = match self.staged.take() {
            Some(mut staged)
                if (staged.term, staged.from, staged.to, staged.complete)
                    == (part.term, part.from, part.to, part.complete) =>
            {
                staged.changes.extend(part.changes);
                staged.end = part.end;
                staged
            }
            _ => part,
        };
        if whole.end {
            return Some(whole);
        }
        self.staged = Some(whole);
        None
    }

    fn install_delta(&mut self, update: TableUpdate) -> Installed {
        if update.to <= self.published.version() {
            return Installed::Nothing;
        }
        let (changes, names_more) = self.intern(update.changes);
        for (mac, _) in &changes {
            self.kept.remove(mac);
        }
        self.published.follow(update.to, changes);
        if !self.complete {
            self.incomplete_until = Some(update.to);
        }
        Installed::Changed { names_more }
    }

    fn install_snapshot(&mut self, from: &ControllerName, update: TableUpdate, now: Now) -> Installed {
        self.awaits_snapshot = false;
        let new_term = update.term > self.term || self.owner.is_none();
        let (mut changes, names_more) = self.intern(update.changes);
        let mut kept = 0;
        let complete = update.complete || bug!(AbsenceIsDelete);
        if complete {
            let absent = self.absent(&changes);
            if self.guard.admits(absent.len(), self.published.len(), now.mono_ms) {
                self.kept.clear();
                changes.extend(absent.into_iter().map(|mac| (mac, Change::Remove(Cause::Withdrawn))));
            } else {
                kept = absent.len();
                self.kept = absent.into_iter().collect();
            }
        } else {
            for (mac, _) in &changes {
                self.kept.remove(mac);
            }
        }
        changes.retain(|(mac, change)| match change {
            Change::Put(row) => self.published.row(*mac) != Some(row),
            Change::Remove(_) => self.published.row(*mac).is_some(),
        });
        if new_term {
            self.term = update.term;
            self.owner = Some(from.clone());
            self.complete_from = None;
            self.incomplete_until = None;
        }
        let was_complete = std::mem::replace(&mut self.complete, complete);
        let same = !new_term && changes.is_empty() && update.to == self.published.version();
        if new_term {
            self.begin_anew(update.to, changes);
        } else if update.to == self.published.version() && !changes.is_empty() {
            self.begin_anew(update.to, changes);
            self.incomplete_until = Some(update.to);
        } else {
            self.published.jump(update.to, changes);
        }
        if complete {
            self.complete_from.get_or_insert(update.to);
            self.name_again();
        } else {
            self.incomplete_until = Some(update.to);
        }
        match kept {
            0 if same && was_complete == self.complete => Installed::Nothing,
            0 => Installed::Changed { names_more },
            rows => Installed::Kept { names_more, rows },
        }
    }

    /// Rows that a snapshot does not name, by MAC.
    fn absent(&self, changes: &[(MacAddr, Change)]) -> Vec<MacAddr> {
        let named: HashSet<MacAddr, FixedState> = changes.iter().map(|(mac, _)| *mac).collect();
        let mut absent: Vec<_> =
            self.published.iter().map(|(mac, _)| mac).filter(|mac| !named.contains(mac)).collect();
        absent.sort_unstable();
        absent
    }

    fn begin_anew(&mut self, version: Version, changes: Vec<(MacAddr, Change)>) {
        let from = self.published.version();
        let only_puts = changes.iter().all(|(_, change)| matches!(change, Change::Put(_)));
        self.bridge = (only_puts && changes.len() <= ROWS_MAX).then(|| Bridge {
            from,
            to: version,
            puts: changes.iter().map(|(mac, _)| *mac).collect(),
        });
        self.published.advance(version, changes);
        self.published.rebase(version);
        self.generation += 1;
    }

    /// The changes with shared placements, and whether they name a VTEP that no row named before.
    fn intern(&mut self, mut changes: Vec<(MacAddr, Change)>) -> (Vec<(MacAddr, Change)>, bool) {
        let mut names_more = false;
        for (_, change) in &mut changes {
            let Change::Put(row) = change else { continue };
            let (placement, new) = self.placements.intern(Arc::clone(&row.placement));
            if new {
                for vtep in std::iter::once(&placement.master).chain(&placement.slaves) {
                    names_more |= self.named.insert(vtep.clone());
                }
            }
            row.placement = placement;
        }
        (changes, names_more)
    }

    /// A whole table is the time to forget VTEPs that no row names any more.
    fn name_again(&mut self) {
        self.placements.sweep();
        let names = |placement: &vtep_api::Placement| {
            std::iter::once(placement.master.clone())
                .chain(placement.slaves.iter().cloned())
                .collect::<Vec<_>>()
        };
        self.named = self.placements.iter().flat_map(names).collect();
    }
}

#[cfg(test)]
mod tests;
