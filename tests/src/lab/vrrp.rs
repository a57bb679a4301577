//! VRRP on a TOR: a keepalived whose notify script tells the TOR's agent what it is, and the rack whom to follow.

use std::{
    fmt::Write as _,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

use super::{RackHost, Side, Tor};
use crate::{
    deadline::wait_for,
    netns::Netns,
    process::{Daemon, binary},
};

/// One router of a pair (RFC 5798, version 3).
pub struct Vrrp {
    netns: Netns,
    folder: TempDir,
    interface: String,
    priority: u8,
    /// Of the TOR's agent.
    socket: PathBuf,
    /// What the script runs when it becomes master.
    lines: Vec<String>,
    logical_switch: Option<&'static str>,
    running: Option<Running>,
    starts: u32,
}

struct Running {
    /// The parent, which starts the one that speaks VRRP.
    daemon: Daemon,
    speaker: Pid,
}

/// What keepalived told its notify script.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transition {
    pub at: SystemTime,
    /// `MASTER`, `BACKUP`, `FAULT` or `STOP`.
    pub state: String,
}

const SOON: Duration = Duration::from_secs(30);

impl Vrrp {
    /// Not started yet. It speaks over `interface`, which has an address. When it becomes master, `hosts` use the link
    /// to this TOR.
    pub fn new(tor: &Tor, side: Side, interface: &str, priority: u8, hosts: &[&RackHost]) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("vtepd-vrrp-").tempdir()?;
        let vrrp = Self {
            netns: tor.machine.netns.clone(),
            folder,
            interface: interface.to_owned(),
            priority,
            socket: tor.agent.socket(),
            lines: hosts.iter().flat_map(|host| host.use_link_commands(side)).collect(),
            logical_switch: None,
            running: None,
            starts: 0,
        };
        fs::write(vrrp.path("keepalived.conf"), vrrp.config())?;
        Ok(vrrp)
    }

    /// What it says is of this one alone.
    #[must_use]
    pub fn of(mut self, logical_switch: &'static str) -> Self {
        self.logical_switch = Some(logical_switch);
        self
    }

    /// Until it has a state.
    pub fn start(&mut self) -> Result<()> {
        self.starts += 1;
        let script = self.path("notify");
        fs::write(&script, self.script()?)?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
        // A number that a killed process left in a file would keep the next one from starting.
        let [parent, speaker] =
            ["parent", "speaker"].map(|role| self.path(&format!("{role}-{}.pid", self.starts)));
        let mut command = self.netns.command("keepalived");
        command
            .args(["--dont-fork", "--vrrp", "--log-console", "--no-syslog", "--use-file"])
            .arg(self.path("keepalived.conf"))
            .arg("--pid")
            .arg(&parent)
            .arg("--vrrp_pid")
            .arg(&speaker);
        let before = self.transitions()?.len();
        let mut daemon = Daemon::spawn("keepalived", &mut command)?;
        daemon
            .wait_for("its first state", SOON, || (self.transitions().ok()?.len() > before).then_some(()))?;
        let speaker = fs::read_to_string(&speaker)?.trim().parse().context("keepalived writes a number")?;
        self.running = Some(Running { daemon, speaker: Pid::from_raw(speaker) });
        Ok(())
    }

    /// Starts both, of which the first has the higher priority. Had they no time between them, both might be master for a moment.
    pub fn elect([first, second]: &mut [Self; 2]) -> Result<()> {
        first.start()?;
        first.wait_for("MASTER", 0)?;
        second.start()
    }

    /// Both its processes by SIGKILL: nobody says goodbye.
    pub fn kill(&mut self) -> Result<()> {
        let mut running = self.running.take().context("keepalived is not running")?;
        // The parent would start another.
        running.daemon.signal(Signal::SIGSTOP)?;
        kill(running.speaker, Signal::SIGKILL)?;
        running.daemon.kill()
    }

    /// All since it was made, by time.
    pub fn transitions(&self) -> Result<Vec<Transition>> {
        let text = fs::read_to_string(self.path("transitions")).unwrap_or_default();
        text.lines().map(parse).collect()
    }

    /// The next transition to that state after `known` of them.
    pub fn wait_for(&self, state: &str, known: usize) -> Result<Transition> {
        wait_for(&format!("VRRP's state {state}"), SOON, || {
            self.transitions().ok()?.into_iter().skip(known).find(|transition| transition.state == state)
        })
    }

    /// keepalived(8) calls it with type, name, state and priority.
    fn script(&self) -> Result<String> {
        let agent = binary("vtep-agent")?;
        let (agent, transitions) = (agent.display(), self.path("transitions"));
        let of = self.logical_switch.map_or_else(String::new, |name| format!(" --logical-switch {name}"));
        let rest = format!("--socket {}{of}", self.socket.display());
        let mut text = format!(
            "#!/bin/sh -e\necho \"$(date +%s%N) $3\" >> {}\nif [ \"$3\" = MASTER ]; then\n",
            transitions.display()
        );
        for line in &self.lines {
            writeln!(text, "  {line}")?;
        }
        write!(text, "  exec {agent} role set master {rest}\nfi\nexec {agent} role set slave {rest}\n")?;
        Ok(text)
    }

    fn config(&self) -> String {
        let Self { interface, priority, .. } = self;
        format!(
            "global_defs {{\n  script_user root\n  enable_script_security\n  vrrp_version 3\n}}\n\
             vrrp_instance rack {{\n  state BACKUP\n  interface {interface}\n  virtual_router_id 51\n  \
             priority {priority}\n  advert_int 0.5\n  virtual_ipaddress {{\n    198.51.100.254/24\n  }}\n  \
             notify {}\n}}\n",
            self.path("notify").display()
        )
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for Vrrp {
    fn drop(&mut self) {
        if self.running.is_some()
            && let Err(error) = self.kill()
        {
            eprintln!("keepalived was left behind: {error:#}");
        }
    }
}

fn parse(line: &str) -> Result<Transition> {
    let (nanos, state) = line.split_once(' ').context("a transition is a time and a state")?;
    Ok(Transition {
        at: SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos.parse()?),
        state: state.to_owned(),
    })
}
