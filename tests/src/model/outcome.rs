//! What became of a frame.

use std::ops::RangeInclusive;

use vtep_abi::Verdict;

use super::header::tagged;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    pub verdict: Verdict,
    /// Whose counter takes it, 0 where no network was known.
    pub bd: u32,
    pub bytes: u64,
    pub way: Way,
    /// What the counters of VTEPs take, one element for each addition.
    pub vteps: Vec<(u32, VtepCount)>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Way {
    Dropped,
    /// Unchanged to the next program at the hook, then to the host.
    On,
    To(Leaving),
    /// In no order.
    Copies(Vec<Leaving>),
}

/// A frame on its way out of an interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Leaving {
    pub ifindex: u32,
    /// The VLAN of an 802.1Q tag, which TC keeps beside the frame until it is on the wire.
    pub vlan: Option<u16>,
    pub frame: Vec<u8>,
    pub source_port: Option<SourcePort>,
}

/// The outer UDP source port is a hash of the flow by the kernel's secret: any of a range will do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourcePort {
    pub at: usize,
    pub range: RangeInclusive<u16>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct VtepCount {
    pub sent: u64,
    pub sent_bytes: u64,
    pub received: u64,
    pub received_bytes: u64,
    pub served_as_slave: u64,
    pub copy_errors: u64,
}

impl Leaving {
    pub(super) fn plain(ifindex: u32, frame: Vec<u8>) -> Self {
        Self { ifindex, vlan: None, frame, source_port: None }
    }

    /// The frame with its tag in its place.
    #[must_use]
    pub fn on_the_wire(&self) -> Self {
        let Some(vlan) = self.vlan else {
            return self.clone();
        };
        Self::plain(self.ifindex, tagged(&self.frame, vlan))
    }

    /// Whether these bytes are what this says, but for its tag.
    pub fn is(&self, actual: &[u8]) -> bool {
        let Some(SourcePort { at, range }) = &self.source_port else {
            return self.frame == actual;
        };
        let (at, end) = (*at, *at + 2);
        self.frame.len() == actual.len()
            && self.frame[..at] == actual[..at]
            && range.contains(&u16::from_be_bytes([actual[at], actual[at + 1]]))
            && self.frame[end..] == actual[end..]
    }
}

impl VtepCount {
    pub fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.sent_bytes += other.sent_bytes;
        self.received += other.received;
        self.received_bytes += other.received_bytes;
        self.served_as_slave += other.served_as_slave;
        self.copy_errors += other.copy_errors;
    }
}
