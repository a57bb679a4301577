//! Toward VTEPs: outer headers (RFC 7348 §5), and who puts them on.

use super::{
    ecn,
    header::{ETHERNET, IPV4, TYPE_IPV4, UDP, VXLAN, internet_checksum},
    outcome::{Leaving, SourcePort},
    tables::Vtep,
};

/// How a frame gets its outer headers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    Program,
    /// The kernel's tunnel device gets the frame as it is.
    Device,
}

/// The frame is never fragmented: its outer packet has to fit the path.
pub(super) fn fits(frame: &[u8], vtep: &Vtep) -> bool {
    let outer_packet = IPV4 + UDP + VXLAN + frame.len();
    outer_packet <= usize::from(vtep.mtu)
}

/// The helper that makes room for outer headers refuses a frame that says IP and is shorter than an IP header.
pub(super) fn by(frame: &[u8], vtep: &Vtep) -> By {
    if vtep.resolved && has_its_ip_header(frame) { By::Program } else { By::Device }
}

fn has_its_ip_header(_frame: &[u8]) -> bool {
    true
}

pub(super) fn encapsulated(frame: &[u8], vni: u32, vtep: &Vtep) -> Leaving {
    let length = u16::try_from(IPV4 + UDP + VXLAN + frame.len()).expect("it fits the path's MTU");
    let mut ethernet = [vtep.next_hop, vtep.uplink_mac].concat();
    ethernet.extend(TYPE_IPV4.to_be_bytes());

    let tos = (vtep.dscp << 2) | ecn::field(frame).unwrap_or(ecn::NOT_ECT);
    let mut ip = vec![0x45, tos];
    ip.extend(length.to_be_bytes());
    // Not fragmented, and so in no need of an identification (RFC 6864 §4.1).
    ip.extend([0, 0, 0x40, 0]);
    ip.extend([vtep.ttl, 17, 0, 0]);
    ip.extend(vtep.local.octets());
    ip.extend(vtep.remote.octets());
    let sum = internet_checksum(&ip);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());

    let mut udp = vec![0, 0];
    udp.extend(vtep.udp_port.to_be_bytes());
    udp.extend((length - 20).to_be_bytes());
    // No checksum (RFC 7348 §5).
    udp.extend([0, 0]);

    let [_, a, b, c] = vni.to_be_bytes();
    let vxlan = [8, 0, 0, 0, a, b, c, 0];
    let source_port = SourcePort { at: ETHERNET + IPV4, range: 49152..=65535 };
    Leaving {
        ifindex: vtep.uplink,
        vlan: None,
        frame: [&ethernet, &ip, &udp, vxlan.as_slice(), frame].concat(),
        source_port: Some(source_port),
    }
}
