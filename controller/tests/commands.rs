//! Commands against a running controller, without a network beside it.

#![expect(clippy::unwrap_used, reason = "a test fails where it cannot go on")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

const DECLARED: &str = "version = 1\npolicy.start_wait_secs = 1\n[[vtep]]\nname = \"tor-a\"\naddress = \"192.0.2.11\"\n\
    [[logical_switch]]\nname = \"blue\"\nvni = 5001\n\
    [[binding]]\nvtep = \"tor-a\"\nport = \"Ethernet1\"\nlogical_switch = \"blue\"\n";
const MAC: &str = "02:00:00:00:00:01";

struct Daemon {
    directory: TempDir,
    child: Child,
    metrics: u16,
}

/// A port that nobody has at the moment.
fn port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Daemon {
    fn start(role: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (child, metrics) = spawn(directory.path(), role);
        Self { directory, child, metrics }
    }

    /// As after a crash.
    fn restart(&mut self, role: &str) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        (self.child, self.metrics) = spawn(self.directory.path(), role);
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn apply(&self, text: &str, flags: &[&str]) -> Output {
        let path = self.write("deployment.toml", text);
        self.command(&[&["apply", "-f", path.to_str().unwrap()], flags].concat())
    }

    fn command(&self, words: &[&str]) -> Output {
        let socket = self.directory.path().join("controller.sock");
        Command::new(env!("CARGO_BIN_EXE_vtep-controller"))
            .args(words)
            .arg("--socket")
            .arg(socket)
            .output()
            .unwrap()
    }

    #[track_caller]
    fn check(&self, words: &[&str], code: i32, expected: &[&str]) {
        check(&self.command(words), code, expected);
    }

    /// Asks again until the answer has it.
    #[track_caller]
    fn check_until(&self, words: &[&str], expected: &str) {
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            let output = self.command(words);
            if String::from_utf8_lossy(&output.stdout).contains(expected) {
                return;
            }
            assert!(Instant::now() < deadline, "{}", String::from_utf8_lossy(&output.stdout));
            std::thread::yield_now();
        }
    }

    fn term(&self) -> u64 {
        let status = self.command(&["status", "--json"]).stdout;
        serde_json::from_slice::<serde_json::Value>(&status).unwrap()["term"].as_u64().unwrap()
    }

    fn http(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.metrics)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: c\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn spawn(directory: &Path, role: &str) -> (Child, u16) {
    let (listen, metrics, nobody) = (port(), port(), port());
    let path = |name: &str| directory.join(name).display().to_string();
    let mut text = format!(
        "[controller]\nname = \"c1\"\nrole = \"{role}\"\nstate = \"{}\"\n[listen]\naddress = \"127.0.0.1:{listen}\"\n\
         [control]\nsocket = \"{}\"\n[metrics]\nlisten = \"127.0.0.1:{metrics}\"\n",
        path("state"),
        path("controller.sock"),
    );
    if role == "physical" {
        let peer = format!("[[logical]]\nname = \"lc\"\naddress = \"127.0.0.1:{nobody}\"\n");
        text.push_str(&peer);
    }
    std::fs::write(directory.join("controller.toml"), text).unwrap();
    let log = std::fs::File::create(directory.join("log")).unwrap();
    // A file that may not grow then fails as on a full disk, without a signal.
    let child = Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_vtep-controller")])
        .args(["run", "--config", &path("controller.toml"), "--record", &path("recording")])
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_mins(1);
    let socket = directory.join("controller.sock");
    while std::os::unix::net::UnixStream::connect(&socket).is_err() {
        let log = || std::fs::read_to_string(directory.join("log")).unwrap();
        assert!(Instant::now() < deadline, "the controller does not answer:\n{}", log());
        std::thread::yield_now();
    }
    (child, metrics)
}

#[track_caller]
fn check(output: &Output, code: i32, expected: &[&str]) {
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{text}");
    for part in expected {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

#[test]
fn a_file_is_applied_as_a_whole_and_outlives_a_crash() {
    let mut daemon = Daemon::start("both");
    let term = daemon.term();
    daemon.check(&["status"], 0, &["c1 (both)", "waits for a declared file", "declared  nothing here"]);
    check(
        &daemon.apply(DECLARED, &["--dry-run"]),
        0,
        &["+ logical_switch \"blue\": ", "vni = 5001", "dry run"],
    );
    daemon.check(&["ls", "--json"], 0, &["[\n\n]"]);
    let wrong = format!("{DECLARED}[[pin]]\nlogical_switch = \"blue\"\nmac = \"{MAC}\"\nvtep = \"tor-z\"\n");
    check(
        &daemon.apply(&wrong, &[]),
        1,
        &["nothing of it is applied: 1 error", "line 13: there is no VTEP \"tor-z\""],
    );
    daemon.check(&["ls", "--json"], 0, &["[\n\n]"]);
    check(&daemon.apply(DECLARED, &[]), 0, &["applied: 4 changes; 1 VTEP, 1 logical switch, 1 binding"]);
    check(&daemon.apply(DECLARED, &["--diff"]), 0, &["applied: nothing changes"]);
    daemon.check(&["ls"], 0, &["SWITCH", "blue", "5001"]);
    daemon.check(&["vteps"], 0, &["tor-a", "192.0.2.11"]);
    daemon.restart("both");
    daemon.check(&["status"], 0, &["deployment.toml, applied 20"]);
    assert_eq!(daemon.term(), term + 1);
    daemon.check(&["ls"], 0, &["blue"]);
}

#[test]
fn a_pin_is_explained_kept_and_taken_back() {
    let mut daemon = Daemon::start("both");
    daemon.check(&["pin", "blue", MAC, "tor-a"], 3, &["logical switch blue is none of this controller's"]);
    check(&daemon.apply(DECLARED, &[]), 0, &[]);
    daemon.check(&["explain", "blue", MAC], 3, &["nobody claims 02:00:00:00:00:01 in blue"]);
    daemon.check(&["pin", "blue", MAC, "tor-z"], 3, &["VTEP tor-z is not declared"]);
    daemon.check(&["pin", "blue", "ff:ff:ff:ff:ff:ff", "tor-a"], 1, &["is a group address"]);
    daemon.check(&["pin", "blue", MAC, "tor-a"], 0, &["02:00:00:00:00:01 in blue is pinned at tor-a"]);
    let explained = [
        "02:00:00:00:00:01 in blue is behind tor-a: ",
        "Claims\n  tor-a is pinned by the operator\n",
        "Told",
    ];
    daemon.check(&["explain", "blue", MAC], 0, &explained);
    daemon.restart("both");
    daemon.check(&["explain", "blue", MAC], 0, &explained);
    daemon.check(&["what-if", "--vtep-down", "tor-a"], 0, &[]);
    daemon.check(&["what-if", "--policy", "vtep-time"], 0, &["no MAC would move"]);
    daemon.check(&["history", "blue", "02:00:00:00:00:99"], 0, &["nothing happened to it"]);
    daemon.check(&["unpin", "blue", MAC], 0, &["is not pinned at tor-a any more"]);
    daemon.check(&["unpin", "blue", MAC], 3, &["is not pinned"]);
    daemon.check(&["clear-duplicate", "blue", MAC], 3, &["is no duplicate in blue"]);
    daemon.check(&["release", "--storm", "tor-a"], 3, &["nothing that tor-a claims is set aside"]);
    daemon.check(&["release", "--withdrawals", "blue"], 3, &["nothing is kept in blue"]);
    let declared =
        format!("{DECLARED}[[pin]]\nlogical_switch = \"blue\"\nmac = \"{MAC}\"\nvtep = \"tor-a\"\n");
    check(&daemon.apply(&declared, &[]), 0, &["1 change"]);
    daemon.check(&["unpin", "blue", MAC], 1, &["is pinned at tor-a by the declared configuration"]);
}

#[test]
fn every_query_has_a_table_and_json() {
    let daemon = Daemon::start("both");
    check(&daemon.apply(DECLARED, &[]), 0, &[]);
    for query in ["conflicts", "vteps", "ls", "fdb", "sync", "alarms"] {
        daemon.check(&[query], 0, &[]);
        let output = daemon.command(&[query, "--json"]);
        let rows: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(rows.is_array(), "{query}: {rows}");
    }
    let status: serde_json::Value =
        serde_json::from_slice(&daemon.command(&["status", "--json"]).stdout).unwrap();
    assert_eq!(status["role"], "both");
    daemon.check(&["fdb", "red"], 3, &["logical switch red is none of this controller's"]);
    daemon.check(&["history", "blue", MAC], 0, &[]);
    daemon.check(&["what-if", "--policy", "vtep-time"], 0, &[]);
    daemon.check(&["what-if", "--vtep-down", "tor-z"], 3, &["VTEP tor-z is not declared"]);
}

#[test]
fn a_physical_controller_says_whom_to_ask() {
    let daemon = Daemon::start("physical");
    let elsewhere = ["c1 is a physical controller only; ask a logical controller that it has joined"];
    for words in [
        &["explain", "blue", MAC][..],
        &["conflicts"],
        &["pin", "blue", MAC, "tor-a"],
        &["unpin", "blue", MAC],
    ] {
        daemon.check(words, 1, &elsewhere);
    }
    check(&daemon.apply(DECLARED, &[]), 1, &elsewhere);
    daemon.check(&["vteps"], 0, &["SESSION"]);
    daemon.check(&["status"], 0, &["c1 (physical)", "waits for a logical controller"]);
}

#[test]
fn metrics_and_probes_tell_whether_tables_are_distributed() {
    let daemon = Daemon::start("both");
    assert!(daemon.http("/livez").starts_with("HTTP/1.1 200"));
    let waiting = daemon.http("/readyz");
    assert!(
        waiting.starts_with("HTTP/1.1 503") && waiting.contains("waits for a declared file"),
        "{waiting}"
    );
    let metrics = daemon.http("/metrics");
    for line in [
        "vtepd_controller_ready 0",
        &format!("vtepd_controller_term {}", daemon.term()),
        "vtepd_controller_claims_total 0",
        "vtepd_controller_decisions_total 0",
        "vtepd_controller_moves_total 0",
        "vtepd_controller_store_errors_total 0",
    ] {
        assert!(metrics.contains(line), "{line} is not in:\n{metrics}");
    }
    check(&daemon.apply("version = 1\n", &[]), 0, &[]);
    assert!(daemon.http("/readyz").starts_with("HTTP/1.1 200"));
}

#[test]
fn a_recording_of_the_daemon_is_replayed_to_the_same_table() {
    let daemon = Daemon::start("both");
    check(&daemon.apply(DECLARED, &[]), 0, &[]);
    daemon.check(&["pin", "blue", MAC, "tor-a"], 0, &[]);
    let deadline = Instant::now() + Duration::from_mins(1);
    let live = loop {
        let fdb = daemon.command(&["fdb", "--json"]).stdout;
        if fdb.len() > 10 {
            break fdb;
        }
        assert!(Instant::now() < deadline, "the pin does not come into the table");
        std::thread::yield_now();
    };
    let recording = daemon.directory.path().join("recording");
    let again = Command::new(env!("CARGO_BIN_EXE_vtep-controller"))
        .arg("replay")
        .arg(&recording)
        .arg("--json")
        .output();
    assert_eq!(String::from_utf8(again.unwrap().stdout).unwrap(), String::from_utf8(live).unwrap());
}

#[test]
fn a_second_controller_on_the_same_state_is_refused() {
    let daemon = Daemon::start("both");
    let config = daemon.write(
        "second.toml",
        &format!(
            "[controller]\nstate = \"{}\"\n[listen]\naddress = \"127.0.0.1:{}\"\n",
            daemon.directory.path().join("state").display(),
            port(),
        ),
    );
    let output = Command::new(env!("CARGO_BIN_EXE_vtep-controller"))
        .args(["run", "--config", config.to_str().unwrap()])
        .output()
        .unwrap();
    check(&output, 1, &["is in use by another process; expected one controller for each state directory"]);
}

#[test]
fn a_full_disk_refuses_the_file_and_the_controller_goes_on() {
    let daemon = Daemon::start("both");
    check(&daemon.apply(DECLARED, &[]), 0, &[]);
    let limit = |bytes: &str| {
        let pid = daemon.child.id().to_string();
        let done =
            Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={bytes}:unlimited")]).status();
        assert!(done.unwrap().success());
    };
    limit("0");
    let larger = format!("{DECLARED}# {}\n[[vtep]]\nname = \"tor-b\"\n", "x".repeat(1 << 20));
    check(
        &daemon.apply(&larger, &[]),
        1,
        &["nothing is applied: state store", "has no room; what was there before is kept"],
    );
    daemon.check(&["status"], 0, &["failing: "]);
    // It shows with the next event that is recorded.
    daemon.check_until(&["status"], "recording the recording failed: File too large");
    let vteps = String::from_utf8(daemon.command(&["vteps"]).stdout).unwrap();
    assert!(vteps.contains("tor-a") && !vteps.contains("tor-b"), "{vteps}");
    assert!(daemon.http("/metrics").contains("vtepd_controller_store_failing 1"));
    limit("unlimited");
    check(&daemon.apply(&larger, &[]), 0, &["applied: 1 change"]);
    daemon.check(&["status"], 0, &["works again after "]);
    daemon.check(&["vteps"], 0, &["tor-b"]);
}
