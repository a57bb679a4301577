//! Scenario 15.

use std::{
    collections::BTreeMap,
    io::Write as _,
    time::{Duration, Instant},
};

use vtep_tests::deadline::wait_for;

use super::{
    fault::{
        Fault,
        Kind::{self, CutOff, Killed, Stopped},
        Victim::{self, EtcdLeader, Logical, Physical},
    },
    rig::{LEASE, Rig, SOON},
    stages::utc,
};

/// From the fault to a change that happened after it, at every receiver. At the default lease.
const TAKEOVER: Duration = Duration::from_secs(5);

/// What receivers refuse of those whose time is over. Each attempt is counted somewhere here, or ends in the process that
/// would make it, which looks at its clock before.
const REFUSALS: [&str; 3] = ["store_fenced", "claims_fenced", "physical_refused_tables"];

#[test]
fn scenario_15_six_successions_lose_and_take_back_nothing() {
    run(&[
        (Logical, Killed),
        (Physical, Stopped),
        (EtcdLeader, CutOff),
        (Logical, CutOff),
        (Physical, Killed),
        (EtcdLeader, Stopped),
    ]);
}

/// `cargo test -p vtep-tests --test succession twenty -- --ignored`
#[test]
#[ignore = "takes two minutes; a slice of it is always run"]
fn scenario_15_twenty_successions_lose_and_take_back_nothing() {
    let kinds = [Killed, Stopped, CutOff];
    let all = kinds.iter().flat_map(|kind| [Logical, Physical, EtcdLeader].map(|victim| (victim, *kind)));
    let twenty: Vec<_> = all.cycle().take(20).collect();
    run(&twenty);
}

fn run(faults: &[(Victim, Kind)]) {
    let mut rig = Rig::new();
    let at_home = rig.holders("lc1").unwrap();
    let mut refused = BTreeMap::new();
    let mut late = Vec::new();
    for (victim, kind) in faults {
        let struck = Instant::now();
        let fault = Fault::strike(&mut rig, *victim, *kind);
        let took = takeover(&rig, struck);
        say(&format!("{} {victim:?} {kind:?}: {took:?} at the TOR and the two agents", utc()));
        late.extend(took.iter().filter(|took| **took >= TAKEOVER).map(|took| (*victim, *kind, *took)));
        if let Some(name) = fault.controller() {
            wait_for("others in all its offices", SOON, || {
                rig.holders(fault.witness())?.values().all(|holder| holder != name).then_some(())
            })
            .unwrap();
        }
        rig.expect_truth();
        fault.heal(&mut rig);
        // Who comes back writes nothing of what he knew, and gets his offices again.
        wait_for("all offices where they were", SOON, || {
            ["lc1", "lc2", "pc1", "pc2"]
                .iter()
                .all(|asked| rig.holders(asked) == Some(at_home.clone()))
                .then_some(())
        })
        .unwrap();
        wait_for("a standby of each agent", SOON, || rig.is_secure()).unwrap();
        rig.expect_truth();
        count_refusals(&rig, &mut refused);
    }
    let violations: Vec<_> = rig.watches.iter().flat_map(super::watch::Watch::violations).collect();
    let report = rig.finish_stream();
    let looks = rig.watches.each_ref().map(|watch| (watch.name, watch.looks()));
    say(&format!("{report:?}; refused: {refused:?}; looked at: {looks:?}; lease {LEASE:?}"));
    assert!(violations.is_empty(), "{}", violations.join("\n"));
    assert_eq!(report.sent, report.received, "frames were lost");
    assert!(late.is_empty(), "later than {TAKEOVER:?}: {late:?}");
}

/// Until each receiver has one of the MACs that appeared after the fault; the first of them may be gone by then.
#[track_caller]
fn takeover(rig: &Rig, struck: Instant) -> Vec<Duration> {
    let struck_by = Instant::now();
    let mac = wait_for("a change", SOON, || rig.churn.first_after(struck_by)).unwrap();
    let reached = |watch: &super::watch::Watch| {
        let since = wait_for("a change after the fault", SOON, || watch.since(mac));
        since.unwrap_or_else(|error| panic!("{error}: {mac} at {}", watch.name)) - struck
    };
    rig.watches.iter().map(reached).collect()
}

/// The highest of each process: one that is killed takes its own along.
fn count_refusals(rig: &Rig, refused: &mut BTreeMap<String, u64>) {
    for (name, controller) in &rig.controllers {
        let text = controller.metrics().unwrap();
        for wanted in REFUSALS {
            let lines = text.lines().filter(|line| line.starts_with(&format!("vtepd_controller_{wanted}")));
            let count: u64 = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum();
            let known = refused.entry(format!("{wanted} at {name}")).or_default();
            *known = count.max(*known);
        }
    }
}

/// Around the capture of output: the figures are meant to be seen.
fn say(line: &str) {
    std::io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap();
}
