//! A logical controller, and physical controllers that say what a test tells them to say.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use vtep_api::{
    Away, Cause, Change, Claim, Claims, ControllerName, FromLogical, FromPhysical, Held, LocalMac,
    LogicalSwitchName, MacAddr, Origin, Outline, PROTOCOL, Report, Role, Row, Session, Stamp, TableUpdate,
    Term, Version, VtepName, VtepState, VtepStatus,
};
use vtep_controller::Now;
use vtep_controller::declared::Declared;
use vtep_controller::logical::{
    Action, Durable, Event, Logical, Notice, OperateError, Operation, Remembered, Start, WINDOW,
};

use super::words::{ls, mac, pc, vtep};

/// By whom, where, and what.
pub type Told<'a> = (&'a str, &'a str, &'a [(u32, Claim)]);

/// What one physical controller has been sent, with the laws of the protocol checked.
#[derive(Debug, Clone, Default)]
pub struct Received {
    pub term: Term,
    pub outline: Outline,
    pub tables: BTreeMap<LogicalSwitchName, Table>,
    pub pushes: BTreeMap<LogicalSwitchName, usize>,
    pub no_changes: Vec<(VtepName, LogicalSwitchName)>,
    pub resyncs: Vec<(VtepName, LogicalSwitchName)>,
    pub closed: Option<String>,
    untaken: u32,
    /// Taken as soon as sent, unless it is slow.
    pub slow: bool,
}

#[derive(Debug, Default, Clone, PartialEq)]
pub struct Table {
    pub version: Version,
    pub complete: bool,
    pub rows: BTreeMap<MacAddr, Row>,
    pub removals: Vec<(MacAddr, Cause)>,
    staged: Option<BTreeMap<MacAddr, Row>>,
    pending: Vec<(MacAddr, Change)>,
}

impl Table {
    fn apply(&mut self, update: TableUpdate) {
        assert!(update.changes.len() <= vtep_api::ROWS_MAX);
        match update.from {
            None => {
                let staged = self.staged.get_or_insert_default();
                for (mac, change) in update.changes {
                    let Change::Put(row) = change else { panic!("a snapshot removes {mac}") };
                    assert!(staged.insert(mac, row).is_none(), "{mac} twice in a snapshot");
                }
                if update.end {
                    let staged = self.staged.take().expect("it was staged");
                    if update.complete {
                        self.rows = staged;
                    } else {
                        self.rows.extend(staged);
                    }
                    self.complete = update.complete;
                    self.version = update.to;
                }
            }
            Some(from) => {
                assert_eq!(from, self.version, "a delta that does not fit");
                assert!(update.to > from);
                self.pending.extend(update.changes);
                if update.end {
                    let mut seen = BTreeSet::new();
                    for (mac, change) in self.pending.drain(..) {
                        assert!(seen.insert(mac), "{mac} twice in an update");
                        match change {
                            Change::Put(row) => {
                                self.rows.insert(mac, row);
                            }
                            Change::Remove(cause) => {
                                self.rows.remove(&mac);
                                self.removals.push((mac, cause));
                            }
                        }
                    }
                    self.version = update.to;
                }
            }
        }
    }

    pub fn masters(&self) -> BTreeMap<MacAddr, VtepName> {
        self.rows.iter().map(|(mac, row)| (*mac, row.placement.master.clone())).collect()
    }
}

#[derive(Clone)]
pub struct Arbiter {
    pub core: Logical,
    pub now: Now,
    pub peers: BTreeMap<ControllerName, Received>,
    pub notices: Vec<Notice>,
    pub durable: Durable,
    /// All that the logical controller asked for, for those who want to know.
    pub log: Option<Vec<Action>>,
    servers: BTreeMap<VtepName, ControllerName>,
    statuses: BTreeMap<VtepName, VtepStatus>,
    seq: u64,
    pub epoch: u64,
}

impl Arbiter {
    /// With every physical controller connected, every VTEP up, and nothing claimed.
    pub fn started(declared: Declared) -> Self {
        let mut arbiter = Self::new(declared, Term(1), Durable::default());
        arbiter.connect_all();
        arbiter.tell_all(&[]);
        arbiter
    }

    pub fn new(declared: Declared, term: Term, durable: Durable) -> Self {
        Self::new_at(1_700_000_000_000, declared, term, durable)
    }

    /// In another process, by the same clock.
    pub fn next_reign(&self, declared: Declared) -> Self {
        let term = Term(self.core.term().0 + 1);
        Self::new_at(self.now.wall_ms, declared, term, self.durable.clone())
    }

    fn new_at(wall_ms: i64, declared: Declared, term: Term, durable: Durable) -> Self {
        let now = Now { mono_ms: 1_000_000, wall_ms };
        let servers = declared
            .vteps
            .iter()
            .filter_map(|(name, vtep)| Some((name.clone(), vtep.physical_controller.clone()?)))
            .collect();
        let start = Start {
            name: pc("lc"),
            term,
            declared: Arc::new(declared),
            durable: durable.clone(),
            elected: false,
        };
        let core = Logical::new(start, now);
        let (peers, notices, statuses) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
        Self { core, now, peers, notices, durable, log: None, servers, statuses, seq: 0, epoch: 1 }
    }

    pub fn step(&mut self, event: Event) {
        let mut actions = Vec::new();
        self.core.step(event, self.now, &mut actions);
        self.carry_out(actions);
    }

    fn carry_out(&mut self, mut actions: Vec<Action>) {
        loop {
            let mut taken: BTreeMap<ControllerName, u32> = BTreeMap::new();
            for action in actions.drain(..) {
                if let Some(log) = &mut self.log {
                    log.push(action.clone());
                }
                match action {
                    Action::Send { peer, message } => {
                        let received = self.peers.get_mut(&peer).expect("only those connected are sent to");
                        received.take(message);
                        received.untaken += 1;
                        assert!(received.untaken <= WINDOW, "more than the window");
                        if !received.slow {
                            *taken.entry(peer).or_default() += 1;
                        }
                    }
                    Action::Close { peer, reason } => {
                        self.peers.get_mut(&peer).expect("only those connected are closed").closed =
                            Some(reason);
                    }
                    Action::Persist(durable) => {
                        let masters = std::mem::take(&mut self.durable.masters);
                        self.durable = Durable { masters, ..durable };
                    }
                    Action::Remember { logical_switch, masters } => self.remember(logical_switch, masters),
                    Action::Notice(notice) => self.notices.push(notice),
                }
            }
            if taken.is_empty() {
                return;
            }
            for (peer, messages) in taken {
                self.peers.get_mut(&peer).expect("it was sent to").untaken -= messages;
                self.core.step(Event::Taken { peer, messages }, self.now, &mut actions);
            }
        }
    }

    /// As the state store does.
    fn remember(&mut self, network: LogicalSwitchName, masters: Vec<(MacAddr, Option<Remembered>)>) {
        let remembered = self.durable.masters.entry(network).or_default();
        for (mac, master) in masters {
            match master {
                Some(master) => remembered.insert(mac, master),
                None => remembered.remove(&mac),
            };
        }
    }

    /// A slow receiver catches up.
    pub fn catch_up(&mut self, peer: &str) {
        let peer = pc(peer);
        let received = self.peers.get_mut(&peer).expect("it is connected");
        received.slow = false;
        let messages = std::mem::take(&mut received.untaken);
        self.step(Event::Taken { peer, messages });
    }

    pub fn operate(&mut self, operation: Operation) -> Result<(), OperateError> {
        let mut actions = Vec::new();
        let result = self.core.operate(operation, self.now, &mut actions);
        self.carry_out(actions);
        result
    }

    pub fn wait_ms(&mut self, ms: u64) {
        self.now.mono_ms += ms;
        self.now.wall_ms += i64::try_from(ms).unwrap();
        self.step(Event::Tick);
    }

    pub fn declare(&mut self, declared: Declared) {
        self.step(Event::Declared(Arc::new(declared)));
    }

    /// Another physical controller speaks for the VTEP from here on.
    pub fn serve(&mut self, name: &str, by: &str) {
        self.servers.insert(vtep(name), pc(by));
    }

    pub fn connect(&mut self, peer: &str) {
        self.connect_with(peer, Vec::new());
    }

    pub fn connect_with(&mut self, peer: &str, held: Vec<(Held, Table)>) {
        let peer = pc(peer);
        let (tables, rows): (Vec<Held>, Vec<Table>) = held.into_iter().unzip();
        let has = tables.iter().map(|held| held.logical_switch.clone()).zip(rows).collect();
        self.peers.insert(peer.clone(), Received { tables: has, ..Received::default() });
        self.step(Event::Connected { peer: peer.clone() });
        let hello =
            FromPhysical::Hello { protocol: PROTOCOL, name: peer.clone(), term: Term(self.epoch), tables };
        self.step(Event::Message { peer, message: hello });
    }

    pub fn disconnect(&mut self, peer: &str) {
        self.peers.remove(&pc(peer));
        self.step(Event::Disconnected { peer: pc(peer) });
    }

    pub fn connect_all(&mut self) {
        let all: BTreeSet<ControllerName> = self.servers.values().cloned().collect();
        for peer in all {
            self.connect(peer.as_str());
        }
        for name in self.servers.keys().cloned().collect::<Vec<_>>() {
            self.session(name.as_str(), Session::Up);
        }
    }

    pub fn say(&mut self, about: &str, message: FromPhysical) {
        let peer = self.servers[&vtep(about)].clone();
        if self.peers.contains_key(&peer) {
            self.step(Event::Message { peer, message });
        }
    }

    pub fn status(&mut self, name: &str, change: impl FnOnce(&mut VtepStatus)) {
        let status = self.statuses.entry(vtep(name)).or_default();
        change(status);
        let message = FromPhysical::Vtep { vtep: vtep(name), status: status.clone(), reign: None };
        self.say(name, message);
    }

    pub fn session(&mut self, name: &str, session: Session) {
        self.status(name, |status| status.session = session);
    }

    /// It has no session, and who serves it says since when, and whether it knows what was claimed.
    pub fn away(&mut self, name: &str, session: Session, ms: u64, unheard: bool) {
        self.status(name, |status| (status.session, status.away) = (session, Some(Away { ms, unheard })));
    }

    pub fn unreachable(&mut self, witness: &str, addresses: &[&str]) {
        let addresses: BTreeSet<IpAddr> = addresses.iter().map(|a| a.parse().unwrap()).collect();
        self.status(witness, |status| {
            status.state = VtepState { unreachable: addresses, ..status.state.clone() };
        });
    }

    pub fn reachable(&mut self, witness: &str, addresses: &[&str]) {
        let addresses: BTreeSet<IpAddr> = addresses.iter().map(|a| a.parse().unwrap()).collect();
        self.status(witness, |status| {
            status.state = VtepState { reachable: addresses, ..status.state.clone() };
        });
    }

    pub fn stamp(&mut self) -> Stamp {
        self.seq += 1;
        Stamp { epoch: self.epoch, seq: self.seq }
    }

    pub fn new_claim(&mut self, role: Role) -> Claim {
        let stamp = self.stamp();
        let origin = Some(Origin(u128::from(stamp.epoch) << 64 | u128::from(stamp.seq)));
        let local = LocalMac { role, origin, ..LocalMac::default() };
        Claim { local, stamp, received_at_ms: self.now.wall_ms, was_master: false }
    }

    pub fn claim(&mut self, by: &str, network: &str, number: u32, role: Role) -> Claim {
        let claim = self.new_claim(role);
        self.send_claim(by, network, number, claim.clone());
        claim
    }

    pub fn send_claim(&mut self, by: &str, network: &str, number: u32, claim: Claim) {
        self.send(by, network, vec![(mac(number), Report::Claim(claim))]);
    }

    pub fn withdraw(&mut self, by: &str, network: &str, number: u32) {
        let stamp = self.stamp();
        self.send(by, network, vec![(mac(number), Report::Withdraw { stamp, cause: Cause::Withdrawn })]);
    }

    pub fn send(&mut self, by: &str, network: &str, records: Vec<(MacAddr, Report)>) {
        let (vtep, logical_switch) = (vtep(by), ls(network));
        let claims = Claims { vtep, logical_switch, snapshot: false, records, end: true };
        self.say(by, FromPhysical::Claims(claims));
    }

    pub fn snapshot(&mut self, by: &str, network: &str, records: &[(u32, Claim)]) {
        let (vtep, logical_switch) = (vtep(by), ls(network));
        let records =
            records.iter().map(|(number, claim)| (mac(*number), Report::Claim(claim.clone()))).collect();
        let claims = Claims { vtep, logical_switch, snapshot: true, records, end: true };
        self.say(by, FromPhysical::Claims(claims));
    }

    /// Each member of each network tells all: what is given, or nothing.
    pub fn tell_all(&mut self, inventory: &[Told<'_>]) {
        let pairs: Vec<(VtepName, LogicalSwitchName)> = self
            .core
            .networks()
            .into_iter()
            .flat_map(|network| network.members.into_iter().map(move |member| (member, network.name.clone())))
            .collect();
        for (member, network) in pairs {
            let told = inventory.iter().find(|(by, at, _)| *by == member.as_str() && *at == network.as_str());
            self.snapshot(member.as_str(), network.as_str(), told.map_or(&[], |(.., records)| records));
        }
    }

    pub fn table(&self, network: &str) -> BTreeMap<MacAddr, (VtepName, Vec<VtepName>)> {
        let rows = self.core.table(&ls(network)).unwrap();
        rows.into_iter().map(|row| (row.mac, (row.master, row.slaves))).collect()
    }

    pub fn masters(&self, network: &str) -> BTreeMap<MacAddr, VtepName> {
        self.table(network).into_iter().map(|(mac, (master, _))| (mac, master)).collect()
    }

    #[track_caller]
    pub fn check(&self, network: &str, number: u32, master: &str, slaves: &[&str]) {
        let expected = (vtep(master), slaves.iter().map(|name| vtep(name)).collect());
        assert_eq!(self.table(network).get(&mac(number)), Some(&expected), "{}", self.why(network, number));
    }

    pub fn why(&self, network: &str, number: u32) -> String {
        self.core.explain(&ls(network), mac(number)).unwrap().reason
    }

    pub fn at(&self, peer: &str) -> &Received {
        &self.peers[&pc(peer)]
    }

    /// All receivers have the published table.
    #[track_caller]
    pub fn check_receivers(&self) {
        for (peer, received) in &self.peers {
            for network in received.outline.networks.keys() {
                let published = self.masters(network.as_str());
                let table = received.tables.get(network).cloned().unwrap_or_default();
                assert_eq!(table.masters(), published, "{peer} in {network}");
            }
        }
    }

    pub fn pushes(&self, peer: &str, network: &str) -> usize {
        self.at(peer).pushes.get(&ls(network)).copied().unwrap_or_default()
    }

    pub fn alarmed(&self, text: &str) -> usize {
        self.notices.iter().filter(|notice| notice.alarm && notice.message.contains(text)).count()
    }
}

impl Received {
    fn take(&mut self, message: FromLogical) {
        match message {
            FromLogical::Welcome { term, .. } => {
                assert!(term >= self.term);
                self.term = term;
            }
            FromLogical::Outline(outline) => {
                assert!(outline.version > self.outline.version);
                self.outline = outline;
            }
            FromLogical::Table(update) => {
                assert_eq!(update.term, self.term);
                let network = update.logical_switch.clone();
                assert!(self.outline.networks.contains_key(&network), "a table before its outline");
                *self.pushes.entry(network.clone()).or_default() += 1;
                self.tables.entry(network).or_default().apply(update);
            }
            FromLogical::NoChange { vtep, logical_switch } => self.no_changes.push((vtep, logical_switch)),
            FromLogical::Resync { vtep, logical_switch } => self.resyncs.push((vtep, logical_switch)),
            FromLogical::Synced { .. } | FromLogical::Heartbeat { .. } => {}
        }
    }
}
