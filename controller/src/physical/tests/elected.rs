//! VTEPs that are elected: heard before they are ours, and served at once when they are.

use std::collections::BTreeMap;

use vtep_api::*;

use super::world::*;
use crate::physical::{Event, Reigns};

const X: (&str, &[&str]) = ("X", &["a", "b"]);

fn reigns(own: &[(&str, u64)], others: &[(&str, u64)]) -> Event {
    let own = own.iter().map(|(name, term)| (vtep(name), Term(*term)));
    let others = others.iter().map(|(name, term)| (vtep(name), (lc("pc-d"), Term(*term))));
    Event::Reigns(Reigns { own: own.collect(), others: others.collect::<BTreeMap<_, _>>() })
}

fn held(version: u64) -> Held {
    Held { logical_switch: ls("X"), term: Term(1), version: Version(version) }
}

impl World {
    /// The logical controller says that we have everything.
    fn synced(&mut self) {
        let asked = self.to_peers.iter().rev().find_map(|(_, message)| match message {
            FromPhysical::Sync { token } => Some(*token),
            _ => None,
        });
        self.message("lc-a", FromLogical::Synced { token: asked.expect("it was asked") });
    }
}

/// a and b are pc-d's by term 20, and stand by here with a MAC of a, whose kernel has version 2 of three.
fn standing_by() -> World {
    let mut world = World::elected();
    world.welcome("lc-a", 1);
    world.message("lc-a", FromLogical::Outline(outline(1, 1, &[X], &["a", "b"])));
    world.step(reigns(&[], &[("a", 20), ("b", 20)]));
    for name in ["a", "b"] {
        world.hello(name, vec![]);
        world.say(name, FromVtep::State(VtepState::default()));
    }
    world.inventory("a", &[("X", 1, master(1))]);
    world.inventory("b", &[]);
    world.table("lc-a", snapshot("X", 1, 1, vec![put(1, "a")]));
    world.table("lc-a", delta("X", 1, 2, vec![put(2, "b")]));
    world.say("a", FromVtep::Applied(held(2)));
    world.table("lc-a", delta("X", 1, 3, vec![put(3, "b")]));
    world
}

#[test]
fn who_stands_by_is_told_who_serves_it_and_nothing_of_it_goes_on() {
    let mut world = standing_by();
    let standby = |server: Option<(&str, u64)>| ToVtep::Standby {
        protocol: PROTOCOL,
        name: lc("pc-c"),
        server: server.map(|(name, term)| (lc(name), Term(term))),
    };
    assert_eq!(world.messages_to("a"), [&standby(Some(("pc-d", 20)))]);
    assert!(world.claims_to("lc-a").is_empty() && world.statuses_to("lc-a", "a").is_empty());
    world.forget();
    world.step(reigns(&[], &[("b", 20)]));
    assert_eq!(world.messages_to("a"), [&standby(None)]);
    assert!(world.messages_to("b").is_empty());
}

#[test]
fn one_that_stood_by_is_led_on_from_what_it_has_and_its_mirror_is_told() {
    let mut world = standing_by();
    world.forget();
    world.step(reigns(&[("a", 30)], &[("b", 20)]));
    world.synced();
    let [ToVtep::Welcome { term, elected: true, .. }, ToVtep::Outline(_), ToVtep::Table(table)] =
        world.messages_to("a")[..]
    else {
        panic!("{:?}", world.messages_to("a"))
    };
    assert_eq!((*term, table.from, table.to), (Term(30), Some(Version(2)), Version(3)));
    assert_eq!(table.changes, [put(3, "b")]);
    let claims = world.claims_to("lc-a");
    assert_eq!(claims.iter().map(|claims| claims.records.len()).sum::<usize>(), 1);
    assert!(claims.iter().all(|claims| claims.vtep == vtep("a") && claims.snapshot));
    assert!(world.closed_vteps.is_empty());
}

#[test]
fn one_that_is_ours_no_more_stands_by_in_its_session() {
    let mut world = standing_by();
    world.step(reigns(&[("a", 30)], &[("b", 20)]));
    world.synced();
    world.forget();
    world.step(reigns(&[], &[("a", 40), ("b", 20)]));
    assert!(world.closed_vteps.is_empty());
    assert!(matches!(world.messages_to("a")[..], [ToVtep::Standby { server: Some((_, Term(40))), .. }]));
    world.forget();
    world.change("a", "X", 7, Some(master(7)));
    world.table("lc-a", delta("X", 1, 4, vec![put(4, "b")]));
    assert!(world.claims_to("lc-a").is_empty() && world.tables_to("a").is_empty());
    // And again, with what was said meanwhile.
    world.say("a", FromVtep::Applied(held(3)));
    world.step(reigns(&[("a", 50)], &[("b", 20)]));
    world.synced();
    assert_eq!(world.tables_to("a").iter().map(|table| table.from).collect::<Vec<_>>(), [Some(Version(3))]);
    assert_eq!(world.claims_to("lc-a").iter().map(|claims| claims.records.len()).sum::<usize>(), 2);
}

/// Who was cut off for a while, and is elected before it has heard what others distributed meanwhile.
#[test]
fn nothing_is_distributed_before_all_that_others_distributed_was_heard() {
    let mut world = standing_by();
    world.forget();
    world.step(reigns(&[("a", 30)], &[("b", 20)]));
    assert!(matches!(world.messages_to("a")[..], [ToVtep::Welcome { .. }]));
    // An answer to what was asked before is none to this.
    let [.., (_, FromPhysical::Sync { token })] = world.to_peers[..] else { panic!("{:?}", world.to_peers) };
    world.message("lc-a", FromLogical::Synced { token: token - 1 });
    world.table("lc-a", delta("X", 1, 4, vec![put(4, "b")]));
    assert!(world.tables_to("a").is_empty());
    // The session ends before the answer: the next one is asked again.
    world.step(Event::Disconnected { peer: lc("lc-a") });
    world.forget();
    world.welcome("lc-a", 2);
    world.message("lc-a", FromLogical::Outline(outline(2, 1, &[X], &["a", "b"])));
    world.table("lc-a", snapshot("X", 2, 1, vec![put(1, "a"), put(5, "b")]));
    assert!(world.tables_to("a").is_empty());
    world.synced();
    assert!(world.tables_to("a").iter().all(|table| table.term == Term(2)));
    assert!(!world.tables_to("a").is_empty());
}

/// One reign after the other, without one of somebody else between.
#[test]
fn a_session_goes_on_into_the_next_reign_by_what_was_acknowledged() {
    let mut world = standing_by();
    world.step(reigns(&[("a", 30)], &[("b", 20)]));
    world.synced();
    world.say("a", FromVtep::Applied(held(3)));
    world.forget();
    world.step(reigns(&[("a", 31)], &[("b", 20)]));
    world.table("lc-a", delta("X", 1, 4, vec![put(4, "b")]));
    world.synced();
    assert!(matches!(world.messages_to("a")[0], ToVtep::Welcome { term: Term(31), .. }));
    assert_eq!(world.tables_to("a").iter().map(|table| table.from).collect::<Vec<_>>(), [Some(Version(3))]);
}
