//! What the kernel's tunnel device does with a frame that the programs leave to it. No test-run goes through a device, so
//! this is derived: from the key that the program gives it, and from the outer headers that it takes off.

use std::fmt;

use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice, UdpHeader};
use serde::{Deserialize, Serialize};
use vtep_abi::{AddrBytes, VtepAdj, mapped_v4};
use vtep_outer::{Inner, InnerIp, Shape, ecn};

use super::outer::Outer;

const ETHERNET: usize = 14;
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];

/// Derived, not run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "does", rename_all = "snake_case")]
pub enum DeviceRow {
    /// With the next hop that the kernel finds.
    Encapsulates {
        device: String,
        /// The MAC addresses are those of an earlier next hop, or zero.
        outer: Outer,
        /// The kernel takes one of them by a hash of the flow.
        udp_sources: (u16, u16),
        interface: Option<String>,
    },
    Decapsulates {
        device: String,
        /// The inner field, where RFC 6040 makes another one of it.
        ecn: Option<u8>,
    },
    Drops {
        device: String,
        why: String,
    },
}

/// The headers that the device puts around a frame, by the key of [`VtepAdj`].
pub fn encapsulated(adj: &VtepAdj, udp_port: u16, vni: u32, frame: &[u8]) -> Option<Outer> {
    let inner = Inner {
        ethernet: bytemuck::must_cast(*frame.first_chunk::<ETHERNET>()?),
        vni,
        len: u32::try_from(frame.len()).ok()?,
        packet_len: 0,
        ip: inner_ip(frame),
        flow_hash: 0,
        identification: 0,
    };
    let shape = Shape::from_len(adj.outer_len).filter(|shape| shape.is_udp())?;
    Outer::parse(vtep_outer::Outer::new(adj, shape, &inner).bytes(shape), udp_port)
}

fn inner_ip(frame: &[u8]) -> InnerIp {
    let packet = LaxSlicedPacket::from_ethernet(frame).ok();
    match packet.and_then(|packet| packet.net) {
        Some(LaxNetSlice::Ipv4(ip)) => {
            let header = ip.header();
            let tos = header.dcp().value() << 2 | header.ecn().value();
            InnerIp { is_ip: true, tos, ttl: header.ttl(), dont_fragment: header.dont_fragment() }
        }
        Some(LaxNetSlice::Ipv6(ip)) => {
            let header = ip.header();
            let (tos, ttl) = (header.traffic_class(), header.hop_limit());
            InnerIp { is_ip: true, tos, ttl, dont_fragment: true }
        }
        _ => InnerIp::NONE,
    }
}

/// A frame that left its tunnel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inside {
    pub vni: u32,
    pub sender: AddrBytes,
    pub frame: Vec<u8>,
    pub ecn: Option<u8>,
}

/// Why the device hands a frame of ours on to nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("no VXLAN in UDP")]
    NoTunnel,
    #[error("UDP checksum {found:#06x}; expected {expected:#06x} or zero")]
    Checksum { found: u16, expected: u16 },
}

/// A frame from the underlay as the device hands it on. It has tags in its bytes, where the kernel will take the first out.
pub fn decapsulated(frame: &[u8], udp_port: u16) -> Result<Inside, Refused> {
    let packet = LaxSlicedPacket::from_ethernet(frame).map_err(|_| Refused::NoTunnel)?;
    let Some(TransportSlice::Udp(udp)) = &packet.transport else { return Err(Refused::NoTunnel) };
    let header = udp.to_header();
    let payload = udp.payload();
    let (expected, sender, outer_tos) = match packet.net.as_ref().ok_or(Refused::NoTunnel)? {
        LaxNetSlice::Ipv4(ip) => {
            let ip = ip.header();
            let tos = ip.dcp().value() << 2 | ip.ecn().value();
            (header.calc_checksum_ipv4(&ip.to_header(), payload), mapped_v4(ip.source()), tos)
        }
        LaxNetSlice::Ipv6(ip) => {
            let ip = ip.header();
            (header.calc_checksum_ipv6(&ip.to_header(), payload), ip.source(), ip.traffic_class())
        }
        LaxNetSlice::Arp(_) => return Err(Refused::NoTunnel),
    };
    check(&header, expected.map_err(|_| Refused::NoTunnel)?)?;
    let (outer, inner) = Outer::split(frame, udp_port).ok_or(Refused::NoTunnel)?;
    let mut frame = inner.to_vec();
    let ecn = combine(&mut frame, outer_tos);
    Ok(Inside { vni: outer.vni, sender, frame, ecn })
}

fn check(header: &UdpHeader, expected: u16) -> Result<(), Refused> {
    let found = header.checksum;
    if found == 0 || found == expected { Ok(()) } else { Err(Refused::Checksum { found, expected }) }
}

/// RFC 6040 §4.2, by which `uplink_in` has dropped what is to be dropped already. The new field, if it is another one.
fn combine(frame: &mut [u8], outer_tos: u8) -> Option<u8> {
    const CHECKSUM: usize = ETHERNET + 10;
    let ether_type: [u8; 2] = frame.get(12..ETHERNET)?.try_into().ok()?;
    let head: [u8; 2] = frame.get(ETHERNET..ETHERNET + 2)?.try_into().ok()?;
    let old = match ether_type {
        IPV4 => head[1],
        IPV6 => head[0] << 4 | head[1] >> 4,
        _ => return None,
    };
    let combined = ecn::combine(old, outer_tos)?;
    let new = ecn::with(old, combined);
    if new == old {
        return None;
    }
    if ether_type == IPV4 {
        let before = frame.get(CHECKSUM..CHECKSUM + 2)?.try_into().ok()?;
        let checksum = ecn::checksum(u16::from_be_bytes(before), old, new);
        frame[CHECKSUM..CHECKSUM + 2].copy_from_slice(&checksum.to_be_bytes());
        frame[ETHERNET + 1] = new;
    } else {
        frame[ETHERNET..ETHERNET + 2]
            .copy_from_slice(&[head[0] & 0xf0 | new >> 4, new << 4 | head[1] & 0x0f]);
    }
    Some(combined)
}

impl fmt::Display for DeviceRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(derived, not run) ")?;
        match self {
            Self::Encapsulates { device, outer, udp_sources: (first, last), interface } => {
                let Outer { source, destination, ttl, dscp, ecn, .. } = outer;
                let df = if outer.dont_fragment { ", DF" } else { "" };
                write!(
                    f,
                    "{device} puts around it {source} → {destination}, TTL {ttl}, DSCP {dscp}, ECN {ecn}{df}"
                )?;
                let port = outer.udp_destination.unwrap_or_default();
                write!(f, ", UDP {first}–{last} → {port}, {} VNI {}", outer.encapsulation, outer.vni)?;
                let via = interface.as_deref().unwrap_or("the kernel's route");
                write!(f, ", via {via}; the kernel finds the next hop and keeps the frame meanwhile")
            }
            Self::Decapsulates { device, ecn } => {
                write!(f, "{device} takes the outer headers off")?;
                ecn.map_or(Ok(()), |ecn| write!(f, ", and the inner ECN field becomes {ecn}"))
            }
            Self::Drops { device, why } => write!(f, "{device} drops it: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::*;

    const VXLAN: [u8; 8] = [8, 0, 0, 0, 0, 0x13, 0x89, 0];

    fn inner(ecn: u8) -> Vec<u8> {
        let mut frame = Vec::new();
        let builder = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        let mut header =
            etherparse::Ipv4Header::new(8 + 4, 64, etherparse::ip_number::UDP, [10, 0, 0, 1], [10, 0, 0, 2])
                .unwrap();
        header.ecn = etherparse::IpEcn::try_new(ecn).unwrap();
        builder
            .ip(etherparse::IpHeaders::Ipv4(header, etherparse::Ipv4Extensions::default()))
            .udp(1, 2)
            .write(&mut frame, &[7; 4])
            .unwrap();
        frame
    }

    fn outer(ecn: u8, inner: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        let payload = [&VXLAN[..], inner].concat();
        let length = u16::try_from(payload.len() + 8).unwrap();
        let mut header = etherparse::Ipv4Header::new(
            length,
            64,
            etherparse::ip_number::UDP,
            [192, 0, 2, 11],
            [192, 0, 2, 1],
        )
        .unwrap();
        header.ecn = etherparse::IpEcn::try_new(ecn).unwrap();
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6]);
        builder
            .ip(etherparse::IpHeaders::Ipv4(header, etherparse::Ipv4Extensions::default()))
            .udp(50_000, 4789)
            .write(&mut frame, &payload)
            .unwrap();
        frame
    }

    #[test]
    fn what_leaves_the_tunnel_is_the_inner_frame_with_both_fields_of_ecn() {
        let inside = decapsulated(&outer(ecn::ECT_0, &inner(ecn::ECT_0)), 4789).unwrap();
        let sender = mapped_v4([192, 0, 2, 11]);
        assert_eq!(inside, Inside { vni: 5001, sender, frame: inner(ecn::ECT_0), ecn: None });
        let marked = decapsulated(&outer(ecn::CE, &inner(ecn::ECT_0)), 4789).unwrap();
        assert_eq!((marked.frame, marked.ecn), (inner(ecn::CE), Some(ecn::CE)));
    }

    #[test]
    fn a_wrong_checksum_ends_in_the_kernel_and_none_does_not() {
        let mut frame = outer(0, &inner(0));
        frame[40] ^= 1;
        assert!(matches!(decapsulated(&frame, 4789), Err(Refused::Checksum { .. })));
        frame[40..42].fill(0);
        assert!(decapsulated(&frame, 4789).is_ok());
        assert_eq!(decapsulated(&[0; 20], 4789), Err(Refused::NoTunnel));
    }
}
