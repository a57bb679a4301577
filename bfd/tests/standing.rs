//! When a VTEP's MACs go elsewhere, and when they come back.

use std::time::{Duration, Instant};

use vtep_bfd::{Holding, Standing};

const SECOND: Duration = Duration::from_secs(1);
const HOLDING: Holding =
    Holding { hold: SECOND, hold_max: Duration::from_secs(4), calm: Duration::from_mins(1), revertive: true };

#[test]
fn a_session_that_was_never_up_says_nothing() {
    let mut standing = Standing::new();
    standing.fail(&HOLDING, Instant::now());
    assert_eq!((standing.is_suspect(), standing.failures()), (false, 0));
}

#[test]
fn a_vtep_comes_back_when_its_session_was_up_for_the_hold() {
    let start = Instant::now();
    let mut standing = Standing::new();
    standing.rise(&HOLDING, start);
    standing.fail(&HOLDING, start);
    assert!(standing.is_suspect());
    standing.rise(&HOLDING, start + SECOND);
    standing.tick(start + Duration::from_millis(1999));
    assert!(standing.is_suspect());
    standing.tick(start + SECOND * 2);
    assert!(!standing.is_suspect());
}

#[test]
fn failures_one_after_the_other_double_the_hold_up_to_its_end() {
    let mut now = Instant::now();
    let mut standing = Standing::new();
    standing.rise(&HOLDING, now);
    for expected in [1, 2, 4, 4] {
        standing.fail(&HOLDING, now);
        standing.rise(&HOLDING, now);
        assert_eq!(standing.due(), Some(now + SECOND * expected));
        now += SECOND * 5;
        standing.tick(now);
    }
    now += HOLDING.calm;
    standing.fail(&HOLDING, now);
    standing.rise(&HOLDING, now);
    assert_eq!(standing.due(), Some(now + SECOND), "calm is rewarded");
}

#[test]
fn without_reversion_only_the_operator_brings_a_vtep_back() {
    let holding = Holding { revertive: false, ..HOLDING };
    let start = Instant::now();
    let mut standing = Standing::new();
    standing.rise(&holding, start);
    standing.fail(&holding, start);
    assert!(!standing.restore(), "its session is down");
    standing.rise(&holding, start);
    standing.tick(start + SECOND * 1000);
    assert!(standing.is_suspect());
    assert!(standing.restore());
    assert!(!standing.is_suspect());
}

#[test]
fn a_failure_during_the_hold_starts_it_anew() {
    let start = Instant::now();
    let mut standing = Standing::new();
    standing.rise(&HOLDING, start);
    standing.fail(&HOLDING, start);
    standing.rise(&HOLDING, start);
    standing.fail(&HOLDING, start);
    assert_eq!(standing.due(), None);
    standing.tick(start + SECOND * 100);
    assert!(standing.is_suspect());
}

#[test]
fn a_peer_that_is_taken_out_of_service_has_not_failed() {
    let start = Instant::now();
    let mut standing = Standing::new();
    standing.rise(&HOLDING, start);
    standing.pardon();
    standing.fail(&HOLDING, start);
    assert!(!standing.is_suspect());
    standing.rise(&HOLDING, start);
    standing.fail(&HOLDING, start);
    standing.pardon();
    assert!(standing.is_suspect(), "a failure before that stands");
}

#[test]
fn one_whose_frames_come_serves_until_they_stop_or_its_session_is_back() {
    let now = Instant::now();
    let spared = || {
        let mut standing = Standing::new();
        standing.rise(&HOLDING, now);
        assert!(standing.spare());
        standing
    };
    let mut back = spared();
    assert_eq!((back.name(), back.is_suspect(), back.failures()), ("receiving", false, 0));
    back.rise(&HOLDING, now);
    assert_eq!((back.name(), back.is_spared()), ("alive", false));
    let mut failed = spared();
    failed.fail(&HOLDING, now);
    assert_eq!((failed.name(), failed.failures()), ("failed", 1));
    assert!(!failed.spare(), "it served no more");
}
