//! What the host is like. Reading it changes nothing, and what cannot be read is said, never guessed.

mod interface;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde::de::DeserializeOwned;
use vtep_api::daemon::chain;

use super::Question;
use super::frames::{self, Sent};
use crate::config::{self, Config, Port, Source};
use crate::control::view::{PortRow, VniRow};
use crate::control::{Request, client};
use crate::desired::TUNNEL_DEVICE;
use crate::kernel::{self, KernelError, Occupants};
use crate::links::{self, Link, Links};
use crate::netlink::Netlink;
use crate::source::file;
use crate::table::{Encapsulation, Table};
use crate::{capabilities, daemon};

pub(super) use interface::Interface;
#[cfg(test)]
pub(super) use interface::XdpOccupant;

#[derive(Debug)]
pub(super) struct Facts {
    pub(super) kernel: KernelFacts,
    /// Those that are missing.
    pub(super) capabilities: Result<Vec<String>, String>,
    pub(super) config: Result<Host, String>,
}

#[derive(Debug, Default)]
pub(super) struct KernelFacts {
    pub(super) release: String,
    pub(super) type_information: bool,
    pub(super) vxlan: bool,
    /// `net.core.bpf_jit_enable`.
    pub(super) jit: Option<String>,
    pub(super) refused: Vec<Refused>,
}

/// Something that the kernel's side would refuse.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) check: &'static str,
    pub(super) message: String,
}

/// What the configuration names.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) config: Config,
    /// None: the question's port is neither configured nor bound.
    pub(super) ports: Option<Vec<Port>>,
    pub(super) asked: Option<String>,
    pub(super) table: TableFacts,
    pub(super) daemon_runs: bool,
    /// Whether an interface has it, by address of ours.
    pub(super) addresses: BTreeMap<IpAddr, bool>,
    pub(super) links: Result<Links, String>,
    /// Ports, uplinks and the tunnel device, as far as they exist.
    pub(super) interfaces: BTreeMap<String, Interface>,
    pub(super) frames: Frames,
}

#[derive(Debug)]
pub(super) enum Frames {
    NotAsked,
    NotTried(String),
    Sent(Vec<Sent>),
}

/// What is known of the table without its source.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct TableFacts {
    /// Ports that are bound, and those of them with bindings of VLANs.
    pub(super) bound: BTreeSet<String>,
    pub(super) trunks: BTreeSet<String>,
    /// The logical switches of each.
    pub(super) networks: BTreeMap<String, BTreeSet<String>>,
    /// How many frames of a port had no room in front of them for packet-rate mode.
    pub(super) no_headroom: BTreeMap<String, u64>,
    /// Networks of this host. None: not known.
    pub(super) vnis: Option<BTreeSet<u32>>,
    /// None: not known.
    pub(super) encapsulations: Option<BTreeSet<Encapsulation>>,
}

pub(super) fn gather(question: &Question) -> Facts {
    let config = Config::load(&question.config, &[]);
    let bpffs = config
        .as_ref()
        .map_or_else(|_| config::Dataplane::default().bpffs, |config| config.dataplane.bpffs.clone());
    let settings = config.as_ref().map_or_else(|_| kernel::Settings::new(bpffs), daemon::settings);
    let missing = capabilities::missing();
    Facts {
        kernel: kernel_facts(&settings),
        capabilities: missing
            .map(|missing| missing.iter().map(ToString::to_string).collect())
            .map_err(|error| chain(&error)),
        config: config.map(|config| host(config, question)).map_err(|error| chain(&error)),
    }
}

fn kernel_facts(settings: &kernel::Settings) -> KernelFacts {
    let read = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    let refused = kernel::check(settings).into_iter().filter_map(|error| {
        let check = match &error {
            KernelError::Capabilities { .. } => return None,
            KernelError::TooOld { .. } => "tcx",
            KernelError::NotBpffs { .. } | KernelError::Path { .. } => "bpf_filesystem",
            _ => "programs",
        };
        Some(Refused { check, message: chain(&error) })
    });
    KernelFacts {
        release: read("/proc/sys/kernel/osrelease").unwrap_or_default(),
        type_information: Path::new("/sys/kernel/btf/vmlinux").exists(),
        vxlan: links::has_vxlan(),
        jit: read("/proc/sys/net/core/bpf_jit_enable"),
        refused: refused.collect(),
    }
}

fn host(config: Config, question: &Question) -> Host {
    let bound = client_rows(&config, Request::PortShow { port: None });
    let table = bound.as_deref().map_or_else(
        || TableFacts::of_source(&config),
        |bound| TableFacts {
            no_headroom: without_headroom(&config, bound),
            ..TableFacts::of_daemon(bound, client_rows(&config, Request::VniShow { vni: None }))
        },
    );
    let ports = ports(&config, &table, question.port.as_deref());
    let addresses = config.underlay.address.iter().map(|address| (address, is_here(address))).collect();
    let mut host = Host {
        ports,
        asked: question.port.clone(),
        table,
        daemon_runs: bound.is_some(),
        addresses,
        links: Ok(Links::default()),
        interfaces: BTreeMap::new(),
        frames: Frames::NotAsked,
        config,
    };
    let read = runtime().and_then(|runtime| runtime.block_on(read(&host)));
    match read {
        Ok((links, interfaces)) => (host.links, host.interfaces) = (Ok(links), interfaces),
        Err(error) => host.links = Err(error),
    }
    // A port that is not there is the answer.
    if question.frames && host.ports.is_some() {
        host.frames = send_frames(&host);
    }
    host
}

fn send_frames(host: &Host) -> Frames {
    const MTU: u32 = 1500;
    let uplinks = host.config.underlay.uplinks.iter();
    let mtus = uplinks.filter_map(|uplink| Some(host.interfaces.get(uplink.as_str())?.link.mtu));
    match frames::send(&host.config, mtus.min().unwrap_or(MTU), |_| Ok(())) {
        Ok(sent) => Frames::Sent(sent),
        Err(error) => Frames::NotTried(chain(&error)),
    }
}

/// None: no daemon answers.
fn client_rows<R: DeserializeOwned + Send + 'static>(config: &Config, request: Request) -> Option<Vec<R>> {
    /// A daemon that hangs must not hang its doctor.
    const PATIENCE: Duration = Duration::from_secs(3);
    let (answer, answered) = mpsc::channel();
    let socket = config.control.socket.clone();
    thread::spawn(move || {
        let mut rows = Vec::new();
        let asked = client::ask(&socket, &request, |row| {
            rows.push(serde_json::from_value(row)?);
            Ok(())
        });
        drop(answer.send(asked.is_ok().then_some(rows)));
    });
    answered.recv_timeout(PATIENCE).ok().flatten()
}

/// The configured ones, and those that only a table binds.
fn ports(config: &Config, table: &TableFacts, only: Option<&str>) -> Option<Vec<Port>> {
    let mut ports: Vec<Port> = config.ports.iter().cloned().collect();
    for name in &table.bound {
        let Ok(name) = name.as_str().try_into() else { continue };
        if config.ports.named(&name).is_none() {
            ports.push(Port::unnamed(name));
        }
    }
    let Some(only) = only else { return Some(ports) };
    ports.retain(|port| port.name.as_str() == only);
    (!ports.is_empty()).then_some(ports)
}

impl TableFacts {
    fn of_daemon(rows: &[PortRow], networks: Option<Vec<VniRow>>) -> Self {
        let trunks = rows.iter().filter(|row| row.vlan != 0);
        Self {
            bound: rows.iter().map(|row| row.port.clone()).collect(),
            trunks: trunks.map(|row| row.port.clone()).collect(),
            networks: grouped(rows.iter().map(|row| (row.port.clone(), row.logical_switch.clone()))),
            no_headroom: BTreeMap::new(),
            vnis: networks.map(|networks| networks.iter().map(|row| row.vni).collect()),
            encapsulations: None,
        }
    }

    fn of_source(config: &Config) -> Self {
        let Source::File(source) = &config.source else { return Self::default() };
        let Ok((table, _)) = file::load(&source.path, config.underlay.address, &Table::default()) else {
            return Self::default();
        };
        let trunks = table.bindings.keys().filter(|(_, vlan)| vlan.as_u16() != 0);
        Self {
            bound: table.bindings.keys().map(|(name, _)| name.to_string()).collect(),
            trunks: trunks.map(|(name, _)| name.to_string()).collect(),
            networks: grouped(
                table.bindings.iter().map(|((name, _), network)| (name.to_string(), network.to_string())),
            ),
            no_headroom: BTreeMap::new(),
            vnis: Some(table.logical_switches.values().map(|switch| switch.vni.as_u32()).collect()),
            encapsulations: Some(table.vteps.values().map(|vtep| vtep.encapsulation).collect()),
        }
    }
}

/// Frames without headroom since `before`, of ports that had some.
fn without_headroom(config: &Config, before: &[PortRow]) -> BTreeMap<String, u64> {
    const WATCHED: Duration = Duration::from_secs(1);
    if before.iter().all(|row| row.traffic.no_headroom == 0) {
        return BTreeMap::new();
    }
    thread::sleep(WATCHED);
    let after = client_rows::<PortRow>(config, Request::PortShow { port: None }).unwrap_or_default();
    let counts = |rows: &[PortRow]| {
        let mut frames = BTreeMap::<String, u64>::new();
        for row in rows {
            *frames.entry(row.port.clone()).or_default() += row.traffic.no_headroom;
        }
        frames
    };
    risen(&counts(before), counts(&after))
}

fn risen(before: &BTreeMap<String, u64>, mut after: BTreeMap<String, u64>) -> BTreeMap<String, u64> {
    for (port, frames) in &mut after {
        *frames = frames.saturating_sub(before.get(port).copied().unwrap_or_default());
    }
    after.retain(|_, frames| *frames > 0);
    after
}

fn grouped(pairs: impl Iterator<Item = (String, String)>) -> BTreeMap<String, BTreeSet<String>> {
    let mut groups = BTreeMap::<String, BTreeSet<String>>::new();
    for (port, network) in pairs {
        groups.entry(port).or_default().insert(network);
    }
    groups
}

fn is_here(address: IpAddr) -> bool {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else { return false };
    interfaces.filter_map(|interface| interface.address).any(|found| {
        let v4 = found.as_sockaddr_in().map(|found| IpAddr::V4(found.ip()));
        v4.or_else(|| found.as_sockaddr_in6().map(|found| IpAddr::V6(found.ip()))) == Some(address)
    })
}

fn runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| chain(&error))
}

async fn read(host: &Host) -> Result<(Links, BTreeMap<String, Interface>), String> {
    let netlink = Netlink::open().map_err(|error| chain(&error))?;
    let links = Links { by_name: netlink.links().await.map_err(|error| chain(&error))? };
    let standing = netlink.standing().await.map_err(|error| chain(&error))?;
    let occupants = Occupants::read(&host.config.dataplane.bpffs)
        .map_err(|error| format!("which programs are ours: {error}"));
    let ports = host.ports.iter().flatten().map(|port| port.name.as_str());
    let uplinks = host.config.underlay.uplinks.iter().map(vtep_api::PortName::as_str);
    let mut interfaces = BTreeMap::new();
    for name in uplinks.chain(ports).chain([TUNNEL_DEVICE]) {
        let Some(link) = links.by_name.get(name) else { continue };
        let standing = standing.get(&link.ifindex).cloned().unwrap_or_default();
        let master =
            standing.master.and_then(|master| links.by_index(master)).map(|(name, _)| name.to_owned());
        let filters = netlink.filters(link.ifindex).await.map_err(|error| chain(&error));
        let interface = Interface::read(name, link, &standing, &occupants);
        let far_mtu = far_mtu(&netlink, link).await;
        interfaces.insert(name.to_owned(), Interface { master, far_mtu, filters, ..interface });
    }
    Ok((links, interfaces))
}

async fn far_mtu(netlink: &Netlink, link: &Link) -> Option<Result<u32, String>> {
    if link.kind.as_deref() != Some("veth") {
        return None;
    }
    let far = netlink.far_mtu(link.ifindex).await.map_err(|error| chain(&error));
    Some(far.and_then(|mtu| mtu.ok_or_else(|| "its network namespace has no number in ours".to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_without_headroom_are_told_while_there_are_more_of_them() {
        let counts =
            |counts: &[(&str, u64)]| counts.iter().map(|(port, n)| ((*port).to_owned(), *n)).collect();
        let before = counts(&[("tap1", 5), ("tap2", 5), ("tap3", 5)]);
        let after = counts(&[("tap1", 5), ("tap2", 7), ("tap4", 1)]);
        assert_eq!(risen(&before, after), counts(&[("tap2", 2), ("tap4", 1)]));
    }
}
