//! What operators ask, and the one thing that they order.

use vtep_api::*;

use super::world::*;
use crate::physical::{Event, Operation};

const X: (&str, &[&str]) = ("X", &["a", "b"]);

#[test]
fn sync_says_how_far_each_vtep_is() {
    let mut world = World::ready(&[("lc-a", &[X])], &["a", "b"]);
    world.table("lc-a", snapshot("X", 1, 4, vec![put(1, "a")]));
    let held = Held { logical_switch: ls("X"), term: Term(1), version: Version(4) };
    world.say("a", FromVtep::Applied(held));
    world.now.mono_ms += 30;
    world.table("lc-a", delta("X", 1, 5, vec![put(2, "a")]));
    world.now.mono_ms += 12;
    let [a, b] = &world.physical.sync(world.now)[..] else { panic!() };
    assert_eq!(a.desired, Some((Term(1), Version(5))));
    assert_eq!(a.sent, a.desired);
    assert_eq!((a.acknowledged, a.lag_versions, a.lag_ms), (Some((Term(1), Version(4))), Some(1), 12));
    assert_eq!((b.acknowledged, b.lag_versions, b.lag_ms), (None, None, 42));
}

#[test]
fn what_the_guard_keeps_is_seen_and_goes_when_it_is_released() {
    let mut world = World::ready(&[("lc-a", &[X])], &["a", "b"]);
    world.table("lc-a", snapshot("X", 1, 1, (0..200).map(|n| put(n, "a")).collect()));
    world.forget();
    world.table("lc-a", snapshot("X", 1, 2, vec![put(0, "a")]));
    world.table("lc-a", snapshot("X", 1, 3, vec![put(0, "a")]));
    assert_eq!(world.notices.iter().filter(|notice| notice.alarm).count(), 1);
    assert_eq!((world.physical.networks()[0].kept, world.rows("X").len()), (199, 200));
    world.step(Event::Operate(Operation::ReleaseWithdrawals { logical_switch: ls("X") }));
    assert_eq!(world.rows("X").len(), 1);
    let last = world.tables_to("a").into_iter().last().unwrap();
    assert_eq!((last.from, last.complete, last.changes.len()), (None, true, 1));
}

#[test]
fn every_view_can_be_shown_as_json() {
    let mut world = World::ready(&[("lc-a", &[X])], &["a", "b"]);
    world.change("a", "X", 1, Some(master(1)));
    world.table("lc-a", snapshot("X", 1, 4, vec![put(1, "a")]));
    let physical = &world.physical;
    serde_json::to_string(&physical.vteps()).unwrap();
    serde_json::to_string(&physical.sync(world.now)).unwrap();
    serde_json::to_string(&physical.networks()).unwrap();
    serde_json::to_string(&physical.table(&ls("X"))).unwrap();
    serde_json::to_string(&physical.peers()).unwrap();
    serde_json::to_string(&physical.counters()).unwrap();
    assert_eq!(physical.counters().vteps[&vtep("a")].claims, 1);
}
