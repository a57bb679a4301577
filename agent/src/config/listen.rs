use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

/// Where `/metrics`, `/livez` and `/readyz` are served.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written")]
pub struct Metrics {
    pub enabled: bool,
    pub listen: SocketAddr,
    pub allow_remote: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Written {
    enabled: bool,
    listen: SocketAddr,
    allow_remote: bool,
}

#[derive(Debug, thiserror::Error)]
#[error(
    "metrics.listen = \"{listen}\" can be reached from other hosts; expected a loopback address, \
     or allow_remote = true beside it"
)]
pub struct RemoteListenError {
    pub listen: SocketAddr,
}

impl TryFrom<Written> for Metrics {
    type Error = RemoteListenError;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        let Written { enabled, listen, allow_remote } = written;
        if listen.ip().is_loopback() || allow_remote {
            Ok(Self { enabled, listen, allow_remote })
        } else {
            Err(RemoteListenError { listen })
        }
    }
}

impl Default for Written {
    fn default() -> Self {
        Self { enabled: true, listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9475)), allow_remote: false }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let Written { enabled, listen, allow_remote } = Written::default();
        Self { enabled, listen, allow_remote }
    }
}
