//! Elections in a world of chance: the members' own code, over a model of etcd that does what etcd 3.4 is known for, by a
//! clock and a scheduler that know nothing but the seed. Members are stopped past their leases, cut off, killed; etcd is put
//! back to an older state.
//!
//! ```text
//! ELECTION_SEEDS=0..20000 cargo test -p vtep-controller --lib cluster::tests
//! ```

pub(super) mod model;
pub(super) mod time;
mod world;

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

const SEEDS: Range<u64> = 0..5000;

#[test]
fn whatever_goes_wrong_an_office_has_one_holder_by_a_rising_term_and_in_the_end_the_right_one() {
    let seeds = std::env::var("ELECTION_SEEDS").map_or(SEEDS, |text| {
        let (start, end) = text.split_once("..").expect("ELECTION_SEEDS is like 0..300");
        start.parse().unwrap()..end.parse().unwrap()
    });
    let next = AtomicU64::new(seeds.start);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    if let Err(violation) = world::run(seed) {
                        next.store(seeds.end, Ordering::Relaxed);
                        panic!("seed {seed} fails: {violation}");
                    }
                }
            });
        }
    });
}

#[test]
fn a_run_of_elections_is_the_same_whenever_it_is_run() {
    for seed in [1, 7, 23] {
        assert_eq!(world::told(seed), world::told(seed), "seed {seed}");
    }
}

#[cfg(feature = "seeded-bugs")]
#[test]
fn every_seeded_bug_of_elections_is_caught() {
    use crate::bugs::{Bug, make};

    let mut caught = 0;
    for bug in Bug::OF_ELECTIONS {
        let found = SEEDS.clone().find_map(|seed| {
            make(Some(bug));
            let violation = world::run(seed).err()?;
            make(None);
            world::run(seed).ok().map(|()| (seed, violation))
        });
        make(None);
        match &found {
            Some((seed, violation)) => println!("{bug:?} is caught by seed {seed}: {violation}"),
            None => println!("{bug:?} is not caught"),
        }
        caught += usize::from(found.is_some());
    }
    println!("{caught} of {} caught", Bug::OF_ELECTIONS.len());
    assert_eq!(caught, Bug::OF_ELECTIONS.len());
}
