//! What a TOR's VTEP was told: the receiving end of its session, whatever carries it. It outlives sessions, so that a
//! reconnect needs no table again.

use std::collections::BTreeMap;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use vtep_api::{
    Change, FromVtep, Held, LogicalSwitchName, MacAddr, PROTOCOL, Row, TableUpdate, Term, ToVtep, Version,
    VtepName, VtepOutline,
};

#[derive(Debug)]
pub(super) struct Told {
    vtep: VtepName,
    term: Term,
    outline: VtepOutline,
    tables: BTreeMap<LogicalSwitchName, Table>,
}

/// One logical switch's rows, and to which version they are whole.
#[derive(Debug, Default)]
pub(super) struct Table {
    term: Term,
    version: Version,
    pub(super) rows: Rows,
    /// A whole table has come that said of absence that it is one.
    complete: bool,
    /// The parts of a snapshot that has not come whole.
    gathered: Option<TableUpdate>,
    /// A snapshot was asked for.
    asked: bool,
}

pub(super) type Rows = HashMap<MacAddr, Row, FixedState>;

/// What a message was good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    None,
    Outline,
    /// These rows are not what they were. `completed`: from here on there is more to conclude from absence.
    Table {
        logical_switch: LogicalSwitchName,
        macs: Vec<MacAddr>,
        completed: bool,
    },
    /// It did not fit.
    Answer(FromVtep),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("the controller speaks protocol {found}; expected {expected}")]
    Protocol { found: u32, expected: u32 },
    #[error("the controller is of term {}, and one of term {} was obeyed", found.0, obeyed.0)]
    Controller { found: Term, obeyed: Term },
    #[error("a table of logical switch {logical_switch} is of term {}, and one of term {} was obeyed", found.0, obeyed.0)]
    Table { logical_switch: LogicalSwitchName, found: Term, obeyed: Term },
}

impl Told {
    pub(super) fn new(vtep: VtepName) -> Self {
        Self { vtep, term: Term::default(), outline: VtepOutline::default(), tables: BTreeMap::new() }
    }

    pub(super) fn hello(&self) -> FromVtep {
        // One that is not complete is to be told whole.
        let tables = self.tables.iter().filter(|(_, table)| table.complete);
        let tables = tables.map(|(name, table)| table.held(name)).collect();
        FromVtep::Hello { protocol: PROTOCOL, name: self.vtep.clone(), term: self.term, tables }
    }

    /// What was under way in the session that ended will not be finished.
    pub(super) fn forget_parts(&mut self) {
        for table in self.tables.values_mut() {
            (table.gathered, table.asked) = (None, false);
        }
    }

    pub(super) fn present_outline(&self) -> &VtepOutline {
        &self.outline
    }

    pub(super) fn tables(&self) -> &BTreeMap<LogicalSwitchName, Table> {
        &self.tables
    }

    pub(super) fn take(&mut self, message: ToVtep) -> Result<Effect, Refused> {
        match message {
            ToVtep::Welcome { protocol, term, .. } => self.welcome(protocol, term),
            ToVtep::Outline(outline) => {
                self.outline(outline);
                Ok(Effect::Outline)
            }
            ToVtep::Table(update) => self.table(update),
            ToVtep::Standby { .. } | ToVtep::NoChange { .. } | ToVtep::Heartbeat { .. } => Ok(Effect::None),
        }
    }

    fn outline(&mut self, outline: VtepOutline) {
        self.outline.follow(outline);
        self.tables.retain(|name, _| self.outline.networks.contains_key(name));
    }

    fn welcome(&mut self, protocol: u32, term: Term) -> Result<Effect, Refused> {
        if protocol != PROTOCOL {
            return Err(Refused::Protocol { found: protocol, expected: PROTOCOL });
        }
        if term < self.term {
            return Err(Refused::Controller { found: term, obeyed: self.term });
        }
        self.term = term;
        Ok(Effect::None)
    }

    fn table(&mut self, update: TableUpdate) -> Result<Effect, Refused> {
        let name = update.logical_switch.clone();
        // The outline comes first: a network that it does not name was left meanwhile.
        if !self.outline.networks.contains_key(&name) {
            return Ok(Effect::None);
        }
        let table = self.tables.entry(name.clone()).or_default();
        if update.term < table.term {
            return Err(Refused::Table { logical_switch: name, found: update.term, obeyed: table.term });
        }
        let was_complete = table.complete;
        let macs = match update.from {
            None => table.gather(update),
            Some(from) if table.term == update.term && table.version == from => table.advance(update),
            Some(_) if table.asked => Vec::new(),
            Some(_) => {
                table.asked = true;
                return Ok(Effect::Answer(FromVtep::Resync { logical_switch: name }));
            }
        };
        let completed = table.complete && !was_complete;
        let news = completed || !macs.is_empty();
        Ok(if news { Effect::Table { logical_switch: name, macs, completed } } else { Effect::None })
    }
}

impl Table {
    pub(super) fn held(&self, name: &LogicalSwitchName) -> Held {
        Held { logical_switch: name.clone(), term: self.term, version: self.version }
    }

    /// Whether a MAC that it does not name has no row.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    /// Whether any version was reached.
    pub(super) fn is_whole(&self) -> bool {
        self.term > Term::default()
    }

    /// A part of a delta counts at once: it says what is, and said again it changes nothing.
    fn advance(&mut self, update: TableUpdate) -> Vec<MacAddr> {
        self.gathered = None;
        let changed = update.changes.into_iter().filter_map(|(mac, change)| self.put(mac, change)).collect();
        if update.end {
            self.version = update.to;
        }
        changed
    }

    fn gather(&mut self, update: TableUpdate) -> Vec<MacAddr> {
        self.asked = false;
        let gathered = match self.gathered.take() {
            Some(mut gathered) if (gathered.term, gathered.to) == (update.term, update.to) => {
                gathered.changes.extend(update.changes);
                TableUpdate { changes: gathered.changes, ..update }
            }
            _ => update,
        };
        if gathered.end { self.replace(gathered) } else { self.wait(gathered) }
    }

    fn wait(&mut self, gathered: TableUpdate) -> Vec<MacAddr> {
        self.gathered = Some(gathered);
        Vec::new()
    }

    fn replace(&mut self, snapshot: TableUpdate) -> Vec<MacAddr> {
        let mut changed = Vec::new();
        if snapshot.complete {
            let named: hashbrown::HashSet<_, FixedState> =
                snapshot.changes.iter().map(|(mac, _)| *mac).collect();
            self.rows.retain(|mac, _| {
                let stays = named.contains(mac);
                if !stays {
                    changed.push(*mac);
                }
                stays
            });
        }
        changed.extend(snapshot.changes.into_iter().filter_map(|(mac, change)| self.put(mac, change)));
        (self.term, self.version) = (snapshot.term, snapshot.to);
        self.complete |= snapshot.complete;
        changed
    }

    /// The MAC, if its row is not what it was.
    fn put(&mut self, mac: MacAddr, change: Change) -> Option<MacAddr> {
        let before = match change {
            Change::Put(row) => {
                if self.rows.get(&mac) == Some(&row) {
                    return None;
                }
                self.rows.insert(mac, row);
                return Some(mac);
            }
            Change::Remove(_) => self.rows.remove(&mac),
        };
        before.map(|_| mac)
    }
}

#[cfg(test)]
mod tests;
