use super::*;

const KEY: FdbKey = FdbKey::new(5001, [2, 0, 0, 0, 0, 1]);
const OTHER: FdbKey = FdbKey::new(5001, [2, 0, 0, 0, 0, 2]);
const TAP0: PortId = PortId { ifindex: 7, vlan: 0 };
const TAP1: PortId = PortId { ifindex: 8, vlan: 0 };
const SIGHT: Sight = Sight { now_secs: 100, port_max: 10, vni_max: 20 };

#[test]
fn a_mac_moves_between_ports_and_goes_with_its_binding() {
    let mut learnt = Learnt::default();
    assert_eq!(learnt.observe(KEY, TAP0, SIGHT), Lesson::New);
    assert_eq!(learnt.observe(KEY, TAP1, SIGHT), Lesson::Moved { from: TAP0 });
    assert_eq!((learnt.count(7), learnt.count(8), learnt.count_in(5001)), (0, 1, 1));
    learnt.revise(|port| (port == TAP0).then_some(5001));
    assert!(learnt.is_empty());
    assert_eq!((learnt.count(8), learnt.count_in(5001)), (0, 0));
}

#[test]
fn a_mac_stays_with_its_port_when_the_vni_changes() {
    let mut learnt = Learnt::default();
    learnt.observe(KEY, TAP0, SIGHT);
    learnt.revise(|_| Some(6001));
    assert_eq!(learnt.iter().collect::<Vec<_>>(), [(FdbKey::new(6001, KEY.mac), TAP0)]);
    assert_eq!((learnt.count(7), learnt.count_in(5001), learnt.count_in(6001)), (1, 0, 1));
}

#[test]
fn a_full_port_learns_no_more_and_keeps_what_it_has() {
    let mut learnt = Learnt::default();
    let sight = Sight { port_max: 1, ..SIGHT };
    learnt.observe(KEY, TAP0, sight);
    assert_eq!(learnt.observe(OTHER, TAP0, sight), Lesson::Full);
    assert_eq!(learnt.observe(KEY, TAP0, sight), Lesson::Known);
    let moved = Lesson::Moved { from: TAP0 };
    assert_eq!(learnt.observe(KEY, PortId { vlan: 5, ..TAP0 }, sight), moved);
    assert_eq!(learnt.tally, Tally { refused_by_port: 1, ..Tally::default() });
}

#[test]
fn a_full_vni_learns_no_more_and_another_one_does() {
    let mut learnt = Learnt::default();
    let sight = Sight { vni_max: 1, ..SIGHT };
    learnt.observe(KEY, TAP0, sight);
    assert_eq!(learnt.observe(OTHER, TAP1, sight), Lesson::Full);
    assert_eq!(learnt.observe(FdbKey::new(6001, OTHER.mac), TAP1, sight), Lesson::New);
    assert!(matches!(learnt.observe(KEY, TAP1, sight), Lesson::Moved { .. }), "it is counted already");
    assert_eq!(learnt.tally, Tally { refused_by_vni: 1, ..Tally::default() });
}

#[test]
fn what_the_programs_saw_stays_and_the_rest_ages() {
    let mut learnt = Learnt::default();
    learnt.observe(KEY, TAP0, SIGHT);
    learnt.observe(OTHER, TAP0, SIGHT);
    let seen = |key: &FdbKey| (*key == OTHER).then_some(350);
    let end = 404;
    assert!(!learnt.age(end - 1, seen, |_| 300, &mut vec![]));
    assert!(!learnt.age(500, seen, |_| 0, &mut vec![]), "never");
    assert!(learnt.age(end, seen, |_| 300, &mut vec![]));
    assert_eq!(learnt.iter().collect::<Vec<_>>(), [(OTHER, TAP0)]);
    assert_eq!((learnt.count(7), learnt.tally.aged), (1, 1));
    assert!(learnt.age(end + 250, seen, |_| 300, &mut vec![]));
    assert!(learnt.is_empty());
}

#[test]
fn what_an_earlier_agent_learnt_has_a_whole_age_before_it_if_nobody_noted_its_time() {
    let mut learnt = Learnt::default();
    learnt.insert((KEY.vni, KEY.mac), Sighting::new(TAP0, None));
    assert!(!learnt.age(1000, |_| None, |_| 300, &mut vec![]));
    let end = 1300 + SEEN_BEHIND_SECS;
    assert!(!learnt.age(end - 1, |_| None, |_| 300, &mut vec![]));
    assert!(learnt.age(end, |_| None, |_| 300, &mut vec![]));
}

#[test]
fn a_mac_that_jumps_between_two_ports_is_held_and_others_are_not() {
    let mut learnt = Learnt::default();
    learnt.observe(KEY, TAP0, SIGHT);
    learnt.observe(OTHER, TAP0, SIGHT);
    let ports = [TAP1, TAP0].into_iter().cycle().take(10);
    let lessons: Vec<_> = ports.map(|port| learnt.observe(KEY, port, SIGHT)).collect();
    let moves = lessons.iter().filter(|lesson| matches!(lesson, Lesson::Moved { .. })).count();
    let new = lessons.iter().filter(|lesson| **lesson == Lesson::Damped { new: true }).count();
    assert_eq!((moves, new), (5, 1), "{lessons:?}");
    assert_eq!(learnt.damped().map(|(key, _)| key).collect::<Vec<_>>(), [KEY]);
    assert!(matches!(learnt.observe(OTHER, TAP1, SIGHT), Lesson::Moved { .. }));
    let late = 100 + WINDOW_SECS;
    assert!(learnt.age(late, |_| Some(late), |_| 300, &mut vec![]), "the end is news");
    assert_eq!(learnt.damped().count(), 0);
}

fn vtep(name: &str) -> VtepName {
    name.try_into().unwrap()
}

/// Seconds in which a MAC that always speaks here was claimed anew, the table having it behind one of `by` by turns.
fn returns(learnt: &mut Learnt, by: [&str; 2], seconds: u32) -> Vec<u32> {
    let mut names = by.map(vtep).into_iter().cycle();
    let mut name = names.next();
    let mut returns = Vec::new();
    for now in 100..100 + seconds {
        learnt.age(now, |_| Some(now), |_| 300, &mut vec![]);
        learnt.outvote(now, |_, _| name.as_ref());
        if !learnt.returned(now, |_| Some(now)).is_empty() {
            returns.push(now - 100);
            name = names.next();
        }
    }
    returns
}

#[test]
fn a_mac_that_is_back_is_claimed_once() {
    let mut learnt = Learnt::default();
    learnt.observe(KEY, TAP0, SIGHT);
    assert_eq!(returns(&mut learnt, ["b", "b"], 400), [6]);
    assert_eq!(learnt.waiting(), 0);
    learnt.outvote(500, |_, _| None);
    assert_eq!(returns(&mut learnt, ["b", "b"], 400), [6], "it was ours meanwhile");
}

#[test]
fn two_hosts_that_both_hear_a_mac_do_not_draw_it_to_and_fro() {
    let mut learnt = Learnt::default();
    learnt.observe(KEY, TAP0, SIGHT);
    let returns = returns(&mut learnt, ["b", "c"], WINDOW_SECS + 30);
    assert_eq!(returns.len(), MOVES_MAX as usize, "{returns:?}");
    assert_eq!((learnt.damped().count(), learnt.tally.damped), (1, 1));
}

#[test]
fn a_mac_that_comes_back_by_another_port_is_told_by_its_move() {
    let mut learnt = Learnt::default();
    learnt.observe(KEY, TAP0, SIGHT);
    let b = vtep("b");
    learnt.outvote(100, |key, port| (*key == KEY && port == TAP0).then_some(&b));
    assert_eq!(learnt.waiting(), 1);
    assert_eq!(learnt.observe(KEY, TAP1, SIGHT), Lesson::Moved { from: TAP0 });
    assert!([101, 107].into_iter().all(|now| learnt.returned(now, |_| Some(now)).is_empty()));
    assert_eq!(learnt.waiting(), 0);
}
