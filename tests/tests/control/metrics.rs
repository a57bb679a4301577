//! The HTTP endpoint, asked as a scraper asks.

use std::{net::TcpStream, time::Duration};

use vtep_tests::{
    deadline::wait_for,
    lab::{
        Agent, AgentConfig, AgentSource, Fabric,
        rig::{Rig, SOON, binding, mac, network, table},
    },
    netns::Netns,
    ovsdb::OvsdbServer,
};

fn fetch(netns: &Netns, path: &str) -> (String, String) {
    netns.http_get(9475, path).unwrap()
}

#[test]
fn every_metric_has_help_and_counts_what_the_commands_show() {
    let rig = Rig::new().unwrap();
    assert!(rig.vm.pings(rig.far.address, 5));
    let (status, body) = fetch(&rig.host.netns, "/metrics");
    assert_eq!(status, "HTTP/1.1 200 OK");
    for name in [
        "ready",
        "macs",
        "macs_max",
        "macs_pending",
        "macs_learnt",
        "vteps",
        "vnis",
        "ports",
        "rows_refused",
        "source_lost",
        "source_snapshots",
        "reconciles",
        "verdicts",
        "frames",
        "frame_bytes",
        "vtep_up",
        "vtep_sent_frames",
    ] {
        assert!(body.contains(&format!("# HELP vtepd_agent_{name} ")), "{name} has no help in\n{body}");
        assert!(body.contains(&format!("# TYPE vtepd_agent_{name} ")), "{name} has no type in\n{body}");
    }
    for line in [
        "vtepd_agent_ready 1",
        "vtepd_agent_macs 2",
        "vtepd_agent_source_lost 0",
        "vtepd_agent_vtep_up{vtep=\"192.0.2.11\"} 1",
        "vtepd_agent_frames_total{vni=\"5001\",verdict=\"master\",drop=\"false\"} ",
        "vtepd_agent_verdicts_total{verdict=\"too_big\",drop=\"true\"} 0",
    ] {
        assert!(body.lines().any(|found| found.starts_with(line)), "{line:?} is not in\n{body}");
    }
    assert!(!body.contains("vni=\"5001\",verdict=\"too_big\""), "what no frame of a VNI came to is a series");
    assert!(body.ends_with("# EOF\n"));
    let samples = body.lines().filter(|line| !line.starts_with('#'));
    for sample in samples {
        let name = sample.split(['{', ' ']).next().unwrap();
        let family = name.strip_suffix("_total").unwrap_or(name);
        assert!(body.contains(&format!("# HELP {family} ")), "{sample} belongs to no family");
    }
}

#[test]
fn frames_of_a_network_that_is_gone_stay_in_the_sums() {
    let mut rig = Rig::new().unwrap();
    let frames = |rig: &Rig, series: &str| {
        let (_, body) = fetch(&rig.host.netns, "/metrics");
        let line = body.lines().find_map(|line| line.strip_prefix(series));
        line.map(|value| value.trim().parse::<u64>().unwrap())
    };
    let all =
        |rig: &Rig| frames(rig, "vtepd_agent_verdicts_total{verdict=\"master\",drop=\"false\"}").unwrap();
    let of = |rig: &Rig, vni: u32| {
        frames(rig, &format!("vtepd_agent_frames_total{{vni=\"{vni}\",verdict=\"master\",drop=\"false\"}}"))
    };
    let move_to = |rig: &Rig, name: &str, vni: u32| {
        let text = network(name, vni, &["tor"]) + &binding("p1", 0, name) + &mac(name, &rig.far, "tor");
        rig.agent.write_table(&table(&[("tor", 11)], &text)).unwrap();
        wait_for("the port's network", SOON, || {
            (rig.agent.json(&["port", "show", "p1"]).ok()?[0]["vni"] == vni).then_some(())
        })
        .unwrap();
    };
    assert!(rig.vm.pings(rig.far.address, 5));
    let before = all(&rig);
    assert!(before >= 5 && of(&rig, 5001).is_some_and(|frames| frames <= before));
    move_to(&rig, "red", 5002);
    assert_eq!(of(&rig, 5001), None);
    assert!(all(&rig) >= before);
    // Bridge domains are used again.
    move_to(&rig, "blue", 5001);
    assert!(rig.vm.pings(rig.far.address, 1));
    assert!(all(&rig) > before);
    let fresh = of(&rig, 5001).unwrap();
    assert!(fresh < before, "{fresh} frames of a network that had {before} before");
    let before = all(&rig);
    rig.agent.daemon().unwrap().kill().unwrap();
    rig.agent.start().unwrap();
    wait_for("metrics", SOON, || frames(&rig, "vtepd_agent_ready").filter(|&ready| ready == 1).map(drop))
        .unwrap();
    assert!(all(&rig) >= before);
}

#[test]
fn an_alarm_is_a_metric_with_its_kind_and_subject() {
    let rig = Rig::new().unwrap();
    rig.agent
        .write_table(&table(&[("lost", 11)], &(network("blue", 0, &[]) + &binding("p9", 0, "blue"))))
        .unwrap();
    wait_for("the alarm in the metrics", SOON, || {
        let (_, body) = fetch(&rig.host.netns, "/metrics");
        let alarm = format!(
            "vtepd_agent_alarm{{kind=\"rows_refused\",subject=\"{}\"}} 1",
            rig.agent.table_path().display()
        );
        body.contains(&alarm).then_some(())
    })
    .unwrap();
}

#[test]
fn readyz_tells_what_it_waits_for_until_the_first_table() {
    let host = Fabric::new().map(|mut fabric| (fabric.machine("host", 1), fabric)).unwrap();
    let (host, _fabric) = (host.0.unwrap(), host.1);
    let mut server = OvsdbServer::start().unwrap();
    server.stop().unwrap();
    let source = AgentSource::Ovsdb(server.remote());
    let config = AgentConfig { name: "host", source, ports: Vec::new(), dataplane: "macs_max = 1000" };
    let _agent = Agent::started(&host, &config).unwrap();
    let (status, body) = fetch(&host.netns, "/readyz");
    assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
    assert!(body.contains("waits for the source's first table"), "{body}");
    assert_eq!(fetch(&host.netns, "/livez"), ("HTTP/1.1 200 OK".to_owned(), "ok\n".to_owned()));
    server.restart().unwrap();
    wait_for("readiness", Duration::from_mins(1), || {
        (fetch(&host.netns, "/readyz") == ("HTTP/1.1 200 OK".to_owned(), "ok\n".to_owned())).then_some(())
    })
    .unwrap();
    assert_eq!(fetch(&host.netns, "/nothing").0, "HTTP/1.1 404 Not Found");
}

#[test]
fn metrics_are_served_on_loopback_alone() {
    let rig = Rig::new().unwrap();
    let refused = rig.host.netns.within(|| TcpStream::connect((rig.host.address, 9475))).unwrap();
    assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
}
