//! Towards slow, absent and returning logical controllers.

use vtep_api::*;

use super::receiver::Ledger;
use super::world::*;
use crate::physical::{Event, WINDOW};

const X: (&str, &[&str]) = ("X", &["a", "b"]);

#[test]
fn a_slow_logical_controller_is_told_the_last_of_each_mac_and_no_other_waits() {
    let y: (&str, &[&str]) = ("Y", &["a"]);
    let mut world = World::ready(&[("lc-a", &[X]), ("lc-b", &[y])], &["a", "b"]);
    world.prompt = false;
    for origin in 0..10_000_u128 {
        world.change("a", "X", u32::try_from(origin % 10).unwrap(), Some(master(origin)));
    }
    assert_eq!(world.claims_to("lc-a").len(), WINDOW as usize);
    world.change("a", "Y", 1, Some(master(1)));
    assert_eq!(world.claims_to("lc-b").len(), 1);
    assert!(world.physical.counters().merged > 8000);
    world.take_all();
    let mut ledger = Ledger::default();
    for claims in world.claims_to("lc-a") {
        ledger.take(claims);
    }
    let known = &ledger.records()[&(ls("X"), vtep("a"))];
    for number in 0..10 {
        assert_eq!(known[&mac(number)].local.origin, Some(Origin(9990 + u128::from(number))));
    }
    assert!(world.claims_to("lc-a").len() < 100);
}

#[test]
fn who_was_away_is_told_everything_again() {
    let mut world = World::ready(&[("lc-a", &[X])], &["a", "b"]);
    world.inventory("a", &[("X", 1, master(1))]);
    world.step(Event::Disconnected { peer: lc("lc-a") });
    world.forget();
    world.change("a", "X", 1, None);
    world.change("a", "X", 2, Some(master(2)));
    assert!(world.to_peers.is_empty());
    world.welcome("lc-a", 2);
    assert_eq!(world.statuses_to("lc-a", "a").len(), 1);
    world.message("lc-a", FromLogical::Outline(outline(2, 1, &[X], &["a", "b"])));
    let mut ledger = Ledger::default();
    for claims in world.claims_to("lc-a") {
        ledger.take(claims);
    }
    let known: Vec<_> = ledger.records()[&(ls("X"), vtep("a"))].keys().copied().collect();
    assert_eq!(known, [mac(2)]);
    assert!(ledger.claims.contains_key(&(ls("X"), vtep("b"))), "that b claims nothing is told too");
}

#[test]
fn a_large_inventory_goes_in_parts() {
    let mut world = World::new();
    world.hello("a", vec![]);
    let records = (0..20_000).map(|number| (mac(number), Some(master(1)))).collect();
    world.say(
        "a",
        FromVtep::Inventory(Inventory { snapshot: true, networks: vec![(ls("X"), records)], end: true }),
    );
    world.welcome("lc-a", 1);
    world.message("lc-a", FromLogical::Outline(outline(1, 1, &[X], &["a", "b"])));
    let parts: Vec<_> = world.claims_to("lc-a").iter().map(|part| (part.records.len(), part.end)).collect();
    assert_eq!(parts, [(ROWS_MAX, false), (ROWS_MAX, false), (20_000 - 2 * ROWS_MAX, true)]);
}

#[test]
fn what_a_vtep_forwards_by_is_passed_on() {
    let mut world = World::ready(&[("lc-a", &[X])], &["a", "b"]);
    let held = Held { logical_switch: ls("X"), term: Term(1), version: Version(3) };
    world.say("a", FromVtep::Applied(held.clone()));
    assert_eq!(world.to_peers, [(lc("lc-a"), FromPhysical::Applied { vtep: vtep("a"), held })]);
}

#[test]
fn a_logical_controller_that_asks_is_told_all_of_a_vtep_there() {
    let mut world = World::ready(&[("lc-a", &[X])], &["a", "b"]);
    world.change("a", "X", 1, Some(master(1)));
    world.forget();
    world.message("lc-a", FromLogical::Resync { vtep: vtep("a"), logical_switch: ls("X") });
    let [claims] = world.claims_to("lc-a")[..] else { panic!("{:?}", world.to_peers) };
    assert!(claims.snapshot && claims.records.len() == 1);
}

#[test]
fn what_a_vtep_sees_goes_to_who_decides_and_is_bounded() {
    let y: (&str, &[&str]) = ("Y", &["b"]);
    let mut world = World::ready(&[("lc-a", &[X]), ("lc-b", &[y])], &["a", "b"]);
    let sighting = |name: &str, number: u32| Sighting {
        logical_switch: ls(name),
        mac: mac(number),
        sender: vtep("b"),
        as_slave: false,
        count: 3,
    };
    let told = |world: &World| -> Vec<(ControllerName, VtepName, Vec<Sighting>)> {
        let sightings = |(peer, message): &(ControllerName, FromPhysical)| match message {
            FromPhysical::Sightings { witness, sightings } => {
                Some((peer.clone(), witness.clone(), sightings.clone()))
            }
            _ => None,
        };
        world.to_peers.iter().filter_map(sightings).collect()
    };
    world.say("a", FromVtep::Sightings(vec![sighting("X", 1), sighting("Y", 1), sighting("Z", 1)]));
    assert_eq!(told(&world), [(lc("lc-a"), vtep("a"), vec![sighting("X", 1)])], "a takes part in X only");

    world.forget();
    world.prompt = false;
    for _ in 0..3 {
        for first in (0..6000).step_by(SIGHTINGS_MAX) {
            let some = (first..first + 256).map(|number| sighting("X", number)).collect();
            world.say("a", FromVtep::Sightings(some));
        }
    }
    let waiting: usize = told(&world).iter().map(|(.., sightings)| sightings.len()).sum();
    assert_eq!(waiting, SIGHTINGS_MAX * WINDOW as usize);
    assert!(world.physical.counters().sightings_lost > 0);
    world.forget();
    world.take_all();
    let after: Vec<Sighting> = told(&world).into_iter().flat_map(|(.., sightings)| sightings).collect();
    assert_eq!(after.len(), 4096);
    assert!(after.iter().any(|sighting| sighting.count > 3), "what waits is added up");

    world.step(Event::Disconnected { peer: lc("lc-a") });
    world.say("a", FromVtep::Sightings(vec![sighting("X", 1)]));
    world.forget();
    world.welcome("lc-a", 2);
    world.message("lc-a", FromLogical::Outline(outline(2, 1, &[X], &["a", "b"])));
    assert_eq!(told(&world), [], "what found nobody is not told later");
}
