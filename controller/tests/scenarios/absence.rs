//! What is not said is not gone.

use std::collections::BTreeSet;

use vtep_api::{Claims, FromPhysical, Report, Session, Term, VtepName, VtepOutline};
use vtep_controller::logical::{Durable, Known};

use crate::harness::*;

fn pair() -> vtep_controller::Declared {
    declared(&[("pc-a", &["a"]), ("pc-b", &["b"])], &[("x", &["a", "b"])])
}

fn part(lc: &mut Arbiter, by: &str, number: u32, claim: vtep_api::Claim, end: bool) {
    let records = vec![(mac(number), Report::Claim(claim))];
    let claims = Claims { vtep: vtep(by), logical_switch: ls("x"), snapshot: true, records, end };
    lc.say(by, FromPhysical::Claims(claims));
}

#[test]
fn a_session_that_is_lost_within_a_snapshot_takes_back_none_of_its_first_parts() {
    for flaps in [&[Session::Lost][..], &[Session::Lost, Session::Up]] {
        let mut lc = Arbiter::started(pair());
        let (first, second) = (lc.claim("a", "x", 1, M), lc.claim("a", "x", 2, M));
        lc.claim("a", "x", 3, M);
        part(&mut lc, "a", 1, first.clone(), false);
        for &session in flaps {
            lc.session("a", session);
        }
        part(&mut lc, "a", 2, second.clone(), true);
        assert_eq!(lc.masters("x"), masters(&[(1, "a"), (2, "a")]), "what no part named is gone");
        lc.wait_ms(2000);
        let asked = lc.at("pc-a").resyncs.contains(&(vtep("a"), ls("x")));
        assert_eq!(asked, flaps.len() == 2, "it has not told all in its present session");
        lc.session("a", Session::Up);
        lc.snapshot("a", "x", &[(1, first), (2, second)]);
        assert_eq!(lc.masters("x"), masters(&[(1, "a"), (2, "a")]));
    }
}

#[test]
fn claims_are_held_from_when_their_physical_controller_is_back() {
    let mut lc = Arbiter::started(pair());
    lc.claim("a", "x", 1, M);
    lc.claim("b", "x", 2, M);
    // It was lost for some time before.
    lc.session("b", Session::Lost);
    lc.wait_ms(200_000);
    lc.disconnect("pc-a");
    lc.disconnect("pc-b");
    lc.wait_ms(3_600_000);
    lc.epoch += 1;
    for (peer, vtep) in [("pc-a", "a"), ("pc-b", "b")] {
        lc.connect(peer);
        lc.session(vtep, Session::Awaited);
    }
    lc.wait_ms(99_999);
    assert_eq!(lc.masters("x"), masters(&[(1, "a"), (2, "b")]));
    lc.wait_ms(1);
    assert_eq!(lc.masters("x"), masters(&[(1, "a")]));
    lc.wait_ms(200_000);
    assert!(lc.masters("x").is_empty());
}

#[test]
fn a_network_that_is_declared_late_is_complete_once_its_members_were_heard() {
    let mut lc = Arbiter::started(pair());
    lc.wait_ms(1_000_000);
    let with_y = || {
        let mut with_y = pair();
        let y = declared(&[("pc-a", &["a"]), ("pc-b", &["b"])], &[("x", &[]), ("y", &["a", "b"])]);
        with_y.logical_switches = y.logical_switches;
        for (vtep, bindings) in y.bindings {
            with_y.bindings.entry(vtep).or_default().extend(bindings);
        }
        with_y
    };
    lc.declare(with_y());
    let a = lc.new_claim(M);
    lc.snapshot("a", "y", &[(1, a)]);
    let told = lc.at("pc-a").tables.get(&ls("y"));
    assert!(told.is_none_or(|table| !table.complete), "b has not been heard");
    lc.snapshot("b", "y", &[]);
    assert!(lc.at("pc-a").tables[&ls("y")].complete);
    lc.check_receivers();
}

#[test]
fn a_network_that_is_declared_late_does_not_wait_for_who_is_long_away() {
    let mut lc = Arbiter::new(pair(), Term(1), Durable::default());
    lc.connect("pc-a");
    lc.session("a", Session::Up);
    lc.connect("pc-b");
    lc.away("b", Session::Awaited, 0, true);
    lc.snapshot("a", "x", &[]);
    lc.wait_ms(29_999);
    assert_eq!(lc.pushes("pc-a", "x"), 0);
    lc.wait_ms(1);
    assert_eq!(lc.pushes("pc-a", "x"), 1);
    let mut with_y =
        declared(&[("pc-a", &["a"]), ("pc-b", &["b"])], &[("x", &["a", "b"]), ("y", &["a", "b"])]);
    with_y.policy = pair().policy;
    lc.declare(with_y);
    let a = lc.new_claim(M);
    lc.snapshot("a", "y", &[(1, a)]);
    assert_eq!(lc.at("pc-b").tables[&ls("y")].masters(), masters(&[(1, "a")]), "at once");
    assert!(!lc.at("pc-b").tables[&ls("y")].complete);
    lc.claim("a", "y", 2, M);
    assert_eq!(lc.at("pc-b").tables[&ls("y")].rows.len(), 2);
    // It is held once, since it is away.
    lc.wait_ms(269_999);
    assert!(!lc.at("pc-b").tables[&ls("y")].complete);
    lc.wait_ms(1);
    assert!(lc.at("pc-b").tables[&ls("y")].complete);
}

#[test]
fn versions_of_a_network_that_is_declared_again_go_on() {
    let mut lc = Arbiter::started(pair());
    for number in 0..20 {
        lc.claim("a", "x", number, M);
    }
    let before = lc.at("pc-b").tables[&ls("x")].version;
    let mut without = pair();
    without.logical_switches.clear();
    without.bindings.clear();
    lc.declare(without);
    lc.declare(pair());
    lc.tell_all(&[]);
    let after = lc.at("pc-b").tables[&ls("x")].version;
    assert!(after > before, "{after:?} would be refused after {before:?}");
    lc.claim("b", "x", 1, M);
    lc.check_receivers();
}

/// a, b and c take part; the address of c, a TOR or a host, is its own word.
fn trio(tor: bool) -> vtep_controller::Declared {
    let mut trio = declared(&[("pc-a", &["a", "b"]), ("pc-b", &["c"])], &[("x", &["a", "b", "c"])]);
    let c = trio.vteps.get_mut(&vtep("c")).expect("it was declared");
    (c.address, c.ovsdb) = (None, tor.then(|| "tcp:192.0.2.3:6640".to_owned()));
    trio
}

fn address(lc: &mut Arbiter, of: &str, last: u8) {
    lc.status(of, |status| {
        status.session = Session::Up;
        status.state.address = Some([192, 0, 2, last].into());
    });
}

/// Whom the physical controller is told to flood to, and whom that may lack.
#[track_caller]
fn floods(lc: &Arbiter, expected: &[&str], unheard: &[&str]) {
    let outline = &lc.at("pc-a").outline;
    let network = &outline.networks[&ls("x")].network;
    let names = |vteps: &[&str]| vteps.iter().map(|name| vtep(name)).collect::<BTreeSet<_>>();
    assert_eq!((&network.flood, &network.unheard), (&names(expected), &names(unheard)));
    assert!(network.flood.iter().all(|vtep| outline.directory.contains_key(vtep)));
}

/// As a crash, or an older backup of the state, leaves it.
fn not_written(lc: &Arbiter) -> Durable {
    let mut durable = lc.durable.clone();
    assert_eq!(durable.known[&vtep("c")].address, Some([192, 0, 2, 3].into()));
    durable.known.insert(vtep("c"), Known::default());
    durable
}

#[test]
fn a_flood_list_in_a_new_reign_is_whole_by_what_was_written_and_not_before_all_were_heard_without_it() {
    for tor in [true, false] {
        let mut lc = Arbiter::started(trio(tor));
        address(&mut lc, "c", 3);
        floods(&lc, &["a", "b", "c"], &[]);

        let mut next = lc.next_reign(trio(tor));
        next.connect("pc-a");
        floods(&next, &["a", "b", "c"], &[]);

        let mut next = Arbiter::new(trio(tor), Term(2), not_written(&lc));
        next.connect("pc-a");
        floods(&next, &["a", "b"], &["c"]);
        for other in ["a", "b"] {
            next.session(other, Session::Up);
        }
        next.wait_ms(60_000);
        floods(&next, &["a", "b"], &["c"]);
        next.connect("pc-b");
        address(&mut next, "c", 3);
        floods(&next, &["a", "b", "c"], &[]);
    }
}

#[test]
fn whom_the_operator_took_out_is_in_no_flood_list_though_somebody_else_is_unheard() {
    for tor in [true, false] {
        let mut lc = Arbiter::started(trio(tor));
        address(&mut lc, "c", 3);
        let mut told = told(&lc);
        let mut without = trio(tor);
        without.vteps.remove(&vtep("b"));
        without.bindings.remove(&vtep("b"));

        let mut next = Arbiter::new(without, Term(2), not_written(&lc));
        next.connect("pc-a");
        next.session("a", Session::Up);
        floods(&next, &["a"], &["c"]);
        told.follow(self::told(&next));
        let flood = &told.networks[&ls("x")].flood;
        assert_eq!(flood.iter().map(VtepName::as_str).collect::<Vec<_>>(), ["a", "c"]);
        assert!(told.vteps.contains_key(&vtep("c")));
    }
}

/// As a VTEP of the physical controller hears it.
fn told(lc: &Arbiter) -> VtepOutline {
    let outline = &lc.at("pc-a").outline;
    let networks = outline.networks.iter().map(|(name, x)| (name.clone(), x.network.clone()));
    VtepOutline {
        complete: true,
        vteps: outline.directory.clone(),
        networks: networks.collect(),
        ..VtepOutline::default()
    }
}

#[test]
fn a_flood_list_becomes_whole_without_whoever_is_away_for_long() {
    let mut lc = Arbiter::new(trio(false), Term(1), Durable::default());
    lc.connect("pc-a");
    for other in ["a", "b"] {
        lc.session(other, Session::Up);
    }
    lc.connect("pc-b");
    lc.away("c", Session::Awaited, 0, true);
    lc.wait_ms(299_999);
    floods(&lc, &["a", "b"], &["c"]);
    lc.wait_ms(1);
    floods(&lc, &["a", "b"], &[]);
}

#[test]
fn a_host_that_may_be_anybodys_is_said_to_be_so_until_its_physical_controller_spoke() {
    let mut anybodys = pair();
    anybodys.vteps.get_mut(&vtep("a")).unwrap().physical_controller = None;
    let mut lc = Arbiter::new(anybodys, Term(1), Durable::default());
    lc.serve("a", "pc-a");
    for peer in ["pc-a", "pc-b"] {
        lc.connect(peer);
    }
    let unplaced = |lc: &Arbiter| {
        ["pc-a", "pc-b"].map(|peer| {
            let outline = &lc.at(peer).outline;
            let member = outline.networks.get(&ls("x")).is_some_and(|x| x.members.contains(&vtep("a")));
            (member, outline.unplaced.contains(&vtep("a")))
        })
    };
    assert_eq!(unplaced(&lc), [(false, true), (false, true)]);
    lc.session("a", Session::Up);
    assert_eq!(unplaced(&lc), [(true, false), (false, true)]);
    lc.serve("a", "pc-b");
    lc.session("a", Session::Up);
    assert_eq!(unplaced(&lc), [(false, true), (true, false)]);
}
