//! A real cluster of etcd's own program, in one namespace or in one for each member: a member is a process that can be
//! killed, stopped, brought back.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::{deadline::wait_for, netns::Netns, process::Daemon};

const START: Duration = Duration::from_mins(1);

pub struct Etcd {
    folder: TempDir,
    places: Vec<Place>,
    members: Vec<Option<Daemon>>,
}

/// Where a member is.
struct Place {
    netns: Netns,
    client: SocketAddr,
    peer: SocketAddr,
}

impl Etcd {
    /// All of them in one namespace, on its loopback. Until all members are healthy.
    pub fn start(netns: &Netns, members: u16) -> Result<Self> {
        let place = |member| Place::at(netns.clone(), Ipv4Addr::LOCALHOST.into(), member);
        Self::start_at((0..members).map(place).collect())
    }

    /// Each in a namespace of its own, at an address by which it reaches the others.
    pub fn start_apart(members: &[(Netns, Ipv4Addr)]) -> Result<Self> {
        let places = members.iter().map(|(netns, address)| Place::at(netns.clone(), (*address).into(), 0));
        Self::start_at(places.collect())
    }

    fn start_at(places: Vec<Place>) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("vtepd-etcd-").tempdir()?;
        let mut etcd = Self { folder, places, members: Vec::new() };
        etcd.members.resize_with(etcd.places.len(), || None);
        // None is healthy before most are there.
        for member in 0..etcd.count() {
            etcd.spawn(member)?;
        }
        for member in 0..etcd.count() {
            etcd.wait_healthy(member)?;
        }
        Ok(etcd)
    }

    /// As clients write them.
    pub fn endpoints(&self) -> Vec<String> {
        self.places.iter().map(|place| format!("http://{}", place.client)).collect()
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

    /// A copy of what all members wrote, of a moment at which none of them runs; they come back.
    pub fn back_up(&mut self) -> Result<TempDir> {
        let backup = tempfile::Builder::new().prefix("vtepd-etcd-backup-").tempdir()?;
        self.stopped(|folder| copy(folder, backup.path()))?;
        Ok(backup)
    }

    /// In place of what all members wrote since.
    pub fn put_back(&mut self, backup: &TempDir) -> Result<()> {
        self.stopped(|folder| {
            for entry in fs::read_dir(folder)? {
                fs::remove_dir_all(entry?.path())?;
            }
            copy(backup.path(), folder)
        })
    }

    fn stopped(&mut self, run: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        for member in 0..self.count() {
            self.kill(member)?;
        }
        run(self.folder.path())?;
        for member in 0..self.count() {
            self.spawn(member)?;
        }
        (0..self.count()).try_for_each(|member| self.wait_healthy(member))
    }

    pub fn freeze(&self, member: u16) -> Result<()> {
        self.signal(member, Signal::SIGSTOP)
    }

    pub fn thaw(&self, member: u16) -> Result<()> {
        self.signal(member, Signal::SIGCONT)
    }

    /// Which member leads, by the metrics of all.
    pub fn leader(&self) -> Result<u16> {
        self.leader_among(|_| true)
    }

    /// Which of the other ones does.
    pub fn leader_beside(&self, member: u16) -> Result<u16> {
        self.leader_among(|other| other != member)
    }

    fn leader_among(&self, asked: impl Fn(u16) -> bool) -> Result<u16> {
        let leads = |text: String| text.contains("etcd_server_is_leader 1");
        wait_for("a leader of etcd", START, || {
            (0..self.count()).filter(|member| asked(*member)).find(|&member| {
                let runs = self.members[usize::from(member)].is_some();
                runs && self.http(member, "/metrics").is_ok_and(leads)
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
        let place = &self.places[usize::from(member)];
        let (client, peer) = (format!("http://{}", place.client), format!("http://{}", place.peer));
        let everyone = self.places.iter().zip(0..);
        let everyone: Vec<String> =
            everyone.map(|(place, member)| format!("{}=http://{}", name(member), place.peer)).collect();
        let mut command = place.netns.command("etcd");
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
        let place = &self.places[usize::from(member)];
        place.netns.within(|| -> Result<String> {
            let mut stream = TcpStream::connect(place.client)?;
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

fn copy(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir(&target)?;
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

impl Place {
    /// Several of one address by the `nth` port.
    fn at(netns: Netns, address: IpAddr, nth: u16) -> Self {
        let at = |port| SocketAddr::new(address, port + nth);
        Self { netns, client: at(2379), peer: at(12379) }
    }
}
