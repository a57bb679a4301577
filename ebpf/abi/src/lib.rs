//! The contract between the kernel programs and the agent: map names, keys, values, verdicts and sizes.
//!
//! Everything here is laid out for the kernel: `repr(C)`, no padding that a compiler chooses, integers in the host's
//! byte order, addresses as byte arrays in network order. A change to this crate's code raises [`ABI_VERSION`]; pinned
//! maps of another version are never opened by layout (`docs/abi.md`).

#![no_std]

mod bfd;
mod capture;
mod event;
mod fdb;
mod flood;
mod mactab;
mod meta;
mod neighbour;
mod police;
mod port;
mod recent;
mod seen;
mod stats;
mod target;
mod verdict;
mod vtep;

pub use bfd::{BfdHeard, BfdReceived, BfdScratch, BfdSession, bpf_timer};
pub use capture::{CaptureCpu, CaptureHead, CaptureSettings, Captured, OUTER_MAX, SNAPLEN_MAX};
pub use event::{Event, EventKind};
pub use fdb::{FdbKey, FdbValue};
pub use flood::{FLOOD_MEMBERS_MAX, FloodKey, FloodScratch, FloodValue};
pub use mactab::{
    BUCKET_WORDS, MACTAB_SCHEMA, MacBucket, MacKey, MacSlot, MacTabControl, MacTabGeometry, SLOTS,
};
pub use meta::{ADMITTED_MARK, Config, Meta};
pub use neighbour::{ALLOWED_MAX, AllowedKey, AllowedValue, NEIGHBOURS_MAX, NeighbourKey, NeighbourValue};
pub use police::{EVENTS_LIMIT, LEARN_LIMIT, Limit, PortBuckets, TOO_BIG_LIMIT, VniBuckets, WitnessMarks};
pub use port::{LocalPort, PortKey, PortValue, VniKey, VniValue};
pub use recent::{Generation, RECENT_PORTS, RECENT_SENDERS, RecentPort, RecentSender};
pub use seen::{SEEN_MARKS, SEEN_SHIFT, SeenMark, SeenValue};
pub use stats::{Counter, PortStats, VniStats, VtepStats};
pub use target::{Target, VtepIndex};
pub use verdict::{VERDICTS_MAX, Verdict, VerdictSet};
pub use vtep::{AddrBytes, Template, VtepAdj, VtepAdmin, VtepByIpKey, VtepByIpValue, VtepOper, mapped_v4};

/// The version of everything in this crate. Pins live in a directory of this number.
pub const ABI_VERSION: u32 = 1;

/// The read-only byte that is 1 where frames are traced: a flood's copies go to the ring `CAPTURE`, none leaves.
pub const TRACING: &str = "TRACING";

/// Names of the maps, at most 15 bytes, as `bpftool map show` prints them.
pub mod map {
    /// Hash, [`FdbKey`](crate::FdbKey) → [`FdbValue`](crate::FdbValue).
    pub const FDB: &str = "FDB";
    /// Mapped array, bucket → [`MacBucket`](crate::MacBucket): in place of `FDB`, or empty.
    pub const MACTAB: &str = "MACTAB";
    /// Mapped array of one, [`MacTabControl`](crate::MacTabControl).
    pub const MACCTL: &str = "MACCTL";
    /// Array, `2 × VTEP index + slot` → [`VtepAdj`](crate::VtepAdj).
    pub const VTEP_ADJ: &str = "VTEP_ADJ";
    /// Array, VTEP index → [`VtepAdmin`](crate::VtepAdmin). Written by the agent only.
    pub const VTEP_ADMIN: &str = "VTEP_ADMIN";
    /// Array, VTEP index → [`VtepOper`](crate::VtepOper). Written by the programs only.
    pub const VTEP_OPER: &str = "VTEP_OPER";
    /// Hash, [`VtepByIpKey`](crate::VtepByIpKey) → [`VtepByIpValue`](crate::VtepByIpValue).
    pub const VTEP_BY_IP: &str = "VTEP_BY_IP";
    /// Hash, [`VniKey`](crate::VniKey) → [`VniValue`](crate::VniValue).
    pub const VNI: &str = "VNI";
    /// Hash, [`FloodKey`](crate::FloodKey) → [`FloodValue`](crate::FloodValue).
    pub const FLOOD: &str = "FLOOD";
    /// Hash, [`PortKey`](crate::PortKey) → [`PortValue`](crate::PortValue).
    pub const PORT: &str = "PORT";
    /// Array, local port index → [`LocalPort`](crate::LocalPort).
    pub const LOCAL_PORT: &str = "LOCAL_PORT";
    /// Per-CPU array, bridge domain → [`VniStats`](crate::VniStats).
    pub const STATS: &str = "STATS";
    /// Per-CPU array, VTEP index → [`VtepStats`](crate::VtepStats).
    pub const VTEP_STATS: &str = "VTEP_STATS";
    /// Per-CPU array, local port index → [`PortStats`](crate::PortStats).
    pub const PORT_STATS: &str = "PORT_STATS";
    /// Ring buffer of [`Event`](crate::Event).
    pub const EVENTS: &str = "EVENTS";
    /// Array of one, [`Meta`](crate::Meta).
    pub const META: &str = "META";
    /// Array of one, [`Config`](crate::Config).
    pub const CONFIG: &str = "CONFIG";
    /// Array of one, [`CaptureSettings`](crate::CaptureSettings). Written by the agent only.
    pub const CAPTURE_SET: &str = "CAPTURE_SET";
    /// Per-CPU array of one, [`CaptureCpu`](crate::CaptureCpu). Written by the programs only.
    pub const CAPTURE_CPU: &str = "CAPTURE_CPU";
    /// Ring buffer of [`Captured`](crate::Captured).
    pub const CAPTURE: &str = "CAPTURE";

    /// What programs write in passing. A trace has its own of these, so that it moves nothing that is live.
    pub const WRITTEN_BY_PROGRAMS: &[&str] = &[
        STATS,
        VTEP_STATS,
        PORT_STATS,
        EVENTS,
        CAPTURE_SET,
        CAPTURE_CPU,
        CAPTURE,
        PORT_BUCKETS,
        VNI_BUCKETS,
        WITNESSED,
        SEEN,
        SEEN_CPU,
        BFD_HEARD,
        BFD_RECEIVED,
        BFD_SCRATCH,
        FLOOD_SCRATCH,
        PORT_CPU,
        SENDER_CPU,
    ];

    /// Array, local port index → [`PortBuckets`](crate::PortBuckets). Written by the programs only.
    pub const PORT_BUCKETS: &str = "PORT_BUCKETS";
    /// Array, bridge domain → [`VniBuckets`](crate::VniBuckets). Written by the programs only.
    pub const VNI_BUCKETS: &str = "VNI_BUCKETS";
    /// Array, VTEP index → [`WitnessMarks`](crate::WitnessMarks). Written by the programs only.
    pub const WITNESSED: &str = "WITNESSED";

    /// Hash, [`NeighbourKey`](crate::NeighbourKey) → [`NeighbourValue`](crate::NeighbourValue).
    pub const NEIGH: &str = "NEIGH";
    /// Hash, [`AllowedKey`](crate::AllowedKey) → 1.
    pub const ALLOWED: &str = "ALLOWED";

    /// Hash, [`FdbKey`](crate::FdbKey) of a learnt MAC → [`SeenValue`](crate::SeenValue).
    pub const SEEN: &str = "SEEN";
    /// Per-CPU array, last byte of a MAC → [`SeenMark`](crate::SeenMark). Written by the programs only.
    pub const SEEN_CPU: &str = "SEEN_CPU";

    /// Array, VTEP index → [`BfdSession`](crate::BfdSession). Written by the agent only.
    pub const BFD_SESSION: &str = "BFD_SESSION";
    /// Array, VTEP index → [`BfdHeard`](crate::BfdHeard). Written by the programs only.
    pub const BFD_HEARD: &str = "BFD_HEARD";
    /// Ring buffer of [`BfdReceived`](crate::BfdReceived).
    pub const BFD_RECEIVED: &str = "BFD_RECEIVED";
    /// Per-CPU array of one, [`BfdScratch`](crate::BfdScratch). Means nothing between two packets.
    pub const BFD_SCRATCH: &str = "BFD_SCRATCH";
    /// Per-CPU array of one, [`FloodScratch`](crate::FloodScratch). Means nothing between two frames.
    pub const FLOOD_SCRATCH: &str = "FLOOD_SCRATCH";
    /// Array of one, [`Generation`](crate::Generation). Written by the agent only.
    pub const GENERATION: &str = "GENERATION";
    /// Per-CPU array, [`RecentPort`](crate::RecentPort). Written by the programs only.
    pub const PORT_CPU: &str = "PORT_CPU";
    /// Per-CPU array, [`RecentSender`](crate::RecentSender). Written by the programs only.
    pub const SENDER_CPU: &str = "SENDER_CPU";
    /// All of them: what is pinned, and what `detach` removes.
    pub const ALL: [&str; 35] = [
        FDB,
        MACTAB,
        MACCTL,
        VTEP_ADJ,
        VTEP_ADMIN,
        VTEP_OPER,
        VTEP_BY_IP,
        VNI,
        FLOOD,
        PORT,
        LOCAL_PORT,
        STATS,
        VTEP_STATS,
        PORT_STATS,
        EVENTS,
        META,
        CONFIG,
        CAPTURE_SET,
        CAPTURE_CPU,
        CAPTURE,
        PORT_BUCKETS,
        VNI_BUCKETS,
        WITNESSED,
        NEIGH,
        ALLOWED,
        SEEN,
        SEEN_CPU,
        BFD_SESSION,
        BFD_HEARD,
        BFD_RECEIVED,
        BFD_SCRATCH,
        FLOOD_SCRATCH,
        GENERATION,
        PORT_CPU,
        SENDER_CPU,
    ];
}

/// Read-only variables of the object, which the agent sets before it loads it.
pub mod global {
    /// How MACs are kept: [`MAC_TABLE_HASH`] in `FDB`, [`MAC_TABLE_BUCKETED`] in `MACTAB`.
    pub const MAC_TABLE: &str = "MAC_TABLE";
    pub const MAC_TABLE_HASH: u32 = 0;
    pub const MAC_TABLE_BUCKETED: u32 = 1;
}

/// Names of the programs.
pub mod program {
    /// [`PORT_IN`] for a frame by test-run, which has its tags in its bytes.
    pub const TRACE_PORT: &str = "trace_port";
    /// [`UPLINK_IN`] for such a frame.
    pub const TRACE_UPLINK: &str = "trace_uplink";
    /// [`TUNNEL_IN`] for such a frame, whose tunnel's key stands in the context's `cb`: the VNI, then the sender as
    /// [`AddrBytes`](crate::AddrBytes).
    pub const TRACE_TUNNEL: &str = "trace_tunnel";
    /// tcx ingress of a VM port.
    pub const PORT_IN: &str = "port_in";
    /// tcx ingress of the collect-metadata VXLAN device.
    pub const TUNNEL_IN: &str = "tunnel_in";
    /// tcx ingress of an uplink.
    pub const UPLINK_IN: &str = "uplink_in";
    /// XDP of a VM port in packet-rate mode, before `port_in`.
    pub const PORT_XDP: &str = "port_xdp";
    /// XDP of an uplink in packet-rate mode, before `uplink_in`.
    pub const UPLINK_XDP: &str = "uplink_xdp";
}
