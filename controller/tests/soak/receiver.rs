//! A VTEP as a receiver of tables: what was sent and not taken, and what it made of what it took.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Sub;

use vtep_api::{Change, Held, LogicalSwitchName, MacAddr, ROWS_MAX, Row, TableUpdate, ToVtep, Version};
use vtep_controller::physical::WINDOW;

use crate::SLOTS;

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Taken {
    pub(crate) messages: usize,
    pub(crate) rows: usize,
}

#[derive(Default)]
pub(crate) struct Receiver {
    queue: VecDeque<ToVtep>,
    pub(crate) tables: BTreeMap<LogicalSwitchName, Table>,
    pub(crate) taken: Taken,
}

#[derive(Default)]
pub(crate) struct Table {
    held: Option<Held>,
    complete: bool,
    /// By MAC.
    pub(crate) rows: Vec<Option<Row>>,
    parts: Vec<(MacAddr, Change)>,
    acknowledged: Version,
}

impl Receiver {
    pub(crate) fn push(&mut self, message: ToVtep) {
        self.queue.push_back(message);
        assert!(self.queue.len() <= WINDOW as usize, "more than the window waits");
        if let Some(ToVtep::Table(update)) = self.queue.back() {
            assert!(update.changes.len() <= ROWS_MAX);
        }
    }

    /// Returns how many messages it took.
    pub(crate) fn take(&mut self, at_most: usize) -> u32 {
        let count = self.queue.len().min(at_most);
        for message in self.queue.drain(..count) {
            if let ToVtep::Table(update) = message {
                self.taken.messages += 1;
                self.taken.rows += update.changes.len();
                self.tables.entry(update.logical_switch.clone()).or_default().apply(update);
            }
        }
        u32::try_from(count).unwrap()
    }

    pub(crate) fn is_complete(&self, network: &LogicalSwitchName) -> bool {
        self.tables.get(network).is_some_and(|table| table.complete && table.parts.is_empty())
    }

    pub(crate) fn version(&self, network: &LogicalSwitchName) -> Option<Version> {
        self.tables.get(network)?.held.as_ref().map(|held| held.version)
    }

    /// Versions that were reached since it was asked last.
    pub(crate) fn acknowledge(&mut self) -> Vec<Held> {
        let mut reached = Vec::new();
        for table in self.tables.values_mut() {
            if let Some(held) = table.held.as_ref().filter(|held| held.version > table.acknowledged) {
                table.acknowledged = held.version;
                reached.push(held.clone());
            }
        }
        reached
    }
}

impl Table {
    fn apply(&mut self, update: TableUpdate) {
        let TableUpdate { logical_switch, term, from, to, complete, changes, end } = update;
        if let Some(from) = from {
            let held = self.held.as_ref().map(|held| held.version);
            assert_eq!(Some(from), held, "a delta of {logical_switch} that does not fit");
        }
        self.parts.extend(changes);
        if !end {
            return;
        }
        self.rows.resize(SLOTS, None);
        if from.is_none() && complete {
            self.rows.fill(None);
        }
        for (mac, change) in self.parts.drain(..) {
            self.rows[index(mac)] = match change {
                Change::Put(row) => Some(row),
                Change::Remove(_) => None,
            };
        }
        self.complete |= complete;
        self.held = Some(Held { logical_switch, term, version: to });
    }
}

pub(crate) fn index(mac: MacAddr) -> usize {
    let [_, _, a, b, c, d] = mac.octets();
    usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap() % SLOTS
}

impl Sub for Taken {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self { messages: self.messages - before.messages, rows: self.rows - before.rows }
    }
}
