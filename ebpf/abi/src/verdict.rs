//! The one catalogue of what can become of a frame.

use core::ops::{BitOr, BitOrAssign};

use bytemuck::{Pod, Zeroable};

/// Room for verdicts in [`VniStats`](crate::VniStats).
pub const VERDICTS_MAX: usize = 96;

macro_rules! verdicts {
    ($($(#[doc = $doc:literal])* $name:ident = $code:literal, $text:literal;)*) => {
        /// What became of a frame. Codes index the counters of [`VniStats`](crate::VniStats) and are never reused;
        /// below [`Verdict::FIRST_DROP`] the frame went on, from there it was dropped.
        #[repr(u32)]
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Verdict { $($(#[doc = $doc])* $name = $code,)* }

        impl Verdict {
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The name under which operators see it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// What it says, in a sentence or two.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc,)*).trim_ascii_start(),)* }
            }
        }
    };
}

verdicts! {
    /// From a port to a port of this host.
    Local = 1, "local";
    /// Encapsulated toward the master.
    Master = 2, "master";
    /// Encapsulated toward the slave, the master being down.
    Slave = 3, "slave";
    /// Left to the kernel, which encapsulates or finds the next hop: the neighbour is unresolved, or the frame is of a
    /// kind that the program cannot encapsulate.
    Device = 4, "device";
    /// From a port, replicated to the VNI's flood list.
    Flooded = 5, "flooded";
    /// From the underlay to a port of this host.
    Delivered = 6, "delivered";
    /// From the underlay, replicated to the VNI's ports of this host.
    DeliveredFlood = 7, "delivered_flood";
    /// From the underlay, admitted and left to the kernel's tunnel device, which hands it to `tunnel_in`.
    Admitted = 8, "admitted";
    /// From the underlay and not for our VTEP: the host's.
    NotOurs = 9, "not_ours";
    /// From the underlay, a control packet of BFD, handed to the agent.
    Bfd = 10, "bfd";
    /// Left by XDP to TC as it came, which decides. Not counted: TC's verdict is.
    Passed = 11, "passed";

    /// A control packet of BFD that the program answered, for the agent was silent.
    BfdAnswered = 12, "bfd_answered";

    /// From a port, an ARP request or neighbour solicitation that the program answered.
    Answered = 13, "answered";

    /// The inner frame is shorter than an Ethernet header.
    InnerTruncated = 16, "inner_truncated";
    /// The port has no binding for the frame's VLAN.
    Unbound = 17, "unbound";
    /// The frame's VNI is not one of this host's.
    UnknownVni = 18, "unknown_vni";
    /// Unicast to a MAC that the FDB does not hold, in a VNI that does not flood these.
    UnknownUnicast = 19, "unknown_unicast";
    /// Neither master nor slave is up.
    BothDown = 20, "both_down";
    /// No route leads to the VTEP.
    NoRoute = 21, "no_route";
    /// The outer packet would be larger than the path allows.
    TooBig = 22, "too_big";
    /// The kernel refused to make room or to send.
    EncapFailed = 23, "encap_failed";
    /// The outer source is no VTEP.
    UnknownSender = 24, "unknown_sender";
    /// The outer source is a VTEP, but not of this VNI.
    SenderNotInVni = 25, "sender_not_in_vni";
    /// The VXLAN header lacks flag I (RFC 7348 §5).
    VxlanFlags = 26, "vxlan_flags";
    /// The outer packet is cut short, or its lengths contradict each other.
    OuterMalformed = 27, "outer_malformed";
    /// The outer packet is a fragment, which a VTEP must not make (RFC 7348 §4.3).
    OuterFragment = 28, "outer_fragment";
    /// From the underlay to a MAC behind another VTEP: never sent back (split horizon).
    SplitHorizon = 29, "split_horizon";
    /// To a MAC behind the port that it came from.
    SamePort = 30, "same_port";
    /// The inner source address is no station's: a group address, or zero.
    GroupSource = 31, "group_source";
    /// Nothing to flood to: no member, or none that is up and has a route.
    NoMembers = 32, "no_members";
    /// The FDB names a local port that is gone.
    PortGone = 33, "port_gone";
    /// The kernel refused to remove the outer headers.
    DecapFailed = 34, "decap_failed";
    /// The kernel refused to push or pop the VLAN tag.
    VlanFailed = 35, "vlan_failed";
    /// A VLAN tag where the frame may have none: a second one from a port, or one inside VXLAN (RFC 7348 §6.1).
    ExtraTag = 36, "extra_tag";
    /// From the tunnel device, but not by way of `uplink_in`: it entered the host through another interface.
    NotAdmitted = 37, "not_admitted";
    /// The outer header says that congestion was met, and the inner packet's ends do not know ECN (RFC 6040 §4.2).
    EcnCongested = 38, "ecn_congested";
    /// A reserved bit of the tunnel's header is set, and the configuration is strict.
    ReservedBits = 39, "reserved_bits";
    /// A Geneve control packet, or one with a critical option: we know none (RFC 8926 §3.4).
    GeneveCritical = 40, "geneve_critical";
    /// A Geneve or GRE header of another version, or around something that is not Ethernet.
    TunnelHeader = 41, "tunnel_header";
    /// The next hop is not resolved yet, and the frame is of a kind for which the kernel will not wait.
    Unresolved = 42, "unresolved";
    /// A control frame of one link (IEEE 802.1Q §8.6.3), for ports that do not ask for these.
    LinkLocal = 44, "link_local";
    /// From the underlay with the source address of a MAC behind a port of this host: a loop, or a forgery.
    LocalSource = 45, "local_source";
    /// From the underlay with the source address of a MAC that does not live behind the sender.
    WrongSource = 46, "wrong_source";
    /// Too big for the path, and the sender was told so by ICMP.
    TooBigTold = 47, "too_big_told";
    /// Broadcast, multicast or unknown unicast beyond what the port may send.
    PortStorm = 48, "port_storm";
    /// Broadcast, multicast or unknown unicast beyond what the VNI may carry.
    VniStorm = 49, "vni_storm";
    /// From a port that may not send from this MAC.
    MacRefused = 50, "mac_refused";
    /// From a port that may not send from this IP address, nor claim it by ARP or neighbour discovery.
    IpRefused = 51, "ip_refused";
    /// From a port to the MAC to which VTEPs send BFD inside tunnels: the far one would take it for a word of ours.
    TenantBfd = 60, "tenant_bfd";
    /// From a Geneve or GRE tunnel, with less than an IP header behind the inner Ethernet header: the kernel does not take
    /// outer headers off so little.
    InnerShort = 62, "inner_short";
    /// Several UDP datagrams in one packet, not taken apart yet, in a Geneve tunnel with options or a checksum: outer
    /// headers that neither a program nor a device takes off without spoiling them.
    InnerSegments = 63, "inner_segments";
    /// Longer than the MTU of the port that it is for.
    PortMtu = 64, "port_mtu";
    /// Longer than the MTU of the port that it is for, and the sender was told so by ICMP.
    PortMtuTold = 65, "port_mtu_told";
}

impl Verdict {
    pub const FIRST_DROP: u32 = 16;

    pub const fn is_drop(self) -> bool {
        self as u32 >= Self::FIRST_DROP
    }

    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.iter().copied().find(|verdict| *verdict as u32 == code)
    }
}

/// Some of the verdicts: bit `code % 64` of `low`, from 64 on of `high`.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Pod, Zeroable)]
pub struct VerdictSet {
    pub low: u64,
    pub high: u64,
}

impl VerdictSet {
    pub const ALL: Self = Self { low: u64::MAX, high: u64::MAX };

    #[inline]
    pub const fn contains(self, verdict: Verdict) -> bool {
        let code = verdict as u32;
        let half = if code < u64::BITS { self.low } else { self.high };
        half >> (code % u64::BITS) & 1 != 0
    }

    #[inline]
    pub const fn is_empty(self) -> bool {
        self.low | self.high == 0
    }
}

impl From<Verdict> for VerdictSet {
    fn from(verdict: Verdict) -> Self {
        let bit = 1 << (verdict as u32 % u64::BITS);
        if (verdict as u32) < u64::BITS { Self { low: bit, high: 0 } } else { Self { low: 0, high: bit } }
    }
}

impl BitOr for VerdictSet {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self { low: self.low | other.low, high: self.high | other.high }
    }
}

impl BitOrAssign for VerdictSet {
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}

impl FromIterator<Verdict> for VerdictSet {
    fn from_iter<I: IntoIterator<Item = Verdict>>(verdicts: I) -> Self {
        verdicts.into_iter().map(Self::from).fold(Self::default(), BitOr::bitor)
    }
}

const _: () = assert!(VERDICTS_MAX <= 2 * u64::BITS as usize);
const _: () = {
    let mut at = 0;
    while at < Verdict::ALL.len() {
        assert!((Verdict::ALL[at] as usize) < VERDICTS_MAX);
        at += 1;
    }
};
