//! Logical controllers that are outdated, wrong, or contradict each other.

use vtep_api::*;

use super::world::*;
use crate::physical::Event;

const X: (&str, &[&str]) = ("X", &["a", "b"]);

#[test]
fn a_lower_term_is_closed_and_its_reason_names_both() {
    let mut world = World::ready(&[("lc-a", &[X])], &["a", "b"]);
    world.welcome("lc-a", 5);
    world.step(Event::Disconnected { peer: lc("lc-a") });
    world.welcome("lc-a", 4);
    let [(_, reason)] = &world.closed_peers[..] else { panic!() };
    assert!(reason.contains("term 4") && reason.contains("lower than 5"), "{reason}");
    assert_eq!(world.physical.counters().refused_welcomes, 1);
    world.table("lc-a", snapshot("X", 4, 9, vec![put(1, "a")]));
    assert!(world.rows("X").is_empty());
}

#[test]
fn two_owners_of_one_logical_switch_are_named_and_the_higher_term_is_obeyed() {
    let mut world = World::ready(&[("lc-a", &[X])], &["a", "b"]);
    world.table("lc-a", snapshot("X", 1, 1, vec![put(1, "a")]));
    world.welcome("lc-b", 1);
    world.message("lc-b", FromLogical::Outline(outline(1, 1, &[X], &["a", "b"])));
    assert!(world.alarm("lc-a and lc-b both claim to own X; lc-a is obeyed"), "{:?}", world.notices);
    world.table("lc-b", snapshot("X", 1, 50, vec![put(1, "b")]));
    assert_eq!(world.rows("X")[&mac(1)].placement.master, vtep("a"));
    assert_eq!(world.physical.counters().refused_tables, 1);
    world.welcome("lc-b", 2);
    world.message("lc-b", FromLogical::Outline(outline(2, 1, &[X], &["a", "b"])));
    world.table("lc-b", snapshot("X", 2, 1, vec![put(1, "b")]));
    assert_eq!(world.rows("X")[&mac(1)].placement.master, vtep("b"));
    world.table("lc-a", delta("X", 1, 2, vec![put(1, "a")]));
    assert_eq!(world.rows("X")[&mac(1)].placement.master, vtep("b"));
}

#[test]
fn the_same_vni_twice_is_refused_by_name() {
    let mut world = World::ready(&[("lc-a", &[X])], &["a", "b"]);
    world.welcome("lc-b", 1);
    // The VNI of these outlines is that of the first letter.
    world.message("lc-b", FromLogical::Outline(outline(1, 1, &[("X2", &["a"])], &["a", "b"])));
    assert!(world.alarm("X and X2 both have VNI 88; X2 is left out"), "{:?}", world.notices);
    assert_eq!(world.physical.networks().len(), 1);
}

#[test]
fn a_refusal_is_told_the_operator_once() {
    let mut world = World::ready(&[("lc-a", &[X])], &["a", "b"]);
    for version in 1..10 {
        world.table("lc-a", snapshot("Q", 1, version, vec![]));
    }
    assert_eq!(world.notices.len(), 1);
    assert_eq!(world.physical.counters().refused_tables, 9);
}

#[test]
fn a_lost_logical_controller_changes_nothing() {
    let mut world = World::ready(&[("lc-a", &[X])], &["a", "b"]);
    world.table("lc-a", snapshot("X", 1, 1, vec![put(1, "a")]));
    world.forget();
    world.step(Event::Disconnected { peer: lc("lc-a") });
    world.pass(86_400_000);
    assert!(world.messages_to("a").iter().all(|message| matches!(message, ToVtep::Heartbeat { .. })));
    assert_eq!(world.rows("X").len(), 1);
    world.hello("b", vec![]);
    assert_eq!(world.tables_to("b")[0].changes.len(), 1, "who comes back is still served");
}

#[test]
fn a_conflicting_definition_of_a_vtep_is_named_and_the_first_stands() {
    let mut world = World::ready(&[("lc-a", &[X])], &["a", "b"]);
    let mut other = outline(1, 1, &[], &["a"]);
    other.served.get_mut(&vtep("a")).unwrap().ovsdb = Some("tcp:192.0.2.9:6640".into());
    world.welcome("lc-b", 1);
    world.message("lc-b", FromLogical::Outline(other));
    assert!(world.alarm("lc-b declares a as tcp:192.0.2.9:6640"), "{:?}", world.notices);
    assert_eq!(world.served.as_ref().unwrap()[&vtep("a")].ovsdb, None);
}

#[test]
fn the_first_outline_of_a_session_is_obeyed_whatever_its_version() {
    let mut world = World::ready(&[("lc-a", &[X])], &["a", "b"]);
    world.message("lc-a", FromLogical::Outline(outline(1, 9, &[X], &["a", "b"])));
    world.message("lc-a", FromLogical::Outline(outline(1, 8, &[], &[])));
    assert_eq!((world.physical.networks().len(), world.physical.counters().refused_outlines), (1, 1));
    world.welcome("lc-a", 1);
    world.message("lc-a", FromLogical::Outline(outline(1, 1, &[X, ("Y", &["b"])], &["a", "b"])));
    assert_eq!(world.physical.networks().len(), 2);
}
