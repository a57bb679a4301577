//! Toward VTEPs: outer headers (RFC 7348 §5, RFC 8926 §3, RFC 7637 §3.2), and who puts them on.

use std::net::IpAddr;

use super::{
    ecn,
    header::{ETHERNET, Ethernet, IPV4, IPV6, TUNNEL, TYPE_IPV4, TYPE_IPV6, UDP, internet_checksum},
    outcome::{Free, Leaving},
    tables::{Encapsulation, Vtep},
};

/// Transparent Ethernet bridging.
pub(super) const TYPE_BRIDGED: u16 = 0x6558;
pub(super) const GENEVE_PORT: u16 = 6081;

/// What of an IP packet an outer header may inherit.
struct InnerIp {
    tos: u8,
    ttl: u8,
    dont_fragment: bool,
}

impl InnerIp {
    fn of(frame: &[u8]) -> Option<Self> {
        let ethernet = Ethernet::parse(frame)?;
        let packet = ethernet.payload();
        match ethernet.kind() {
            TYPE_IPV4 if packet.len() >= 9 => {
                Some(Self { tos: packet[1], ttl: packet[8], dont_fragment: packet[6] & 0x40 != 0 })
            }
            // Nobody fragments IPv6 on the way.
            TYPE_IPV6 if packet.len() >= 9 => {
                Some(Self { tos: packet[0] << 4 | packet[1] >> 4, ttl: packet[7], dont_fragment: true })
            }
            _ => None,
        }
    }
}

/// Of the outer packet, without Ethernet.
pub(super) fn outer_length(vtep: &Vtep) -> usize {
    let ip = if vtep.remote.is_ipv4() { IPV4 } else { IPV6 };
    ip + TUNNEL + if vtep.encapsulation == Encapsulation::Nvgre { 0 } else { UDP }
}

/// The frame is never fragmented: its outer packet has to fit the path.
pub(super) fn fits(length: usize, vtep: &Vtep) -> bool {
    outer_length(vtep) + length <= usize::from(vtep.mtu)
}

/// The largest inner IP packet on the way.
pub(super) fn room(vtep: &Vtep) -> u16 {
    vtep.mtu.saturating_sub(u16::try_from(outer_length(vtep) + ETHERNET).expect("headers are short"))
}

pub(super) fn encapsulated(frame: &[u8], vni: u32, vtep: &Vtep) -> Leaving {
    let mut free = Vec::new();
    let mut head = [vtep.next_hop, vtep.uplink_mac].concat();
    ip(frame, vtep, &mut head, &mut free);
    let [_, a, b, c] = vni.to_be_bytes();
    if vtep.encapsulation != Encapsulation::Nvgre {
        free.push(Free::Port { at: head.len(), range: vtep.source_ports });
        let length = u16::try_from(UDP + TUNNEL + frame.len()).expect("it fits the path's MTU");
        let port = if vtep.encapsulation == Encapsulation::Vxlan { vtep.udp_port } else { GENEVE_PORT };
        head.extend([0, port, length].map(u16::to_be_bytes).concat());
        // No checksum (RFC 7348 §5, RFC 6935 §5).
        head.extend([0, 0]);
    }
    match vtep.encapsulation {
        Encapsulation::Vxlan => head.extend([8, 0, 0, 0, a, b, c, 0]),
        Encapsulation::Geneve => head.extend([0, 0, 0x65, 0x58, a, b, c, 0]),
        Encapsulation::Nvgre => {
            head.extend([0x20, 0, 0x65, 0x58, a, b, c, 0]);
            free.push(Free::Bits { at: head.len() - 1, mask: 0xff });
        }
    }
    Leaving { free, ..Leaving::plain(vtep.uplink, [&head, frame].concat()) }
}

fn ip(frame: &[u8], vtep: &Vtep, head: &mut Vec<u8>, free: &mut Vec<Free>) {
    let policy = &vtep.policy;
    let inner = InnerIp::of(frame);
    let tos = match &inner {
        Some(inner) if policy.inherits_dscp => inner.tos,
        // RFC 6040 §4.1: ECN is copied always.
        _ => policy.dscp << 2 | ecn::field(frame).unwrap_or(ecn::NOT_ECT),
    };
    let ttl = match &inner {
        Some(inner) if policy.inherits_ttl && inner.ttl != 0 => inner.ttl,
        _ => policy.ttl,
    };
    let dont_fragment = match &inner {
        Some(inner) if policy.inherits_dont_fragment => inner.dont_fragment,
        _ => policy.dont_fragment,
    };
    let protocol = if vtep.encapsulation == Encapsulation::Nvgre { 47 } else { 17 };
    let length = outer_length(vtep) + frame.len();
    let word = |length: usize| u16::try_from(length).expect("it fits the path's MTU").to_be_bytes();
    match (vtep.local, vtep.remote) {
        (IpAddr::V4(local), IpAddr::V4(remote)) => {
            head.extend(TYPE_IPV4.to_be_bytes());
            let mut ip = vec![0x45, tos];
            ip.extend(word(length));
            // What is not fragmented needs no identification (RFC 6864 §4.1).
            ip.extend([0, 0, if dont_fragment { 0x40 } else { 0 }, 0, ttl, protocol, 0, 0]);
            ip.extend(local.octets());
            ip.extend(remote.octets());
            let sum = internet_checksum(&ip);
            ip[10..12].copy_from_slice(&sum.to_be_bytes());
            if !dont_fragment {
                free.push(Free::Identification { header: head.len() });
            }
            head.extend(ip);
        }
        (IpAddr::V6(local), IpAddr::V6(remote)) => {
            head.extend(TYPE_IPV6.to_be_bytes());
            // The flow label is any.
            let at = head.len() + 1;
            free.extend(
                [(at, 0x0f), (at + 1, 0xff), (at + 2, 0xff)].map(|(at, mask)| Free::Bits { at, mask }),
            );
            head.extend([0x60 | tos >> 4, tos << 4, 0, 0]);
            head.extend(word(length - IPV6));
            head.extend([protocol, ttl]);
            head.extend(local.octets());
            head.extend(remote.octets());
        }
        _ => panic!("both ends of a tunnel are of one family"),
    }
}
