//! `vtep-agent trace`: the programs' own word, with nothing moved.

use serde_json::Value;
use vtep_tests::process::Daemon;

use crate::host::{Host, TABLE};

pub(crate) const NEXT_HOP: &str = "02:00:00:00:fe:01";

/// `tap0` without a tag and in VLAN 20, both VTEPs' neighbours known.
pub(crate) fn ready() -> (Host, Daemon) {
    let host = Host::new("");
    let bindings = "binding = [{ port = \"tap0\", logical_switch = \"blue\" }, \
                    { port = \"tap0\", vlan = 20, logical_switch = \"red\" }]\n";
    let red = ", { name = \"red\", vni = 5002, flood = [\"a\", \"b\"] }]\nmac = [\n\
               { logical_switch = \"red\", mac = \"02:00:00:00:00:03\", master = \"b\" },";
    let table = TABLE
        .replace("]\nmac = [", red)
        .replace("binding = [{ port = \"tap0\", logical_switch = \"blue\" }]\n", bindings);
    host.write("table.toml", &table);
    for vtep in ["192.0.2.11", "192.0.2.12"] {
        host.netns.ip(&format!("neigh add {vtep} lladdr {NEXT_HOP} dev uplink")).unwrap();
    }
    let mut daemon = host.start();
    let resolved = || {
        let vteps = host.json(&["vtep", "show"])?;
        vteps.as_array()?.iter().all(|vtep| vtep["next_hop"] == NEXT_HOP).then_some(())
    };
    daemon.wait_for("the next hops", crate::host::PATIENCE, resolved).unwrap();
    (host, daemon)
}

#[track_caller]
fn trace(host: &Host, words: &str) -> Value {
    let words: Vec<&str> = ["trace"].into_iter().chain(words.split(' ')).collect();
    let output = host.ask(&words);
    assert!(output.status.success(), "{words:?}: {output:?}");
    let row: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(row["disagreement"], Value::Null, "{row:#}");
    row
}

fn steps(row: &Value) -> Vec<&str> {
    row["steps"].as_array().unwrap().iter().map(|step| step["step"].as_str().unwrap()).collect()
}

/// What may not move: counters, and what the interfaces sent.
fn traces_of_traces(host: &Host) -> (Value, Vec<String>) {
    let sent = ["uplink", "tap0"].map(|link| {
        let path = format!("/sys/class/net/{link}/statistics/tx_packets");
        let output = host.netns.command("cat").arg(path).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    });
    let vteps = host.json(&["vtep", "show"]).unwrap();
    let counted =
        serde_json::json!([host.json(&["stats"]).unwrap(), vteps, host.status().unwrap()["counts"]]);
    (counted, sent.to_vec())
}

#[test]
fn a_trace_tells_the_whole_chain_and_moves_nothing() {
    let (host, _daemon) = ready();
    let before = traces_of_traces(&host);

    let row = trace(&host, "--port tap0 --dst 02:00:00:00:00:01");
    assert_eq!(
        (&row["verdict"], &row["to"], &row["drop"]),
        (&"master".into(), &"uplink".into(), &false.into())
    );
    assert_eq!(steps(&row), ["port", "vni", "fdb", "vtep", "adjacency"]);
    assert_eq!(row["frame"]["src"], "02:00:00:00:00:aa", "a MAC that is known behind the port");
    let outer = &row["outer"];
    assert_eq!((&outer["destination"], &outer["vni"]), (&"192.0.2.11".into(), &5001.into()));
    assert_eq!((&outer["dst_mac"], &outer["udp_destination"]), (&NEXT_HOP.into(), &4789.into()));
    assert_eq!(row["bytes"].as_str().unwrap().len(), 2 * (60 + 50));

    let tagged = trace(&host, "--port tap0 --dst 02:00:00:00:00:03 --src 02:00:00:00:00:bb --vlan 20");
    assert_eq!((&tagged["verdict"], &tagged["outer"]["vni"]), (&"master".into(), &5002.into()));
    assert_eq!(tagged["bytes"].as_str().unwrap().len(), 2 * (60 + 50), "without its tag");

    let flooded = trace(&host, "--port tap0 --dst ff:ff:ff:ff:ff:ff --src 02:00:00:00:00:bb --vlan 20");
    assert_eq!((&flooded["verdict"], flooded["copies"].as_array().unwrap().len()), (&"flooded".into(), 2));
    let copy = &flooded["copies"][0];
    assert_eq!((&copy["to"], &copy["outer"]["destination"]), (&"uplink".into(), &"192.0.2.11".into()));

    assert_eq!(traces_of_traces(&host), before);
}

#[test]
fn a_trace_says_why_a_frame_is_dropped() {
    let (host, _daemon) = ready();
    let unbound = trace(&host, "--port tap0 --dst 02:00:00:00:00:01 --src 02:00:00:00:00:aa --vlan 7");
    assert_eq!((&unbound["verdict"], &unbound["drop"]), (&"unbound".into(), &true.into()));
    assert_eq!(steps(&unbound), ["nothing"]);
    let same = trace(&host, "--port tap0 --dst 02:00:00:00:00:aa --src 02:00:00:00:00:bb");
    assert_eq!(same["verdict"], "same_port");
    let group = trace(&host, "--port tap0 --dst 02:00:00:00:00:01 --src 03:00:00:00:00:aa");
    assert_eq!(group["verdict"], "group_source");
    // Two tags.
    let frame = "0200000000010200000000aa8100001481000015080045000000000000000000000000000000";
    let double = trace(&host, &format!("--port tap0 --frame {frame}"));
    assert_eq!(double["verdict"], "extra_tag");
}

#[test]
fn a_trace_follows_frames_from_the_underlay() {
    let (host, _daemon) = ready();
    let inner = "0200000000aa020000000001080045000020000040004011000001010101020202020001000200000000";
    let outer = |source: &str, vni: &str| {
        let len = inner.len() / 2;
        format!(
            "02000000fe0202000000fe0108004500{:04x}0000400040110000c0{source}c0000201c00012b5{:04x}0000\
             080000000{vni}00",
            len + 36,
            len + 16,
        )
    };
    let frame = format!("{}{inner}", outer("00020b", "01389"));
    let row = trace(&host, &format!("--uplink uplink --frame {frame}"));
    assert_eq!(steps(&row), ["outer", "vni", "sender", "fdb", "local_port"], "{row:#}");
    assert!(row["verdict"] == "admitted" || row["verdict"] == "delivered", "{row:#}");
    let stranger = trace(&host, &format!("--uplink uplink --frame {}{inner}", outer("000263", "01389")));
    assert_eq!(stranger["verdict"], "unknown_sender");
    let nowhere = trace(&host, &format!("--uplink uplink --frame {}{inner}", outer("00020b", "01300")));
    assert_eq!(nowhere["verdict"], "unknown_vni");
}

#[test]
fn questions_that_make_no_sense_are_refused_by_name() {
    let (host, _daemon) = ready();
    let refused = |words: &[&str], code: i32, expected: &str| {
        let output = host.ask(words);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains(expected), "{expected:?} is not in: {text}");
    };
    refused(
        &["trace", "--port", "tap9", "--dst", "02:00:00:00:00:01"],
        3,
        "no interface \"tap9\"; its ports are: tap0",
    );
    refused(&["trace", "--port", "tap0", "--frame", "02zz"], 2, "\"z\" at digit 2; expected hexadecimal");
    refused(&["trace", "--port", "tap0", "--frame", "0200"], 2, "2 bytes; expected 14 to");
    refused(&["trace", "--port", "tap0", "--dst", "02:00"], 2, "is no MAC address");
    refused(&["trace", "--port", "tap0", "--dst", "02:00:00:00:00:01", "--vlan", "4096"], 2, "4096");
    refused(&["trace", "--port", "tap0"], 2, "--frame");
}

#[test]
fn traces_at_once_are_answered_or_refused_and_none_is_forgotten() {
    let (host, _daemon) = ready();
    let words = ["trace", "--port", "tap0", "--dst", "02:00:00:00:00:01"];
    let answers = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(|| host.ask(&words))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    let refused = answers.iter().filter(|answer| !answer.status.success());
    for answer in refused {
        let said = String::from_utf8_lossy(&answer.stderr);
        assert!(said.contains("2 traces run already, as many as may; ask again"), "{said}");
    }
    assert!(answers.iter().any(|answer| answer.status.success()));
    for _ in 0..3 {
        assert_eq!(trace(&host, "--port tap0 --dst 02:00:00:00:00:01")["verdict"], "master");
    }
}
