use std::net::{Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};

/// Where `/metrics`, `/livez` and `/readyz` are served; on `PORT` if nothing is said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written")]
pub struct Metrics<const PORT: u16> {
    pub enabled: bool,
    pub listen: SocketAddr,
    pub allow_remote: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    enabled: Option<bool>,
    listen: Option<SocketAddr>,
    #[serde(default)]
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

impl<const PORT: u16> TryFrom<Written> for Metrics<PORT> {
    type Error = RemoteListenError;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        let preset = Self::default();
        let listen = written.listen.unwrap_or(preset.listen);
        let enabled = written.enabled.unwrap_or(preset.enabled);
        if listen.ip().is_loopback() || written.allow_remote {
            Ok(Self { enabled, listen, allow_remote: written.allow_remote })
        } else {
            Err(RemoteListenError { listen })
        }
    }
}

impl<const PORT: u16> Default for Metrics<PORT> {
    fn default() -> Self {
        Self { enabled: true, listen: SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)), allow_remote: false }
    }
}
