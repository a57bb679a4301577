//! Sessions of VTEPs.

use vtep_api::*;

use super::world::*;
use crate::physical::{ADMIT_WAIT_MS, Event, SessionId};

const X: (&str, &[&str]) = ("X", &["a", "b"]);

#[test]
fn another_protocol_is_refused_and_both_are_named() {
    let mut world = World::ready(&[("lc-a", &[X])], &["a", "b"]);
    let message = FromVtep::Hello { protocol: 9, name: vtep("a"), term: Term(0), tables: vec![] };
    world.step(Event::Vtep { vtep: vtep("a"), session: SessionId(900), message });
    let [(_, session, reason)] = &world.closed_vteps[..] else { panic!() };
    assert_eq!(*session, SessionId(900));
    assert!(reason.contains("protocol 9") && reason.contains("speaks 1"), "{reason}");
    assert!(world.physical.vteps()[0].session == Session::Up, "the session that it had goes on");
}

#[test]
fn who_is_not_declared_is_closed_with_that_reason() {
    let mut world = World::ready(&[("lc-a", &[X])], &["a", "b"]);
    world.hello("z", vec![]);
    let [(name, _, reason)] = &world.closed_vteps[..] else { panic!() };
    assert_eq!(*name, vtep("z"));
    assert!(reason.contains("declares"), "{reason}");
    assert!(world.physical.vteps().iter().all(|view| view.vtep != vtep("z")));
}

#[test]
fn who_connects_before_the_outlines_waits_and_is_heard_then() {
    let mut world = World::new();
    world.hello("a", vec![]);
    world.inventory("a", &[("X", 1, master(1))]);
    assert!(world.to_vteps.is_empty() && world.closed_vteps.is_empty());
    assert!(world.physical.vteps()[0].waits_for_declaration);
    world.welcome("lc-a", 1);
    assert!(world.statuses_to("lc-a", "a").is_empty());
    world.message("lc-a", FromLogical::Outline(outline(1, 1, &[X], &["a", "b"])));
    assert!(matches!(world.messages_to("a")[0], ToVtep::Welcome { protocol: PROTOCOL, .. }));
    assert_eq!(world.claims_to("lc-a").len(), 1);
    assert_eq!(world.claims_to("lc-a")[0].records.len(), 1);
}

/// A status without it would say that the VTEP has no address.
#[test]
fn a_vtep_is_up_once_it_has_said_what_it_is() {
    let mut world = World::new();
    world.welcome("lc-a", 1);
    world.message("lc-a", FromLogical::Outline(outline(1, 1, &[X], &["a", "b"])));
    world.hello("a", vec![]);
    assert!(world.statuses_to("lc-a", "a").iter().all(|status| status.session == Session::Awaited));
    let address = Some([192, 0, 2, 1].into());
    world.say("a", FromVtep::State(VtepState { address, ..VtepState::default() }));
    let statuses = world.statuses_to("lc-a", "a");
    let last = statuses.last().unwrap();
    assert_eq!((last.session, last.state.address), (Session::Up, address));
}

#[test]
fn who_waits_in_vain_is_closed() {
    let mut world = World::new();
    world.hello("a", vec![]);
    world.pass(ADMIT_WAIT_MS - 1);
    assert!(world.closed_vteps.is_empty());
    world.pass(1);
    assert_eq!(world.closed_vteps.len(), 1);
    assert!(world.physical.vteps().is_empty());
}

#[test]
fn an_earlier_session_is_ended_and_its_messages_are_ignored() {
    let mut world = World::ready(&[("lc-a", &[X])], &["a", "b"]);
    let earlier = world.hello("a", vec![]);
    world.forget();
    world.hello("a", vec![]);
    assert_eq!(world.closed_vteps[0].1, earlier);
    world.forget();
    let claim = FromVtep::Inventory(inventory(false, std::iter::once(("X".into(), 1, Some(master(1))))));
    world.step(Event::Vtep { vtep: vtep("a"), session: earlier, message: claim });
    world.step(Event::VtepDown { vtep: vtep("a"), session: earlier });
    assert!(world.to_peers.is_empty());
    assert_eq!(world.physical.vteps()[0].session, Session::Up);
    assert_eq!(world.physical.counters().stale_messages, 1);
}

#[test]
fn who_is_declared_no_longer_is_left_as_it_is() {
    let mut world = World::ready(&[("lc-a", &[X])], &["a", "b"]);
    world.table("lc-a", snapshot("X", 1, 1, vec![put(1, "b")]));
    world.forget();
    world.message("lc-a", FromLogical::Outline(outline(1, 2, &[("X", &["b"])], &["b"])));
    assert_eq!(world.closed_vteps.len(), 1);
    assert!(world.messages_to("a").is_empty(), "{:?}", world.messages_to("a"));
    assert_eq!(world.served.as_ref().unwrap().len(), 1);
}

#[test]
fn faults_and_skew_reach_the_logical_controllers() {
    let mut world = World::ready(&[("lc-a", &[X])], &["a", "b"]);
    let faults = ["mac_table_exhaustion".to_owned()].into();
    world.say("a", FromVtep::State(VtepState { faults, ..VtepState::default() }));
    assert_eq!(world.statuses_to("lc-a", "a")[0].state.faults.len(), 1);
    world.forget();
    let wall_ms = world.now.wall_ms + 5000;
    world.say("a", FromVtep::Heartbeat { wall_ms });
    assert_eq!(world.statuses_to("lc-a", "a")[0].skew_ms, Some(5000));
    world.forget();
    world.say("a", FromVtep::Heartbeat { wall_ms: wall_ms + 20 });
    assert!(world.to_peers.is_empty());
}
