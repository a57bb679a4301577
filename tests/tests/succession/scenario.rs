//! Scenario 15.

use std::{
    io::Write as _,
    time::{Duration, Instant},
};

use vtep_tests::deadline::wait_for;

use super::{
    fault::{
        Fault,
        Kind::{self, CutOff, CutOffFromEtcd, Killed, Stopped},
        Victim::{self, EtcdLeader, Logical, Physical},
    },
    late::Late,
    rig::{Holders, LEASE, Rig, SOON},
    stages::utc,
    standby::Told,
    watch::Watch,
};

/// From the fault to a change that happened after it, at every receiver. At the default lease.
const TAKEOVER: Duration = Duration::from_secs(5);

const FAILOVERS: usize = 20;

#[test]
fn scenario_15_twenty_successions_lose_and_take_back_nothing() {
    let kinds = [Killed, Stopped, CutOff, CutOffFromEtcd];
    let all = kinds.iter().flat_map(|kind| [Logical, Physical, EtcdLeader].map(|victim| (victim, *kind)));
    let mut rig = Rig::new();
    wait_for("every VTEP at home", SOON, || rig.controllers["lc1"].homes()).unwrap();
    let at_home = rig.holders("lc1").unwrap();
    let (mut late, mut slow) = (Late::default(), Vec::new());
    for (number, (victim, kind)) in all.cycle().take(FAILOVERS).enumerate() {
        let took = succession(&mut rig, &at_home, (victim, kind), &mut late);
        say(&format!("{} {number}: {victim:?} {kind:?}: {took:?} at the TOR and the two agents", utc()));
        slow.extend(took.into_iter().filter(|took| *took >= TAKEOVER).map(|took| (victim, kind, took)));
    }
    let violations: Vec<_> = rig.watches.iter().flat_map(Watch::violations).collect();
    let report = rig.finish_stream();
    let looks = rig.watches.each_ref().map(|watch| (watch.name, watch.looks()));
    late.look(&rig);
    let (attempts, taken) = (late.attempts(), late.locks_lost());
    late.look(&rig);
    assert_eq!(attempts, late.attempts(), "who is looked at has tried nothing");
    say(&format!("{report:?}; looked at: {looks:?}; lease {LEASE:?}"));
    say(&format!("{} attempts by terms that were over: {attempts:?}", attempts.values().sum::<u64>()));
    say(&format!("{taken} locks of TORs were taken from who had them"));
    assert!(violations.is_empty(), "{}", violations.join("\n"));
    assert_eq!(report.sent, report.received, "frames were lost");
    assert!(attempts.values().sum::<u64>() > 0, "nobody tried anything after his time: {attempts:?}");
    assert!(slow.is_empty(), "later than {TAKEOVER:?}: {slow:?}");
}

/// From the fault to everything as it was. Returns how long the takeover took at each receiver.
fn succession(
    rig: &mut Rig,
    at_home: &Holders,
    (victim, kind): (Victim, Kind),
    late: &mut Late,
) -> Vec<Duration> {
    let told = (victim == Physical).then(|| {
        // The death of etcd's leader may have cost one its lease.
        wait_for("both physical controllers to settle", SOON, || rig.is_settled()).unwrap();
        (Told::by_now(rig), rig.tables())
    });
    late.look(rig);
    let struck = Instant::now();
    let fault = Fault::strike(rig, victim, kind);
    fault.await_succession(rig);
    let took = takeover(rig, struck);
    fault.await_offices(rig);
    if victim == Logical {
        let survivor = rig.logical(fault.witness()).unwrap();
        rig.held.expect_by(&rig.controllers[survivor]);
        rig.held.claim_again();
        let claimed = Instant::now();
        // With it the second TOR, too, has changed: who knows that has heard what it claimed before.
        wait_for("a change", SOON, || rig.churn.first_after(claimed)).unwrap();
        rig.expect_truth();
        rig.held.expect_by(&rig.controllers[survivor]);
    }
    rig.expect_truth();
    late.look(rig);
    fault.heal(rig);
    // Who comes back writes nothing of what he knew, and gets his offices again.
    wait_for("all offices where they were", SOON, || {
        late.look(rig);
        ["lc1", "lc2", "pc1", "pc2"]
            .iter()
            .all(|asked| rig.holders(asked).as_ref() == Some(at_home))
            .then_some(())
    })
    .unwrap();
    wait_for("a standby of each agent", SOON, || rig.is_secure()).unwrap();
    wait_for("the last reign's tables", SOON, || rig.is_ruled()).unwrap();
    rig.expect_truth();
    late.look(rig);
    if let Some((told, before)) = told {
        let tables = || format!("{before:?} became {:?}", rig.tables());
        assert_eq!(told, Told::by_now(rig), "by {victim:?} {kind:?} something was told anew: {}", tables());
    }
    took
}

/// Until each receiver has one of the MACs that appeared after the fault; the first of them may be gone by then.
#[track_caller]
fn takeover(rig: &Rig, struck: Instant) -> Vec<Duration> {
    let struck_by = Instant::now();
    let mac = wait_for("a change", SOON, || rig.churn.first_after(struck_by)).unwrap();
    let reached = |watch: &Watch| {
        let since = wait_for("a change after the fault", SOON, || watch.since(mac));
        since.unwrap_or_else(|error| panic!("{error}: {mac} at {}", watch.name)) - struck
    };
    rig.receivers().iter().map(reached).collect()
}

/// Around the capture of output: the figures are meant to be seen.
fn say(line: &str) {
    std::io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap();
}
