//! A VTEP as the contract wants it: it has an inventory and tells it, takes tables in parts, refuses old terms, asks again
//! when an update does not fit, and removes nothing that only an incomplete snapshot does not name.

use std::collections::{BTreeMap, BTreeSet};

use vtep_api::{
    Change, ControllerName, FromVtep, Held, Inventory, LocalMac, LogicalSwitchName, MacAddr, Origin,
    PROTOCOL, Role, Row, TableUpdate, Term, ToVtep, Version, VtepOutline, VtepState,
};

use crate::scenario::{Kind, VtepShape, port};

#[derive(Debug)]
pub(crate) struct Vtep {
    pub(crate) shape: VtepShape,
    pub(crate) clock_ms: i64,
    pub(crate) up: bool,
    pub(crate) gone: bool,
    /// By number of the logical switch.
    pub(crate) records: BTreeMap<(usize, MacAddr), Record>,
    /// Networks it takes part in by somebody else's word.
    pub(crate) networks: BTreeSet<usize>,
    pub(crate) outline: Option<VtepOutline>,
    pub(crate) tables: BTreeMap<LogicalSwitchName, Table>,
    /// The highest term of each physical controller.
    obeyed: BTreeMap<ControllerName, Term>,
    welcomed: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) role: Role,
    pub(crate) origin: Option<Origin>,
    pub(crate) claimed_at_ms: i64,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    pub(crate) term: Term,
    pub(crate) version: Version,
    /// A snapshot of this term said all that there is.
    pub(crate) complete: bool,
    pub(crate) rows: BTreeMap<MacAddr, Row>,
    staged: Option<TableUpdate>,
    /// A snapshot is on its way.
    asked: bool,
}

/// What a message did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    Reply(FromVtep),
    /// All of an update has come.
    Reached {
        logical_switch: LogicalSwitchName,
        removed: Vec<MacAddr>,
    },
    Refused(String),
}

impl Vtep {
    pub(crate) fn new(shape: VtepShape) -> Self {
        Self {
            shape,
            clock_ms: 0,
            up: true,
            gone: false,
            records: BTreeMap::new(),
            networks: BTreeSet::new(),
            outline: None,
            tables: BTreeMap::new(),
            obeyed: BTreeMap::new(),
            welcomed: false,
        }
    }

    /// The first messages of a session with this controller.
    pub(crate) fn hello(&mut self, to: &ControllerName, switches: &[LogicalSwitchName]) -> Vec<FromVtep> {
        self.welcomed = false;
        for table in self.tables.values_mut() {
            table.staged = None;
            table.asked = false;
            if self.shape.kind == Kind::Tor {
                // A database has rows, not the versions that they are of.
                (table.term, table.version, table.complete) = (Term(0), Version(0), false);
            }
        }
        let term = if self.shape.kind == Kind::Tor {
            Term(0)
        } else {
            self.obeyed.get(to).copied().unwrap_or_default()
        };
        let tables = self.tables.iter().filter(|(_, table)| table.term > Term(0));
        let tables = tables.map(|(name, table)| table.held(name)).collect();
        let hello = FromVtep::Hello { protocol: PROTOCOL, name: self.shape.name.clone(), term, tables };
        vec![hello, self.state(switches), self.inventory(switches)]
    }

    pub(crate) fn state(&self, switches: &[LogicalSwitchName]) -> FromVtep {
        FromVtep::State(VtepState {
            address: Some(self.shape.address),
            ports: BTreeSet::from([port()]),
            networks: self.networks.iter().map(|&at| switches[at].clone()).collect(),
            ..VtepState::default()
        })
    }

    fn inventory(&self, switches: &[LogicalSwitchName]) -> FromVtep {
        let mut networks: BTreeMap<usize, Vec<_>> = BTreeMap::new();
        for ((at, mac), record) in &self.records {
            networks.entry(*at).or_default().push((*mac, Some(record.local())));
        }
        let networks = networks.into_iter().map(|(at, records)| (switches[at].clone(), records)).collect();
        FromVtep::Inventory(Inventory { snapshot: true, networks, end: true })
    }

    /// What changed of one record.
    pub(crate) fn change(&self, at: usize, mac: MacAddr, switches: &[LogicalSwitchName]) -> FromVtep {
        let record = self.records.get(&(at, mac)).map(Record::local);
        let networks = vec![(switches[at].clone(), vec![(mac, record)])];
        FromVtep::Inventory(Inventory { snapshot: false, networks, end: true })
    }

    /// Its process began anew.
    pub(crate) fn restarted(&mut self) {
        if self.shape.kind == Kind::Agent {
            for record in self.records.values_mut() {
                record.origin = None;
            }
        }
    }

    /// Its disk is gone too.
    pub(crate) fn forget_tables(&mut self) {
        self.tables.clear();
        self.outline = None;
        self.obeyed.clear();
    }

    pub(crate) fn take(&mut self, message: ToVtep) -> Vec<Effect> {
        match message {
            ToVtep::Welcome { name, term, .. } => {
                let obeyed = self.obeyed.entry(name).or_default();
                if term < *obeyed {
                    return vec![Effect::Refused(format!("a welcome of {term:?} after {obeyed:?}"))];
                }
                *obeyed = term;
                self.welcomed = true;
                Vec::new()
            }
            ToVtep::Standby { .. } => {
                self.welcomed = false;
                Vec::new()
            }
            _ if !self.welcomed => vec![Effect::Refused("a message before the welcome".to_owned())],
            ToVtep::Outline(outline) => {
                self.outlined(outline);
                Vec::new()
            }
            ToVtep::Table(update) => self.update(update),
            ToVtep::NoChange { .. } | ToVtep::Heartbeat { .. } => Vec::new(),
        }
    }

    fn outlined(&mut self, later: VtepOutline) {
        let outline = self.outline.get_or_insert_default();
        outline.follow(later);
        self.tables.retain(|name, _| outline.networks.contains_key(name));
    }

    fn update(&mut self, update: TableUpdate) -> Vec<Effect> {
        let logical_switch = update.logical_switch.clone();
        if self.outline.as_ref().is_none_or(|outline| !outline.networks.contains_key(&logical_switch)) {
            return vec![Effect::Refused(format!(
                "a table of {logical_switch}, which is not in the outline"
            ))];
        }
        let table = self.tables.entry(logical_switch.clone()).or_default();
        if update.term < table.term {
            return vec![Effect::Refused(format!("a table of {:?} after {:?}", update.term, table.term))];
        }
        if let Some(update) = continued(&mut table.staged, update) {
            let fits = match update.from {
                None => update.term > table.term || update.to >= table.version,
                Some(from) => (update.term, from) == (table.term, table.version),
            };
            let known = update.term == table.term && update.to <= table.version;
            if !fits && known {
                return Vec::new();
            }
            if !fits {
                table.staged = None;
                if table.asked {
                    return Vec::new();
                }
                table.asked = true;
                return vec![Effect::Reply(FromVtep::Resync { logical_switch })];
            }
            table.staged = Some(update);
        }
        let Some(update) = table.staged.take_if(|staged| staged.end) else { return Vec::new() };
        let removed = table.apply(update);
        let held = table.held(&logical_switch);
        vec![Effect::Reached { logical_switch, removed }, Effect::Reply(FromVtep::Applied(held))]
    }
}

/// Takes up a part of the update that is staged. Returns one that begins another.
pub(crate) fn continued(staged: &mut Option<TableUpdate>, part: TableUpdate) -> Option<TableUpdate> {
    let goes_on =
        |staged: &&mut TableUpdate| (staged.term, staged.from, staged.to) == (part.term, part.from, part.to);
    let Some(staged) = staged.as_mut().filter(goes_on) else { return Some(part) };
    staged.changes.extend(part.changes);
    staged.end = part.end;
    None
}

impl Table {
    pub(crate) fn held(&self, name: &LogicalSwitchName) -> Held {
        Held { logical_switch: name.clone(), term: self.term, version: self.version }
    }

    /// Carries out a whole update. Returns what is gone.
    pub(crate) fn apply(&mut self, update: TableUpdate) -> Vec<MacAddr> {
        let before: Vec<MacAddr> = self.rows.keys().copied().collect();
        if update.from.is_none() {
            self.asked = false;
            self.complete = update.complete || (self.complete && self.term == update.term);
            if update.complete {
                self.rows.clear();
            }
        }
        for (mac, change) in update.changes {
            match change {
                Change::Put(row) => drop(self.rows.insert(mac, row)),
                Change::Remove(_) => drop(self.rows.remove(&mac)),
            }
        }
        (self.term, self.version) = (update.term, update.to);
        before.into_iter().filter(|mac| !self.rows.contains_key(mac)).collect()
    }
}

impl Record {
    fn local(&self) -> LocalMac {
        LocalMac {
            role: self.role,
            claimed_at_ms: Some(self.claimed_at_ms),
            origin: self.origin,
            ips: Box::default(),
        }
    }
}
