//! A control packet as the inner frame of a tunnel: what `bfd_config_local` and `bfd_config_remote` of `hardware_vtep`
//! (`vtep(5)`) say of it, and Open vSwitch sends.

use std::net::Ipv4Addr;

use thiserror::Error;

use crate::packet::Packet;
use crate::transport::{SINGLE_HOP_PORT, Transport};

/// Addresses inside the tunnel. They mean something to its two ends only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inner {
    pub dst_mac: [u8; 6],
    pub src_mac: [u8; 6],
    pub dst_ip: Ipv4Addr,
    pub src_ip: Ipv4Addr,
    pub src_port: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InnerError {
    #[error("the frame has {found} bytes, expected at least {}", Inner::LEN)]
    Short { found: usize },
    #[error("the frame's type is {found:#06x}, expected IPv4")]
    EtherType { found: u16 },
    #[error("the IP header is not one of version 4 without options: its first byte is {found:#04x}")]
    Header { found: u8 },
    #[error("the packet is a fragment")]
    Fragment,
    #[error("the IP protocol is {found}, expected UDP")]
    Protocol { found: u8 },
    #[error("the UDP length is {found}, the frame has {room} bytes for it")]
    UdpLength { found: u16, room: usize },
}

impl Inner {
    /// Ethernet, IPv4 and UDP.
    pub const HEADERS_LEN: usize = 14 + 20 + 8;
    pub const LEN: usize = Self::HEADERS_LEN + Packet::LEN;
    /// Where a peer that said nothing else is to be sent to.
    pub const DST_MAC: [u8; 6] = [0x00, 0x23, 0x20, 0x00, 0x00, 0x01];
    pub const LOCAL_IP: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 0);
    pub const REMOTE_IP: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

    pub fn wrap(&self, packet: &Packet) -> [u8; Self::LEN] {
        const IP: usize = 14;
        const UDP: usize = IP + 20;
        // Class selector 6, as for other control traffic.
        const TOS: u8 = 0xc0;
        let mut frame = [0; Self::LEN];
        frame[..6].copy_from_slice(&self.dst_mac);
        frame[6..12].copy_from_slice(&self.src_mac);
        frame[12..14].copy_from_slice(&0x0800_u16.to_be_bytes());
        frame[IP..IP + 2].copy_from_slice(&[0x45, TOS]);
        frame[IP + 2..IP + 4].copy_from_slice(&len(Self::LEN - IP).to_be_bytes());
        frame[IP + 8] = Transport::TTL;
        frame[IP + 9] = 17;
        frame[IP + 12..IP + 16].copy_from_slice(&self.src_ip.octets());
        frame[IP + 16..IP + 20].copy_from_slice(&self.dst_ip.octets());
        let sum = checksum(&frame[IP..UDP]);
        frame[IP + 10..IP + 12].copy_from_slice(&sum.to_be_bytes());
        frame[UDP..UDP + 2].copy_from_slice(&self.src_port.to_be_bytes());
        frame[UDP + 2..UDP + 4].copy_from_slice(&SINGLE_HOP_PORT.to_be_bytes());
        frame[UDP + 4..UDP + 6].copy_from_slice(&len(Self::LEN - UDP).to_be_bytes());
        frame[Self::HEADERS_LEN..].copy_from_slice(&packet.bytes());
        frame
    }

    /// The UDP datagram's destination port, the TTL and the payload. Its addresses are not looked at: ends disagree on
    /// them without harm, and the tunnel's own addresses say who sent it.
    pub fn unwrap(frame: &[u8]) -> Result<(u16, u8, &[u8]), InnerError> {
        let short = InnerError::Short { found: frame.len() };
        let (headers, _) = frame.split_first_chunk::<{ Self::HEADERS_LEN }>().ok_or(short)?;
        let u16_at = |at: usize| u16::from_be_bytes([headers[at], headers[at + 1]]);
        if u16_at(12) != 0x0800 {
            return Err(InnerError::EtherType { found: u16_at(12) });
        }
        if headers[14] != 0x45 {
            return Err(InnerError::Header { found: headers[14] });
        }
        if u16_at(20) & 0x3fff != 0 {
            return Err(InnerError::Fragment);
        }
        if headers[23] != 17 {
            return Err(InnerError::Protocol { found: headers[23] });
        }
        let (found, room) = (u16_at(38), frame.len() - 34);
        let payload = frame.get(Self::HEADERS_LEN..34 + usize::from(found));
        Ok((u16_at(36), headers[22], payload.ok_or(InnerError::UdpLength { found, room })?))
    }
}

fn len(bytes: usize) -> u16 {
    u16::try_from(bytes).expect("the frame is small")
}

/// RFC 1071, over an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !u16::try_from((folded & 0xffff) + (folded >> 16)).expect("folded twice")
}
