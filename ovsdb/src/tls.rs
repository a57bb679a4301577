//! TLS as Open vSwitch uses it: each side has a certificate and checks that the other's was signed by the authority
//! that both know.

mod chain;
mod identity;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use self::chain::ChainVerifier;
use self::identity::names;

/// The files are read for each connection, so that new ones need no restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    pub private_key: PathBuf,
    pub certificate: PathBuf,
    pub ca_certificate: PathBuf,
    /// If set, the peer's certificate must have this as its common name or as one of its alternative names.
    pub peer_name: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("remote {remote} needs a private key, a certificate and a CA certificate")]
    NotConfigured { remote: String },
    #[error("{what} in {path:?} cannot be read")]
    Pem { what: &'static str, path: PathBuf, source: pem::Error },
    #[error("{what} in {path:?} is refused")]
    Refused { what: &'static str, path: PathBuf, source: rustls::Error },
    #[error("CA certificate in {path:?} cannot serve to check peers")]
    Verifier { path: PathBuf, source: VerifierBuilderError },
    #[error("peer showed no certificate")]
    NoCertificate,
    #[error("peer's certificate has the names {found:?}; expected {expected:?}")]
    PeerName { found: Vec<String>, expected: String },
}

impl Tls {
    pub(crate) fn client(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = ChainVerifier::new(self.roots()?, &provider);
        let (certificates, key) = self.identity()?;
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|source| self.refused(source))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_auth_cert(certificates, key)
            .map_err(|source| self.refused(source))?;
        Ok(Arc::new(config))
    }

    pub(crate) fn server(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let provider: Arc<CryptoProvider> = Arc::new(aws_lc_rs::default_provider());
        let roots = Arc::new(self.roots()?);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone())
            .build()
            .map_err(|source| TlsError::Verifier { path: self.ca_certificate.clone(), source })?;
        let (certificates, key) = self.identity()?;
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|source| self.refused(source))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(certificates, key)
            .map_err(|source| self.refused(source))?;
        Ok(Arc::new(config))
    }

    /// Whether the peer, whose chain was checked in the handshake, is the one that is expected.
    pub(crate) fn check_peer(&self, certificates: Option<&[CertificateDer<'_>]>) -> Result<(), TlsError> {
        let certificate = certificates.and_then(<[_]>::first).ok_or(TlsError::NoCertificate)?;
        let Some(expected) = &self.peer_name else { return Ok(()) };
        let found = names(certificate);
        if found.contains(expected) {
            return Ok(());
        }
        Err(TlsError::PeerName { found, expected: expected.clone() })
    }

    fn roots(&self) -> Result<RootCertStore, TlsError> {
        let path = &self.ca_certificate;
        let what = "CA certificate";
        let mut roots = RootCertStore::empty();
        for certificate in certificates(what, path)? {
            roots.add(certificate).map_err(|source| TlsError::Refused {
                what,
                path: path.clone(),
                source,
            })?;
        }
        Ok(roots)
    }

    fn identity(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
        let path = &self.private_key;
        let key = PrivateKeyDer::from_pem_file(path).map_err(|source| TlsError::Pem {
            what: "private key",
            path: path.clone(),
            source,
        })?;
        Ok((certificates("certificate", &self.certificate)?, key))
    }

    fn refused(&self, source: rustls::Error) -> TlsError {
        TlsError::Refused { what: "certificate", path: self.certificate.clone(), source }
    }
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::Pem { what, path: path.to_owned(), source };
    let certificates = CertificateDer::pem_file_iter(path).map_err(failed)?;
    let certificates = certificates.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    if certificates.is_empty() { Err(failed(pem::Error::NoItemsFound)) } else { Ok(certificates) }
}
