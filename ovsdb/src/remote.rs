//! Where a database is to be found, in Open vSwitch's notation (`ovsdb.7`, "Connection Methods").

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The port that IANA assigned to OVSDB.
pub const DEFAULT_PORT: u16 = 6640;

#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum Remote {
    /// `unix:PATH`
    Unix(PathBuf),
    /// `tcp:HOST[:PORT]`; an IPv6 address stands in brackets.
    Tcp { host: String, port: u16 },
    /// `ssl:HOST[:PORT]`
    Ssl { host: String, port: u16 },
    /// `ptcp:[PORT][:ADDRESS]`: the server connects to us.
    ListenTcp { address: IpAddr, port: u16 },
    /// `pssl:[PORT][:ADDRESS]`
    ListenSsl { address: IpAddr, port: u16 },
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RemoteError {
    #[error("remote {remote:?} is of no known kind; expected unix:, tcp:, ssl:, ptcp: or pssl:")]
    Kind { remote: String },
    #[error("remote {remote:?} names no {missing}")]
    Missing { remote: String, missing: &'static str },
    #[error("remote {remote:?} has the port {port:?}; expected {expected}")]
    Port { remote: String, port: String, expected: &'static str },
    #[error("remote {remote:?} has the address {address:?}; expected an IP address, IPv6 in brackets")]
    Address { remote: String, address: String },
}

impl Remote {
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Ssl { .. } | Self::ListenSsl { .. })
    }

    pub fn is_listening(&self) -> bool {
        matches!(self, Self::ListenTcp { .. } | Self::ListenSsl { .. })
    }
}

impl FromStr for Remote {
    type Err = RemoteError;

    fn from_str(remote: &str) -> Result<Self, Self::Err> {
        let unknown = || RemoteError::Kind { remote: cut(remote) };
        let (kind, rest) = remote.split_once(':').ok_or_else(unknown)?;
        match kind {
            "unix" if rest.is_empty() => Err(RemoteError::Missing { remote: cut(remote), missing: "path" }),
            "unix" => Ok(Self::Unix(rest.into())),
            "tcp" => active(remote, rest).map(|(host, port)| Self::Tcp { host, port }),
            "ssl" => active(remote, rest).map(|(host, port)| Self::Ssl { host, port }),
            "ptcp" => passive(remote, rest).map(|(address, port)| Self::ListenTcp { address, port }),
            "pssl" => passive(remote, rest).map(|(address, port)| Self::ListenSsl { address, port }),
            _ => Err(unknown()),
        }
    }
}

fn active(remote: &str, rest: &str) -> Result<(String, u16), RemoteError> {
    let (host, port) = if let Some(bracketed) = rest.strip_prefix('[') {
        let misplaced = || RemoteError::Address { remote: cut(remote), address: cut(rest) };
        let (host, after) = bracketed.split_once(']').ok_or_else(misplaced)?;
        host.parse::<std::net::Ipv6Addr>().map_err(|_| misplaced())?;
        match after.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if after.is_empty() => (host, None),
            None => return Err(misplaced()),
        }
    } else {
        match rest.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err(RemoteError::Address { remote: cut(remote), address: cut(rest) });
            }
            Some((host, port)) => (host, Some(port)),
            None => (rest, None),
        }
    };
    if host.is_empty() {
        return Err(RemoteError::Missing { remote: cut(remote), missing: "host" });
    }
    let expected = "1 to 65535";
    let port = match port {
        None => DEFAULT_PORT,
        Some(text) => match text.parse() {
            Ok(port @ 1..) => port,
            _ => return Err(RemoteError::Port { remote: cut(remote), port: cut(text), expected }),
        },
    };
    Ok((host.to_owned(), port))
}

fn passive(remote: &str, rest: &str) -> Result<(IpAddr, u16), RemoteError> {
    let (port, address) = rest.split_once(':').unwrap_or((rest, ""));
    let expected = "0 (any) to 65535";
    let port = match port {
        "" => DEFAULT_PORT,
        text => {
            text.parse().map_err(|_| RemoteError::Port { remote: cut(remote), port: cut(text), expected })?
        }
    };
    let plain = address.strip_prefix('[').and_then(|address| address.strip_suffix(']')).unwrap_or(address);
    let address = match plain {
        "" => Ipv4Addr::UNSPECIFIED.into(),
        text => {
            text.parse().map_err(|_| RemoteError::Address { remote: cut(remote), address: cut(address) })?
        }
    };
    Ok((address, port))
}

/// Text from outside is repeated in messages only so far.
fn cut(text: &str) -> String {
    text.chars().take(128).collect()
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bracketed = |host: &str| if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp { host, port } => write!(f, "tcp:{}:{port}", bracketed(host)),
            Self::Ssl { host, port } => write!(f, "ssl:{}:{port}", bracketed(host)),
            Self::ListenTcp { address, port } => write!(f, "ptcp:{port}:{}", bracketed(&address.to_string())),
            Self::ListenSsl { address, port } => write!(f, "pssl:{port}:{}", bracketed(&address.to_string())),
        }
    }
}

impl TryFrom<String> for Remote {
    type Error = RemoteError;

    fn try_from(remote: String) -> Result<Self, Self::Error> {
        remote.parse()
    }
}

impl From<Remote> for String {
    fn from(remote: Remote) -> Self {
        remote.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(remote: &str, written: &str) {
        let parsed: Remote = remote.parse().unwrap();
        assert_eq!(parsed.to_string(), written);
        assert_eq!(written.parse(), Ok(parsed));
    }

    #[test]
    fn remotes_are_read_as_open_vswitch_writes_them() {
        check("unix:/run/db.sock", "unix:/run/db.sock");
        check("tcp:tor1.example:6632", "tcp:tor1.example:6632");
        check("tcp:192.0.2.1", "tcp:192.0.2.1:6640");
        check("ssl:[2001:db8::1]:6641", "ssl:[2001:db8::1]:6641");
        check("ssl:[2001:db8::1]", "ssl:[2001:db8::1]:6640");
        check("ptcp:", "ptcp:6640:0.0.0.0");
        check("ptcp:0:127.0.0.1", "ptcp:0:127.0.0.1");
        check("pssl:6641:[::]", "pssl:6641:[::]");
    }

    #[test]
    fn other_text_is_refused_with_what_is_wrong_in_it() {
        for remote in ["", "tcp", "udp:1.2.3.4:5", "/run/db.sock"] {
            assert!(matches!(remote.parse::<Remote>(), Err(RemoteError::Kind { .. })), "{remote}");
        }
        for remote in ["unix:", "tcp:", "ssl::6640"] {
            assert!(matches!(remote.parse::<Remote>(), Err(RemoteError::Missing { .. })), "{remote}");
        }
        for remote in ["tcp:h:0", "tcp:h:65536", "ptcp:x", "tcp:h:"] {
            assert!(matches!(remote.parse::<Remote>(), Err(RemoteError::Port { .. })), "{remote}");
        }
        for remote in ["tcp:2001:db8::1:6640", "tcp:[h]:1", "tcp:[::1", "ptcp:1:host"] {
            assert!(matches!(remote.parse::<Remote>(), Err(RemoteError::Address { .. })), "{remote}");
        }
    }
}
