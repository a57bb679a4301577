//! The same where controllers are elected: logical ones of up to three shards, and physical ones that all mirror all VTEPs
//! and hold all tables, of which etcd says whose each VTEP is; the real cores, over a model of etcd and of its members' clocks
//! (`office`). Agents obey the highest term, and acknowledge what their kernels have, which follow later; a TOR has a database
//! with a lock, which adapters steal, and to which their transactions come late (`tor`).
//!
//! Processes are killed, stopped past their leases and go on, cut off from etcd, from each other and from VTEPs; a lease is
//! prolonged that is gone; a logical controller goes on for a while beside its successor. Several VTEPs claim a MAC, and keep
//! their claims through all of it. After every message a VTEP has what was published and nothing older than what it had, and
//! loses nothing out of absence. In the end all have the table of what is claimed, and who claims last is master. Then
//! everything fails once more while nobody claims anything, and no master changes anywhere.
//!
//! The elections themselves are simulated with the members' own code in `controller/src/cluster/tests`.

mod chaos;
mod clock;
mod members;
mod office;
mod sessions;
mod station;
mod steps;
mod tor;
mod world;

use self::world::World;
use crate::observer::Verdict;
use crate::run::survive;
use crate::seeds::lowest;
use crate::trace::Trace;

fn verdict(seed: u64, trace: Trace) -> (Verdict, Trace) {
    let mut world = World::of(seed, trace);
    let verdict = survive(|| world.run());
    (verdict, world.trace)
}

#[test]
fn whoever_is_elected_nothing_is_lost_taken_back_or_old() {
    let seeds = crate::seeds();
    let (began, count) = (std::time::Instant::now(), seeds.end - seeds.start);
    let fails = |seed| verdict(seed, Trace::default()).0.is_err();
    if let Some(seed) = lowest(seeds, fails) {
        let (verdict, trace) = verdict(seed, Trace::last(60));
        let lines: Vec<String> = trace.lines().map(|line| line.chars().take(400).collect()).collect();
        panic!("{}\nseed {seed} fails: {}", lines.join("\n"), verdict.expect_err("a run is always the same"));
    }
    println!("{count} seeds, {:.1} s", began.elapsed().as_secs_f64());
}

/// Else the runs would say nothing of it.
#[test]
fn some_write_to_a_tor_whose_lock_was_stolen_and_are_refused() {
    let refused = (0..500).find(|seed| {
        let mut world = World::of(*seed, Trace::default());
        world.run().is_ok() && world.refused_writes > 0
    });
    assert!(refused.is_some());
}

#[test]
fn one_elected_run() {
    let Ok(seed) = std::env::var("SIM_SEED") else { return };
    let seed = seed.parse().expect("SIM_SEED is a number");
    verdict(seed, Trace::aloud()).0.unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
}

#[cfg(feature = "seeded-bugs")]
#[test]
fn every_seeded_bug_of_elected_controllers_is_caught() {
    use vtep_controller::bugs::{Bug, make};

    let caught = Bug::OF_ELECTED.map(|bug| {
        let seed = (0..5000).find(|seed| {
            make(Some(bug));
            let objected = verdict(*seed, Trace::default()).0.is_err();
            make(None);
            objected && verdict(*seed, Trace::default()).0.is_ok()
        });
        println!("{bug:?} is caught by seed {seed:?}");
        seed.is_some()
    });
    assert!(caught.iter().all(|caught| *caught));
}
