use vtep_abi::VtepAdj;

/// RFC 8926 §3.3.
pub const GENEVE_PORT: u16 = 6081;

/// How frames to a VTEP are wrapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Encapsulation {
    /// RFC 7348.
    Vxlan,
    /// RFC 8926.
    Geneve,
    /// RFC 7637.
    Nvgre,
}

impl Encapsulation {
    /// As it stands in a map.
    #[inline(always)]
    pub const fn code(self) -> u8 {
        match self {
            Self::Vxlan => VtepAdj::VXLAN,
            Self::Geneve => VtepAdj::GENEVE,
            Self::Nvgre => VtepAdj::NVGRE,
        }
    }

    #[inline(always)]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            VtepAdj::VXLAN => Some(Self::Vxlan),
            VtepAdj::GENEVE => Some(Self::Geneve),
            VtepAdj::NVGRE => Some(Self::Nvgre),
            _ => None,
        }
    }
}
