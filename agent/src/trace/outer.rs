//! Outer headers, read from bytes: of frames that the programs made, and of frames that came from the underlay.

use std::fmt;
use std::net::IpAddr;

use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};
use serde::{Deserialize, Serialize};
use vtep_api::MacAddr;

const GENEVE_PORT: u16 = 6081;
const GRE: u8 = 47;
/// RFC 2890: a key follows.
const GRE_KEY: u8 = 0x20;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outer {
    pub src_mac: MacAddr,
    pub dst_mac: MacAddr,
    pub source: IpAddr,
    pub destination: IpAddr,
    /// TTL, or hop limit.
    pub ttl: u8,
    pub dscp: u8,
    pub ecn: u8,
    pub dont_fragment: bool,
    /// None of GRE.
    pub udp_source: Option<u16>,
    pub udp_destination: Option<u16>,
    /// `vxlan`, `geneve` or `gre`.
    pub encapsulation: String,
    pub vni: u32,
}

impl Outer {
    /// None if the bytes do not begin with the headers of a tunnel.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let packet = LaxSlicedPacket::from_ethernet(bytes).ok()?;
        let array = |at: usize| bytes.get(at..at + 6).and_then(|mac| mac.try_into().ok()).map(MacAddr::new);
        let (dst_mac, src_mac) = (array(0)?, array(6)?);
        let (source, destination, ttl, traffic_class, dont_fragment) = match packet.net.as_ref()? {
            LaxNetSlice::Ipv4(ip) => {
                let header = ip.header();
                let tos = header.dcp().value() << 2 | header.ecn().value();
                let (from, to) = (IpAddr::V4(header.source_addr()), IpAddr::V4(header.destination_addr()));
                (from, to, header.ttl(), tos, header.dont_fragment())
            }
            LaxNetSlice::Ipv6(ip) => {
                let header = ip.header();
                let (from, to) = (IpAddr::V6(header.source_addr()), IpAddr::V6(header.destination_addr()));
                (from, to, header.hop_limit(), header.traffic_class(), true)
            }
            LaxNetSlice::Arp(_) => return None,
        };
        let (ports, encapsulation, vni) = match &packet.transport {
            Some(TransportSlice::Udp(udp)) => {
                let tunnel: &[u8; 8] = udp.payload().first_chunk()?;
                let kind = if udp.destination_port() == GENEVE_PORT { "geneve" } else { "vxlan" };
                (Some((udp.source_port(), udp.destination_port())), kind, &tunnel[4..7])
            }
            None => {
                let payload = packet.net.as_ref()?.ip_payload_ref()?;
                let header: &[u8; 8] = payload.payload.first_chunk()?;
                if payload.ip_number.0 != GRE || header[0] & GRE_KEY == 0 {
                    return None;
                }
                (None, "gre", &header[4..7])
            }
            Some(_) => return None,
        };
        Some(Self {
            src_mac,
            dst_mac,
            source,
            destination,
            ttl,
            dscp: traffic_class >> 2,
            ecn: traffic_class & 3,
            dont_fragment,
            udp_source: ports.map(|(source, _)| source),
            udp_destination: ports.map(|(_, destination)| destination),
            encapsulation: encapsulation.to_owned(),
            vni: u32::from_be_bytes([0, vni[0], vni[1], vni[2]]),
        })
    }
}

impl fmt::Display for Outer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { src_mac, dst_mac, source, destination, ttl, dscp, ecn, encapsulation, vni, .. } = self;
        let df = if self.dont_fragment { ", DF" } else { "" };
        write!(f, "{src_mac} → {dst_mac}, {source} → {destination}, TTL {ttl}, DSCP {dscp}, ECN {ecn}{df}")?;
        if let (Some(source), Some(destination)) = (self.udp_source, self.udp_destination) {
            write!(f, ", UDP {source} → {destination}")?;
        }
        write!(f, ", {encapsulation} VNI {vni}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{IpNumber, PacketBuilder};

    const VXLAN: [u8; 22] = {
        let mut bytes = [0; 22];
        bytes[0] = 8;
        bytes[5] = 0x13;
        bytes[6] = 0x89;
        bytes
    };

    fn built(builder: impl FnOnce(&mut Vec<u8>)) -> Option<Outer> {
        let mut bytes = Vec::new();
        builder(&mut bytes);
        Outer::parse(&bytes)
    }

    #[test]
    fn vxlan_is_read_over_both_kinds_of_ip_though_cut_short() {
        let v4 = PacketBuilder::ethernet2([2; 6], [4; 6])
            .ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64)
            .udp(50000, 4789);
        let outer = built(|out| v4.write(out, &VXLAN).unwrap()).unwrap();
        assert_eq!((outer.vni, outer.encapsulation.as_str(), outer.udp_source), (5001, "vxlan", Some(50000)));
        assert_eq!((outer.source, outer.ttl), ("192.0.2.1".parse().unwrap(), 64));
        let v6 = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv6([1; 16], [2; 16], 9).udp(50000, 6081);
        let outer = built(|out| {
            v6.write(out, &VXLAN).unwrap();
            out.truncate(14 + 40 + 8 + 8);
        });
        assert_eq!(
            outer.map(|outer| (outer.vni, outer.encapsulation, outer.ttl)),
            Some((5001, "geneve".to_owned(), 9))
        );
    }

    #[test]
    fn gre_is_read_by_its_key() {
        let gre = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64);
        let payload = [0x20, 0, 0x65, 0x58, 0, 0x13, 0x89, 7];
        let outer = built(|out| gre.write(out, IpNumber(GRE), &payload).unwrap()).unwrap();
        assert_eq!((outer.vni, outer.udp_source, outer.encapsulation.as_str()), (5001, None, "gre"));
    }

    #[test]
    fn what_is_no_tunnel_is_none() {
        let plain =
            PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64).tcp(1, 2, 3, 4);
        assert_eq!(built(|out| plain.write(out, &[0; 20]).unwrap()), None);
        assert_eq!(Outer::parse(&[0; 10]), None);
    }
}
