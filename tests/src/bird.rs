//! BIRD, as a peer that speaks BFD and was written by others.

use std::fs;

use anyhow::Result;
use tempfile::TempDir;

use crate::{lab::Machine, netns::output, process::Daemon};

pub struct Bird {
    folder: TempDir,
    daemon: Daemon,
}

impl Bird {
    /// Until it answers. `bfd`: what stands in `protocol bfd`.
    pub fn start(machine: &Machine, bfd: &str) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("vtepd-bird-").tempdir()?;
        let (config, socket) = (folder.path().join("bird.conf"), folder.path().join("bird.ctl"));
        let id = machine.address;
        fs::write(&config, format!("router id {id};\nprotocol device {{}}\nprotocol bfd {{\n{bfd}\n}}\n"))?;
        let mut command = machine.netns.command("bird");
        command.arg("-f").arg("-c").arg(&config).arg("-s").arg(&socket);
        command.arg("-P").arg(folder.path().join("bird.pid"));
        let mut daemon = Daemon::spawn("bird", &mut command)?;
        let within = std::time::Duration::from_mins(1);
        daemon.wait_for("BIRD's socket", within, || socket.exists().then_some(()))?;
        Ok(Self { folder, daemon })
    }

    /// Its sessions, as it prints them.
    pub fn sessions(&self) -> Result<String> {
        let mut command = std::process::Command::new("birdc");
        output(command.arg("-s").arg(self.folder.path().join("bird.ctl")).args(["show", "bfd", "sessions"]))
    }

    pub fn daemon(&mut self) -> &mut Daemon {
        &mut self.daemon
    }
}
