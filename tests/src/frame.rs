//! Frames, built and read: inner ones, and VXLAN around them.

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result, ensure};
use etherparse::{
    ArpHardwareId, ArpOperation, ArpPacket, EtherType, PacketBuilder, SlicedPacket, TransportSlice, VlanId,
};
use vtep_api::MacAddr;

/// One end of a conversation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Endpoint {
    pub mac: MacAddr,
    pub address: Ipv4Addr,
    pub port: u16,
}

impl Endpoint {
    pub const fn new(mac: [u8; 6], address: [u8; 4], port: u16) -> Self {
        let [a, b, c, d] = address;
        Self { mac: MacAddr::new(mac), address: Ipv4Addr::new(a, b, c, d), port }
    }
}

/// UDP over IPv4, all checksums set.
pub fn udp(from: Endpoint, to: Endpoint, payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(from.mac.octets(), to.mac.octets())
        .ipv4(from.address.octets(), to.address.octets(), 64)
        .udp(from.port, to.port);
    let mut frame = Vec::with_capacity(builder.size(payload.len()));
    builder.write(&mut frame, payload).expect("a vector takes any payload that fits a UDP datagram");
    frame
}

/// The same over IPv6: `2001:db8:1::/96` and the IPv4 addresses.
pub fn udp_v6(from: Endpoint, to: Endpoint, payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(from.mac.octets(), to.mac.octets())
        .ipv6(v6(from.address).octets(), v6(to.address).octets(), 64)
        .udp(from.port, to.port);
    let mut frame = Vec::with_capacity(builder.size(payload.len()));
    builder.write(&mut frame, payload).expect("a vector takes any payload that fits a UDP datagram");
    frame
}

/// The IPv6 address of [`udp_v6`].
pub fn v6(v4: Ipv4Addr) -> Ipv6Addr {
    let [a, b, c, d] = v4.octets();
    Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))
}

/// The frame with another TOS or traffic class, and the IPv4 checksum that belongs to it.
pub fn with_tos(frame: &[u8], tos: u8) -> Vec<u8> {
    let mut frame = frame.to_vec();
    if frame[12..14] == [0x86, 0xdd] {
        frame[14] = 0x60 | (tos >> 4);
        frame[15] = (tos << 4) | (frame[15] & 0x0f);
    } else {
        frame[15] = tos;
        mend_ipv4_checksum(&mut frame);
    }
    frame
}

/// The same with an 802.1Q tag.
pub fn udp_tagged(from: Endpoint, to: Endpoint, vlan: u16, payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(from.mac.octets(), to.mac.octets())
        .single_vlan(VlanId::try_new(vlan).expect("a VLAN has 12 bits"))
        .ipv4(from.address.octets(), to.address.octets(), 64)
        .udp(from.port, to.port);
    let mut frame = Vec::with_capacity(builder.size(payload.len()));
    builder.write(&mut frame, payload).expect("a vector takes any payload that fits a UDP datagram");
    frame
}

/// Broadcast: who has `wanted`?
pub fn arp_request(from: Endpoint, wanted: Ipv4Addr) -> Vec<u8> {
    let to = Endpoint { mac: MacAddr::new([0; 6]), address: wanted, port: 0 };
    arp(ArpOperation::REQUEST, from, to, MacAddr::BROADCAST)
}

/// The answer of `from`.
pub fn arp_reply(from: Endpoint, to: Endpoint) -> Vec<u8> {
    arp(ArpOperation::REPLY, from, to, to.mac)
}

fn arp(operation: ArpOperation, from: Endpoint, to: Endpoint, dst: MacAddr) -> Vec<u8> {
    let packet = ArpPacket::new(
        ArpHardwareId::ETHERNET,
        EtherType::IPV4,
        operation,
        &from.mac.octets(),
        &from.address.octets(),
        &to.mac.octets(),
        &to.address.octets(),
    )
    .expect("the addresses have the lengths of Ethernet and IPv4");
    let builder = PacketBuilder::ethernet2(from.mac.octets(), dst.octets()).arp(packet);
    let mut frame = Vec::with_capacity(builder.size());
    builder.write(&mut frame).expect("a vector takes any frame");
    frame
}

/// Neighbour solicitation of a multicast group (RFC 4861 §4.3).
pub fn solicitation(from: Endpoint, src: Ipv6Addr, target: Ipv6Addr, with_option: bool) -> Vec<u8> {
    let option = [&[1, 1][..], &from.mac.octets()].concat();
    let body = [&target.octets()[..], if with_option { &option } else { &[] }].concat();
    let [.., a, b, c] = target.octets();
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]));
    icmpv6(from, src, group, MacAddr::new([0x33, 0x33, 0xff, a, b, c]), 135, &body)
}

/// Unsolicited, to all nodes.
pub fn advertisement(from: Endpoint, target: Ipv6Addr) -> Vec<u8> {
    let body = [&target.octets()[..], &[2, 1], &from.mac.octets()].concat();
    let all = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    icmpv6(from, v6(from.address), all, MacAddr::new([0x33, 0x33, 0, 0, 0, 1]), 136, &body)
}

fn icmpv6(from: Endpoint, src: Ipv6Addr, dst: Ipv6Addr, to: MacAddr, kind: u8, body: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2(from.mac.octets(), to.octets())
        .ipv6(src.octets(), dst.octets(), 255)
        .icmpv6_raw(kind, 0, [0; 4]);
    let mut frame = Vec::new();
    builder.write(&mut frame, body).expect("a vector takes any frame");
    frame
}

/// A VXLAN frame as a VTEP sends it (RFC 7348 §5): flag I, no UDP checksum. The port of `to` is the VXLAN port.
pub fn vxlan(from: Endpoint, to: Endpoint, vni: u32, inner: &[u8]) -> Vec<u8> {
    const FLAG_I: u8 = 8;
    let [_, a, b, c] = vni.to_be_bytes();
    let payload = [&[FLAG_I, 0, 0, 0, a, b, c, 0], inner].concat();
    let mut frame = udp(from, to, &payload);
    let checksum = UDP_AT + 6;
    frame[checksum..checksum + 2].fill(0);
    frame
}

/// Where a frame's UDP header begins: after Ethernet and an IPv4 header without options.
const UDP_AT: usize = 34;

/// Computes the IPv4 checksum of a changed header without options anew (RFC 1071).
pub fn mend_ipv4_checksum(frame: &mut [u8]) {
    const CHECKSUM: std::ops::Range<usize> = 24..26;
    frame[CHECKSUM].fill(0);
    let words = frame[14..34].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    frame[CHECKSUM].copy_from_slice(&(!folded).to_be_bytes()[2..]);
}

/// What stands around an inner frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outer {
    pub from: Endpoint,
    pub to: Endpoint,
    pub ttl: u8,
    /// DSCP and ECN.
    pub tos: u8,
    pub dont_fragment: bool,
    pub udp_checksum: u16,
    pub flags: u8,
    pub vni: u32,
}

/// Reads VXLAN in IPv4, and refuses a frame whose lengths or IPv4 checksum are wrong.
pub fn decap(frame: &[u8]) -> Result<(Outer, Vec<u8>)> {
    let packet = SlicedPacket::from_ethernet(frame)?;
    let Some(etherparse::LinkSlice::Ethernet2(ethernet)) = &packet.link else {
        anyhow::bail!("it has no Ethernet header");
    };
    let Some(etherparse::NetSlice::Ipv4(ip)) = &packet.net else {
        anyhow::bail!("it is not IPv4");
    };
    let Some(TransportSlice::Udp(datagram)) = &packet.transport else {
        anyhow::bail!("it is not UDP");
    };
    let header = ip.header();
    let (actual, expected) = (header.header_checksum(), header.to_header().calc_header_checksum());
    ensure!(actual == expected, "its IPv4 checksum is {actual:#06x}, not {expected:#06x}");
    let (vxlan, inner) = datagram.payload().split_at_checked(8).context("it has no VXLAN header")?;
    let outer = Outer {
        from: Endpoint {
            mac: MacAddr::new(ethernet.source()),
            address: header.source_addr(),
            port: datagram.source_port(),
        },
        to: Endpoint {
            mac: MacAddr::new(ethernet.destination()),
            address: header.destination_addr(),
            port: datagram.destination_port(),
        },
        ttl: header.ttl(),
        tos: (header.dcp().value() << 2) | header.ecn().value(),
        dont_fragment: header.dont_fragment(),
        udp_checksum: datagram.checksum(),
        flags: vxlan[0],
        vni: u32::from_be_bytes([0, vxlan[4], vxlan[5], vxlan[6]]),
    };
    Ok((outer, inner.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VM: Endpoint = Endpoint::new([2, 0, 0, 0, 0, 1], [10, 0, 0, 1], 1000);
    const PEER: Endpoint = Endpoint::new([2, 0, 0, 0, 0, 2], [10, 0, 0, 2], 2000);
    const HERE: Endpoint = Endpoint::new([2, 0, 0, 0, 1, 1], [192, 0, 2, 1], 50000);
    const THERE: Endpoint = Endpoint::new([2, 0, 0, 0, 1, 2], [192, 0, 2, 2], 4789);

    #[test]
    fn what_was_put_around_a_frame_is_read_back() {
        let inner = udp(VM, PEER, b"payload");
        let (outer, read) = decap(&vxlan(HERE, THERE, 0x00ab_cdef, &inner)).unwrap();
        assert_eq!(read, inner);
        assert_eq!((outer.from, outer.to), (HERE, THERE));
        assert_eq!((outer.vni, outer.flags, outer.udp_checksum, outer.ttl), (0x00ab_cdef, 8, 0, 64));
    }

    #[test]
    fn a_changed_header_can_be_mended() {
        let mut frame = vxlan(HERE, THERE, 1, &udp(VM, PEER, b""));
        frame[15] = 0xff;
        mend_ipv4_checksum(&mut frame);
        assert_eq!(decap(&frame).unwrap().0.tos, 0xff);
    }

    #[test]
    fn a_wrong_ipv4_checksum_is_refused() {
        let mut frame = vxlan(HERE, THERE, 1, &udp(VM, PEER, b""));
        frame[24] ^= 1;
        assert!(decap(&frame).unwrap_err().to_string().starts_with("its IPv4 checksum is"));
    }

    #[test]
    fn a_tag_stands_after_the_addresses() {
        assert_eq!(udp_tagged(VM, PEER, 7, b"")[12..16], [0x81, 0, 0, 7]);
    }

    #[test]
    fn an_arp_request_is_broadcast() {
        let frame = arp_request(VM, PEER.address);
        assert_eq!(frame[..6], [0xff; 6]);
        assert_eq!(frame[12..14], [8, 6]);
        assert_eq!(frame.len(), 42);
    }
}
