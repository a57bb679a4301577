//! What becomes of VLAN tags at a port.

use vtep_abi::{LocalPort, PortValue};

use crate::config::{InnerTag, Port, UnboundTag};

/// At one binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tags {
    /// The binding's own is taken off, and no other may be there.
    None,
    /// So is one that has no binding of its own.
    Popped,
    /// The binding's own stays.
    Kept,
    /// One more stays.
    Carried,
}

impl Tags {
    pub(super) const fn of(port: &Port, vlan: u16) -> Self {
        match (vlan, port.unbound_tag, port.inner_tag) {
            (0, UnboundTag::Drop, _) => Self::None,
            (0, UnboundTag::Pop, _) => Self::Popped,
            (0, UnboundTag::Keep, _) => Self::Carried,
            _ if port.keep_tag => Self::Kept,
            (_, _, InnerTag::Keep) => Self::Carried,
            (_, _, InnerTag::Drop) => Self::None,
        }
    }

    pub(super) const fn entering(self) -> u32 {
        match self {
            Self::None => 0,
            Self::Popped => PortValue::POP_TAG,
            Self::Kept => PortValue::KEEP_TAG,
            Self::Carried => PortValue::CARRY_TAG,
        }
    }

    pub(super) const fn leaving(self) -> u16 {
        match self {
            Self::None | Self::Popped => 0,
            Self::Kept => LocalPort::KEEP_TAG,
            Self::Carried => LocalPort::CARRY_TAG,
        }
    }

    pub(super) const fn carries(self) -> bool {
        self.leaving() != 0
    }
}
