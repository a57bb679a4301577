//! The controllers in a world of chance: a seeded, deterministic simulation of logical and physical controllers and of
//! VTEPs, with whatever goes wrong between them.
//!
//! A run is a pure function of its seed. In it stations come, go, move and are fought over, while sessions end, networks
//! part, processes restart, clocks jump and late messages of earlier reigns arrive (`chaos`). After every step `observer`
//! looks on. Then all is quiet, and the tables of the logical controllers must be what `truth` makes of what the VTEPs
//! claim, and each VTEP must have the tables of its networks and of no others. Then everything fails once more while nobody
//! claims anything: no master may change, at any receiver, at any time.
//!
//! ```text
//! SIM_SEED=17 cargo test -p vtep-controller --test simulation one_run       # one run, told as it happens
//! SIM_SEEDS=5000..20000 cargo test -p vtep-controller --test simulation     # other runs
//! SIM_SEEDS=0..20000 cargo test -p vtep-controller --test simulation elected::whoever -- --nocapture
//! ```

mod chaos;
mod elected;
mod floods;
mod link;
mod observer;
mod queue;
mod quiet;
mod random;
mod run;
mod scenario;
mod seeds;
mod trace;
mod transit;
mod truth;
mod vtep;
mod world;

use std::ops::Range;

const SEEDS: Range<u64> = 0..5000;

#[test]
fn whatever_goes_wrong_all_tables_agree_in_the_end() {
    let seeds = seeds();
    let began = std::time::Instant::now();
    let count = seeds.end - seeds.start;
    if let Some(failure) = run::all(seeds) {
        panic!("{failure}");
    }
    println!("{count} seeds, {:.1} s", began.elapsed().as_secs_f64());
}

#[cfg(feature = "seeded-bugs")]
#[test]
fn every_seeded_bug_is_caught() {
    use vtep_controller::bugs::Bug;

    let caught = Bug::ALL.map(|bug| (bug, run::first_to_catch(bug, SEEDS)));
    for (bug, seed) in &caught {
        match seed {
            Some((seed, violation)) => println!("{bug:?} is caught by seed {seed}: {violation}"),
            None => println!("{bug:?} is not caught"),
        }
    }
    let count = caught.iter().filter(|(_, seed)| seed.is_some()).count();
    println!("{count} of {} caught", caught.len());
    assert_eq!(count, caught.len());
}

#[test]
fn a_run_is_the_same_whenever_it_is_run() {
    for seed in [3, 77, 1234] {
        assert_eq!(run::told(seed), run::told(seed), "seed {seed}");
    }
}

#[test]
fn one_run() {
    let Ok(seed) = std::env::var("SIM_SEED") else { return };
    let seed = seed.parse().expect("SIM_SEED is a number");
    run::aloud(seed).unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
}

fn seeds() -> Range<u64> {
    seeds::named("SIM_SEEDS", SEEDS)
}
