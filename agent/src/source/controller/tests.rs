use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use vtep_api::{
    Binding, Change, Encapsulation, FromVtep, Held, LocalMac, Locator, LogicalSwitchName, MacAddr, Network,
    PROTOCOL, Placement, Replication, Role, Row, TableUpdate, Term, ToVtep, UnknownUnicast, Version, VlanId,
    Vni, VtepName, VtepOutline,
};

use super::conversation::LinkId;
use super::follower::{Device, Follower, Input, Output};
use crate::source::{LocalMacs, Report, SourceEvent};
use crate::table::{MacEntry, Table};

fn blue() -> LogicalSwitchName {
    "blue".try_into().unwrap()
}

fn vtep(name: &str) -> VtepName {
    name.try_into().unwrap()
}

fn mac(last: u8) -> MacAddr {
    MacAddr::new([2, 0, 0, 0, 0, last])
}

fn outline(vteps: &[(&str, u8)]) -> VtepOutline {
    let network = Network {
        vni: Vni::try_from(5001_u32).unwrap(),
        unknown_unicast: UnknownUnicast::Flood,
        replication: Replication::SourceNode,
        flood: BTreeSet::from([vtep("host-1"), vtep("a")]),
        unheard: BTreeSet::new(),
    };
    let address = |last: &u8| std::net::Ipv4Addr::new(192, 0, 2, *last).into();
    let binding = |port: &str| Binding {
        port: port.try_into().unwrap(),
        vlan: VlanId::UNTAGGED,
        logical_switch: blue(),
    };
    VtepOutline {
        complete: true,
        vteps: vteps.iter().map(|(name, last)| (vtep(name), address(last))).collect(),
        networks: BTreeMap::from([(blue(), network)]),
        bindings: BTreeSet::from([binding("tap0"), binding("Ethernet1/1")]),
    }
}

const DIRECTORY: &[(&str, u8)] = &[("host-1", 1), ("a", 11), ("b", 12)];

fn put(last: u8, master: &str, slaves: &[&str]) -> (MacAddr, Change) {
    let slaves = slaves.iter().map(|name| vtep(name)).collect();
    let placement = Arc::new(Placement { master: vtep(master), slaves });
    (mac(last), Change::Put(Row { placement, ips: Box::default() }))
}

fn update(from: Option<u64>, to: u64, changes: Vec<(MacAddr, Change)>) -> TableUpdate {
    TableUpdate {
        logical_switch: blue(),
        term: Term(1),
        from: from.map(Version),
        to: Version(to),
        complete: true,
        changes,
        end: true,
    }
}

fn report(macs: &[u8], role: Role) -> Arc<Report> {
    let local = |last: &u8| (mac(*last), LocalMac { role, ..LocalMac::default() });
    let macs = macs.iter().map(local).collect();
    Arc::new(Report { local_macs: Arc::new(LocalMacs::from([(blue(), macs)])), ..Report::default() })
}

const LINK: LinkId = LinkId(0);

/// An agent that has what its source said.
struct Agent {
    follower: Follower,
    table: Option<Table>,
    events: u64,
    obeyed: Vec<Term>,
    lost: Option<String>,
    refused: usize,
}

impl Agent {
    fn new(obeyed: u64) -> Self {
        let ports = BTreeSet::from(["tap0".try_into().unwrap()]);
        let device = Device { name: vtep("host-1"), address: [192, 0, 2, 1].into(), ports };
        Self {
            follower: Follower::new(device, Term(obeyed), BTreeMap::new()),
            table: None,
            events: 0,
            obeyed: Vec::new(),
            lost: None,
            refused: 0,
        }
    }

    /// With a session, an outline and a table of two MACs.
    fn settled() -> Self {
        let mut agent = Self::new(0);
        agent.attach(7);
        agent.hear(ToVtep::Outline(outline(DIRECTORY)));
        agent.hear(ToVtep::Table(update(None, 4, vec![put(1, "a", &["b"]), put(2, "b", &[])])));
        agent
    }

    fn input(&mut self, input: Input) -> (Vec<FromVtep>, Option<String>) {
        let mut output = Output::default();
        self.follower.step(input, Instant::now(), &mut output);
        for event in output.events {
            self.events += 1;
            match event {
                SourceEvent::Snapshot { table, refusals } => {
                    self.table = Some((*table).clone());
                    self.refused = refusals.count();
                }
                SourceEvent::Delta { delta, refusals } => {
                    self.table.as_mut().unwrap().apply(delta);
                    self.refused = refusals.count();
                }
                SourceEvent::Obeys { term, .. } => self.obeyed.push(term),
                SourceEvent::Lost { reason } => self.lost = Some(reason),
            }
        }
        let end = output.ends.into_iter().next().map(|(_, reason)| reason);
        (self.follower.say(LINK), end)
    }

    fn hear(&mut self, message: ToVtep) -> Vec<FromVtep> {
        let (messages, end) = self.input(Input::Message(LINK, message));
        assert_eq!(end, None);
        messages
    }

    fn welcome(&mut self, protocol: u32, term: u64) -> (Vec<FromVtep>, Option<String>) {
        let name = "pc-1".try_into().unwrap();
        self.input(Input::Message(LINK, ToVtep::Welcome { protocol, name, term: Term(term), elected: false }))
    }

    fn attach(&mut self, term: u64) -> Vec<FromVtep> {
        let (hello, _) = self.input(Input::Connected(LINK));
        assert!(matches!(hello[..], [FromVtep::Hello { .. }]));
        let (messages, end) = self.welcome(PROTOCOL, term);
        assert_eq!(end, None);
        hello.into_iter().chain(messages).collect()
    }

    fn lose(&mut self) {
        self.input(Input::Disconnected { link: LINK, reason: "gone".to_owned() });
    }

    fn masters(&self) -> Vec<(u8, String)> {
        let switch = &self.table.as_ref().unwrap().logical_switches[&blue()];
        let mut masters: Vec<_> = switch
            .macs
            .iter()
            .map(|(mac, MacEntry { master, slave, .. })| {
                let slave = slave.as_ref().map(|slave| format!("/{slave}")).unwrap_or_default();
                (mac.octets()[5], format!("{master}{slave}"))
            })
            .collect();
        masters.sort();
        masters
    }

    #[track_caller]
    fn check(&self, expected: &[(u8, &str)]) {
        let expected: Vec<_> = expected.iter().map(|(last, text)| (*last, (*text).to_owned())).collect();
        assert_eq!(self.masters(), expected);
    }
}

#[test]
fn an_outline_alone_binds_ports_and_removes_nothing() {
    let mut agent = Agent::new(0);
    agent.attach(7);
    agent.hear(ToVtep::Outline(VtepOutline { complete: false, ..outline(DIRECTORY) }));
    let table = agent.table.clone().unwrap();
    assert!(table.partial && table.logical_switches[&blue()].partial);
    assert_eq!(table.bindings.len(), 1);
    assert_eq!(table.vteps.keys().map(VtepName::as_str).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(table.logical_switches[&blue()].flood, BTreeSet::from([vtep("a")]));
    assert_eq!(agent.refused, 1, "Ethernet1/1 is no interface");
    agent.hear(ToVtep::Outline(outline(DIRECTORY)));
    agent.hear(ToVtep::Table(TableUpdate { complete: false, ..update(None, 1, vec![put(1, "a", &[])]) }));
    let table = agent.table.as_ref().unwrap();
    assert!(!table.partial && table.logical_switches[&blue()].partial);
    agent.hear(ToVtep::Table(update(None, 2, vec![put(1, "a", &[])])));
    assert!(!agent.table.as_ref().unwrap().logical_switches[&blue()].partial);
    agent.check(&[(1, "a")]);
}

#[test]
fn a_row_leads_to_the_master_unless_that_is_us() {
    let mut agent = Agent::settled();
    agent.check(&[(1, "a/b"), (2, "b")]);
    let changes = vec![put(1, "host-1", &["a"]), put(2, "b", &["host-1", "a"]), put(3, "a", &["host-1"])];
    agent.hear(ToVtep::Table(update(Some(4), 5, changes)));
    agent.check(&[(2, "b/a"), (3, "a")]);
}

#[test]
fn a_row_waits_for_its_vtep_in_the_directory() {
    let mut agent = Agent::settled();
    agent.hear(ToVtep::Table(update(Some(4), 5, vec![put(3, "c", &[])])));
    agent.check(&[(1, "a/b"), (2, "b")]);
    assert_eq!(agent.refused, 2);
    agent.hear(ToVtep::Outline(outline(&[("host-1", 1), ("a", 11), ("c", 13)])));
    agent.check(&[(1, "a"), (3, "c")]);
    assert_eq!(agent.refused, 2, "now b's MAC waits");
    agent.hear(ToVtep::Outline(outline(&[("host-1", 1), ("a", 11), ("b", 12), ("c", 13)])));
    agent.check(&[(1, "a/b"), (2, "b"), (3, "c")]);
    assert_eq!(agent.refused, 1);
}

#[test]
fn a_flood_list_that_may_lack_some_takes_away_neither_members_nor_the_macs_behind_them() {
    let mut agent = Agent::settled();
    let mut few = outline(&[("host-1", 1), ("b", 12)]);
    let network = few.networks.get_mut(&blue()).unwrap();
    network.flood = BTreeSet::from([vtep("b"), vtep("host-1")]);
    network.unheard = BTreeSet::from([vtep("a")]);
    agent.hear(ToVtep::Outline(few.clone()));
    let flood = |agent: &Agent| agent.table.as_ref().unwrap().logical_switches[&blue()].flood.clone();
    assert_eq!(flood(&agent), BTreeSet::from([vtep("a"), vtep("b")]));
    agent.check(&[(1, "a/b"), (2, "b")]);
    few.networks.get_mut(&blue()).unwrap().unheard.clear();
    agent.hear(ToVtep::Outline(few));
    assert_eq!(flood(&agent), BTreeSet::from([vtep("b")]));
    agent.check(&[(2, "b")]);
    assert!(!agent.table.as_ref().unwrap().logical_switches[&blue()].partial);
}

#[test]
fn a_lower_term_and_another_protocol_are_refused_with_both_numbers() {
    let mut agent = Agent::new(9);
    agent.input(Input::Connected(LINK));
    let (_, end) = agent.welcome(PROTOCOL, 8);
    assert_eq!(end.unwrap(), "controller pc-1 has term 8; expected at least 9, which was obeyed");
    agent.lose();
    agent.input(Input::Connected(LINK));
    let (_, end) = agent.welcome(2, 9);
    assert_eq!(end.unwrap(), "controller pc-1 speaks protocol 2; expected 1");
    assert_eq!(agent.follower.status().refused, 1, "the one of a term that is over");
    assert_eq!(agent.obeyed, []);
    agent.lose();
    agent.attach(10);
    assert_eq!(agent.obeyed, [Term(10)]);
}

#[test]
fn the_directory_says_how_a_vtep_is_reached() {
    let mut agent = Agent::settled();
    let mut told = outline(DIRECTORY);
    told.vteps.get_mut(&vtep("b")).unwrap().encapsulation = Encapsulation::Geneve;
    let twin = Locator { encapsulation: Encapsulation::Nvgre, ..told.vteps[&vtep("a")] };
    told.vteps.insert(vtep("twin"), twin);
    agent.hear(ToVtep::Outline(told));
    let vteps = &agent.table.as_ref().unwrap().vteps;
    assert_eq!(vteps[&vtep("a")].encapsulation, Encapsulation::Vxlan);
    assert_eq!(vteps[&vtep("b")].encapsulation, Encapsulation::Geneve);
    assert!(!vteps.contains_key(&vtep("twin")), "an address has one encapsulation");
}

#[test]
fn a_table_of_a_lower_term_is_set_aside_and_said() {
    let mut agent = Agent::settled();
    agent.hear(ToVtep::Table(TableUpdate { term: Term(3), ..update(None, 1, vec![put(1, "b", &[])]) }));
    agent.hear(ToVtep::Table(update(None, 9, vec![put(1, "a", &[])])));
    agent.check(&[(1, "b")]);
    assert_eq!(agent.refused, 2);
    assert_eq!(agent.follower.status().refused, 1);
}

#[test]
fn without_a_controller_the_table_stays_and_the_next_session_goes_on_from_it() {
    let mut agent = Agent::settled();
    agent.lose();
    assert_eq!(agent.lost.as_deref(), Some("gone"));
    agent.check(&[(1, "a/b"), (2, "b")]);
    let held = Held { logical_switch: blue(), term: Term(1), version: Version(4) };
    let messages = agent.attach(7);
    assert!(matches!(&messages[0], FromVtep::Hello { term: Term(7), tables, .. } if *tables == [held]));
    let events = agent.events;
    agent.hear(ToVtep::Outline(outline(DIRECTORY)));
    assert_eq!(agent.events, events, "nothing is new");
    agent.hear(ToVtep::Table(update(Some(4), 5, vec![put(2, "a", &[])])));
    agent.check(&[(1, "a/b"), (2, "a")]);
}

#[test]
fn a_table_that_may_lack_macs_is_not_said_to_be_held() {
    let mut agent = Agent::new(0);
    agent.attach(7);
    agent.hear(ToVtep::Outline(outline(DIRECTORY)));
    agent.hear(ToVtep::Table(TableUpdate { complete: false, ..update(None, 3, vec![]) }));
    agent.lose();
    assert!(matches!(&agent.attach(7)[0], FromVtep::Hello { tables, .. } if tables.is_empty()));
}

#[test]
fn a_version_is_acknowledged_when_the_kernel_has_it() {
    let mut agent = Agent::settled();
    let held = |version| {
        FromVtep::Applied(Held { logical_switch: blue(), term: Term(1), version: Version(version) })
    };
    let snapshot = agent.events;
    assert_eq!(agent.hear(ToVtep::Table(update(Some(4), 5, vec![put(2, "a", &[])]))), []);
    agent.hear(ToVtep::Table(update(Some(5), 6, vec![put(2, "b", &[])])));
    assert_eq!(agent.input(Input::Installed(snapshot)).0, [held(4)]);
    assert_eq!(agent.input(Input::Installed(agent.events)).0, [held(6)]);
    assert_eq!(agent.hear(ToVtep::Table(update(Some(6), 7, vec![]))), [held(7)]);
    agent.lose();
    assert!(agent.attach(7).contains(&held(7)));
}

#[test]
fn the_inventory_is_told_whole_to_each_session_and_then_by_its_changes() {
    let mut agent = Agent::settled();
    let inventories = |messages: Vec<FromVtep>| {
        let inventory = |message| match message {
            FromVtep::Inventory(inventory) => Some((
                inventory.snapshot,
                inventory.networks.into_iter().flat_map(|(_, records)| records).collect::<Vec<_>>(),
            )),
            _ => None,
        };
        messages.into_iter().filter_map(inventory).collect::<Vec<_>>()
    };
    let record = |last, role| (mac(last), Some(LocalMac { role, ..LocalMac::default() }));
    let first = inventories(agent.input(Input::Report(report(&[0xa, 0xb], Role::Master))).0);
    assert_eq!(first, [(true, vec![record(0xa, Role::Master), record(0xb, Role::Master)])]);
    let second = inventories(agent.input(Input::Report(report(&[0xa], Role::Slave))).0);
    assert_eq!(second, [(false, vec![record(0xa, Role::Slave), (mac(0xb), None)])]);
    assert_eq!(inventories(agent.input(Input::Report(report(&[0xa], Role::Slave))).0), []);
    agent.lose();
    assert_eq!(inventories(agent.attach(7)), [(true, vec![record(0xa, Role::Slave)])]);
}

#[test]
fn what_bfd_finds_is_told_as_it_changes() {
    let mut agent = Agent::settled();
    let told = |messages: Vec<FromVtep>| {
        let state = |message| match message {
            FromVtep::State(state) => Some((state.reachable, state.unreachable)),
            _ => None,
        };
        messages.into_iter().filter_map(state).collect::<Vec<_>>()
    };
    let peer = BTreeSet::from([std::net::IpAddr::from([192, 0, 2, 11])]);
    let alive = Report { reachable: peer.clone(), ..Report::default() };
    let dead = Report { unreachable: peer.clone(), ..Report::default() };
    let none = BTreeSet::new();
    assert_eq!(told(agent.input(Input::Report(Arc::new(alive))).0), [(peer.clone(), none.clone())]);
    assert_eq!(told(agent.input(Input::Report(Arc::new(dead.clone()))).0), [(none, peer)]);
    assert_eq!(told(agent.input(Input::Report(Arc::new(dead))).0), []);
}

#[test]
fn a_session_that_begins_with_anything_but_a_welcome_ends() {
    let mut agent = Agent::new(0);
    agent.input(Input::Connected(LINK));
    let (_, end) = agent.input(Input::Message(LINK, ToVtep::Outline(outline(DIRECTORY))));
    assert!(end.is_some() && agent.table.is_none());
}

const OTHER: LinkId = LinkId(1);

impl Agent {
    /// From another controller: what goes to it, and which sessions end.
    fn other(&mut self, input: Input) -> (Vec<FromVtep>, Vec<LinkId>) {
        let mut output = Output::default();
        self.follower.step(input, Instant::now(), &mut output);
        for event in output.events {
            match event {
                SourceEvent::Delta { delta, .. } => self.table.as_mut().unwrap().apply(delta),
                SourceEvent::Obeys { term, .. } => self.obeyed.push(term),
                SourceEvent::Lost { reason } => self.lost = Some(reason),
                SourceEvent::Snapshot { .. } => panic!("a second whole word"),
            }
            self.events += 1;
        }
        (self.follower.say(OTHER), output.ends.into_iter().map(|(link, _)| link).collect())
    }

    fn standby(server: Option<(&str, u64)>) -> ToVtep {
        let server = server.map(|(name, term)| (name.try_into().unwrap(), Term(term)));
        ToVtep::Standby { protocol: PROTOCOL, name: "pc-2".try_into().unwrap(), server }
    }

    /// Settled, served by pc-1 by an election, with pc-2 standing by.
    fn with_standby() -> Self {
        let mut agent = Self::settled();
        agent.input(Input::Installed(agent.events));
        agent.input(Input::Report(report(&[0xa], Role::Master)));
        agent.other(Input::Connected(OTHER));
        agent.other(Input::Message(OTHER, Self::standby(Some(("pc-1", 7)))));
        agent
    }

    fn pc_2(term: u64) -> ToVtep {
        let name = "pc-2".try_into().unwrap();
        ToVtep::Welcome { protocol: PROTOCOL, name, term: Term(term), elected: true }
    }
}

#[test]
fn a_second_controller_is_sought_only_where_one_can_succeed_the_first() {
    let mut agent = Agent::settled();
    assert_eq!(agent.follower.links_wanted(), 1);
    agent.other(Input::Connected(OTHER));
    assert_eq!(agent.follower.links_wanted(), 1);
    agent.other(Input::Message(OTHER, Agent::standby(None)));
    assert_eq!(agent.follower.links_wanted(), 2);
    agent.lose();
    let mut agent = Agent::new(0);
    agent.input(Input::Connected(LINK));
    agent.input(Input::Message(LINK, Agent::pc_2(7)));
    assert_eq!(agent.follower.links_wanted(), 2);
}

#[test]
fn who_stands_by_is_told_what_the_other_one_is_told_and_takes_over_by_a_delta() {
    let mut agent = Agent::settled();
    agent.input(Input::Installed(agent.events));
    agent.input(Input::Report(report(&[0xa], Role::Master)));
    let (hello, _) = agent.other(Input::Connected(OTHER));
    assert!(matches!(&hello[..], [FromVtep::Hello { tables, .. }] if tables.len() == 1));
    let (told, ends) = agent.other(Input::Message(OTHER, Agent::standby(Some(("pc-1", 7)))));
    let held = |version| Held { logical_switch: blue(), term: Term(1), version: Version(version) };
    assert!(told.contains(&FromVtep::Applied(held(4))) && ends.is_empty());
    assert!(told.iter().any(|message| matches!(message, FromVtep::Inventory(all) if all.snapshot)));
    assert_eq!(agent.lost, None);

    // Both are told of what changes, and of what the kernel has.
    agent.hear(ToVtep::Table(update(Some(4), 5, vec![put(2, "a", &[])])));
    let (told, _) = agent.other(Input::Report(report(&[0xa, 0xb], Role::Master)));
    assert!(matches!(&told[..], [FromVtep::Inventory(changes)] if !changes.snapshot));
    let (told, _) = agent.other(Input::Installed(agent.events));
    assert_eq!(told, [FromVtep::Applied(held(5))]);

    // What came last, pc-2 was not told in time.
    agent.hear(ToVtep::Table(update(Some(5), 6, vec![put(1, "b", &[])])));
    let events = agent.events;
    let (told, ends) = agent.other(Input::Message(OTHER, Agent::pc_2(9)));
    assert!(ends.is_empty() && !told.iter().any(|message| matches!(message, FromVtep::Inventory(_))));
    assert!(told.contains(&FromVtep::Obeys { term: Term(9) }), "{told:?}");
    assert_eq!((agent.obeyed.as_slice(), agent.lost.as_deref()), (&[Term(7), Term(9)][..], None));
    // The first one goes on, not knowing better, and is not heard.
    agent.hear(ToVtep::Table(update(Some(6), 7, vec![put(1, "a", &[])])));
    assert_eq!(agent.follower.status().refused, 1);
    agent.other(Input::Message(OTHER, ToVtep::Outline(outline(DIRECTORY))));
    assert_eq!(agent.events, events + 1, "who is obeyed, and nothing else");
    let delta = update(Some(5), 8, vec![put(1, "b", &[]), put(3, "a", &[])]);
    assert_eq!(agent.other(Input::Message(OTHER, ToVtep::Table(delta))).0, []);
    agent.check(&[(1, "b"), (2, "a"), (3, "a")]);
}

#[test]
fn a_controller_of_a_lower_term_does_not_take_over() {
    let mut agent = Agent::with_standby();
    let (_, ends) = agent.other(Input::Message(OTHER, Agent::pc_2(6)));
    assert_eq!(ends, [OTHER]);
    assert_eq!(agent.obeyed, [Term(7)]);
    agent.hear(ToVtep::Table(update(Some(4), 5, vec![put(2, "a", &[])])));
    agent.check(&[(1, "a/b"), (2, "a")]);
}

#[test]
fn who_serves_us_elsewhere_is_sought_when_a_standby_says_so() {
    let mut agent = Agent::with_standby();
    // Of an election that is over.
    let (_, ends) = agent.other(Input::Message(OTHER, Agent::standby(Some(("pc-3", 6)))));
    assert_eq!(ends, []);
    let (_, ends) = agent.other(Input::Message(OTHER, Agent::standby(Some(("pc-3", 8)))));
    assert_eq!(ends, [LINK], "pc-1 may be stopped");
    // None of two serves us: one of them makes room for who does.
    let (_, end) = agent.input(Input::Message(LINK, Agent::standby(None)));
    assert_eq!(end, None);
    let (_, ends) = agent.other(Input::Message(OTHER, Agent::standby(Some(("pc-3", 8)))));
    assert_eq!(ends, [OTHER]);
}

#[test]
fn the_loss_of_a_standby_is_no_loss_and_a_controller_may_become_one() {
    let mut agent = Agent::with_standby();
    agent.other(Input::Disconnected { link: OTHER, reason: "gone".to_owned() });
    assert_eq!(agent.lost, None);
    agent.input(Input::Message(LINK, Agent::standby(None)));
    assert!(agent.lost.as_deref().is_some_and(|reason| reason.contains("serves us no more")));
    agent.check(&[(1, "a/b"), (2, "b")]);
    let name = "pc-1".try_into().unwrap();
    let again = ToVtep::Welcome { protocol: PROTOCOL, name, term: Term(12), elected: true };
    assert_eq!(agent.input(Input::Message(LINK, again)).1, None);
    assert_eq!(agent.obeyed, [Term(7), Term(12)]);
}
