//! The agent itself, beside whatever agent the host has.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use vtep_api::control::terminal::Terminal;

use super::lab::lanes;
use super::place::FILES;
use super::{FramesError, spawn_result};
use crate::config::Config;
use crate::control::view::{PortRow, StatsRow, Status, VtepRow};
use crate::control::{Request, client::ClientError};
use crate::daemon::{self, Start};

pub(super) struct Agent {
    socket: PathBuf,
    end: Receiver<anyhow::Result<()>>,
}

/// Loading the programs takes most of it.
const START: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(20);
const STOP: Duration = Duration::from_secs(10);

impl Agent {
    /// On a thread of its own, which is where the calling one is.
    pub(super) fn start(config: Config, runtime: Handle) -> Self {
        let socket = config.control.socket.clone();
        let start = Start { config, path: Path::new(FILES).join("agent.toml"), overrides: Vec::new() };
        let end = spawn_result(move || runtime.block_on(daemon::run(start)));
        Self { socket, end }
    }

    /// Its table is installed, its programs stand, and the kernel knows the ways to the far ends.
    pub(super) fn wait_until_ready(&self) -> Result<(), FramesError> {
        let end = Instant::now() + START;
        loop {
            let waits_for = match self.waits_for() {
                Ok(None) => return Ok(()),
                Ok(Some(waits_for)) => waits_for,
                Err(error) => error.to_string(),
            };
            self.still_runs()?;
            if Instant::now() >= end {
                return Err(FramesError::Agent(format!(
                    "after {} s it waits for {waits_for}",
                    START.as_secs()
                )));
            }
            thread::sleep(PAUSE);
        }
    }

    /// A signal stops it.
    pub(super) fn still_runs(&self) -> Result<(), FramesError> {
        match self.end.try_recv() {
            Err(TryRecvError::Empty) => Ok(()),
            Ok(Err(error)) => Err(FramesError::Agent(format!("{error:#}"))),
            Ok(Ok(())) | Err(TryRecvError::Disconnected) => {
                Err(FramesError::Agent("it was stopped".to_owned()))
            }
        }
    }

    fn waits_for(&self) -> Result<Option<String>, ClientError> {
        let terminal = self.terminal();
        let status: Status = terminal.row(&Request::Status)?;
        if !status.ready {
            return Ok(Some(status.waits_for.join(", ")));
        }
        let ports = self.ports()?;
        let missing = lanes().find(|lane| !ports.iter().any(|row| row.port == lane.port() && row.attached));
        if let Some(lane) = missing {
            return Ok(Some(format!("port {}", lane.port())));
        }
        let vteps: Vec<VtepRow> = terminal.rows(&Request::VtepShow { vtep: None })?;
        let unresolved = vteps.iter().find(|vtep| vtep.next_hop.is_none());
        Ok(unresolved.map(|vtep| format!("the next hop of {}", vtep.address)))
    }

    pub(super) fn ports(&self) -> Result<Vec<PortRow>, ClientError> {
        self.terminal().rows(&Request::PortShow { port: None })
    }

    pub(super) fn drops(&self) -> Vec<StatsRow> {
        self.terminal().rows(&Request::Stats { vni: None, drops: true }).unwrap_or_default()
    }

    /// Whatever it left goes with the namespaces.
    pub(super) fn stop(self) {
        if self.terminal().rows::<serde_json::Value>(&Request::Detach).is_ok() {
            drop(self.end.recv_timeout(STOP));
        }
    }

    fn terminal(&self) -> Terminal<'_> {
        Terminal { socket: &self.socket, json: true }
    }
}
