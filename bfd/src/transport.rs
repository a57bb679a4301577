//! What carries control packets, and by what a receiver knows that they are from where they should be.

use std::ops::RangeInclusive;

use thiserror::Error;

/// RFC 5881 §4.
pub const SINGLE_HOP_PORT: u16 = 3784;
/// RFC 5883 §5.
pub const MULTI_HOP_PORT: u16 = 4784;
/// Of which a sender takes one per session (RFC 5881 §4).
pub const SOURCE_PORTS: RangeInclusive<u16> = 49_152..=65_535;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// Between neighbours: no router has lowered the TTL (RFC 5881 §5, RFC 5082).
    SingleHop,
    /// Across routers (RFC 5883).
    MultiHop,
    /// A single hop inside the tunnel, as Open vSwitch and TORs do it.
    Vxlan,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TransportError {
    #[error("the TTL is {found}, a neighbour's is 255 (RFC 5881 §5)")]
    Ttl { found: u8 },
    #[error("the packet came to UDP port {found}, expected {expected}")]
    Port { found: u16, expected: u16 },
}

impl Transport {
    pub const TTL: u8 = 255;

    pub const fn port(self) -> u16 {
        match self {
            Self::SingleHop | Self::Vxlan => SINGLE_HOP_PORT,
            Self::MultiHop => MULTI_HOP_PORT,
        }
    }

    pub const fn check(self, port: u16, ttl: u8) -> Result<(), TransportError> {
        if port != self.port() {
            return Err(TransportError::Port { found: port, expected: self.port() });
        }
        match self {
            // Inside a tunnel routers do not see the inner TTL; a sender that is no neighbour is still refused.
            Self::SingleHop | Self::Vxlan if ttl != Self::TTL => Err(TransportError::Ttl { found: ttl }),
            _ => Ok(()),
        }
    }
}
