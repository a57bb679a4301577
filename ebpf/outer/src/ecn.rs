//! What is left of two ECN fields when the outer header goes (RFC 6040 §4.2, figure 4).

use crate::checksum::fold;

pub const NOT_ECT: u8 = 0;
pub const ECT_1: u8 = 1;
pub const ECT_0: u8 = 2;
pub const CE: u8 = 3;

const MASK: u8 = 3;

/// The inner field as it is delivered, of two TOS bytes or traffic classes. `None`: the packet is dropped, for its sender
/// would not understand that congestion was met.
#[inline(always)]
pub const fn combine(inner: u8, outer: u8) -> Option<u8> {
    match (inner & MASK, outer & MASK) {
        (NOT_ECT, CE) => None,
        (NOT_ECT, _) => Some(NOT_ECT),
        (_, CE) => Some(CE),
        (ECT_0, ECT_1) => Some(ECT_1),
        (inner, _) => Some(inner),
    }
}

/// Whether the outer field may change an inner one, or cost the packet.
#[inline(always)]
pub const fn concerns(outer: u8) -> bool {
    matches!(outer & MASK, ECT_1 | CE)
}

/// `tos` with another ECN field.
#[inline(always)]
pub const fn with(tos: u8, ecn: u8) -> u8 {
    (tos & !MASK) | ecn
}

/// The checksum of an IPv4 header whose TOS changed (RFC 1624 §3, equation 3).
#[inline(always)]
pub const fn checksum(before: u16, old_tos: u8, new_tos: u8) -> u16 {
    // The other half of the word is the same in both.
    let sum = (!before) as u32 + (!(old_tos as u16)) as u32 + new_tos as u32;
    !fold(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_sixteen_pairs_are_those_of_figure_4() {
        let outer = [NOT_ECT, ECT_0, ECT_1, CE];
        let figure = [
            (NOT_ECT, [Some(NOT_ECT), Some(NOT_ECT), Some(NOT_ECT), None]),
            (ECT_0, [Some(ECT_0), Some(ECT_0), Some(ECT_1), Some(CE)]),
            (ECT_1, [Some(ECT_1), Some(ECT_1), Some(ECT_1), Some(CE)]),
            (CE, [Some(CE), Some(CE), Some(CE), Some(CE)]),
        ];
        for (inner, row) in figure {
            for (outer, expected) in outer.into_iter().zip(row) {
                assert_eq!(combine(0xb8 | inner, 0x48 | outer), expected, "inner {inner}, outer {outer}");
                assert!(concerns(outer) || expected == Some(inner), "inner {inner}, outer {outer}");
            }
        }
    }

    #[test]
    fn a_mended_checksum_is_the_one_of_the_whole_header() {
        let whole = |tos: u8, rest: u32| {
            let sum = 0x4500 + u32::from(tos) + rest;
            let sum = (sum & 0xffff) + (sum >> 16);
            !((sum & 0xffff) + (sum >> 16)) as u16
        };
        for rest in [0, 1, 0x4000, 0xbaff, 0xbafe, 0xbafd, 0xffff, 0x1_2345] {
            for (old, new) in [(0, 3), (3, 1), (1, 3), (0xfe, 0xff), (2, 1), (0xff, 0xfc)] {
                assert_eq!(
                    checksum(whole(old, rest), old, new),
                    whole(new, rest),
                    "{old} to {new}, {rest:#x}"
                );
            }
        }
    }
}
