mod quota;

use std::path::Path as FilePath;
use std::time::Duration;

use vtep_abi::{FdbKey, FdbValue, PortValue, Target, VtepByIpKey, mapped_v4};
use vtep_api::{MacAddr, VtepName};

use super::*;
use crate::dataplane::FdbTarget;
use crate::learnt::Sight;
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
fn a_service_node_that_dies_hands_over_to_another() {
    let mut host = Host::new();
    host.set_table(&TABLE.replace("vni = 5001", "replication = \"service_node\", vni = 5001"));
    host.settle();
    let serving = |host: &Host| match host.installed.networks[&5001].flood[1..] {
        [Target::Vtep(index)] => index,
        ref others => panic!("{others:?}"),
    };
    let first = serving(&host);
    let octet = |index: u32| u8::try_from(index).unwrap() + 10;
    host.underlay.paths.remove(&IpAddr::from([192, 0, 2, octet(first)]));
    host.settle();
    let second = serving(&host);
    assert_ne!(second, first);
    host.route(octet(first));
    host.settle();
    assert_eq!(serving(&host), second, "it may have to hear its own table first");

    // Nor does it stay where nobody answers, unless nobody else does.
    host.liveness.insert(second, known(octet(second), true));
    host.settle();
    assert_eq!(serving(&host), first);
    host.liveness.insert(first, known(octet(first), true));
    host.settle();
    assert_eq!(serving(&host), first);

    host.liveness.clear();
    host.settle();
    host.now += Duration::from_mins(1);
    host.settle();
    assert_eq!(serving(&host), first, "it was the choice of this network");
}

#[test]
fn networks_share_service_nodes() {
    let vteps: Vec<_> =
        (11..31).map(|last| format!("{{ name = \"v{last}\", address = \"192.0.2.{last}\" }}")).collect();
    let names: Vec<_> = (11..31).map(|last| format!("\"v{last}\"")).collect();
    let switch = |vni| {
        format!(
            "{{ name = \"n{vni}\", vni = {vni}, replication = \"service_node\", flood = [{}] }}",
            names.join(", ")
        )
    };
    let switches: Vec<_> = (6000..6100).map(switch).collect();
    let mut host = Host::new();
    (11..31).for_each(|last| host.route(last));
    host.set_table(&format!(
        "version = 1\nvtep = [{}]\nlogical_switch = [{}]\n",
        vteps.join(", "),
        switches.join(", ")
    ));
    host.settle();
    let serving = |host: &Host| -> BTreeMap<u32, Target> {
        let one = |(vni, network): (&u32, &crate::dataplane::Network)| match network.flood[..] {
            [one] => (*vni, one),
            ref others => panic!("{others:?}"),
        };
        host.installed.networks.iter().map(one).collect()
    };
    let load = |serving: &BTreeMap<u32, Target>| {
        serving.values().fold(BTreeMap::<u32, u32>::new(), |mut load, target| {
            *load.entry(target.to_bits()).or_default() += 1;
            load
        })
    };
    let before = serving(&host);
    assert!(load(&before).len() > 10 && load(&before).values().all(|networks| *networks < 20));

    // One fails: its networks go to several others, and all of them come back to it, and no other moves.
    let (&failed, &share) = load(&before).iter().max_by_key(|(_, networks)| **networks).unwrap();
    let address = host.installed.vteps[&failed].adj.remote;
    host.liveness.insert(failed, known(address[15], true));
    host.settle();
    let meanwhile = serving(&host);
    let moved: BTreeSet<u32> = before.keys().copied().filter(|vni| before[vni] != meanwhile[vni]).collect();
    assert_eq!(moved.len(), usize::try_from(share).unwrap());
    assert!(moved.iter().all(|vni| before[vni].to_bits() == failed));
    let heirs: BTreeSet<u32> = moved.iter().map(|vni| meanwhile[vni].to_bits()).collect();
    assert!(heirs.len() > 2 && !heirs.contains(&failed), "{heirs:?}");
    host.now += Duration::from_mins(5);
    host.liveness.clear();
    host.settle();
    assert_eq!(serving(&host), meanwhile);
    host.now += Duration::from_secs(59);
    host.settle();
    assert_eq!(serving(&host), meanwhile, "it may have to hear its own table first");
    host.now += Duration::from_secs(1);
    host.settle();
    assert_eq!(serving(&host), before);

    // A restart moves nothing, though this process has seen nobody sound yet.
    let (installed, now) = (host.installed.clone(), host.now);
    host.allocation = Allocation::recover(&installed, now);
    assert_eq!(host.settle(), []);
    host.now += Duration::from_mins(1);
    assert_eq!(host.settle(), []);
}

#[test]
fn a_new_service_node_takes_its_share_when_it_had_time_to_hear_its_table() {
    let nodes = |lasts: &[u8]| {
        let names: Vec<_> = lasts.iter().map(|last| format!("\"v{last}\"")).collect();
        let vtep = |last| format!("{{ name = \"v{last}\", address = \"192.0.2.{last}\" }}");
        let vteps: Vec<_> = lasts.iter().map(vtep).collect();
        let network = |vni| {
            let flood = names.join(", ");
            format!("{{ name = \"n{vni}\", vni = {vni}, replication = \"service_node\", flood = [{flood}] }}")
        };
        let networks: Vec<_> = (6000..6020).map(network).collect();
        let (vteps, networks) = (vteps.join(", "), networks.join(", "));
        format!("version = 1\nvtep = [{vteps}]\nlogical_switch = [{networks}]\n")
    };
    let mut host = Host::new();
    (11..14).for_each(|last| host.route(last));
    host.set_table(&nodes(&[11, 12]));
    host.settle();
    host.now += Duration::from_hours(1);
    host.settle();
    let floods = |host: &Host| -> Vec<Vec<Target>> {
        host.installed.networks.values().map(|network| network.flood.clone()).collect()
    };
    let before = floods(&host);
    host.set_table(&nodes(&[11, 12, 13]));
    host.settle();
    assert_eq!(floods(&host), before);
    host.now += Duration::from_mins(1);
    host.settle();
    let after = floods(&host);
    let moved: Vec<_> = after.iter().filter(|flood| !before.contains(flood)).collect();
    assert!((2..15).contains(&moved.len()), "{after:?}");
    let stayed = before.iter().zip(&after).filter(|(before, after)| before == after).count();
    assert_eq!(stayed + moved.len(), before.len(), "no other moves");
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

const SIGHT: Sight = Sight { now_secs: 1, port_max: 9, vni_max: 9 };

const LEARNT: FdbTarget =
    FdbTarget { master: Target::LocalPort(1), slave: Target::None, flags: FdbValue::LEARNT };

#[test]
fn a_spoofed_source_never_moves_a_table_entry_and_is_a_claim() {
    let mut host = Host::new();
    let stolen = [BLUE_MAC, FdbKey::new(5002, BLUE_MAC.mac)];
    host.settle();
    let before = stolen.map(|key| host.installed.fdb[&key]);
    for (key, vlan) in stolen.into_iter().zip([0, 7]) {
        host.learnt.observe(key, PortId { ifindex: 7, vlan }, SIGHT);
    }
    host.settle();
    assert_eq!(stolen.map(|key| host.installed.fdb[&key]), before);
    let claimed = |(name, macs): (&LogicalSwitchName, &BTreeMap<MacAddr, PortId>)| {
        (name.to_string(), macs.keys().map(|mac| mac.octets()[5]).collect::<Vec<_>>())
    };
    let claims: Vec<_> = host.desired().local_macs.iter().map(claimed).collect();
    assert_eq!(claims, [("blue".to_owned(), vec![1, 0xaa]), ("red".to_owned(), vec![1, 0xaa])]);
}

#[test]
fn a_restart_gives_a_claimed_mac_the_same_entry() {
    let mut host = Host::new();
    host.learnt.observe(BLUE_MAC, PortId { ifindex: 7, vlan: 0 }, SIGHT);
    host.learnt.observe(FdbKey::new(5001, [2, 0, 0, 0, 0, 3]), PortId { ifindex: 7, vlan: 0 }, SIGHT);
    host.settle();
    host.learnt = Learnt::recover(&host.installed);
    host.allocation = Allocation::recover(&host.installed, host.now);
    let steps: Vec<_> = host.settle().iter().map(Step::name).collect();
    assert!(!steps.contains(&"put MACs") && !steps.contains(&"remove MACs"), "{steps:?}");
}

#[test]
fn a_claim_becomes_the_entry_when_the_table_withdraws_its_own() {
    let mut host = Host::new();
    host.learnt.observe(BLUE_MAC, PortId { ifindex: 7, vlan: 0 }, SIGHT);
    host.settle();
    let names = host.desired().names;
    let before = host.table.clone();
    let row = "{ logical_switch = \"blue\", mac = \"02:00:00:00:00:01\", master = \"a\", slave = \"b\" },";
    host.set_table(&TABLE.replace(row, ""));
    let delta = Delta::between(&before, &host.table);
    let present = Present {
        names: &names,
        learnt: &host.learnt,
        installed: &host.installed,
        room: &super::quota::Room::default(),
    };
    assert_eq!(shortcut(&delta.macs, &host.table, present, 100), None);
    host.settle();
    assert_eq!(host.installed.fdb[&BLUE_MAC], LEARNT);
    host.set_table(TABLE);
    host.settle();
    assert_eq!(host.installed.fdb[&BLUE_MAC].master, Target::Vtep(1));
}

#[test]
fn a_mac_that_the_table_does_not_name_is_learnt_and_reported() {
    let mut host = Host::new();
    let port = PortId { ifindex: 7, vlan: 0 };
    let key = FdbKey::new(5001, [2, 0, 0, 0, 0, 3]);
    host.learnt.observe(key, port, SIGHT);
    let desired = host.desired();
    assert_eq!(desired.dataplane.fdb[&key], LEARNT);
    let blue = desired.local_macs.iter().find(|(name, _)| name.as_str() == "blue").unwrap().1;
    assert_eq!(blue.keys().map(|mac| mac.octets()[5]).collect::<Vec<_>>(), [3, 0xaa]);
    // learn_max is 1. What the port has is noted when it is seen.
    host.check_alarm(AlarmKind::LearnLimit, "tap0");
    assert_ne!(desired.dataplane.ports[&port].flags & PortValue::LEARN, 0);
    assert_eq!(desired.dataplane.seen[&key], Target::LocalPort(1));
    host.settle();
    assert_eq!(Learnt::recover(&host.installed).iter().collect::<Vec<_>>(), [(key, port)]);
}

#[test]
fn what_is_installed_keeps_its_room_when_there_are_more_macs_than_room() {
    let mut host = Host::new();
    let row = |last| format!("{{ logical_switch = \"blue\", mac = \"0:0:0:0:0:{last}\", master = \"a\" }},");
    host.config =
        Config::parse(&format!("{CONFIG}\n[dataplane]\nmacs_max = 5"), FilePath::new("agent.toml"), &[])
            .unwrap();
    host.set_table(&TABLE.replace("mac = [", &format!("mac = [ {}", row(9))));
    host.settle();
    assert_eq!(host.installed.fdb.len(), 5);
    host.set_table(&TABLE.replace("mac = [", &format!("mac = [ {} {}", row(8), row(9))));
    assert_eq!(host.desired().pending, 1);
    host.check_alarm(AlarmKind::MacTableFull, &host.config.agent.name.to_string());
    assert_eq!(host.settle(), []);
}

/// The delta from `TABLE` to the changed text, by the short way and by the long one.
#[track_caller]
fn check_shortcut(text: &str, expected: bool) {
    let mut host = Host::new();
    host.settle();
    let names = host.desired().names;
    let before = host.table.clone();
    host.set_table(text);
    let delta = Delta::between(&before, &host.table);
    assert_eq!(delta.outline, None);
    let present = Present {
        names: &names,
        learnt: &host.learnt,
        installed: &host.installed,
        room: &super::quota::Room::default(),
    };
    let short = shortcut(&delta.macs, &host.table, present, 100);
    assert_eq!(short.is_some(), expected);
    let steps = host.settle();
    assert!(short.is_none_or(|(short, _)| short.steps == steps));
}

#[test]
fn the_short_way_for_a_few_macs_ends_where_the_long_one_does() {
    check_shortcut(&TABLE.replace("master = \"a\", slave = \"b\"", "master = \"b\", slave = \"a\""), true);
    check_shortcut(&TABLE.replace(", slave = \"b\"", ""), true);
    check_shortcut(
        &TABLE.replace(
            "{ logical_switch = \"blue\", mac = \"02:00:00:00:00:01\", master = \"a\", slave = \"b\" },",
            "",
        ),
        true,
    );
    // A MAC of our own, and a VTEP that becomes a sender.
    check_shortcut(
        &TABLE.replace(
            "mac = \"02:00:00:00:00:01\", master = \"a\"",
            "mac = \"02:00:00:00:00:aa\", master = \"a\"",
        ),
        false,
    );
    let other = TABLE.replace("flood = [\"a\"], unknown", "unknown");
    let mut host = Host::new();
    host.set_table(&other);
    host.settle();
    let names = host.desired().names;
    let red = host.table.logical_switches.keys().find(|name| name.as_str() == "red").unwrap().clone();
    let entry = MacEntry { master: VtepName::try_from("a").unwrap(), slave: None, ips: Box::default() };
    let changed = [(red, MacAddr::new(BLUE_MAC.mac), Some(entry))];
    let present = Present {
        names: &names,
        learnt: &host.learnt,
        installed: &host.installed,
        room: &super::quota::Room::default(),
    };
    assert_eq!(shortcut(&changed, &host.table, present, 100), None);
}

#[test]
fn a_sender_that_lost_its_last_mac_goes_with_the_comparison_after_the_short_write() {
    let mut host = Host::new();
    host.settle();
    assert!(host.installed.senders.contains_key(&sender(5002, 12)));
    let names = host.desired().names;
    let before = host.table.clone();
    let row = "{ logical_switch = \"red\", mac = \"02:00:00:00:00:01\", master = \"b\" },";
    host.set_table(&TABLE.replace(row, ""));
    let delta = Delta::between(&before, &host.table);
    let present = Present {
        names: &names,
        learnt: &host.learnt,
        installed: &host.installed,
        room: &super::quota::Room::default(),
    };
    for step in shortcut(&delta.macs, &host.table, present, 100).unwrap().0.steps {
        host.installed.apply(step);
    }
    assert!(host.installed.senders.contains_key(&sender(5002, 12)));
    assert_eq!(host.settle(), [Step::RemoveSenders(vec![sender(5002, 12)])]);
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
        switch.partial = true;
    }
    assert_eq!(host.settle(), []);
    host.table.vteps.remove(&VtepName::try_from("b").unwrap());
    host.table.logical_switches.values_mut().for_each(|switch| switch.flood.clear());
    host.settle();
    assert_eq!((&host.installed.fdb, &host.installed.vteps), (&before.fdb, &before.vteps));
    let red = "red".try_into().unwrap();
    host.table.logical_switches.get_mut(&red).unwrap().partial = false;
    host.settle();
    assert!(host.installed.fdb.keys().any(|key| *key == BLUE_MAC));
    assert!(!host.installed.fdb.contains_key(&FdbKey::new(5002, BLUE_MAC.mac)));
    host.table = Table::default();
    host.settle();
    assert_eq!((host.installed.fdb.len(), host.installed.networks.len()), (0, 0));
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

#[test]
fn a_vtep_that_answers_nothing_is_told_and_stays_in_service() {
    let mut host = Host::new();
    host.settle();
    let start = host.now;
    let (index, row) = host.installed.vteps.iter().next().expect("a VTEP");
    let (index, vtep) = (*index, ip(row.adj.remote));
    let [.., last] = row.adj.remote;
    for (secs, sent) in [(0, 0), (60, 1000)] {
        let traffic = crate::one_way::Traffic { vtep, sent, received: 0 };
        host.one_way.look([traffic], start + std::time::Duration::from_secs(secs));
    }
    let told = |host: &mut Host| {
        let desired = host.desired();
        let alarms = desired.alarms.iter().filter(|alarm| alarm.kind == AlarmKind::OneWay);
        assert!(!desired.dataplane.vteps[&index].suspect || host.liveness[&index].suspect);
        alarms.map(|alarm| (alarm.subject.clone(), alarm.message.clone())).next()
    };
    let (subject, message) = told(&mut host).expect("an alarm");
    assert_eq!(subject, vtep.to_string());
    assert!(message.starts_with("1000 frames"), "{message}");
    // BFD says it already.
    host.liveness.insert(index, known(last, true));
    assert_eq!(told(&mut host), None);
}

#[test]
fn a_silent_vtep_is_suspect_and_neither_down_nor_another_of_its_index() {
    let mut host = Host::new();
    host.settle();
    let a = mapped_v4([192, 0, 2, 11]);
    let index = *host.installed.vteps.iter().find(|(_, row)| row.adj.remote == a).unwrap().0;
    host.liveness.insert(index, known(11, true));
    host.check_alarm(AlarmKind::BfdDown, "192.0.2.11");
    host.settle();
    assert!(host.installed.vteps[&index].up && host.installed.vteps[&index].suspect);
    host.liveness.insert(index, known(99, true));
    host.settle();
    assert!(!host.installed.vteps[&index].suspect, "that was said of another VTEP");
}

#[test]
fn an_uplink_without_carrier_makes_its_vteps_suspect_and_says_so() {
    let mut host = Host::new();
    host.settle();
    host.links.by_name.get_mut("eth0").unwrap().carrier = false;
    host.check_alarm(AlarmKind::UplinkNoCarrier, "eth0");
    host.check_alarm(AlarmKind::SlaveWouldFail, "192.0.2.12");
    host.settle();
    assert!(host.installed.vteps.values().all(|row| row.suspect && row.up));
}

#[test]
fn a_slave_whose_next_hop_is_unresolved_is_told_before_it_is_needed() {
    let mut host = Host::new();
    let would_fail = |host: &mut Host| -> Vec<String> {
        let alarms = host.desired().alarms.into_iter();
        let alarms = alarms.filter(|alarm| alarm.kind == AlarmKind::SlaveWouldFail);
        alarms.map(|alarm| alarm.subject).collect()
    };
    assert_eq!(would_fail(&mut host), Vec::<String>::new());
    for path in host.underlay.paths.values_mut() {
        path.dst_mac = None;
    }
    assert_eq!(would_fail(&mut host), ["192.0.2.12"], "192.0.2.11 is no slave");
}

/// What was installed holds until the sessions were looked at: an agent that starts does not bring anybody back.
#[test]
fn a_suspect_vtep_stays_so_until_its_session_says_otherwise() {
    let mut host = Host::new();
    host.config.bfd.enabled = true;
    host.settle();
    for row in host.installed.vteps.values_mut() {
        row.suspect = true;
    }
    host.settle();
    assert!(host.installed.vteps.values().all(|row| row.suspect));
    let index = *host.installed.vteps.keys().next().unwrap();
    let last = host.installed.vteps[&index].adj.remote[15];
    host.liveness.insert(index, known(last, false));
    host.settle();
    assert!(!host.installed.vteps[&index].suspect);
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
