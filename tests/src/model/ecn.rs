//! Explicit congestion notification through a tunnel (RFC 6040).

use super::header::{ETHERNET, Ethernet, TYPE_IPV4, TYPE_IPV6, word};

pub(super) const NOT_ECT: u8 = 0;
const ECT_1: u8 = 1;
const ECT_0: u8 = 2;
const CE: u8 = 3;

/// The field of the IP packet in a frame; none if it carries none.
pub(super) fn field(frame: &[u8]) -> Option<u8> {
    let ethernet = Ethernet::parse(frame)?;
    match (ethernet.kind(), ethernet.payload()) {
        (TYPE_IPV4, [_, tos, ..]) => Some(tos & 3),
        // The traffic class begins in the middle of the first byte (RFC 8200 §3).
        (TYPE_IPV6, [_, second, ..]) => Some((second >> 4) & 3),
        _ => None,
    }
}

/// What a frame's field is to be when it leaves a tunnel (RFC 6040 §4.2, figure 4); none: it is to be dropped.
pub(super) fn leaving_tunnel(inner: u8, outer: u8) -> Option<u8> {
    match (inner, outer) {
        (NOT_ECT, CE) => None,
        (NOT_ECT, _) => Some(NOT_ECT),
        (_, CE) => Some(CE),
        (ECT_0, ECT_1) => Some(ECT_1),
        (inner, _) => Some(inner),
    }
}

/// The frame with this field, and in IPv4 a checksum as right or wrong as it was (RFC 1624 §3, equation 3).
pub(super) fn with(frame: &[u8], field: u8) -> Vec<u8> {
    let mut frame = frame.to_vec();
    if Ethernet::parse(&frame).is_some_and(|ethernet| ethernet.kind() == TYPE_IPV6) {
        frame[ETHERNET + 1] = (frame[ETHERNET + 1] & 0xcf) | (field << 4);
        return frame;
    }
    // A header that is cut before its checksum is for the packet's receiver to refuse.
    if frame.len() < ETHERNET + 12 {
        return frame;
    }
    let before = word(&frame, ETHERNET);
    frame[ETHERNET + 1] = (frame[ETHERNET + 1] & !3) | field;
    let after = word(&frame, ETHERNET);
    if before != after {
        let checksum = word(&frame, ETHERNET + 10);
        let mut sum = u32::from(!checksum) + u32::from(!before) + u32::from(after);
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        let sum = !u16::try_from(sum).expect("folded into 16 bits");
        frame[ETHERNET + 10..ETHERNET + 12].copy_from_slice(&sum.to_be_bytes());
    }
    frame
}
