use std::path::{Path, PathBuf};

use clap::{Parser, Subcommand};
use ovsdb::Remote;
use vtep_api::control::terminal::Terminal;
use vtep_api::{LogicalSwitchName, PortName, Role, Vni};

use crate::capture::Filter;
use crate::config::{LogFormat, LogLevel, SOCKET};
use crate::control::FdbFilter;
use crate::doctor;
use crate::monitor::Topic;
use crate::trace::Question;

pub(super) const CONFIG: &str = "/etc/vtepd/agent.toml";

const EXAMPLES: &str = "\
Examples:
  vtep-agent check --config /etc/vtepd/agent.toml   is everything there that `run` needs?
  vtep-agent doctor                                 will this host forward? what stands in the way?
  vtep-agent run --config /etc/vtepd/agent.toml     forward, until SIGTERM; the kernel goes on without us
  vtep-agent status                                 what it does, and what is wrong
  vtep-agent fdb show --vni 5001 --limit 20         the first MACs of a network
  vtep-agent stats --drops                          why frames were dropped
  vtep-agent diff                                   does the kernel hold what was written?
  vtep-agent trace --port tap0 --dst 02:00:00:00:00:01   where a frame would go, and why
  vtep-agent monitor drops                          what is dropped, as it happens
  vtep-agent capture --reason drops -w drops.pcapng   the same as frames, for Wireshark
  vtep-agent role set slave                         claim the MACs behind our ports as slave
  vtep-agent detach                                 stop forwarding and remove everything from the kernel

Exit codes: 0 ok, 1 error, 2 usage, 3 not found, 4 daemon not reachable, 5 check failed";

const DOCTOR_EXAMPLES: &str = "\
Examples:
  vtep-agent doctor                          the whole host, by /etc/vtepd/agent.toml
  vtep-agent doctor --no-frames              the same without sending frames: at once, and without root
  vtep-agent doctor --port tap0              one port only, and the uplinks
  vtep-agent doctor --json | jq '.findings[] | select(.level == \"problem\")'

Exit codes: 0 no problem, 1 a problem";

/// Keeps the kernel's MAC-to-VTEP table equal to the reconciled one, and forwards VM frames by it.
#[derive(Debug, Parser)]
#[command(name = "vtep-agent", version, after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the daemon
    ///
    /// SIGHUP reads configuration and table again. SIGTERM stops the process and leaves the kernel forwarding.
    Run(RunArgs),
    /// Test configuration, table file, kernel and capabilities, without touching anything
    Check(ConfigFile),
    /// Examine the host: kernel, capabilities, others' programs at our hooks, MTUs, offloads, which way each port goes
    ///
    /// With the daemon running or not. Real frames (TCP super-frames, unfinished checksums, VLAN tags, packets that are
    /// too big) go through the real programs in network namespaces that last as long, with maps that nobody else sees.
    /// Each finding is ok, a note, a warning or a problem, with what was expected and what to type. Nothing of the host
    /// is touched. Ends with 1 if there is a problem.
    #[command(after_help = DOCTOR_EXAMPLES)]
    Doctor(DoctorArgs),
    /// Show the configuration
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Show what the daemon does, what it waits for, and alarms
    Status(Client),
    /// Show MAC entries
    Fdb {
        #[command(subcommand)]
        command: FdbCommand,
    },
    /// Show VNIs
    Vni {
        #[command(subcommand)]
        command: VniCommand,
    },
    /// Show remote VTEPs
    Vtep {
        #[command(subcommand)]
        command: VtepCommand,
    },
    /// Show the sessions of BFD with VTEPs, and bring VTEPs back
    Bfd {
        #[command(subcommand)]
        command: BfdCommand,
    },
    /// Rehearse a VTEP's failover on live traffic
    ///
    /// Its slaves serve for so long, as if it were silent; then it serves again, and what was counted is printed. Nothing
    /// is lost: what no slave can take goes to it all the same.
    Drill {
        /// By name or address
        #[arg(long)]
        vtep: String,
        #[arg(long, default_value_t = 10)]
        seconds: u64,
        #[command(flatten)]
        client: Client,
    },
    /// Show ports
    Port {
        #[command(subcommand)]
        command: PortCommand,
    },
    /// Show what became of frames
    Stats(StatsArgs),
    /// Compare the kernel's tables with what the agent wrote
    ///
    /// The agent does so all the time, and mends what differs; `status` says since when nothing did. Ends with 5 if
    /// there is a difference now.
    Diff {
        /// What was found and mended, instead of what is there now
        #[arg(long)]
        past: bool,
        #[command(flatten)]
        client: Client,
    },
    /// Say what would become of a frame, and why
    ///
    /// The programs themselves decide, on the live tables, in an instance of their own: nothing is sent, no counter
    /// moves, nothing is learnt. Beside their verdict stand the entries that lead there. The frame is given by its
    /// bytes, or made from its addresses: a small UDP packet.
    Trace(TraceArgs),
    /// Tell what happens, as it happens: drops, moves, changes of the FDB, unknown senders
    ///
    /// Until it is interrupted. With --json each line is one event. Whoever reads slower than it happens loses events,
    /// and is told how many.
    Monitor {
        /// Only this; without it everything
        topic: Option<Topic>,
        /// Only of this VNI
        #[arg(long, value_parser = vni)]
        vni: Option<u32>,
        /// Stop after so many events
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
        count: Option<u64>,
        /// Stop after so long
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
        seconds: Option<u64>,
        #[command(flatten)]
        client: Client,
    },
    /// Write copies of frames to a pcapng file, with what became of each as its comment
    ///
    /// Frames toward a VTEP are written as they leave, outer headers and all; frames from the underlay as they came;
    /// dropped ones as they were when it was decided. Until it is interrupted. How many were left out is said at the
    /// end, and stands in the file.
    Capture(CaptureArgs),
    /// Let MACs go that a controller's snapshot lacked, and that stay because it lacked too many
    Release {
        #[arg(value_parser = vni)]
        vni: u32,
        #[command(flatten)]
        client: Client,
    },
    /// Say as what the MACs behind our ports are claimed
    Role {
        #[command(subcommand)]
        command: RoleCommand,
    },
    /// Stop forwarding: detach the programs, and remove maps and the tunnel device
    ///
    /// Asks the daemon, which then ends. Where none runs, does it itself.
    Detach(DetachArgs),
    /// Extend the OVSDB schema of TORs by roles and times
    Schema {
        #[command(subcommand)]
        command: SchemaCommand,
    },
    /// Write man pages
    #[command(hide = true)]
    Man { directory: PathBuf },
    /// Write shell completions
    #[command(hide = true)]
    Completions { shell: clap_complete::Shell },
}

#[derive(Debug, clap::Args)]
pub(super) struct ConfigFile {
    /// Configuration file
    #[arg(long, env = "VTEPD_CONFIG", default_value = CONFIG)]
    pub(super) config: PathBuf,
}

#[derive(Debug, clap::Args)]
pub(super) struct RunArgs {
    #[command(flatten)]
    pub(super) file: ConfigFile,
    /// Control socket, instead of control.socket
    #[arg(long, env = "VTEPD_SOCKET")]
    pub(super) socket: Option<PathBuf>,
    /// Instead of log.level
    #[arg(long, env = "VTEPD_LOG_LEVEL")]
    pub(super) log_level: Option<LogLevel>,
    /// Instead of log.format
    #[arg(long, env = "VTEPD_LOG_FORMAT")]
    pub(super) log_format: Option<LogFormat>,
}

#[derive(Debug, clap::Args)]
pub(super) struct DoctorArgs {
    #[command(flatten)]
    file: ConfigFile,
    /// Only this port
    #[arg(long)]
    port: Option<String>,
    /// Send no frames in namespaces of their own, which takes some seconds and root
    #[arg(long)]
    no_frames: bool,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

impl DoctorArgs {
    pub(super) fn question(&self) -> doctor::Question {
        doctor::Question {
            config: self.file.config.clone(),
            port: self.port.clone(),
            frames: !self.no_frames,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum SchemaCommand {
    /// Add vtepd's optional columns to the stock schema, or to a live database
    ///
    /// Stock clients work with it unchanged. What is extended already is left as it is.
    Extend(ExtendArgs),
}

#[derive(Debug, clap::Args)]
pub(super) struct ExtendArgs {
    /// The stock schema
    #[arg(long, value_name = "FILE", default_value = "/usr/share/openvswitch/vtep.ovsschema")]
    pub(super) from: PathBuf,
    /// Write it there, instead of to standard output
    #[arg(long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// Convert the database of this server in place, its rows kept: unix:PATH, tcp:IP:PORT or ssl:IP:PORT
    #[arg(long, value_name = "REMOTE", conflicts_with_all = ["from", "output"])]
    pub(super) convert: Option<Remote>,
    /// For ssl
    #[arg(long, value_name = "FILE", requires_all = ["certificate", "ca_certificate"])]
    pub(super) private_key: Option<PathBuf>,
    /// For ssl
    #[arg(long, value_name = "FILE", requires = "private_key")]
    pub(super) certificate: Option<PathBuf>,
    /// For ssl
    #[arg(long, value_name = "FILE", requires = "private_key")]
    pub(super) ca_certificate: Option<PathBuf>,
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
    #[arg(long, env = "VTEPD_SOCKET", default_value = SOCKET)]
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

#[derive(Debug, Subcommand)]
pub(super) enum FdbCommand {
    /// List entries
    Show {
        #[command(flatten)]
        filter: FilterArgs,
        /// At most so many
        #[arg(long)]
        limit: Option<usize>,
        #[command(flatten)]
        client: Client,
    },
    /// Look one entry up in the kernel
    Get {
        #[arg(value_parser = vni)]
        vni: u32,
        mac: String,
        #[command(flatten)]
        client: Client,
    },
    /// Count entries
    Count {
        #[command(flatten)]
        filter: FilterArgs,
        #[command(flatten)]
        client: Client,
    },
}

#[derive(Debug, Clone, clap::Args)]
pub(super) struct FilterArgs {
    /// Only of this VNI
    #[arg(long, value_parser = vni)]
    vni: Option<u32>,
    /// Only this MAC
    #[arg(long)]
    mac: Option<String>,
    /// Only behind this VTEP (name or address), as master or slave
    #[arg(long)]
    vtep: Option<String>,
    /// Only behind this port of the host
    #[arg(long)]
    port: Option<String>,
}

fn vni(text: &str) -> Result<u32, String> {
    let number: i64 = text.parse().map_err(|_| "expected a number".to_owned())?;
    Vni::try_from(number).map(Vni::as_u32).map_err(|error| error.to_string())
}

impl FilterArgs {
    pub(super) fn filter(self, limit: Option<usize>) -> FdbFilter {
        let Self { vni, mac, vtep, port } = self;
        FdbFilter { vni, mac, vtep, port, limit }
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum VniCommand {
    /// List VNIs, or show one
    Show {
        #[arg(value_parser = vni)]
        vni: Option<u32>,
        #[command(flatten)]
        client: Client,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum VtepCommand {
    /// List VTEPs, or show one by name or address
    Show {
        vtep: Option<String>,
        #[command(flatten)]
        client: Client,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum BfdCommand {
    /// List sessions, or show that with one VTEP by name or address
    Show {
        vtep: Option<String>,
        #[command(flatten)]
        client: Client,
    },
    /// Give a VTEP its MACs back at once
    ///
    /// For one whose session is up again while `bfd.hold_ms` runs, or whose return waits for the operator
    /// (`bfd.revertive = false`).
    Restore {
        vtep: String,
        #[command(flatten)]
        client: Client,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum PortCommand {
    /// List port bindings, or those of one port
    Show {
        port: Option<String>,
        #[command(flatten)]
        client: Client,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum RoleCommand {
    /// Claim MACs as their master, or as a slave that stands by for another VTEP
    ///
    /// For a notify script of keepalived. Holds until another role is set for the same ports, over restarts too: it is
    /// kept under agent.state. The last role that covers a MAC counts, and replaces those of single ports and logical
    /// switches that it covers whole. A role that a MAC has already is no new claim.
    Set {
        #[arg(value_parser = role)]
        role: Role,
        /// Only in this logical switch
        #[arg(long)]
        logical_switch: Option<LogicalSwitchName>,
        /// Only behind this port
        #[arg(long)]
        port: Option<PortName>,
        #[command(flatten)]
        client: Client,
    },
    /// List the roles that were set, in the order in which they count; MACs that none covers are claimed as master
    Show {
        #[command(flatten)]
        client: Client,
    },
}

fn role(text: &str) -> Result<Role, String> {
    match text {
        "master" => Ok(Role::Master),
        "slave" => Ok(Role::Slave),
        _ => Err("expected master or slave".to_owned()),
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct StatsArgs {
    /// Only drops
    #[arg(long)]
    pub(super) drops: bool,
    /// By port instead of by outcome: what came from each, what of that was dropped, what was sent to it
    #[arg(long, conflicts_with = "drops")]
    pub(super) ports: bool,
    /// Only of this VNI
    #[arg(long, value_parser = vni)]
    pub(super) vni: Option<u32>,
    #[command(flatten)]
    pub(super) client: Client,
}

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("from").required(true).args(["port", "uplink"]))]
#[command(group = clap::ArgGroup::new("what").required(true).args(["frame", "dst"]))]
pub(super) struct TraceArgs {
    /// It comes from this port
    #[arg(long)]
    port: Option<String>,
    /// It comes from the underlay by this uplink, outer headers and all
    #[arg(long, requires = "frame")]
    uplink: Option<String>,
    /// All its bytes in hexadecimal, tags in their place; spaces and colons are skipped
    #[arg(long, value_name = "HEX")]
    frame: Option<String>,
    /// It goes to this MAC
    #[arg(long, value_name = "MAC")]
    dst: Option<String>,
    /// It comes from this MAC, instead of one that is known behind the port
    #[arg(long, value_name = "MAC", requires = "dst")]
    src: Option<String>,
    /// It has this VLAN tag
    #[arg(long, requires = "dst", value_parser = clap::value_parser!(u16).range(0..=4095))]
    vlan: Option<u16>,
    /// Instead of 0x0800, IPv4
    #[arg(long, value_name = "NUMBER", requires = "dst", value_parser = ether_type)]
    ethertype: Option<u16>,
    #[command(flatten)]
    pub(super) client: Client,
}

impl TraceArgs {
    pub(super) fn question(&self) -> Question {
        Question {
            port: self.port.clone(),
            uplink: self.uplink.clone(),
            frame: self.frame.clone(),
            dst: self.dst.clone(),
            src: self.src.clone(),
            vlan: self.vlan,
            ether_type: self.ethertype,
        }
    }
}

fn ether_type(text: &str) -> Result<u16, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    match u16::from_str_radix(digits, 16) {
        Ok(number) if number >= 0x0600 => Ok(number),
        _ => Err("expected a hexadecimal number from 0x0600 to 0xffff".to_owned()),
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct CaptureArgs {
    /// Only frames of which this became: a verdict as `stats` names it, or drops, encapsulated, delivered, all; repeat it
    /// for several
    #[arg(long = "reason", value_name = "REASON")]
    reasons: Vec<String>,
    /// Only of this VNI
    #[arg(long, value_parser = vni)]
    vni: Option<u32>,
    /// Only from or to this interface
    #[arg(long)]
    port: Option<String>,
    /// Stop after so many frames
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Stop after so long
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: Option<u64>,
    /// At most so many bytes of each frame
    #[arg(long, default_value_t = Filter::SNAPLEN_MAX, value_parser = clap::value_parser!(u32).range(14..=i64::from(Filter::SNAPLEN_MAX)))]
    snaplen: u32,
    /// Stop before the file is larger [default: 100000000, of standard output none]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(65_536..))]
    max_bytes: Option<u64>,
    /// At most so many frames in a second on each CPU
    #[arg(long, default_value_t = Filter::default().per_second, value_parser = clap::value_parser!(u32).range(1..=i64::from(Filter::PER_SECOND_MAX)))]
    rate: u32,
    /// One of so many, by chance
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    one_in: u32,
    /// The file; - is standard output
    #[arg(short, long, value_name = "FILE")]
    pub(super) write: PathBuf,
    /// Control socket of the daemon
    #[arg(long, env = "VTEPD_SOCKET", default_value = SOCKET)]
    pub(super) socket: PathBuf,
}

impl CaptureArgs {
    const FILE_MAX: u64 = 100_000_000;

    /// A pipe fills nobody's disk.
    pub(super) fn bytes_max(&self) -> Option<u64> {
        self.max_bytes.or_else(|| (self.write != Path::new("-")).then_some(Self::FILE_MAX))
    }

    pub(super) fn filter(&self) -> Filter {
        Filter {
            reasons: self.reasons.clone(),
            vni: self.vni,
            port: self.port.clone(),
            snaplen: self.snaplen,
            per_second: self.rate,
            one_in: self.one_in,
            count: self.count,
            seconds: self.seconds,
        }
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct DetachArgs {
    /// Configuration file that tells the daemon's control socket, and where the maps are pinned
    #[arg(long, env = "VTEPD_CONFIG")]
    pub(super) config: Option<PathBuf>,
    /// Control socket of the daemon, instead of control.socket
    #[arg(long, env = "VTEPD_SOCKET")]
    pub(super) socket: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
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
