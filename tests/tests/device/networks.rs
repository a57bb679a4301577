//! Logical switches, their keys, and bindings.

use vtep_tests::{
    deadline::wait_for,
    lab::{
        Vm,
        rig::{SOON, VNI},
    },
};

use crate::rig::Rig;

#[test]
fn bindings_are_followed_untagged_and_tagged() {
    let rig = Rig::connected();
    let binding = rig.binding("p1", 0).unwrap();
    assert_eq!((&binding["vni"], &binding["attached"]), (&VNI.into(), &true.into()));

    rig.write(&["add-ls red -- set Logical_Switch red tunnel_key=5002", "bind-ls host p1 100 red"]);
    wait_for("the tagged binding", SOON, || (rig.binding("p1", 100)?["vni"] == 5002).then_some(())).unwrap();
    assert!(rig.vm.pings(rig.far.address, 10), "the untagged one stays");

    rig.write(&["unbind-ls host p1 100"]);
    wait_for("its end", SOON, || rig.binding("p1", 100).is_none().then_some(())).unwrap();
    rig.write(&["unbind-ls host p1 0"]);
    wait_for("the end of the other", SOON, || rig.binding("p1", 0).is_none().then_some(())).unwrap();
    wait_for("the end of forwarding", SOON, || (!rig.vm.pings(rig.far.address, 1)).then_some(())).unwrap();
    rig.write(&["bind-ls host p1 0 blue"]);
    rig.wait_until_forwarding();
}

#[test]
fn a_binding_to_another_network_moves_the_port() {
    let rig = Rig::connected();
    rig.write(&[
        "add-ls red -- set Logical_Switch red tunnel_key=5002",
        "unbind-ls host p1 0 -- bind-ls host p1 0 red",
    ]);
    wait_for("the other network", SOON, || (rig.binding("p1", 0)?["vni"] == 5002).then_some(())).unwrap();
    wait_for("the end of forwarding", SOON, || (!rig.vm.pings(rig.far.address, 1)).then_some(())).unwrap();
    rig.write(&["unbind-ls host p1 0 -- bind-ls host p1 0 blue"]);
    rig.wait_until_forwarding();
}

#[test]
fn a_network_without_a_key_or_with_key_0_waits_for_one() {
    let rig = Rig::new();
    rig.write(&[
        "add-ls blue",
        "bind-ls host p1 0 blue",
        "add-mcast-remote blue unknown-dst 192.0.2.11",
        &format!("add-ucast-remote blue {} 192.0.2.11", rig.far.mac),
    ]);
    // The marker comes after what waits, so that was seen before it.
    rig.write(&["add-ls red -- set Logical_Switch red tunnel_key=5002"]);
    let has = |vni: u32| rig.agent.json(&["vni", "show", &vni.to_string()]).is_ok();
    wait_for("red", SOON, || has(5002).then_some(())).unwrap();
    assert!(!has(VNI));
    rig.write(&["set Logical_Switch blue tunnel_key=0", "set Logical_Switch red tunnel_key=5003"]);
    wait_for("red anew", SOON, || has(5003).then_some(())).unwrap();
    assert_eq!(rig.agent.json(&["vni", "show"]).unwrap().as_array().unwrap().len(), 1);
    assert_eq!(rig.status()["source"]["rows_refused"], 0, "waiting is no fault");
    rig.write(&[&format!("set Logical_Switch blue tunnel_key={VNI}")]);
    rig.wait_until_forwarding();
}

#[test]
fn a_new_key_changes_live_forwarding() {
    let rig = Rig::connected();
    // The same station once more behind another VNI of the TOR.
    let green = rig.tor.kernel_vtep(5003, &[rig.host.address]).unwrap();
    let (twin, twin_port) = Vm::new(&rig.tor.netns, "p5", 3).unwrap();
    twin_port.set_bridge(&green).unwrap();
    rig.write(&["set Logical_Switch blue tunnel_key=5003"]);
    let received = |vm: &Vm| vm.eth0.counters().unwrap().received_packets;
    wait_for("an echo from the twin", SOON, || {
        let before = received(&twin);
        (rig.vm.pings(twin.address, 2) && received(&twin) >= before + 2).then_some(())
    })
    .unwrap();
    let before = received(&rig.far);
    assert!(rig.vm.pings(twin.address, 20));
    assert!(received(&rig.far) < before + 5, "frames still leave with the old key");
    rig.wait_for_master(VNI, &rig.far.mac.to_string(), None);
    rig.wait_for_master(5003, &rig.far.mac.to_string(), Some("192.0.2.11"));
}

#[test]
fn a_key_that_another_network_has_is_refused_by_name_and_the_other_goes_on() {
    let rig = Rig::connected();
    // By name it would come first: who had the key keeps it.
    rig.write(&[&format!("add-ls azure -- set Logical_Switch azure tunnel_key={VNI}")]);
    rig.wait_for_refusal("logical switch azure has VNI 5001, which blue has already");
    assert!(rig.vm.pings(rig.far.address, 10));
    rig.write(&["set Logical_Switch azure tunnel_key=5009"]);
    wait_for("the end of the refusal", SOON, || (rig.status()["source"]["rows_refused"] == 0).then_some(()))
        .unwrap();
}

#[test]
fn a_key_beyond_24_bits_is_refused_by_name() {
    let rig = Rig::connected();
    rig.write(&["add-ls high -- set Logical_Switch high tunnel_key=16777216"]);
    rig.wait_for_refusal("logical switch high: VNI 16777216 is out of range; expected 1 to 16777215");
    assert!(rig.vm.pings(rig.far.address, 10));
}

#[test]
fn a_binding_of_no_vlan_is_refused_and_the_others_stand() {
    let rig = Rig::connected();
    rig.write(&["bind-ls host p1 4095 blue"]);
    rig.wait_for_refusal("port p1: VLAN id 4095 is out of range; expected 0 (untagged) to 4094");
    assert!(rig.vm.pings(rig.far.address, 10));
}
