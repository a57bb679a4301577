//! Handshake, negotiation, restarts.

use std::time::Duration;

use nix::sys::signal::Signal;
use vtep_tests::{deadline::wait_for, lab::rig::SOON};

use crate::rig::{Hops, Pair};

#[test]
fn sessions_with_bird_come_up_and_agree_on_timers() {
    for hops in [Hops::Single, Hops::Multi] {
        let pair = Pair::new(hops, "");
        pair.wait_until_up();
        let session = pair.session("a").unwrap();
        assert_eq!((&session["remote_state"], &session["standing"]), (&"up".into(), &"alive".into()));
        let theirs = pair.tors[0].bird.as_ref().unwrap().sessions().unwrap();
        assert!(theirs.contains("Up") && theirs.contains("0.050") && theirs.contains("0.150"), "{theirs}");
        let shown = pair.vtep("a");
        assert_eq!((&shown["bfd"], &shown["suspect"]), (&"up".into(), &false.into()));
        assert!(pair.agent.metrics().unwrap().contains("vtepd_agent_bfd_up{vtep=\"192.0.2.11\"} 1"));
    }
}

/// An agent that stops, or is killed, leaves its sessions to the programs, and its successor goes on with them.
#[test]
fn a_session_outlives_its_agent_without_a_flap() {
    let mut pair = Pair::new(Hops::Multi, "");
    pair.wait_until_up();
    let before = least_since(&pair);
    for end in ["kill", "terminate"] {
        if end == "kill" {
            pair.agent.daemon().unwrap().kill().unwrap();
        } else {
            pair.agent.daemon().unwrap().terminate(SOON).unwrap();
        }
        // Many detection times.
        std::thread::sleep(Duration::from_millis(1500));
        assert!(birds_view(&pair).0.contains("Up"), "after {end}: {}", birds_view(&pair).0);
        pair.agent.start().unwrap();
        pair.wait_until_up();
        let session = pair.session("a").unwrap();
        assert!(session["answered"].as_u64().unwrap() > 10, "the programs answered: {session}");
        assert_eq!(
            (session["failures"].as_u64(), session["expired"].as_u64()),
            (Some(0), Some(0)),
            "{session}"
        );
        check_same_session(&pair, before);
    }
    pair.agent.daemon().unwrap().signal(Signal::SIGSTOP).unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    pair.agent.daemon().unwrap().signal(Signal::SIGCONT).unwrap();
    wait_for("the session as it was", SOON, || (pair.session("a")?["state"] == "up").then_some(())).unwrap();
    let session = pair.session("a").unwrap();
    assert_eq!((session["failures"].as_u64(), session["expired"].as_u64()), (Some(0), Some(0)), "{session}");
    check_same_session(&pair, before);
}

/// RFC 5880 §6.8.3: other timers come by a poll sequence, and the session does not notice.
#[test]
fn what_the_source_says_of_a_session_counts_and_changes_without_a_flap() {
    let pair = Pair::told(50);
    let until = |detection: u64| {
        wait_for(&format!("a detection time of {detection} ms"), SOON, || {
            let session = pair.session("a")?;
            let agreed = session["state"] == "up" && session["detection_ms"] == detection;
            (agreed && session["interval_ms"] == detection / 3).then_some(session)
        })
        .unwrap_or_else(|error| panic!("{error}: {:?}", pair.session("a")))
    };
    let session = until(150);
    assert_eq!(session["configured_by"], "table file");
    let since = least_since(&pair);
    for (interval, detection) in [(100, 300), (60, 180)] {
        pair.tell(interval);
        let session = until(detection);
        assert_eq!(session["min_tx_ms"], interval);
        assert_eq!((&session["failures"], &session["standing"]), (&0.into(), &"alive".into()), "{session}");
    }
    check_same_session(&pair, since);
    pair.say_nothing();
    wait_for("no session", SOON, || pair.session("a").is_none().then_some(())).unwrap();
    wait_for("what BIRD sees", SOON, || (!birds_view(&pair).0.contains("Up")).then_some(())).unwrap();
    assert_eq!(pair.vtep("a")["suspect"], false, "who is not watched is not suspected");
}

/// All of it, and since when the session is as it is, in milliseconds of the day.
fn birds_view(pair: &Pair) -> (String, u64) {
    let text = pair.tors[0].bird.as_ref().unwrap().sessions().unwrap();
    let line = text.lines().find(|line| line.starts_with("192.0.2.1")).unwrap_or_default();
    let since = line.split_whitespace().nth(3).unwrap_or_default().split([':', '.']);
    let parts: Vec<u64> = since.map(|part| part.parse().unwrap()).collect();
    let [hours, minutes, seconds, millis] = parts[..] else { panic!("it is not hh:mm:ss.mmm: {line}") };
    let since = ((hours * 60 + minutes) * 60 + seconds) * 1000 + millis;
    (text, since)
}

/// Of several answers: one is late by as much as BIRD is held up between its two clocks.
fn least_since(pair: &Pair) -> u64 {
    (0..5).map(|_| birds_view(pair).1).min().unwrap()
}

/// BIRD reckons the time back from another clock whenever it is asked, so that it wavers by a millisecond. A session that
/// began anew did so many intervals later.
#[track_caller]
fn check_same_session(pair: &Pair, before: u64) {
    let since = least_since(pair);
    let told = || format!("{before} ms before, {since} now: {}", birds_view(pair).0);
    assert!(since.abs_diff(before) <= 1, "BIRD has seen another session: {}", told());
}
