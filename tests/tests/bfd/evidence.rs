//! What else than silence of BFD is evidence: data that is dead under a live session, a lost carrier, an unresolved next hop.

use nix::sys::signal::Signal;
use vtep_tests::{deadline::wait_for, lab::rig::SOON};

use crate::rig::{Flow, Hops, Pair};

/// The TOR gets what is sent and its session lives; what it sends inside tunnels is lost.
#[test]
fn data_that_is_dead_one_way_under_a_live_session_is_told_until_it_comes_again() {
    let mut pair = Pair::told(1000);
    wait_for("session a", SOON, || (pair.session("a")?["state"] == "up").then_some(())).unwrap();
    pair.agent
        .reconfigure(|text| text.replacen("[underlay]\n", "[underlay]\none_way_secs = 3\n", 1))
        .unwrap();
    pair.agent.daemon().unwrap().signal(Signal::SIGHUP).unwrap();
    let _pinging = pair.ping("0.02");
    let count = |direction: &str| pair.vtep("a")[format!("{direction}_packets")].as_u64().unwrap();
    // More than a window of them.
    wait_for("answers", SOON, || (count("received") > 250).then_some(())).unwrap();
    assert_eq!(pair.alarm("one_way", "192.0.2.11"), None);

    let tor = &pair.tors[0].machine.netns;
    tor.run("nft add table inet dead").unwrap();
    tor.run("nft add chain inet dead out { type filter hook output priority 0 ; }").unwrap();
    tor.run("nft add rule inet dead out udp dport 4789 drop").unwrap();
    pair.wait_for_alarm("one_way", "192.0.2.11", "though its BFD session is up");
    let (a, sent) = (pair.vtep("a"), count("sent"));
    assert_eq!((&a["bfd"], &a["suspect"]), (&"up".into(), &false.into()), "it takes nothing down");
    wait_for("more frames to it", SOON, || (count("sent") > sent + 20).then_some(())).unwrap();

    tor.run("nft delete table inet dead").unwrap();
    pair.wait_for_no_alarm("one_way", "192.0.2.11");
}

/// `forwarding_if_rx`: the master's daemon dies, and its data does not.
#[test]
fn a_vtep_serves_while_frames_come_from_it_and_no_longer_whatever_has_become_of_the_agent() {
    for agent in ["alive", "stopped", "restarted"] {
        let stopped = agent == "stopped";
        let mut pair = Pair::new(Hops::Multi, "hold_ms = 0\nforwarding_if_rx = true");
        pair.wait_until_up();
        // A machine that lets the ping wait for a while is no end of frames.
        pair.agent.reconfigure(|text| text.replacen("min_rx_ms = 50", "min_rx_ms = 300", 1)).unwrap();
        pair.agent.daemon().unwrap().signal(Signal::SIGHUP).unwrap();
        wait_for("a longer detection time", SOON, || {
            (pair.session("a")?["detection_ms"] == 900).then_some(())
        })
        .unwrap();
        let pinging = pair.ping("0.02");
        let flow = Flow::start(&pair);
        wait_for("answers", SOON, || (pair.vtep("a")["received_packets"].as_u64()? > 50).then_some(()))
            .unwrap();
        if stopped {
            pair.agent.daemon().unwrap().signal(Signal::SIGSTOP).unwrap();
        }
        pair.tors[0].bird.as_mut().unwrap().daemon().kill().unwrap();
        if !stopped {
            wait_for("an end of the session", SOON, || (pair.session("a")?["state"] == "down").then_some(()))
                .unwrap();
            let session = pair.session("a").unwrap();
            assert_eq!((&session["standing"], &session["failures"]), (&"receiving".into(), &0.into()));
        }
        if agent == "restarted" {
            pair.agent.daemon().unwrap().kill().unwrap();
            pair.agent.start().unwrap();
            wait_for("what the programs go on with", SOON, || {
                (pair.session("a")?["standing"] == "receiving").then_some(())
            })
            .unwrap_or_else(|error| panic!("{error}: {:?}", pair.session("a")));
        }
        // For many detection times.
        let before = flow.arrived(0);
        wait_for("frames at the master", SOON, || (flow.arrived(0) > before + 40_000).then_some(())).unwrap();
        assert_eq!(flow.arrived(1), 0, "{agent}; {:?}", (!stopped).then(|| pair.session("a")));
        drop(pinging);
        wait_for("frames at the slave", SOON, || (flow.arrived(1) > 100).then_some(()))
            .unwrap_or_else(|error| panic!("{error}, agent {agent}"));
        if stopped {
            pair.agent.daemon().unwrap().signal(Signal::SIGCONT).unwrap();
        }
        wait_for("the agent's word", SOON, || (pair.vtep("a")["suspect"] == true).then_some(()))
            .unwrap_or_else(|error| panic!("{error}: {:?}", pair.session("a")));
        flow.finish();
    }
}

#[test]
fn a_vtep_from_which_nothing_comes_is_asked_for_fewer_packets_until_something_does() {
    let mut pair = Pair::new(Hops::Multi, "");
    pair.wait_until_up();
    pair.agent
        .reconfigure(|text| text.replacen("min_rx_ms = 50", "min_rx_ms = 300\ndecay_min_rx_ms = 1000", 1))
        .unwrap();
    pair.agent.daemon().unwrap().signal(Signal::SIGHUP).unwrap();
    let detects = |ms: u64| {
        wait_for(&format!("a detection time of {ms} ms"), SOON, || {
            (pair.session("a")?["detection_ms"] == ms).then_some(())
        })
        .unwrap_or_else(|error| panic!("{error}: {:?}", pair.session("a")));
    };
    detects(3000);
    let pinging = pair.ping("0.1");
    detects(900);
    drop(pinging);
    detects(3000);
    let session = pair.session("a").unwrap();
    assert_eq!((&session["state"], &session["failures"]), (&"up".into(), &0.into()), "{session}");
}

/// Without a session: the way to the master loses its carrier, and the slave is reached over another.
#[test]
fn a_master_behind_an_uplink_without_carrier_is_served_by_its_slave() {
    let mut pair = Pair::unwatched();
    let (_, port) = pair.fabric.connect(&pair.host, "uplink2").unwrap();
    pair.host.netns.ip("route add 192.0.2.11/32 dev uplink2 src 192.0.2.1").unwrap();
    pair.agent.reconfigure(|text| text.replacen("[\"uplink\"]", "[\"uplink\", \"uplink2\"]", 1)).unwrap();
    pair.agent.daemon().unwrap().signal(Signal::SIGHUP).unwrap();
    wait_for("the way over the second uplink", SOON, || {
        let a = pair.vtep("a");
        (a["interface"] == "uplink2" && a["resolved"] == true).then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}: {}", pair.vtep("a")));
    let flow = Flow::start(&pair);
    wait_for("frames at the master", SOON, || (flow.arrived(0) > 100).then_some(())).unwrap();
    assert_eq!((flow.arrived(1), pair.alarm("uplink_no_carrier", "uplink2")), (0, None));

    port.down().unwrap();
    pair.wait_for_alarm("uplink_no_carrier", "uplink2", "no carrier");
    wait_for("frames at the slave", SOON, || (flow.arrived(1) > 100).then_some(())).unwrap();
    assert_eq!(
        (pair.vtep("a")["suspect"].clone(), pair.alarm("uplink_no_carrier", "uplink")),
        (true.into(), None)
    );

    port.up().unwrap();
    pair.wait_for_no_alarm("uplink_no_carrier", "uplink2");
    let before = flow.arrived(0);
    wait_for("frames at the master again", SOON, || (flow.arrived(0) > before + 100).then_some(())).unwrap();
    flow.finish();
}

/// Without a session, too.
#[test]
fn a_slave_whose_next_hop_does_not_answer_is_told_before_it_is_needed() {
    let pair = Pair::unwatched();
    pair.wait_for_no_alarm("slave_would_fail", "192.0.2.12");
    let flow = Flow::start(&pair);

    let slave = &pair.tors[1].machine.netns;
    slave.ip("link set dev uplink arp off").unwrap();
    pair.host.netns.ip("neighbour del 192.0.2.12 dev uplink").unwrap();
    pair.wait_for_alarm("slave_would_fail", "192.0.2.12", "its next hop is not resolved");
    let before = flow.arrived(0);
    wait_for("frames at the master", SOON, || (flow.arrived(0) > before + 100).then_some(())).unwrap();

    slave.ip("link set dev uplink arp on").unwrap();
    pair.wait_for_no_alarm("slave_would_fail", "192.0.2.12");
    assert_eq!(flow.finish().arrived[1], 0, "the slave was not needed");
}
