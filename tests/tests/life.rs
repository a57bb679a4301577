//! A pair of TORs, and hosts whose agents find them alive or dead by BFD: whose word moves MACs to the slave.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "life/rig.rs"]
mod rig;

use vtep_tests::deadline::wait_for;

use rig::{HOSTS, OF_TORS, Rig, SOON};

#[test]
fn what_one_agent_finds_dead_keeps_its_macs_and_what_most_find_dead_loses_them() {
    let mut rig = Rig::new();
    rig.lose_bfd("a", &HOSTS[..1]);
    rig.end_session("a");
    rig.wait_for_news(21);
    assert_eq!(rig.master(), "a", "one of four finds it dead");
    assert_eq!(rig.vtep("a")["dead"], false);

    // The tunnels of the other TOR and of two hosts end with it.
    rig.tor("a").machine.uplink.down().unwrap();
    wait_for("the slave in the controllers' table", SOON, || (rig.master() == "b").then_some(())).unwrap();
    rig.wait_for_place("b");
    assert_eq!(rig.vtep("a")["dead"], true);
    assert_eq!(rig.moves(), 1);

    // Nobody else claims to be master.
    rig.tor("a").machine.uplink.up().unwrap();
    rig.begin_session("a");
    rig.wait_for_place("a");
    assert_eq!(rig.moves(), 2);
}

#[test]
fn a_killed_physical_controller_moves_no_mac_though_all_find_its_tor_dead() {
    let mut rig = Rig::new();
    rig.lose_bfd("a", &HOSTS);
    rig.wait_for_news(21);
    assert_eq!(rig.master(), "a", "its session lives");

    rig.controllers[OF_TORS].kill().unwrap();
    rig.wait_vtep("a", "without who serves it", |a| a["session"] == "lost");
    rig.wait_for_news(22);
    assert_eq!(rig.master(), "a", "nobody speaks of it");
    assert_eq!(rig.vtep("a")["dead"], false);

    rig.controllers[OF_TORS].start().unwrap();
    rig.wait_vtep("a", "with who serves it", |a| a["session"] == "up");
    rig.wait_for_news(23);
    assert_eq!(rig.master(), "a");
    assert_eq!(rig.moves(), 0);
}
