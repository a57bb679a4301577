//! The maps: what is written is read back, by this process and by the next. As root, on the running kernel.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::Ipv4Addr;
use std::process::Command;
use std::time::{Duration, Instant};

use vtep_abi::{
    Config, FdbKey, FloodValue, LocalPort, PortStats, PortValue, Target, VniStats, VniValue, VtepAdj,
    VtepByIpKey, VtepStats, map, mapped_v4,
};
use vtep_agent::dataplane::{Dataplane, FdbTarget, Network, PortId, VtepRow};
use vtep_agent::kernel::{
    self, Entry, Kernel, KernelError, MacTable, Opened, Reason, Refused, Settings, Sizes,
};
use vtep_agent::plan::Step;
use vtep_tests::bpffs::Bpffs;
use vtep_tests::deadline::wait_for;
use vtep_tests::netns::output;

const SMALL: Sizes =
    Sizes { macs_max: 1000, vteps_max: 16, vnis_max: 8, ports_max: 16, senders_max: 64, flood_max: 4 };

#[test]
fn a_hundred_thousand_macs_go_in_out_and_away_in_batches() {
    for mac_table in [MacTable::Bucketed, MacTable::Hash] {
        check_batches(mac_table);
    }
}

fn check_batches(mac_table: MacTable) {
    let bpffs = Bpffs::new().unwrap();
    let sizes = Sizes { macs_max: 100_000, ..SMALL };
    let (mut kernel, _) = open_with(&bpffs, sizes, mac_table).unwrap();
    let rows: Vec<_> = (0..100_000).map(|n| (mac(n), to_vtep(n % 16 + 1))).collect();

    let applied = kernel.apply(&Step::PutFdb(rows.clone())).unwrap();
    assert_eq!((applied.written, applied.refused.len()), (100_000, 0));
    assert_eq!(
        kernel.fdb_entry(&mac(99_999)).unwrap().map(|value| value.master()),
        Some(to_vtep(99_999 % 16 + 1).master)
    );

    let installed = kernel.installed().unwrap().fdb;
    assert_eq!(installed.len(), rows.len());
    assert!(rows.iter().all(|(key, target)| installed.get(key) == Some(target)));

    let keys = (0..100_001).map(mac).collect();
    let removed = kernel.apply(&Step::RemoveFdb(keys)).unwrap();
    assert_eq!(removed.written, 100_000, "one key was not there");
    assert!(kernel.installed().unwrap().fdb.is_empty());
}

#[test]
fn a_full_map_keeps_what_it_holds_and_names_what_waits() {
    let bpffs = Bpffs::new().unwrap();
    let (mut kernel, _) = open_with(&bpffs, SMALL, MacTable::Hash).unwrap();
    kernel.apply(&Step::PutFdb((0..1000).map(|n| (mac(n), to_vtep(1))).collect())).unwrap();

    let rows = [(mac(5000), to_vtep(2)), (mac(3), to_vtep(2)), (mac(5001), to_vtep(2))];
    let applied = kernel.apply(&Step::PutFdb(rows.to_vec())).unwrap();
    let waits = |n| Refused { entry: Entry::Fdb(mac(n)), reason: Reason::Full };
    assert_eq!((applied.written, applied.refused), (1, vec![waits(5000), waits(5001)]));

    let installed = kernel.installed().unwrap().fdb;
    assert_eq!(installed.len(), 1000);
    assert_eq!(
        installed.get(&mac(3)),
        Some(&to_vtep(2)),
        "an existing entry is overwritten even in a full map"
    );
}

#[test]
fn a_full_bucketed_table_keeps_what_it_holds_and_names_what_waits() {
    let bpffs = Bpffs::new().unwrap();
    let (mut kernel, _) = open_with(&bpffs, SMALL, MacTable::Bucketed).unwrap();
    // 278 buckets are for 1000 MACs, and hold 1056 at a load of 0.95.
    let applied = kernel.apply(&Step::PutFdb((0..1100).map(|n| (mac(n), to_vtep(1))).collect())).unwrap();
    assert_eq!(applied.written, 1056);
    assert!(applied.refused.iter().all(|refused| refused.reason == Reason::Full), "{applied:?}");
    assert!(kernel.mac_table_slots().unwrap().load() > 0.949);

    let Entry::Fdb(waits) = applied.refused[0].entry else { panic!("{applied:?}") };
    let applied = kernel.apply(&Step::PutFdb(vec![(waits, to_vtep(2)), (mac(3), to_vtep(2))])).unwrap();
    assert_eq!((applied.written, applied.refused.len()), (1, 1));
    let installed = kernel.installed().unwrap().fdb;
    assert_eq!((installed.len(), installed.get(&mac(3))), (1056, Some(&to_vtep(2))));
}

#[test]
fn a_restart_changes_how_macs_are_kept_and_keeps_them() {
    let bpffs = Bpffs::new().unwrap();
    let (mut kernel, _) = open_with(&bpffs, SMALL, MacTable::Hash).unwrap();
    install(&mut kernel);
    let before = kernel.installed().unwrap();
    drop(kernel);
    for mac_table in [MacTable::Bucketed, MacTable::Hash, MacTable::Bucketed] {
        let (mut kernel, opened) = open_with(&bpffs, SMALL, mac_table).unwrap();
        assert!(opened.adopted && !opened.resized.is_empty(), "{opened:?}");
        assert_eq!(kernel.mac_table_slots().is_some(), mac_table == MacTable::Bucketed);
        check_equal(&kernel.installed().unwrap(), &before);
        let found = kernel.fdb_entry(&mac(7)).unwrap().map(|value| value.master());
        assert_eq!(found, Some(to_vtep(2).master));
    }
}

#[test]
fn a_bridge_domain_hands_no_mac_to_its_next_network() {
    let bpffs = Bpffs::new().unwrap();
    let (mut kernel, _) = open_with(&bpffs, SMALL, MacTable::Bucketed).unwrap();
    install(&mut kernel);
    // VNI 100 had bridge domain 1, and its MACs were not removed.
    let network = Network { bd: 1, ..Network::default() };
    kernel.apply(&Step::RemoveNetworks(vec![100])).unwrap();
    kernel.apply(&Step::PutDomains(vec![(200, 1)])).unwrap();
    kernel.apply(&Step::PutNetworks(vec![(200, network)])).unwrap();
    assert!(kernel.installed().unwrap().fdb.is_empty());
    let refused = kernel.apply(&Step::PutFdb(vec![(mac(1), to_vtep(1))])).unwrap().refused;
    assert_eq!(refused, [Refused { entry: Entry::Fdb(mac(1)), reason: Reason::NoDomain }]);
}

#[test]
fn macs_of_no_network_are_gone_after_a_restart() {
    let bpffs = Bpffs::new().unwrap();
    let (mut kernel, _) = open_with(&bpffs, SMALL, MacTable::Bucketed).unwrap();
    install(&mut kernel);
    kernel.apply(&Step::RemoveNetworks(vec![100])).unwrap();
    drop(kernel);
    let settings = Settings { mac_table: MacTable::Bucketed, ..settings(&root(&bpffs), SMALL) };
    let (mut kernel, _) = Kernel::open(&settings).unwrap();
    assert!(kernel.installed().unwrap().fdb.is_empty());
    assert!(kernel.mac_table_slots().unwrap().load() < f64::EPSILON);
}

#[test]
fn a_restart_finds_what_was_installed() {
    let bpffs = Bpffs::new().unwrap();
    let (mut kernel, opened) = open(&bpffs, SMALL).unwrap();
    assert_eq!(opened, Opened::default());
    install(&mut kernel);
    let before = kernel.installed().unwrap();
    drop(kernel);

    let (mut kernel, opened) = open(&bpffs, SMALL).unwrap();
    assert!(opened.adopted);
    check_equal(&kernel.installed().unwrap(), &before);
    assert_eq!(before.vteps.len(), 2);
    assert_eq!(before.networks[&100].flood, [Target::LocalPort(1), Target::Vtep(1), Target::Vtep(2)]);
    assert_eq!(before.config.map(|config| config.tunnel_ifindex), Some(9));
}

#[test]
fn removal_leaves_nothing() {
    let bpffs = Bpffs::new().unwrap();
    let (mut kernel, _) = open(&bpffs, SMALL).unwrap();
    install(&mut kernel);
    let held = kernel.installed().unwrap();
    let steps = [
        Step::RemovePorts(held.ports.keys().copied().collect()),
        Step::RemoveNetworks(held.networks.keys().copied().collect()),
        Step::RemoveSenders(held.senders.keys().copied().collect()),
        Step::RemoveFdb(held.fdb.keys().copied().collect()),
        Step::RemoveLocalPorts(held.local_ports.keys().copied().collect()),
        Step::RemoveVteps(held.vteps.keys().copied().collect()),
    ];
    for step in steps {
        assert!(kernel.apply(&step).unwrap().refused.is_empty());
    }
    check_equal(&kernel.installed().unwrap(), &Dataplane { config: held.config, ..Dataplane::default() });
}

#[test]
fn an_adjacency_is_written_beside_the_one_in_force() {
    let bpffs = Bpffs::new().unwrap();
    let (mut kernel, _) = open(&bpffs, SMALL).unwrap();
    let state = || dump(&bpffs, map::VTEP_ADMIN)[3].clone();
    let first = put_vtep(&mut kernel, 3, 1, true);
    let slot = state();
    let second = put_vtep(&mut kernel, 3, 2, true);
    assert_ne!(state(), slot, "the new address is in the other slot");
    assert!(dump(&bpffs, map::VTEP_ADJ).iter().any(|value| value.contains(&hex(&first.remote))));

    put_vtep(&mut kernel, 3, 2, false);
    let row = VtepRow { adj: second, up: false, suspect: false };
    assert_eq!(kernel.installed().unwrap().vteps.get(&3), Some(&row), "down changes the state byte only");
}

#[test]
fn a_vtep_inherits_nothing_from_the_last_one_of_its_index() {
    let bpffs = Bpffs::new().unwrap();
    let (mut kernel, _) = open(&bpffs, SMALL).unwrap();
    put_vtep(&mut kernel, 3, 1, true);
    fill(&bpffs, map::VTEP_STATS, 3, size_of::<VtepStats>());
    fill(&bpffs, map::VTEP_OPER, 3, 1);
    put_vtep(&mut kernel, 3, 2, true);
    put_vtep(&mut kernel, 3, 2, false);
    assert_ne!(kernel.vtep_stats(3).unwrap(), VtepStats::default(), "it is the same VTEP still");
    assert!(!kernel.vtep_oper_up(3).unwrap());

    kernel.apply(&Step::RemoveVteps(vec![3])).unwrap();
    put_vtep(&mut kernel, 3, 4, true);
    assert_eq!(kernel.vtep_stats(3).unwrap(), VtepStats::default());
    assert!(kernel.vtep_oper_up(3).unwrap());
}

#[test]
fn a_port_inherits_no_counters_from_the_last_one_of_its_index() {
    let bpffs = Bpffs::new().unwrap();
    let (mut kernel, _) = open(&bpffs, SMALL).unwrap();
    let put = |kernel: &mut Kernel, ifindex, flags| {
        let port = LocalPort { ifindex, vni: 100, vlan: 0, flags, bd: 1, mtu: 1500 };
        kernel.apply(&Step::PutLocalPorts(vec![(3, port)])).unwrap();
    };
    put(&mut kernel, 7, 0);
    fill(&bpffs, map::PORT_STATS, 3, size_of::<PortStats>());
    put(&mut kernel, 7, LocalPort::LINK_LOCAL);
    assert_ne!(kernel.port_stats(3).unwrap(), PortStats::default(), "it is the same port still");
    put(&mut kernel, 8, 0);
    assert_eq!(kernel.port_stats(3).unwrap(), PortStats::default());
}

#[test]
fn a_network_inherits_no_counters_from_the_last_one_of_its_bridge_domain() {
    let bpffs = Bpffs::new().unwrap();
    let (mut kernel, _) = open(&bpffs, SMALL).unwrap();
    let put = |kernel: &mut Kernel, vni, bd, flood| {
        kernel
            .apply(&Step::PutNetworks(vec![(vni, Network { bd, flags: 0, flood, ..Network::default() })]))
            .unwrap();
    };
    let counted = |kernel: &Kernel, bd| kernel.vni_stats(bd).unwrap().iter().any(|count| count.packets > 0);
    put(&mut kernel, 100, 1, vec![]);
    for bd in [0, 1, 2] {
        fill(&bpffs, map::STATS, bd, size_of::<VniStats>());
    }
    put(&mut kernel, 100, 1, vec![Target::Vtep(1)]);
    assert!(counted(&kernel, 1), "it is the same network still");
    put(&mut kernel, 100, 2, vec![Target::Vtep(1)]);
    assert!(!counted(&kernel, 2), "it has another domain");
    put(&mut kernel, 200, 1, vec![]);
    assert!(!counted(&kernel, 1), "it is another network");
    assert!(counted(&kernel, 0), "domain 0 belongs to no network");
}

/// As a process leaves it that was killed between the removal of a network and that of what it counted.
#[test]
fn what_a_network_counted_is_in_the_sum_of_the_past_after_a_kill() {
    let bpffs = Bpffs::new().unwrap();
    let (kernel, _) = open(&bpffs, SMALL).unwrap();
    fill(&bpffs, map::STATS, 3, size_of::<VniStats>());
    let counted = kernel.vni_stats(3).unwrap();
    assert!(counted.iter().any(|counter| counter.packets > 0));
    drop(kernel);
    for _ in 0..2 {
        let (mut kernel, _) = open(&bpffs, SMALL).unwrap();
        kernel.installed().unwrap();
        assert_eq!(kernel.past_stats().unwrap(), counted);
        assert!(kernel.vni_stats(3).unwrap().iter().all(|counter| counter.packets == 0));
    }
}

#[test]
fn indices_out_of_range_are_refused_alone() {
    let bpffs = Bpffs::new().unwrap();
    let (mut kernel, _) = open(&bpffs, SMALL).unwrap();
    let row = VtepRow { adj: adj(1), up: true, suspect: false };
    let applied = kernel.apply(&Step::PutVteps(vec![(0, row), (16, row), (17, row)])).unwrap();
    let refused = [0, 17].map(|index| Refused { entry: Entry::Vtep(index), reason: Reason::OutOfRange });
    assert_eq!((applied.written, applied.refused), (1, refused.to_vec()));
}

#[test]
fn a_replaced_flood_list_goes_after_a_grace_period() {
    let bpffs = Bpffs::new().unwrap();
    let (mut kernel, _) = open(&bpffs, SMALL).unwrap();
    let members = |count: u32| (1..=count).map(Target::Vtep).collect::<Vec<_>>();
    put_network(&mut kernel, 100, members(10));
    put_network(&mut kernel, 100, members(3));
    assert_eq!(dump(&bpffs, map::FLOOD).len(), 2, "a program may still be in the old list");
    assert_eq!(kernel.installed().unwrap().networks[&100].flood, members(3));

    wait_for("the end of the old list", Duration::from_secs(20), || {
        kernel.installed().unwrap();
        (dump(&bpffs, map::FLOOD).len() == 1).then_some(())
    })
    .unwrap();
    assert_eq!(kernel.installed().unwrap().networks[&100].flood, members(3));
}

#[test]
fn a_full_flood_map_gives_up_old_lists_first() {
    let bpffs = Bpffs::new().unwrap();
    let (mut kernel, _) = open(&bpffs, SMALL).unwrap();
    for size in [128, 127, 126, 125] {
        put_network(&mut kernel, 100, (1..=size).map(Target::Vtep).collect());
    }
    for vni in [200, 300, 400] {
        put_network(&mut kernel, vni, (1..=128).map(Target::Vtep).collect());
    }
    let network = Network { bd: 5, flags: 0, flood: vec![Target::Vtep(1)], ..Network::default() };
    let too_much = Step::PutNetworks(vec![(500, network.clone())]);
    let refused = Refused { entry: Entry::Network(500), reason: Reason::Full };
    assert_eq!(kernel.apply(&too_much).unwrap().refused, [refused]);
    let lists =
        kernel.installed().unwrap().networks.into_iter().map(|(vni, network)| (vni, network.flood.len()));
    assert_eq!(lists.collect::<Vec<_>>(), [(100, 125), (200, 128), (300, 128), (400, 128)]);

    let of_nobody = Network { flood: vec![], ..network };
    let applied = kernel.apply(&Step::PutNetworks(vec![(500, of_nobody)])).unwrap();
    assert_eq!((applied.written, applied.refused), (1, vec![]), "a list of nobody takes no room");
}

#[test]
fn a_flood_list_that_was_never_published_is_cleared() {
    let bpffs = Bpffs::new().unwrap();
    let (mut kernel, _) = open(&bpffs, SMALL).unwrap();
    put_network(&mut kernel, 100, vec![Target::Vtep(1)]);
    // As if the process had been killed between filling and publishing: VNI 100, generation 9.
    let pin = pin(&bpffs, map::FLOOD);
    let key = "100 0 0 0 9 0 0 0";
    let value = ["0"; size_of::<FloodValue>()].join(" ");
    bpftool(&format!("map update pinned {pin} key {key} value {value}"));
    assert_eq!(dump(&bpffs, map::FLOOD).len(), 2);
    kernel.installed().unwrap();
    assert_eq!(dump(&bpffs, map::FLOOD).len(), 1);
}

#[test]
fn more_room_keeps_every_entry() {
    let bpffs = Bpffs::new().unwrap();
    let (mut kernel, _) = open(&bpffs, SMALL).unwrap();
    install(&mut kernel);
    let before = kernel.installed().unwrap();
    drop(kernel);

    let larger = Sizes { macs_max: 2000, vteps_max: 32, vnis_max: 16, ports_max: 32, ..SMALL };
    let (mut kernel, opened) = open(&bpffs, larger).unwrap();
    assert!(opened.adopted && opened.resized.contains(&(map::MACTAB, 278)), "{opened:?}");
    check_equal(&kernel.installed().unwrap(), &before);
    drop(kernel);
    assert!(open(&bpffs, larger).unwrap().1.resized.is_empty());
}

#[test]
fn a_resize_that_was_killed_at_any_step_loses_nothing() {
    #[track_caller]
    fn check(renamed: &[(&str, &str)], left_behind: &[&str]) {
        let bpffs = Bpffs::new().unwrap();
        let (mut kernel, _) = open(&bpffs, SMALL).unwrap();
        install(&mut kernel);
        let before = kernel.installed().unwrap();
        drop(kernel);
        let version = root(&bpffs).join("v1");
        for (from, to) in renamed {
            std::fs::rename(version.join(from), version.join(to)).unwrap();
        }
        for folder in left_behind {
            std::fs::create_dir(version.join(folder)).unwrap();
            let pin = version.join(folder).join("FDB");
            bpftool(&format!("map create {} type hash key 12 value 8 entries 9 name FDB", pin.display()));
        }
        let (mut kernel, opened) = open(&bpffs, SMALL).unwrap();
        assert!(opened.adopted, "{opened:?}");
        check_equal(&kernel.installed().unwrap(), &before);
        assert_eq!(std::fs::read_dir(version).unwrap().count(), 2, "maps and links");
    }
    // While the next maps were filled, and while the programs were put on them.
    check(&[], &["maps_next"]);
    // Between the two renames.
    check(&[("maps", "maps_next")], &["maps_last"]);
    // Before the last maps were removed.
    check(&[], &["maps_last"]);
}

#[test]
fn too_little_room_is_refused_and_changes_nothing() {
    let bpffs = Bpffs::new().unwrap();
    let (mut kernel, _) = open(&bpffs, SMALL).unwrap();
    put_network(&mut kernel, 100, Vec::new());
    kernel.apply(&Step::PutFdb((0..900).map(|n| (mac(n), to_vtep(1))).collect())).unwrap();
    drop(kernel);
    let error = refusal(open(&bpffs, Sizes { macs_max: 500, ..SMALL }));
    assert!(matches!(error, KernelError::Shrunk { map: map::MACTAB, had: 1000, wanted: 500 }), "{error}");
    let (mut kernel, opened) = open(&bpffs, SMALL).unwrap();
    assert!(opened.adopted && opened.resized.is_empty());
    assert_eq!(kernel.installed().unwrap().fdb.len(), 900);
}

/// Odd while a change goes on, so that programs keep nothing of what they look up meanwhile.
#[test]
fn a_change_that_was_killed_ends_at_the_next_start() {
    let bpffs = Bpffs::new().unwrap();
    let (kernel, _) = open(&bpffs, SMALL).unwrap();
    drop(kernel);
    let pin = pin(&bpffs, map::GENERATION);
    bpftool(&format!("map update pinned {pin} key 0 0 0 0 value 7 0 0 0 0 0 0 0"));
    let is = |number: u64| {
        let shown = bpftool(&format!("map lookup pinned {pin} key 0 0 0 0"));
        assert!(shown.contains(&format!("\"number\": {number}")), "{shown}, expected {number}");
    };
    let (mut kernel, _) = open(&bpffs, SMALL).unwrap();
    is(8);
    kernel.apply(&Step::RemoveSenders(vec![])).unwrap();
    is(10);
    kernel.apply(&Step::PutFdb(vec![])).unwrap();
    is(10);
}

#[test]
fn a_map_of_another_layout_is_refused_by_name() {
    let bpffs = Bpffs::new().unwrap();
    drop(open(&bpffs, SMALL).unwrap());
    let pin = pin(&bpffs, map::PORT);
    std::fs::remove_file(&pin).unwrap();
    bpftool(&format!("map create {pin} type hash key 4 value 64 entries 16 name PORT"));
    let error = refusal(open(&bpffs, SMALL));
    assert_eq!(
        error.to_string(),
        "pinned map PORT has key size 4, expected 8; \
         type `vtep-agent detach`, which stops forwarding, or run the agent that made it"
    );
}

#[test]
fn pins_of_another_version_are_refused_and_stay() {
    let bpffs = Bpffs::new().unwrap();
    let other = root(&bpffs).join("v99");
    std::fs::create_dir_all(&other).unwrap();
    let error = refusal(open(&bpffs, SMALL));
    assert!(matches!(&error, KernelError::OtherVersion { found, .. } if found == "v99"), "{error}");
    assert!(matches!(kernel::remove(&root(&bpffs)), Err(KernelError::OtherVersion { .. })));
    assert!(other.exists());
}

#[test]
fn a_second_agent_is_told_who_is_first() {
    let bpffs = Bpffs::new().unwrap();
    let (mut kernel, _) = open(&bpffs, SMALL).unwrap();
    install(&mut kernel);
    let start = Instant::now();
    let error = refusal(open(&bpffs, SMALL));
    assert!(start.elapsed() < Duration::from_secs(5));
    assert!(
        matches!(error, KernelError::Locked { pid: Some(pid), .. } if pid == std::process::id()),
        "{error}"
    );
    assert!(matches!(kernel::remove(&root(&bpffs)), Err(KernelError::Locked { .. })));
    assert_eq!(kernel.installed().unwrap().vteps.len(), 2, "the first one's maps are untouched");
    drop(kernel);
    open(&bpffs, SMALL).unwrap();
}

#[test]
fn without_a_bpf_filesystem_the_mount_command_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = refusal(Kernel::open(&settings(&folder.path().join("vtepd"), SMALL)));
    let (path, mount) = (folder.path().join("vtepd"), folder.path());
    assert_eq!(
        error.to_string(),
        format!("{} is on no BPF filesystem; type `mount -t bpf bpf {}`", path.display(), mount.display())
    );
    assert!(!path.exists());
}

#[test]
fn removal_takes_every_pin_and_folder() {
    let bpffs = Bpffs::new().unwrap();
    let (kernel, _) = open(&bpffs, SMALL).unwrap();
    assert_eq!(kernel.remove().unwrap(), map::ALL.len());
    assert!(!root(&bpffs).exists());
    assert_eq!(kernel::remove(&root(&bpffs)).unwrap(), 0);
}

#[test]
fn bpftool_shows_the_fields_of_a_mac() {
    let bpffs = Bpffs::new().unwrap();
    let small = Sizes { macs_max: 8, ..SMALL };
    let (mut kernel, _) = open_with(&bpffs, small, MacTable::Bucketed).unwrap();
    kernel.apply(&Step::PutFdb(vec![(mac(1), to_vtep(5))])).unwrap();
    let shown = bpftool(&format!("map dump pinned {}", pin(&bpffs, map::MACTAB)));
    assert!(shown.contains("\"bd\": 1") && shown.contains("\"master\": 5"), "{shown}");
}

fn root(bpffs: &Bpffs) -> std::path::PathBuf {
    bpffs.path().join("vtepd")
}

fn settings(root: &std::path::Path, sizes: Sizes) -> Settings {
    Settings { sizes, ..Settings::new(root) }
}

fn open(bpffs: &Bpffs, sizes: Sizes) -> Result<(Kernel, Opened), KernelError> {
    open_with(bpffs, sizes, MacTable::default())
}

fn open_with(bpffs: &Bpffs, sizes: Sizes, mac_table: MacTable) -> Result<(Kernel, Opened), KernelError> {
    let (mut kernel, opened) = Kernel::open(&Settings { mac_table, ..settings(&root(bpffs), sizes) })?;
    kernel.apply(&Step::PutDomains(vec![(100, 1)])).unwrap();
    Ok((kernel, opened))
}

#[track_caller]
fn refusal(result: Result<(Kernel, Opened), KernelError>) -> KernelError {
    match result {
        Ok((_, opened)) => panic!("it was opened: {opened:?}"),
        Err(error) => error,
    }
}

fn install(kernel: &mut Kernel) {
    let udp_port = 4789_u16.to_be_bytes();
    let config =
        Config { local_v6: [0; 16], local_v4: [192, 0, 2, 1], tunnel_ifindex: 9, udp_port, flags: 0 };
    let local_port = LocalPort { ifindex: 4, vni: 100, vlan: 0, flags: 0, bd: 1, mtu: 1500 };
    let port = PortValue { vni: 100, bd: 1, local_port: 1, flags: PortValue::LEARN, ..PortValue::UNBOUND };
    let sender = VtepByIpKey { vni: 100, address: adj(1).remote };
    let flood = vec![Target::LocalPort(1), Target::Vtep(1), Target::Vtep(2)];
    let steps = [
        Step::SetConfig(config),
        Step::PutVteps(vec![
            (1, VtepRow { adj: adj(1), up: true, suspect: false }),
            (2, VtepRow { adj: adj(2), up: false, suspect: false }),
        ]),
        Step::PutLocalPorts(vec![(1, local_port)]),
        Step::PutFdb((0..100).map(|n| (mac(n), to_vtep(n % 2 + 1))).collect()),
        Step::PutSenders(vec![(sender, 1)]),
        Step::PutNetworks(vec![(
            100,
            Network { bd: 1, flags: VniValue::DROP_UNKNOWN, flood, ..Network::default() },
        )]),
        Step::PutPorts(vec![(PortId { ifindex: 4, vlan: 0 }, port)]),
    ];
    for step in steps {
        let applied = kernel.apply(&step).unwrap();
        assert!(applied.refused.is_empty(), "{step:?}");
    }
}

fn put_vtep(kernel: &mut Kernel, index: u32, host: u8, up: bool) -> VtepAdj {
    let adj = adj(host);
    kernel.apply(&Step::PutVteps(vec![(index, VtepRow { adj, up, suspect: false })])).unwrap();
    adj
}

fn put_network(kernel: &mut Kernel, vni: u32, flood: Vec<Target>) {
    let step = Step::PutNetworks(vec![(vni, Network { bd: 1, flags: 0, flood, ..Network::default() })]);
    assert!(kernel.apply(&step).unwrap().refused.is_empty());
}

#[track_caller]
fn check_equal(found: &Dataplane, expected: &Dataplane) {
    assert_eq!(found.config, expected.config);
    assert_eq!(found.vteps, expected.vteps);
    assert_eq!(found.senders, expected.senders);
    assert_eq!(found.networks, expected.networks);
    assert_eq!(found.local_ports, expected.local_ports);
    assert_eq!(found.ports, expected.ports);
    assert_eq!(found.fdb, expected.fdb);
}

fn mac(n: u32) -> FdbKey {
    let mut mac = [2, 0, 0, 0, 0, 0];
    mac[2..].copy_from_slice(&n.to_be_bytes());
    FdbKey::new(100, mac)
}

fn to_vtep(index: u32) -> FdbTarget {
    FdbTarget { master: Target::Vtep(index), slave: Target::None, flags: 0 }
}

fn adj(host: u8) -> VtepAdj {
    let mut adj: VtepAdj = bytemuck::Zeroable::zeroed();
    adj.remote = mapped_v4(Ipv4Addr::new(198, 51, 100, host).octets());
    adj.mtu = 1500;
    adj
}

fn pin(bpffs: &Bpffs, name: &str) -> String {
    root(bpffs).join("v1/maps").join(name).display().to_string()
}

/// The values of a map, byte by byte in hexadecimal.
fn dump(bpffs: &Bpffs, name: &str) -> Vec<String> {
    let shown = bpftool(&format!("--json map dump pinned {}", pin(bpffs, name)));
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let rows = shown.as_array().unwrap().iter();
    rows.map(|row| {
        row["value"]
            .as_array()
            .unwrap()
            .iter()
            .map(|byte| byte.as_str().unwrap().trim_start_matches("0x"))
            .collect()
    })
    .collect()
}

/// Sets every byte of an element to 1, on every CPU.
fn fill(bpffs: &Bpffs, name: &str, index: u8, value_size: usize) {
    let pin = pin(bpffs, name);
    bpftool(&format!("map update pinned {pin} key {index} 0 0 0 value {}", "1 ".repeat(value_size)));
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn bpftool(arguments: &str) -> String {
    output(Command::new("bpftool").args(arguments.split_whitespace())).unwrap()
}

/// The programs' word is taken back by whoever knows of it, and by nobody in passing.
#[test]
fn a_vtep_that_the_programs_took_down_comes_back_on_purpose_only() {
    let bpffs = Bpffs::new().unwrap();
    let (mut kernel, _) = open(&bpffs, SMALL).unwrap();
    let adj = put_vtep(&mut kernel, 3, 1, true);
    fill(&bpffs, map::VTEP_OPER, 3, 1);
    let put = |kernel: &mut Kernel, row| {
        kernel.apply(&Step::PutVteps(vec![(3, row)])).unwrap();
    };
    let suspect = VtepRow { adj, up: true, suspect: true };
    assert_eq!(kernel.installed().unwrap().vteps.get(&3), Some(&suspect));
    put(&mut kernel, suspect);
    put(&mut kernel, VtepRow { up: false, ..suspect });
    assert!(!kernel.vtep_oper_up(3).unwrap());
    put(&mut kernel, VtepRow { suspect: false, ..suspect });
    assert!(kernel.vtep_oper_up(3).unwrap());
    assert_eq!(kernel.installed().unwrap().vteps.get(&3), Some(&VtepRow { suspect: false, ..suspect }));
}
