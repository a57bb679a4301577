//! A VTEP with a session with every physical controller, of which it obeys the one of the highest term.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use vtep_api::{
    Change, FromVtep, Held, Inventory, LocalMac, LogicalSwitchName, MacAddr, Origin, PROTOCOL, TableUpdate,
    Term, ToVtep, Version, VtepName, VtepState,
};

use crate::scenario::Kind;
use crate::vtep::Table;

#[derive(Debug)]
pub(super) struct Station {
    pub(super) name: VtepName,
    pub(super) kind: Kind,
    number: u8,
    pub(super) macs: BTreeMap<MacAddr, Origin>,
    pub(super) table: Table,
    /// The highest version that it ever had: nothing older may come.
    highest: (Term, Version),
    obeyed: Term,
    pub(super) serving: Option<usize>,
    staged: Option<TableUpdate>,
    asked: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    /// To whom it came from.
    Reply(FromVtep),
    /// To everybody.
    Tell(FromVtep),
    Reached {
        removed: Vec<MacAddr>,
    },
    Refused,
    Wrong(String),
}

impl Station {
    pub(super) fn new(number: u8, kind: Kind) -> Self {
        Self {
            name: crate::scenario::name(&format!("v{number}")),
            kind,
            number,
            macs: BTreeMap::new(),
            table: Table::default(),
            highest: (Term(0), Version(0)),
            obeyed: Term(0),
            serving: None,
            staged: None,
            asked: false,
        }
    }

    pub(super) fn address(&self) -> IpAddr {
        Ipv4Addr::new(192, 0, 2, self.number + 1).into()
    }

    pub(super) fn hello(&self, network: &LogicalSwitchName) -> [FromVtep; 3] {
        let tables =
            if self.kind == Kind::Agent && self.table.complete { vec![self.held(network)] } else { vec![] };
        let term = if self.kind == Kind::Agent { self.obeyed } else { Term(0) };
        let state = VtepState { address: Some(self.address()), ..VtepState::default() };
        let records = self.macs.iter().map(|(mac, origin)| (*mac, Some(local(*origin)))).collect();
        [
            FromVtep::Hello { protocol: PROTOCOL, name: self.name.clone(), term, tables },
            FromVtep::State(state),
            FromVtep::Inventory(Inventory {
                snapshot: true,
                networks: vec![(network.clone(), records)],
                end: true,
            }),
        ]
    }

    pub(super) fn change(&self, network: &LogicalSwitchName, mac: MacAddr) -> FromVtep {
        let records = vec![(mac, self.macs.get(&mac).map(|origin| local(*origin)))];
        FromVtep::Inventory(Inventory {
            snapshot: false,
            networks: vec![(network.clone(), records)],
            end: true,
        })
    }

    /// A session with a controller is over.
    pub(super) fn lost(&mut self, from: usize) {
        if self.serving == Some(from) {
            self.serving = None;
            self.staged = None;
        }
    }

    fn held(&self, network: &LogicalSwitchName) -> Held {
        Held { logical_switch: network.clone(), term: self.table.term, version: self.table.version }
    }

    pub(super) fn take(&mut self, from: usize, message: ToVtep, network: &LogicalSwitchName) -> Vec<Effect> {
        match message {
            ToVtep::Welcome { term, .. } if term < self.obeyed => vec![Effect::Refused],
            ToVtep::Welcome { term, .. } => {
                self.obeyed = term;
                self.serving = Some(from);
                (self.staged, self.asked) = (None, false);
                if self.kind == Kind::Tor {
                    // An adapter that begins has a database with rows, not the versions that they are of.
                    (self.table.term, self.table.version, self.table.complete) = (Term(0), Version(0), false);
                    return Vec::new();
                }
                if self.table.complete {
                    vec![Effect::Reply(FromVtep::Applied(self.held(network)))]
                } else {
                    vec![]
                }
            }
            ToVtep::Standby { .. } => {
                self.lost(from);
                if self.table.complete {
                    vec![Effect::Reply(FromVtep::Applied(self.held(network)))]
                } else {
                    vec![]
                }
            }
            _ if self.serving != Some(from) => Vec::new(),
            ToVtep::Table(update) => self.update(update, network),
            ToVtep::Outline(_) | ToVtep::NoChange { .. } | ToVtep::Heartbeat { .. } => Vec::new(),
        }
    }

    fn update(&mut self, update: TableUpdate, network: &LogicalSwitchName) -> Vec<Effect> {
        if update.term < self.table.term {
            return vec![Effect::Refused];
        }
        let same = update.term == self.table.term;
        let begun = |staged: &TableUpdate| {
            (staged.term, staged.from, staged.to) == (update.term, update.from, update.to)
        };
        if let Some(staged) = self.staged.as_mut().filter(|staged| begun(staged)) {
            staged.changes.extend(update.changes);
            staged.end = update.end;
        } else {
            let fits = update.from.is_none_or(|from| same && from <= self.table.version);
            if self.kind == Kind::Agent
                && fits
                && same
                && self.table.complete
                && update.to < self.table.version
            {
                self.staged = None;
                return Vec::new();
            }
            if !fits {
                self.staged = None;
                if std::mem::replace(&mut self.asked, true) {
                    return Vec::new();
                }
                return vec![Effect::Reply(FromVtep::Resync { logical_switch: network.clone() })];
            }
            self.staged = Some(update);
        }
        let Some(update) = self.staged.take_if(|staged| staged.end) else { return Vec::new() };
        let at = (update.term, update.to);
        if at < self.highest {
            return vec![Effect::Wrong(format!(
                "{} is led back from {:?} to {at:?}",
                self.name, self.highest
            ))];
        }
        self.highest = at;
        let removed = self.apply(update);
        let applied = FromVtep::Applied(self.held(network));
        let tell = if self.kind == Kind::Agent { Effect::Tell(applied) } else { Effect::Reply(applied) };
        vec![Effect::Reached { removed }, tell]
    }

    fn apply(&mut self, update: TableUpdate) -> Vec<MacAddr> {
        let table = &mut self.table;
        let before: BTreeSet<MacAddr> = table.rows.keys().copied().collect();
        if update.from.is_none() {
            self.asked = false;
            table.complete = update.complete || (table.complete && table.term == update.term);
            if update.complete {
                table.rows.clear();
            }
        }
        for (mac, change) in update.changes {
            match change {
                Change::Put(row) => drop(table.rows.insert(mac, row)),
                Change::Remove(_) => drop(table.rows.remove(&mac)),
            }
        }
        (table.term, table.version) = (update.term, update.to);
        before.into_iter().filter(|mac| !table.rows.contains_key(mac)).collect()
    }
}

fn local(origin: Origin) -> LocalMac {
    LocalMac { origin: Some(origin), ..LocalMac::default() }
}
