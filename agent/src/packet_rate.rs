//! Packet-rate mode: which interfaces can be in it, and why others cannot. Pure; the facts come in.
//!
//! XDP runs before the kernel knows a frame's flow, offloads and tag, and a frame that it redirects to an interface that
//! takes none is lost without a trace. So each interface is asked beforehand, and again whenever it changes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::genetlink::XdpFeatures;
use crate::links::Link;

/// What the kernel says of an interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    pub xdp: XdpFeatures,
    /// Names as `ethtool -k` shows them, of those that are on.
    pub offloads: BTreeSet<String>,
    /// The driver's own that are set, as `ethtool --show-priv-flags` shows them.
    pub driver_flags: BTreeSet<String>,
    /// Those of a veth's other end, if it is in our network namespace.
    pub peer_offloads: Option<BTreeSet<String>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Whether it has bindings of a VLAN.
    Port {
        trunk: bool,
    },
    Uplink,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Our program stands at its XDP hook.
    On {
        /// Why frames to it go by way of TC all the same.
        takes_none: Option<&'static str>,
    },
    /// It is served by TC, and why.
    Refused(String),
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::On { takes_none: None } => f.write_str("on"),
            Self::On { takes_none: Some(reason) } => write!(f, "on; frames to it go by way of TC: {reason}"),
            Self::Refused(reason) => write!(f, "refused: {reason}"),
        }
    }
}

/// The interfaces for which the configuration asks it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PacketRate {
    pub by_ifindex: BTreeMap<u32, State>,
    /// Whether one of them is an uplink and in that mode.
    pub has_uplink: bool,
    /// What drivers say of ports that are to be passed by (`deliver`).
    pub passed_by: BTreeMap<u32, XdpFeatures>,
}

impl PacketRate {
    pub fn state(&self, ifindex: u32) -> Option<&State> {
        self.by_ifindex.get(&ifindex)
    }

    pub fn is_on(&self, ifindex: u32) -> bool {
        matches!(self.state(ifindex), Some(State::On { .. }))
    }

    /// Whether XDP may redirect frames to it.
    pub fn takes(&self, ifindex: u32) -> bool {
        matches!(self.state(ifindex), Some(State::On { takes_none: None }))
    }
}

/// An XDP frame up to here lies in one buffer, whatever the driver.
const ONE_BUFFER_MTU: u32 = 1700;
/// The largest that drivers put in one buffer: a page less headroom and `skb_shared_info`.
const ONE_PAGE_MTU: u32 = 3400;

/// Drivers that run XDP programs leave 192 bytes and more in front of a frame, but for those of Intel with this flag
/// (`i40e_rx_offset` in the kernel's `i40e_main.c`). None tells how many it leaves.
const WITHOUT_HEADROOM: &str = "legacy-rx";

pub fn state(link: &Link, facts: &Facts, role: Role) -> State {
    if let Some(reason) = refusal(link, facts, role) {
        return State::Refused(reason);
    }
    let takes_none = if !facts.xdp.has(XdpFeatures::TAKES) {
        Some(match link.kind.as_deref() {
            Some("veth") => "its other end has no NAPI, which GRO or an XDP program there turns on",
            _ => "its driver takes no frames that XDP redirects",
        })
    } else if link.mtu > ONE_BUFFER_MTU && !facts.xdp.has(XdpFeatures::TAKES_FRAGS) {
        Some("its driver takes no redirected frames of several buffers, which its MTU allows")
    } else {
        None
    };
    State::On { takes_none }
}

/// What cannot be known of an interface, and what to look at where it can. The kernel tells names and MTUs of another network
/// namespace's links (`IFLA_TARGET_NETNSID`), but offloads only to who is in it, which takes `CAP_SYS_ADMIN`.
pub fn unseen(link: &Link) -> Option<&'static str> {
    let is_apart = link.is_elsewhere && link.kind.as_deref() == Some("veth");
    is_apart.then_some(
        "its other end is in another network namespace and was not looked at; there: ethtool -K IF tx off tso off \
         txvlan off gro on",
    )
}

fn refusal(link: &Link, facts: &Facts, role: Role) -> Option<String> {
    if !facts.xdp.has(XdpFeatures::PROGRAMS) {
        return Some("its driver does not run XDP programs that redirect".to_owned());
    }
    if link.mtu > ONE_PAGE_MTU && !facts.xdp.has(XdpFeatures::FRAGS) {
        return Some(format!(
            "its MTU is {}, expected at most {ONE_PAGE_MTU}: its driver shows XDP no frame of several buffers",
            link.mtu
        ));
    }
    if facts.driver_flags.contains(WITHOUT_HEADROOM) {
        return Some(format!(
            "its driver leaves no headroom, where outer headers go: its flag {WITHOUT_HEADROOM} is on, expected off \
             (ethtool --set-priv-flags)"
        ));
    }
    match (link.kind.as_deref(), role) {
        (Some("veth"), Role::Port { trunk: true }) => {
            return Some(
                "it has bindings of VLANs, and a veth keeps tags beside the frame, where XDP sees none"
                    .to_owned(),
            );
        }
        (Some("tun"), _) => {
            return unwanted(&facts.offloads, &MADE_LATER, "its VM deals in unfinished checksums");
        }
        (Some(_), _) => {}
        (None, _) => {
            let reason = "its hardware takes out of a frame what XDP must see, or joins frames";
            if let Some(refusal) = unwanted(&facts.offloads, &HIDES_OR_JOINS, reason) {
                return Some(refusal);
            }
        }
    }
    let peer = facts.peer_offloads.as_ref()?;
    if role == Role::Uplink {
        return None;
    }
    unwanted(peer, &MADE_LATER, "its other end leaves checksums or segments to be made later")
}

/// Checksums and segments that are made after the frame was sent.
const MADE_LATER: [&str; 5] = [
    "tx-checksum-ip-generic",
    "tx-checksum-ipv4",
    "tx-tcp-segmentation",
    "tx-tcp6-segmentation",
    "tx-udp-segmentation",
];
const HIDES_OR_JOINS: [&str; 3] = ["rx-vlan-hw-parse", "rx-lro", "rx-gro-hw"];

fn unwanted(on: &BTreeSet<String>, unwanted: &[&str], reason: &str) -> Option<String> {
    let found: Vec<&str> = unwanted.iter().copied().filter(|name| on.contains(*name)).collect();
    (!found.is_empty()).then(|| format!("{reason}: {} on, expected off (ethtool -K)", found.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: XdpFeatures = XdpFeatures(1 | 2 | 4 | 32 | 64);
    const PORT: Role = Role::Port { trunk: false };

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[track_caller]
    fn check_refused(link: &Link, facts: &Facts, role: Role, says: &str) {
        match state(link, facts, role) {
            State::Refused(reason) => assert!(reason.contains(says), "{reason}"),
            state @ State::On { .. } => panic!("{state:?}, expected a refusal: {says}"),
        }
    }

    #[test]
    fn an_interface_without_what_it_takes_is_refused_with_the_reason() {
        let plain = Facts { xdp: ALL, ..Facts::default() };
        let on = State::On { takes_none: None };
        assert_eq!(state(&Link::of_kind(None, 9000), &plain, PORT), on);
        assert_eq!(state(&Link::of_kind(Some("veth"), 9000), &plain, Role::Uplink), on);
        assert_eq!(state(&Link::of_kind(Some("tun"), 1500), &plain, PORT), on);

        let with = |offloads: &[&str]| Facts { offloads: names(offloads), ..plain.clone() };
        let no_driver = Facts::default();
        check_refused(&Link::of_kind(Some("bond"), 1500), &no_driver, PORT, "does not run XDP");
        let no_frags = Facts { xdp: XdpFeatures(1 | 2 | 4), ..Facts::default() };
        check_refused(&Link::of_kind(None, 9000), &no_frags, Role::Uplink, "MTU is 9000");
        check_refused(&Link::of_kind(Some("veth"), 1500), &plain, Role::Port { trunk: true }, "VLANs");
        check_refused(
            &Link::of_kind(Some("tun"), 1500),
            &with(&["tx-checksum-ip-generic"]),
            PORT,
            "checksum",
        );
        let veth = Link::of_kind(Some("veth"), 1500);
        assert_eq!(unseen(&veth), None, "its other end is here");
        assert!(unseen(&Link { is_elsewhere: true, ..veth }).is_some());
        let legacy = Facts { driver_flags: names(&["legacy-rx"]), ..plain.clone() };
        check_refused(&Link::of_kind(None, 1500), &legacy, PORT, "no headroom");
        check_refused(
            &Link::of_kind(None, 1500),
            &with(&["rx-vlan-hw-parse"]),
            Role::Uplink,
            "rx-vlan-hw-parse",
        );
        let peer = Facts { peer_offloads: Some(names(&["tx-tcp-segmentation"])), ..plain.clone() };
        check_refused(&Link::of_kind(Some("veth"), 1500), &peer, PORT, "tx-tcp-segmentation");
    }

    #[test]
    fn frames_are_redirected_only_to_an_interface_that_takes_them() {
        let facts = |bits| Facts { xdp: XdpFeatures(bits), ..Facts::default() };
        let takes = |link: &Link, bits| match state(link, &facts(bits), PORT) {
            State::On { takes_none } => takes_none.is_none(),
            State::Refused(reason) => panic!("{reason}"),
        };
        let veth = Link::of_kind(Some("veth"), 1500);
        assert!(!takes(&veth, 1 | 2 | 32), "a veth whose other end has no NAPI");
        assert!(takes(&veth, 1 | 2 | 4));
        let jumbo = Link::of_kind(None, 9000);
        assert!(!takes(&jumbo, 1 | 2 | 4 | 32));
        assert!(takes(&jumbo, 1 | 2 | 4 | 32 | 64));
    }
}
