//! An `ovsdb-server` of the test's own: database, sockets and log in a temporary directory, ended with the fixture.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) struct Server {
    dir: TempDir,
    child: Option<Child>,
    options: Vec<String>,
}

impl Server {
    /// With a Unix socket and a TCP port of 127.0.0.1.
    pub(crate) fn start(schema: &Path) -> Self {
        Self::start_with(schema, &["--remote=ptcp:0:127.0.0.1"])
    }

    /// `DIR` in an option stands for the fixture's directory.
    pub(crate) fn start_with(schema: &Path, options: &[&str]) -> Self {
        let server = Self::create(options);
        run("ovsdb-tool", &["create", &server.path("db"), &schema.display().to_string()]);
        server.started()
    }

    /// A cluster of one, which keeps a history of transactions.
    pub(crate) fn start_clustered(schema: &Path) -> Self {
        let server = Self::create(&["--remote=ptcp:0:127.0.0.1"]);
        let local = format!("unix:{}", server.path("raft.sock"));
        run("ovsdb-tool", &["create-cluster", &server.path("db"), &schema.display().to_string(), &local]);
        server.started()
    }

    fn create(options: &[&str]) -> Self {
        let dir = TempDir::with_prefix("ovsdb").unwrap();
        let options =
            options.iter().map(|option| option.replace("DIR", &dir.path().display().to_string())).collect();
        Self { dir, child: None, options }
    }

    fn started(mut self) -> Self {
        self.restart();
        self
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    pub(crate) fn unix(&self) -> String {
        format!("unix:{}", self.path("sock"))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// The port that the server chose for a remote of this kind, such as `ptcp`.
    pub(crate) fn port(&self) -> u16 {
        let mut port = None;
        wait_for("a listening port in the log", || {
            let log = fs::read_to_string(self.path("log")).unwrap_or_default();
            port = log.lines().rev().find_map(|line| line.split_once("listening on port ")?.1.parse().ok());
            port.is_some()
        });
        port.unwrap()
    }

    pub(crate) fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts the server, again if it ran before, on the database as it is.
    pub(crate) fn restart(&mut self) {
        self.stop();
        let _ = fs::remove_file(self.path("log"));
        let child = Command::new("ovsdb-server")
            .arg(format!("--remote=punix:{}", self.path("sock")))
            .arg(format!("--unixctl={}", self.path("ctl")))
            .arg(format!("--log-file={}", self.path("log")))
            .args(["--no-chdir", "-vconsole:off", "-vfile:info"])
            .args(&self.options)
            .arg(self.path("db"))
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("openvswitch-common is installed");
        self.child = Some(child);
        let sock = PathBuf::from(self.path("sock"));
        wait_for("the server's socket", || std::os::unix::net::UnixStream::connect(&sock).is_ok());
    }

    pub(crate) fn transact(&self, operations: &str) -> String {
        run("ovsdb-client", &["transact", &self.unix(), operations])
    }

    /// Runs `vtep-ctl` on this database.
    pub(crate) fn ctl(&self, arguments: &[&str]) -> String {
        let db = format!("--db={}", self.unix());
        run("vtep-ctl", &[&[db.as_str()], arguments].concat())
    }

    pub(crate) fn signal(&self, signal: &str) {
        run("kill", &[signal, &self.pid().to_string()]);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

#[track_caller]
pub(crate) fn run(program: &str, arguments: &[&str]) -> String {
    let output =
        Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

#[track_caller]
pub(crate) fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not come within {DEADLINE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
