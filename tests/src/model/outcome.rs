//! What became of a frame.

use vtep_abi::Verdict;

use super::{
    Tag,
    header::{internet_checksum, tagged, word},
};

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    pub verdict: Verdict,
    /// Whose counter takes it, 0 where no network was known.
    pub bd: u32,
    pub bytes: u64,
    pub way: Way,
    /// What the counters of VTEPs take, one element for each addition.
    pub vteps: Vec<(u32, VtepCount)>,
    /// The same of local ports.
    pub ports: Vec<(u32, PortCount)>,
    pub paid: Paid,
    /// Whether its sender was to be told, whatever has become of the answer.
    pub tells: bool,
    /// Whether XDP may finish such a frame. Otherwise it passes to TC as it came.
    pub by_xdp: bool,
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

/// The storm limits that counted the frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Paid {
    pub interface: Option<u32>,
    pub vni: Option<u32>,
}

/// A frame on its way out of an interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Leaving {
    pub ifindex: u32,
    /// Into the namespace at its other end at once, where the hook can.
    pub to_peer: bool,
    /// The outermost, which TC keeps beside the frame until it is on the wire.
    pub tag: Option<Tag>,
    pub frame: Vec<u8>,
    pub free: Vec<Free>,
}

/// A field for which more than one value will do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Free {
    /// The outer UDP source port, a hash of the flow by the kernel's secret: first and last.
    Port { at: usize, range: (u16, u16) },
    /// Bits of a byte that tell flows apart.
    Bits { at: usize, mask: u8 },
    /// Identification of the IPv4 header that begins here, and with it the header's checksum.
    Identification { header: usize },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct VtepCount {
    pub sent: u64,
    pub sent_bytes: u64,
    pub received: u64,
    pub received_bytes: u64,
    pub served_as_slave: u64,
    pub copy_errors: u64,
    pub copies_too_big: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PortCount {
    pub received: u64,
    pub received_bytes: u64,
    /// Of those received.
    pub dropped: u64,
    pub dropped_bytes: u64,
    pub sent: u64,
    pub sent_bytes: u64,
    pub copy_errors: u64,
    /// Longer than its MTU.
    pub too_big: u64,
}

impl Outcome {
    pub(super) fn ended(bd: u32, bytes: usize, verdict: Verdict) -> Self {
        let (vteps, ports) = (Vec::new(), Vec::new());
        let (way, paid) = (Way::Dropped, Paid::default());
        Self { verdict, bd, bytes: bytes as u64, way, vteps, ports, paid, tells: false, by_xdp: true }
    }

    /// By the interface in any case.
    pub(super) fn by_interface(mut self) -> Self {
        if let Way::To(leaving) = &mut self.way {
            leaving.to_peer = false;
        }
        self
    }

    /// Of a frame that came from a port.
    pub(super) fn at(mut self, port: u32) -> Self {
        let (frames, bytes) = if self.verdict.is_drop() { (1, self.bytes) } else { (0, 0) };
        let count = PortCount {
            received: 1,
            received_bytes: self.bytes,
            dropped: frames,
            dropped_bytes: bytes,
            ..PortCount::default()
        };
        self.ports.push((port, count));
        self
    }
}

impl Leaving {
    pub(super) fn plain(ifindex: u32, frame: Vec<u8>) -> Self {
        Self { ifindex, to_peer: false, tag: None, frame, free: Vec::new() }
    }

    pub fn to_host(frame: Vec<u8>) -> Self {
        Self::plain(0, frame)
    }

    /// The frame with its tag in its place.
    #[must_use]
    pub fn on_the_wire(&self) -> Self {
        match self.tag {
            None => self.clone(),
            Some(tag) => Self::plain(self.ifindex, tagged(&self.frame, tag)),
        }
    }

    /// Whether these bytes are what this says, but for its tag.
    pub fn is(&self, actual: &[u8]) -> bool {
        if self.frame.len() != actual.len() {
            return false;
        }
        let mut expected = self.frame.clone();
        for free in &self.free {
            match *free {
                Free::Port { at, range: (first, last) } => {
                    if !(first..=last).contains(&word(actual, at)) {
                        return false;
                    }
                    expected[at..at + 2].copy_from_slice(&actual[at..at + 2]);
                }
                Free::Bits { at, mask } => expected[at] = (expected[at] & !mask) | (actual[at] & mask),
                Free::Identification { header } => {
                    expected[header + 4..header + 6].copy_from_slice(&actual[header + 4..header + 6]);
                    expected[header + 10..header + 12].fill(0);
                    let sum = internet_checksum(&expected[header..header + 20]);
                    expected[header + 10..header + 12].copy_from_slice(&sum.to_be_bytes());
                }
            }
        }
        expected == actual
    }
}

impl PortCount {
    pub(super) const TOO_BIG: Self = Self {
        received: 0,
        received_bytes: 0,
        dropped: 0,
        dropped_bytes: 0,
        sent: 0,
        sent_bytes: 0,
        copy_errors: 0,
        too_big: 1,
    };

    pub(super) fn one_sent(frame: &[u8]) -> Self {
        Self { sent: 1, sent_bytes: frame.len() as u64, ..Self::default() }
    }

    pub fn add(&mut self, other: Self) {
        self.received += other.received;
        self.received_bytes += other.received_bytes;
        self.dropped += other.dropped;
        self.dropped_bytes += other.dropped_bytes;
        self.sent += other.sent;
        self.sent_bytes += other.sent_bytes;
        self.copy_errors += other.copy_errors;
        self.too_big += other.too_big;
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
        self.copies_too_big += other.copies_too_big;
    }
}
