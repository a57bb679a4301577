//! The file's text as rows, their values not looked at yet.

use std::fs::File;
use std::io::Read;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use vtep_api::BfdWord;

use crate::table::{Encapsulation, Replication, UnknownUnicast};

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    pub version: i64,
    /// How many rows of all kinds follow. A file that is cut between two rows is told by it from a shorter table.
    pub rows: Option<usize>,
    #[serde(default)]
    pub vtep: Vec<VtepRow>,
    #[serde(default)]
    pub logical_switch: Vec<LogicalSwitchRow>,
    #[serde(default)]
    pub mac: Vec<MacRow>,
    #[serde(default)]
    pub binding: Vec<BindingRow>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VtepRow {
    pub name: String,
    pub address: String,
    #[serde(default)]
    pub encapsulation: Encapsulation,
    #[serde(default)]
    pub bfd: BfdWord,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogicalSwitchRow {
    pub name: String,
    pub vni: i64,
    #[serde(default)]
    pub unknown_unicast: UnknownUnicast,
    #[serde(default)]
    pub replication: Replication,
    #[serde(default)]
    pub flood: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MacRow {
    pub logical_switch: String,
    pub mac: String,
    pub master: String,
    pub slave: Option<String>,
    /// IP addresses of the station.
    #[serde(default)]
    pub ips: Vec<IpAddr>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BindingRow {
    pub port: String,
    #[serde(default)]
    pub vlan: i64,
    pub logical_switch: String,
}

#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    #[error("table file {path} cannot be read")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("table file {path} is larger than {bytes_max} bytes")]
    TooLarge { path: PathBuf, bytes_max: u64 },
    #[error("table file {path} is no table")]
    Toml { path: PathBuf, source: Box<toml::de::Error> },
    #[error("table file {path} is no table")]
    Json { path: PathBuf, source: serde_json::Error },
    #[error("table file {path} has an unknown extension; expected .toml or .json")]
    Extension { path: PathBuf },
    #[error("table file {path} has version {found}; expected {}", Document::VERSION)]
    Version { path: PathBuf, found: i64 },
    #[error("table file {path} has {found} rows; expected {expected}, as its key `rows` says")]
    Rows { path: PathBuf, found: usize, expected: usize },
}

impl Document {
    pub const VERSION: i64 = 1;
    /// A million MACs take about 120 MB.
    const BYTES_MAX: u64 = 2 << 30;

    pub fn read(path: &Path) -> Result<Self, DocumentError> {
        let unreadable = |source| DocumentError::Read { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(unreadable)?;
        let mut text = String::new();
        let length = (&mut file).take(Self::BYTES_MAX + 1).read_to_string(&mut text).map_err(unreadable)?;
        if length as u64 > Self::BYTES_MAX {
            return Err(DocumentError::TooLarge { path: path.to_owned(), bytes_max: Self::BYTES_MAX });
        }
        Self::parse(&text, path)
    }

    /// The extension of `path` tells the notation.
    pub fn parse(text: &str, path: &Path) -> Result<Self, DocumentError> {
        let path = path.to_owned();
        let document: Self = match path.extension().and_then(|extension| extension.to_str()) {
            Some("toml") => match toml::from_str(text) {
                Ok(document) => document,
                Err(source) => return Err(DocumentError::Toml { path, source: Box::new(source) }),
            },
            Some("json") => match serde_json::from_str(text) {
                Ok(document) => document,
                Err(source) => return Err(DocumentError::Json { path, source }),
            },
            _ => return Err(DocumentError::Extension { path }),
        };
        if document.version != Self::VERSION {
            return Err(DocumentError::Version { path, found: document.version });
        }
        let found =
            document.vtep.len() + document.logical_switch.len() + document.mac.len() + document.binding.len();
        match document.rows {
            Some(expected) if expected != found => Err(DocumentError::Rows { path, found, expected }),
            _ => Ok(document),
        }
    }
}
