//! A VTEP's template: its outer headers, but for what depends on the frame.

use core::net::IpAddr;

use vtep_abi::{Template, VtepAdj, mapped_v4};

use crate::checksum::fold;
use crate::{
    ETH_LEN, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_TEB, Encapsulation, GENEVE_PORT, IPPROTO_GRE,
    IPPROTO_UDP, IPV4_LEN, IPV6_LEN, Shape, TUNNEL_LEN, UDP_LEN,
};

/// RFC 7348 §5: a VNI is there.
const VXLAN_FLAG_I: u8 = 0x08;
/// RFC 2890 §2: a key is there, which RFC 7637 §3.2 makes the VSID and the `FlowID`.
const GRE_KEY: u8 = 0x20;

/// Both ends of a tunnel.
#[derive(Clone, Copy, Debug)]
pub struct Tunnel {
    pub encapsulation: Encapsulation,
    /// Both of one family.
    pub local: IpAddr,
    pub remote: IpAddr,
    /// Of VXLAN.
    pub udp_port: u16,
}

/// What an operator wants of the outer header's fields.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Where it is not the inner packet's; so for `dscp`, of six bits.
    pub ttl: u8,
    pub dscp: u8,
    /// [`VtepAdj`] flags: what is inherited, and "don't fragment".
    pub flags: u16,
    /// First and last.
    pub source_ports: (u16, u16),
}

impl Tunnel {
    /// An adjacency without a way: no interface, no next hop. `None`: the ends are of different families.
    pub fn adjacency(&self, policy: &Policy) -> Option<VtepAdj> {
        let shape = self.shape()?;
        let mut template = Template { bytes: [0; Template::LEN] };
        let start = Template::LEN - shape.outer_len();
        let headers = &mut template.bytes[start..];
        let (ethernet, ip) = headers.split_at_mut(ETH_LEN);
        let ether_type = if shape.is_ipv6() { ETHERTYPE_IPV6 } else { ETHERTYPE_IPV4 };
        ethernet[12..].copy_from_slice(&ether_type.to_be_bytes());
        let protocol = if shape.is_udp() { IPPROTO_UDP } else { IPPROTO_GRE };
        let (payload, checksum_base) = match (self.local, self.remote) {
            (IpAddr::V4(local), IpAddr::V4(remote)) => {
                let (header, payload) = ip.split_at_mut(IPV4_LEN);
                header[0] = 0x45;
                header[9] = protocol;
                header[12..16].copy_from_slice(&local.octets());
                header[16..].copy_from_slice(&remote.octets());
                let base = checksum_base(header);
                (payload, base)
            }
            (IpAddr::V6(local), IpAddr::V6(remote)) => {
                let (header, payload) = ip.split_at_mut(IPV6_LEN);
                header[0] = 0x60;
                header[6] = protocol;
                header[8..24].copy_from_slice(&local.octets());
                header[24..].copy_from_slice(&remote.octets());
                (payload, 0)
            }
            _ => return None,
        };
        self.tunnel_header(payload);
        let Policy { ttl, dscp, flags, source_ports: (first, last) } = *policy;
        Some(VtepAdj {
            ifindex: 0,
            mtu: 0,
            flags,
            checksum_base,
            source_port_first: first,
            source_port_last: last,
            outer_len: shape.outer_len() as u8,
            encap: self.encapsulation.code(),
            template,
            remote: bytes(self.remote),
            local: bytes(self.local),
            ttl,
            tos: dscp << 2,
            pad: [0; 6],
        })
    }

    fn shape(&self) -> Option<Shape> {
        let udp = !matches!(self.encapsulation, Encapsulation::Nvgre);
        match (self.local, self.remote, udp) {
            (IpAddr::V4(_), IpAddr::V4(_), true) => Some(Shape::Ipv4Udp),
            (IpAddr::V4(_), IpAddr::V4(_), false) => Some(Shape::Ipv4Gre),
            (IpAddr::V6(_), IpAddr::V6(_), true) => Some(Shape::Ipv6Udp),
            (IpAddr::V6(_), IpAddr::V6(_), false) => Some(Shape::Ipv6Gre),
            _ => None,
        }
    }

    /// What stands behind the IP header.
    fn tunnel_header(&self, payload: &mut [u8]) {
        let (udp, header) = payload.split_at_mut(payload.len() - TUNNEL_LEN);
        let port = match self.encapsulation {
            Encapsulation::Vxlan => {
                header[0] = VXLAN_FLAG_I;
                self.udp_port
            }
            Encapsulation::Geneve => {
                header[2..4].copy_from_slice(&ETHERTYPE_TEB.to_be_bytes());
                GENEVE_PORT
            }
            Encapsulation::Nvgre => {
                header[0] = GRE_KEY;
                header[2..4].copy_from_slice(&ETHERTYPE_TEB.to_be_bytes());
                return;
            }
        };
        debug_assert_eq!(udp.len(), UDP_LEN, "a header in UDP is one that has a port");
        udp[2..4].copy_from_slice(&port.to_be_bytes());
    }
}

const fn bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => mapped_v4(v4.octets()),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// RFC 1071, not complemented.
fn checksum_base(header: &[u8]) -> u16 {
    let words = header.chunks_exact(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    fold(words.sum())
}
