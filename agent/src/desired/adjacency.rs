//! The outer header of frames to one VTEP.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use vtep_abi::{AddrBytes, VtepAdj, mapped_v4};

use crate::config;
use crate::underlay::Path;

/// The adjacency of `remote` over `path`, or one that says that there is no way.
pub(super) fn adjacency(settings: &config::Underlay, remote: Ipv4Addr, path: Option<&Path>) -> VtepAdj {
    let local = settings.address.v4();
    let ttl = settings.ttl.as_u8();
    let mut adj = VtepAdj {
        remote: mapped_v4(remote.octets()),
        local: mapped_v4(local.octets()),
        dst_mac: [0; 6],
        src_mac: [0; 6],
        ifindex: 0,
        mtu: 0,
        udp_port: settings.udp_port.as_u16().to_be_bytes(),
        ttl,
        dscp: settings.dscp.as_u8() << 2,
        checksum_base: checksum_base(ttl, local, remote),
        flags: 0,
        encap: VtepAdj::VXLAN,
        pad: [0; 5],
    };
    if let Some(path) = path {
        adj.flags |= VtepAdj::ROUTED;
        adj.ifindex = path.ifindex;
        adj.mtu = u16::try_from(path.mtu).unwrap_or(u16::MAX);
        adj.src_mac = path.src_mac.octets();
        if let Some(next_hop) = path.dst_mac {
            adj.flags |= VtepAdj::RESOLVED;
            adj.dst_mac = next_hop.octets();
        }
    }
    adj
}

/// RFC 1071 over the words of the outer header that are the same for every frame: version and length, "don't
/// fragment", TTL and protocol, addresses.
fn checksum_base(ttl: u8, local: Ipv4Addr, remote: Ipv4Addr) -> u16 {
    const IPPROTO_UDP: u8 = 17;
    let words = |address: Ipv4Addr| {
        let [a, b, c, d] = address.octets();
        u32::from(u16::from_be_bytes([a, b])) + u32::from(u16::from_be_bytes([c, d]))
    };
    let fixed = 0x4500 + 0x4000 + u32::from(u16::from_be_bytes([ttl, IPPROTO_UDP]));
    let sum = fixed + words(local) + words(remote);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    u16::try_from(sum).unwrap_or(u16::MAX)
}

/// The address that stands in a map.
pub fn ip(bytes: AddrBytes) -> IpAddr {
    Ipv6Addr::from(bytes).to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_base_and_the_rest_make_a_header_checksum() {
        let (local, remote) = (Ipv4Addr::new(192, 168, 255, 254), Ipv4Addr::new(203, 0, 113, 255));
        let (tos, length) = (0xb8_u8, 1550_u16);
        let sum = u32::from(checksum_base(64, local, remote)) + u32::from(tos) + u32::from(length);
        let checksum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();

        let mut header = vec![0x45, tos];
        header.extend(length.to_be_bytes());
        header.extend([0, 0, 0x40, 0, 64, 17]);
        header.extend(checksum.to_be_bytes());
        header.extend(local.octets());
        header.extend(remote.octets());
        let mut sum: u32 =
            header.chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        assert_eq!(sum, 0xffff);
    }
}
