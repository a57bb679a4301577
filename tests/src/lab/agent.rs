//! The agent under test: the real binary, in a machine's namespace, with a folder and a bpffs of its own.

use std::{
    fmt::Write as _,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

use super::Machine;
use crate::{
    bpffs::Bpffs,
    netns::Netns,
    pki::TlsFiles,
    process::{Daemon, binary},
};

/// The default of `metrics.listen`.
const METRICS: u16 = 9475;
const START: Duration = Duration::from_mins(1);

pub struct Agent {
    netns: Netns,
    folder: TempDir,
    bpffs: Bpffs,
    table: &'static str,
    daemon: Option<Daemon>,
}

/// What differs from test to test; the rest of the file is written by [`Agent::new`].
pub struct AgentConfig<'a> {
    pub name: &'a str,
    pub source: AgentSource,
    /// Names of VM ports, each with further lines of its `[[port]]` section.
    pub ports: Vec<(&'a str, &'a str)>,
    /// Further lines of `[dataplane]`.
    pub dataplane: &'a str,
}

pub enum AgentSource {
    /// The text of a table file, which [`Agent::write_table`] replaces.
    Table(String),
    /// The same in JSON.
    Json(String),
    /// A remote, as OVSDB writes it.
    Ovsdb(String),
    /// With what `ssl:` and `pssl:` need.
    OvsdbTls(String, TlsFiles),
    /// A physical controller.
    Controller { address: SocketAddr, tls: Option<TlsFiles> },
    /// Several, of which one serves it, without TLS.
    Controllers(Vec<SocketAddr>),
}

impl Agent {
    /// Not started yet.
    pub fn new(machine: &Machine, config: &AgentConfig<'_>) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("vtepd-agent-").tempdir()?;
        let bpffs = Bpffs::new()?;
        let table = if matches!(config.source, AgentSource::Json(_)) { "table.json" } else { "table.toml" };
        let agent = Self { netns: machine.netns.clone(), folder, bpffs, table, daemon: None };
        if let AgentSource::Table(table) | AgentSource::Json(table) = &config.source {
            agent.write_table(table)?;
        }
        fs::write(agent.config_path(), agent.text(machine, config)?)?;
        Ok(agent)
    }

    /// Until it is ready.
    pub fn started(machine: &Machine, config: &AgentConfig<'_>) -> Result<Self> {
        let mut agent = Self::new(machine, config)?;
        agent.start()?;
        Ok(agent)
    }

    pub fn start(&mut self) -> Result<()> {
        let mut daemon = Daemon::spawn("vtep-agent", &mut self.run()?)?;
        let socket = self.socket();
        daemon.wait_for("the agent's answer", START, || ask(&socket, &["status", "--json"]).ok())?;
        self.daemon = Some(daemon);
        Ok(())
    }

    /// The command that starts it, on the machine.
    pub fn run(&self) -> Result<Command> {
        let mut run = self.netns.command(&binary("vtep-agent")?.display().to_string());
        run.arg("run").arg("--config").arg(self.config_path());
        Ok(run)
    }

    /// At once, as a careful writer does.
    pub fn write_table(&self, table: &str) -> Result<()> {
        let beside = self.folder.path().join("table.new");
        fs::write(&beside, table)?;
        Ok(fs::rename(beside, self.table_path())?)
    }

    pub fn table_path(&self) -> PathBuf {
        self.folder.path().join(self.table)
    }

    pub fn daemon(&mut self) -> Result<&mut Daemon> {
        self.daemon.as_mut().context("the agent is not running")
    }

    /// A subcommand against the running daemon, whatever its exit code.
    pub fn command(&self, words: &[&str]) -> Result<Output> {
        ask_raw(&self.socket(), words)
    }

    /// A subcommand with `--json` that must succeed.
    pub fn json(&self, words: &[&str]) -> Result<Value> {
        let mut words = words.to_vec();
        words.push("--json");
        ask(&self.socket(), &words)
    }

    /// The first row of what it prints so.
    pub fn row(&self, words: &[&str]) -> Option<Value> {
        self.json(words).ok()?.as_array()?.first().cloned()
    }

    /// What a scraper gets.
    pub fn metrics(&self) -> Result<String> {
        self.netns.http_get(METRICS, "/metrics").map(|(_, body)| body)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Edits the configuration: for what [`AgentConfig`] does not know.
    pub fn reconfigure(&self, edit: impl FnOnce(String) -> String) -> Result<()> {
        let text = edit(fs::read_to_string(self.config_path())?);
        Ok(fs::write(self.config_path(), text)?)
    }

    pub fn config_path(&self) -> PathBuf {
        self.folder.path().join("agent.toml")
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("agent.sock")
    }

    /// The folder under which maps and links are pinned.
    pub fn pins(&self) -> PathBuf {
        self.bpffs.path().join("vtepd")
    }

    fn text(&self, machine: &Machine, config: &AgentConfig<'_>) -> Result<String> {
        let AgentConfig { name, source, ports, dataplane } = config;
        let (address, uplink) = (machine.address, machine.uplink.name());
        let source = match source {
            AgentSource::Table(_) | AgentSource::Json(_) => {
                format!("kind = \"file\"\npath = \"{}\"", self.table_path().display())
            }
            AgentSource::Ovsdb(remote) => format!("kind = \"ovsdb\"\nremote = \"{remote}\""),
            AgentSource::OvsdbTls(remote, files) => {
                format!("kind = \"ovsdb\"\nremote = \"{remote}\"\n{}", files.lines())
            }
            AgentSource::Controller { address, tls: None } => {
                format!("kind = \"controller\"\naddress = \"http://{address}\"")
            }
            AgentSource::Controllers(addresses) => {
                let addresses: Vec<_> = addresses.iter().map(|address| format!("http://{address}")).collect();
                format!("kind = \"controller\"\naddresses = {addresses:?}\nallow_plaintext = true")
            }
            AgentSource::Controller { address, tls: Some(files) } => {
                format!("kind = \"controller\"\naddress = \"https://{address}\"\n{}", files.lines())
            }
        };
        let (pins, socket) = (self.pins(), self.socket());
        let (pins, socket, state) = (pins.display(), socket.display(), self.folder().display());
        let mut text = format!(
            "[agent]\nname = \"{name}\"\nstate = \"{state}\"\n\n\
             [underlay]\naddress = \"{address}\"\nuplinks = [\"{uplink}\"]\n\n\
             [dataplane]\nbpffs = \"{pins}\"\n{dataplane}\n\n\
             [source]\n{source}\n\n\
             [control]\nsocket = \"{socket}\"\n"
        );
        for (port, lines) in ports {
            write!(text, "\n[[port]]\nname = \"{port}\"\n{lines}\n")?;
        }
        Ok(text)
    }
}

fn ask(socket: &Path, words: &[&str]) -> Result<Value> {
    let output = ask_raw(socket, words)?;
    if !output.status.success() {
        bail!(
            "vtep-agent {words:?} failed ({}): {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    serde_json::from_slice(&output.stdout).with_context(|| format!("vtep-agent {words:?} printed no JSON"))
}

fn ask_raw(socket: &Path, words: &[&str]) -> Result<Output> {
    let mut command = Command::new(binary("vtep-agent")?);
    command.args(words).arg("--socket").arg(socket);
    command.output().with_context(|| format!("{command:?} could not be started"))
}
