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

/// An IP address's bytes ([`AddrBytes`](vtep_abi::AddrBytes)) as they lie in memory: a byte would be an instruction.
pub(crate) type Address = [u64; 2];

/// Its six bytes as they lie in memory, in one number: a comparison is one instruction.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mac(u64);

impl Mac {
    #[inline(always)]
    pub(crate) const fn new(mac: [u8; 6]) -> Self {
        Self(u64::from_ne_bytes([mac[0], mac[1], mac[2], mac[3], mac[4], mac[5], 0, 0]))
    }

    #[inline(always)]
    pub(crate) const fn bytes(self) -> [u8; 6] {
        let word = self.0.to_ne_bytes();
        [word[0], word[1], word[2], word[3], word[4], word[5]]
    }

    #[inline(always)]
    pub(crate) const fn word(self) -> u64 {
        self.0
    }

    #[inline(always)]
    pub(crate) const fn is_group(self) -> bool {
        self.0 & Self::new([1, 0, 0, 0, 0, 0]).0 != 0
    }

    /// Whether the address can be a sender's.
    #[inline(always)]
    pub(crate) const fn is_station(self) -> bool {
        !self.is_group() && self.0 != 0
    }
}

/// In words of two bytes, as they lie in memory.
#[derive(Clone, Copy)]
pub(crate) struct Ethernet(pub(crate) [u16; ETH_LEN / 2]);

impl Ethernet {
    #[inline(always)]
    pub(crate) const fn new(bytes: [u8; ETH_LEN]) -> Self {
        Self(bytemuck::must_cast(bytes))
    }

    #[inline(always)]
    pub(crate) const fn bytes(&self) -> &[u8; ETH_LEN] {
        bytemuck::must_cast_ref(&self.0)
    }

    /// The source's bytes, where they are in memory.
    #[inline(always)]
    pub(crate) const fn src_bytes(&self) -> [u8; 6] {
        let header = self.bytes();
        [header[6], header[7], header[8], header[9], header[10], header[11]]
    }

    #[inline(always)]
    pub(crate) const fn dst(&self) -> Mac {
        Self::mac([self.0[0], self.0[1], self.0[2]])
    }

    #[inline(always)]
    pub(crate) const fn src(&self) -> Mac {
        Self::mac([self.0[3], self.0[4], self.0[5]])
    }

    #[inline(always)]
    const fn mac([a, b, c]: [u16; 3]) -> Mac {
        Mac(a as u64 | (b as u64) << 16 | (c as u64) << 32)
    }

    /// IEEE 802.1Q or 802.1ad.
    #[inline(always)]
    pub(crate) const fn is_tagged(&self) -> bool {
        matches!(self.ether_type().0, 0x8100 | 0x88a8)
    }

    /// The header of an answer, at the beginning of a frame.
    #[inline(always)]
    pub(crate) fn write_answer<const N: usize>(&self, frame: &mut [u8; N]) {
        frame[..6].copy_from_slice(&self.src().bytes());
        frame[6..12].copy_from_slice(&self.dst().bytes());
        frame[12..ETH_LEN].copy_from_slice(&self.0[6].to_ne_bytes());
    }

    #[inline(always)]
    pub(crate) const fn ether_type(&self) -> EtherType {
        EtherType::from_be(self.0[6])
    }
}
