//! Acceptance scenario 30, without a transport: what is left to see is what the cores themselves hold, send and lose.
//!
//! 100,000 MACs in ten networks, 200 VTEPs at four physical controllers. Three of the VTEPs are in all networks and so
//! have all MACs, each other one is in one network. What is sent to them is then 2.3 million rows before the churn.

#![expect(clippy::unwrap_used, reason = "tests")]

mod churn;
mod deployment;
mod receiver;
#[path = "../harness/words.rs"]
#[allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]
mod words;

use churn::Churn;
use deployment::Deployment;

const NETWORKS: usize = 10;
const VTEPS: usize = 200;
const SERVERS: usize = 4;
/// The first VTEPs are in all networks.
const EVERYWHERE: usize = 3;
/// In each network.
const MACS: usize = 10_000;
/// MACs of a network that there are at one time or another.
const SLOTS: usize = 11_000;

const TICK_MS: u64 = 100;
const TICKS: u64 = 600;
const CHANGES_IN_A_TICK: usize = 100;

/// It has everything as soon as it is sent.
const FAST: usize = 0;
/// It takes nothing for 55 seconds.
const STOPPED: usize = 1;
/// It takes a message a second.
const SLOW: usize = 2;
/// Of the physical controllers.
const SLOW_SERVER: usize = 3;
const STOPPED_UNTIL: u64 = 550;

fn network(number: usize) -> vtep_api::LogicalSwitchName {
    words::ls(&format!("ls{number}"))
}

fn members(network: usize) -> impl Iterator<Item = usize> {
    (0..VTEPS).filter(move |vtep| *vtep < EVERYWHERE || vtep % NETWORKS == network)
}

/// Messages that a VTEP takes in a tick at most.
fn pace(vtep: usize, tick: u64) -> usize {
    match vtep {
        STOPPED if tick < STOPPED_UNTIL => 0,
        SLOW => usize::from(tick.is_multiple_of(10)),
        // A fifth of the others is behind by up to seven ticks.
        _ if vtep % 5 == 4 => usize::from(tick.is_multiple_of(7)),
        _ => usize::MAX,
    }
}

fn server_pace(server: usize, tick: u64) -> usize {
    if server == SLOW_SERVER { usize::from(tick.is_multiple_of(5)) } else { usize::MAX }
}

#[test]
fn scenario_30_sixty_thousand_changes_leave_every_receiver_with_the_same_table() {
    let mut churn = Churn::new();
    let mut deployment = Deployment::new(&churn);
    deployment.settle();
    deployment.check_all(&churn);
    let before: Vec<_> = deployment.receivers.iter().map(|receiver| receiver.taken).collect();

    for tick in 0..TICKS {
        for (vtep, records) in churn.tick(CHANGES_IN_A_TICK) {
            deployment.report(vtep, records);
        }
        deployment.tick(tick);
        if tick % 50 == 49 {
            deployment.check_current(FAST);
        }
    }
    for (vtep, records) in churn.finish() {
        deployment.report(vtep, records);
    }
    deployment.settle();
    deployment.check_all(&churn);

    assert_eq!(churn.changes, 60_000);
    let cost = |vtep: usize| deployment.receivers[vtep].taken - before[vtep];
    let (fast, slow, stopped) = (cost(FAST), cost(SLOW), cost(STOPPED));
    eprintln!("fast {fast:?}, slow {slow:?}, stopped {stopped:?}; {} MACs touched", churn.touched());
    assert!(fast.rows > 50_000, "{fast:?}");
    // Each MAC once for the time that it was away, not once for each change; and what filled the window before.
    assert!(stopped.rows < churn.touched() + fast.rows / 5, "{stopped:?}");
    assert!(
        stopped.messages < fast.messages / 10 && slow.messages < fast.messages / 10,
        "{slow:?} {stopped:?}"
    );
}
