//! A real cluster of etcd's own program, in a namespace: each member a process that can be killed, stopped, brought back.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::{deadline::wait_for, netns::Netns, process::Daemon};

const START: Duration = Duration::from_secs(30);

/// Its members listen on 127.0.0.1 of the namespace, for clients at 2379, 2380 and so on.
pub struct Etcd {
    netns: Netns,
    folder: TempDir,
    members: Vec<Option<Daemon>>,
}

impl Etcd {
    /// Until all members are healthy.
    pub fn start(netns: &Netns, members: u16) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("vtepd-etcd-").tempdir()?;
        let mut etcd = Self { netns: netns.clone(), folder, members: Vec::new() };
        etcd.members.resize_with(members.into(), || None);
        // None is healthy before most are there.
        for member in 0..members {
            etcd.spawn(member)?;
        }
        for member in 0..members {
            etcd.wait_healthy(member)?;
        }
        Ok(etcd)
    }

    /// As clients write them.
    pub fn endpoints(&self) -> Vec<String> {
        (0..self.count()).map(|member| format!("http://{}", client(member))).collect()
    }

    /// By SIGKILL; what it wrote stays.
    pub fn kill(&mut self, member: u16) -> Result<()> {
        self.members[usize::from(member)].take().context("that member is not running")?.kill()
    }

    /// One that was killed comes back with what it wrote.
    pub fn restart(&mut self, member: u16) -> Result<()> {
        self.spawn(member)?;
        self.wait_healthy(member)
    }

    pub fn freeze(&self, member: u16) -> Result<()> {
        self.signal(member, Signal::SIGSTOP)
    }

    pub fn thaw(&self, member: u16) -> Result<()> {
        self.signal(member, Signal::SIGCONT)
    }

    /// Which member leads, by the metrics of all.
    pub fn leader(&self) -> Result<u16> {
        wait_for("a leader of etcd", START, || {
            (0..self.count()).find(|&member| {
                self.members[usize::from(member)].is_some()
                    && self
                        .http(member, "/metrics")
                        .is_ok_and(|text| text.contains("etcd_server_is_leader 1"))
            })
        })
    }

    fn count(&self) -> u16 {
        u16::try_from(self.members.len()).unwrap_or(u16::MAX)
    }

    fn signal(&self, member: u16, signal: Signal) -> Result<()> {
        self.members[usize::from(member)].as_ref().context("that member is not running")?.signal(signal)
    }

    fn spawn(&mut self, member: u16) -> Result<()> {
        let (client, peer) = (format!("http://{}", client(member)), peer(member));
        let everyone: Vec<String> =
            (0..self.count()).map(|member| format!("{}={}", name(member), self::peer(member))).collect();
        let mut command = self.netns.command("etcd");
        command
            .arg("--name")
            .arg(name(member))
            .arg("--data-dir")
            .arg(self.data(member))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &everyone.join(","), "--initial-cluster-state", "new"])
            .args(["--logger", "zap"]);
        self.members[usize::from(member)] = Some(Daemon::spawn(&name(member), &mut command)?);
        Ok(())
    }

    fn wait_healthy(&self, member: u16) -> Result<()> {
        wait_for(&format!("the health of {}", name(member)), START, || {
            let health = self.http(member, "/health").ok()?;
            let health: Value = serde_json::from_str(health.lines().last()?).ok()?;
            (health["health"] == "true").then_some(())
        })
    }

    fn http(&self, member: u16, path: &str) -> Result<String> {
        self.netns.within(|| -> Result<String> {
            let mut stream = TcpStream::connect(client(member))?;
            stream.set_read_timeout(Some(Duration::from_secs(2)))?;
            write!(stream, "GET {path} HTTP/1.0\r\nHost: etcd\r\n\r\n")?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        })?
    }

    fn data(&self, member: u16) -> PathBuf {
        self.folder.path().join(name(member))
    }
}

fn name(member: u16) -> String {
    format!("etcd{member}")
}

fn client(member: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 2379 + member))
}

fn peer(member: u16) -> String {
    format!("http://127.0.0.1:{}", 12379 + member)
}
