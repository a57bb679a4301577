//! A MAC is claimed elsewhere.

use std::time::Duration;

use vtep_api::Role;
use vtep_tests::{
    deadline::wait_for,
    lab::{Place, Side, figure5::X},
};

use super::rig::{Rig, SOON, VTEPS, wait_for_more};

const SILENCE: Duration = Duration::from_millis(50);
const AT_A: [(&str, &str); 4] = [("VM1", "a"), ("VM2", "a"), ("VM4", "c"), ("VM8", "sfe")];
const AT_B: [(&str, &str); 4] = [("VM1", "b"), ("VM2", "b"), ("VM4", "c"), ("VM8", "sfe")];

#[test]
fn scenario_04_failover_without_a_withdrawal() {
    let rig = Rig::new();
    let lc = rig.controllers.named("lc");
    let vm1 = rig.vm("VM1").mac.to_string();
    let reported = rig.reports("a").unwrap();
    rig.rack_host("h1x").use_link(Side::Right).unwrap();
    rig.tor("b").set_role(Role::Master, "x").unwrap();
    rig.wait_for_table(&AT_B);
    assert_eq!(rig.reports("a").unwrap(), reported, "A withdrew nothing");
    wait_for("A's own row", SOON, || (rig.remote("a", "VM1")?["role"] == "slave").then_some(())).unwrap();
    let entry = rig.sfe.json(&["fdb", "get", &X.to_string(), &vm1]).unwrap();
    assert_eq!(entry["slave"]["vtep"]["address"], rig.address("a").to_string());
    let explained = lc.print(&["explain", "x", &vm1]).unwrap();
    assert!(explained.contains("arrival") && explained.contains('b'), "{explained}");
    assert!(rig.vm("VM8").pings(rig.vm("VM1").address, 20));
}

#[test]
fn scenario_13_a_migrated_vm_is_not_stolen_back() {
    let mut rig = Rig::new();
    let moved = [("VM1", "c"), ("VM2", "a"), ("VM4", "c"), ("VM8", "sfe")];
    let stream = rig.stream();
    rig.rack_host("h1x").migrate(rig.vm("VM1"), rig.rack_host("h2x")).unwrap();
    rig.wait_for_table(&moved);
    wait_for_more(&stream);
    let report = stream.finish().unwrap();
    assert!(report.received > 200, "{report:?}");
    let c = rig.address("c").to_string();
    let row = |tor: &str| rig.remote(tor, "VM1").is_some();
    assert!(row("a") && row("b") && !row("c"), "the old place is told, and the new one has it itself");
    assert!(rig.vm("VM2").pings(rig.vm("VM1").address, 10), "VM2's frames go from a to {c} only");

    // A late frame, and everything told again: by the TOR's database, and by the physical controller.
    rig.rack_host("h1x").announce_over(rig.vm("VM1"), Side::Left).unwrap();
    rig.tor_mut("a").ovsdb.restart().unwrap();
    let pc = rig.controllers.named_mut("pc");
    pc.kill().unwrap();
    pc.start().unwrap();
    // What is told again comes before what is new.
    let newcomer = rig.rack_host("h1x").vm(9).unwrap();
    newcomer.announce().unwrap();
    let a = Place::At(rig.address("a"));
    wait_for("a new VM behind a", SOON, || (rig.sfe.place(X, newcomer.mac)? == a).then_some(())).unwrap();
    assert_eq!(rig.places(X, &VTEPS, &moved), Some(()), "VM1 stays at c");
}

/// Nothing of it is withdrawn anywhere: no link went down, and no MAC aged.
#[test]
fn scenario_13_a_vm_that_migrates_and_comes_back_is_followed_both_ways() {
    let rig = Rig::new();
    let (here, there) = (rig.rack_host("h1x"), rig.rack_host("h2x"));
    here.migrate(rig.vm("VM1"), there).unwrap();
    rig.wait_for_table(&[("VM1", "c"), ("VM2", "a"), ("VM4", "c"), ("VM8", "sfe")]);
    there.migrate(rig.vm("VM1"), here).unwrap();
    let (vm1, vm8) = (rig.vm("VM1"), rig.vm("VM8"));
    // It speaks, though it hears no answer as long as it is held for one behind c.
    wait_for("VM1 behind a again", SOON, || {
        vm1.pings(vm8.address, 1);
        rig.places(X, &VTEPS, &AT_A)
    })
    .unwrap();
    assert!(vm8.pings(vm1.address, 20));
}

#[test]
fn scenario_14_the_sfe_sends_to_the_master_and_follows_it() {
    let rig = Rig::new();
    for tor in ["a", "b", "c", "d"] {
        assert_eq!(rig.tor(tor).agent.place(X, rig.vm("VM8").mac), Some(Place::At(rig.host.address)));
    }
    let vm1 = rig.vm("VM1");
    let to_vm1 = |frame: &[u8]| rig.carries(frame, X, vm1);
    // Whoever has no entry for a MAC floods, and then TOR c hears of it.
    let bystander = rig.tor("c").listen().unwrap();
    let stream = rig.stream();
    let [at_a, at_b] = ["a", "b"].map(|tor| rig.tor(tor).listen().unwrap());
    assert!(at_a.receive_where(SOON, to_vm1).unwrap().is_some());
    assert_eq!(at_b.receive_where(SILENCE, to_vm1).unwrap(), None);

    for (side, role, table, new) in
        [(Side::Right, Role::Master, AT_B, &at_b), (Side::Left, Role::Slave, AT_A, &at_a)]
    {
        rig.rack_host("h1x").use_link(side).unwrap();
        rig.tor("b").set_role(role, "x").unwrap();
        rig.wait_for_table(&table);
        new.receive_all(Duration::ZERO, |_| true).unwrap();
        assert!(new.receive_where(SOON, to_vm1).unwrap().is_some());
    }
    wait_for_more(&stream);
    stream.finish().unwrap();
    assert_eq!(
        bystander.receive_all(SILENCE, to_vm1).unwrap(),
        Vec::<Vec<u8>>::new(),
        "never without an entry"
    );
}

#[test]
fn scenario_22_a_new_tunnel_address_is_followed_by_everyone() {
    let mut rig = Rig::new();
    let before = rig.address("c").to_string();
    let c = rig.tor_mut("c");
    c.machine.uplink.add_address("192.0.2.113/24").unwrap();
    c.machine.address = [192, 0, 2, 113].into();
    c.agent.reconfigure(|text| text.replace(&format!("\"{before}\""), "\"192.0.2.113\"")).unwrap();
    c.agent.daemon().unwrap().terminate(SOON).unwrap();
    c.agent.start().unwrap();
    rig.wait_for_table(&AT_A);
    for tor in ["a", "b", "d"] {
        wait_for("the end of the old locator", SOON, || {
            let find = format!("--bare --columns=_uuid find Physical_Locator dst_ip=\"{before}\"");
            rig.tor(tor).ovsdb.vtep_ctl(&find).ok().filter(String::is_empty)
        })
        .unwrap();
    }
    wait_for("an echo", SOON, || rig.vm("VM8").pings(rig.vm("VM4").address, 1).then_some(())).unwrap();
    assert!(rig.vm("VM8").pings(rig.vm("VM4").address, 20));
}
