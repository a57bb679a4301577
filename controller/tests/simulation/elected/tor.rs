//! A TOR's database, which the adapters of several physical controllers want to write to: who has the lock writes, and who
//! is elected steals it. What one has sent arrives however late, also when its process is gone.

use std::collections::{BTreeMap, BTreeSet};

use vtep_api::{
    Change, FromVtep, Held, LogicalSwitchName, MacAddr, TableUpdate, Term, ToVtep, VtepName, VtepOutline,
};

use super::world::{LinkId, Message, What, World};
use crate::floods;
use crate::link::End;
use crate::observer::Verdict;
use crate::vtep::{Table, continued};

/// Before an adapter asks once more for a lock that was taken from it.
const PAUSE_MS: u64 = 1000;

#[derive(Debug, Default)]
pub(super) struct Tor {
    pub(super) lock: Option<Connection>,
    /// By the physical controller in whose process it is.
    adapters: BTreeMap<usize, Adapter>,
    connections: u64,
    /// Of the last request from a physical controller, and of the last answer to it.
    requests_at: BTreeMap<usize, u64>,
    answers_at: BTreeMap<usize, u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Connection {
    pub(super) physical: usize,
    number: u64,
}

#[derive(Debug, Default)]
struct Adapter {
    connection: u64,
    /// By which it may write.
    term: Option<Term>,
    obeyed: Term,
    owns: bool,
    /// The core does not know yet that nobody else writes.
    welcomed: Option<Term>,
    outline: VtepOutline,
    told: BTreeMap<LogicalSwitchName, Told>,
    dirty: BTreeSet<LogicalSwitchName>,
    writing: bool,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Told {
    table: Table,
    /// The term whose whole table came last: what lies in the database beside it is of that one at most.
    whole_in: Term,
    /// MACs that are to go though the table is not whole.
    gone: BTreeSet<MacAddr>,
    staged: Option<TableUpdate>,
    asked: bool,
}

#[derive(Debug)]
pub(super) enum Request {
    Steal,
    Write(LogicalSwitchName, Box<Told>, Flood),
    Close,
}

#[derive(Debug)]
pub(super) struct Flood {
    members: BTreeSet<VtepName>,
    /// Whom it does not name is out of it.
    whole: bool,
}

#[derive(Debug)]
pub(super) enum Answer {
    Locked,
    Lost,
    Written(Held),
    NotOwner,
}

impl World {
    /// Adapters are told who may write before the core is. One that has written begins anew when its reign is over.
    pub(super) fn adapters_hear(&mut self, physical: usize) {
        for vtep in 0..self.stations.len() {
            let own = &self.nodes[physical].told.own;
            let term = own.get(&self.stations[vtep].name).copied();
            let Some(tor) = self.tors.get_mut(&vtep) else { continue };
            let adapter = tor.adapters.entry(physical).or_default();
            if adapter.term == term {
                continue;
            }
            if adapter.term.is_some() {
                self.adapter_begins(vtep, physical, 20);
            }
            if let Some(adapter) = self.adapter(vtep, physical) {
                adapter.term = term;
            }
            self.ask_for_lock(vtep, physical);
        }
    }

    /// A new connection; what was sent by the one before still arrives, and then that is gone.
    pub(super) fn adapter_begins(&mut self, vtep: usize, physical: usize, noticed_within: u64) {
        self.request(vtep, physical, Request::Close, noticed_within);
        self.session_ends(vtep, physical);
        let Some(tor) = self.tors.get_mut(&vtep) else { return };
        tor.connections += 1;
        let connection = tor.connections;
        tor.adapters.insert(physical, Adapter { connection, ..Adapter::default() });
    }

    /// At once: both ends are in one process, and what the core has sent is not looked at.
    fn session_ends(&mut self, vtep: usize, physical: usize) {
        let (link, now) = (LinkId::Vtep { vtep, physical }, self.now);
        self.link(link).close(End::Client, now);
        self.cut(link, None, 20);
        let again = self.random.between(50, 1500);
        self.connect(link, again);
    }

    pub(super) fn ask_for_lock(&mut self, vtep: usize, physical: usize) {
        let holds = self.nodes[physical].member.tenure > self.now;
        let asks = |adapter: &mut Adapter| adapter.term.is_some() && !adapter.owns && holds;
        if self.adapter(vtep, physical).is_some_and(asks) {
            self.request(vtep, physical, Request::Steal, 30);
        }
    }

    /// What its adapter has told of, in a session that begins: tables, and the highest term.
    pub(super) fn adapter_says(&mut self, vtep: usize, physical: usize) -> (Term, Vec<Held>) {
        let Some(adapter) = self.adapter(vtep, physical) else { return (Term(0), Vec::new()) };
        adapter.welcomed = None;
        for told in adapter.told.values_mut() {
            (told.staged, told.asked) = (None, false);
        }
        let whole = adapter.told.iter().filter(|(_, told)| told.table.complete);
        (adapter.obeyed, whole.map(|(name, told)| told.table.held(name)).collect())
    }

    pub(super) fn adapter_takes(&mut self, vtep: usize, physical: usize, message: ToVtep) {
        let link = LinkId::Vtep { vtep, physical };
        let Some(adapter) = self.adapter(vtep, physical) else { return };
        match message {
            ToVtep::Welcome { term, .. } if term < adapter.obeyed => return self.cut(link, None, 50),
            ToVtep::Welcome { term, .. } => (adapter.obeyed, adapter.welcomed) = (term, Some(term)),
            ToVtep::Table(update) => {
                let name = update.logical_switch.clone();
                let told = adapter.told.entry(name.clone()).or_default();
                if update.term < told.table.term {
                    return self.cut(link, None, 50);
                }
                match told.take(update) {
                    Some(true) => drop(adapter.dirty.insert(name)),
                    Some(false) => {}
                    None => {
                        let resync = FromVtep::Resync { logical_switch: name };
                        self.transmit(link, End::Server, Message::FromVtep(resync));
                    }
                }
            }
            ToVtep::Outline(outline) => {
                adapter.outline.follow(outline);
                adapter.dirty.extend(adapter.told.keys().cloned());
            }
            ToVtep::Standby { .. } | ToVtep::NoChange { .. } | ToVtep::Heartbeat { .. } => {}
        }
        self.adapter_acts(vtep, physical);
    }

    fn adapter(&mut self, vtep: usize, physical: usize) -> Option<&mut Adapter> {
        Some(self.tors.get_mut(&vtep)?.adapters.entry(physical).or_default())
    }

    /// Says that nobody else writes, and writes what is to be written.
    fn adapter_acts(&mut self, vtep: usize, physical: usize) {
        let holds = self.nodes[physical].member.tenure > self.now;
        let Some(adapter) = self.adapter(vtep, physical).filter(|adapter| adapter.owns) else { return };
        let obeys = adapter.welcomed.take();
        let write = if adapter.writing || !holds { None } else { adapter.dirty.pop_first() };
        let write = write.and_then(|name| {
            let told = adapter.told.get(&name)?.clone();
            let known = adapter.outline.networks.get(&name).is_some_and(|network| network.unheard.is_empty());
            let flood = Flood {
                members: floods::members(&adapter.outline, &name),
                whole: told.table.complete && known,
            };
            Some((told, name, flood))
        });
        adapter.writing |= write.is_some();
        if let Some(term) = obeys {
            let link = LinkId::Vtep { vtep, physical };
            self.transmit(link, End::Server, Message::FromVtep(FromVtep::Obeys { term }));
        }
        if let Some((told, name, flood)) = write {
            self.request(vtep, physical, Request::Write(name, Box::new(told), flood), 30);
        }
    }

    /// In order, but however late from who is cut off.
    fn request(&mut self, vtep: usize, physical: usize, request: Request, within: u64) {
        let slow = self.random.percent(3);
        let delay = if slow { self.random.between(50, 800) } else { self.random.between(1, within) };
        let from = self.now.max(self.nodes[physical].cut_off_until);
        let Some(tor) = self.tors.get_mut(&vtep) else { return };
        let number = tor.adapters.entry(physical).or_default().connection;
        let at = tor.requests_at.entry(physical).or_default();
        *at = (*at).max(from + delay);
        let after = *at - self.now;
        let connection = Connection { physical, number };
        self.after(after, What::Request { vtep, connection, request: Box::new(request) });
    }

    pub(super) fn requested(&mut self, vtep: usize, connection: Connection, request: Request) -> Verdict {
        self.trace.note(self.now, || format!("v{vtep}'s database ← {connection:?}: {request:?}"));
        let Some(tor) = self.tors.get_mut(&vtep) else { return Ok(()) };
        let owns = tor.lock == Some(connection);
        match request {
            Request::Close => tor.lock = tor.lock.filter(|_| !owns),
            Request::Steal => {
                if let Some(before) = tor.lock.replace(connection).filter(|before| *before != connection) {
                    self.answer(vtep, before, Answer::Lost);
                }
                self.answer(vtep, connection, Answer::Locked);
            }
            Request::Write(..) if !owns => {
                self.refused_writes += 1;
                self.answer(vtep, connection, Answer::NotOwner);
            }
            Request::Write(name, told, flood) => {
                let held = told.table.held(&name);
                let Told { table, whole_in, gone, .. } = *told;
                let removed = self.stations[vtep].write(&name, table, whole_in, &gone)?;
                let mut floods = self.stations[vtep].floods.clone();
                floods.write(&name, flood.members, flood.whole);
                self.stations[vtep].flood(floods)?;
                let station = &self.stations[vtep];
                self.observer.reached(&name, station.table(&name), &removed, &station.name)?;
                self.answer(vtep, connection, Answer::Written(held));
            }
        }
        Ok(())
    }

    fn answer(&mut self, vtep: usize, connection: Connection, answer: Answer) {
        let delay = self.random.between(1, 30);
        let Connection { physical, .. } = connection;
        let from = self.now.max(self.nodes[physical].cut_off_until);
        let life = self.nodes[physical].life;
        let Some(tor) = self.tors.get_mut(&vtep) else { return };
        let at = tor.answers_at.entry(physical).or_default();
        *at = (*at).max(from + delay);
        let after = *at - self.now;
        self.after(after, What::Answer { vtep, connection, life, answer });
    }

    pub(super) fn answered(&mut self, vtep: usize, connection: Connection, answer: &Answer) {
        let Connection { physical, number } = connection;
        self.trace.note(self.now, || format!("pc-{physical} ← v{vtep}'s database: {answer:?}"));
        let Some(adapter) = self.adapter(vtep, physical).filter(|adapter| adapter.connection == number)
        else {
            return;
        };
        match answer {
            Answer::Locked => adapter.owns = true,
            Answer::Lost => return self.lock_lost(vtep, physical),
            Answer::Written(_) => adapter.writing = false,
            Answer::NotOwner => {
                adapter.writing = false;
                if adapter.owns {
                    return self.lock_lost(vtep, physical);
                }
            }
        }
        if let Answer::Written(held) = answer
            && adapter.told.contains_key(&held.logical_switch)
        {
            let applied = FromVtep::Applied(held.clone());
            self.transmit(LinkId::Vtep { vtep, physical }, End::Server, Message::FromVtep(applied));
        }
        self.adapter_acts(vtep, physical);
    }

    /// Whoever has it may write what is newer than what this one was told.
    fn lock_lost(&mut self, vtep: usize, physical: usize) {
        let Some(adapter) = self.adapter(vtep, physical) else { return };
        adapter.owns = false;
        adapter.outline = VtepOutline::default();
        adapter.told.clear();
        adapter.dirty.clear();
        let number = adapter.connection;
        self.session_ends(vtep, physical);
        let life = self.nodes[physical].life;
        let connection = Connection { physical, number };
        self.after(PAUSE_MS, What::AskForLock { vtep, connection, life });
    }

    pub(super) fn asks_again(&mut self, vtep: usize, Connection { physical, number }: Connection) {
        if self.adapter(vtep, physical).is_some_and(|adapter| adapter.connection == number) {
            self.ask_for_lock(vtep, physical);
        }
    }
}

impl Told {
    /// Whether a version was reached. `None`: it does not fit, which is said once.
    fn take(&mut self, update: TableUpdate) -> Option<bool> {
        if let Some(update) = continued(&mut self.staged, update) {
            let at = (self.table.term, self.table.version);
            if update.from.is_some_and(|from| (update.term, from) != at) {
                return std::mem::replace(&mut self.asked, true).then_some(false);
            }
            self.staged = Some(update);
        }
        let Some(update) = self.staged.take_if(|staged| staged.end) else { return Some(false) };
        if update.from.is_none() {
            self.asked = false;
            if update.complete {
                self.table.rows.clear();
                self.gone.clear();
                self.table.complete = true;
                self.whole_in = update.term;
            }
        }
        for (mac, change) in update.changes {
            match change {
                Change::Put(row) => {
                    self.gone.remove(&mac);
                    self.table.rows.insert(mac, row);
                }
                Change::Remove(_) => {
                    self.table.rows.remove(&mac);
                    self.gone.insert(mac);
                }
            }
        }
        (self.table.term, self.table.version) = (update.term, update.to);
        Some(true)
    }
}
