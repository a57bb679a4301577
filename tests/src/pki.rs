//! A certificate authority of a test's own, made with openssl(1).

use std::{fs, net::IpAddr, path::PathBuf, process::Command};

use anyhow::Result;
use tempfile::TempDir;

use crate::netns::output;

/// Its files go in `Drop`.
pub struct Pki {
    folder: TempDir,
}

/// What one side of a TLS connection has.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    pub private_key: PathBuf,
    pub certificate: PathBuf,
    pub ca_certificate: PathBuf,
}

impl TlsFiles {
    /// As our daemons' configuration files have them.
    pub fn lines(&self) -> String {
        let Self { private_key, certificate, ca_certificate } = self;
        format!(
            "private_key = \"{}\"\ncertificate = \"{}\"\nca_certificate = \"{}\"",
            private_key.display(),
            certificate.display(),
            ca_certificate.display()
        )
    }
}

impl Pki {
    pub fn new() -> Result<Self> {
        let pki = Self { folder: tempfile::Builder::new().prefix("vtepd-pki-").tempdir()? };
        let new_key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key";
        pki.openssl(&format!("req -x509 {new_key} -days 2 -subj /CN=authority -out ca.pem"))?;
        Ok(pki)
    }

    /// A key, and a certificate of version 3 without alternative names, as `ovs-pki` makes them.
    pub fn issue(&self, name: &str) -> Result<TlsFiles> {
        self.issue_with(name, "")
    }

    /// The same for whoever is reached at an address (RFC 5280 §4.2.1.6).
    pub fn issue_at(&self, name: &str, address: impl Into<IpAddr>) -> Result<TlsFiles> {
        self.issue_with(name, &format!("subjectAltName=IP:{}\n", address.into()))
    }

    fn issue_with(&self, name: &str, extensions: &str) -> Result<TlsFiles> {
        fs::write(self.path(&format!("{name}.ext")), format!("basicConstraints=CA:FALSE\n{extensions}"))?;
        let new_key = format!("-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {name}.key");
        self.openssl(&format!("req {new_key} -subj /CN={name} -out {name}.csr"))?;
        let authority = format!("-CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile {name}.ext");
        self.openssl(&format!("x509 -req -in {name}.csr {authority} -out {name}.pem"))?;
        Ok(TlsFiles {
            private_key: self.path(&format!("{name}.key")),
            certificate: self.path(&format!("{name}.pem")),
            ca_certificate: self.path("ca.pem"),
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn openssl(&self, line: &str) -> Result<()> {
        let mut command = Command::new("openssl");
        output(command.current_dir(self.folder.path()).args(line.split_whitespace())).map(drop)
    }
}
