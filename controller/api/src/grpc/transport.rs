//! How sessions travel: mutual TLS by files, HTTP/2 that notices a dead peer, bounded messages.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity, Server, ServerTlsConfig};

pub use crate::tls::TlsFiles;

use super::{
    ControllerSession, ControllerSessionClient, ControllerSessionServer, Inquiry, InquiryClient,
    InquiryServer, MESSAGE_BYTES_MAX, VtepSession, VtepSessionClient, VtepSessionServer,
};

/// A peer that answers no ping for this long is gone; it is asked as often.
const KEEPALIVE: Duration = Duration::from_secs(5);
const CONNECT: Duration = Duration::from_secs(5);
/// Some parts of an update may be under way.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;

#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    #[error("{what} {path:?} cannot be read")]
    Read { what: &'static str, path: PathBuf, source: std::io::Error },
    #[error("address {address:?} is malformed; expected one like https://controller:9480")]
    Address { address: String, source: tonic::transport::Error },
    #[error("TLS with certificate {certificate:?} and CA certificate {ca_certificate:?} cannot be set up")]
    Tls { certificate: PathBuf, ca_certificate: PathBuf, source: tonic::transport::Error },
}

impl TlsFiles {
    fn identity(&self) -> Result<Identity, TransportError> {
        let key = read("private key", &self.private_key)?;
        Ok(Identity::from_pem(read("certificate", &self.certificate)?, key))
    }

    fn authority(&self) -> Result<Certificate, TransportError> {
        read("CA certificate", &self.ca_certificate).map(Certificate::from_pem)
    }

    fn refused(&self, source: tonic::transport::Error) -> TransportError {
        let (certificate, ca_certificate) = (self.certificate.clone(), self.ca_certificate.clone());
        TransportError::Tls { certificate, ca_certificate, source }
    }
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, TransportError> {
    fs::read(path).map_err(|source| TransportError::Read { what, path: path.to_owned(), source })
}

/// Where a client connects: `https://host:port`, or `http://` without TLS.
pub fn endpoint(address: &str, tls: Option<&TlsFiles>) -> Result<Endpoint, TransportError> {
    let malformed = |source| TransportError::Address { address: address.to_owned(), source };
    let endpoint = Endpoint::from_shared(address.to_owned())
        .map_err(malformed)?
        .connect_timeout(CONNECT)
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(true);
    let Some(files) = tls else { return Ok(endpoint) };
    let tls = ClientTlsConfig::new().identity(files.identity()?).ca_certificate(files.authority()?);
    endpoint.tls_config(tls).map_err(|source| files.refused(source))
}

/// A server that lets in whom the authority knows; without files, everybody.
pub fn server(tls: Option<&TlsFiles>) -> Result<Server, TransportError> {
    let server = Server::builder()
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE));
    let Some(files) = tls else { return Ok(server) };
    let tls = ServerTlsConfig::new().identity(files.identity()?).client_ca_root(files.authority()?);
    server.tls_config(tls).map_err(|source| files.refused(source))
}

pub fn vtep_client(channel: Channel) -> VtepSessionClient<Channel> {
    VtepSessionClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

pub fn vtep_service<T: VtepSession>(service: T) -> VtepSessionServer<T> {
    VtepSessionServer::new(service)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

pub fn controller_client(channel: Channel) -> ControllerSessionClient<Channel> {
    ControllerSessionClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

pub fn controller_service<T: ControllerSession>(service: T) -> ControllerSessionServer<T> {
    ControllerSessionServer::new(service)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

pub fn inquiry_client(channel: Channel) -> InquiryClient<Channel> {
    InquiryClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

pub fn inquiry_service<T: Inquiry>(service: T) -> InquiryServer<T> {
    InquiryServer::new(service)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

/// What protects a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    Tls,
    /// It does not leave the machine.
    Loopback,
    /// Nothing does, and that was asked for. Worth a warning in the log.
    Nothing,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{host:?} is not on the loopback; expected TLS (private_key, certificate, ca_certificate), or allow_plaintext"
)]
pub struct PlaintextError {
    pub host: String,
}

/// Whether a connection with `host`, an address or a name, may be made or waited for.
pub fn require_tls(host: &str, tls: bool, allow_plaintext: bool) -> Result<Protection, PlaintextError> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let on_loopback = || {
        let address = bare.parse::<IpAddr>().ok().map(|address| address.to_canonical());
        bare == "localhost" || address.is_some_and(|address| address.is_loopback())
    };
    match (tls, allow_plaintext) {
        (true, _) => Ok(Protection::Tls),
        (false, _) if on_loopback() => Ok(Protection::Loopback),
        (false, true) => Ok(Protection::Nothing),
        (false, false) => Err(PlaintextError { host: host.chars().take(64).collect() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plaintext_leaves_the_machine_only_when_asked_for() {
        for host in ["127.0.0.1", "::1", "[::1]", "localhost", "::ffff:127.0.0.1"] {
            assert_eq!(require_tls(host, false, false), Ok(Protection::Loopback), "{host}");
        }
        for host in ["0.0.0.0", "::", "192.0.2.1", "controller", "localhost.example"] {
            assert_eq!(require_tls(host, false, false), Err(PlaintextError { host: host.to_owned() }));
            assert_eq!(require_tls(host, false, true), Ok(Protection::Nothing), "{host}");
            assert_eq!(require_tls(host, true, false), Ok(Protection::Tls), "{host}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let missing = |name: &str| Path::new("/nonexistent").join(name);
        let (private_key, certificate) = (missing("key.pem"), missing("cert.pem"));
        let files = TlsFiles { private_key, certificate, ca_certificate: missing("ca.pem") };
        let error = server(Some(&files)).unwrap_err();
        assert_eq!(error.to_string(), "private key \"/nonexistent/key.pem\" cannot be read");
    }
}
