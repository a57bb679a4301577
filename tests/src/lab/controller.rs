//! A controller under test: the real binary, in a machine's namespace, with a folder of its own.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    net::SocketAddr,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    deadline::wait_for,
    netns::{Netns, output},
    pki::TlsFiles,
    process::{Daemon, binary},
};

const START: Duration = Duration::from_mins(1);

pub struct Controller {
    netns: Netns,
    folder: TempDir,
    metrics: SocketAddr,
    daemon: Option<Daemon>,
}

/// What differs from test to test; the rest of the file is written by [`Controller::new`].
pub struct ControllerConfig<'a> {
    pub name: &'a str,
    pub role: ControllerRole,
    /// Where agents attach and physical controllers join.
    pub listen: SocketAddr,
    pub tls: Option<&'a TlsFiles>,
    /// Logical controllers of other processes, by name and address.
    pub logical: &'a [(&'a str, SocketAddr)],
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ControllerRole {
    Both,
    Logical,
    Physical,
}

impl Controller {
    /// Not started yet.
    pub fn new(netns: &Netns, config: &ControllerConfig<'_>) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("vtepd-controller-").tempdir()?;
        // Controllers share a namespace.
        let metrics = SocketAddr::new([127, 0, 0, 1].into(), config.listen.port() + 1000);
        let controller = Self { netns: netns.clone(), folder, metrics, daemon: None };
        fs::write(controller.config_path(), controller.text(config)?)?;
        Ok(controller)
    }

    /// As a member of a cluster, in which it and the likes of it are elected.
    pub fn use_etcd(&self, endpoints: &[String]) -> Result<()> {
        let mut text = fs::read_to_string(self.config_path())?;
        write!(text, "\n[store]\nkind = \"etcd\"\nendpoints = {endpoints:?}\n")?;
        Ok(fs::write(self.config_path(), text)?)
    }

    /// Until it answers.
    pub fn started(netns: &Netns, config: &ControllerConfig<'_>) -> Result<Self> {
        let mut controller = Self::new(netns, config)?;
        controller.start()?;
        Ok(controller)
    }

    /// Until it has its term: with etcd, until it is a member.
    pub fn start(&mut self) -> Result<()> {
        self.launch()?;
        wait_for("the controller's term", START, || {
            let status = self.json(&["status"]).ok()?;
            (status["term"].as_u64()? > 0).then_some(())
        })
    }

    /// Until it answers, whatever it waits for.
    pub fn launch(&mut self) -> Result<()> {
        let mut run = self.netns.command(&binary("vtep-controller")?.display().to_string());
        run.arg("run").arg("--config").arg(self.config_path());
        let mut daemon = Daemon::spawn("vtep-controller", &mut run)?;
        let socket = self.socket();
        daemon.wait_for("the controller's socket", START, || UnixStream::connect(&socket).ok())?;
        self.daemon = Some(daemon);
        Ok(())
    }

    pub fn daemon(&mut self) -> Result<&mut Daemon> {
        self.daemon.as_mut().context("the controller is not running")
    }

    /// By SIGKILL; its state stays.
    pub fn kill(&mut self) -> Result<()> {
        self.daemon.take().context("the controller is not running")?.kill()
    }

    /// Declares the deployment.
    pub fn apply(&self, declared: &str) -> Result<()> {
        let path = self.folder().join("declared.toml");
        fs::write(&path, declared)?;
        let done = self.command(&["apply", "-f", &path.display().to_string()])?;
        if !done.status.success() {
            bail!("the file was not applied: {}", String::from_utf8_lossy(&done.stderr).trim());
        }
        Ok(())
    }

    /// A subcommand against the running daemon, whatever its exit code.
    pub fn command(&self, words: &[&str]) -> Result<Output> {
        let mut command = Command::new(binary("vtep-controller")?);
        command.args(words).arg("--socket").arg(self.socket());
        command.output().with_context(|| format!("{command:?} could not be started"))
    }

    /// What a subcommand prints for people; it must succeed.
    pub fn print(&self, words: &[&str]) -> Result<String> {
        let output = self.command(words)?;
        if !output.status.success() {
            bail!(
                "vtep-controller {words:?} failed ({}): {}",
                output.status,
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// A subcommand with `--json` that must succeed.
    pub fn json(&self, words: &[&str]) -> Result<Value> {
        let printed = self.print(&[words, &["--json"]].concat())?;
        serde_json::from_str(&printed).with_context(|| format!("vtep-controller {words:?} printed no JSON"))
    }

    /// Where each VTEP is, once all are with the controllers to which they are assigned, as this one sees it.
    pub fn homes(&self) -> Option<BTreeMap<String, String>> {
        let rows = self.json(&["shards", "--vteps"]).ok()?;
        let home = |row: &Value| {
            let holder = row["holder"].as_str().filter(|_| row["holder"] == row["assigned"])?;
            Some((row["vtep"].as_str()?.to_owned(), holder.to_owned()))
        };
        rows.as_array()?.iter().map(home).collect()
    }

    /// What a scraper gets.
    pub fn metrics(&self) -> Result<String> {
        self.netns.http_get(self.metrics.port(), "/metrics").map(|(_, body)| body)
    }

    /// What a load balancer gets.
    pub fn readyz(&self) -> Result<(String, String)> {
        self.netns.http_get(self.metrics.port(), "/readyz")
    }

    /// The tables that a recording gives, as `fdb --json` prints them. Needs no running daemon.
    pub fn replay(&self, recording: &str) -> Result<String> {
        output(Command::new(binary("vtep-controller")?).args(["replay", recording, "--json"]))
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn config_path(&self) -> PathBuf {
        self.folder().join("controller.toml")
    }

    pub fn socket(&self) -> PathBuf {
        self.folder().join("controller.sock")
    }

    fn text(&self, config: &ControllerConfig<'_>) -> Result<String> {
        let ControllerConfig { name, role, listen, tls, logical } = config;
        let (state, socket) = (self.folder().join("state"), self.socket());
        let metrics = self.metrics;
        let mut text = format!(
            "[controller]\nname = \"{name}\"\nrole = \"{}\"\nstate = \"{}\"\n\n[listen]\naddress = \"{listen}\"\n\n\
             [control]\nsocket = \"{}\"\n\n[metrics]\nlisten = \"{metrics}\"\n",
            role.as_str(),
            state.display(),
            socket.display()
        );
        if let Some(files) = tls {
            write!(text, "\n[tls]\n{}\n", files.lines())?;
        }
        for (name, address) in *logical {
            write!(text, "\n[[logical]]\nname = \"{name}\"\naddress = \"{address}\"\n")?;
        }
        Ok(text)
    }
}

impl ControllerRole {
    fn as_str(self) -> &'static str {
        match self {
            Self::Both => "both",
            Self::Logical => "logical",
            Self::Physical => "physical",
        }
    }
}
