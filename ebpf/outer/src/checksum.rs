//! The Internet checksum (RFC 1071).

/// The sum of 16-bit words from an even place to another, not folded.
#[inline(always)]
pub const fn words<const N: usize>(bytes: &[u8; N], from: usize, to: usize) -> u32 {
    let mut sum = 0;
    let mut at = from;
    while at + 1 < to && at + 1 < N {
        sum += u16::from_be_bytes([bytes[at], bytes[at + 1]]) as u32;
        at += 2;
    }
    sum
}

/// To 16 bits, not complemented.
#[inline(always)]
pub const fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}
