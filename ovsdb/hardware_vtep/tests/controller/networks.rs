//! Logical switches, bindings and flood lists.

use hardware_vtep::Mirror;
use hardware_vtep::controller::Subject;

use crate::server::Server;
use crate::tor::{Controller, OWN, at, ls, mac, network, port, remote, shown, tor, vlan};

fn bindings(server: &Server, port: &str) -> Vec<String> {
    shown(server, &["list-bindings", "tor1", port])
}

impl Controller {
    async fn bind(&mut self, name: &str, id: u16, switch: &str) {
        self.outline.bindings.insert((port(name), vlan(id)), ls(switch));
        self.write_outline().await;
    }

    async fn unbind(&mut self, name: &str, id: u16) {
        self.outline.bindings.remove(&(port(name), vlan(id)));
        self.write_outline().await;
    }
}

#[tokio::test]
async fn scenario_20_a_mac_of_one_network_is_in_no_other() {
    let server = tor();
    let mut controller = Controller::start(&server).await;
    controller.network("ls0", network(5000, &[])).await;
    controller.network("ls1", network(5001, &[])).await;
    controller.put("ls0", mac(1), at("192.0.2.1")).await;
    controller.put("ls1", mac(1), at("192.0.2.2")).await;
    controller.put("ls0", mac(2), at("192.0.2.1")).await;
    assert_eq!((remote(&server, "ls0").len(), remote(&server, "ls1").len()), (2, 1));
    controller.remove("ls0", mac(1)).await;
    assert_eq!(remote(&server, "ls0").into_keys().collect::<Vec<_>>(), [mac(2).to_string()]);
    assert_eq!(remote(&server, "ls1").into_values().collect::<Vec<_>>(), ["192.0.2.2"]);
}

#[tokio::test]
async fn scenario_21_one_unknown_dst_row_follows_the_members() {
    let server = tor();
    let mut controller = Controller::start(&server).await;
    controller.network("blue", network(5000, &["192.0.2.1"])).await;
    controller.invariant = Box::new(|mirror: &Mirror| assert_eq!(mirror.mcast_remote.len(), 1));
    let row = controller.tor.mirror().mcast_remote.iter().next().unwrap().0;
    for members in [&["192.0.2.1", "192.0.2.2"][..], &["192.0.2.2", "192.0.2.3", OWN], &["192.0.2.3"]] {
        controller.network("blue", network(5000, members)).await;
        let others = members.iter().filter(|&&member| member != OWN);
        assert_eq!(controller.flood(), others.map(|&member| member.to_owned()).collect());
        assert_eq!(controller.tor.mirror().locator_sets.len(), 1, "former sets are gone");
    }
    assert!(controller.tor.mirror().mcast_remote.row(row).is_some(), "the row was re-pointed");
    let transactions = controller.transactions;
    controller.network("blue", network(5000, &["192.0.2.3"])).await;
    assert_eq!(controller.transactions, transactions, "the same list is not written again");
}

#[tokio::test]
async fn a_second_unknown_dst_row_is_merged_into_one_without_a_gap() {
    let server = tor();
    let mut controller = Controller::start(&server).await;
    controller.network("blue", network(5000, &["192.0.2.1", "192.0.2.2"])).await;
    let mirror = controller.tor.mirror();
    let switch = mirror.logical_switches.iter().next().unwrap().0;
    let locator = mirror.locators.iter().find(|(_, row)| row.dst_ip == "192.0.2.1").unwrap().0;
    controller.invariant = Box::new(|mirror| {
        let reaches = |address: &str| {
            let sets =
                mirror.mcast_remote.iter().filter_map(|(_, row)| mirror.locator_sets.row(row.locator_set));
            sets.flat_map(|set| &set.locators).any(|&at| mirror.locators.row(at).unwrap().dst_ip == address)
        };
        assert!(reaches("192.0.2.1") && reaches("192.0.2.2"), "a gap");
    });
    for _ in 0..3 {
        server.transact(&format!(
            r#"["hardware_vtep",{{"op":"insert","table":"Physical_Locator_Set","uuid-name":"s","row":{{"locators":["uuid","{locator}"]}}}},
            {{"op":"insert","table":"Mcast_Macs_Remote","row":{{"MAC":"unknown-dst","logical_switch":["uuid","{switch}"],"locator_set":["named-uuid","s"]}}}}]"#,
        ));
    }
    controller.until("four rows", |tor| tor.mirror().mcast_remote.len() == 4).await;
    controller.settle().await;
    assert_eq!(controller.flood().len(), 2);
}

#[tokio::test]
async fn scenario_23_a_network_lives_as_long_as_it_is_declared() {
    let server = tor();
    let mut controller = Controller::start(&server).await;
    controller.network("blue", network(5000, &["192.0.2.1"])).await;
    controller.put("blue", mac(1), at("192.0.2.1")).await;
    controller.bind("Ethernet1/1", 100, "blue").await;
    controller.bind("Ethernet1/1", 200, "blue").await;
    controller.bind("Ethernet1/2", 300, "blue").await;
    controller.bind("Ethernet1/2", 0, "blue").await;
    assert_eq!(bindings(&server, "Ethernet1/1"), ["0100 blue", "0200 blue"]);
    assert_eq!(bindings(&server, "Ethernet1/2"), ["0000 blue", "0300 blue"]);
    assert_eq!(controller.tor.state().networks, [].into(), "bindings of our own are no news");
    controller.unbind("Ethernet1/1", 100).await;
    assert_eq!(bindings(&server, "Ethernet1/1"), ["0200 blue"]);
    assert_eq!(shown(&server, &["list-ls"]), ["blue"]);
    controller.outline.bindings.clear();
    controller.outline.switches.clear();
    controller.write_outline().await;
    assert_eq!(shown(&server, &["list-ls"]), [""; 0], "the last binding is gone");
    assert_eq!(bindings(&server, "Ethernet1/2"), [""; 0]);
    let marks = server.ctl(&["get", "Physical_Port", "Ethernet1/1", "other_config"]);
    assert_eq!((marks.trim(), controller.locators().len()), ("{}", 0));
}

#[tokio::test]
async fn scenario_23_two_networks_with_one_vni_are_refused_with_a_named_conflict() {
    let server = tor();
    server.ctl(&["add-ls", "theirs", "--", "set", "Logical_Switch", "theirs", "tunnel_key=7000"]);
    let mut controller = Controller::start(&server).await;
    controller.network("red", network(5000, &[])).await;
    controller.network("blue", network(5000, &[])).await;
    controller.network("green", network(7000, &[])).await;
    let refused = controller.refused();
    assert_eq!(refused[&Subject::Switch(ls("blue"))], "VNI 5000 is that of logical switch red");
    assert_eq!(
        refused[&Subject::Switch(ls("green"))],
        r#"VNI 7000 is that of logical switch "theirs", which is in the database and not declared"#
    );
    assert_eq!(shown(&server, &["list-ls"]), ["red", "theirs"]);
    controller.network("red", network(5001, &[])).await;
    assert_eq!(controller.refused().len(), 1);
    assert_eq!(shown(&server, &["list-ls"]), ["blue", "red", "theirs"]);
    // Two that swap.
    controller.outline.switches.insert(ls("blue"), network(5001, &[]));
    controller.network("red", network(5000, &[])).await;
    assert_eq!(shown(&server, &["get", "Logical_Switch", "blue", "tunnel_key"]), ["5001"]);
    assert_eq!(shown(&server, &["get", "Logical_Switch", "red", "tunnel_key"]), ["5000"]);
}

#[tokio::test]
async fn a_network_that_a_tor_still_refers_to_is_removed_when_it_is_free() {
    let server = tor();
    let mut controller = Controller::start(&server).await;
    controller.network("blue", network(5000, &["192.0.2.1"])).await;
    controller.put("blue", mac(1), at("192.0.2.1")).await;
    server.ctl(&["add-ucast-local", "blue", "02:00:00:00:00:09", OWN]);
    controller.catch_up().await;
    controller.outline.switches.clear();
    controller.write_outline().await;
    assert_eq!(remote(&server, "blue").len(), 0, "what is ours is gone");
    assert_eq!((shown(&server, &["list-ls"]), controller.refused().len()), (vec!["blue".to_owned()], 0));
    server.ctl(&["del-ucast-local", "blue", "02:00:00:00:00:09"]);
    controller.catch_up().await;
    controller.settle().await;
    assert_eq!(shown(&server, &["list-ls"]), [""; 0]);
}

#[tokio::test]
async fn networks_and_bindings_of_others_are_left_alone() {
    let server = tor();
    server.ctl(&["add-ls", "theirs", "--", "add-ls", "shared"]);
    server.ctl(&["bind-ls", "tor1", "Ethernet1/1", "7", "theirs"]);
    server.ctl(&["add-ucast-remote", "theirs", "02:00:00:00:00:01", "192.0.2.8"]);
    let mut controller = Controller::start(&server).await;
    assert_eq!(controller.tor.state().networks, [ls("theirs")].into());
    controller.network("shared", network(5000, &["192.0.2.1"])).await;
    controller.put("shared", mac(1), at("192.0.2.1")).await;
    assert_eq!(shown(&server, &["get", "Logical_Switch", "shared", "tunnel_key"]), ["5000"]);
    // A VLAN that somebody else bound is not taken from him.
    controller.bind("Ethernet1/1", 7, "shared").await;
    controller.bind("Ethernet9/9", 7, "shared").await;
    let refused = controller.refused();
    let reason = &refused[&Subject::Binding(port("Ethernet1/1"), vlan(7))];
    assert_eq!(
        reason,
        r#"VLAN 7 of port Ethernet1/1 is bound to "theirs", not by us; expected to bind it to shared"#
    );
    assert_eq!(refused[&Subject::Binding(port("Ethernet9/9"), vlan(7))], "there is no port Ethernet9/9");
    controller.outline.bindings.clear();
    controller.outline.switches.clear();
    controller.write_outline().await;
    assert_eq!(shown(&server, &["list-ls"]), ["shared", "theirs"]);
    assert_eq!((remote(&server, "shared").len(), remote(&server, "theirs").len()), (0, 1));
    assert_eq!(bindings(&server, "Ethernet1/1"), ["0007 theirs"]);
    assert!(controller.refused().is_empty());
}

#[tokio::test]
async fn a_vlan_is_bound_anew_in_one_transaction() {
    let server = tor();
    let mut controller = Controller::start(&server).await;
    controller.network("blue", network(5000, &[])).await;
    controller.network("red", network(6000, &[])).await;
    controller.bind("Ethernet1/1", 100, "blue").await;
    controller.invariant = Box::new(|mirror| {
        assert_eq!(mirror.physical_ports.iter().map(|(_, row)| row.vlan_bindings.len()).sum::<usize>(), 1);
    });
    controller.bind("Ethernet1/1", 100, "red").await;
    assert_eq!(bindings(&server, "Ethernet1/1"), ["0100 red"]);
    // Somebody else binds it: it is his now, also when we no longer want it.
    server.ctl(&["--", "--if-exists", "clear", "Physical_Port", "Ethernet1/2", "vlan_bindings"]);
    controller.invariant = Box::new(|_| {});
    server.ctl(&[
        "unbind-ls",
        "tor1",
        "Ethernet1/1",
        "100",
        "--",
        "bind-ls",
        "tor1",
        "Ethernet1/1",
        "100",
        "blue",
    ]);
    controller.catch_up().await;
    controller.unbind("Ethernet1/1", 100).await;
    assert_eq!(bindings(&server, "Ethernet1/1"), ["0100 blue"]);
    assert_eq!(controller.tor.state().networks, [ls("blue")].into());
}

#[tokio::test]
async fn nothing_is_torn_down_before_everything_was_told() {
    let server = tor();
    let mut controller = Controller::start(&server).await;
    controller.network("blue", network(5000, &["192.0.2.1"])).await;
    controller.put("blue", mac(1), at("192.0.2.1")).await;
    controller.bind("Ethernet1/1", 100, "blue").await;
    controller.outline.switches.clear();
    controller.outline.bindings.clear();
    controller.outline.complete = false;
    controller.write_outline().await;
    assert_eq!(remote(&server, "blue").len(), 2);
    assert_eq!(bindings(&server, "Ethernet1/1"), ["0100 blue"]);
    controller.outline.complete = true;
    controller.write_outline().await;
    assert_eq!(shown(&server, &["list-ls"]), [""; 0]);
}

#[tokio::test]
async fn a_new_key_is_one_update_and_the_macs_stay() {
    let server = tor();
    let mut controller = Controller::start(&server).await;
    controller.network("blue", network(5000, &[])).await;
    controller.put("blue", mac(1), at("192.0.2.1")).await;
    let row = controller.tor.mirror().ucast_remote.iter().next().unwrap().0;
    controller.transactions = 0;
    controller.network("blue", network(6000, &[])).await;
    assert_eq!(controller.transactions, 1);
    assert_eq!(shown(&server, &["get", "Logical_Switch", "blue", "tunnel_key"]), ["6000"]);
    assert!(controller.tor.mirror().ucast_remote.row(row).is_some());
}
