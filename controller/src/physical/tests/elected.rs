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
    fn obeys(&mut self, name: &str, term: u64) {
        self.say(name, FromVtep::Obeys { term: Term(term) });
    }

    fn asked(&self, peer: &str) -> Option<u64> {
        self.to_peers.iter().rev().find_map(|(to, message)| match message {
            FromPhysical::Sync { token } if *to == lc(peer) => Some(*token),
            _ => None,
        })
    }

    /// The logical controller says that we have everything.
    fn synced(&mut self) {
        self.answers("lc-a");
    }

    /// Of the claims that were told.
    fn epochs(&self, peer: &str) -> Vec<u64> {
        let records = self.claims_to(peer).into_iter().flat_map(|claims| claims.records.clone());
        let epochs = records.filter_map(|(_, report)| match report {
            Report::Claim(claim) => Some(claim.stamp.epoch),
            Report::Withdraw { .. } => None,
        });
        epochs.collect()
    }

    fn answers(&mut self, peer: &str) {
        let token = self.asked(peer).expect("it was asked");
        self.message(peer, FromLogical::Synced { token });
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
    world.obeys("a", 30);
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
    world.obeys("a", 30);
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
    world.obeys("a", 50);
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
    // Before it obeys us, others may tell it more than we are told: there is nothing to ask yet.
    world.obeys("a", 20);
    assert!(!world.to_peers.iter().any(|(_, message)| matches!(message, FromPhysical::Sync { .. })));
    world.obeys("a", 30);
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
    world.obeys("a", 30);
    world.synced();
    world.say("a", FromVtep::Applied(held(3)));
    world.forget();
    world.step(reigns(&[("a", 31)], &[("b", 20)]));
    world.table("lc-a", delta("X", 1, 4, vec![put(4, "b")]));
    world.obeys("a", 31);
    world.synced();
    assert!(matches!(world.messages_to("a")[0], ToVtep::Welcome { term: Term(31), .. }));
    assert_eq!(world.tables_to("a").iter().map(|table| table.from).collect::<Vec<_>>(), [Some(Version(3))]);
}

const Y: (&str, &[&str]) = ("Y", &["a", "b"]);

/// X is lc-a's and Y is lc-b's; a is ours, obeys us, and has been told nothing.
fn of_two_shards() -> World {
    let mut world = standing_by();
    world.welcome("lc-b", 1);
    world.message("lc-b", FromLogical::Outline(outline(1, 1, &[Y], &["a", "b"])));
    world.table("lc-b", snapshot("Y", 1, 1, vec![put(9, "b")]));
    world.step(reigns(&[("a", 30)], &[("b", 20)]));
    world.forget();
    world.obeys("a", 30);
    world
}

impl World {
    /// Networks of the last outline, and whether it says that these are all.
    fn outlined(&self, name: &str) -> Option<(Vec<String>, bool)> {
        self.messages_to(name).iter().rev().find_map(|message| match message {
            ToVtep::Outline(outline) => {
                Some((outline.networks.keys().map(ToString::to_string).collect(), outline.complete))
            }
            _ => None,
        })
    }

    fn networks_told(&self, name: &str) -> Vec<String> {
        self.tables_to(name).iter().map(|table| table.logical_switch.to_string()).collect()
    }
}

#[test]
fn a_logical_controller_that_is_silent_holds_back_its_own_logical_switches_alone() {
    let mut world = of_two_shards();
    assert!(world.networks_told("a").is_empty() && world.outlined("a").is_none());
    world.answers("lc-a");
    assert_eq!(
        (world.outlined("a"), world.networks_told("a")),
        (Some((vec!["X".into()], false)), vec!["X".into()])
    );
    // What changes there goes on, and the other one stays away.
    world.table("lc-a", delta("X", 1, 4, vec![put(4, "b")]));
    world.table("lc-b", delta("Y", 1, 2, vec![put(8, "b")]));
    assert_eq!(world.networks_told("a"), ["X", "X"]);
    world.forget();
    // It is killed, and its successor is asked again.
    world.step(Event::Disconnected { peer: lc("lc-b") });
    world.welcome("lc-b", 2);
    world.message("lc-b", FromLogical::Outline(outline(2, 1, &[Y], &["a", "b"])));
    world.table("lc-b", snapshot("Y", 2, 1, vec![put(9, "b"), put(7, "b")]));
    assert!(world.networks_told("a").is_empty());
    world.answers("lc-b");
    assert_eq!(world.networks_told("a"), ["Y"]);
    assert_eq!(world.outlined("a"), Some((vec!["X".into(), "Y".into()], true)));
}

#[test]
fn one_that_all_have_answered_for_waits_for_nobody_who_comes_later() {
    let mut world = of_two_shards();
    world.answers("lc-a");
    world.answers("lc-b");
    world.forget();
    world.step(Event::Disconnected { peer: lc("lc-b") });
    world.welcome("lc-b", 1);
    assert_eq!(world.asked("lc-b"), None);
    world.message("lc-b", FromLogical::Outline(outline(1, 1, &[Y], &["a", "b"])));
    world.table("lc-b", delta("Y", 1, 2, vec![put(8, "b")]));
    world.table("lc-a", delta("X", 1, 4, vec![put(4, "b")]));
    assert_eq!(world.networks_told("a"), ["Y", "X"]);
}

/// etcd says that it has a successor, with whom there is no session yet.
#[test]
fn a_logical_controller_that_was_succeeded_answers_for_nobody() {
    let mut world = of_two_shards();
    world.step(Event::Elected { peer: lc("lc-b"), term: Term(2) });
    world.answers("lc-b");
    assert!(world.networks_told("a").is_empty());
    world.answers("lc-a");
    assert_eq!(world.networks_told("a"), ["X"]);
}

/// Its session ended before it became ours again: what it tells then has to be compared by what it is, not by its number.
#[test]
fn what_was_forgotten_is_told_by_a_higher_epoch() {
    let mut world = standing_by();
    world.step(reigns(&[("a", 30)], &[("b", 20)]));
    let first = world.epochs("lc-a");
    world.down("a");
    world.forget();
    world.step(reigns(&[("a", 31)], &[("b", 20)]));
    world.hello("a", vec![]);
    world.inventory("a", &[("X", 1, master(1))]);
    assert_eq!((first, world.epochs("lc-a")), (vec![7], vec![31]));
}

/// A session in which an agent said nothing for 3 s may have been ended by it, who has told others more since.
#[test]
fn one_that_was_silent_begins_its_session_anew_when_it_becomes_ours_and_one_that_was_not_goes_on() {
    for (silent_ms, closed) in [(2999, 0), (3000, 1)] {
        let mut world = standing_by();
        world.now.mono_ms += 10_000;
        world.say("a", FromVtep::Heartbeat { wall_ms: 0 });
        world.now.mono_ms += silent_ms;
        world.say("b", FromVtep::Heartbeat { wall_ms: 0 });
        world.forget();
        world.step(reigns(&[("a", 30), ("b", 31)], &[]));
        let whom: Vec<_> = world.closed_vteps.iter().map(|(vtep, ..)| vtep.clone()).collect();
        assert_eq!(whom, vec![vtep("a"); closed], "{silent_ms} ms");
        // Of what it said before, nothing is told until it has said it again.
        let told =
            |world: &World| world.claims_to("lc-a").iter().filter(|claims| claims.vtep == vtep("a")).count();
        assert_eq!(told(&world), 1 - closed, "{silent_ms} ms");
        world.hello("a", vec![]);
        world.inventory("a", &[]);
        let last = world.claims_to("lc-a").pop().expect("it is told whole");
        assert!(last.snapshot && last.records.is_empty(), "{last:?}");
    }
}
