//! A slice of `cargo xtask fuzz dataplane`, and the frames that once were answered wrongly.

use std::{fs, path::Path};

use vtep_tests::fuzz::{self, Case, Plan, Rig};

#[test]
fn the_programs_answer_as_the_model_does() {
    let seed = rand::random();
    println!("seed {seed}");
    let agreed = fuzz::run(Plan { seed, frames: 300_000, first_round: 0, jobs: 1 }).unwrap();
    println!("{agreed}");
}

#[test]
fn frames_that_once_differed_do_no_more() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/frames");
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    assert!(!names.is_empty(), "there are frames to replay");
    Rig::with(|rig| {
        for name in names {
            let case = Case::parse(&fs::read_to_string(&name).unwrap()).unwrap();
            let difference = case.difference(rig).unwrap();
            assert_eq!(difference, None, "{}", name.display());
        }
    })
    .unwrap();
}
