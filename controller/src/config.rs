//! What the operator of one controller wrote: one TOML file, every key known, every value in range. What the controllers
//! arbitrate is not here but in the declared file. `docs/controller.md` describes both.

mod overrides;
mod peer;
mod store;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use vtep_api::ControllerName;
use vtep_api::daemon::{Bounded, Log, TlsFiles};

pub use overrides::{Override, settings};
pub use peer::{PeerAddress, PeerAddressError};
pub use store::{EtcdStore, StoreChoice, StoreChoiceError, StoreKind};

use crate::declared::Batch;

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub controller: Controller,
    pub listen: Listen,
    pub store: EtcdStore,
    /// Who we are towards agents and other controllers. Without it they are on this host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsFiles>,
    /// Logical controllers of other processes that the physical one joins.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub logical: Vec<LogicalPeer>,
    pub batch: Batch,
    pub ovsdb: Ovsdb,
    pub control: Control,
    pub metrics: Metrics,
    pub log: Log,
}

pub type Metrics = vtep_api::daemon::Metrics<9476>;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Controller {
    /// How others call us; in the declared file too.
    pub name: ControllerName,
    pub role: Role,
    /// The directory of the state store.
    pub state: PathBuf,
    /// Sessions off this host without TLS.
    pub allow_plaintext: bool,
    /// Where every event is written down, for `replay`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<PathBuf>,
    /// The recording ends there.
    pub record_mib: Bounded<1, 1_048_576>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A logical and a physical controller in one process.
    #[default]
    Both,
    Logical,
    Physical,
}

/// Where agents attach and physical controllers join.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Listen {
    pub address: SocketAddr,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogicalPeer {
    /// If given, nobody else may answer there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<ControllerName>,
    pub address: PeerAddress,
}

/// The sessions with TORs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ovsdb {
    /// For `ssl:` and `pssl:`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsFiles>,
    pub probe_ms: Bounded<0, 3_600_000>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Control {
    pub socket: PathBuf,
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("configuration file {path} cannot be read")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("configuration file {path} is refused")]
    Parse { path: PathBuf, source: Box<toml::de::Error> },
    #[error("configuration file {path} is refused: {key} = {value}; expected {expected}")]
    Value { path: PathBuf, key: &'static str, value: String, expected: &'static str },
}

pub const SOCKET: &str = "/run/vtepd/controller.sock";
pub const PATH: &str = "/etc/vtepd/controller.toml";

const MUTUAL_TLS: &str = "a loopback address, or a section [tls], or controller.allow_plaintext = true";

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
        let refuse = |key, value: String, expected| {
            Err(ConfigError::Value { path: path.to_owned(), key, value, expected })
        };
        let secure = self.tls.is_some() || self.controller.allow_plaintext;
        if !secure && !self.listen.address.ip().is_loopback() {
            return refuse("listen.address", format!("\"{}\"", self.listen.address), MUTUAL_TLS);
        }
        if let Some(peer) = self.logical.iter().find(|peer| !secure && !peer.address.is_loopback()) {
            return refuse("logical.address", format!("\"{}\"", peer.address), MUTUAL_TLS);
        }
        let joins = !self.logical.is_empty();
        if let Some((key, value, expected)) = self.store.problem(self) {
            return refuse(key, value, expected);
        }
        match self.controller.role {
            Role::Physical if !joins && self.store.kind == StoreKind::Embedded => {
                refuse("controller.role", "\"physical\"".to_owned(), "a [[logical]] that it joins")
            }
            Role::Logical if joins => refuse(
                "controller.role",
                "\"logical\"".to_owned(),
                "no [[logical]]: only a physical controller joins",
            ),
            _ => Ok(()),
        }
    }
}

impl Role {
    pub fn is_logical(self) -> bool {
        self != Self::Physical
    }

    pub fn is_physical(self) -> bool {
        self != Self::Logical
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Both => "both",
            Self::Logical => "logical",
            Self::Physical => "physical",
        }
    }
}

impl Default for Controller {
    fn default() -> Self {
        let host = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
        let name = host.and_then(|name| ControllerName::try_from(name).ok());
        Self {
            name: name.unwrap_or_else(|| ControllerName::try_from("vtepd").expect("it is a name")),
            role: Role::default(),
            state: "/var/lib/vtepd".into(),
            allow_plaintext: false,
            record: None,
            record_mib: Bounded::preset(1024),
        }
    }
}

impl Default for Listen {
    fn default() -> Self {
        Self { address: SocketAddr::from((Ipv4Addr::LOCALHOST, 9480)) }
    }
}

impl Default for Ovsdb {
    fn default() -> Self {
        Self { tls: None, probe_ms: Bounded::preset(5000) }
    }
}

impl Default for Control {
    fn default() -> Self {
        Self { socket: SOCKET.into() }
    }
}

#[cfg(test)]
mod tests;
