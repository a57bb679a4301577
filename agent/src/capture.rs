//! Frames for `vtep-agent capture`: which are wanted, how they come, and the file that they are written to.

pub mod filter;
pub mod pcapng;

use serde::{Deserialize, Serialize};
use vtep_abi::Verdict;

use crate::kernel::{Sample, Tally};

pub use filter::{Filter, FilterError};

/// What `capture` is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CaptureRow {
    Frame(CapturedFrame),
    /// What became of the frames that matched, since the capture began; of all captures and monitors together.
    Counts {
        matched: u64,
        left_out: u64,
        lost: u64,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CapturedFrame {
    /// Since 1970.
    pub at_ns: u64,
    /// Where the frame was seen: the interface that it came in by, or the one that it leaves by.
    pub interface: String,
    pub outbound: bool,
    pub vni: Option<u32>,
    pub verdict: String,
    pub drop: bool,
    /// On the wire, outer headers and tag included.
    pub len: u32,
    /// Hexadecimal; fewer than `len` where the frame was cut.
    pub bytes: String,
}

/// A frame as it was on the wire: with the outer headers that were removed, and the tag in its place.
pub fn on_the_wire(sample: &Sample) -> (Vec<u8>, u32) {
    const MACS_LEN: usize = 12;
    let mut bytes = sample.outer.clone();
    let tag = sample.tag().filter(|_| sample.frame.len() >= MACS_LEN);
    match tag {
        None => bytes.extend_from_slice(&sample.frame),
        Some((tpid, tci)) => {
            bytes.extend_from_slice(&sample.frame[..MACS_LEN]);
            bytes.extend_from_slice(&tpid.to_be_bytes());
            bytes.extend_from_slice(&tci.to_be_bytes());
            bytes.extend_from_slice(&sample.frame[MACS_LEN..]);
        }
    }
    let tag_len = if tag.is_some() { 4 } else { 0 };
    let head = &sample.head;
    (bytes, head.len.max(head.copied).saturating_add(head.outer_len).saturating_add(tag_len))
}

/// Whether the frame is seen where it leaves; else where it came in.
pub fn is_outbound(sample: &Sample) -> bool {
    let dropped = Verdict::from_code(sample.head.verdict).is_none_or(Verdict::is_drop);
    sample.head.goes_to().is_some() && sample.outer.is_empty() && !dropped
}

/// Since `start`.
pub fn counts(now: Tally, start: Tally) -> CaptureRow {
    CaptureRow::Counts {
        matched: now.matched.saturating_sub(start.matched),
        left_out: now.left_out.saturating_sub(start.left_out),
        lost: now.lost.saturating_sub(start.lost),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytemuck::Zeroable;
    use vtep_abi::CaptureHead;

    #[test]
    fn a_tag_and_removed_headers_come_back_to_their_places() {
        let head = CaptureHead {
            tag: CaptureHead::TAGGED | CaptureHead::PROVIDER | 0x14,
            len: 60,
            copied: 14,
            outer_len: 2,
            to: 3,
            verdict: Verdict::Delivered as u32,
            ..CaptureHead::zeroed()
        };
        let sample = Sample { head, outer: vec![7, 7], frame: (0..14).collect() };
        let (bytes, len) = on_the_wire(&sample);
        assert_eq!(bytes, [7, 7, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0x88, 0xa8, 0, 20, 12, 13]);
        assert_eq!(len, 66);
        assert!(!is_outbound(&sample), "as it came");
        assert!(is_outbound(&Sample { outer: Vec::new(), ..sample }), "as it leaves");
    }
}
