//! SIGHUP, SIGTERM and SIGINT.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use vtep_tests::{
    deadline::wait_for,
    lab::{
        Stream,
        rig::{Rig, SOON},
    },
};

fn status(rig: &Rig) -> Value {
    rig.agent.json(&["status"]).unwrap()
}

fn hang_up(rig: &mut Rig) {
    rig.agent.daemon().unwrap().signal(Signal::SIGHUP).unwrap();
}

#[test]
fn hangup_reads_configuration_and_table_again_and_loses_no_frame() {
    let mut rig = Rig::new().unwrap();
    let stream = Stream::start(&rig.vm, &rig.far, Duration::from_millis(1)).unwrap();
    let snapshots = status(&rig)["source"]["snapshots"].as_u64().unwrap();
    let added = "macs = [\"02:00:00:00:00:aa\", ";
    rig.agent.reconfigure(|text| text.replacen("macs = [", added, 1)).unwrap();
    hang_up(&mut rig);
    let get = || rig.agent.json(&["fdb", "get", "5001", "02:00:00:00:00:aa"]).ok();
    let entry = wait_for("the new MAC", SOON, get).unwrap();
    assert_eq!(entry["master"]["port"]["name"], "p1");
    let read = || (status(&rig)["source"]["snapshots"].as_u64()? > snapshots).then_some(());
    wait_for("the table, though it is the same", SOON, read).unwrap();
    let report = stream.finish().unwrap();
    assert_eq!(report.received, report.sent);
}

#[test]
fn hangup_with_a_bad_configuration_keeps_the_last_one() {
    let mut rig = Rig::new().unwrap();
    rig.agent.reconfigure(|text| text.replace("[underlay]", "[underlay]\ncolour = \"red\"")).unwrap();
    hang_up(&mut rig);
    let daemon = rig.agent.daemon().unwrap();
    daemon.wait_for_log("the configuration stays as it was", SOON).unwrap();
    daemon.wait_for_log("colour", SOON).unwrap();
    assert!(rig.vm.pings(rig.far.address, 10));
    rig.agent.reconfigure(|text| text.replace("colour = \"red\"", "udp_port = 8472")).unwrap();
    hang_up(&mut rig);
    let daemon = rig.agent.daemon().unwrap();
    daemon.wait_for_log("take effect only after a restart", SOON).unwrap();
    assert!(rig.vm.pings(rig.far.address, 10));
}

#[test]
fn hangup_attaches_a_new_uplink() {
    let mut rig = Rig::new().unwrap();
    vtep_tests::link::Link::bridge(&rig.host.netns, "second").unwrap();
    rig.agent
        .reconfigure(|text| text.replace("uplinks = [\"uplink\"]", "uplinks = [\"uplink\", \"second\"]"))
        .unwrap();
    hang_up(&mut rig);
    let at = |rig: &Rig, name: &str| {
        let status = status(rig);
        let rows = status["attached"].as_array().unwrap();
        rows.iter().any(|row| row["interface"] == name && row["program"] == "uplink_in")
    };
    wait_for("the second uplink", SOON, || at(&rig, "second").then_some(())).unwrap();
    rig.agent.reconfigure(|text| text.replace(", \"second\"]", "]")).unwrap();
    hang_up(&mut rig);
    wait_for("its end", SOON, || (!at(&rig, "second")).then_some(())).unwrap();
    assert!(at(&rig, "uplink"));
    assert!(rig.vm.pings(rig.far.address, 10));
}

#[test]
fn a_stopped_agent_leaves_the_kernel_forwarding_and_follows_after_its_return() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut rig = Rig::new().unwrap();
        let stream = Stream::start(&rig.vm, &rig.far, Duration::from_millis(1)).unwrap();
        let daemon = rig.agent.daemon().unwrap();
        daemon.signal(signal).unwrap();
        assert!(daemon.wait(SOON).unwrap().success());
        daemon.wait_for_log("the kernel goes on forwarding", SOON).unwrap();
        assert!(!rig.agent.socket().exists());
        assert!(rig.vm.pings(rig.far.address, 20));

        // What the table said meanwhile is done at the start.
        let (second, _) = rig.second_vm().unwrap();
        rig.agent.start().unwrap();
        wait_for("an echo from the second VM", SOON, || second.pings(rig.far.address, 1).then_some(()))
            .unwrap();
        let report = stream.finish().unwrap();
        assert_eq!(report.received, report.sent);
    }
}
