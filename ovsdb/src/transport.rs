//! Byte streams to a server: dialled, or accepted from a server that dials us.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::remote::Remote;
use crate::tls::{Tls, TlsError};

pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// An open stream to a server.
pub struct Connection {
    pub(crate) stream: Box<dyn Stream>,
    peer: String,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("peer", &self.peer).finish_non_exhaustive()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("socket {path:?} cannot be opened")]
    Unix { path: PathBuf, source: io::Error },
    #[error("connection to {host} port {port} failed")]
    Tcp { host: String, port: u16, source: io::Error },
    #[error("address {address} cannot be listened on")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("no connection could be accepted")]
    Accept(#[source] io::Error),
    #[error("TLS handshake with {peer} failed")]
    Handshake { peer: String, source: io::Error },
    #[error("{host:?} is neither a host name nor an IP address")]
    HostName { host: String },
    #[error("remote {remote} is not one to {verb}")]
    Direction { remote: String, verb: &'static str },
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Connection {
    pub async fn open(remote: &Remote, tls: Option<&Tls>) -> Result<Self, ConnectError> {
        match remote {
            Remote::Unix(path) => {
                let stream = UnixStream::connect(path).await;
                let stream = stream.map_err(|source| ConnectError::Unix { path: path.clone(), source })?;
                Ok(Self { stream: Box::new(stream), peer: remote.to_string() })
            }
            Remote::Tcp { host, port } => {
                let stream = dial(host, *port).await?;
                Ok(Self { stream: Box::new(stream), peer: remote.to_string() })
            }
            Remote::Ssl { host, port } => {
                let tls = tls.ok_or_else(|| TlsError::NotConfigured { remote: remote.to_string() })?;
                let name = ServerName::try_from(host.clone())
                    .map_err(|_| ConnectError::HostName { host: host.clone() })?;
                let connector = TlsConnector::from(tls.client()?);
                let stream = dial(host, *port).await?;
                let peer = remote.to_string();
                let stream = connector
                    .connect(name, stream)
                    .await
                    .map_err(|source| ConnectError::Handshake { peer: peer.clone(), source })?;
                tls.check_peer(stream.get_ref().1.peer_certificates())?;
                Ok(Self { stream: Box::new(stream), peer })
            }
            Remote::ListenTcp { .. } | Remote::ListenSsl { .. } => {
                Err(ConnectError::Direction { remote: remote.to_string(), verb: "connect to" })
            }
        }
    }

    /// The other end, for messages.
    pub fn peer(&self) -> &str {
        &self.peer
    }
}

async fn dial(host: &str, port: u16) -> Result<TcpStream, ConnectError> {
    let failed = |source| ConnectError::Tcp { host: host.to_owned(), port, source };
    let stream = TcpStream::connect((host, port)).await.map_err(failed)?;
    stream.set_nodelay(true).map_err(failed)?;
    Ok(stream)
}

/// Accepts servers that have us as their manager.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    tls: Option<Tls>,
}

/// A peer that connected, before its handshake: several may be under way at once.
#[derive(Debug)]
pub struct Accepted {
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<Tls>,
}

impl Listener {
    pub async fn bind(remote: &Remote, tls: Option<&Tls>) -> Result<Self, ConnectError> {
        let (address, tls) = match remote {
            Remote::ListenTcp { address, port } => (SocketAddr::new(*address, *port), None),
            Remote::ListenSsl { address, port } => {
                let tls = tls.ok_or_else(|| TlsError::NotConfigured { remote: remote.to_string() })?;
                (SocketAddr::new(*address, *port), Some(tls.clone()))
            }
            _ => return Err(ConnectError::Direction { remote: remote.to_string(), verb: "listen on" }),
        };
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|source| ConnectError::Listen { address, source })?;
        Ok(Self { listener, tls })
    }

    pub fn address(&self) -> Result<SocketAddr, ConnectError> {
        self.listener.local_addr().map_err(ConnectError::Accept)
    }

    pub async fn accept(&self) -> Result<Accepted, ConnectError> {
        let (stream, peer) = self.listener.accept().await.map_err(ConnectError::Accept)?;
        stream.set_nodelay(true).map_err(ConnectError::Accept)?;
        Ok(Accepted { stream, peer, tls: self.tls.clone() })
    }
}

impl Accepted {
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    pub async fn handshake(self) -> Result<Connection, ConnectError> {
        let Some(tls) = self.tls else {
            return Ok(Connection { stream: Box::new(self.stream), peer: format!("tcp:{}", self.peer) });
        };
        let peer = format!("ssl:{}", self.peer);
        let acceptor = TlsAcceptor::from(tls.server()?);
        let stream = acceptor
            .accept(self.stream)
            .await
            .map_err(|source| ConnectError::Handshake { peer: peer.clone(), source })?;
        tls.check_peer(stream.get_ref().1.peer_certificates())?;
        Ok(Connection { stream: Box::new(stream), peer })
    }
}
