//! The address of a tunnel endpoint.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An address to and from which VXLAN can go: one IPv4 station.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct TunnelAddress(Ipv4Addr);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TunnelAddressError {
    #[error("address {text:?} is malformed; expected an IPv4 address such as 192.0.2.1")]
    Malformed { text: String },
    #[error(
        "address {address} is IPv6, which is not supported as a tunnel endpoint; expected an IPv4 address"
    )]
    Ipv6 { address: IpAddr },
    #[error("address {address} names no single station; expected a unicast IPv4 address")]
    NotStation { address: IpAddr },
}

impl TunnelAddress {
    pub const fn v4(self) -> Ipv4Addr {
        self.0
    }

    pub const fn ip(self) -> IpAddr {
        IpAddr::V4(self.0)
    }
}

impl TryFrom<IpAddr> for TunnelAddress {
    type Error = TunnelAddressError;

    fn try_from(address: IpAddr) -> Result<Self, Self::Error> {
        match address {
            IpAddr::V6(_) => Err(TunnelAddressError::Ipv6 { address }),
            IpAddr::V4(v4) if v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast() => {
                Err(TunnelAddressError::NotStation { address })
            }
            IpAddr::V4(v4) => Ok(Self(v4)),
        }
    }
}

impl FromStr for TunnelAddress {
    type Err = TunnelAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = |_| TunnelAddressError::Malformed { text: text.chars().take(64).collect() };
        Self::try_from(text.parse::<IpAddr>().map_err(malformed)?)
    }
}

impl TryFrom<String> for TunnelAddress {
    type Error = TunnelAddressError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<TunnelAddress> for String {
    fn from(address: TunnelAddress) -> Self {
        address.0.to_string()
    }
}

impl fmt::Display for TunnelAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_unicast_ipv4_address_is_a_tunnel_endpoint() {
        assert!("192.0.2.1".parse::<TunnelAddress>().is_ok());
        for text in ["", "192.0.2", "192.0.2.1 ", "tor-a"] {
            assert!(
                matches!(text.parse::<TunnelAddress>(), Err(TunnelAddressError::Malformed { .. })),
                "{text:?}"
            );
        }
        assert!(matches!("2001:db8::1".parse::<TunnelAddress>(), Err(TunnelAddressError::Ipv6 { .. })));
        for text in ["0.0.0.0", "224.0.0.1", "255.255.255.255"] {
            assert!(
                matches!(text.parse::<TunnelAddress>(), Err(TunnelAddressError::NotStation { .. })),
                "{text:?}"
            );
        }
    }
}
