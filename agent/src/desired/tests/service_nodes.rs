use super::*;

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

/// A restarted agent of a new reign that has not heard yet where the only service node is.
#[test]
fn a_network_that_is_known_in_part_keeps_its_service_node() {
    let mut host = Host::new();
    host.set_table(&TABLE.replace("vni = 5001", "replication = \"service_node\", vni = 5001"));
    host.settle();
    let flood = host.installed.networks[&5001].flood.clone();
    assert!(matches!(flood[1..], [Target::Vtep(_)]));
    host.allocation = Allocation::recover(&host.installed, host.now);
    for switch in host.table.logical_switches.values_mut() {
        switch.flood.clear();
        switch.flood_partial = true;
    }
    host.settle();
    assert_eq!(host.installed.networks[&5001].flood, flood);
}
