//! What the agent writes: its own switch, ports, tunnel address and MACs, and nothing else.

use nix::sys::signal::Signal;
use vtep_tests::{
    deadline::wait_for,
    lab::{AgentSource, Vm, rig::SOON},
    ovsdb::OvsdbServer,
};

use crate::rig::Rig;

/// `vtep-ctl list-local-macs`: MACs of stations, and `unknown-dst`.
fn local_macs(rig: &Rig) -> String {
    rig.ovsdb.vtep_ctl("list-local-macs blue").unwrap()
}

#[track_caller]
fn wait_for_local(rig: &Rig, mac: &str, present: bool) {
    let what = format!("{mac} in Ucast_Macs_Local: {present}");
    wait_for(&what, SOON, || (local_macs(rig).contains(mac) == present).then_some(())).unwrap();
}

/// The agent starts again, and has done what its controller wrote after it did.
fn start_and_hear(rig: &mut Rig) {
    rig.agent.start().unwrap();
    wait_for("readiness", SOON, || (rig.status()["ready"] == true).then_some(())).unwrap();
    rig.write(&["add-ls red -- set Logical_Switch red tunnel_key=5002 -- bind-ls host p2 0 red"]);
    wait_for("what the controller wrote since", SOON, || rig.agent.json(&["vni", "show", "5002"]).ok())
        .unwrap();
}

/// Rows of the tables that a device writes, with their UUIDs, without the controller's column.
fn written(server: &OvsdbServer) -> String {
    let tables = [
        "Physical_Switch",
        "Physical_Port",
        "Ucast_Macs_Local",
        "Mcast_Macs_Local",
        "Physical_Locator",
        "Tunnel",
    ];
    let shown = tables.map(|table| server.vtep_ctl(&format!("list {table}")).unwrap()).join("\n");
    shown.lines().filter(|line| !line.starts_with("vlan_bindings")).collect::<Vec<_>>().join("\n")
}

#[test]
fn our_switch_ports_and_tunnel_address_are_in_the_database() {
    let rig = Rig::new();
    assert_eq!(rig.ovsdb.vtep_ctl("list-ps").unwrap(), "host");
    assert_eq!(rig.ovsdb.vtep_ctl("get Physical_Switch host tunnel_ips").unwrap(), "[\"192.0.2.1\"]");
    rig.agent.reconfigure(|text| format!("{text}\n[[port]]\nname = \"p9\"\n")).unwrap();
    let Rig { mut agent, ovsdb, .. } = rig;
    agent.daemon().unwrap().signal(Signal::SIGHUP).unwrap();
    let ports = || ovsdb.vtep_ctl("list-ports host").ok();
    wait_for("the new port", SOON, || (ports()? == "p1\np2\np9").then_some(())).unwrap();
}

#[test]
fn configured_macs_and_our_own_flood_address_are_reported() {
    let rig = Rig::connected();
    wait_for_local(&rig, &format!("{} -> vxlan_over_ipv4/192.0.2.1", rig.vm.mac), true);
    wait_for_local(&rig, "unknown-dst -> vxlan_over_ipv4/192.0.2.1", true);
    rig.write(&["unbind-ls host p1 0"]);
    wait_for_local(&rig, "192.0.2.1", false);
}

#[test]
fn a_learnt_mac_is_reported_and_goes_with_its_binding() {
    let rig = Rig::connected();
    let (second, _) = Vm::new(&rig.host.netns, "p2", 2).unwrap();
    rig.write(&["bind-ls host p2 0 blue"]);
    wait_for("an echo", SOON, || second.pings(rig.far.address, 1).then_some(())).unwrap();
    let row = format!("{} -> vxlan_over_ipv4/192.0.2.1", second.mac);
    wait_for_local(&rig, &row, true);
    rig.write(&["unbind-ls host p2 0"]);
    wait_for_local(&rig, &row, false);
    wait_for_local(&rig, &rig.vm.mac.to_string(), true);
}

#[test]
fn a_learnt_mac_goes_with_its_port() {
    let rig = Rig::connected();
    let (second, port) = Vm::new(&rig.host.netns, "p2", 2).unwrap();
    rig.write(&["bind-ls host p2 0 blue"]);
    wait_for("an echo", SOON, || second.pings(rig.far.address, 1).then_some(())).unwrap();
    wait_for_local(&rig, &second.mac.to_string(), true);
    port.delete().unwrap();
    wait_for_local(&rig, &second.mac.to_string(), false);
    assert_eq!(rig.ovsdb.vtep_ctl("list-ports host").unwrap(), "p1\np2", "the port itself is still ours");
}

#[test]
fn a_stopped_agent_leaves_its_rows_and_a_restart_changes_none() {
    let mut rig = Rig::connected();
    let vm = rig.vm.mac.to_string();
    wait_for_local(&rig, &vm, true);
    let tunnels = || rig.ovsdb.vtep_ctl("--bare --columns=bfd_status list Tunnel").ok();
    wait_for("the tunnel", SOON, || (tunnels()? == "enabled=false").then_some(())).unwrap();
    let before = written(&rig.ovsdb);
    rig.agent.daemon().unwrap().terminate(SOON).unwrap();
    assert_eq!(written(&rig.ovsdb), before);
    assert!(rig.vm.pings(rig.far.address, 10));
    start_and_hear(&mut rig);
    assert_eq!(written(&rig.ovsdb), before);
    assert!(rig.vm.pings(rig.far.address, 10));
}

#[test]
fn a_stations_address_is_reported_with_its_mac_and_a_restart_leaves_it() {
    let mut rig = Rig::connected();
    let told = || rig.ovsdb.vtep_ctl("--bare --columns=ipaddr list Ucast_Macs_Local").unwrap();
    assert_eq!(told(), "", "nobody listened");
    rig.agent.reconfigure(|text| text + "\n[[network]]\nsuppress = true\n").unwrap();
    rig.agent.daemon().unwrap().signal(Signal::SIGHUP).unwrap();
    wait_for("the address", SOON, || {
        rig.vm.netns.run("ip neigh flush dev eth0").unwrap();
        rig.vm.pings(rig.far.address, 1);
        (told() == rig.vm.address.to_string()).then_some(())
    })
    .unwrap();
    let before = written(&rig.ovsdb);
    rig.agent.daemon().unwrap().terminate(SOON).unwrap();
    start_and_hear(&mut rig);
    assert_eq!(written(&rig.ovsdb), before);
}

/// A new key is no new claim: the row of a MAC stays the one it was.
#[test]
fn a_new_key_keeps_learnt_macs_and_their_rows() {
    let rig = Rig::connected();
    let (second, _) = Vm::new(&rig.host.netns, "p2", 2).unwrap();
    rig.write(&["bind-ls host p2 0 blue"]);
    wait_for("an echo", SOON, || second.pings(rig.far.address, 1).then_some(())).unwrap();
    wait_for_local(&rig, &second.mac.to_string(), true);
    let rows = || rig.ovsdb.vtep_ctl("--format=csv --columns=_uuid,MAC list Ucast_Macs_Local").unwrap();
    let before = rows();
    rig.write(&["set Logical_Switch blue tunnel_key=5003"]);
    wait_for("the learnt MAC under the new key", SOON, || {
        let entry = rig.agent.json(&["fdb", "get", "5003", &second.mac.to_string()]).ok()?;
        (entry["learnt"] == true).then_some(())
    })
    .unwrap();
    assert!(rig.vm.pings(second.address, 10));
    // A marker that comes later, so that nothing about the new key is still to be written.
    rig.write(&["add-ls red -- set Logical_Switch red tunnel_key=5004 -- bind-ls host p1 7 red"]);
    wait_for("the marker", SOON, || {
        rig.ovsdb.vtep_ctl("list-local-macs red").ok().filter(|macs| macs.contains("unknown-dst"))
    })
    .unwrap();
    let of_blue = |rows: &str| rows.lines().filter(|row| before.contains(row)).count();
    assert_eq!(of_blue(&rows()), before.lines().count());
}

/// The database refuses to delete what a MAC row refers to, ours among them.
#[test]
fn a_network_can_be_deleted_once_it_is_unbound_and_comes_back_under_its_name() {
    let rig = Rig::connected();
    wait_for_local(&rig, &rig.vm.mac.to_string(), true);
    for _ in 0..3 {
        rig.write(&["unbind-ls host p1 0", "clear-remote-macs blue"]);
        wait_for("the end of the network", SOON, || rig.ovsdb.vtep_ctl("del-ls blue").ok()).unwrap();
        wait_for("its end in the kernel", SOON, || {
            rig.agent.json(&["vni", "show"]).ok().filter(|rows| rows.as_array().is_some_and(Vec::is_empty))
        })
        .unwrap();
        rig.connect();
        wait_for_local(&rig, &rig.vm.mac.to_string(), true);
        wait_for_local(&rig, "unknown-dst -> vxlan_over_ipv4/192.0.2.1", true);
    }
}

#[test]
fn a_new_tunnel_address_takes_our_rows_with_it() {
    let mut rig = Rig::connected();
    wait_for_local(&rig, &rig.vm.mac.to_string(), true);
    let rows =
        |rig: &Rig| rig.ovsdb.vtep_ctl("--format=csv --columns=_uuid,MAC list Ucast_Macs_Local").unwrap();
    let before = rows(&rig);
    rig.agent.daemon().unwrap().terminate(SOON).unwrap();
    rig.host.uplink.add_address("192.0.2.2/24").unwrap();
    rig.agent.reconfigure(|text| text.replace("\"192.0.2.1\"", "\"192.0.2.2\"")).unwrap();
    rig.agent.start().unwrap();
    wait_for_local(&rig, &format!("{} -> vxlan_over_ipv4/192.0.2.2", rig.vm.mac), true);
    wait_for_local(&rig, "unknown-dst -> vxlan_over_ipv4/192.0.2.2", true);
    let addresses = || rig.ovsdb.vtep_ctl("get Physical_Switch host tunnel_ips").ok();
    wait_for("the new address alone", SOON, || (addresses()? == "[\"192.0.2.2\"]").then_some(())).unwrap();
    assert!(!local_macs(&rig).contains("192.0.2.1"), "{}", local_macs(&rig));
    assert_eq!(rows(&rig), before, "the rows are the same, so nothing is claimed anew");
    rig.wait_until_forwarding();
}

#[test]
fn a_switch_that_an_admin_made_is_taken_over_with_the_ports_he_gave_it() {
    let ovsdb = OvsdbServer::start().unwrap();
    for line in ["add-ps host -- set Physical_Switch host description=rack-7", "add-port host eth9"] {
        ovsdb.vtep_ctl(line).unwrap();
    }
    let uuid = ovsdb.vtep_ctl("get Physical_Switch host _uuid").unwrap();
    let source = AgentSource::Ovsdb(ovsdb.remote());
    let rig = Rig::with(|_| (ovsdb, source));
    rig.connect();
    assert_eq!(rig.ovsdb.vtep_ctl("list-ports host").unwrap(), "eth9\np1\np2");
    assert_eq!(
        rig.ovsdb.vtep_ctl("get Physical_Switch host _uuid description").unwrap(),
        format!("{uuid}\nrack-7")
    );
    assert_eq!(rig.ovsdb.vtep_ctl("get Physical_Switch host tunnel_ips").unwrap(), "[\"192.0.2.1\"]");
}

#[test]
fn rows_of_other_switches_are_neither_followed_nor_touched() {
    let ovsdb = OvsdbServer::start().unwrap();
    for line in [
        "add-ps rack -- set Physical_Switch rack tunnel_ips=192.0.2.11",
        "add-port rack eth1",
        "add-ls grey -- set Logical_Switch grey tunnel_key=77",
        "bind-ls rack eth1 0 grey",
        "add-ucast-local grey 00:16:3e:00:00:01 192.0.2.11",
        "add-mcast-local grey unknown-dst 192.0.2.11",
        // A port of theirs that is called like one of ours.
        "add-port rack p1",
        "bind-ls rack p1 0 grey",
    ] {
        ovsdb.vtep_ctl(line).unwrap();
    }
    let theirs = |ovsdb: &OvsdbServer| {
        let shown =
            ["list-ports rack", "list-local-macs grey", "list-bindings rack eth1", "list-bindings rack p1"];
        shown.map(|line| ovsdb.vtep_ctl(line).unwrap())
    };
    let before = theirs(&ovsdb);
    let source = AgentSource::Ovsdb(ovsdb.remote());
    let mut rig = Rig::with(|_| (ovsdb, source));
    rig.connect();
    wait_for_local(&rig, &rig.vm.mac.to_string(), true);
    assert_eq!(theirs(&rig.ovsdb), before);
    let bound = rig.agent.json(&["port", "show"]).unwrap();
    assert_eq!(bound.as_array().unwrap().len(), 1, "{bound}");
    rig.agent.daemon().unwrap().terminate(SOON).unwrap();
    assert_eq!(theirs(&rig.ovsdb), before);
}
