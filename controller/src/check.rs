//! Whether everything is there that `run` needs. Nothing is touched.

use std::path::Path;

use vtep_api::daemon::{TlsFiles, chain};

use crate::config::{Config, StoreKind};
use crate::declared::file;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub subject: String,
    /// None: as it should be.
    pub problem: Option<String>,
}

/// `declared` is looked at as `apply` would.
pub fn check(config: &Path, declared: Option<&Path>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut found = |subject: String, result: Result<(), String>| {
        findings.push(Finding { subject, problem: result.err() });
    };
    let name = format!("configuration {}", config.display());
    match Config::load(config, &[]) {
        Err(error) => found(name, Err(chain(&error))),
        Ok(config) => {
            found(name, Ok(()));
            for files in config.tls.iter().chain(&config.ovsdb.tls).chain(&config.store.tls) {
                let TlsFiles { private_key, certificate, ca_certificate } = files;
                for path in [private_key, certificate, ca_certificate] {
                    found(format!("file {}", path.display()), readable(path));
                }
            }
            if config.store.kind == StoreKind::Embedded {
                let state = &config.controller.state;
                found(format!("state directory {}", state.display()), writable(state));
                let store = crate::store::path(state);
                if store.exists() {
                    found(format!("state store {}", store.display()), is_store(&store));
                }
            }
        }
    }
    if let Some(path) = declared {
        let name = path.display().to_string();
        let result = std::fs::read_to_string(path).map_err(|error| error.to_string());
        let result = result.and_then(|text| file::parse(&name, &text).map_err(|error| error.to_string()));
        found(format!("declared file {name}"), result.map(drop));
    }
    findings
}

/// What is inside is seen by `run` alone: one process at a time has it.
fn is_store(path: &Path) -> Result<(), String> {
    use std::io::Read;
    let mut magic = [0; 4];
    let mut file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    file.read_exact(&mut magic).map_err(|error| error.to_string())?;
    if &magic == b"redb" { Ok(()) } else { Err("it is no redb database".to_owned()) }
}

fn readable(path: &Path) -> Result<(), String> {
    std::fs::File::open(path).map(drop).map_err(|error| error.to_string())
}

/// The directory itself, or else the nearest one that is there: `run` makes the rest.
fn writable(path: &Path) -> Result<(), String> {
    use nix::unistd::{AccessFlags, access};
    let there = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    if !there.is_dir() {
        return Err(format!("{} is no directory", there.display()));
    }
    access(there, AccessFlags::W_OK | AccessFlags::X_OK)
        .map_err(|error| format!("{} cannot be written: {error}", there.display()))
}
