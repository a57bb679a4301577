//! `vtep-agent monitor` and `capture`, with real frames; the files are read by tshark.

use std::io::{BufRead, BufReader};
use std::net::Ipv6Addr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use vtep_tests::frame::{self, Endpoint, udp, udp_tagged, vxlan};
use vtep_tests::link::Link;
use vtep_tests::packet::PacketSocket;

use crate::host::{BINARY, Host, PATIENCE, TABLE};
use crate::trace::ready;

const VM: Endpoint = Endpoint::new([2, 0, 0, 0, 0, 0xaa], [10, 0, 0, 1], 1000);
const FAR: Endpoint = Endpoint::new([2, 0, 0, 0, 0, 1], [10, 0, 0, 2], 2000);
const OURS: Endpoint = Endpoint::new([2, 0, 0, 0, 0xfe, 2], [192, 0, 2, 1], 4789);
const VTEP_A: Endpoint = Endpoint::new([2, 0, 0, 0, 0xfe, 1], [192, 0, 2, 11], 50_000);
const STRANGER: Endpoint = Endpoint::new([2, 0, 0, 0, 0xfe, 9], [192, 0, 2, 99], 50_000);

/// One command of a client that goes on for a while. It goes with this.
pub(crate) struct Client {
    child: Child,
}

impl Client {
    pub(crate) fn start(host: &Host, words: &[&str]) -> Self {
        let socket = host.folder.path().join("agent.sock");
        let mut command = Command::new(BINARY);
        command.args(words).arg("--socket").arg(socket);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self { child: command.spawn().unwrap() }
    }

    /// Sends until the command has ended by itself. Exit code and standard error.
    fn while_running(mut self, send: impl Fn()) -> (i32, String) {
        let end = Instant::now() + PATIENCE;
        while self.child.try_wait().unwrap().is_none() {
            assert!(Instant::now() < end, "the command does not end");
            send();
            std::thread::sleep(Duration::from_millis(20));
        }
        let mut said = String::new();
        std::io::Read::read_to_string(&mut self.child.stderr.take().unwrap(), &mut said).unwrap();
        (self.child.wait().unwrap().code().unwrap(), said)
    }

    /// Sends until the command has ended by itself. How many lines it wrote, and its exit code.
    fn rows_while_running(mut self, send: impl Fn()) -> (u32, i32) {
        let lines = BufReader::new(self.child.stdout.take().unwrap()).lines();
        std::thread::scope(|scope| {
            let rows = scope.spawn(|| u32::try_from(lines.count()).unwrap());
            let (code, _) = self.while_running(send);
            (rows.join().unwrap(), code)
        })
    }

    /// Sends until a line of JSON is as wanted.
    pub(crate) fn event(&mut self, send: impl Fn() + Send + Sync, wanted: impl Fn(&Value) -> bool) -> Value {
        let lines = BufReader::new(self.child.stdout.as_mut().unwrap()).lines();
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let end = Instant::now() + PATIENCE;
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    assert!(Instant::now() < end, "no such event");
                    send();
                    std::thread::sleep(Duration::from_millis(20));
                }
            });
            let mut rows = lines.map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
            let found = rows.find(|row| wanted(row));
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            found.expect("the event comes before the end")
        })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn vm(host: &Host) -> PacketSocket {
    PacketSocket::bind(&Link::named(&host.peer, "vm")).unwrap()
}

fn underlay(host: &Host) -> PacketSocket {
    PacketSocket::bind(&Link::named(&host.peer, "uplink")).unwrap()
}

/// One line of fields for each frame.
fn tshark(file: &Path, fields: &[&str]) -> Vec<String> {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(file).args(["-T", "fields", "-E", "separator=|"]);
    for field in fields {
        command.args(["-e", field]);
    }
    let output = command.output().expect("tshark is installed by `cargo xtask setup`");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// The map that tells the programs what to copy.
fn copies_are_off(host: &Host) -> bool {
    let pin = host.pins().join("v1/maps/CAPTURE_SET");
    let output = Command::new("bpftool").args(["--json", "map", "dump", "pinned"]).arg(pin).output().unwrap();
    let dump: Value = serde_json::from_slice(&output.stdout).unwrap();
    dump[0]["value"].as_array().unwrap().iter().all(|byte| byte == "0x00")
}

#[test]
fn a_capture_has_both_headers_and_the_reason_of_each_frame() {
    let (host, mut daemon) = ready();
    assert!(copies_are_off(&host));
    let (vm, underlay) = (vm(&host), underlay(&host));
    let file = host.folder.path().join("all.pcapng");
    let path = file.to_str().unwrap();
    let client = Client::start(&host, &["capture", "--count", "40", "--snaplen", "120", "-w", path]);
    let inner = udp(FAR, VM, &[7; 200]);
    let (code, said) = client.while_running(|| {
        vm.send(&udp(VM, FAR, &[1; 200])).unwrap();
        vm.send(&udp_tagged(VM, FAR, 9, &[2; 10])).unwrap();
        underlay.send(&vxlan(VTEP_A, OURS, 5001, &inner)).unwrap();
        underlay.send(&vxlan(STRANGER, OURS, 5001, &inner)).unwrap();
    });
    assert_eq!(code, 0, "{said}");
    assert!(said.starts_with("40 frames; 0 left out"), "{said}");

    let fields = [
        "frame.comment",
        "frame.interface_name",
        "vxlan.vni",
        "ip.src",
        "frame.len",
        "frame.cap_len",
        "vlan.id",
    ];
    let frames = tshark(&file, &fields);
    assert_eq!(frames.len(), 40);
    let has = |line: &str| assert!(frames.iter().any(|frame| frame == line), "{line} is not in {frames:#?}");
    // As it leaves, cut, with its whole length.
    has("master, VNI 5001|uplink|5001|192.0.2.1,10.0.0.1|292|120|");
    has("dropped: unbound|tap0||10.0.0.1|56|56|9");
    has("dropped: unknown_sender, VNI 5001|uplink|5001|192.0.2.99,10.0.0.2|292|120|");
    // As it came, though the program took the outer headers off.
    let delivered =
        frames.iter().find(|frame| frame.starts_with("delivered") || frame.starts_with("admitted"));
    let delivered = delivered.unwrap_or_else(|| panic!("no frame from a VTEP is in {frames:#?}"));
    assert!(delivered.ends_with("|uplink|5001|192.0.2.11,10.0.0.2|292|120|"), "{delivered}");

    daemon.wait_for("the end of the copies", PATIENCE, || copies_are_off(&host).then_some(())).unwrap();
}

#[test]
fn a_capture_takes_what_it_was_told_to_take_and_says_what_it_left_out() {
    let (host, _daemon) = ready();
    let vm = vm(&host);
    let file = host.folder.path().join("some.pcapng");
    let words =
        ["capture", "--reason", "unbound", "--rate", "2", "--seconds", "3", "-w", file.to_str().unwrap()];
    let (code, said) = Client::start(&host, &words).while_running(|| {
        for _ in 0..10 {
            vm.send(&udp_tagged(VM, FAR, 9, &[2; 10])).unwrap();
            vm.send(&udp(VM, FAR, &[1; 10])).unwrap();
        }
    });
    assert_eq!(code, 0, "{said}");
    let comments = tshark(&file, &["frame.comment"]);
    assert!(
        !comments.is_empty() && comments.iter().all(|comment| comment == "dropped: unbound"),
        "{comments:?}"
    );
    // Three seconds, or parts of four, on each CPU.
    let cpus = std::thread::available_parallelism().unwrap().get();
    assert!(comments.len() <= 2 * 4 * cpus, "{}", comments.len());
    let left_out: u64 = said.split(&[' ', ';'][..]).nth(3).unwrap().parse().unwrap();
    assert!(left_out > 50, "{said}");
}

#[test]
fn a_capture_ends_before_its_file_is_larger_than_it_may_be() {
    const MAX: u64 = 65_536;
    let (host, mut daemon) = ready();
    let vm = vm(&host);
    let file = host.folder.path().join("large.pcapng");
    let (path, max) = (file.to_str().unwrap(), MAX.to_string());
    let client = Client::start(&host, &["capture", "--rate", "10000", "--max-bytes", &max, "-w", path]);
    let (code, said) = client.while_running(|| {
        for _ in 0..10 {
            vm.send(&udp(VM, FAR, &[1; 1300])).unwrap();
        }
    });
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("as large as it may be (--max-bytes)"), "{said}");
    let len = std::fs::metadata(&file).unwrap().len();
    assert!((MAX - 4096..=MAX).contains(&len), "{len}");
    assert!(tshark(&file, &["frame.len"]).len() > 40, "it is whole");
    daemon.wait_for("the end of the copies", PATIENCE, || copies_are_off(&host).then_some(())).unwrap();
}

#[test]
fn an_interrupted_capture_leaves_a_whole_file() {
    let (host, mut daemon) = ready();
    let vm = vm(&host);
    let file = host.folder.path().join("cut.pcapng");
    let mut client = Client::start(&host, &["capture", "-w", file.to_str().unwrap()]);
    let written = || {
        vm.send(&udp(VM, FAR, &[1; 10])).unwrap();
        (std::fs::metadata(&file).ok()?.len() > 1000).then_some(())
    };
    daemon.wait_for("frames in the file", PATIENCE, written).unwrap();
    let pid = Pid::from_raw(i32::try_from(client.child.id()).unwrap());
    kill(pid, Signal::SIGINT).unwrap();
    assert!(client.child.wait().unwrap().success());
    assert!(tshark(&file, &["frame.comment"]).len() > 2);
    daemon.wait_for("the end of the copies", PATIENCE, || copies_are_off(&host).then_some(())).unwrap();
}

#[test]
fn a_monitor_tells_drops_with_their_frames_and_who_sends_without_leave() {
    let (host, _daemon) = ready();
    let (vm, underlay) = (vm(&host), underlay(&host));
    let mut client = Client::start(&host, &["monitor", "--json"]);
    let unbound = || vm.send(&udp_tagged(VM, FAR, 9, &[2; 10])).unwrap();
    let frame = client.event(unbound, |row| row["event"] == "dropped_frame");
    assert_eq!((&frame["verdict"], &frame["interface"]), (&"unbound".into(), &"tap0".into()));
    assert_eq!((&frame["src"], &frame["vlan"]), (&"02:00:00:00:00:aa".into(), &9.into()));
    let counted = client.event(unbound, |row| row["event"] == "dropped");
    assert_eq!((&counted["verdict"], &counted["vni"]), (&"unbound".into(), &Value::Null));
    assert!(counted["packets"].as_u64().unwrap() > 0);

    let mut client = Client::start(&host, &["monitor", "unknown-senders", "--json"]);
    let inner = udp(FAR, VM, &[7; 20]);
    let stranger = || underlay.send(&vxlan(STRANGER, OURS, 5001, &inner)).unwrap();
    let sender = client.event(stranger, |_| true);
    assert_eq!((&sender["event"], &sender["address"]), (&"unknown_sender".into(), &"192.0.2.99".into()));
    assert_eq!((&sender["vni"], &sender["verdict"]), (&5001.into(), &"unknown_sender".into()));
}

#[test]
fn a_monitor_tells_entries_that_change_and_macs_that_move() {
    let host = Host::new("");
    let _daemon = host.start();
    let moved = TABLE.replace("master = \"a\", slave = \"b\"", "master = \"b\"");
    let mut tables = [moved.as_str(), TABLE].into_iter().cycle();
    let tables = std::sync::Mutex::new(&mut tables);
    // Written again and again: the monitor may not have begun.
    let change = || host.write("table.toml", tables.lock().unwrap().next().unwrap());
    let mut client = Client::start(&host, &["monitor", "moves", "--vni", "5001", "--json"]);
    let event = client.event(change, |_| true);
    assert_eq!((&event["event"], &event["by"]), (&"moved".into(), &"table".into()));
    assert_eq!(event["mac"], "02:00:00:00:00:01");
    assert_ne!(event["from"], event["to"]);
    let mut client = Client::start(&host, &["monitor", "fdb", "--json"]);
    let event = client.event(change, |_| true);
    assert_eq!((&event["event"], &event["change"]), (&"fdb".into(), &"changed".into()));
    assert_eq!(event["entry"]["mac"], "02:00:00:00:00:01");
}

/// `tap0` sends from its own addresses only, and addresses of `blue` are answered for.
fn guarded() -> (Host, vtep_tests::process::Daemon) {
    let host = Host::new("");
    let keys = "macs = [\"02:00:00:00:00:aa\"]\nenforce_macs = true\nallowed_ips = [\"10.0.0.1\", \"2001:db8:1::a00:1\"]";
    let text = std::fs::read_to_string(host.folder.path().join("agent.toml")).unwrap();
    let text = text.replace("macs = [\"02:00:00:00:00:aa\"]", keys);
    host.write("agent.toml", &format!("{text}\n[[network]]\nvni = 5001\nsuppress = true\n"));
    let known = "mac = \"02:00:00:00:00:01\", ips = [\"10.0.0.2\", \"2001:db8:1::a00:2\"],";
    host.write("table.toml", &TABLE.replace("mac = \"02:00:00:00:00:01\",", known));
    let daemon = host.start();
    (host, daemon)
}

#[test]
fn a_monitor_tells_what_stations_say_of_addresses_and_what_is_answered_for_them() {
    let (host, _daemon) = guarded();
    let vm = vm(&host);
    let mut client = Client::start(&host, &["monitor", "suppression", "--json"]);
    let mut told = |frame: Vec<u8>, expected: [&str; 3]| {
        let fields = |row: &Value| {
            [&row["event"], &row["said"], &row["address"]]
                .map(|field| field.as_str().unwrap_or("").to_owned())
        };
        let row = client.event(|| vm.send(&frame).unwrap(), |row| fields(row) == expected);
        assert_eq!((&row["vni"], &row["port"]), (&5001.into(), &"tap0".into()));
        row
    };
    let (ours, theirs) = (frame::v6(VM.address), frame::v6(FAR.address));
    told(frame::arp_request(VM, VM.address), ["address", "announced", "10.0.0.1"]);
    told(frame::advertisement(VM, ours), ["address", "announced", "2001:db8:1::a00:1"]);
    let mut rarp = frame::arp_request(VM, VM.address);
    rarp[12..14].copy_from_slice(&[0x80, 0x35]);
    told(rarp, ["address", "announced", ""]);
    let nobody = Endpoint { address: [0, 0, 0, 0].into(), ..VM };
    told(frame::arp_request(nobody, VM.address), ["address", "probed", "10.0.0.1"]);
    told(
        frame::solicitation(VM, Ipv6Addr::UNSPECIFIED, ours, false),
        ["address", "probed", "2001:db8:1::a00:1"],
    );
    for (question, address) in [
        (frame::arp_request(VM, FAR.address), "10.0.0.2"),
        (frame::solicitation(VM, ours, theirs, true), "2001:db8:1::a00:2"),
    ] {
        let row = told(question, ["answered", "", address]);
        assert_eq!((&row["asker"], &row["mac"]), (&"02:00:00:00:00:aa".into(), &"02:00:00:00:00:01".into()));
    }
}

#[test]
fn a_monitor_tells_what_a_port_may_not_send_at_a_bounded_rate() {
    let (host, _daemon) = guarded();
    let vm = vm(&host);
    let mut client = Client::start(&host, &["monitor", "security", "--json"]);
    let forged = Endpoint::new([2, 0, 0, 0, 0, 0xbb], [10, 0, 0, 1], 1000);
    let row = client.event(|| vm.send(&udp(forged, FAR, &[1; 20])).unwrap(), |_| true);
    assert_eq!((&row["event"], &row["port"], &row["vni"]), (&"refused".into(), &"tap0".into(), &5001.into()));
    assert_eq!((&row["mac"], &row["address"]), (&"02:00:00:00:00:bb".into(), &Value::Null));
    let stolen = Endpoint { address: FAR.address, ..VM };
    let stolen = frame::arp_request(stolen, [10, 0, 0, 9].into());
    let row = client.event(|| vm.send(&stolen).unwrap(), |row| row["mac"] == "02:00:00:00:00:aa");
    assert_eq!(row["address"], "10.0.0.2");

    // As many as its bucket has, however many it sends.
    let flood = || {
        for _ in 0..500 {
            vm.send(&stolen).unwrap();
        }
        host.json(&["stats", "--drops"]).unwrap()
    };
    let counted = |stats: &Value| {
        let rows = stats.as_array().unwrap().iter().filter(|row| row["verdict"] == "ip_refused");
        rows.map(|row| row["packets"].as_u64().unwrap()).sum::<u64>()
    };
    let began = Instant::now();
    while counted(&flood()) < 5000 {
        assert!(began.elapsed() < PATIENCE, "the frames are counted");
    }
    let told = Client::start(&host, &["monitor", "security", "--json", "--seconds", "1"]);
    let sent = std::cell::Cell::new(0_u64);
    let began = Instant::now();
    let (rows, _) = told.rows_while_running(|| {
        flood();
        sent.set(sent.get() + 500);
    });
    let most = 100.0 + 100.0 * (began.elapsed().as_secs_f64() + 1.0);
    assert!(rows > 0 && (f64::from(rows)) <= most, "{rows} of {} were told", sent.get());
}

#[test]
fn a_mac_that_another_vtep_sends_from_is_told_at_a_bounded_rate_and_its_frames_arrive() {
    const VTEP_B: Endpoint = Endpoint::new([2, 0, 0, 0, 0xfe, 1], [192, 0, 2, 12], 50_000);
    const OF_B: Endpoint = Endpoint::new([2, 0, 0, 0, 0, 2], [10, 0, 0, 3], 2000);
    let (host, _daemon) = ready();
    let (vm, underlay) = (vm(&host), underlay(&host));
    let ours = Endpoint { mac: Link::named(&host.netns, "uplink").mac().unwrap(), ..OURS };
    let send = |vtep: Endpoint, from: Endpoint| {
        underlay.send(&vxlan(vtep, ours, 5001, &udp(from, VM, &[1; 20]))).unwrap();
    };
    let mut client = Client::start(&host, &["monitor", "witness", "--json"]);
    let row = client.event(|| send(VTEP_B, FAR), |_| true);
    let told = |row: &Value| [&row["event"], &row["mac"], &row["as_slave"]].map(Clone::clone);
    assert_eq!(told(&row), [Value::from("witnessed"), "02:00:00:00:00:01".into(), true.into()]);
    let places = [&row["from"]["vtep"]["address"], &row["master"]["vtep"]["address"]];
    assert_eq!(places, ["192.0.2.12", "192.0.2.11"]);
    let arrives = vm.receive_where(PATIENCE, |bytes| bytes == udp(FAR, VM, &[1; 20])).unwrap();
    assert!(arrives.is_some(), "it is forwarded all the same");

    // A VTEP that floods delays no other's, and is told of no more often for it.
    let flood = || {
        for _ in 0..500 {
            send(VTEP_B, FAR);
        }
        send(VTEP_A, FAR);
        send(VTEP_B, OF_B);
        send(VTEP_A, OF_B);
    };
    let row = client.event(flood, |row| row["mac"] == "02:00:00:00:00:02");
    assert_eq!((&row["as_slave"], &row["from"]["vtep"]["address"]), (&false.into(), &"192.0.2.11".into()));
    drop(client);
    let began = Instant::now();
    let told = Client::start(&host, &["monitor", "witness", "--json", "--seconds", "3"]);
    let (rows, _) = told.rows_while_running(flood);
    // Of two pairs, one in 2^30 ns, and one more at each end.
    let most = 2.0 * (began.elapsed().as_secs_f64() / 1.07 + 2.0);
    assert!(rows > 0 && f64::from(rows) <= most, "{rows} rows, expected at most {most}");
    let status = host.status().unwrap();
    assert!(status["witness"]["from_slave"].as_u64() > Some(0), "{status}");
    let (_, metrics) = host.netns.http_get(9475, "/metrics").unwrap();
    assert!(metrics.contains("vtepd_agent_witnessed_total{sender=\"other\"}"), "{metrics}");
}

#[test]
fn what_cannot_be_watched_is_refused_by_name() {
    let (host, _daemon) = ready();
    let file = host.folder.path().join("none.pcapng");
    let file = file.to_str().unwrap();
    let refused = |words: &[&str], code: i32, expected: &str| {
        let client = Client::start(&host, words);
        let (found, said) = client.while_running(|| {});
        assert_eq!(found, code, "{said}");
        assert!(said.contains(expected), "{expected:?} is not in: {said}");
    };
    refused(&["capture", "--reason", "bad_luck", "-w", file], 2, "\"bad_luck\" is unknown; expected drops, ");
    refused(&["capture", "--vni", "77", "-w", file], 3, "VNI 77 is none of this host's");
    refused(&["capture", "--port", "tap9", "-w", file], 3, "no interface \"tap9\"");
    refused(&["capture", "--seconds", "1", "-w", "/no/such/folder/x"], 1, "/no/such/folder/x");
    refused(&["monitor", "--vni", "77"], 3, "VNI 77 is none of this host's");
    refused(&["monitor", "weather"], 2, "unknown-senders");
    assert!(!Path::new(file).exists(), "what is refused leaves no file");
    let watchers: Vec<Client> = (0..8).map(|_| Client::start(&host, &["monitor"])).collect();
    let mut daemon = (0..200).map(|_| {
        std::thread::sleep(Duration::from_millis(20));
        Client::start(&host, &["monitor", "--seconds", "1"]).while_running(|| {})
    });
    let (code, said) = daemon.find(|(code, _)| *code != 0).unwrap();
    assert!(code == 1 && said.contains("8 monitors and captures run already"), "{said}");
    drop(watchers);
}
