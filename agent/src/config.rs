//! What the operator wrote: one TOML file, every key known, every value in range. `docs/config.md` describes it.

mod bfd;
mod limit;
mod network;
mod origin;
mod port;
mod source;
mod underlay;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use vtep_api::VtepName;

pub use bfd::{Bfd, BfdOrigin, BfdSettings, BfdTransport};
pub use limit::FloodLimit;
pub use network::{DuplicateNetworkError, Network, Networks};
pub use origin::{Override, settings};
pub use port::{DuplicatePortError, InnerTag, Port, Ports, UnboundTag};
pub use source::{ControllerSource, FileSource, OvsdbSource, Source, SourceError, TlsFiles};
pub use underlay::{DontFragment, Inheritable, ReservedBits, SourcePorts, Underlay};
pub use vtep_api::daemon::{Bounded, Log, LogFormat, LogLevel, Origin, Setting};

pub type Metrics = vtep_api::daemon::Metrics<9475>;

use crate::desired::TUNNEL_DEVICE;
use crate::kernel::MacTable;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    #[serde(default)]
    pub agent: Agent,
    pub underlay: Underlay,
    #[serde(default)]
    pub dataplane: Dataplane,
    pub source: Source,
    #[serde(default, rename = "port")]
    pub ports: Ports,
    #[serde(default, rename = "network")]
    pub networks: Networks,
    #[serde(default)]
    pub bfd: Bfd,
    #[serde(default)]
    pub control: Control,
    #[serde(default)]
    pub metrics: Metrics,
    #[serde(default)]
    pub log: Log,
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("configuration file {path} cannot be read")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("configuration file {path} is refused")]
    Parse { path: PathBuf, source: Box<toml::de::Error> },
    #[error("configuration file {path} is refused: {key} = {value}; expected {expected}")]
    Value { path: PathBuf, key: String, value: String, expected: &'static str },
}

impl Config {
    pub fn load(path: &Path, overrides: &[Override]) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, path, overrides)
    }

    /// `path` is named in errors.
    pub fn parse(text: &str, path: &Path, overrides: &[Override]) -> Result<Self, ConfigError> {
        let mut config: Self = toml::from_str(text)
            .map_err(|source| ConfigError::Parse { path: path.to_owned(), source: Box::new(source) })?;
        for setting in overrides {
            setting.apply(&mut config);
        }
        config.check(path)?;
        Ok(config)
    }

    /// What no single key can tell.
    fn check(&self, path: &Path) -> Result<(), ConfigError> {
        let refuse = |key: String, value: String, expected| {
            Err(ConfigError::Value { path: path.to_owned(), key, value, expected })
        };
        for port in self.ports.iter() {
            if self.underlay.uplinks.contains(&port.name) || port.name.as_str() == TUNNEL_DEVICE {
                let expected = "an interface that is not one of underlay.uplinks, nor the tunnel device";
                return refuse("port.name".to_owned(), format!("{:?}", port.name), expected);
            }
        }
        let stranger = self.underlay.packet_rate.iter().find(|name| !self.underlay.uplinks.contains(name));
        if let Some(name) = stranger {
            let expected = "interfaces of underlay.uplinks";
            return refuse("underlay.packet_rate".to_owned(), format!("[{:?}]", name.as_str()), expected);
        }
        if matches!(self.source, Source::Ovsdb(_)) && self.underlay.address.v4().is_none() {
            let expected = "an IPv4 address, or a list with one: a database knows VXLAN over IPv4 only";
            return refuse("underlay.address".to_owned(), self.underlay.address.to_string(), expected);
        }
        if let Some(network) =
            self.networks.iter().find(|network| network.check_source && network.learn_underlay)
        {
            let vni = network.vni.map_or_else(|| "all others".to_owned(), |vni| vni.to_string());
            let expected = "check_source = false: it drops what could be learnt";
            return refuse(format!("network.learn_underlay of {vni}"), "true".to_owned(), expected);
        }
        let lists = [("uplinks", &self.underlay.uplinks), ("packet_rate", &self.underlay.packet_rate)];
        for (key, names) in lists {
            let mut seen = BTreeSet::new();
            if let Some(name) = names.iter().find(|name| !seen.insert(*name)) {
                let expected = "each interface once";
                return refuse(format!("underlay.{key}"), format!("{:?} twice", name.as_str()), expected);
            }
        }
        if self.underlay.uplinks.is_empty() {
            return refuse("underlay.uplinks".to_owned(), "[]".to_owned(), "at least one interface");
        }
        if self.dataplane.mac_table == MacTable::Bucketed && !MacTable::BUCKETED_IS_SAFE {
            let key = "dataplane.mac_table".to_owned();
            return refuse(key, "\"bucketed\"".to_owned(), "\"hash\" on this processor");
        }
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Agent {
    /// How this host is called towards a controller: its `Physical_Switch`.
    pub name: VtepName,
    /// Where it is kept what must survive a restart and is not the kernel's.
    pub state: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dataplane {
    /// Where maps and links are pinned.
    pub bpffs: PathBuf,
    pub decap: Decap,
    pub mac_table: MacTable,
    pub macs_max: Bounded<1, 16_000_000>,
    pub vteps_max: Bounded<1, 65_535>,
    pub vnis_max: Bounded<1, 65_535>,
    /// (Port, VLAN) bindings.
    pub ports_max: Bounded<1, 65_535>,
}

impl Dataplane {
    /// Beyond it the kernel's memory is worth more than lists that nobody fills.
    const DERIVED_MAX: u32 = 1 << 20;

    /// Pairs of a VNI and a VTEP that may send into it: 64 on average. Under VNI 0 stands every VTEP.
    pub fn senders_max(&self) -> u32 {
        (self.vteps_max.as_u32() + 64 * self.vnis_max.as_u32()).min(Self::DERIVED_MAX)
    }

    /// Flood lists: of each network two while it changes.
    pub fn flood_max(&self) -> u32 {
        2 * self.vnis_max.as_u32()
    }
}

/// Who removes the outer headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decap {
    /// XDP for a port in packet-rate mode, `Program` for a veth and for a tap without virtio's header, `Device` for every other
    /// kind of port.
    #[default]
    Auto,
    /// The kernel's tunnel device: right for every kind of port.
    Device,
    /// `uplink_in`: more packets per second, but no receive offload.
    Program,
}

/// How unicast reaches what is behind a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Deliver {
    /// It leaves by the interface.
    #[default]
    Interface,
    /// It enters the network namespace at the other end of a veth at once, if nothing is passed by that looks at it.
    Peer,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Control {
    pub socket: PathBuf,
}

pub const SOCKET: &str = "/run/vtepd/agent.sock";

impl Default for Agent {
    fn default() -> Self {
        let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
        let name = host.and_then(|name| VtepName::try_from(name).ok());
        let name = name.unwrap_or_else(|| VtepName::try_from("vtepd").expect("it is a name"));
        Self { name, state: "/var/lib/vtepd".into() }
    }
}

impl Default for Dataplane {
    fn default() -> Self {
        Self {
            bpffs: "/sys/fs/bpf/vtepd".into(),
            decap: Decap::Auto,
            mac_table: MacTable::default(),
            macs_max: Bounded::preset(1_000_000),
            vteps_max: Bounded::preset(4096),
            vnis_max: Bounded::preset(1024),
            ports_max: Bounded::preset(4096),
        }
    }
}

impl Default for Control {
    fn default() -> Self {
        Self { socket: SOCKET.into() }
    }
}

#[cfg(test)]
mod tests;
