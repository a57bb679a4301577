//! Header fields and their places. Pure: bytes in, bytes out.

use vtep_abi::VtepAdj;

pub(crate) const ETH_LEN: usize = 14;
pub(crate) const IPV4_LEN: usize = 20;
pub(crate) const UDP_LEN: usize = 8;
pub(crate) const VXLAN_LEN: usize = 8;
/// Outer Ethernet, IPv4, UDP and VXLAN.
pub(crate) const ENCAP_LEN: usize = ETH_LEN + IPV4_LEN + UDP_LEN + VXLAN_LEN;
/// The same, with the inner Ethernet header.
pub(crate) const OUTER_LEN: usize = ENCAP_LEN + ETH_LEN;

pub(crate) const IPPROTO_UDP: u8 = 17;
/// RFC 7348 §5.
pub(crate) const VXLAN_FLAG_I: u8 = 0x08;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct EtherType(u16);

impl EtherType {
    pub(crate) const IPV4: Self = Self(0x0800);
    pub(crate) const IPV6: Self = Self(0x86dd);

    #[inline(always)]
    pub(crate) const fn from_be(bits: u16) -> Self {
        Self(u16::from_be(bits))
    }

    #[inline(always)]
    pub(crate) const fn as_u16(self) -> u16 {
        self.0
    }

    #[inline(always)]
    pub(crate) const fn is_ip(self) -> bool {
        self.0 == Self::IPV4.0 || self.0 == Self::IPV6.0
    }
}

#[derive(Clone, Copy)]
pub(crate) struct Ethernet(pub(crate) [u8; ETH_LEN]);

impl Ethernet {
    #[inline(always)]
    pub(crate) const fn dst(&self) -> [u8; 6] {
        let b = &self.0;
        [b[0], b[1], b[2], b[3], b[4], b[5]]
    }

    #[inline(always)]
    pub(crate) const fn src(&self) -> [u8; 6] {
        let b = &self.0;
        [b[6], b[7], b[8], b[9], b[10], b[11]]
    }

    /// IEEE 802.1Q or 802.1ad.
    #[inline(always)]
    pub(crate) const fn is_tagged(&self) -> bool {
        matches!(self.ether_type().0, 0x8100 | 0x88a8)
    }

    #[inline(always)]
    pub(crate) const fn ether_type(&self) -> EtherType {
        EtherType(u16::from_be_bytes([self.0[12], self.0[13]]))
    }
}

#[inline(always)]
pub(crate) const fn is_group(mac: [u8; 6]) -> bool {
    mac[0] & 1 == 1
}

/// Whether the address can be a sender's.
#[inline(always)]
pub(crate) fn is_station(mac: [u8; 6]) -> bool {
    !is_group(mac) && mac != [0; 6]
}

/// What of an outer header depends on the frame, not on the VTEP.
#[derive(Clone, Copy)]
pub(crate) struct Inner {
    pub(crate) ethernet: Ethernet,
    pub(crate) vni: u32,
    /// Length of the whole inner frame.
    pub(crate) len: u32,
    /// Length of the longest inner IP packet on the wire: of the frame's, or of a super-packet's segment.
    pub(crate) packet_len: u32,
    /// The inner packet's ECN field, which RFC 6040 §4.1 copies.
    pub(crate) ecn: u8,
    pub(crate) flow_hash: u32,
}

impl Inner {
    /// Whether the outer packet, or each segment of it, is within the path's MTU. A frame is never fragmented.
    #[inline(always)]
    pub(crate) fn fits(&self, adj: &VtepAdj) -> bool {
        self.packet_len + ENCAP_LEN as u32 <= u32::from(adj.mtu)
    }
}

/// Outer headers of a frame to `adj`, with the inner Ethernet header behind them.
#[inline(always)]
pub(crate) fn outer(adj: &VtepAdj, inner: &Inner) -> [u8; OUTER_LEN] {
    let mut bytes = [0; OUTER_LEN];
    let (eth, rest) = bytes.split_at_mut(ETH_LEN);
    eth[..6].copy_from_slice(&adj.dst_mac);
    eth[6..12].copy_from_slice(&adj.src_mac);
    eth[12] = 0x08;

    // A super-packet may be longer than 16 bits say; the segments' lengths are written when it is cut.
    let ip_len = saturating_u16(inner.len + (ENCAP_LEN - ETH_LEN) as u32);
    let tos = adj.dscp | inner.ecn;
    let ip = &mut rest[..IPV4_LEN];
    ip[0] = 0x45;
    ip[1] = tos;
    ip[2..4].copy_from_slice(&ip_len.to_be_bytes());
    // Identification 0: an atomic datagram (RFC 6864 §4.1), for DF is set.
    ip[6] = 0x40;
    ip[8] = adj.ttl;
    ip[9] = IPPROTO_UDP;
    ip[10..12].copy_from_slice(&checksum(adj.checksum_base, tos, ip_len).to_be_bytes());
    ip[12..16].copy_from_slice(&v4(&adj.local));
    ip[16..20].copy_from_slice(&v4(&adj.remote));

    let udp = &mut rest[IPV4_LEN..IPV4_LEN + UDP_LEN];
    // 49152 and 14 bits of the flow's hash: the dynamic range (RFC 7348 §5).
    let src_port = 0xc000 | (fold(inner.flow_hash) & 0x3fff);
    udp[..2].copy_from_slice(&src_port.to_be_bytes());
    udp[2..4].copy_from_slice(&adj.udp_port);
    udp[4..6].copy_from_slice(&ip_len.saturating_sub(IPV4_LEN as u16).to_be_bytes());

    let vxlan = &mut rest[IPV4_LEN + UDP_LEN..IPV4_LEN + UDP_LEN + VXLAN_LEN];
    vxlan[0] = VXLAN_FLAG_I;
    let [_, a, b, c] = inner.vni.to_be_bytes();
    vxlan[4] = a;
    vxlan[5] = b;
    vxlan[6] = c;

    rest[IPV4_LEN + UDP_LEN + VXLAN_LEN..].copy_from_slice(&inner.ethernet.0);
    bytes
}

#[inline(always)]
pub(crate) const fn v4(mapped: &[u8; 16]) -> [u8; 4] {
    [mapped[12], mapped[13], mapped[14], mapped[15]]
}

#[inline(always)]
const fn saturating_u16(value: u32) -> u16 {
    if value > 0xffff { 0xffff } else { value as u16 }
}

#[inline(always)]
const fn fold(hash: u32) -> u16 {
    (hash ^ (hash >> 16)) as u16
}

/// RFC 1071: the base is the sum of what does not change from frame to frame.
#[inline(always)]
const fn checksum(base: u16, tos: u8, ip_len: u16) -> u16 {
    let sum = base as u32 + tos as u32 + ip_len as u32;
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    !(sum as u16)
}
