//! What VTEPs report.

use vtep_api::*;

use super::world::*;

const X: (&str, &[&str]) = ("X", &["a", "b"]);

fn world() -> World {
    World::ready(&[("lc-a", &[X])], &["a", "b"])
}

#[test]
fn what_an_inventory_does_not_name_is_withdrawn_at_its_end_and_not_before() {
    let mut world = world();
    world.inventory("a", &[("X", 1, master(1)), ("X", 2, master(2))]);
    world.forget();
    let first =
        Inventory { end: false, ..inventory(true, std::iter::once(("X".into(), 2, Some(master(2))))) };
    world.say("a", FromVtep::Inventory(first));
    assert!(world.to_peers.is_empty());
    world.inventory("a", &[]);
    let [claims] = world.claims_to("lc-a")[..] else { panic!("{:?}", world.to_peers) };
    let [(gone, Report::Withdraw { cause: Cause::Withdrawn, .. })] = claims.records[..] else {
        panic!("{claims:?}")
    };
    assert_eq!(gone, mac(1));
}

#[test]
fn an_inventory_without_end_ends_the_session_and_takes_nothing_back() {
    let mut world = world();
    world.inventory("a", &[("X", 1, master(1))]);
    world.forget();
    let networks = vec![(ls("X"), vec![(mac(7), None); 500_000])];
    let part = Inventory { snapshot: true, networks, end: false };
    for _ in 0..8 {
        assert!(world.closed_vteps.is_empty());
        world.say("a", FromVtep::Inventory(part.clone()));
    }
    assert!(world.closed_vteps[0].2.contains("no end"), "{:?}", world.closed_vteps);
    assert_eq!(world.physical.vteps()[0].macs[&ls("X")], 1);
    world.hello("a", vec![]);
    world.inventory("a", &[("X", 1, master(1))]);
    assert_eq!(world.closed_vteps.len(), 1);
}

#[test]
fn a_change_in_the_middle_of_an_inventory_outlives_it() {
    let mut world = world();
    world.inventory("a", &[("X", 1, master(1)), ("X", 2, master(2))]);
    let records = [1, 2].map(|n| ("X".to_owned(), n, Some(master(u128::from(n)))));
    let first = Inventory { end: false, ..inventory(true, records.into_iter()) };
    world.say("a", FromVtep::Inventory(first));
    world.change("a", "X", 1, None);
    world.change("a", "X", 3, Some(master(3)));
    world.forget();
    world.inventory("a", &[]);
    assert!(world.to_peers.is_empty(), "{:?}", world.to_peers);
    assert_eq!(world.physical.vteps()[0].macs[&ls("X")], 2);
}

#[test]
fn claims_of_who_takes_no_part_are_kept_back_and_told_once_it_does() {
    let mut world = world();
    world.change("a", "Z", 1, Some(master(1)));
    assert!(world.claims_to("lc-a").is_empty());
    let refusals = &world.statuses_to("lc-a", "a")[0].state.refusals;
    assert!(refusals[0].contains("logical switch Z"), "{refusals:?}");
    world.forget();
    world.message("lc-a", FromLogical::Outline(outline(1, 2, &[X, ("Z", &["a"])], &["a", "b"])));
    let [claims] = world.claims_to("lc-a")[..] else { panic!("{:?}", world.to_peers) };
    assert_eq!((&claims.logical_switch, claims.records.len()), (&ls("Z"), 1));
    assert!(world.statuses_to("lc-a", "a")[0].state.refusals.is_empty());
}

#[test]
fn one_bad_record_is_set_aside_and_the_rest_counts() {
    let mut world = world();
    let bad = (MacAddr::BROADCAST, Some(master(1)));
    let networks = vec![(ls("X"), vec![bad, (mac(1), Some(master(2)))])];
    world.say("a", FromVtep::Inventory(Inventory { snapshot: false, networks, end: true }));
    assert_eq!(world.claims_to("lc-a")[0].records.len(), 1);
    let refusals = &world.statuses_to("lc-a", "a")[0].state.refusals;
    assert!(refusals[0].contains("ff:ff:ff:ff:ff:ff"), "{refusals:?}");
}

#[test]
fn another_address_is_told_with_the_old_stamp() {
    let mut world = world();
    world.change("a", "X", 1, Some(master(1)));
    let ips: Ips = ["198.51.100.7".parse().unwrap()].into();
    world.change("a", "X", 1, Some(LocalMac { ips: ips.clone(), ..master(1) }));
    let claims: Vec<_> = world.claims_to("lc-a").iter().flat_map(|claims| &claims.records).cloned().collect();
    let [(_, Report::Claim(first)), (_, Report::Claim(second))] = &claims[..] else { panic!("{claims:?}") };
    assert_eq!(first.stamp, second.stamp);
    assert_eq!(second.local.ips, ips);
}

#[test]
fn an_inventory_that_never_ended_says_nothing_of_what_is_absent() {
    let mut world = World::new();
    world.welcome("lc-a", 1);
    world.message("lc-a", FromLogical::Outline(outline(1, 1, &[X], &["a", "b"])));
    world.hello("a", vec![]);
    let part = Inventory { end: false, ..inventory(true, std::iter::once(("X".into(), 1, Some(master(1))))) };
    world.say("a", FromVtep::Inventory(part));
    assert!(world.claims_to("lc-a").is_empty());
    world.inventory("a", &[]);
    let [claims] = world.claims_to("lc-a")[..] else { panic!("{:?}", world.to_peers) };
    assert!(claims.snapshot && claims.end && claims.records.len() == 1);
}
