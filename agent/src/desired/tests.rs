mod learnt;
mod liveness;
mod quota;
mod service_nodes;

use std::path::Path as FilePath;
use std::time::Duration;

use vtep_abi::{FdbKey, FdbValue, PortValue, Target, VtepByIpKey, mapped_v4};
use vtep_api::{MacAddr, VtepName};

use super::*;
use crate::dataplane::FdbTarget;
use crate::links::Link;
use crate::liveness::Known;
use crate::packet_rate::PacketRate;
use crate::plan::plan;
use crate::source::file::{Document, build};
use crate::table::{Delta, MacEntry};
use crate::underlay::Path;

const TABLE: &str = r#"
version = 1
vtep = [{ name = "a", address = "192.0.2.11" }, { name = "b", address = "192.0.2.12" }]
logical_switch = [
    { name = "blue", vni = 5001, flood = ["a", "b"] },
    { name = "red", vni = 5002, flood = ["a"], unknown_unicast = "drop" },
]
mac = [
    { logical_switch = "blue", mac = "02:00:00:00:00:01", master = "a", slave = "b" },
    { logical_switch = "red", mac = "02:00:00:00:00:01", master = "b" },
]
binding = [{ port = "tap0", logical_switch = "blue" }, { port = "tap0", vlan = 7, logical_switch = "red" }]
"#;

const CONFIG: &str = r#"
[underlay]
address = "192.0.2.1"
uplinks = ["eth0"]
[source]
kind = "file"
path = "table.toml"
[[port]]
name = "tap0"
macs = ["02:00:00:00:00:aa"]
learn = true
learn_max = 1
"#;

const BLUE_MAC: FdbKey = FdbKey::new(5001, [2, 0, 0, 0, 0, 1]);

/// A host to which things happen.
pub(super) struct Host {
    pub(super) config: Config,
    table: Table,
    links: Links,
    underlay: Underlay,
    learnt: Learnt,
    overheard: Overheard,
    announced: Announced,
    installed: Dataplane,
    pub(super) packet_rate: PacketRate,
    liveness: Findings,
    one_way: OneWay,
    allocation: Allocation,
    now: Instant,
}

impl Host {
    pub(super) fn new() -> Self {
        let mut host = Self {
            config: Config::parse(CONFIG, FilePath::new("agent.toml"), &[]).unwrap(),
            table: Table::default(),
            links: Links::default(),
            underlay: Underlay::default(),
            learnt: Learnt::default(),
            overheard: Overheard::default(),
            announced: Announced::default(),
            installed: Dataplane::default(),
            packet_rate: PacketRate::default(),
            liveness: Findings::new(),
            one_way: OneWay::default(),
            allocation: Allocation::default(),
            now: Instant::now(),
        };
        host.set_table(TABLE);
        for (ifindex, name) in [(2, "eth0"), (3, TUNNEL_DEVICE), (7, "tap0")] {
            host.links.by_name.insert(name.to_owned(), link(ifindex));
        }
        for last in [11, 12] {
            host.route(last);
        }
        host
    }

    fn set_table(&mut self, text: &str) {
        let document = Document::parse(text, FilePath::new("table.toml")).unwrap();
        self.table = build(document, self.config.underlay.address, &Table::default()).0;
    }

    fn route(&mut self, last: u8) {
        let address = IpAddr::from([192, 0, 2, last]);
        let mac = |last| MacAddr::new([2, 0, 0, 1, 0, last]);
        let path = Path { ifindex: 2, src_mac: mac(1), dst_mac: Some(mac(last)), mtu: 1500, local: None };
        self.underlay.paths.insert(address, path);
        self.underlay.targets.insert(address);
    }

    fn inputs(&self) -> Inputs<'_> {
        Inputs {
            config: &self.config,
            table: &self.table,
            links: &self.links,
            underlay: &self.underlay,
            learnt: &self.learnt,
            overheard: &self.overheard,
            announced: &self.announced,
            installed: &self.installed,
            packet_rate: &self.packet_rate,
            liveness: &self.liveness,
            one_way: &self.one_way,
            drill: None,
            now: self.now,
        }
    }

    pub(super) fn desired(&mut self) -> Desired {
        let mut allocation = std::mem::take(&mut self.allocation);
        let desired = self.inputs().desired(&mut allocation);
        self.allocation = allocation;
        desired
    }

    /// Installs what is desired and returns the steps.
    fn settle(&mut self) -> Vec<Step> {
        let desired = self.desired().dataplane;
        let steps = plan(&desired, &self.installed).steps;
        for step in &steps {
            self.installed.apply(step.clone());
        }
        assert_eq!(self.installed, desired);
        steps
    }

    #[track_caller]
    fn check_alarm(&mut self, kind: AlarmKind, subject: &str) {
        let alarms = self.desired().alarms;
        assert!(alarms.iter().any(|alarm| alarm.kind == kind && alarm.subject == subject), "{alarms:#?}");
    }
}

fn link(ifindex: u32) -> Link {
    Link { ifindex, ..Link::of_kind(None, 1500) }
}

fn known(last: u8, suspect: bool) -> Known {
    Known {
        address: [192, 0, 2, last].into(),
        state: vtep_bfd::State::Down,
        remote_state: vtep_bfd::State::Down,
        diagnostic: vtep_bfd::Diagnostic::TIME_EXPIRED,
        remote_diagnostic: vtep_bfd::Diagnostic::NONE,
        standing: "failed",
        suspect,
        receiving: false,
        overdue: false,
        expired: 0,
        failures: 1,
        detection: None,
        interval: None,
        complaint: None,
        settings: crate::config::Bfd { enabled: true, ..crate::config::Bfd::default() }
            .of(
                &VtepName::try_from("a").unwrap(),
                &vtep_api::BfdWord::default(),
                &crate::table::TunnelTerms::default(),
            )
            .unwrap(),
    }
}

fn sender(vni: u32, last: u8) -> VtepByIpKey {
    VtepByIpKey { vni, address: mapped_v4([192, 0, 2, last]) }
}

#[test]
fn a_table_becomes_a_dataplane_and_a_second_look_changes_nothing() {
    let mut host = Host::new();
    host.settle();
    let fdb = &host.installed.fdb;
    let remote = |master, slave| FdbTarget { master, slave, flags: 0 };
    assert_eq!(fdb[&BLUE_MAC], remote(Target::Vtep(1), Target::Vtep(2)));
    assert_eq!(fdb[&FdbKey::new(5002, BLUE_MAC.mac)], remote(Target::Vtep(2), Target::None));
    assert_eq!(fdb[&FdbKey::new(5001, [2, 0, 0, 0, 0, 0xaa])], remote(Target::LocalPort(1), Target::None));
    let flood = &host.installed.networks[&5001].flood;
    assert_eq!(flood, &[Target::LocalPort(1), Target::Vtep(1), Target::Vtep(2)]);
    assert_eq!(
        host.installed.networks[&5002].flags,
        vtep_abi::VniValue::DROP_UNKNOWN | vtep_abi::VniValue::WITNESS
    );
    assert_eq!(host.installed.ports[&PortId { ifindex: 7, vlan: 7 }].vni, 5002);
    assert_eq!(host.settle(), []);
}

#[test]
fn only_flood_members_and_owners_of_macs_may_send() {
    let mut host = Host::new();
    host.set_table(&TABLE.replace("flood = [\"a\", \"b\"]", "flood = []").replace(", slave = \"b\"", ""));
    host.settle();
    let senders: BTreeSet<_> = host.installed.senders.keys().map(|key| (key.vni, key.address)).collect();
    let expected = [sender(0, 11), sender(0, 12), sender(5001, 11), sender(5002, 11), sender(5002, 12)];
    assert_eq!(senders, expected.iter().map(|key| (key.vni, key.address)).collect());
}

#[test]
fn a_vtep_without_a_route_is_down_and_one_not_looked_up_stays() {
    let mut host = Host::new();
    host.settle();
    let address = IpAddr::from([192, 0, 2, 11]);
    host.underlay.paths.remove(&address);
    host.underlay.targets.remove(&address);
    assert_eq!(host.settle(), []);
    host.underlay.targets.insert(address);
    host.check_alarm(AlarmKind::NoRoute, "192.0.2.11");
    assert!(matches!(&host.settle()[..], [Step::PutVteps(rows)] if rows[0].0 == 1 && !rows[0].1.up));
}

#[test]
fn a_rekeyed_switch_gets_new_numbers_and_no_frame_crosses() {
    let mut host = Host::new();
    host.settle();
    host.set_table(&TABLE.replace("5001", "6001"));
    host.now += Duration::from_secs(1);
    let steps = host.settle();
    let rekeyed = steps.iter().find_map(|step| match step {
        Step::PutLocalPorts(rows) => Some(rows.clone()),
        _ => None,
    });
    let (index, port) = rekeyed.unwrap()[0];
    assert_eq!((index, port.vni), (3, 6001), "the old local port keeps its VNI until it goes");
    assert!(matches!(steps.last(), Some(Step::RemoveLocalPorts(indices)) if indices == &[1]));
}

#[test]
fn a_port_that_is_recreated_is_bound_anew() {
    let mut host = Host::new();
    host.settle();
    host.links.by_name.remove("tap0");
    host.check_alarm(AlarmKind::PortMissing, "tap0");
    host.settle();
    assert!(host.installed.ports.is_empty());
    host.links.by_name.insert("tap0".to_owned(), link(9));
    host.settle();
    assert_eq!(host.installed.ports.keys().map(|port| port.ifindex).collect::<Vec<_>>(), [9, 9]);
}

#[test]
fn before_a_table_only_the_configuration_and_the_underlay_are_followed() {
    let mut host = Host::new();
    host.settle();
    host.links.by_name.insert(TUNNEL_DEVICE.to_owned(), Link { up: false, ..link(4) });
    host.underlay.paths.remove(&IpAddr::from([192, 0, 2, 11]));
    host.table = Table::default();
    let mut alarms = BTreeSet::new();
    let steps = host.inputs().without_table(&mut alarms).steps;
    assert!(matches!(&steps[..], [Step::SetConfig(config), Step::PutVteps(rows)]
        if config.tunnel_ifindex == 4 && rows.len() == 1));
    assert!(alarms.iter().any(|alarm| alarm.kind == AlarmKind::TunnelMissing), "{alarms:?}");
}

#[test]
fn only_ports_that_were_offered_are_bound() {
    let mut host = Host::new();
    let extra = |name| format!("binding = [{{ port = \"{name}\", vlan = 9, logical_switch = \"blue\" }},");
    for name in ["eth0", TUNNEL_DEVICE] {
        host.set_table(&TABLE.replace("binding = [", &extra(name)));
        host.check_alarm(AlarmKind::RowsRefused, name);
        assert_eq!(host.desired().dataplane.ports.len(), 2);
    }
    host.links.by_name.insert("tap9".to_owned(), link(9));
    host.set_table(&TABLE.replace("binding = [", &extra("tap9")));
    assert_eq!(host.desired().dataplane.ports.len(), 3, "a table file is the operator's own");
    let database = CONFIG
        .replace("kind = \"file\"", "kind = \"ovsdb\"")
        .replace("path = \"table.toml\"", "remote = \"unix:db.sock\"");
    host.config = Config::parse(&database, FilePath::new("agent.toml"), &[]).unwrap();
    host.check_alarm(AlarmKind::RowsRefused, "tap9");
    assert_eq!(host.desired().dataplane.ports.len(), 2);
}

#[test]
fn vteps_of_one_address_are_served_as_one_and_told() {
    let mut host = Host::new();
    assert!(host.desired().alarms.iter().all(|alarm| alarm.kind != AlarmKind::SharedAddress));
    host.set_table(&TABLE.replace("192.0.2.12", "192.0.2.11"));
    host.check_alarm(AlarmKind::SharedAddress, "192.0.2.11");
    host.settle();
    assert_eq!(host.installed.vteps.len(), 1);
    assert_eq!(host.installed.fdb[&BLUE_MAC].master, Target::Vtep(1));
    assert!(host.installed.vteps[&1].up, "frames go there as before");
}

#[test]
fn more_vteps_and_networks_than_room_are_named() {
    let mut host = Host::new();
    let text = format!("{CONFIG}\n[dataplane]\nvteps_max = 1\nvnis_max = 1\nports_max = 1");
    host.config = Config::parse(&text, FilePath::new("agent.toml"), &[]).unwrap();
    host.check_alarm(AlarmKind::VtepTableFull, "192.0.2.12");
    host.check_alarm(AlarmKind::VniTableFull, "red");
    host.settle();
    assert_eq!(host.installed.fdb[&BLUE_MAC].slave, Target::None);
}

#[test]
fn a_restart_recovers_the_numbers_of_its_predecessor() {
    let mut host = Host::new();
    host.settle();
    host.allocation = Allocation::recover(&host.installed, host.now);
    host.set_table(
        &TABLE.replace("name = \"a\", address = \"192.0.2.11\"", "name = \"a\", address = \"192.0.2.9\""),
    );
    host.route(9);
    host.settle();
    assert_eq!(ip(host.installed.vteps[&3].adj.remote), IpAddr::from([192, 0, 2, 9]));
}

#[test]
fn what_a_partial_table_does_not_name_stays() {
    let mut host = Host::new();
    host.settle();
    let before = host.installed.clone();
    let whole = host.table.clone();
    // As a restarted agent hears it: first no network, then networks without MACs.
    host.allocation = Allocation::recover(&host.installed, host.now);
    host.table = Table { partial: true, ..Table::default() };
    assert_eq!(host.settle(), []);
    host.table = whole.clone();
    for switch in host.table.logical_switches.values_mut() {
        switch.macs.clear();
        (switch.partial, switch.flood_partial) = (true, true);
    }
    assert_eq!(host.settle(), []);
    host.table.vteps.remove(&VtepName::try_from("b").unwrap());
    host.table.logical_switches.values_mut().for_each(|switch| switch.flood.clear());
    host.settle();
    assert_eq!((&host.installed.fdb, &host.installed.vteps), (&before.fdb, &before.vteps));
    assert_eq!((&host.installed.networks, &host.installed.senders), (&before.networks, &before.senders));
    let red = "red".try_into().unwrap();
    host.table.logical_switches.get_mut(&red).unwrap().partial = false;
    host.settle();
    assert!(host.installed.fdb.keys().any(|key| *key == BLUE_MAC));
    assert!(!host.installed.fdb.contains_key(&FdbKey::new(5002, BLUE_MAC.mac)));
    host.table = Table::default();
    host.settle();
    assert_eq!((host.installed.fdb.len(), host.installed.networks.len()), (0, 0));
}

#[test]
fn geneve_at_the_port_of_vxlan_is_an_alarm() {
    let mut host = Host::new();
    let has_alarm =
        |host: &mut Host| host.desired().alarms.iter().any(|alarm| alarm.kind == AlarmKind::UdpPortShared);
    host.config = Config::parse(
        &CONFIG.replace("[source]", "udp_port = 6081\n[source]"),
        FilePath::new("agent.toml"),
        &[],
    )
    .unwrap();
    assert!(!has_alarm(&mut host), "nobody speaks Geneve");
    host.set_table(&TABLE.replace("192.0.2.11\"", "192.0.2.11\", encapsulation = \"geneve\""));
    assert!(has_alarm(&mut host));
    host.config = Config::parse(CONFIG, FilePath::new("agent.toml"), &[]).unwrap();
    assert!(!has_alarm(&mut host));
}

#[test]
fn a_slave_with_the_address_of_its_master_is_an_alarm() {
    let mut host = Host::new();
    host.set_table(&TABLE.replace("192.0.2.12", "192.0.2.11"));
    host.check_alarm(AlarmKind::SlaveWouldFail, "192.0.2.11");
    let target = host.desired().dataplane.fdb[&BLUE_MAC];
    assert_eq!((target.master, target.slave), (Target::Vtep(1), Target::None));
}
