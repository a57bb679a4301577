//! `vtep-agent trace`: the programs' own word, with nothing moved.

use serde_json::Value;
use vtep_agent::trace::outer::Outer;
use vtep_tests::frame::{Endpoint, udp, vxlan};
use vtep_tests::link::Link;
use vtep_tests::packet::PacketSocket;
use vtep_tests::process::Daemon;

use crate::host::{Host, PATIENCE, TABLE};

pub(crate) const NEXT_HOP: &str = "02:00:00:00:fe:01";

/// `tap0` without a tag and in VLAN 20, both VTEPs' neighbours known.
pub(crate) fn ready() -> (Host, Daemon) {
    ready_with("")
}

fn ready_with(dataplane: &str) -> (Host, Daemon) {
    let host = Host::new(dataplane);
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
    daemon.wait_for("the next hops", PATIENCE, resolved).unwrap();
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

/// VXLAN from the VTEP `a`, or from another source, around a frame to the VM's MAC or all.
fn from_vtep(source: [u8; 4], vni: u32, dst: [u8; 6]) -> Vec<u8> {
    let far = Endpoint::new([2, 0, 0, 0, 0, 1], [1, 1, 1, 1], 1);
    let vm = Endpoint::new(dst, [2, 2, 2, 2], 2);
    let (vtep, ours) = (Endpoint::new(HOP, source, 49_153), Endpoint::new(UPLINK, [192, 0, 2, 1], 4789));
    vxlan(vtep, ours, vni, &udp(far, vm, &[7; 20]))
}

const HOP: [u8; 6] = [2, 0, 0, 0, 0xfe, 1];
const UPLINK: [u8; 6] = [2, 0, 0, 0, 0xfe, 2];
const VM: [u8; 6] = [2, 0, 0, 0, 0, 0xaa];

fn trace_arrival(host: &Host, frame: &[u8]) -> Value {
    trace(host, &format!("--uplink uplink --frame {}", hex(frame)))
}

fn hex(frame: &[u8]) -> String {
    frame.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

#[test]
fn a_trace_follows_frames_from_the_underlay() {
    let (host, _daemon) = ready_with("decap = \"program\"");
    let row = trace_arrival(&host, &from_vtep([192, 0, 2, 11], 5001, VM));
    assert_eq!(steps(&row), ["outer", "vni", "sender", "fdb", "local_port"], "{row:#}");
    assert_eq!(
        (&row["verdict"], &row["device"], &row["then"]),
        (&"delivered".into(), &Value::Null, &Value::Null)
    );
    let stranger = trace_arrival(&host, &from_vtep([192, 0, 2, 99], 5001, VM));
    assert_eq!(stranger["verdict"], "unknown_sender");
    let nowhere = trace_arrival(&host, &from_vtep([192, 0, 2, 11], 4864, VM));
    assert_eq!(nowhere["verdict"], "unknown_vni");
}

#[test]
fn a_trace_goes_on_behind_the_tunnel_device() {
    let (host, _daemon) = ready_with("decap = \"device\"");
    let before = traces_of_traces(&host);
    let frame = from_vtep([192, 0, 2, 11], 5001, VM);
    let row = trace_arrival(&host, &frame);
    assert_eq!(
        (&row["verdict"], &row["device"]["does"]),
        (&"admitted".into(), &"decapsulates".into()),
        "{row:#}"
    );
    let then = &row["then"];
    assert_eq!((&then["program"], &then["interface"]), (&"tunnel_in".into(), &"vtepd-vxlan".into()));
    assert_eq!((&then["verdict"], &then["to"]), (&"delivered".into(), &"tap0".into()), "{row:#}");
    assert_eq!(then["bytes"], hex(&frame[50..]));

    let flooded = trace_arrival(&host, &from_vtep([192, 0, 2, 11], 5001, [0xff; 6]));
    assert_eq!(flooded["then"]["verdict"], "delivered_flood", "{flooded:#}");
    assert_eq!(flooded["then"]["copies"][0]["to"], "tap0");
    // The program behind the device has the last word.
    let mut tagged = from_vtep([192, 0, 2, 11], 5001, VM);
    tagged[50 + 12..50 + 16].copy_from_slice(&[0x81, 0, 0, 7]);
    let refused = trace_arrival(&host, &tagged);
    assert_eq!(refused["verdict"], "extra_tag", "{refused:#}");

    let mut summed = frame;
    summed[40..42].copy_from_slice(&[0xab, 0xcd]);
    let dropped = trace_arrival(&host, &summed);
    assert_eq!((&dropped["device"]["does"], &dropped["then"]), (&"drops".into(), &Value::Null));
    assert!(dropped["device"]["why"].as_str().unwrap().contains("UDP checksum 0xabcd; expected 0x"));
    let text = host.print(&["trace", "--port", "tap0", "--dst", "02:00:00:00:00:01"]);
    assert!(!text.contains("derived"), "{text}");
    assert_eq!(traces_of_traces(&host), before);
}

/// What the device is said to put around a frame, it does when the next hop is known at last.
#[test]
fn a_trace_says_what_the_tunnel_device_will_put_around_a_frame() {
    let host = Host::new("");
    host.write("table.toml", &TABLE.replace("flood = [\"a\"]", "flood = [\"a\", \"b\"]"));
    let _daemon = host.start();
    let row = trace(&host, "--port tap0 --dst 02:00:00:00:00:01");
    assert_eq!((&row["verdict"], &row["to"]), (&"device".into(), &"vtepd-vxlan".into()), "{row:#}");
    let derived = &row["device"];
    assert_eq!((&derived["does"], &derived["interface"]), (&"encapsulates".into(), &"uplink".into()));
    let text = host.print(&["trace", "--port", "tap0", "--dst", "02:00:00:00:00:01"]);
    assert!(
        text.contains("(derived, not run) vtepd-vxlan puts around it 192.0.2.1 → 192.0.2.11, TTL 64"),
        "{text}"
    );
    let flooded = trace(&host, "--port tap0 --dst ff:ff:ff:ff:ff:ff");
    let ends: Vec<&Value> =
        (0..2).map(|at| &flooded["copies"][at]["device"]["outer"]["destination"]).collect();
    assert_eq!(ends, ["192.0.2.11", "192.0.2.12"], "{flooded:#}");

    let sent = row["bytes"].as_str().unwrap();
    let frame: Vec<u8> =
        (0..sent.len()).step_by(2).map(|at| u8::from_str_radix(&sent[at..at + 2], 16).unwrap()).collect();
    let uplink = PacketSocket::bind(&Link::named(&host.peer, "uplink")).unwrap();
    PacketSocket::bind(&Link::named(&host.peer, "vm")).unwrap().send(&frame).unwrap();
    host.netns.ip(&format!("neigh replace 192.0.2.11 lladdr {NEXT_HOP} dev uplink")).unwrap();
    let encapsulated = uplink.receive_where(PATIENCE, |bytes| bytes.ends_with(&frame)).unwrap().unwrap();
    let made = serde_json::to_value(Outer::parse(&encapsulated, 4789).unwrap()).unwrap();
    for field in ["source", "destination", "ttl", "dscp", "ecn", "dont_fragment", "udp_destination", "vni"] {
        assert_eq!(derived["outer"][field], made[field], "{field}: {derived:#}, {made:#}");
    }
    let sources = &derived["udp_sources"];
    let range = sources[0].as_u64().unwrap()..=sources[1].as_u64().unwrap();
    assert!(range.contains(&made["udp_source"].as_u64().unwrap()), "{derived:#}, {made:#}");
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
