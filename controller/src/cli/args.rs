use std::path::PathBuf;

use clap::{Parser, Subcommand};
use vtep_api::control::terminal::Terminal;
use vtep_api::daemon::{LogFormat, LogLevel};
use vtep_api::{ControllerName, LogicalSwitchName, MacAddr, VtepName};

use crate::config::{PATH, Role, SOCKET, StoreChoice};
use crate::declared::TimePolicy;

const EXAMPLES: &str = "\
Examples:
  vtep-controller run                                 both controllers, by /etc/vtepd/controller.toml
  vtep-controller apply -f deployment.toml --dry-run  what would change?
  vtep-controller apply -f deployment.toml            declare VTEPs, logical switches, bindings
  vtep-controller explain blue 02:00:00:00:00:01      who claims it, who is master and why, who was told
  vtep-controller fdb blue --json                     the table of a logical switch
  vtep-controller what-if --vtep-down tor-a           who would take over, and for how many MACs nobody
  vtep-controller sync                                which VTEP forwards by which version

In a cluster any controller answers for all; what another one has and does not tell is named as missing.

Exit codes: 0 ok, 1 error, 2 usage, 3 not found, 4 daemon not reachable, 5 check failed, 6 part of the answer missing";

/// Collects which VTEP claims which MAC, finds one master for each, and brings the result to every VTEP.
#[derive(Debug, Parser)]
#[command(name = "vtep-controller", version, after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the daemon
    ///
    /// SIGTERM stops the process; forwarding goes on by what was said last.
    Run(RunArgs),
    /// Declare the deployment: all of it, by one file
    ///
    /// Nothing is applied if anything in the file is wrong.
    Apply {
        /// The declared file, .toml or .json
        #[arg(short, long)]
        file: PathBuf,
        /// Say what would change, and change nothing
        #[arg(long)]
        dry_run: bool,
        /// Print each object that changes
        #[arg(long)]
        diff: bool,
        #[command(flatten)]
        client: Client,
    },
    /// Say why a MAC is where it is: its claims, the rule that decided, who was told
    Explain {
        #[command(flatten)]
        mac: MacArgs,
        #[command(flatten)]
        client: Client,
    },
    /// Show what happened to a MAC of late
    History {
        #[command(flatten)]
        mac: MacArgs,
        #[command(flatten)]
        client: Client,
    },
    /// List MACs on whose place VTEPs do not agree
    Conflicts(Client),
    /// List VTEPs and their sessions
    Vteps(Client),
    /// List logical switches
    Ls(Client),
    /// List MACs, as they were distributed
    Fdb {
        logical_switch: Option<LogicalSwitchName>,
        #[command(flatten)]
        client: Client,
    },
    /// Say what would be if
    WhatIf {
        #[command(flatten)]
        what: WhatIf,
        #[command(flatten)]
        client: Client,
    },
    /// Put a MAC behind a VTEP, whoever else claims it
    Pin {
        #[command(flatten)]
        mac: MacArgs,
        vtep: VtepName,
        #[command(flatten)]
        client: Client,
    },
    /// Take back a pin that was made by hand
    Unpin {
        #[command(flatten)]
        mac: MacArgs,
        #[command(flatten)]
        client: Client,
    },
    /// Follow a duplicate MAC again
    ClearDuplicate {
        #[command(flatten)]
        mac: MacArgs,
        #[command(flatten)]
        client: Client,
    },
    /// Let count what a guard holds back
    Release {
        #[command(flatten)]
        what: Release,
        #[command(flatten)]
        client: Client,
    },
    /// Show by which version of each table each VTEP forwards
    Sync(Client),
    /// List the controllers of the cluster
    Members(Client),
    /// List the shards of logical switches and who is their logical controller, or the same of VTEPs
    Shards {
        /// VTEPs and their physical controllers
        #[arg(long)]
        vteps: bool,
        #[command(flatten)]
        client: Client,
    },
    /// Give a shard or a VTEP to a controller, whatever the assignment says, while that controller is there
    Move {
        #[command(flatten)]
        what: Moved,
        /// The controller that is to have it, as `members` names it
        #[arg(required_unless_present = "anywhere")]
        to: Option<ControllerName>,
        /// Back to the assignment
        #[arg(long, conflicts_with = "to")]
        anywhere: bool,
        #[command(flatten)]
        client: Client,
    },
    /// Raise the terms of all controllers, after etcd was put back to an older state
    ///
    /// Receivers refuse what controllers say by lower terms than one that they obeyed; `alarms` tells when, and the term.
    /// Terms are never lowered: do not name a higher one than the alarm does.
    RaiseTerm {
        /// The highest term that anybody obeyed
        #[arg(long, value_name = "TERM")]
        above: u64,
        #[command(flatten)]
        client: Client,
    },
    /// Show what the daemon does, what it waits for, and alarms
    Status(Client),
    /// List what an operator should know
    Alarms(Client),
    /// Test configuration and state directory, and a declared file, without touching anything
    Check {
        /// Configuration file
        #[arg(long, env = "VTEPD_CONTROLLER_CONFIG", default_value = PATH)]
        config: PathBuf,
        /// A declared file
        #[arg(short, long)]
        file: Option<PathBuf>,
    },
    /// Show the configuration
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Make the tables of a recording again
    Replay {
        /// What `run --record` wrote
        file: PathBuf,
        /// Print JSON, as `fdb --json`
        #[arg(long)]
        json: bool,
    },
    /// Write man pages
    #[command(hide = true)]
    Man { directory: PathBuf },
    /// Write shell completions
    #[command(hide = true)]
    Completions { shell: clap_complete::Shell },
}

#[derive(Debug, clap::Args)]
pub(super) struct RunArgs {
    /// Configuration file
    #[arg(long, env = "VTEPD_CONTROLLER_CONFIG", default_value = PATH)]
    pub(super) config: PathBuf,
    /// Instead of controller.role
    #[arg(long, env = "VTEPD_CONTROLLER_ROLE")]
    pub(super) role: Option<Role>,
    /// State directory, instead of controller.state
    #[arg(long, env = "VTEPD_CONTROLLER_STATE")]
    pub(super) state: Option<PathBuf>,
    /// What outlives the process: `embedded`, or `etcd=http://HOST:2379,…` for more than one machine
    #[arg(long, env = "VTEPD_CONTROLLER_STORE")]
    pub(super) store: Option<StoreChoice>,
    /// Write every event into this file, for `replay`
    #[arg(long, env = "VTEPD_CONTROLLER_RECORD")]
    pub(super) record: Option<PathBuf>,
    /// Control socket, instead of control.socket
    #[arg(long, env = "VTEPD_CONTROLLER_SOCKET")]
    pub(super) socket: Option<PathBuf>,
    /// Instead of log.level
    #[arg(long, env = "VTEPD_LOG_LEVEL")]
    pub(super) log_level: Option<LogLevel>,
    /// Instead of log.format
    #[arg(long, env = "VTEPD_LOG_FORMAT")]
    pub(super) log_format: Option<LogFormat>,
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Print the effective values
    Show {
        #[command(flatten)]
        run: RunArgs,
        /// Print where each value came from
        #[arg(long)]
        origin: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Clone, clap::Args)]
pub(super) struct Client {
    /// Control socket of the daemon
    #[arg(long, env = "VTEPD_CONTROLLER_SOCKET", default_value = SOCKET)]
    pub(super) socket: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

impl Client {
    pub(super) fn terminal(&self) -> Terminal<'_> {
        Terminal { socket: &self.socket, json: self.json }
    }
}

#[derive(Debug, Clone, clap::Args)]
pub(super) struct MacArgs {
    pub(super) logical_switch: LogicalSwitchName,
    pub(super) mac: MacAddr,
}

#[derive(Debug, Clone, clap::Args)]
#[group(id = "question", required = true, multiple = false)]
pub(super) struct WhatIf {
    /// If this VTEP were gone: who would take over
    #[arg(long, value_name = "VTEP")]
    pub(super) vtep_down: Option<VtepName>,
    /// By another time policy: which MACs would move
    #[arg(long)]
    pub(super) policy: Option<TimePolicy>,
}

#[derive(Debug, Clone, clap::Args)]
#[group(id = "held", required = true, multiple = false)]
pub(super) struct Release {
    /// Claims of this VTEP that the storm guard set aside
    #[arg(long, value_name = "VTEP")]
    pub(super) storm: Option<VtepName>,
    /// MACs of this logical switch that the mass-withdraw guard keeps
    #[arg(long, value_name = "LS")]
    pub(super) withdrawals: Option<LogicalSwitchName>,
}

#[derive(Debug, Clone, clap::Args)]
#[group(id = "moved", required = true, multiple = false)]
pub(super) struct Moved {
    /// A shard, as `shards` numbers it
    #[arg(long, value_name = "N", value_parser = shard)]
    pub(super) shard: Option<u16>,
    /// A VTEP
    #[arg(long)]
    pub(super) vtep: Option<VtepName>,
}

fn shard(text: &str) -> Result<u16, &'static str> {
    text.parse().map_err(|_| "expected a number, as `shards` shows it")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_well_formed() {
        Args::command().debug_assert();
    }
}
