use std::path::PathBuf;

use ovsdb::Remote;
use serde::{Deserialize, Serialize};
pub use vtep_api::daemon::TlsFiles;

use super::Bounded;

/// Where the reconciled table comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", tag = "kind", rename_all = "lowercase")]
pub enum Source {
    File(FileSource),
    Ovsdb(OvsdbSource),
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

/// The section as it stands in the file. A flat struct, for an unknown key in a tagged enum would lose its line.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    kind: Kind,
    path: Option<PathBuf>,
    remote: Option<Remote>,
    private_key: Option<PathBuf>,
    certificate: Option<PathBuf>,
    ca_certificate: Option<PathBuf>,
    #[serde(default = "vtep_api::daemon::preset::<5000, 0, 3_600_000>")]
    probe_ms: Bounded<0, 3_600_000>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    File,
    Ovsdb,
}

#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("source.{key} is missing; a source of kind \"{kind}\" needs it")]
    Missing { kind: &'static str, key: &'static str },
    #[error("source.{key} has no meaning for kind \"{kind}\"")]
    Surplus { kind: &'static str, key: &'static str },
    #[error("source.path = {path:?} has no known extension; expected .toml or .json")]
    Extension { path: PathBuf },
}

impl TryFrom<Written> for Source {
    type Error = SourceError;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        match written.kind {
            Kind::File => file(written).map(Self::File),
            Kind::Ovsdb => ovsdb(written).map(Self::Ovsdb),
        }
    }
}

fn file(written: Written) -> Result<FileSource, SourceError> {
    let kind = "file";
    let surplus = [
        ("remote", written.remote.is_some()),
        ("private_key", written.private_key.is_some()),
        ("certificate", written.certificate.is_some()),
        ("ca_certificate", written.ca_certificate.is_some()),
    ];
    if let Some((key, _)) = surplus.into_iter().find(|(_, present)| *present) {
        return Err(SourceError::Surplus { kind, key });
    }
    let path = written.path.ok_or(SourceError::Missing { kind, key: "path" })?;
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("toml" | "json") => Ok(FileSource { path }),
        _ => Err(SourceError::Extension { path }),
    }
}

fn ovsdb(written: Written) -> Result<OvsdbSource, SourceError> {
    let kind = "ovsdb";
    if written.path.is_some() {
        return Err(SourceError::Surplus { kind, key: "path" });
    }
    let remote = written.remote.ok_or(SourceError::Missing { kind, key: "remote" })?;
    let tls = if remote.is_tls() {
        Some(TlsFiles {
            private_key: written.private_key.ok_or(SourceError::Missing { kind, key: "private_key" })?,
            certificate: written.certificate.ok_or(SourceError::Missing { kind, key: "certificate" })?,
            ca_certificate: written
                .ca_certificate
                .ok_or(SourceError::Missing { kind, key: "ca_certificate" })?,
        })
    } else {
        None
    };
    Ok(OvsdbSource { remote, tls, probe_ms: written.probe_ms })
}
