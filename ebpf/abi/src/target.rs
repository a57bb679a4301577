//! Where a MAC or a flood member points: a VTEP, a local port, or nowhere.

/// An index into the per-VTEP arrays. 0 means none.
pub type VtepIndex = u32;

/// A target as it stands in maps: a 24-bit index and 8 flag bits, in that order from the low end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    None,
    Vtep(VtepIndex),
    LocalPort(u32),
}

impl Target {
    pub const INDEX_MAX: u32 = (1 << 24) - 1;
    const LOCAL: u32 = 1 << 24;

    /// Indices above [`Self::INDEX_MAX`] are cut to their low 24 bits.
    #[inline]
    pub const fn to_bits(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Vtep(index) => index & Self::INDEX_MAX,
            Self::LocalPort(index) => (index & Self::INDEX_MAX) | Self::LOCAL,
        }
    }

    #[inline]
    pub const fn from_bits(bits: u32) -> Self {
        let index = bits & Self::INDEX_MAX;
        if index == 0 {
            Self::None
        } else if bits & Self::LOCAL != 0 {
            Self::LocalPort(index)
        } else {
            Self::Vtep(index)
        }
    }
}
