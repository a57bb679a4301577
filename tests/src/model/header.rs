//! Fields of headers.

use super::{Mac, Tag};

pub(super) const ETHERNET: usize = 14;
pub(super) const IPV4: usize = 20;
pub(super) const UDP: usize = 8;
pub(super) const IPV6: usize = 40;
/// Of VXLAN, of Geneve without options, of GRE with a key.
pub(super) const TUNNEL: usize = 8;

pub(super) const TYPE_IPV4: u16 = 0x0800;
pub(super) const TYPE_ARP: u16 = 0x0806;
pub(super) const TYPE_IPV6: u16 = 0x86dd;
/// IEEE 802.1Q.
pub(super) const TYPE_VLAN: u16 = 0x8100;
/// IEEE 802.1ad.
pub(super) const TYPE_PROVIDER_VLAN: u16 = 0x88a8;

/// Big-endian.
pub(super) fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// An Ethernet frame that has its whole header.
#[derive(Clone, Copy)]
pub(super) struct Ethernet<'a>(&'a [u8]);

impl<'a> Ethernet<'a> {
    pub(super) fn parse(frame: &'a [u8]) -> Option<Self> {
        (frame.len() >= ETHERNET).then_some(Self(frame))
    }

    pub(super) fn destination(self) -> Mac {
        self.0[..6].try_into().expect("six bytes")
    }

    pub(super) fn source(self) -> Mac {
        self.0[6..12].try_into().expect("six bytes")
    }

    pub(super) fn kind(self) -> u16 {
        word(self.0, 12)
    }

    pub(super) fn is_tagged(self) -> bool {
        [TYPE_VLAN, TYPE_PROVIDER_VLAN].contains(&self.kind())
    }

    pub(super) fn payload(self) -> &'a [u8] {
        &self.0[ETHERNET..]
    }
}

/// The individual/group bit (IEEE 802).
pub(super) fn is_group(mac: Mac) -> bool {
    mac[0] & 1 != 0
}

/// Neither a group's address nor nobody's.
pub(super) fn is_station(mac: Mac) -> bool {
    !is_group(mac) && mac.iter().any(|byte| *byte != 0)
}

/// Between the ends of one link (IEEE 802.1Q §8.6.3): no bridge forwards these sixteen addresses.
pub(super) fn is_link_local(mac: Mac) -> bool {
    mac[..5] == [0x01, 0x80, 0xc2, 0, 0] && mac[5] < 16
}

/// The frame and its outermost tag, TPID and TCI, as the kernel's receive path has them apart.
pub fn untagged(frame: &[u8]) -> (Option<Tag>, Vec<u8>) {
    match frame.get(12..16) {
        Some(&[0x81, 0, a, b]) => Some((TYPE_VLAN, u16::from_be_bytes([a, b]))),
        Some(&[0x88, 0xa8, a, b]) => Some((TYPE_PROVIDER_VLAN, u16::from_be_bytes([a, b]))),
        _ => None,
    }
    .map_or_else(|| (None, frame.to_vec()), |tag| (Some(tag), [&frame[..12], &frame[16..]].concat()))
}

/// RFC 1071, over a whole number of words.
pub(super) fn internet_checksum(header: &[u8]) -> u16 {
    let mut sum: u32 = (0..header.len()).step_by(2).map(|at| u32::from(word(header, at))).sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !u16::try_from(sum).expect("folded into 16 bits")
}

/// The frame with a tag behind its addresses.
pub(super) fn tagged(frame: &[u8], (tpid, tci): Tag) -> Vec<u8> {
    [&frame[..12], &tpid.to_be_bytes(), &tci.to_be_bytes(), &frame[12..]].concat()
}
