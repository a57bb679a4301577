//! What the figures should come to, by the names of their rows.

use std::fmt;

/// Of the medians of one run.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Aim {
    RatioAtLeast(f64),
    RatioAtMost(f64),
    AtLeast(f64),
    AtMost(f64),
}

impl Aim {
    pub(super) fn of(row: &str, peer: &str) -> Option<Self> {
        const KERNEL: &str = "bridge + vxlan";
        const FLOOR: &str = "bare XDP redirect";
        const NETLINK: &str = "vxlan + bridge, netlink";
        const REWRITTEN: &str = "vxlan, entries rewritten";
        const NEXTHOPS: &str = "vxlan, nexthop group";
        const HASH: &str = "hash, batch calls";
        Some(match (row, peer) {
            ("out, 1 MACs, TC", KERNEL) => Self::RatioAtLeast(2.2),
            ("out, 1000000 MACs, TC", KERNEL) => Self::RatioAtLeast(2.8),
            ("in, TC by the device", KERNEL) => Self::RatioAtLeast(1.2),
            ("in, TC", KERNEL) => Self::RatioAtLeast(2.6),
            ("out, 1 MACs, packet-rate" | "out, 1000000 MACs, packet-rate", KERNEL) => {
                Self::RatioAtLeast(8.0)
            }
            ("in, packet-rate", KERNEL) => Self::RatioAtLeast(7.0),
            ("out, 1 MACs, packet-rate", FLOOR) => Self::RatioAtLeast(0.85),
            ("out, 1000000 MACs, packet-rate", FLOOR) => Self::RatioAtLeast(0.5),
            // Half the cost of a copy.
            (row, KERNEL) if row.starts_with("broadcast to ") => Self::RatioAtLeast(2.0),
            (row, KERNEL) if row.starts_with("TCP ") && row.ends_with(", TC") => Self::RatioAtLeast(1.0),
            ("load, 1000000 MACs", NETLINK) => Self::RatioAtLeast(15.0),
            // A million in 0.3 s.
            ("load, 1000000 MACs", HASH) => Self::AtLeast(1e6 / 0.3),
            ("dump, 1000000 MACs", NETLINK) => Self::RatioAtLeast(1000.0),
            ("memory, 1000000 MACs", NETLINK) => Self::AtMost(24.0),
            ("the flip, 100000 MACs" | "the flip, 1000000 MACs", REWRITTEN) => Self::RatioAtMost(0.01),
            (row, REWRITTEN) if row.starts_with("the flip, ") => Self::AtMost(10.0),
            // The kernel's own O(1).
            (row, NEXTHOPS) if row.starts_with("the flip, ") => Self::RatioAtMost(1.0),
            // 200 ms of traffic.
            (row, _) if row.starts_with("lost at 10k/s, ") => Self::AtMost(2000.0),
            (row, _) if row.ends_with(" until all are synced") => Self::AtMost(10.0),
            (row, _) if row.ends_with(" resumed by delta") => Self::AtLeast(95.0),
            _ => return None,
        })
    }
}

impl fmt::Display for Aim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RatioAtLeast(least) => write!(f, "ratio ≥ {least}"),
            Self::RatioAtMost(most) => write!(f, "ratio ≤ {most}"),
            Self::AtLeast(least) => write!(f, "ours ≥ {least:.0}"),
            Self::AtMost(most) => write!(f, "ours ≤ {most}"),
        }
    }
}
