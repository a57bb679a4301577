//! The HTTP endpoint, asked as a scraper asks.

use std::{net::TcpStream, time::Duration};

use vtep_tests::{
    deadline::wait_for,
    lab::{
        Agent, AgentConfig, AgentSource, Fabric,
        rig::{Rig, SOON, binding, network, table},
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
        "vtepd_agent_frames_total{vni=\"5001\",verdict=\"too_big\",drop=\"true\"} 0",
    ] {
        assert!(body.lines().any(|found| found.starts_with(line)), "{line:?} is not in\n{body}");
    }
    assert!(body.ends_with("# EOF\n"));
    let samples = body.lines().filter(|line| !line.starts_with('#'));
    for sample in samples {
        let name = sample.split(['{', ' ']).next().unwrap();
        let family = name.strip_suffix("_total").unwrap_or(name);
        assert!(body.contains(&format!("# HELP {family} ")), "{sample} belongs to no family");
    }
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
