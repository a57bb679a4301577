//! A real ovsdb-server with the `hardware_vtep` schema, and `vtep-ctl` that writes to it.

use std::{
    ffi::OsStr,
    fs,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Result, bail};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    netns::{Netns, output},
    pki::TlsFiles,
    process::{Daemon, binary},
};

/// As the distribution ships it.
pub const SCHEMA: &str = "/usr/share/openvswitch/vtep.ovsschema";
const START: Duration = Duration::from_mins(1);

/// Its database outlives a [`Self::stop`].
pub struct OvsdbServer {
    folder: TempDir,
    netns: Option<Netns>,
    remotes: Vec<String>,
    tls: Option<TlsFiles>,
    schema: Schema,
    daemon: Option<Daemon>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Schema {
    /// As the distribution ships it.
    Stock,
    /// With our columns, as `vtep-agent schema extend` makes it.
    Extended,
}

impl OvsdbServer {
    /// Reached over its unix socket only.
    pub fn start() -> Result<Self> {
        Self::start_with_schema(Schema::Stock)
    }

    /// The same with a schema.
    pub fn start_with_schema(schema: Schema) -> Result<Self> {
        Self::start_with(None, &[], None, schema)
    }

    /// Inside a namespace, with further remotes: `ptcp:6640:10.0.0.1`, `tcp:…`.
    pub fn start_in(netns: &Netns, remotes: &[&str]) -> Result<Self> {
        Self::start_with(Some(netns.clone()), remotes, None, Schema::Stock)
    }

    /// With remotes of kind `pssl:` or `ssl:`.
    pub fn start_secure_in(netns: &Netns, remotes: &[&str], tls: TlsFiles) -> Result<Self> {
        Self::start_with(Some(netns.clone()), remotes, Some(tls), Schema::Stock)
    }

    fn start_with(
        netns: Option<Netns>,
        remotes: &[&str],
        tls: Option<TlsFiles>,
        schema: Schema,
    ) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("vtepd-ovsdb-").tempdir()?;
        let remotes = remotes.iter().map(|&remote| remote.to_owned()).collect();
        let mut server = Self { folder, netns, remotes, tls, schema, daemon: None };
        server.create()?;
        server.restart()?;
        Ok(server)
    }

    fn create(&self) -> Result<()> {
        let schema = match self.schema {
            Schema::Stock => PathBuf::from(SCHEMA),
            Schema::Extended => self.extended()?,
        };
        output(Command::new("ovsdb-tool").arg("create").arg(self.database()).arg(schema)).map(drop)
    }

    fn extended(&self) -> Result<PathBuf> {
        let path = self.folder.path().join("extended.ovsschema");
        let extended =
            output(Command::new(binary("vtep-agent")?).args(["schema", "extend", "--from", SCHEMA]))?;
        fs::write(&path, extended)?;
        Ok(path)
    }

    /// Starts it on a new database: whoever ran it lost its disk.
    pub fn restart_empty(&mut self) -> Result<()> {
        self.stop()?;
        fs::remove_file(self.database())?;
        self.create()?;
        self.restart()
    }

    /// Starts it on the same database; a running one is stopped before.
    pub fn restart(&mut self) -> Result<()> {
        self.stop()?;
        let mut command = match &self.netns {
            Some(netns) => netns.command("ovsdb-server"),
            None => Command::new("ovsdb-server"),
        };
        command
            .arg(self.database())
            .arg(format!("--remote=punix:{}", self.socket().display()))
            .args(self.remotes.iter().map(|remote| format!("--remote={remote}")))
            .arg(format!("--unixctl={}", self.control().display()))
            .arg("--verbose=console:info");
        if let Some(TlsFiles { private_key, certificate, ca_certificate }) = &self.tls {
            command
                .arg(format!("--private-key={}", private_key.display()))
                .arg(format!("--certificate={}", certificate.display()))
                .arg(format!("--ca-cert={}", ca_certificate.display()));
        }
        let mut daemon = Daemon::spawn("ovsdb-server", &mut command)?;
        let socket = self.socket();
        daemon.wait_for("its socket", START, || UnixStream::connect(&socket).ok())?;
        self.daemon = Some(daemon);
        Ok(())
    }

    /// Its clients lose their connection; the database stays.
    pub fn stop(&mut self) -> Result<()> {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.terminate(START)?;
        }
        Ok(())
    }

    /// By SIGKILL: what it was about to answer is never answered.
    pub fn kill(&mut self) -> Result<()> {
        self.daemon.take().map_or(Ok(()), |mut daemon| daemon.kill())
    }

    /// Stops and continues it without closing a connection: a silent peer.
    pub fn freeze(&self) -> Result<()> {
        self.daemon.iter().try_for_each(|daemon| daemon.signal(Signal::SIGSTOP))
    }

    pub fn thaw(&self) -> Result<()> {
        self.daemon.iter().try_for_each(|daemon| daemon.signal(Signal::SIGCONT))
    }

    /// As OVSDB clients write it: `unix:PATH`.
    pub fn remote(&self) -> String {
        format!("unix:{}", self.socket().display())
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("db.sock")
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// `vtep-ctl`, with the arguments in a line of words.
    pub fn vtep_ctl(&self, line: &str) -> Result<String> {
        self.vtep_ctl_words(line.split_whitespace())
    }

    /// Returns what it printed, the last line end removed.
    pub fn vtep_ctl_words(&self, words: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Result<String> {
        let mut vtep_ctl = Command::new("vtep-ctl");
        vtep_ctl.arg(format!("--db={}", self.remote())).arg("--timeout=10").args(words);
        Ok(output(&mut vtep_ctl)?.trim_end().to_owned())
    }

    /// One RFC 7047 transaction on `hardware_vtep`, given as its operations in JSON; returns the results in JSON.
    pub fn transact(&self, operations: &Value) -> Result<Value> {
        let mut transaction = vec![Value::from("hardware_vtep")];
        transaction.extend(operations.as_array().cloned().unwrap_or_default());
        let mut client = Command::new("ovsdb-client");
        client.args(["--timeout=10", "transact", &self.remote(), &serde_json::to_string(&transaction)?]);
        Ok(serde_json::from_str(&output(&mut client)?)?)
    }

    /// Rows with all columns, those that `vtep-ctl` does not know and `_version` too. `wanted`: conditions of RFC 7047
    /// §5.1.
    pub fn select(&self, table: &str, wanted: &Value) -> Result<Vec<Value>> {
        let select = json!([{"op": "select", "table": table, "where": wanted}]);
        let mut results = self.transact(&select)?;
        let Value::Array(rows) = results[0]["rows"].take() else {
            bail!("{table} has no rows: {results}");
        };
        Ok(rows)
    }

    /// `ovs-appctl`: `ovsdb-server/add-remote ptcp:…`, `ovsdb-server/compact`, ...
    pub fn appctl(&self, line: &str) -> Result<String> {
        let target = format!("--target={}", self.control().display());
        output(Command::new("ovs-appctl").arg(target).args(line.split_whitespace()))
    }

    fn database(&self) -> PathBuf {
        self.folder.path().join("vtep.db")
    }

    fn control(&self) -> PathBuf {
        self.folder.path().join("ctl")
    }
}
