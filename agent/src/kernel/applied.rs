use vtep_abi::{AllowedKey, FdbKey, NeighbourKey, VtepByIpKey};

use crate::dataplane::PortId;

/// The result of one [`Step`](crate::plan::Step).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Applied {
    /// Entries written or removed.
    pub written: usize,
    /// Entries left as they were; the rest of the step was carried out.
    pub refused: Vec<Refused>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    pub entry: Entry,
    pub reason: Reason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    Vtep(u32),
    LocalPort(u32),
    Fdb(FdbKey),
    Sender(VtepByIpKey),
    Network(u32),
    Port(PortId),
    Neighbour(NeighbourKey),
    Allowed(AllowedKey),
    Seen(FdbKey),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The map is full.
    Full,
    /// The bucketed MAC table has room, but not in the places that this MAC could get under the table's seed.
    Crowded,
    /// The VNI has no bridge domain, under which its MACs would be kept.
    NoDomain,
    /// The index is 0 or beyond the configured room, or a flood list is too long.
    OutOfRange,
}

impl Applied {
    pub(super) fn written(written: usize) -> Self {
        Self { written, refused: Vec::new() }
    }

    /// Whether another seed of the MAC table would help.
    pub fn is_crowded(&self) -> bool {
        self.refused.iter().any(|refused| refused.reason == Reason::Crowded)
    }

    pub(super) fn refuse(&mut self, entries: impl IntoIterator<Item = Entry>, reason: Reason) {
        self.refused.extend(entries.into_iter().map(|entry| Refused { entry, reason }));
    }
}
