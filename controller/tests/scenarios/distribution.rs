//! Who is told what, and when.

use vtep_api::{FromPhysical, Held, Report, Term, Version};
use vtep_controller::declared::{Batch, Distribution};

use crate::harness::*;

fn trio() -> vtep_controller::Declared {
    declared(&[("pc-a", &["a"]), ("pc-b", &["b"]), ("pc-c", &["c"])], &[("x", &["a", "b"]), ("y", &["c"])])
}

#[test]
fn scenario_10_an_identical_inventory_is_no_change() {
    let mut lc = Arbiter::started(trio());
    let claim = lc.claim("a", "x", 1, M);
    let (pushes, told) = (lc.pushes("pc-b", "x"), lc.at("pc-a").no_changes.len());
    lc.snapshot("a", "x", &[(1, claim)]);
    assert_eq!(lc.pushes("pc-a", "x"), pushes);
    assert_eq!(lc.pushes("pc-b", "x"), pushes);
    assert_eq!(lc.at("pc-a").no_changes.len(), told + 1);
    assert_eq!(lc.at("pc-a").no_changes.last(), Some(&(vtep("a"), ls("x"))));
}

#[test]
fn a_snapshot_in_parts_is_judged_as_a_whole() {
    let mut lc = Arbiter::started(trio());
    let claim = lc.claim("a", "x", 1, M);
    lc.claim("a", "x", 2, M);
    let told = lc.at("pc-a").no_changes.len();
    let new = lc.new_claim(M);
    for (number, claim, end) in [(3, new, false), (1, claim, true)] {
        let records = vec![(mac(number), Report::Claim(claim))];
        let (vtep, logical_switch) = (vtep("a"), ls("x"));
        let claims = vtep_api::Claims { vtep, logical_switch, snapshot: true, records, end };
        lc.say("a", FromPhysical::Claims(claims));
        assert_eq!(lc.table("x").contains_key(&mac(2)), !end, "nothing goes before the end mark");
    }
    assert_eq!(lc.masters("x"), masters(&[(1, "a"), (3, "a")]));
    assert_eq!(lc.at("pc-a").no_changes.len(), told, "it changed something");
}

#[test]
fn scenario_02_who_takes_no_part_gets_no_table_at_all() {
    let mut lc = Arbiter::started(trio());
    lc.claim("a", "x", 1, M);
    assert_eq!(lc.pushes("pc-c", "x"), 0);
    assert!(!lc.at("pc-c").outline.networks.contains_key(&ls("x")));
    let mut declared = trio();
    let binding = declared.bindings[&vtep("a")].clone();
    declared.bindings.get_mut(&vtep("c")).unwrap().extend(binding);
    lc.declare(declared);
    assert_eq!(lc.at("pc-c").tables[&ls("x")].masters(), masters(&[(1, "a")]), "it joined, and has all");
    lc.declare(trio());
    assert!(!lc.at("pc-c").outline.networks.contains_key(&ls("x")));
    let pushes = lc.pushes("pc-c", "x");
    lc.claim("a", "x", 2, M);
    assert_eq!(lc.pushes("pc-c", "x"), pushes);
}

#[test]
fn scenario_11_a_move_there_and_back_within_a_batch_is_one_message_and_three_events() {
    let mut declared = trio();
    declared.policy.batch = Batch { period_ms: 1000, size: 0 };
    let mut lc = Arbiter::started(declared);
    let pushes = lc.pushes("pc-b", "x");
    lc.claim("a", "x", 1, M);
    lc.claim("b", "x", 1, M);
    lc.claim("a", "x", 1, M);
    lc.wait_ms(999);
    assert_eq!(lc.pushes("pc-b", "x"), pushes);
    lc.wait_ms(1);
    assert_eq!(lc.pushes("pc-b", "x"), pushes + 1);
    assert_eq!(lc.at("pc-b").tables[&ls("x")].masters(), masters(&[(1, "a")]));
    let history = lc.core.history(&ls("x"), mac(1)).unwrap();
    let claims =
        history.iter().filter(|entry| matches!(entry.what, vtep_controller::logical::What::Claim(_)));
    assert_eq!(claims.map(|entry| entry.vtep.as_str()).collect::<Vec<_>>(), ["a", "b", "a"]);
}

#[test]
fn scenario_11_a_batch_is_sent_when_it_is_large_enough() {
    let mut declared = trio();
    declared.policy.batch = Batch { period_ms: 1000, size: 3 };
    let mut lc = Arbiter::started(declared);
    let pushes = lc.pushes("pc-b", "x");
    lc.claim("a", "x", 1, M);
    lc.claim("a", "x", 2, M);
    assert_eq!(lc.pushes("pc-b", "x"), pushes);
    lc.claim("a", "x", 3, M);
    assert_eq!(lc.pushes("pc-b", "x"), pushes + 1);
    assert_eq!(lc.at("pc-b").tables[&ls("x")].rows.len(), 3);
}

/// The same for everybody who asks with the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(self.0 >> 33).expect("31 bits") % sides
    }
}

#[test]
fn scenario_12_full_tables_deltas_and_reconnects_lead_to_the_same_table() {
    let of = |distribution| {
        let mut declared =
            declared(&[("pc-a", &["a"]), ("pc-b", &["b"]), ("pc-c", &["c"])], &[("x", &["a", "b", "c"])]);
        declared.policy.distribution = distribution;
        declared.policy.mass_withdraw.entries = 1_000_000;
        Arbiter::started(declared)
    };
    let (mut delta, mut full) = (of(Distribution::Delta), of(Distribution::Full));
    let mut dice = Dice(12);
    for _ in 0..10_000 {
        let (by, number, what) = (["a", "b"][dice.roll(2) as usize], dice.roll(50), dice.roll(20));
        for lc in [&mut delta, &mut full] {
            match what {
                0..8 => drop(lc.claim(by, "x", number, M)),
                8..12 => drop(lc.claim(by, "x", number, S)),
                _ => lc.withdraw(by, "x", number),
            }
        }
        // One receiver is slow now and then, and one comes and goes, with or without what it had.
        match dice.roll(40) {
            0 => delta.peers.get_mut(&pc("pc-b")).unwrap().slow = true,
            1 => delta.catch_up("pc-b"),
            2 => {
                let had = delta.at("pc-c").tables[&ls("x")].clone();
                let keeps = dice.roll(2) == 0;
                delta.disconnect("pc-c");
                let held = Held { logical_switch: ls("x"), term: Term(1), version: had.version };
                delta.connect_with("pc-c", if keeps { vec![(held, had)] } else { Vec::new() });
                delta.session("c", vtep_api::Session::Up);
                delta.snapshot("c", "x", &[]);
            }
            _ => {}
        }
    }
    delta.catch_up("pc-b");
    assert_eq!(delta.table("x"), full.table("x"));
    assert!(!delta.table("x").is_empty());
    delta.check_receivers();
    full.check_receivers();
}

#[test]
fn a_slow_receiver_delays_nobody_and_gets_each_mac_once() {
    let mut declared = trio();
    declared.policy.duplicate.moves = 0;
    let mut lc = Arbiter::started(declared);
    lc.peers.get_mut(&pc("pc-b")).unwrap().slow = true;
    for claim in 0..1000 {
        lc.claim(["a", "b"][claim % 2], "x", 1, M);
    }
    let pushes = lc.pushes("pc-b", "x");
    assert!(pushes <= 17, "{pushes} in a window of 16");
    assert_eq!(lc.at("pc-a").tables[&ls("x")].masters(), masters(&[(1, "b")]));
    lc.catch_up("pc-b");
    assert_eq!(lc.pushes("pc-b", "x"), pushes + 1);
    lc.check_receivers();
}

#[test]
fn a_table_larger_than_a_message_comes_in_parts() {
    let mut lc = Arbiter::started(trio());
    let claims = (0..20_000).map(|number| (mac(number), Report::Claim(lc.new_claim(M)))).collect();
    lc.send("a", "x", claims);
    assert_eq!(lc.pushes("pc-b", "x"), 1 + 3);
    lc.disconnect("pc-b");
    lc.connect("pc-b");
    assert_eq!(lc.pushes("pc-b", "x"), 3);
    lc.check_receivers();
}

#[test]
fn a_receiver_that_asks_gets_the_whole_table_and_no_other_does() {
    let mut lc = Arbiter::started(trio());
    lc.claim("a", "x", 1, M);
    let others = lc.pushes("pc-a", "x");
    lc.say("b", FromPhysical::Resync { logical_switch: ls("x") });
    assert_eq!(lc.pushes("pc-b", "x"), others + 1);
    assert_eq!(lc.pushes("pc-a", "x"), others);
    lc.check_receivers();
}

#[test]
fn acknowledgements_show_who_forwards_by_what() {
    let mut lc = Arbiter::started(trio());
    lc.claim("a", "x", 1, M);
    let held = Held { logical_switch: ls("x"), term: Term(1), version: Version(1) };
    lc.say("b", FromPhysical::Applied { vtep: vtep("b"), held });
    let views: Vec<_> = lc.core.sync().into_iter().filter(|view| view.logical_switch == ls("x")).collect();
    assert_eq!(views.iter().map(|view| view.lag).collect::<Vec<_>>(), [None, Some(0)]);
    let told = lc.core.explain(&ls("x"), mac(1)).unwrap().told;
    assert_eq!(told.iter().map(|told| told.current).collect::<Vec<_>>(), [false, true]);
    lc.claim("a", "x", 2, M);
    assert_eq!(lc.core.sync().iter().find_map(|view| view.lag), Some(1));
}

#[test]
fn the_outline_names_members_addresses_and_whom_to_serve() {
    let lc = Arbiter::started(trio());
    let outline = &lc.at("pc-a").outline;
    let network = &outline.networks[&ls("x")];
    assert_eq!(network.members, [vtep("a")].into());
    assert_eq!(network.network.flood, [vtep("a"), vtep("b")].into());
    assert_eq!(outline.directory.keys().cloned().collect::<Vec<_>>(), [vtep("a"), vtep("b")]);
    assert_eq!(outline.served.keys().cloned().collect::<Vec<_>>(), [vtep("a")]);
    assert_eq!(outline.served[&vtep("a")].bindings.len(), 1);
}

#[test]
fn scenario_21_the_flood_list_follows_who_takes_part_by_its_own_word() {
    let mut lc = Arbiter::started(trio());
    lc.status("c", |status| status.state.networks = [ls("x")].into());
    assert_eq!(lc.at("pc-a").outline.networks[&ls("x")].network.flood.len(), 3);
    assert!(lc.at("pc-c").outline.networks.contains_key(&ls("x")));
    lc.snapshot("c", "x", &[]);
    let claim = lc.claim("c", "x", 1, M);
    lc.check("x", 1, "c", &[]);
    lc.status("c", |status| status.state.networks.clear());
    assert_eq!(lc.at("pc-a").outline.networks[&ls("x")].network.flood.len(), 2);
    assert!(lc.table("x").is_empty());
    lc.send_claim("c", "x", 1, claim);
    assert!(lc.table("x").is_empty(), "it takes no part");
}

#[test]
fn of_two_vteps_with_one_address_the_later_is_left_out_and_both_are_named() {
    let mut declared = trio();
    for name in ["a", "b"] {
        declared.vteps.get_mut(&vtep(name)).unwrap().address = None;
    }
    let mut lc = Arbiter::started(declared.clone());
    let address = Some("192.0.2.77".parse().unwrap());
    lc.status("b", |status| status.state.address = address);
    lc.status("a", |status| status.state.address = address);
    let outline = &lc.at("pc-a").outline;
    assert_eq!(outline.directory.keys().cloned().collect::<Vec<_>>(), [vtep("b")]);
    assert_eq!(outline.networks[&ls("x")].network.flood, [vtep("b")].into());
    let notice = lc.notices.iter().find(|notice| notice.message.contains("one tunnel address")).unwrap();
    assert_eq!((notice.fields["vtep"].as_str(), notice.fields["has_it"].as_str()), ("a", "b"));
    let mut next = lc.next_reign(declared.clone());
    for _ in 0..2 {
        next.connect("pc-a");
        let directory = &next.at("pc-a").outline.directory;
        assert_eq!(directory.keys().cloned().collect::<Vec<_>>(), [vtep("b")], "in a new reign, too");
        next = next.next_reign(declared.clone());
    }
    lc.status("b", |status| status.state.address = None);
    assert_eq!(lc.at("pc-a").outline.directory.keys().cloned().collect::<Vec<_>>(), [vtep("a")]);
    assert!(lc.core.alarms().is_empty());
}

#[test]
fn scenario_22_a_new_tunnel_address_is_told_to_everybody_whom_it_concerns() {
    let mut lc = Arbiter::started(trio());
    let mut declared = trio();
    let moved = Some("198.51.100.9".parse().unwrap());
    declared.vteps.get_mut(&vtep("a")).unwrap().address = moved;
    let outlines = lc.at("pc-c").outline.version;
    lc.declare(declared);
    assert_eq!(lc.at("pc-b").outline.directory.get(&vtep("a")).copied(), moved.map(Into::into));
    assert_eq!(lc.at("pc-c").outline.version, outlines);
}

#[test]
fn scenario_23_a_network_that_is_declared_no_longer_leaves() {
    let mut lc = Arbiter::started(trio());
    lc.claim("a", "x", 1, M);
    let mut declared = trio();
    declared.logical_switches.remove(&ls("x"));
    declared.bindings.remove(&vtep("a"));
    declared.bindings.remove(&vtep("b"));
    lc.declare(declared);
    assert!(lc.at("pc-a").outline.networks.is_empty());
    assert!(lc.core.table(&ls("x")).is_err());
    lc.declare(trio());
    assert!(lc.table("x").is_empty(), "nothing is left of the former one");
}

#[test]
fn a_vtep_that_is_declared_no_longer_takes_its_claims_along() {
    let mut lc = Arbiter::started(trio());
    for number in 0..200 {
        lc.claim("a", "x", number, M);
    }
    let mut declared = trio();
    declared.vteps.remove(&vtep("a"));
    declared.bindings.remove(&vtep("a"));
    lc.declare(declared);
    assert!(lc.table("x").is_empty(), "the operator's word passes the guard");
    let removals = &lc.at("pc-b").tables[&ls("x")].removals;
    assert!(removals.iter().all(|(_, cause)| *cause == vtep_api::Cause::Operator));
}

#[test]
fn another_logical_controllers_networks_are_none_of_ours() {
    let mut declared = trio();
    declared.logical_switches.get_mut(&ls("y")).unwrap().logical_controller = Some(pc("other"));
    let lc = Arbiter::started(declared);
    assert_eq!(lc.core.networks().len(), 1);
    assert!(lc.at("pc-c").outline.networks.is_empty());
    assert_eq!(lc.at("pc-c").outline.controllers, [pc("lc"), pc("other")].into());
}
