//! The commands against a running agent, as text and as JSON, with their exit codes.

use std::{
    fmt::Write as _,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use vtep_tests::{
    deadline::wait_for,
    lab::rig::{Rig, SOON, VNI, binding, mac, network, table},
    process::binary,
};

/// Two networks behind two TORs, the second of which is a slave as well.
fn rig() -> Rig {
    let rig = Rig::new().unwrap();
    let text = [
        network("blue", VNI, &["tor"]),
        network("red", 5002, &[]),
        binding("p1", 0, "blue"),
        mac("blue", &rig.far, "tor"),
        row("blue", "00:16:3e:00:00:01", "tor", "slave = \"tor-b\""),
        row("blue", "00:16:3e:00:00:02", "tor-b", ""),
        row("red", "00:16:3e:00:00:01", "tor-b", ""),
    ];
    rig.agent.write_table(&table(&[("tor", 11), ("tor-b", 12)], &text.concat())).unwrap();
    wait_for("the table", SOON, || (count(&rig, &[]) == 5).then_some(())).unwrap();
    rig
}

fn row(network: &str, mac: &str, master: &str, slave: &str) -> String {
    format!("\n[[mac]]\nlogical_switch = \"{network}\"\nmac = \"{mac}\"\nmaster = \"{master}\"\n{slave}\n")
}

fn count(rig: &Rig, filters: &[&str]) -> u64 {
    let words = [&["fdb", "count"], filters].concat();
    rig.agent.json(&words).unwrap()["macs"].as_u64().unwrap()
}

/// The exit code, and what must stand in the output, whichever it is.
#[track_caller]
fn check(rig: &Rig, words: &[&str], code: i32, expected: &[&str]) {
    let done = rig.agent.command(words).unwrap();
    let printed = [done.stdout, done.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    assert_eq!(done.status.code(), Some(code), "{words:?}: {printed}");
    for part in expected {
        assert!(printed.contains(part), "{part:?} is not in what {words:?} prints:\n{printed}");
    }
}

#[test]
fn status_tells_what_the_agent_does() {
    let rig = rig();
    let expected =
        ["host (192.0.2.1), version", "ready", "5 MACs, 0 learnt, 2 VTEPs, 2 VNIs, 1 port bindings"];
    check(&rig, &["status"], 0, &expected);
    check(&rig, &["status"], 0, &["uplink_in at uplink", "tunnel_in at vtepd-vxlan", "port_in at p1"]);
    let status = rig.agent.json(&["status"]).unwrap();
    assert_eq!((&status["name"], &status["ready"]), (&json!("host"), &json!(true)));
    assert_eq!(status["source"]["kind"], "file");
    assert_eq!(status["metrics"], "127.0.0.1:9475");
    assert_eq!(status["waits_for"], json!([]));
}

#[test]
fn fdb_filters_are_all_applied() {
    let rig = rig();
    for (filters, expected) in [
        (vec!["--vni", "5001"], 4),
        (vec!["--vni", "5002"], 1),
        (vec!["--mac", "00:16:3E:00:00:01"], 2),
        (vec!["--mac", "00:16:3e:00:00:01", "--vni", "5002"], 1),
        (vec!["--vtep", "tor"], 2),
        (vec!["--vtep", "192.0.2.11"], 2),
        (vec!["--vtep", "tor-b"], 3),
        (vec!["--vtep", "tor-b", "--vni", "5001"], 2),
        (vec!["--port", "p1"], 1),
        (vec!["--port", "p1", "--vni", "5002"], 0),
        (vec!["--mac", "02:00:00:00:00:99"], 0),
    ] {
        assert_eq!(count(&rig, &filters), expected, "{filters:?}");
        let shown = rig.agent.json(&[&["fdb", "show"], filters.as_slice()].concat()).unwrap();
        assert_eq!(shown.as_array().unwrap().len() as u64, expected, "{filters:?}");
    }
    let limited = rig.agent.json(&["fdb", "show", "--limit", "2"]).unwrap();
    assert_eq!(limited.as_array().unwrap().len(), 2);
}

#[test]
fn an_entry_is_shown_with_its_network_and_both_ends() {
    let rig = rig();
    let entry = rig.agent.json(&["fdb", "get", "5001", "00:16:3e:00:00:01"]).unwrap();
    let end = |name: &str, address: &str, entry: &Value| {
        assert_eq!((&entry["vtep"]["name"], &entry["vtep"]["address"]), (&json!(name), &json!(address)));
    };
    end("tor", "192.0.2.11", &entry["master"]);
    end("tor-b", "192.0.2.12", &entry["slave"]);
    assert_eq!((&entry["vni"], &entry["logical_switch"]), (&json!(5001), &json!("blue")));
    let own = rig.agent.json(&["fdb", "get", "5001", &rig.vm.mac.to_string()]).unwrap();
    assert_eq!((&own["master"]["port"]["name"], &own["slave"]), (&json!("p1"), &Value::Null));
    let shown = rig.agent.json(&["fdb", "show", "--mac", "00:16:3e:00:00:01", "--vni", "5001"]).unwrap();
    assert_eq!(shown[0], entry, "show and get agree");
    let text = ["00:16:3e:00:00:01", "tor (192.0.2.11)", "tor-b (192.0.2.12)"];
    check(&rig, &["fdb", "get", "5001", "00:16:3e:00:00:01"], 0, &text);
    check(&rig, &["fdb", "show"], 0, &["VNI       MAC", "port p1", "5002"]);
}

#[test]
fn networks_vteps_and_ports_are_shown() {
    let rig = rig();
    let blue = &rig.agent.json(&["vni", "show", "5001"]).unwrap()[0];
    assert_eq!((&blue["logical_switch"], &blue["macs"]), (&json!("blue"), &json!(4)));
    assert_eq!(blue["flood"], json!(["port p1", "tor (192.0.2.11)"]));
    check(&rig, &["vni", "show"], 0, &["SWITCH", "blue", "red", "port p1, tor (192.0.2.11)"]);

    for name in ["tor-b", "192.0.2.12"] {
        let shown = rig.agent.json(&["vtep", "show", name]).unwrap();
        assert_eq!(shown.as_array().unwrap().len(), 1);
        let counts = ["macs", "macs_as_slave", "routed", "interface"].map(|key| shown[0][key].clone());
        assert_eq!(counts, [json!(2), json!(1), json!(true), json!("uplink")]);
    }
    check(&rig, &["vtep", "show"], 0, &["NEXT HOP", "192.0.2.11", "tor-b", "up"]);

    let port = &rig.agent.json(&["port", "show", "p1"]).unwrap()[0];
    let macs = json!([rig.vm.mac.to_string()]);
    assert_eq!((&port["vni"], &port["attached"], &port["macs"]), (&json!(5001), &json!(true), &macs));
    check(&rig, &["port", "show"], 0, &["untagged", "attached", "blue"]);
}

#[test]
fn stats_tell_what_became_of_frames() {
    let rig = rig();
    let before = rig.count(vtep_abi::Verdict::Master);
    assert!(rig.vm.pings(rig.far.address, 10));
    assert!(rig.count(vtep_abi::Verdict::Master) >= before + 10);
    // An unknown tag is dropped before a VNI is known.
    let from = vtep_tests::frame::Endpoint { mac: rig.vm.mac, address: rig.vm.address, port: 1 };
    let frame = vtep_tests::frame::udp_tagged(from, from, 9, b"");
    vtep_tests::packet::PacketSocket::bind(&rig.vm.eth0).unwrap().send(&frame).unwrap();
    let dropped = wait_for("the drop", SOON, || {
        let rows = rig.agent.json(&["stats", "--drops"]).ok()?;
        let rows = rows.as_array()?.clone();
        rows.iter().any(|row| row["verdict"] == "unbound").then_some(rows)
    })
    .unwrap();
    assert!(dropped.iter().all(|row| row["drop"] == true), "{dropped:?}");
    let own = rig.agent.json(&["stats", "--vni", "5001"]).unwrap();
    assert!(own.as_array().unwrap().iter().all(|row| row["vni"] == 5001), "{own}");
    check(&rig, &["stats"], 0, &["VERDICT", "master", "unbound", "dropped"]);
}

#[test]
fn every_kind_of_end_has_its_exit_code() {
    let mut rig = rig();
    check(&rig, &["fdb", "get", "5001", "02:00:00:00:00:99"], 3, &["VNI 5001 has no MAC 02:00:00:00:00:99"]);
    check(&rig, &["fdb", "get", "7", "00:16:3e:00:00:01"], 3, &["VNI 7 has no MAC"]);
    check(&rig, &["vni", "show", "7"], 3, &["there is no VNI 7 at this host"]);
    check(&rig, &["vtep", "show", "nobody"], 3, &["there is no VTEP \"nobody\""]);
    check(&rig, &["port", "show", "p9"], 3, &["there is no port \"p9\""]);
    check(&rig, &["stats", "--vni", "7"], 3, &["there is no VNI 7 at this host"]);
    check(&rig, &["fdb", "show", "--vni", "7"], 3, &["there is no VNI 7 at this host"]);
    check(&rig, &["fdb", "show", "--vtep", "nobody"], 3, &["there is no VTEP \"nobody\""]);
    check(&rig, &["fdb", "count", "--port", "p9"], 3, &["there is no port \"p9\""]);
    check(&rig, &["fdb", "get", "5001", "nonsense"], 2, &["nonsense"]);
    check(&rig, &["fdb", "show", "--mac", "nonsense"], 2, &["nonsense"]);
    check(&rig, &["fdb", "get", "blue", "00:16:3e:00:00:01"], 2, &["blue"]);
    check(&rig, &["stats", "--colour"], 2, &["--colour"]);
    check(&rig, &["vni", "show", "--json"], 0, &[]);
    rig.agent.daemon().unwrap().terminate(SOON).unwrap();
    for words in [
        vec!["status"],
        vec!["fdb", "show"],
        vec!["fdb", "count", "--json"],
        vec!["stats"],
        vec!["vtep", "show"],
    ] {
        check(&rig, &words, 4, &["no agent answers at", "agent.sock"]);
    }
}

#[test]
fn a_reader_that_has_enough_is_no_error() {
    const MACS: u32 = 5000;
    let rig = Rig::with("macs_max = 10000").unwrap();
    let mut text = network("blue", VNI, &["tor"]) + &binding("p1", 0, "blue");
    for number in 0..MACS {
        let [_, _, a, b] = number.to_be_bytes();
        write!(text, "{}", row("blue", &format!("00:16:3e:00:{a:02x}:{b:02x}"), "tor", "")).unwrap();
    }
    rig.agent.write_table(&table(&[("tor", 11)], &text)).unwrap();
    wait_for("the table", SOON, || (count(&rig, &[]) == u64::from(MACS) + 1).then_some(())).unwrap();
    for format in [None, Some("--json")] {
        let mut show = Command::new(binary("vtep-agent").unwrap());
        show.args(["fdb", "show", "--socket"]).arg(rig.agent.socket()).args(format);
        let mut show = show.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut first = String::new();
        BufReader::new(show.stdout.take().unwrap()).read_line(&mut first).unwrap();
        assert!(first.starts_with("VNI") || first.starts_with('['), "{first}");
        let done = show.wait_with_output().unwrap();
        assert_eq!((done.status.code(), done.stderr.as_slice()), (Some(0), [].as_slice()));
    }
}
