use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use vtep_api::*;

use crate::Now;
use crate::declared::Batch;
use crate::logical::Notice;
use crate::physical::{Action, Event, Physical, SessionId, Start, WINDOW};

/// A logical controller, and its logical switches with the VTEPs of each.
pub(super) type Outlined<'a> = (&'a str, &'a [(&'a str, &'a [&'a str])]);

/// A physical controller and what it has said.
pub(super) struct World {
    pub(super) physical: Physical,
    pub(super) now: Now,
    /// Whatever is sent is taken at once.
    pub(super) prompt: bool,
    pub(super) to_peers: Vec<(ControllerName, FromPhysical)>,
    pub(super) to_vteps: Vec<(VtepName, ToVtep)>,
    pub(super) closed_vteps: Vec<(VtepName, SessionId, String)>,
    pub(super) closed_peers: Vec<(ControllerName, String)>,
    pub(super) notices: Vec<Notice>,
    pub(super) served: Option<BTreeMap<VtepName, Served>>,
    untaken_vteps: BTreeMap<(VtepName, SessionId), u32>,
    untaken_peers: BTreeMap<ControllerName, u32>,
    sessions: BTreeMap<VtepName, SessionId>,
    next_session: u64,
}

pub(super) fn vtep(name: &str) -> VtepName {
    name.try_into().unwrap()
}

pub(super) fn ls(name: &str) -> LogicalSwitchName {
    name.try_into().unwrap()
}

pub(super) fn lc(name: &str) -> ControllerName {
    name.try_into().unwrap()
}

pub(super) fn mac(number: u32) -> MacAddr {
    let [a, b, c, d] = number.to_be_bytes();
    MacAddr::new([2, 0, a, b, c, d])
}

pub(super) fn master(origin: u128) -> LocalMac {
    LocalMac { origin: Some(Origin(origin)), ..LocalMac::default() }
}

pub(super) fn slave(origin: u128) -> LocalMac {
    LocalMac { role: Role::Slave, ..master(origin) }
}

pub(super) fn row(master: &str, slaves: &[&str]) -> Row {
    let placement =
        Placement { master: vtep(master), slaves: slaves.iter().map(|name| vtep(name)).collect() };
    Row { placement: Arc::new(placement), ips: Ips::default() }
}

pub(super) fn put(number: u32, master: &str) -> (MacAddr, Change) {
    (mac(number), Change::Put(row(master, &[])))
}

pub(super) fn snapshot(name: &str, term: u64, to: u64, changes: Vec<(MacAddr, Change)>) -> TableUpdate {
    let (logical_switch, term, to) = (ls(name), Term(term), Version(to));
    TableUpdate { logical_switch, term, from: None, to, complete: true, changes, end: true }
}

pub(super) fn delta(name: &str, term: u64, to: u64, changes: Vec<(MacAddr, Change)>) -> TableUpdate {
    TableUpdate { from: Some(Version(to - 1)), ..snapshot(name, term, to, changes) }
}

/// Networks by name with their members, who are served with all others in `all`. The VNI is that of the first letter.
pub(super) fn outline(term: u64, version: u64, networks: &[(&str, &[&str])], all: &[&str]) -> Outline {
    let network = |(name, members): &(&str, &[&str])| {
        let vni = Vni::try_from(u32::from(name.as_bytes()[0])).unwrap();
        let flood: BTreeSet<_> = members.iter().map(|name| vtep(name)).collect();
        let network = Network {
            vni,
            unknown_unicast: UnknownUnicast::Flood,
            replication: Replication::SourceNode,
            flood: flood.clone(),
            unheard: BTreeSet::new(),
        };
        (ls(name), NetworkOutline { network, members: flood })
    };
    let address = |(at, name): (usize, &&str)| {
        (vtep(name), std::net::Ipv4Addr::new(192, 0, 2, u8::try_from(at + 1).unwrap()).into())
    };
    Outline {
        term: Term(term),
        version: Version(version),
        controllers: BTreeSet::new(),
        networks: networks.iter().map(network).collect(),
        directory: all.iter().enumerate().map(address).collect(),
        served: all
            .iter()
            .map(|name| (vtep(name), Served { ovsdb: None, bindings: BTreeSet::new() }))
            .collect(),
        bfd: vtep_api::BfdWord::default(),
        unplaced: BTreeSet::new(),
    }
}

impl World {
    pub(super) fn new() -> Self {
        Self::batched(Batch::default())
    }

    pub(super) fn batched(batch: Batch) -> Self {
        Self::started(Start { name: lc("pc-c"), term: Term(7), batch, elected: false })
    }

    /// No VTEP is ours.
    pub(super) fn elected() -> Self {
        Self::started(Start { name: lc("pc-c"), term: Term(7), batch: Batch::default(), elected: true })
    }

    fn started(start: Start) -> Self {
        let now = Now { mono_ms: 1000, wall_ms: 1_700_000_000_000 };
        Self {
            physical: Physical::new(start, now),
            now,
            prompt: true,
            to_peers: Vec::new(),
            to_vteps: Vec::new(),
            closed_vteps: Vec::new(),
            closed_peers: Vec::new(),
            notices: Vec::new(),
            served: None,
            untaken_vteps: BTreeMap::new(),
            untaken_peers: BTreeMap::new(),
            sessions: BTreeMap::new(),
            next_session: 1,
        }
    }

    /// With logical controllers of term 1, whose outlines are told, and the VTEPs connected with empty inventories.
    /// What that came to is forgotten.
    pub(super) fn ready(networks: &[Outlined<'_>], all: &[&str]) -> Self {
        Self::new().made_ready(networks, all)
    }

    pub(super) fn made_ready(mut self, networks: &[Outlined<'_>], all: &[&str]) -> Self {
        for (name, networks) in networks {
            self.welcome(name, 1);
            self.message(name, FromLogical::Outline(outline(1, 1, networks, all)));
        }
        for name in all {
            self.hello(name, vec![]);
            self.say(name, FromVtep::State(VtepState::default()));
            self.inventory(name, &[]);
        }
        self.forget();
        self
    }

    pub(super) fn forget(&mut self) {
        self.to_peers.clear();
        self.to_vteps.clear();
        self.closed_vteps.clear();
        self.notices.clear();
    }

    pub(super) fn step(&mut self, event: Event) {
        let mut actions = Vec::new();
        self.physical.step(event, self.now, &mut actions);
        let (mut takers, mut peers) = (BTreeMap::new(), BTreeMap::new());
        for action in actions {
            match action {
                Action::ToVtep { vtep, session, message } => {
                    *takers.entry((vtep.clone(), session)).or_insert(0) += 1;
                    self.to_vteps.push((vtep, message));
                }
                Action::Send { peer, message } => {
                    *peers.entry(peer.clone()).or_insert(0) += 1;
                    self.to_peers.push((peer, message));
                }
                Action::CloseVtep { vtep, session, reason } => {
                    self.closed_vteps.push((vtep, session, reason));
                }
                Action::Close { peer, reason } => self.closed_peers.push((peer, reason)),
                Action::Serve(served) => self.served = Some(served),
                Action::Notice(notice) => self.notices.push(notice),
            }
        }
        for (to, messages) in takers {
            let untaken = self.untaken_vteps.entry(to.clone()).or_default();
            *untaken += messages;
            assert!(*untaken <= WINDOW, "{untaken} messages to {to:?} are not taken");
            if self.prompt {
                self.take_vtep(&to.0, messages);
            }
        }
        for (to, messages) in peers {
            let untaken = self.untaken_peers.entry(to.clone()).or_default();
            *untaken += messages;
            assert!(*untaken <= WINDOW, "{untaken} messages to {to} are not taken");
            if self.prompt {
                self.take_peer(&to, messages);
            }
        }
    }

    pub(super) fn take_vtep(&mut self, vtep: &VtepName, messages: u32) {
        let Some(&session) = self.sessions.get(vtep) else { return };
        let untaken = self.untaken_vteps.entry((vtep.clone(), session)).or_default();
        let messages = messages.min(*untaken);
        *untaken -= messages;
        if messages > 0 {
            self.step(Event::VtepTaken { vtep: vtep.clone(), session, messages });
        }
    }

    pub(super) fn take_peer(&mut self, peer: &ControllerName, messages: u32) {
        let untaken = self.untaken_peers.entry(peer.clone()).or_default();
        let messages = messages.min(*untaken);
        *untaken -= messages;
        if messages > 0 {
            self.step(Event::Taken { peer: peer.clone(), messages });
        }
    }

    /// Everybody takes everything until nothing more comes.
    pub(super) fn take_all(&mut self) {
        self.prompt = true;
        let vteps: Vec<_> = self.sessions.keys().cloned().collect();
        let peers: Vec<_> = self.untaken_peers.keys().cloned().collect();
        for vtep in vteps {
            self.take_vtep(&vtep, u32::MAX);
        }
        for peer in peers {
            self.take_peer(&peer, u32::MAX);
        }
    }

    pub(super) fn pass(&mut self, ms: u64) {
        self.now.mono_ms += ms;
        self.now.wall_ms += i64::try_from(ms).unwrap();
        self.step(Event::Tick);
    }

    pub(super) fn hello(&mut self, name: &str, tables: Vec<Held>) -> SessionId {
        let session = SessionId(self.next_session);
        self.next_session += 1;
        let message = FromVtep::Hello { protocol: PROTOCOL, name: vtep(name), term: Term(0), tables };
        self.sessions.insert(vtep(name), session);
        self.step(Event::Vtep { vtep: vtep(name), session, message });
        session
    }

    pub(super) fn say(&mut self, name: &str, message: FromVtep) {
        let session = self.sessions[&vtep(name)];
        self.step(Event::Vtep { vtep: vtep(name), session, message });
    }

    pub(super) fn down(&mut self, name: &str) {
        let session = self.sessions[&vtep(name)];
        self.step(Event::VtepDown { vtep: vtep(name), session });
    }

    /// All that is behind it.
    pub(super) fn inventory(&mut self, name: &str, records: &[(&str, u32, LocalMac)]) {
        self.say(name, FromVtep::Inventory(inventory(true, records.iter().cloned().map(present))));
    }

    pub(super) fn change(&mut self, name: &str, network: &str, number: u32, local: Option<LocalMac>) {
        let record = (network.to_owned(), number, local);
        self.say(name, FromVtep::Inventory(inventory(false, std::iter::once(record))));
    }

    pub(super) fn welcome(&mut self, name: &str, term: u64) {
        self.untaken_peers.remove(&lc(name));
        self.step(Event::Connected { peer: lc(name) });
        self.message(name, FromLogical::Welcome { protocol: PROTOCOL, name: lc(name), term: Term(term) });
    }

    pub(super) fn message(&mut self, name: &str, message: FromLogical) {
        self.step(Event::Message { peer: lc(name), message });
    }

    pub(super) fn table(&mut self, name: &str, update: TableUpdate) {
        self.message(name, FromLogical::Table(update));
    }

    pub(super) fn claims_to(&self, name: &str) -> Vec<&Claims> {
        let claims = |(peer, message): &'_ (ControllerName, FromPhysical)| {
            *peer == lc(name) && matches!(message, FromPhysical::Claims(_))
        };
        let sent = self.to_peers.iter().filter(|sent| claims(sent));
        sent.filter_map(
            |(_, message)| if let FromPhysical::Claims(claims) = message { Some(claims) } else { None },
        )
        .collect()
    }

    pub(super) fn statuses_to(&self, name: &str, of: &str) -> Vec<&VtepStatus> {
        let status = |(peer, message): &'_ (ControllerName, FromPhysical)| match message {
            FromPhysical::Vtep { vtep: about, .. } => *peer == lc(name) && *about == vtep(of),
            _ => false,
        };
        let sent = self.to_peers.iter().filter(|sent| status(sent));
        sent.filter_map(
            |(_, message)| if let FromPhysical::Vtep { status, .. } = message { Some(status) } else { None },
        )
        .collect()
    }

    pub(super) fn tables_to(&self, name: &str) -> Vec<&TableUpdate> {
        let to = self.to_vteps.iter().filter(|(to, _)| *to == vtep(name));
        to.filter_map(|(_, message)| if let ToVtep::Table(update) = message { Some(update) } else { None })
            .collect()
    }

    pub(super) fn messages_to(&self, name: &str) -> Vec<&ToVtep> {
        self.to_vteps.iter().filter(|(to, _)| *to == vtep(name)).map(|(_, message)| message).collect()
    }

    pub(super) fn outline_to(&self, name: &str) -> Option<&VtepOutline> {
        self.messages_to(name).into_iter().rev().find_map(|message| match message {
            ToVtep::Outline(outline) => Some(outline),
            _ => None,
        })
    }

    pub(super) fn rows(&self, name: &str) -> BTreeMap<MacAddr, Row> {
        self.physical.table(&ls(name)).map(|table| table.rows.into_iter().collect()).unwrap_or_default()
    }

    pub(super) fn alarm(&self, text: &str) -> bool {
        self.notices.iter().any(|notice| {
            notice.alarm
                && (notice.message.contains(text) || notice.fields.values().any(|value| value.contains(text)))
        })
    }
}

fn present((network, number, local): (&str, u32, LocalMac)) -> (String, u32, Option<LocalMac>) {
    (network.to_owned(), number, Some(local))
}

pub(super) fn inventory(
    whole: bool,
    records: impl Iterator<Item = (String, u32, Option<LocalMac>)>,
) -> Inventory {
    let networks =
        records.map(|(network, number, local)| (ls(&network), vec![(mac(number), local)])).collect();
    Inventory { snapshot: whole, networks, end: true }
}
