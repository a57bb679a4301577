//! The daemon itself, with the real kernel: what it refuses, what it keeps, what it leaves. As root.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;
use vtep_tests::bpffs::Bpffs;
use vtep_tests::link::Link;
use vtep_tests::netns::Netns;
use vtep_tests::process::Daemon;

const PATIENCE: Duration = Duration::from_secs(20);
const BINARY: &str = env!("CARGO_BIN_EXE_vtep-agent");

const TABLE: &str = r#"
version = 1
vtep = [{ name = "a", address = "192.0.2.11" }, { name = "b", address = "192.0.2.12" }]
logical_switch = [{ name = "blue", vni = 5001, flood = ["a"] }]
mac = [
    { logical_switch = "blue", mac = "02:00:00:00:00:01", master = "a", slave = "b" },
    { logical_switch = "blue", mac = "02:00:00:00:00:02", master = "b" },
]
binding = [{ port = "tap0", logical_switch = "blue" }]
"#;

/// A host with an uplink and a port, and an agent that may run there.
struct Host {
    netns: Netns,
    _peer: Netns,
    bpffs: Bpffs,
    folder: TempDir,
}

impl Host {
    fn new(dataplane: &str) -> Self {
        let (netns, peer) = (Netns::new("host").unwrap(), Netns::new("peer").unwrap());
        let (uplink, _) = Link::veth(&netns, "uplink", &peer, "uplink").unwrap();
        uplink.add_address("192.0.2.1/24").unwrap();
        Link::veth(&netns, "tap0", &peer, "vm").unwrap();
        let host =
            Self { netns, _peer: peer, bpffs: Bpffs::new().unwrap(), folder: tempfile::tempdir().unwrap() };
        host.write("table.toml", TABLE);
        host.configure("agent.toml", &host.pins(), dataplane);
        host
    }

    fn configure(&self, name: &str, pins: &Path, dataplane: &str) {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let text = format!(
            "[agent]\nname = \"host-1\"\n[underlay]\naddress = \"192.0.2.1\"\nuplinks = [\"uplink\"]\n\
             [dataplane]\nbpffs = \"{}\"\n{dataplane}\n[source]\nkind = \"file\"\npath = \"{}\"\n\
             [[port]]\nname = \"tap0\"\nmacs = [\"02:00:00:00:00:aa\"]\n[control]\nsocket = \"{}\"\n",
            pins.display(),
            path("table.toml"),
            path("agent.sock"),
        );
        self.write(name, &text);
    }

    /// As an editor does: beside it, then renamed over it.
    fn write(&self, name: &str, text: &str) {
        let beside = self.folder.path().join("beside");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(&beside, self.folder.path().join(name)).unwrap();
    }

    fn pins(&self) -> PathBuf {
        self.bpffs.path().join("vtepd")
    }

    fn command(&self, config: &str) -> Command {
        let mut command = self.netns.command(BINARY);
        command.arg("run").arg("--config").arg(self.folder.path().join(config));
        command
    }

    /// Ready: its first table is installed.
    fn start(&self) -> Daemon {
        let mut daemon = Daemon::spawn("vtep-agent", &mut self.command("agent.toml")).unwrap();
        daemon.wait_for("readiness", PATIENCE, || self.status()?["ready"].as_bool()?.then_some(())).unwrap();
        daemon
    }

    fn ask(&self, words: &[&str]) -> Output {
        let socket = self.folder.path().join("agent.sock");
        Command::new(BINARY).args(words).arg("--json").arg("--socket").arg(socket).output().unwrap()
    }

    fn json(&self, words: &[&str]) -> Option<Value> {
        let output = self.ask(words);
        output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
    }

    fn status(&self) -> Option<Value> {
        self.json(&["status"])
    }

    fn macs(&self) -> u64 {
        self.json(&["fdb", "count"]).unwrap()["macs"].as_u64().unwrap()
    }

    /// It must not start, and say why within a second.
    #[track_caller]
    fn check_refused(&self, mut command: Command, expected: &[&str]) {
        let start = Instant::now();
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
        let text = String::from_utf8_lossy(&output.stderr);
        expected.iter().for_each(|part| assert!(text.contains(part), "{part:?} is not in: {text}"));
    }
}

#[test]
fn a_second_agent_is_refused_and_touches_nothing() {
    let host = Host::new("");
    let daemon = host.start();
    let before = host.status().unwrap()["epoch"].clone();
    host.check_refused(host.command("agent.toml"), &["another agent", &daemon.pid().to_string()]);
    assert_eq!(host.status().unwrap()["epoch"], before);
    assert_eq!(host.macs(), 3);
}

#[test]
fn no_bpf_filesystem_and_no_capabilities_are_named() {
    let host = Host::new("");
    let elsewhere = host.folder.path().join("pins");
    host.configure("elsewhere.toml", &elsewhere, "");
    host.check_refused(host.command("elsewhere.toml"), &["is on no BPF filesystem", "mount -t bpf"]);

    let mut nobody = host.netns.command("setpriv");
    nobody.args(["--inh-caps=-all", "--bounding-set=-bpf", BINARY, "run", "--config"]);
    nobody.arg(host.folder.path().join("agent.toml"));
    host.check_refused(nobody, &["CAP_BPF is missing", "run as root"]);
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
