//! A VTEP: what is behind it, and the tables that it has. An agent has a session with every physical controller, of which it
//! obeys the one of the highest term; its kernel follows later. A TOR has a database, and adapters speak for it (`tor`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr};

use vtep_api::{
    FromVtep, Held, Inventory, LocalMac, LogicalSwitchName, MacAddr, Origin, PROTOCOL, TableUpdate, Term,
    ToVtep, Version, VtepName, VtepOutline, VtepState,
};

use crate::floods::Floods;
use crate::scenario::Kind;
use crate::vtep::{Table, continued};

#[derive(Debug)]
pub(super) struct Station {
    pub(super) name: VtepName,
    pub(super) kind: Kind,
    number: u8,
    pub(super) macs: BTreeMap<(LogicalSwitchName, MacAddr), Origin>,
    tables: BTreeMap<LogicalSwitchName, Received>,
    /// Of an agent.
    outline: VtepOutline,
    pub(super) floods: Floods,
    obeyed: Term,
    pub(super) serving: Option<usize>,
    /// Updates that came to their end, and how many of them the kernel has.
    reached: u64,
    awaited: VecDeque<(u64, Held)>,
    applied: BTreeMap<LogicalSwitchName, Held>,
}

#[derive(Debug, Default)]
struct Received {
    table: Table,
    /// The highest version that it ever had: nothing older may come.
    highest: (Term, Version),
    staged: Option<TableUpdate>,
    asked: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    /// To whom it came from.
    Reply(FromVtep),
    /// The kernel follows.
    Reached {
        logical_switch: LogicalSwitchName,
        removed: Vec<MacAddr>,
        reached: u64,
    },
    Refused,
    Wrong(String),
}

impl Station {
    pub(super) fn new(number: u8, kind: Kind, networks: &[LogicalSwitchName]) -> Self {
        Self {
            name: crate::scenario::name(&format!("v{number}")),
            kind,
            number,
            macs: BTreeMap::new(),
            tables: networks.iter().map(|name| (name.clone(), Received::default())).collect(),
            outline: VtepOutline::default(),
            floods: Floods::default(),
            obeyed: Term(0),
            serving: None,
            reached: 0,
            awaited: VecDeque::new(),
            applied: BTreeMap::new(),
        }
    }

    pub(super) fn address(&self) -> IpAddr {
        Ipv4Addr::new(192, 0, 2, self.number + 1).into()
    }

    /// The networks that it takes part in.
    pub(super) fn networks(&self) -> impl Iterator<Item = &LogicalSwitchName> {
        self.tables.keys()
    }

    pub(super) fn takes_part(&self, network: &LogicalSwitchName) -> bool {
        self.tables.contains_key(network)
    }

    pub(super) fn table(&self, network: &LogicalSwitchName) -> &Table {
        &self.tables[network].table
    }

    /// Of an agent.
    pub(super) fn held(&self) -> (Term, Vec<Held>) {
        let whole = self.tables.iter().filter(|(_, received)| received.table.complete);
        (self.obeyed, whole.map(|(name, received)| received.table.held(name)).collect())
    }

    pub(super) fn hello(&self, (term, tables): (Term, Vec<Held>)) -> [FromVtep; 3] {
        let state = VtepState { address: Some(self.address()), ..VtepState::default() };
        let of = |network: &LogicalSwitchName| {
            let records = self.macs.iter().filter(|((of, _), _)| of == network);
            (network.clone(), records.map(|((_, mac), origin)| (*mac, Some(local(*origin)))).collect())
        };
        let networks = self.tables.keys().map(of).collect();
        [
            FromVtep::Hello { protocol: PROTOCOL, name: self.name.clone(), term, tables },
            FromVtep::State(state),
            FromVtep::Inventory(Inventory { snapshot: true, networks, end: true }),
        ]
    }

    pub(super) fn change(&self, network: &LogicalSwitchName, mac: MacAddr) -> FromVtep {
        let claimed = self.macs.get(&(network.clone(), mac)).map(|origin| local(*origin));
        let networks = vec![(network.clone(), vec![(mac, claimed)])];
        FromVtep::Inventory(Inventory { snapshot: false, networks, end: true })
    }

    /// A session with a controller is over.
    pub(super) fn lost(&mut self, from: usize) {
        if self.serving == Some(from) {
            self.serving = None;
            self.interrupt();
        }
    }

    fn interrupt(&mut self) {
        for received in self.tables.values_mut() {
            (received.staged, received.asked) = (None, false);
        }
    }

    /// Of an agent.
    pub(super) fn take(&mut self, from: usize, message: ToVtep) -> Vec<Effect> {
        match message {
            ToVtep::Welcome { term, .. } if term < self.obeyed => vec![Effect::Refused],
            ToVtep::Welcome { term, .. } => {
                self.obeyed = term;
                self.serving = Some(from);
                self.interrupt();
                let applied = self.applied.values().cloned().map(FromVtep::Applied);
                std::iter::once(FromVtep::Obeys { term }).chain(applied).map(Effect::Reply).collect()
            }
            ToVtep::Standby { .. } => {
                self.lost(from);
                let whole = self.applied.values().filter(|held| self.is_whole(&held.logical_switch));
                whole.cloned().map(FromVtep::Applied).map(Effect::Reply).collect()
            }
            _ if self.serving != Some(from) => Vec::new(),
            ToVtep::Table(update) => self.update(update),
            ToVtep::Outline(outline) => {
                self.outline.follow(outline);
                let wrong = self.flood(Floods::of(&self.outline)).err();
                wrong.into_iter().map(Effect::Wrong).collect()
            }
            ToVtep::NoChange { .. } | ToVtep::Heartbeat { .. } => Vec::new(),
        }
    }

    pub(super) fn flood(&mut self, floods: Floods) -> Result<(), String> {
        let before = std::mem::replace(&mut self.floods, floods);
        before.hold(&self.floods, &self.name, &BTreeSet::new())
    }

    /// The kernel has so many updates: what is to be told, and whether only to who serves it.
    pub(super) fn installed(&mut self, reached: u64) -> Vec<(FromVtep, bool)> {
        let mut news = BTreeMap::new();
        while let Some((_, held)) = self.awaited.pop_front_if(|(at, _)| *at <= reached) {
            news.insert(held.logical_switch.clone(), held);
        }
        self.applied.extend(news.clone());
        let told = news.into_values().map(|held| {
            let whole = self.is_whole(&held.logical_switch);
            (FromVtep::Applied(held), !whole)
        });
        told.collect()
    }

    fn is_whole(&self, network: &LogicalSwitchName) -> bool {
        self.tables.get(network).is_some_and(|received| received.table.complete)
    }

    fn update(&mut self, update: TableUpdate) -> Vec<Effect> {
        let network = update.logical_switch.clone();
        let Some(received) = self.tables.get_mut(&network) else {
            return vec![Effect::Wrong(format!("{} takes no part in {network}", self.name))];
        };
        if update.term < received.table.term {
            return vec![Effect::Refused];
        }
        let Some(update) = received.gather(update) else { return Vec::new() };
        let update = match update {
            Ok(update) => update,
            Err(Misfit) => return vec![Effect::Reply(FromVtep::Resync { logical_switch: network })],
        };
        if let Err(wrong) = received.reach(&self.name, update.term, update.to) {
            return vec![Effect::Wrong(wrong)];
        }
        let removed = received.apply(update);
        self.reached += 1;
        self.awaited.push_back((self.reached, received.table.held(&network)));
        vec![Effect::Reached { logical_switch: network, removed, reached: self.reached }]
    }

    /// Of a TOR: its database has from here on what an adapter was told. Returns what went.
    pub(super) fn write(
        &mut self,
        network: &LogicalSwitchName,
        told: Table,
        whole_in: Term,
        gone: &BTreeSet<MacAddr>,
    ) -> Result<Vec<MacAddr>, String> {
        let Some(received) = self.tables.get_mut(network) else {
            return Err(format!("{} takes no part in {network}", self.name));
        };
        received.reach(&self.name, told.term, told.version)?;
        let mut rows = if told.complete { BTreeMap::new() } else { std::mem::take(&mut received.table.rows) };
        let before: Vec<MacAddr> = if told.complete {
            received.table.rows.keys().copied().collect()
        } else {
            rows.keys().copied().collect()
        };
        rows.retain(|mac, _| !gone.contains(mac));
        rows.extend(told.rows);
        let table = &mut received.table;
        (table.term, table.version, table.complete, table.rows) =
            (told.term, told.version, told.complete && whole_in == told.term, rows);
        Ok(before.into_iter().filter(|mac| !table.rows.contains_key(mac)).collect())
    }
}

struct Misfit;

impl Received {
    fn reach(&mut self, whose: &VtepName, term: Term, version: Version) -> Result<(), String> {
        let at = (term, version);
        if at < self.highest {
            return Err(format!("{whose} is led back from {:?} to {at:?}", self.highest));
        }
        self.highest = at;
        Ok(())
    }

    /// An update that is whole and fits.
    fn gather(&mut self, update: TableUpdate) -> Option<Result<TableUpdate, Misfit>> {
        let same = update.term == self.table.term;
        if let Some(update) = continued(&mut self.staged, update) {
            let fits = update.from.is_none_or(|from| same && from <= self.table.version);
            if fits && same && self.table.complete && update.to < self.table.version {
                self.staged = None;
                return None;
            }
            if !fits {
                self.staged = None;
                return (!std::mem::replace(&mut self.asked, true)).then_some(Err(Misfit));
            }
            self.staged = Some(update);
        }
        self.staged.take_if(|staged| staged.end).map(Ok)
    }

    fn apply(&mut self, update: TableUpdate) -> Vec<MacAddr> {
        if update.from.is_none() {
            self.asked = false;
        }
        self.table.apply(update)
    }
}

fn local(origin: Origin) -> LocalMac {
    LocalMac { origin: Some(origin), ..LocalMac::default() }
}
