//! Outer headers, read from bytes: of frames that the programs made, and of frames that came from the underlay.

use std::fmt;
use std::net::IpAddr;

use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};
use serde::{Deserialize, Serialize};
use vtep_api::MacAddr;

pub(crate) const GENEVE_PORT: u16 = 6081;
const GRE: u8 = 47;
/// RFC 2890: a key follows.
const GRE_KEY: u8 = 0x20;
/// As a protocol inside (`ETH_P_TEB`).
const ETHERNET: [u8; 2] = [0x65, 0x58];

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
    /// None if the bytes do not begin with the headers of a tunnel. `udp_port` is that of VXLAN.
    pub fn parse(bytes: &[u8], udp_port: u16) -> Option<Self> {
        Self::split(bytes, udp_port).map(|(outer, _)| outer)
    }

    /// And the inner frame, which is empty where the bytes end before or what is inside is not Ethernet.
    pub fn split(bytes: &[u8], udp_port: u16) -> Option<(Self, &[u8])> {
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
        let (ports, tunnel) = match &packet.transport {
            Some(TransportSlice::Udp(udp)) => {
                let tunnel = match udp.destination_port() {
                    port if port == udp_port => Tunnel::vxlan(udp.payload())?,
                    GENEVE_PORT => Tunnel::geneve(udp.payload())?,
                    _ => return None,
                };
                (Some((udp.source_port(), udp.destination_port())), tunnel)
            }
            None => {
                let payload = packet.net.as_ref()?.ip_payload_ref()?;
                (None, Tunnel::gre(payload.payload).filter(|_| payload.ip_number.0 == GRE)?)
            }
            Some(_) => return None,
        };
        let outer = Self {
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
            encapsulation: tunnel.name.to_owned(),
            vni: u32::from_be_bytes([0, tunnel.vni[0], tunnel.vni[1], tunnel.vni[2]]),
        };
        Some((outer, tunnel.inner))
    }
}

/// What stands behind the outer IP or UDP header.
struct Tunnel<'a> {
    name: &'static str,
    vni: [u8; 3],
    inner: &'a [u8],
}

impl<'a> Tunnel<'a> {
    /// RFC 7348 §5.
    fn vxlan(payload: &'a [u8]) -> Option<Self> {
        let ([_, _, _, _, a, b, c, _], inner) = payload.split_first_chunk::<8>()?;
        Some(Self { name: "vxlan", vni: [*a, *b, *c], inner })
    }

    /// RFC 8926 §3.4: options, in words of four bytes, stand before the inner frame.
    fn geneve(payload: &'a [u8]) -> Option<Self> {
        let ([first, _, high, low, a, b, c, _], rest) = payload.split_first_chunk::<8>()?;
        let options = usize::from(first & 0x3f) * 4;
        let inner = rest.get(options..).filter(|_| [*high, *low] == ETHERNET).unwrap_or_default();
        Some(Self { name: "geneve", vni: [*a, *b, *c], inner })
    }

    /// RFC 7637 §3.2; with a checksum or a sequence number it is not NVGRE (RFC 2890).
    fn gre(payload: &'a [u8]) -> Option<Self> {
        let ([flags, _, high, low, a, b, c, _], rest) = payload.split_first_chunk::<8>()?;
        let inner = if [*high, *low] == ETHERNET { rest } else { &[] };
        (*flags == GRE_KEY).then_some(Self { name: "gre", vni: [*a, *b, *c], inner })
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
        Outer::parse(&bytes, 4789)
    }

    const INNER: [u8; 14] = [2, 0, 0, 0, 0, 0xbb, 2, 0, 0, 0, 0, 0xaa, 8, 0];

    #[track_caller]
    fn check_inner(bytes: &[u8], encapsulation: &str, inner: &[u8]) {
        let (outer, found) = Outer::split(bytes, 4789).unwrap();
        assert_eq!((outer.encapsulation.as_str(), outer.vni, found), (encapsulation, 5001, inner));
    }

    fn over_udp(port: u16, payload: &[u8]) -> Vec<u8> {
        let udp = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64);
        let mut bytes = Vec::new();
        udp.udp(50000, port).write(&mut bytes, payload).unwrap();
        bytes
    }

    #[test]
    fn the_inner_frame_begins_behind_the_options() {
        let vxlan = [&VXLAN[..8], &INNER].concat();
        check_inner(&over_udp(4789, &vxlan), "vxlan", &INNER);
        let geneve = |words: u8| [words, 0, 0x65, 0x58, 0, 0x13, 0x89, 0];
        check_inner(&over_udp(6081, &[&geneve(0)[..], &INNER].concat()), "geneve", &INNER);
        let with_options = [&geneve(2)[..], &[1, 2, 3, 1, 9, 9, 9, 9], &INNER].concat();
        check_inner(&over_udp(6081, &with_options), "geneve", &INNER);
        check_inner(&over_udp(6081, &with_options[..14]), "geneve", &[]);
        let ip_inside = [&[0, 0, 8, 0, 0, 0x13, 0x89, 0][..], &INNER].concat();
        check_inner(&over_udp(6081, &ip_inside), "geneve", &[]);
    }

    #[test]
    fn a_datagram_to_another_port_is_no_tunnel() {
        let payload = [&VXLAN[..8], &INNER].concat();
        assert_eq!(Outer::parse(&over_udp(9, &payload), 4789), None);
        assert_eq!(Outer::parse(&over_udp(4789, &payload), 8472), None);
        assert!(Outer::parse(&over_udp(8472, &payload), 8472).is_some());
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
        let gre = || PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64);
        let payload = [0x20, 0, 0x65, 0x58, 0, 0x13, 0x89, 7];
        let payload = [&payload[..], &INNER].concat();
        let mut bytes = Vec::new();
        gre().write(&mut bytes, IpNumber(GRE), &payload).unwrap();
        check_inner(&bytes, "gre", &INNER);
        assert_eq!(Outer::parse(&bytes, 4789).unwrap().udp_source, None);
        let sequence = [&[0x30], &payload[1..]].concat();
        assert_eq!(built(|out| gre().write(out, IpNumber(GRE), &sequence).unwrap()), None);
    }

    #[test]
    fn what_is_no_tunnel_is_none() {
        let plain =
            PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64).tcp(1, 2, 3, 4);
        assert_eq!(built(|out| plain.write(out, &[0; 20]).unwrap()), None);
        assert_eq!(Outer::parse(&[0; 10], 4789), None);
    }
}
