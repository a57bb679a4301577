//! Addresses of tunnel endpoints.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An address to and from which tunnels can go: one station's, in the whole underlay.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct TunnelAddress(IpAddr);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TunnelAddressError {
    #[error("address {text:?} is malformed; expected an IP address such as 192.0.2.1 or 2001:db8::1")]
    Malformed { text: String },
    #[error("address {address} names no single station of the underlay; expected a unicast IP address")]
    NotStation { address: IpAddr },
}

impl TunnelAddress {
    pub const fn ip(self) -> IpAddr {
        self.0
    }
}

impl TryFrom<IpAddr> for TunnelAddress {
    type Error = TunnelAddressError;

    fn try_from(address: IpAddr) -> Result<Self, Self::Error> {
        // An IPv4 address mapped into IPv6 is the IPv4 address.
        let address = address.to_canonical();
        let one = match address {
            IpAddr::V4(v4) => !v4.is_broadcast(),
            // A link-local address means something else on each interface.
            IpAddr::V6(v6) => !v6.is_unicast_link_local(),
        };
        if one && !address.is_unspecified() && !address.is_multicast() {
            Ok(Self(address))
        } else {
            Err(TunnelAddressError::NotStation { address })
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

/// Our own: one, or one of each family. The first is what sources are told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(into = "Written", try_from = "Written")]
pub struct OwnAddresses {
    first: TunnelAddress,
    /// Of the other family.
    second: Option<TunnelAddress>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{given} addresses, of which two are of one family or none is there; expected one, or an IPv4 and an IPv6 address"
)]
pub struct OwnAddressesError {
    given: usize,
}

/// As they stand in the file.
#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "an IP address, or a list of an IPv4 and an IPv6 address")]
enum Written {
    One(String),
    List(Vec<String>),
}

impl OwnAddresses {
    pub const fn first(self) -> IpAddr {
        self.first.ip()
    }

    pub fn iter(self) -> impl Iterator<Item = IpAddr> {
        std::iter::once(self.first).chain(self.second).map(TunnelAddress::ip)
    }

    pub fn contains(self, address: IpAddr) -> bool {
        self.iter().any(|own| own == address)
    }

    /// From which frames to `remote` are sent.
    pub fn toward(self, remote: IpAddr) -> Option<IpAddr> {
        self.iter().find(|own| own.is_ipv4() == remote.is_ipv4())
    }

    pub fn v4(self) -> Option<Ipv4Addr> {
        self.iter().find_map(|own| if let IpAddr::V4(v4) = own { Some(v4) } else { None })
    }

    pub fn v6(self) -> Option<Ipv6Addr> {
        self.iter().find_map(|own| if let IpAddr::V6(v6) = own { Some(v6) } else { None })
    }
}

impl From<TunnelAddress> for OwnAddresses {
    fn from(first: TunnelAddress) -> Self {
        Self { first, second: None }
    }
}

impl TryFrom<Vec<TunnelAddress>> for OwnAddresses {
    type Error = OwnAddressesError;

    fn try_from(addresses: Vec<TunnelAddress>) -> Result<Self, Self::Error> {
        match addresses[..] {
            [first] => Ok(first.into()),
            [first, second] if first.ip().is_ipv4() != second.ip().is_ipv4() => {
                Ok(Self { first, second: Some(second) })
            }
            _ => Err(OwnAddressesError { given: addresses.len() }),
        }
    }
}

impl TryFrom<Written> for OwnAddresses {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, Self::Error> {
        let texts = match written {
            Written::One(text) => vec![text],
            Written::List(texts) => texts,
        };
        let addresses: Result<Vec<TunnelAddress>, _> = texts.iter().map(|text| text.parse()).collect();
        let addresses = addresses.map_err(|error: TunnelAddressError| error.to_string())?;
        Self::try_from(addresses).map_err(|error| error.to_string())
    }
}

impl From<OwnAddresses> for Written {
    fn from(own: OwnAddresses) -> Self {
        match own.second {
            None => Self::One(own.first.into()),
            Some(second) => Self::List(vec![own.first.into(), second.into()]),
        }
    }
}

impl fmt::Display for OwnAddresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.first, f)?;
        self.second.map_or(Ok(()), |second| write!(f, ", {second}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_unicast_address_of_the_whole_underlay_is_a_tunnel_endpoint() {
        for text in ["192.0.2.1", "2001:db8::1", "fd00::1", "::1"] {
            assert_eq!(text.parse::<TunnelAddress>().unwrap().to_string(), text);
        }
        assert_eq!("::ffff:192.0.2.1".parse::<TunnelAddress>(), "192.0.2.1".parse());
        for text in ["", "192.0.2", "192.0.2.1 ", "tor-a", "2001:db8::g", "fe80::1%eth0"] {
            assert!(
                matches!(text.parse::<TunnelAddress>(), Err(TunnelAddressError::Malformed { .. })),
                "{text:?}"
            );
        }
        for text in ["0.0.0.0", "224.0.0.1", "255.255.255.255", "::", "ff02::1", "fe80::1"] {
            assert!(
                matches!(text.parse::<TunnelAddress>(), Err(TunnelAddressError::NotStation { .. })),
                "{text:?}"
            );
        }
    }

    #[test]
    fn our_own_are_one_or_one_of_each_family() {
        let own = |texts: &[&str]| {
            OwnAddresses::try_from(texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>())
        };
        let both = own(&["2001:db8::1", "192.0.2.1"]).unwrap();
        assert_eq!(both.first(), "2001:db8::1".parse::<IpAddr>().unwrap());
        assert_eq!(both.toward("192.0.2.9".parse().unwrap()), "192.0.2.1".parse().ok());
        assert_eq!(own(&["192.0.2.1"]).unwrap().toward("2001:db8::9".parse().unwrap()), None);
        for refused in [&[][..], &["192.0.2.1", "192.0.2.2"], &["::1", "::2"], &["::1", "192.0.2.1", "::2"]] {
            assert!(own(refused).is_err(), "{refused:?}");
        }
    }
}
