//! Ports and logical networks: who may enter where.

use bytemuck::{Pod, Zeroable};

use crate::Limit;

#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Pod, Zeroable)]
pub struct PortKey {
    pub ifindex: u32,
    /// 0 for untagged and priority-tagged frames.
    pub vlan: u16,
    pad: u16,
}

impl PortKey {
    #[inline]
    pub const fn new(ifindex: u32, vlan: u16) -> Self {
        Self { ifindex, vlan, pad: 0 }
    }
}

/// What a frame that enters a port with a VLAN belongs to.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct PortValue {
    pub vni: u32,
    /// The bridge domain of `vni`: the host's own small number for it, index of [`VniStats`](crate::VniStats).
    pub bd: u32,
    /// Index of the [`LocalPort`] for the way back.
    pub local_port: u32,
    pub flags: u32,
    /// Of broadcast, multicast and unknown unicast from the interface.
    pub flood: Limit,
    /// Index of the interface's [`PortBuckets`](crate::PortBuckets), which all its VLANs share.
    pub buckets: u32,
    /// Zero.
    pub pad: u32,
}

impl PortValue {
    /// What no port has: bridge domain 0 counts for it.
    pub const UNBOUND: Self = Self {
        vni: 0,
        bd: 0,
        local_port: 0,
        flags: 0,
        flood: Limit { interval_ns: 0, burst: 0 },
        buckets: 0,
        pad: 0,
    };
    /// Report source MACs that the FDB does not show on this port.
    pub const LEARN: u32 = 1;
    /// Control frames of one link (01:80:c2:00:00:0X) are carried like other groups.
    pub const LINK_LOCAL: u32 = 2;
    /// Source MACs, and source IP addresses, must stand in `ALLOWED`.
    pub const CHECK_MACS: u32 = 4;
    pub const CHECK_IPS: u32 = 8;
    /// The tag that selected the binding goes on inside the tunnel.
    pub const KEEP_TAG: u32 = 16;
    /// So does the one behind it. Of the untagged binding: a tag that has no binding of its own.
    pub const CARRY_TAG: u32 = 32;
    /// Of the untagged binding: it takes frames whose tag has no binding of its own, without the tag.
    pub const POP_TAG: u32 = 64;
}

/// How a frame leaves to a port.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
pub struct LocalPort {
    /// 0: no such port.
    pub ifindex: u32,
    pub vni: u32,
    /// The tag to push, 0 for none.
    pub vlan: u16,
    pub flags: u16,
    /// The bridge domain of `vni`.
    pub bd: u32,
    /// The interface's, of its largest IP packet.
    pub mtu: u32,
}

impl LocalPort {
    /// The longest frame that fits, without its tags, as the kernel has it for the ports of a bridge.
    #[inline]
    pub const fn frame_max(&self) -> u64 {
        const ETHERNET: u64 = 14;
        self.mtu as u64 + ETHERNET
    }

    /// `uplink_in` removes the outer headers of unicast to this port itself; without the flag the kernel's tunnel
    /// device does. Faster for ports that take frames as they are (veth); a tap segments the super-packets that come
    /// out of it in software.
    pub const DECAP_IN_PROGRAM: u16 = 1;
    /// As of [`PortValue`].
    pub const LINK_LOCAL: u16 = 2;
    pub const KEEP_TAG: u16 = 4;
    pub const CARRY_TAG: u16 = 8;
    /// The interface is a veth, and unicast enters the namespace at its other end at once: past the interface, its queue and
    /// whatever looks at what leaves it.
    pub const TO_PEER: u16 = 16;
    /// The interface is in packet-rate mode and takes frames that XDP redirects to it. Without the flag XDP leaves them
    /// to TC.
    pub const TAKES_XDP: u16 = 1 << 8;
}

pub type VniKey = u32;

#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
pub struct VniValue {
    pub bd: u32,
    pub flags: u32,
    /// Generation of the published flood list, and how many members it has: local ports, then all.
    pub flood_generation: u16,
    pub flood_local: u16,
    pub flood_members: u16,
    pad: u16,
    /// Of broadcast, multicast and unknown unicast, from ports and from the underlay together.
    pub flood: Limit,
}

impl VniValue {
    /// Unicast to a MAC that the FDB does not hold is dropped, not flooded.
    pub const DROP_UNKNOWN: u32 = 1;
    /// A frame from the underlay must have a source MAC that lives behind its sender.
    pub const CHECK_SOURCE: u32 = 2;
    /// ARP requests and neighbour solicitations for addresses in `NEIGH` are answered, not flooded.
    pub const SUPPRESS: u32 = 4;
    /// Report source MACs from the underlay that the FDB does not show.
    pub const LEARN_UNDERLAY: u32 = 8;
    /// Some port of this host takes frames with a tag inside.
    pub const CARRIES_TAGS: u32 = 16;
    /// Report source MACs from the underlay that the FDB shows behind another VTEP than their sender.
    pub const WITNESS: u32 = 32;

    #[inline]
    pub const fn new(bd: u32, flags: u32) -> Self {
        Self {
            bd,
            flags,
            flood_generation: 0,
            flood_local: 0,
            flood_members: 0,
            pad: 0,
            flood: Limit { interval_ns: 0, burst: 0 },
        }
    }

    #[inline]
    #[must_use]
    pub const fn with_flood(self, generation: u16, local: u16, members: u16) -> Self {
        Self { flood_generation: generation, flood_local: local, flood_members: members, ..self }
    }

    #[inline]
    #[must_use]
    pub const fn with_limit(self, flood: Limit) -> Self {
        Self { flood, ..self }
    }
}

const _: () = assert!(size_of::<PortKey>() == 8);
const _: () = assert!(size_of::<PortValue>() == 32);
const _: () = assert!(size_of::<LocalPort>() == 20);
const _: () = assert!(size_of::<VniValue>() == 24);
