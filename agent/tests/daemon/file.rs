use nix::sys::signal::Signal;
use vtep_tests::process::Daemon;

use crate::host::{BINARY, Host, PATIENCE, TABLE, check_refused};

#[test]
fn a_second_agent_is_refused_and_touches_nothing() {
    let host = Host::new("");
    let daemon = host.start();
    let before = host.status().unwrap()["epoch"].clone();
    check_refused(host.command("agent.toml"), &["another agent", &daemon.pid().to_string()]);
    assert_eq!(host.status().unwrap()["epoch"], before);
    assert_eq!(host.macs(), 3);
}

#[test]
fn no_bpf_filesystem_and_no_capabilities_are_named() {
    let host = Host::new("");
    let elsewhere = host.folder.path().join("pins");
    host.configure("elsewhere.toml", &elsewhere, &host.file_source(), "");
    check_refused(host.command("elsewhere.toml"), &["is on no BPF filesystem", "mount -t bpf"]);

    let mut nobody = host.netns.command("setpriv");
    nobody.args(["--inh-caps=-all", "--bounding-set=-bpf", BINARY, "run", "--config"]);
    nobody.arg(host.folder.path().join("agent.toml"));
    check_refused(nobody, &["CAP_BPF is missing", "run as root"]);
}

#[test]
fn a_restart_adopts_and_writes_nothing() {
    let host = Host::new("");
    let mut daemon = host.start();
    let before = host.status().unwrap();
    assert!(daemon.terminate(PATIENCE).unwrap().success());
    assert!(host.pins().exists());
    let mut daemon = host.start();
    let after = host.status().unwrap();
    assert_eq!((&after["epoch"], &after["counts"]), (&before["epoch"], &before["counts"]));
    daemon.kill().unwrap();
    let _daemon = host.start();
    assert_eq!(host.status().unwrap()["epoch"], before["epoch"]);
}

#[test]
fn a_cut_table_is_reported_and_the_last_good_stays() {
    let host = Host::new("");
    let mut daemon = host.start();
    host.write("table.toml", &TABLE[..TABLE.len() / 2]);
    let lost = || host.status()?["source"]["lost"].as_str().map(str::to_owned);
    let reason = daemon.wait_for("the report", PATIENCE, lost).unwrap();
    assert!(reason.contains("is no table") && reason.contains("line"), "{reason}");
    assert_eq!(host.macs(), 3);
    host.write("table.toml", &TABLE.replace("master = \"b\" }", "master = \"nobody\" }"));
    let refused = || host.status()?["source"]["first_refused"][0]["path"].as_str().map(str::to_owned);
    let path = daemon.wait_for("the refusal", PATIENCE, refused).unwrap();
    assert_eq!((path.as_str(), host.macs()), ("mac[1].master", 3));
}

#[test]
fn more_macs_than_room_are_pending_with_an_alarm_and_detach_leaves_nothing() {
    let host = Host::new("macs_max = 2");
    let mut daemon = host.start();
    let status = host.status().unwrap();
    assert_eq!((&status["counts"]["macs"], &status["counts"]["macs_pending"]), (&2.into(), &1.into()));
    let alarms = status["alarms"].as_array().unwrap();
    assert!(alarms.iter().any(|alarm| alarm["kind"] == "mac_table_full"), "{alarms:?}");
    assert_eq!(
        host.ask(&["fdb", "get", "5001", "02:00:00:00:00:aa"]).status.code(),
        Some(0),
        "our own come first"
    );
    assert_eq!(host.ask(&["fdb", "get", "5001", "02:00:00:00:00:02"]).status.code(), Some(3));

    let removed = host.json(&["detach"]).unwrap();
    assert!(removed["pins_removed"].as_u64().unwrap() > 14, "{removed}");
    assert!(daemon.wait(PATIENCE).unwrap().success());
    assert!(!host.pins().exists());
    assert!(!host.netns.ip("link show").unwrap().contains("vtepd-vxlan"));
    assert_eq!(host.ask(&["status"]).status.code(), Some(4));
}

#[test]
fn what_was_configured_is_taken_over_by_sighup() {
    let host = Host::new("");
    let mut daemon = host.start();
    let config = host.folder.path().join("agent.toml");
    let text = std::fs::read_to_string(config).unwrap();
    host.write("agent.toml", &text.replace("00:aa\"]", "00:aa\", \"02:00:00:00:00:ab\"]"));
    daemon.signal(Signal::SIGHUP).unwrap();
    daemon.wait_for("the new MAC", PATIENCE, || (host.macs() == 4).then_some(())).unwrap();
}

#[test]
fn an_offered_port_stays_closed_before_the_table_and_after_its_binding() {
    let host = Host::new("");
    host.write("table.toml", "cut [");
    let mut daemon = Daemon::spawn("vtep-agent", &mut host.command("agent.toml")).unwrap();
    let stands = |program: &str| {
        let attached = host.status()?["attached"].as_array()?.clone();
        attached.iter().any(|at| at["program"] == program).then_some(())
    };
    for program in ["port_in", "uplink_in", "tunnel_in"] {
        daemon.wait_for(program, PATIENCE, || stands(program)).unwrap();
    }
    host.write("table.toml", TABLE);
    let bindings = |count: u64| (host.status()?["counts"]["ports"] == count).then_some(());
    daemon.wait_for("the binding", PATIENCE, || bindings(1)).unwrap();
    host.write("table.toml", &TABLE[..TABLE.find("binding").unwrap()]);
    daemon.wait_for("its end", PATIENCE, || bindings(0)).unwrap();
    assert!(stands("port_in").is_some());
}

#[test]
fn a_tunnel_device_that_goes_down_or_away_comes_again() {
    let host = Host::new("");
    let mut daemon = host.start();
    let is_up =
        || host.netns.ip("link show vtepd-vxlan").ok().filter(|shown| shown.contains(",UP")).map(drop);
    for change in ["link set vtepd-vxlan down", "link delete vtepd-vxlan"] {
        host.netns.ip(change).unwrap();
        daemon.wait_for(change, PATIENCE, is_up).unwrap();
        let ready = || host.status()?["ready"].as_bool()?.then_some(());
        daemon.wait_for("readiness", PATIENCE, ready).unwrap();
    }
}
