//! The database as it was last told, keyed by row UUID. What it means is derived from the whole after each update:
//! rows of one update have no order, and OVN moves a MAC by deleting and inserting in one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ovsdb::{Changed, Commit, Event, Monitor, Row, RowBatch, RowError, Schema, Table, Uuid};

use crate::rows::{
    Global, LogicalSwitch, McastMacLocal, McastMacRemote, PhysicalLocator, PhysicalLocatorSet, PhysicalPort,
    PhysicalSwitch, Tunnel, UcastMacLocal, UcastMacRemote,
};

/// All tables, and since when each logical switch has its key.
#[derive(Debug, Default)]
pub struct Mirror {
    pub global: Table<Global>,
    pub physical_switches: Table<PhysicalSwitch>,
    pub physical_ports: Table<PhysicalPort>,
    pub logical_switches: Table<LogicalSwitch>,
    pub locators: Table<PhysicalLocator>,
    pub locator_sets: Table<PhysicalLocatorSet>,
    pub ucast_local: Table<UcastMacLocal>,
    pub ucast_remote: Table<UcastMacRemote>,
    pub mcast_local: Table<McastMacLocal>,
    pub mcast_remote: Table<McastMacRemote>,
    pub tunnels: Table<Tunnel>,
    schema: Arc<Schema>,
    commits: u64,
    /// The key of each logical switch, and the commit that gave it.
    keyed_at: BTreeMap<Uuid, (Option<i64>, u64)>,
    known: bool,
    synchronized: bool,
    keeps_old_rows: bool,
}

/// What an update changed. A dump that repeats what is known changes nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Changes {
    tables: BTreeSet<&'static str>,
    pub(crate) locators: Vec<Was<PhysicalLocator>>,
    pub(crate) ucast_local: Vec<Was<UcastMacLocal>>,
    pub(crate) ucast_remote: Vec<Was<UcastMacRemote>>,
}

/// A row that an update changed, as it was before; as it is, the mirror has it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Was<R> {
    pub row: Uuid,
    pub old: Option<R>,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty()
    }

    pub fn touch<R: Row>(&self) -> bool {
        self.tables.contains(R::TABLE)
    }

    pub fn tables(&self) -> impl Iterator<Item = &'static str> {
        self.tables.iter().copied()
    }

    /// Adds what a later update changed.
    pub fn merge(&mut self, mut later: Self) {
        self.tables.append(&mut later.tables);
        self.locators.append(&mut later.locators);
        self.ucast_local.append(&mut later.ucast_local);
        self.ucast_remote.append(&mut later.ucast_remote);
    }
}

/// Of which rows it is told how they were.
trait Kept: Row {
    fn kept(_: &mut Changes) -> Option<&mut Vec<Was<Self>>> {
        None
    }
}

macro_rules! kept {
    ($($row:ty)*; $($kept:ty = $field:ident)*) => {
        $(impl Kept for $row {})*
        $(impl Kept for $kept {
            fn kept(changes: &mut Changes) -> Option<&mut Vec<Was<Self>>> {
                Some(&mut changes.$field)
            }
        })*
    };
}

kept!(
    Global PhysicalSwitch PhysicalPort LogicalSwitch PhysicalLocatorSet McastMacLocal McastMacRemote Tunnel;
    PhysicalLocator = locators UcastMacLocal = ucast_local UcastMacRemote = ucast_remote
);

/// One line for each table: the only list of them.
macro_rules! each_table {
    ($mirror:ident, |$table:ident| $do:expr) => {{
        each_table!(@ $mirror, $table, $do, global physical_switches physical_ports logical_switches locators
            locator_sets ucast_local ucast_remote mcast_local mcast_remote tunnels);
    }};
    (@ $mirror:ident, $table:ident, $do:expr, $($field:ident)*) => {
        $({
            let $table = &mut $mirror.$field;
            $do
        })*
    };
}

impl Mirror {
    /// Whose changes tell which rows of the large tables they are about, so that one row's change costs no look at all.
    pub(crate) fn with_old_rows() -> Self {
        Self { keeps_old_rows: true, ..Self::default() }
    }

    /// Counts the updates that came in whole.
    pub(crate) fn commits(&self) -> u64 {
        self.commits
    }

    /// What a session must follow for this mirror.
    pub fn monitor() -> Monitor {
        fn add<R: Row>(monitor: Monitor, _: &Table<R>) -> Monitor {
            monitor.table::<R>()
        }

        let mut mirror = Self::default();
        let mut monitor = Monitor::new();
        each_table!(mirror, |table| monitor = add(monitor, table));
        monitor
    }

    /// Takes an event of the session in. `Some` after an update that came in whole, with what it changed.
    pub fn apply(&mut self, event: &Event) -> Option<Changes> {
        match event {
            Event::Connected { schema, .. } => {
                self.schema = schema.clone();
                self.discard();
                None
            }
            Event::Rows(batch) => {
                self.stage(batch);
                None
            }
            Event::Commit(commit) => Some(self.commit(*commit)),
            Event::Disconnected { .. } => {
                self.synchronized = false;
                self.discard();
                None
            }
            Event::Listening { .. } | Event::Lock { .. } => None,
        }
    }

    /// Whether there was ever a whole dump. Nothing may be concluded from absence before.
    pub fn is_known(&self) -> bool {
        self.known
    }

    /// Whether the mirror follows the database. Nothing may be written otherwise: an earlier write whose reply was lost
    /// may have landed.
    pub fn is_synchronized(&self) -> bool {
        self.synchronized
    }

    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Which commit gave the logical switch its present key.
    pub(crate) fn keyed_at(&self, logical_switch: Uuid) -> u64 {
        self.keyed_at.get(&logical_switch).map_or(0, |&(_, commit)| commit)
    }

    /// Rows that could not be decoded.
    pub fn refused(&self) -> Vec<&RowError> {
        let Self {
            global, physical_switches, physical_ports, logical_switches, locators, locator_sets, ..
        } = self;
        let physical = global.refused().chain(physical_switches.refused()).chain(physical_ports.refused());
        let logical = logical_switches.refused().chain(locators.refused()).chain(locator_sets.refused());
        let ucast = self.ucast_local.refused().chain(self.ucast_remote.refused());
        let mcast = self.mcast_local.refused().chain(self.mcast_remote.refused());
        physical.chain(logical).chain(ucast).chain(mcast).chain(self.tunnels.refused()).collect()
    }

    fn stage(&mut self, batch: &RowBatch) {
        fn stage<R: Row>(table: &mut Table<R>, batch: &RowBatch) {
            if R::TABLE == batch.table() {
                table.stage(batch);
            }
        }

        each_table!(self, |table| stage(table, batch));
    }

    fn discard(&mut self) {
        each_table!(self, |table| table.discard());
    }

    fn commit(&mut self, commit: Commit) -> Changes {
        fn commit_table<R: Kept>(table: &mut Table<R>, commit: Commit, keep: bool, changes: &mut Changes) {
            let mut touched = false;
            let note = |changed: Changed<'_, R>| {
                touched = true;
                if let Some(kept) = R::kept(changes).filter(|_| keep) {
                    kept.push(Was { row: changed.uuid, old: changed.old.cloned() });
                }
            };
            match commit {
                Commit::Snapshot { .. } => table.commit_snapshot(note),
                Commit::Resumed | Commit::Update => table.commit(note),
            }
            if touched {
                changes.tables.insert(R::TABLE);
            }
        }

        let keep = self.keeps_old_rows;
        let mut changes = Changes::default();
        each_table!(self, |table| commit_table(table, commit, keep, &mut changes));
        self.commits += 1;
        self.known = true;
        self.synchronized = true;
        if changes.touch::<LogicalSwitch>() {
            self.note_keys();
        }
        changes
    }

    fn note_keys(&mut self) {
        let Self { keyed_at, logical_switches, commits, .. } = self;
        keyed_at.retain(|&uuid, _| logical_switches.row(uuid).is_some());
        for (uuid, row) in logical_switches.iter() {
            let noted = keyed_at.entry(uuid).or_insert((row.tunnel_key, *commits));
            if noted.0 != row.tunnel_key {
                *noted = (row.tunnel_key, *commits);
            }
        }
    }
}
