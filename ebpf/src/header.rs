//! The inner frame's Ethernet header. Outer headers are `vtep-outer`'s.

pub(crate) use vtep_outer::ETH_LEN;

pub(crate) const IPV4_LEN: usize = 20;
pub(crate) const IPV6_LEN: usize = 40;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct EtherType(u16);

impl EtherType {
    pub(crate) const IPV4: Self = Self(vtep_outer::ETHERTYPE_IPV4);
    pub(crate) const IPV6: Self = Self(vtep_outer::ETHERTYPE_IPV6);
    pub(crate) const ARP: Self = Self(0x0806);
    pub(crate) const RARP: Self = Self(0x8035);

    #[inline(always)]
    pub(crate) const fn from_be(bits: u16) -> Self {
        Self(u16::from_be(bits))
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

    /// The header of an answer, at the beginning of a frame.
    #[inline(always)]
    pub(crate) fn write_answer<const N: usize>(&self, frame: &mut [u8; N]) {
        frame[..6].copy_from_slice(&self.0[6..12]);
        frame[6..12].copy_from_slice(&self.0[..6]);
        frame[12..ETH_LEN].copy_from_slice(&self.0[12..]);
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
