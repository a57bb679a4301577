//! A TOR dies, and its slave serves.

use std::process::Command;
use std::time::{Duration, Instant};

use aya::maps::{Array, Map, MapData};
use nix::sys::signal::Signal;
use vtep_abi::{VtepOper, map};
use vtep_tests::{
    deadline::wait_for,
    lab::rig::SOON,
    process::{Daemon, binary},
};

use crate::rig::{Flow, Hops, Pair};

#[derive(Clone, Copy, PartialEq, Debug)]
enum AgentIs {
    Alive,
    Stopped,
    Dead,
}

/// 50 ms × 3: the detection time is 150 ms, and the rest is what this machine takes beside it.
#[test]
fn a_cut_link_costs_little_traffic_whatever_has_become_of_the_agent() {
    for agent in [AgentIs::Alive, AgentIs::Stopped, AgentIs::Dead] {
        let mut pair = Pair::new(Hops::Multi, "hold_ms = 500");
        pair.wait_until_up();
        match agent {
            AgentIs::Alive => {}
            AgentIs::Stopped => pair.agent.daemon().unwrap().signal(Signal::SIGSTOP).unwrap(),
            AgentIs::Dead => pair.agent.daemon().unwrap().kill().unwrap(),
        }
        let flow = Flow::start(&pair);
        wait_for("frames at the master", SOON, || (flow.arrived(0) > 5000).then_some(())).unwrap();
        assert_eq!(flow.arrived(1), 0, "the slave serves nothing yet");
        let cut = Instant::now();
        pair.tors[0].machine.uplink.down().unwrap();
        wait_for("frames at the slave", SOON, || (flow.arrived(1) > 0).then_some(())).unwrap();
        let first = cut.elapsed();
        wait_for("more frames at the slave", SOON, || (flow.arrived(1) > 5000).then_some(())).unwrap();
        let flown = flow.finish();
        println!(
            "agent {agent:?}: first frame at the slave after {} ms; {} of {} frames lost, {} ms of traffic",
            first.as_millis(),
            flown.lost(),
            flown.sent,
            flown.outage().as_millis()
        );
        // The aim is 200 ms; a machine that runs other tests beside this one may wake late.
        assert!(flown.outage() < Duration::from_millis(400), "agent {agent:?}: {:?}", flown.outage());
        if agent == AgentIs::Stopped {
            pair.agent.daemon().unwrap().signal(Signal::SIGCONT).unwrap();
        }
        if agent == AgentIs::Dead {
            pair.agent.start().unwrap();
        }
        wait_for("the agent's word", SOON, || {
            let shown = pair.vtep("a");
            (shown["suspect"] == true).then_some(())
        })
        .unwrap();
        pair.tors[0].machine.uplink.up().unwrap();
        wait_for("failback", SOON, || {
            let shown = pair.vtep("a");
            (shown["suspect"] == false && shown["alive"] == true).then_some(())
        })
        .unwrap_or_else(|error| panic!("{error}: {:?} {:?}", pair.vtep("a"), pair.session("a")));
        let flow = Flow::start(&pair);
        wait_for("frames at the master again", SOON, || (flow.arrived(0) > 100).then_some(())).unwrap();
        flow.finish();
    }
}

/// Silence of both says more about our own link than about theirs.
#[test]
fn timers_never_take_down_both_of_a_pair() {
    let mut pair = Pair::new(Hops::Multi, "hold_ms = 500");
    pair.wait_until_up();
    for tor in &mut pair.tors {
        // The daemons go, the way stays.
        tor.bird.as_mut().unwrap().daemon().kill().unwrap();
    }
    for name in ["a", "b"] {
        wait_for("silence", SOON, || (pair.vtep(name)["suspect"] == true).then_some(())).unwrap();
    }
    let flow = Flow::start(&pair);
    wait_for("frames at the master", SOON, || (flow.arrived(0) > 1000).then_some(())).unwrap();
    assert_eq!(flow.arrived(1), 0);
    flow.finish();
    let alarms = pair.agent.json(&["status"]).unwrap()["alarms"].to_string();
    assert!(alarms.contains("bfd_down") && alarms.contains("slave_would_fail"), "{alarms}");
}

/// As it is left by a session that fails and returns between two comparisons.
#[test]
fn a_vtep_that_only_the_programs_hold_for_silent_is_back_with_the_next_comparison() {
    let mut pair = Pair::new(Hops::Multi, "hold_ms = 0");
    pair.wait_until_up();
    let index = pair.vtep("a")["index"].as_u64().unwrap();
    let pin = pair.agent.pins().join("v1/maps").join(map::VTEP_OPER);
    let mut oper: Array<_, u8> = Map::Array(MapData::from_pin(pin).unwrap()).try_into().unwrap();
    oper.set(index.try_into().unwrap(), VtepOper::DOWN, 0).unwrap();
    let flow = Flow::start(&pair);
    wait_for("frames at the slave", SOON, || (flow.arrived(1) > 100).then_some(())).unwrap();
    pair.agent.daemon().unwrap().signal(Signal::SIGHUP).unwrap();
    wait_for("frames at the master", SOON, || (flow.arrived(0) > 100).then_some(())).unwrap();
    flow.finish();
    assert_eq!(oper.get(&index.try_into().unwrap(), 0).unwrap(), 0);
}

#[test]
fn without_reversion_a_vtep_comes_back_by_the_operators_word() {
    let mut pair = Pair::new(Hops::Multi, "hold_ms = 0\nrevertive = false");
    pair.wait_until_up();
    pair.tors[0].machine.uplink.down().unwrap();
    wait_for("silence", SOON, || (pair.vtep("a")["suspect"] == true).then_some(())).unwrap();
    assert!(!pair.agent.command(&["bfd", "restore", "a"]).unwrap().status.success(), "it is down");
    pair.tors[0].machine.uplink.up().unwrap();
    wait_for("a session that waits", SOON, || (pair.session("a")?["standing"] == "waiting").then_some(()))
        .unwrap();
    assert_eq!(pair.vtep("a")["suspect"], true);
    pair.agent.json(&["bfd", "restore", "a"]).unwrap();
    wait_for("the VTEP back", SOON, || (pair.vtep("a")["suspect"] == false).then_some(())).unwrap();
    pair.agent.daemon().unwrap();
}

#[test]
fn a_drill_moves_traffic_to_the_slave_and_back() {
    let mut pair = Pair::new(Hops::Multi, "");
    pair.wait_until_up();
    let flow = Flow::start(&pair);
    wait_for("frames at the master", SOON, || (flow.arrived(0) > 1000).then_some(())).unwrap();
    let report = pair.agent.json(&["drill", "--vtep", "a", "--seconds", "1"]).unwrap();
    let report = report.as_array().map_or(&report, |rows| &rows[0]);
    let (slave, master) = (flow.arrived(1), flow.arrived(0));
    wait_for("frames at the master again", SOON, || (flow.arrived(0) > master + 1000).then_some(())).unwrap();
    let flown = flow.finish();
    // A loaded machine may overrun a veth's queue now and then; a flip that lost frames would lose them twice.
    assert!(flown.lost() * 1000 < flown.sent, "{} of {} lost", flown.lost(), flown.sent);
    assert!(slave > 1000, "{slave} frames at the slave");
    let served = report["frames_served_by_slaves"].as_u64().unwrap();
    assert!(served.abs_diff(flown.arrived[1]) <= flown.lost(), "{report}, {} arrived", flown.arrived[1]);
    assert_eq!((&report["macs_with_slave"], &report["macs_without_slave"]), (&1.into(), &0.into()));
    assert!(!pair.agent.command(&["drill", "--vtep", "nobody"]).unwrap().status.success());

    // Whoever rehearses hangs up, or the agent is stopped: nothing stays out of service, and nothing has failed.
    let drill = |pair: &Pair| {
        let mut command = Command::new(binary("vtep-agent").unwrap());
        command.args(["drill", "--vtep", "a", "--seconds", "3600", "--socket"]).arg(pair.agent.socket());
        let drill = Daemon::spawn("drill", &mut command).unwrap();
        wait_for("the drill", SOON, || (pair.vtep("a")["suspect"] == true).then_some(())).unwrap();
        assert_eq!(pair.agent.json(&["status"]).unwrap()["drill"], pair.vtep("a")["address"]);
        drill
    };
    drill(&pair).kill().unwrap();
    wait_for("the end of the drill", SOON, || (pair.vtep("a")["suspect"] == false).then_some(())).unwrap();
    let rehearsing = drill(&pair);
    pair.agent.daemon().unwrap().terminate(SOON).unwrap();
    pair.agent.start().unwrap();
    pair.wait_until_up();
    assert_eq!(pair.vtep("a")["suspect"], false);
    assert_eq!(pair.session("a").unwrap()["failures"], 0);
    drop(rehearsing);

    pair.tors[1].bird.as_mut().unwrap().daemon().kill().unwrap();
    wait_for("silence", SOON, || (pair.vtep("b")["suspect"] == true).then_some(())).unwrap();
    let report = pair.agent.json(&["drill", "--vtep", "a", "--seconds", "1"]).unwrap();
    let report = report.as_array().map_or(&report, |rows| &rows[0]);
    assert_eq!((&report["macs_with_slave"], &report["macs_without_slave"]), (&0.into(), &1.into()));
}
