use std::path::PathBuf;

use ovsdb::Remote;
use serde::{Deserialize, Serialize};
use vtep_api::grpc::{self, PlaintextError, Protection};

pub use vtep_api::daemon::TlsFiles;

use super::Bounded;

/// Where the reconciled table comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", tag = "kind", rename_all = "lowercase")]
pub enum Source {
    File(FileSource),
    Ovsdb(OvsdbSource),
    Controller(ControllerSource),
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FileSource {
    /// `.toml` or `.json`.
    pub path: PathBuf,
}

/// We are the device of a `hardware_vtep` database.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OvsdbSource {
    pub remote: Remote,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsFiles>,
    pub probe_ms: Bounded<0, 3_600_000>,
}

/// We are a VTEP of a physical controller.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ControllerSource {
    /// `https://HOST:PORT`, or `http://HOST:PORT` without TLS; tried in turn.
    pub addresses: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsFiles>,
    pub allow_plaintext: bool,
}

impl ControllerSource {
    /// What protects a session with one of the addresses.
    pub fn protection(&self, address: &str) -> Result<Protection, SourceError> {
        let malformed = || SourceError::Address { address: address.to_owned() };
        let (scheme, rest) = address.split_once("://").ok_or_else(malformed)?;
        let (host, port) = rest.rsplit_once(':').ok_or_else(malformed)?;
        let tls = match scheme {
            "https" => true,
            "http" => false,
            _ => return Err(malformed()),
        };
        if host.is_empty() || port.parse::<u16>().is_err() || grpc::endpoint(address, None).is_err() {
            return Err(malformed());
        }
        Ok(grpc::require_tls(host, tls, self.allow_plaintext)?)
    }
}

/// The section as it stands in the file. A flat struct, for an unknown key in a tagged enum would lose its line.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    kind: Kind,
    path: Option<PathBuf>,
    remote: Option<Remote>,
    address: Option<String>,
    addresses: Option<Vec<String>>,
    private_key: Option<PathBuf>,
    certificate: Option<PathBuf>,
    ca_certificate: Option<PathBuf>,
    #[serde(default = "vtep_api::daemon::preset::<5000, 0, 3_600_000>")]
    probe_ms: Bounded<0, 3_600_000>,
    allow_plaintext: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    File,
    Ovsdb,
    Controller,
}

#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("source.{key} is missing; a source of kind \"{kind}\" needs it")]
    Missing { kind: &'static str, key: &'static str },
    #[error("source.{key} has no meaning for kind \"{kind}\"")]
    Surplus { kind: &'static str, key: &'static str },
    #[error("source.address {address:?} is malformed; expected one like https://controller:9480")]
    Address { address: String },
    #[error("source.address is refused: {0}")]
    Plaintext(#[from] PlaintextError),
    #[error("source.address = {address:?} and source.addresses are given; expected one of both")]
    TwoAddresses { address: String },
    #[error("source.path = {path:?} has no known extension; expected .toml or .json")]
    Extension { path: PathBuf },
}

impl TryFrom<Written> for Source {
    type Error = SourceError;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        match written.kind {
            Kind::File => file(written).map(Self::File),
            Kind::Ovsdb => ovsdb(written).map(Self::Ovsdb),
            Kind::Controller => controller(written).map(Self::Controller),
        }
    }
}

fn file(written: Written) -> Result<FileSource, SourceError> {
    let kind = "file";
    let surplus = [
        ("remote", written.remote.is_some()),
        ("address", written.address.is_some()),
        ("addresses", written.addresses.is_some()),
        ("allow_plaintext", written.allow_plaintext.is_some()),
        ("private_key", written.private_key.is_some()),
        ("certificate", written.certificate.is_some()),
        ("ca_certificate", written.ca_certificate.is_some()),
    ];
    none_of(kind, surplus)?;
    let path = written.path.ok_or(SourceError::Missing { kind, key: "path" })?;
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("toml" | "json") => Ok(FileSource { path }),
        _ => Err(SourceError::Extension { path }),
    }
}

fn ovsdb(written: Written) -> Result<OvsdbSource, SourceError> {
    let kind = "ovsdb";
    let surplus = [
        ("path", written.path.is_some()),
        ("address", written.address.is_some()),
        ("addresses", written.addresses.is_some()),
        ("allow_plaintext", written.allow_plaintext.is_some()),
    ];
    none_of(kind, surplus)?;
    let remote = written.remote.ok_or(SourceError::Missing { kind, key: "remote" })?;
    let tls = if remote.is_tls() {
        Some(tls(kind, written.private_key, written.certificate, written.ca_certificate)?)
    } else {
        None
    };
    Ok(OvsdbSource { remote, tls, probe_ms: written.probe_ms })
}

fn controller(written: Written) -> Result<ControllerSource, SourceError> {
    let kind = "controller";
    none_of(kind, [("path", written.path.is_some()), ("remote", written.remote.is_some())])?;
    let addresses = match (written.address, written.addresses) {
        (Some(address), None) => vec![address],
        (None, Some(addresses)) if !addresses.is_empty() => addresses,
        (Some(address), Some(_)) => return Err(SourceError::TwoAddresses { address }),
        (None, _) => return Err(SourceError::Missing { kind, key: "address" }),
    };
    let allow_plaintext = written.allow_plaintext.unwrap_or(false);
    let mut source = ControllerSource { addresses, tls: None, allow_plaintext };
    let mut encrypted = false;
    for address in &source.addresses {
        encrypted |= source.protection(address)? == Protection::Tls;
    }
    if encrypted {
        source.tls = Some(tls(kind, written.private_key, written.certificate, written.ca_certificate)?);
    }
    Ok(source)
}

fn tls(
    kind: &'static str,
    private_key: Option<PathBuf>,
    certificate: Option<PathBuf>,
    ca_certificate: Option<PathBuf>,
) -> Result<TlsFiles, SourceError> {
    Ok(TlsFiles {
        private_key: private_key.ok_or(SourceError::Missing { kind, key: "private_key" })?,
        certificate: certificate.ok_or(SourceError::Missing { kind, key: "certificate" })?,
        ca_certificate: ca_certificate.ok_or(SourceError::Missing { kind, key: "ca_certificate" })?,
    })
}

fn none_of<const N: usize>(
    kind: &'static str,
    surplus: [(&'static str, bool); N],
) -> Result<(), SourceError> {
    match surplus.into_iter().find(|(_, present)| *present) {
        Some((key, _)) => Err(SourceError::Surplus { kind, key }),
        None => Ok(()),
    }
}
