use super::*;
use crate::desired::quota;
use crate::learnt::Sight;

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
    let row = "{ logical_switch = \"blue\", mac = \"02:00:00:00:00:01\", master = \"a\", slave = \"b\" },";
    let (names, delta) = change(&mut host, &TABLE.replace(row, ""));
    let present = Present {
        names: &names,
        learnt: &host.learnt,
        installed: &host.installed,
        room: &quota::Room::default(),
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

/// The names as they were, and what the new table changes.
fn change(host: &mut Host, text: &str) -> (Names, Delta) {
    let names = host.desired().names;
    let before = host.table.clone();
    host.set_table(text);
    (names, Delta::between(&before, &host.table))
}

/// The delta from `TABLE` to the changed text, by the short way and by the long one.
#[track_caller]
fn check_shortcut(text: &str, expected: bool) {
    let mut host = Host::new();
    host.settle();
    let (names, delta) = change(&mut host, text);
    assert_eq!(delta.outline, None);
    let present = Present {
        names: &names,
        learnt: &host.learnt,
        installed: &host.installed,
        room: &quota::Room::default(),
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
        room: &quota::Room::default(),
    };
    assert_eq!(shortcut(&changed, &host.table, present, 100), None);
}

#[test]
fn a_sender_that_lost_its_last_mac_goes_with_the_comparison_after_the_short_write() {
    let mut host = Host::new();
    host.settle();
    assert!(host.installed.senders.contains_key(&sender(5002, 12)));
    let row = "{ logical_switch = \"red\", mac = \"02:00:00:00:00:01\", master = \"b\" },";
    let (names, delta) = change(&mut host, &TABLE.replace(row, ""));
    let present = Present {
        names: &names,
        learnt: &host.learnt,
        installed: &host.installed,
        room: &quota::Room::default(),
    };
    for step in shortcut(&delta.macs, &host.table, present, 100).unwrap().0.steps {
        host.installed.apply(step);
    }
    assert!(host.installed.senders.contains_key(&sender(5002, 12)));
    assert_eq!(host.settle(), [Step::RemoveSenders(vec![sender(5002, 12)])]);
}
