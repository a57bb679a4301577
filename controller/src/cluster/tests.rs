//! Elections in a world of chance: the members' own code, over a model of etcd that does what etcd 3.4 is known for, by a
//! clock and a scheduler that know nothing but the seed. Members are stopped past their leases, cut off, killed; etcd is put
//! back to an older state.
//!
//! ```text
//! ELECTION_SEEDS=0..20000 cargo test -p vtep-controller --lib cluster::tests
//! ```

pub(super) mod model;
#[path = "../../tests/simulation/seeds.rs"]
mod seeds;
pub(super) mod time;
mod world;

use std::ops::Range;

const SEEDS: Range<u64> = 0..5000;

#[test]
fn whatever_goes_wrong_an_office_has_one_holder_by_a_rising_term_and_in_the_end_the_right_one() {
    let seeds = seeds::named("ELECTION_SEEDS", SEEDS);
    if let Some(seed) = seeds::lowest(seeds, |seed| world::run(seed).is_err()) {
        panic!("seed {seed} fails: {}", world::run(seed).expect_err("a run is the same whenever it is run"));
    }
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
