//! Who the other side is, by the certificate that it showed (RFC 5280): the host names among its alternative names, or
//! else its common name. That the certificate is good was seen in the handshake.

use tonic::Request;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerNameError {
    #[error("peer's certificate cannot be read: {problem}")]
    Certificate { problem: String },
    #[error("peer calls itself {claimed:?}; expected one of its certificate's names {names:?}")]
    Other { claimed: String, names: Vec<String> },
}

/// The names that a peer may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerNames {
    /// Without TLS nobody is known.
    Any,
    Of(Vec<String>),
}

impl PeerNames {
    /// Of the client that made a request.
    pub fn of<T>(request: &Request<T>) -> Result<Self, PeerNameError> {
        let Some(certificates) = request.peer_certs() else { return Ok(Self::Any) };
        let certificate = certificates.first().map(AsRef::as_ref).unwrap_or_default();
        Self::of_certificate(certificate)
    }

    /// Of a certificate in DER.
    pub fn of_certificate(der: &[u8]) -> Result<Self, PeerNameError> {
        let unreadable = |problem: String| PeerNameError::Certificate { problem };
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|error| unreadable(error.to_string()))?;
        let alternatives =
            certificate.subject_alternative_name().map_err(|error| unreadable(error.to_string()))?;
        let alternatives = alternatives.iter().flat_map(|extension| &extension.value.general_names);
        let host_name = |name: &GeneralName<'_>| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        };
        let mut names: Vec<String> = alternatives.filter_map(host_name).collect();
        if names.is_empty() {
            let common = certificate.subject().iter_common_name();
            names.extend(common.filter_map(|name| name.as_str().ok()).map(str::to_owned));
        }
        Ok(Self::Of(names))
    }

    /// Whether a peer with these names may call itself so.
    pub fn check(&self, claimed: &str) -> Result<(), PeerNameError> {
        match self {
            Self::Any => Ok(()),
            Self::Of(names) if names.iter().any(|name| name == claimed) => Ok(()),
            Self::Of(names) => {
                Err(PeerNameError::Other { claimed: claimed.to_owned(), names: names.clone() })
            }
        }
    }
}
