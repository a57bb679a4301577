use crate::{ETH_LEN, IPV4_LEN, IPV6_LEN, TUNNEL_LEN, UDP_LEN};

/// Which headers stand in front of the inner frame, as far as it decides lengths and places.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    Ipv4Udp,
    Ipv6Udp,
    Ipv4Gre,
    Ipv6Gre,
}

impl Shape {
    pub const IPV4_UDP_LEN: usize = ETH_LEN + IPV4_LEN + UDP_LEN + TUNNEL_LEN;
    pub const IPV6_UDP_LEN: usize = ETH_LEN + IPV6_LEN + UDP_LEN + TUNNEL_LEN;
    pub const IPV4_GRE_LEN: usize = ETH_LEN + IPV4_LEN + TUNNEL_LEN;
    pub const IPV6_GRE_LEN: usize = ETH_LEN + IPV6_LEN + TUNNEL_LEN;

    /// The lengths are all different.
    #[inline(always)]
    pub const fn from_len(len: u8) -> Option<Self> {
        match len as usize {
            Self::IPV4_UDP_LEN => Some(Self::Ipv4Udp),
            Self::IPV6_UDP_LEN => Some(Self::Ipv6Udp),
            Self::IPV4_GRE_LEN => Some(Self::Ipv4Gre),
            Self::IPV6_GRE_LEN => Some(Self::Ipv6Gre),
            _ => None,
        }
    }

    /// Of the outer headers, Ethernet among them, in bytes.
    #[inline(always)]
    pub const fn outer_len(self) -> usize {
        match self {
            Self::Ipv4Udp => Self::IPV4_UDP_LEN,
            Self::Ipv6Udp => Self::IPV6_UDP_LEN,
            Self::Ipv4Gre => Self::IPV4_GRE_LEN,
            Self::Ipv6Gre => Self::IPV6_GRE_LEN,
        }
    }

    #[inline(always)]
    pub const fn is_ipv6(self) -> bool {
        matches!(self, Self::Ipv6Udp | Self::Ipv6Gre)
    }

    #[inline(always)]
    pub const fn is_udp(self) -> bool {
        matches!(self, Self::Ipv4Udp | Self::Ipv6Udp)
    }
}
