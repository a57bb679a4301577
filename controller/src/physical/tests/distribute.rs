//! What VTEPs are sent, and when.

use vtep_api::*;

use super::receiver::Receiver;
use super::world::*;
use crate::physical::{GRACE_MS, WINDOW};

const X: (&str, &[&str]) = ("X", &["a", "b"]);

fn held(term: u64, version: u64) -> Held {
    Held { logical_switch: ls("X"), term: Term(term), version: Version(version) }
}

fn connected() -> World {
    World::ready(&[("lc-a", &[X])], &["a", "b"])
}

#[test]
fn welcome_then_the_outline_then_the_tables() {
    let mut world = connected();
    world.table("lc-a", snapshot("X", 1, 1, vec![put(1, "a")]));
    world.forget();
    world.hello("a", vec![]);
    let [ToVtep::Welcome { .. }, ToVtep::Outline(outline), ToVtep::Table(table)] =
        &world.messages_to("a")[..]
    else {
        panic!("{:?}", world.to_vteps)
    };
    assert_eq!(outline.vteps.keys().map(VtepName::as_str).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(table.changes.len(), 1);
}

#[test]
fn who_has_a_version_is_sent_what_changed_since() {
    let mut world = connected();
    world.table("lc-a", snapshot("X", 1, 5, vec![put(1, "a")]));
    world.table("lc-a", delta("X", 1, 6, vec![put(2, "a")]));
    world.table("lc-a", delta("X", 1, 7, vec![put(3, "a")]));
    world.forget();
    world.hello("a", vec![held(1, 6)]);
    let [update] = world.tables_to("a")[..] else { panic!("{:?}", world.to_vteps) };
    assert_eq!((update.from, update.to, &update.changes), (Some(Version(6)), Version(7), &vec![put(3, "a")]));
    world.hello("b", vec![held(0, 6)]);
    let [update] = world.tables_to("b")[..] else { panic!("{:?}", world.to_vteps) };
    assert_eq!((update.from, update.to, update.changes.len()), (None, Version(7), 3));
}

#[test]
fn who_is_ahead_waits_for_us_and_gets_nothing_older() {
    let mut world = connected();
    world.table("lc-a", snapshot("X", 1, 5, vec![put(1, "a")]));
    world.forget();
    world.hello("a", vec![held(1, 7)]);
    assert!(world.tables_to("a").is_empty());
    for version in 6..=8 {
        world.table(
            "lc-a",
            delta("X", 1, version, vec![put(10, "a"), put(u32::try_from(version).unwrap(), "b")]),
        );
    }
    let [update] = world.tables_to("a")[..] else { panic!("{:?}", world.tables_to("a")) };
    assert_eq!((update.from, update.to), (Some(Version(7)), Version(8)));
}

#[test]
fn a_slow_vtep_is_sent_the_final_state_and_the_other_does_not_wait() {
    let mut world = connected();
    world.table("lc-a", snapshot("X", 1, 1, vec![put(1, "a")]));
    world.forget();
    world.prompt = false;
    for version in 2..=1001 {
        world.table("lc-a", delta("X", 1, version, vec![put(1, if version % 2 == 0 { "b" } else { "a" })]));
        world.take_vtep(&vtep("b"), 1);
    }
    assert_eq!(world.tables_to("a").len(), WINDOW as usize);
    assert_eq!(world.tables_to("b").len(), 1000);
    world.take_all();
    assert_eq!(world.tables_to("a").len(), WINDOW as usize + 1);
    let last = world.tables_to("a").into_iter().last().cloned().unwrap();
    assert_eq!((last.to, last.changes), (Version(1001), vec![put(1, "a")]));
}

#[test]
fn who_was_left_out_by_a_table_that_was_not_whole_ends_equal() {
    let mut world = connected();
    let mut old = Receiver::default();
    old.take(&ToVtep::Table(snapshot("X", 1, 9, vec![put(1, "a"), put(2, "a")])));
    world.hello("a", old.held());
    world.table("lc-a", TableUpdate { complete: false, ..snapshot("X", 1, 9, vec![]) });
    world.down("a");
    world.welcome("lc-a", 2);
    world.message("lc-a", FromLogical::Outline(outline(2, 1, &[X], &["a", "b"])));
    world.table("lc-a", TableUpdate { complete: false, ..snapshot("X", 2, 1, vec![put(3, "b")]) });
    world.hello("a", old.held());
    for message in world.messages_to("a") {
        old.take(message);
    }
    assert_eq!(old.tables[&ls("X")].rows.len(), 3, "nothing is removed before the table is whole");
    world.forget();
    world.table("lc-a", snapshot("X", 2, 2, vec![put(3, "b")]));
    for message in world.messages_to("a") {
        old.take(message);
    }
    assert_eq!(old.tables[&ls("X")].rows, world.rows("X"));
    assert_eq!(old.tables[&ls("X")].rows.len(), 1);
}

#[test]
fn a_new_reign_that_changes_little_is_told_in_little() {
    let mut world = connected();
    world.table("lc-a", snapshot("X", 1, 1, (0..500).map(|n| put(n, "a")).collect()));
    world.welcome("lc-a", 2);
    world.message("lc-a", FromLogical::Outline(outline(2, 1, &[X], &["a", "b"])));
    world.forget();
    let rows = (0..500).map(|n| put(n, if n == 7 { "b" } else { "a" })).collect();
    world.table("lc-a", TableUpdate { complete: false, ..snapshot("X", 2, 1, rows) });
    let [update] = world.tables_to("a")[..] else { panic!("{:?}", world.tables_to("a").len()) };
    assert_eq!((update.term, update.from, &update.changes), (Term(2), None, &vec![put(7, "b")]));
    assert!(!update.complete, "what it does not name stays");
    world.forget();
    let rows = (0..499).map(|n| put(n, if n == 7 { "b" } else { "a" })).collect();
    world.table("lc-a", snapshot("X", 2, 2, rows));
    let [update] = world.tables_to("a")[..] else { panic!("{:?}", world.tables_to("a").len()) };
    assert_eq!(update.changes, [(mac(499), Change::Remove(Cause::Withdrawn))]);
}

#[test]
fn who_takes_no_part_any_more_is_told_so_and_gets_no_table() {
    let mut world = connected();
    world.pass(GRACE_MS);
    world.forget();
    world.message("lc-a", FromLogical::Outline(outline(1, 2, &[("X", &["b"])], &["a", "b"])));
    let told = world.outline_to("a").unwrap();
    assert!(told.complete && told.networks.is_empty());
    world.table("lc-a", snapshot("X", 1, 1, vec![put(1, "b")]));
    assert!(world.tables_to("a").is_empty());
}

#[test]
fn networks_of_a_logical_controller_that_was_not_heard_yet_are_not_forgotten() {
    let mut world = World::new();
    world.welcome("lc-a", 1);
    let controllers = [lc("lc-a"), lc("lc-b")].into();
    let first = Outline { controllers, ..outline(1, 1, &[X], &["a", "b"]) };
    world.message("lc-a", FromLogical::Outline(first));
    world.hello("a", vec![]);
    world.say("a", FromVtep::State(VtepState::default()));
    world.pass(10 * GRACE_MS);
    assert!(!world.outline_to("a").unwrap().complete);
    world.welcome("lc-b", 1);
    world.message("lc-b", FromLogical::Outline(outline(1, 1, &[("Y", &["a"])], &["a", "b"])));
    let told = world.outline_to("a").unwrap();
    assert!(told.complete);
    assert_eq!(told.networks.len(), 2);
}

#[test]
fn a_network_that_a_vtep_is_in_by_anothers_word_is_not_forgotten_before_that_is_known() {
    let mut world = connected();
    let networks: std::collections::BTreeSet<_> = [ls("X"), ls("Q")].into();
    world.say("a", FromVtep::State(VtepState { networks, ..VtepState::default() }));
    assert!(!world.outline_to("a").unwrap().complete);
    world.forget();
    world.pass(GRACE_MS);
    assert!(world.outline_to("a").unwrap().complete, "by then a logical controller would have said so");
}

/// It came from another physical controller, or a logical one begins anew.
#[test]
fn a_network_of_a_vtep_that_is_not_known_to_be_ours_is_not_forgotten_before_it_is() {
    let mut world = connected();
    let unplaced = |version, unplaced: &[&str]| Outline {
        unplaced: unplaced.iter().map(|name| vtep(name)).collect(),
        ..outline(1, version, &[("X", &["b"])], &["a", "b"])
    };
    world.message("lc-a", FromLogical::Outline(unplaced(2, &["a"])));
    let told = world.outline_to("a").unwrap();
    assert!(!told.complete && told.networks.is_empty());
    world.message("lc-a", FromLogical::Outline(unplaced(3, &[])));
    assert!(world.outline_to("a").unwrap().complete);
    world.message("lc-a", FromLogical::Outline(unplaced(4, &["a"])));
    world.forget();
    world.pass(GRACE_MS);
    assert!(world.outline_to("a").unwrap().complete, "by then it would be known");
}

#[test]
fn a_table_that_names_another_vtep_is_preceded_by_its_address() {
    let mut world = World::ready(&[("lc-a", &[("X", &["a"])])], &["a", "b", "c"]);
    world.table("lc-a", snapshot("X", 1, 1, vec![put(1, "b")]));
    let [ToVtep::Outline(told), ToVtep::Table(_)] = &world.messages_to("a")[..] else {
        panic!("{:?}", world.to_vteps)
    };
    assert_eq!(told.vteps.keys().map(VtepName::as_str).collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn who_says_that_an_update_did_not_fit_is_sent_the_whole() {
    let mut world = connected();
    world.table("lc-a", snapshot("X", 1, 5, vec![put(1, "a")]));
    world.forget();
    world.say("a", FromVtep::Resync { logical_switch: ls("X") });
    let [update] = world.tables_to("a")[..] else { panic!("{:?}", world.to_vteps) };
    assert_eq!((update.from, update.changes.len()), (None, 1));
}

#[test]
fn a_large_table_goes_in_parts_between_which_nothing_is_lost() {
    let mut world = connected();
    world.prompt = false;
    let mut receiver = Receiver::default();
    let rows = (0..3 * u32::try_from(ROWS_MAX).unwrap()).map(|n| put(n, "a"));
    world.hello("a", vec![]);
    world.table("lc-a", snapshot("X", 1, 1, rows.collect()));
    world.table("lc-a", delta("X", 1, 2, vec![put(0, "b"), (mac(20_000), Change::Remove(Cause::Withdrawn))]));
    world.take_all();
    for message in world.messages_to("a") {
        receiver.take(message);
    }
    assert!(receiver.resyncs.is_empty());
    assert!(receiver.tables[&ls("X")].rows == world.rows("X"));
}

/// Both ends of a session are told the same of it: their own words together, then what is declared of all.
#[test]
fn both_ends_are_told_the_same_of_their_session() {
    let mut world = connected();
    let mut told = outline(1, 2, &[X], &["a", "b"]);
    told.bfd.multiplier = Some(vtep_api::Bounded::preset(5));
    let tor = told.directory.get_mut(&vtep("a")).unwrap();
    (tor.bfd.enabled, tor.bfd.min_tx_ms) = (Some(true), Some(vtep_api::Bounded::preset(50)));
    world.message("lc-a", FromLogical::Outline(told));
    let said = |world: &World, to: &str, of: &str| world.outline_to(to).unwrap().vteps[&vtep(of)].bfd;
    world.hello("a", vec![]);
    world.hello("b", vec![]);
    let session = said(&world, "a", "b");
    assert_eq!((session.enabled, session.min_tx_ms.map(u32::from)), (Some(true), Some(50)));
    assert_eq!(session.multiplier.map(u32::from), Some(5));
    assert_eq!(said(&world, "b", "a"), session);
}
