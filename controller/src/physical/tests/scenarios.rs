//! `scenarios.md`, as far as the rule is the physical controller's.

use vtep_api::*;

use super::receiver::Ledger;
use super::world::*;
use crate::declared::Batch;

/// PC-c of figures 3 to 5 with TORs b and f and the host; X is LC-a's, Y is LC-b's.
fn racks() -> World {
    let x: (&str, &[&str]) = ("X", &["b", "f", "host"]);
    let y: (&str, &[&str]) = ("Y", &["f"]);
    World::ready(&[("lc-a", &[x]), ("lc-b", &[y])], &["b", "f", "host"])
}

#[test]
fn scenario_01_what_a_tor_reports_of_x_concerns_the_owner_and_the_members_of_x() {
    let mut world = racks();
    world.say("b", FromVtep::Inventory(inventory(false, (1..=7).map(|n| ("X".into(), n, Some(master(1)))))));
    let claims = world.claims_to("lc-a");
    assert_eq!(claims.iter().map(|claims| claims.records.len()).sum::<usize>(), 7);
    assert!(claims.iter().all(|claims| claims.vtep == vtep("b") && claims.logical_switch == ls("X")));
    assert!(world.claims_to("lc-b").is_empty());
    world.table("lc-a", snapshot("X", 1, 1, (1..=7).map(|n| put(n, "b")).collect()));
    for member in ["b", "f", "host"] {
        let [update] = world.tables_to(member)[..] else { panic!("{member}: {:?}", world.tables_to(member)) };
        assert_eq!((update.changes.len(), update.end, &update.logical_switch), (7, true, &ls("X")));
    }
    assert!(world.physical.table(&ls("Y")).is_none());
}

#[test]
fn scenario_02_a_tor_that_is_only_slave_gets_the_table_and_one_outside_gets_nothing() {
    let members: (&str, &[&str]) = ("Y", &["d"]);
    let mut world = World::ready(&[("lc-b", &[members])], &["c", "d"]);
    world.change("d", "Y", 5, Some(slave(1)));
    world.forget();
    let rows = (1..=5).map(|n| (mac(n), Change::Put(row("a", if n == 5 { &["d"] } else { &[] })))).collect();
    world.table("lc-b", snapshot("Y", 1, 1, rows));
    let [update] = world.tables_to("d")[..] else { panic!("{:?}", world.tables_to("d")) };
    assert_eq!(update.changes.len(), 5);
    assert!(world.messages_to("c").is_empty());
    assert_eq!(world.physical.counters().vteps[&vtep("c")].pushes, 0);
}

#[test]
fn scenario_03_rows_of_two_networks_go_to_two_logical_controllers() {
    let mut world = racks();
    let records = [("X", 1, master(1)), ("Y", 1, master(2)), ("Y", 2, master(3))];
    world.say(
        "f",
        FromVtep::Inventory(inventory(false, records.map(|(n, m, l)| (n.into(), m, Some(l))).into_iter())),
    );
    let [to_a] = world.claims_to("lc-a")[..] else { panic!("{:?}", world.to_peers) };
    let [to_b] = world.claims_to("lc-b")[..] else { panic!("{:?}", world.to_peers) };
    assert_eq!((&to_a.logical_switch, to_a.records.len()), (&ls("X"), 1));
    assert_eq!((&to_b.logical_switch, to_b.records.len()), (&ls("Y"), 2));
    assert!(world.notices.is_empty());
}

#[test]
fn scenario_10_the_same_inventory_again_is_pushed_to_nobody_and_answered() {
    let mut world = racks();
    let records = [("X", 1, master(1)), ("X", 2, slave(2))];
    world.inventory("b", &records);
    world.forget();
    world.inventory("b", &records);
    assert!(world.to_peers.is_empty(), "{:?}", world.to_peers);
    assert_eq!(world.to_vteps, [(vtep("b"), ToVtep::NoChange { logical_switch: ls("X") })]);
    world.forget();
    world.message("lc-a", FromLogical::NoChange { vtep: vtep("b"), logical_switch: ls("X") });
    assert_eq!(world.to_vteps, [(vtep("b"), ToVtep::NoChange { logical_switch: ls("X") })]);
}

fn gathering(period_ms: u32, size: u32) -> World {
    let x: (&str, &[&str]) = ("X", &["a", "b"]);
    World::batched(Batch { period_ms, size }).made_ready(&[("lc-a", &[x])], &["a", "b"])
}

#[test]
fn scenario_11_a_batch_ends_by_its_size_or_its_period_whichever_is_first() {
    let mut world = gathering(100, 3);
    world.change("a", "X", 1, Some(master(1)));
    world.change("a", "X", 2, Some(master(2)));
    assert!(world.to_peers.is_empty());
    world.change("a", "X", 3, Some(master(3)));
    let [claims] = world.claims_to("lc-a")[..] else { panic!("{:?}", world.to_peers) };
    assert_eq!(claims.records.len(), 3);
    world.forget();
    world.change("a", "X", 4, Some(master(4)));
    let due = world.physical.deadline_ms();
    assert_eq!(due, world.now.mono_ms + 100);
    world.pass(99);
    assert!(world.claims_to("lc-a").is_empty());
    world.pass(1);
    assert_eq!(world.claims_to("lc-a").len(), 1);
}

#[test]
fn scenario_11_all_three_events_of_a_to_b_to_a_arrive_in_their_order() {
    let mut world = gathering(100, 0);
    world.change("a", "X", 1, Some(master(1)));
    world.change("b", "X", 1, Some(master(1)));
    world.change("a", "X", 1, Some(master(2)));
    assert!(world.to_peers.is_empty());
    world.pass(100);
    let order: Vec<_> = world.claims_to("lc-a").iter().map(|claims| claims.vtep.to_string()).collect();
    assert_eq!(order, ["a", "b", "a"]);
    let seqs: Vec<_> = world.claims_to("lc-a").iter().flat_map(|claims| &claims.records).collect();
    assert_eq!(seqs.len(), 3);
}

#[test]
fn scenario_24_reconnects_claim_nothing_and_push_nothing() {
    let mut world = racks();
    let records = [("X", 1, master(1)), ("X", 2, slave(2))];
    world.inventory("b", &records);
    world.table("lc-a", snapshot("X", 1, 4, vec![put(1, "b"), put(2, "f")]));
    let before: Vec<_> = world.claims_to("lc-a").iter().flat_map(|claims| claims.records.clone()).collect();
    world.forget();
    world.down("b");
    world.pass(5000);
    world.forget();

    world.hello("b", vec![Held { logical_switch: ls("X"), term: Term(1), version: Version(4) }]);
    world.say("b", FromVtep::State(VtepState::default()));
    world.inventory("b", &records);
    let [told] = world.claims_to("lc-a")[..] else { panic!("{:?}", world.to_peers) };
    assert!(told.snapshot && told.end);
    let without_master = |records: &[(MacAddr, Report)]| -> Vec<(MacAddr, Report)> {
        let mut records = records.to_vec();
        for (_, report) in &mut records {
            if let Report::Claim(claim) = report {
                claim.was_master = false;
            }
        }
        records
    };
    assert_eq!(without_master(&told.records), without_master(&before));
    let was_master =
        |(_, report): &(MacAddr, Report)| matches!(report, Report::Claim(claim) if claim.was_master);
    assert_eq!(told.records.iter().map(was_master).collect::<Vec<_>>(), [true, false]);
    assert!(world.tables_to("b").is_empty(), "{:?}", world.tables_to("b"));
    assert!(world.messages_to("f").is_empty());

    world.forget();
    world.message("lc-a", FromLogical::Heartbeat { wall_ms: 0 });
    world.step(crate::physical::Event::Disconnected { peer: lc("lc-a") });
    world.welcome("lc-a", 1);
    let x: (&str, &[&str]) = ("X", &["b", "f", "host"]);
    world.message("lc-a", FromLogical::Outline(outline(1, 1, &[x], &["b", "f", "host"])));
    let mut ledger = Ledger::default();
    for claims in world.claims_to("lc-a") {
        assert!(claims.snapshot);
        ledger.take(claims);
    }
    assert_eq!(ledger.records()[&(ls("X"), vtep("b"))].len(), 2);
    let Some((_, FromPhysical::Hello { tables, .. })) = world.to_peers.first() else { panic!() };
    assert_eq!(tables, &[Held { logical_switch: ls("X"), term: Term(1), version: Version(4) }]);
    assert!(world.to_vteps.is_empty(), "{:?}", world.to_vteps);
}

#[test]
fn scenario_25_a_lost_session_is_told_as_such_and_takes_nothing_back() {
    let mut world = racks();
    world.inventory("b", &[("X", 1, master(1))]);
    world.table("lc-a", snapshot("X", 1, 1, vec![put(1, "b")]));
    world.forget();
    world.down("b");
    assert!(world.claims_to("lc-a").is_empty());
    assert_eq!(world.statuses_to("lc-a", "b").iter().map(|s| s.session).collect::<Vec<_>>(), [Session::Lost]);
    world.pass(3_600_000);
    assert!(world.claims_to("lc-a").is_empty());
    assert!(world.tables_to("f").is_empty());
    assert_eq!(world.rows("X").len(), 1);
    world.forget();
    world.hello("b", vec![]);
    assert_eq!(world.statuses_to("lc-a", "b").iter().map(|s| s.session).collect::<Vec<_>>(), [Session::Up]);
    world.inventory("b", &[("X", 1, master(1))]);
    let [told] = world.claims_to("lc-a")[..] else { panic!("{:?}", world.to_peers) };
    assert!(told.snapshot, "no withdrawal, no new claim: {told:?}");
}
