//! A host with an uplink and a port, and an agent that may run there.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use vtep_tests::bpffs::Bpffs;
use vtep_tests::link::Link;
use vtep_tests::netns::Netns;
use vtep_tests::process::Daemon;

pub(crate) const PATIENCE: Duration = Duration::from_mins(1);
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_vtep-agent");

pub(crate) const TABLE: &str = r#"
version = 1
vtep = [{ name = "a", address = "192.0.2.11" }, { name = "b", address = "192.0.2.12" }]
logical_switch = [{ name = "blue", vni = 5001, flood = ["a"] }]
mac = [
    { logical_switch = "blue", mac = "02:00:00:00:00:01", master = "a", slave = "b" },
    { logical_switch = "blue", mac = "02:00:00:00:00:02", master = "b" },
]
binding = [{ port = "tap0", logical_switch = "blue" }]
"#;

pub(crate) struct Host {
    pub(crate) netns: Netns,
    pub(crate) peer: Netns,
    bpffs: Bpffs,
    pub(crate) folder: TempDir,
}

impl Host {
    /// With a table file that holds `TABLE`.
    pub(crate) fn new(dataplane: &str) -> Self {
        let host = Self::bare();
        host.write("table.toml", TABLE);
        host.configure("agent.toml", &host.pins(), &host.file_source(), dataplane);
        host
    }

    /// Without a configuration.
    pub(crate) fn bare() -> Self {
        let (netns, peer) = (Netns::new("host").unwrap(), Netns::new("peer").unwrap());
        let (uplink, _) = Link::veth(&netns, "uplink", &peer, "uplink").unwrap();
        uplink.add_address("192.0.2.1/24").unwrap();
        Link::veth(&netns, "tap0", &peer, "vm").unwrap();
        Self { netns, peer, bpffs: Bpffs::new().unwrap(), folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn configure(&self, name: &str, pins: &Path, source: &str, dataplane: &str) {
        let (pins, socket) = (pins.display(), self.folder.path().join("agent.sock"));
        let state = self.folder.path().join("state");
        let text = format!(
            "[agent]\nname = \"host-1\"\nstate = \"{}\"\n[underlay]\naddress = \"192.0.2.1\"\nuplinks = [\"uplink\"]\n\
             [dataplane]\nbpffs = \"{pins}\"\n{dataplane}\n[source]\n{source}\n\
             [[port]]\nname = \"tap0\"\nmacs = [\"02:00:00:00:00:aa\"]\n[control]\nsocket = \"{}\"\n",
            state.display(),
            socket.display(),
        );
        self.write(name, &text);
    }

    pub(crate) fn file_source(&self) -> String {
        format!("kind = \"file\"\npath = \"{}\"", self.folder.path().join("table.toml").display())
    }

    /// As an editor does: beside it, then renamed over it.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let beside = self.folder.path().join("beside");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(&beside, self.folder.path().join(name)).unwrap();
    }

    pub(crate) fn pins(&self) -> PathBuf {
        self.bpffs.path().join("vtepd")
    }

    pub(crate) fn command(&self, config: &str) -> Command {
        let mut command = self.netns.command(BINARY);
        command.arg("run").arg("--config").arg(self.folder.path().join(config));
        command
    }

    /// Ready: its first table is installed.
    pub(crate) fn start(&self) -> Daemon {
        let mut daemon = Daemon::spawn("vtep-agent", &mut self.command("agent.toml")).unwrap();
        daemon.wait_for("readiness", PATIENCE, || self.status()?["ready"].as_bool()?.then_some(())).unwrap();
        daemon
    }

    pub(crate) fn ask(&self, words: &[&str]) -> Output {
        let socket = self.folder.path().join("agent.sock");
        Command::new(BINARY).args(words).arg("--json").arg("--socket").arg(socket).output().unwrap()
    }

    /// As an operator reads it.
    pub(crate) fn print(&self, words: &[&str]) -> String {
        let socket = self.folder.path().join("agent.sock");
        let output = Command::new(BINARY).args(words).arg("--socket").arg(socket).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn json(&self, words: &[&str]) -> Option<Value> {
        let output = self.ask(words);
        output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
    }

    pub(crate) fn status(&self) -> Option<Value> {
        self.json(&["status"])
    }

    pub(crate) fn macs(&self) -> u64 {
        self.json(&["fdb", "count"]).unwrap()["macs"].as_u64().unwrap()
    }
}

/// It must not start, and say why before it loads anything.
#[track_caller]
pub(crate) fn check_refused(mut command: Command, expected: &[&str]) {
    let start = Instant::now();
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    let text = String::from_utf8_lossy(&output.stderr);
    for part in expected {
        assert!(text.contains(part), "{part:?} is not in: {text}");
    }
}
