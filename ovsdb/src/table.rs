//! A mirror of one table, keyed by row UUID.
//!
//! Rows of one update have no order among each other, and an update may be cut off by the end of its connection. So
//! rows are *staged* as they arrive and take effect together when the update has come in whole.

mod slab;

use std::collections::{BTreeMap, BTreeSet};

use self::slab::Slab;
use crate::row::{self, Row, RowError};
use crate::{RowBatch, Uuid};

#[derive(Debug)]
pub struct Table<R> {
    rows: Slab<R>,
    staged: Slab<R>,
    removals_staged: BTreeSet<Uuid>,
    refused: BTreeMap<Uuid, RowError>,
    refused_staged: BTreeMap<Uuid, RowError>,
}

/// One row before and after an update; at least one of both is there, and they differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Changed<'a, R> {
    pub uuid: Uuid,
    pub old: Option<&'a R>,
    pub new: Option<&'a R>,
}

impl<R> Default for Table<R> {
    fn default() -> Self {
        Self {
            rows: Slab::default(),
            staged: Slab::default(),
            removals_staged: BTreeSet::new(),
            refused: BTreeMap::new(),
            refused_staged: BTreeMap::new(),
        }
    }
}

impl<R: Row> Table<R> {
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.len() == 0
    }

    pub fn row(&self, uuid: Uuid) -> Option<&R> {
        self.rows.get(uuid)
    }

    /// In no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (Uuid, &R)> {
        self.rows.iter()
    }

    /// Rows that could not be decoded: they are as they were before, or absent, and the rest goes on.
    pub fn refused(&self) -> impl Iterator<Item = &RowError> {
        self.refused.values()
    }

    /// Keeps a batch for the next commit.
    pub fn stage(&mut self, batch: &RowBatch) {
        for (uuid, update) in batch.iter() {
            let before = || self.rows.get(uuid).cloned();
            match row::decode(uuid, update, before) {
                Ok(Some(row)) => self.staged.insert(uuid, row),
                Ok(None) => {
                    self.removals_staged.insert(uuid);
                }
                Err(error) => {
                    self.refused_staged.insert(uuid, error);
                }
            }
        }
    }

    /// Forgets what was staged: its update will not be completed.
    pub fn discard(&mut self) {
        self.staged = Slab::default();
        self.removals_staged.clear();
        self.refused_staged.clear();
    }

    /// Applies what was staged as changes, and tells each row that differs from before.
    pub fn commit(&mut self, mut changed: impl FnMut(Changed<'_, R>)) {
        self.refused.append(&mut self.refused_staged);
        for uuid in std::mem::take(&mut self.removals_staged) {
            self.refused.remove(&uuid);
            if let Some(old) = self.rows.remove(uuid) {
                changed(Changed { uuid, old: Some(&old), new: None });
            }
        }
        for (uuid, new) in std::mem::take(&mut self.staged).into_entries() {
            self.refused.remove(&uuid);
            let old = self.rows.get(uuid);
            if old != Some(&new) {
                changed(Changed { uuid, old, new: Some(&new) });
                self.rows.insert(uuid, new);
            }
        }
    }

    /// Takes what was staged for all that there is, and tells each row that differs from before. A dump that repeats
    /// what is known tells nothing.
    pub fn commit_snapshot(&mut self, mut changed: impl FnMut(Changed<'_, R>)) {
        self.refused = std::mem::take(&mut self.refused_staged);
        self.removals_staged.clear();
        let rows = std::mem::take(&mut self.staged);
        for (uuid, old) in self.rows.iter() {
            if rows.get(uuid).is_none() {
                changed(Changed { uuid, old: Some(old), new: None });
            }
        }
        for (uuid, new) in rows.iter() {
            let old = self.rows.get(uuid);
            if old != Some(new) {
                changed(Changed { uuid, old, new: Some(new) });
            }
        }
        self.rows = rows;
    }
}

#[cfg(test)]
mod tests;
