//! From the underlay, outer headers and all. What is not VXLAN to our address goes to the host untouched.

use vtep_abi::{Verdict, mapped_v4};

use crate::admission::Sender;
use crate::context::Frame;
use crate::header::{
    ENCAP_LEN, ETH_LEN, EtherType, Ethernet, IPPROTO_UDP, IPV4_LEN, OUTER_LEN, UDP_LEN, VXLAN_FLAG_I,
};
use crate::maps;
use crate::port;
use crate::tunnel::{self, Destination};
use crate::{Account, End};

/// Ethernet, IPv4 without options, UDP.
const UDP_HEAD: usize = ETH_LEN + IPV4_LEN + UDP_LEN;
/// Version and header length in words.
const IPV4_WITHOUT_OPTIONS: u8 = 0x45;
const ECN_CE: u8 = 3;
const MORE_FRAGMENTS: u16 = 0x2000;
const FRAGMENT_OFFSET: u16 = 0x1fff;

#[inline(always)]
pub(crate) fn enter(frame: &impl Frame, account: &mut Account) -> End {
    // Of a VLAN of the underlay, which has an interface of its own.
    if frame.tag().is_some() {
        return Verdict::NotOurs.into();
    }
    let Some(head) = frame.head::<UDP_HEAD>() else {
        return Verdict::NotOurs.into();
    };
    let Some(outer) = outer(&head) else {
        return Verdict::NotOurs.into();
    };
    if let Err(verdict) = check(frame, &outer) {
        return verdict.into();
    }
    let Some(head) = frame.head::<OUTER_LEN>() else {
        return Verdict::OuterMalformed.into();
    };
    if head[UDP_HEAD] & VXLAN_FLAG_I == 0 {
        return Verdict::VxlanFlags.into();
    }
    let vni = u32::from_be_bytes([0, head[UDP_HEAD + 4], head[UDP_HEAD + 5], head[UDP_HEAD + 6]]);
    let mut ethernet = Ethernet([0; ETH_LEN]);
    ethernet.0.copy_from_slice(&head[ENCAP_LEN..OUTER_LEN]);
    account.bytes = frame.len() - ENCAP_LEN as u32;
    let arrival =
        Arrival { vni, source: outer.source, ethernet, congested: head[ETH_LEN + 1] & ECN_CE == ECN_CE };
    decide(frame, &arrival, account)
}

/// A VXLAN frame that is in order.
struct Arrival {
    vni: u32,
    source: [u8; 4],
    ethernet: Ethernet,
    /// The outer header says that congestion was experienced.
    congested: bool,
}

#[inline(always)]
fn decide<F: Frame>(frame: &F, arrival: &Arrival, account: &mut Account) -> End {
    let &Arrival { vni, source, ethernet, congested } = arrival;
    let Some(network) = maps::network(vni) else {
        return Verdict::UnknownVni.into();
    };
    account.bd = network.bd;
    let vtep = match tunnel::known(vni, source) {
        Ok(vtep) => vtep,
        Err(verdict) => return verdict.into(),
    };
    let to = match tunnel::destination(Sender { vni, vtep }, &network, &ethernet) {
        Destination::Port(to) => to,
        Destination::Flood => return admit(frame),
        Destination::Nowhere(verdict) => return verdict.into(),
    };
    let here = maps::local_port(to, vni).filter(|port| port.flags & F::DECAP_FLAG != 0);
    let Some(port) = here else {
        return admit(frame);
    };
    // The kernel combines the ECN fields as RFC 6040 §4.2 says.
    if congested || frame.is_unfinished(ENCAP_LEN, ethernet.ether_type()) {
        return admit(frame);
    }
    tunnel::count_received(vtep, account.bytes);
    if frame.pop_outer(ethernet.ether_type()).is_err() || frame.write(0, &ethernet.0).is_err() {
        return Verdict::DecapFailed.into();
    }
    port::leave(frame, port, Verdict::Delivered)
}

/// `tunnel_in` decides again, on the bare frame, and counts what becomes of it.
#[inline(always)]
fn admit(frame: &impl Frame) -> End {
    if let Some(skb) = frame.skb() {
        skb.mark_admitted();
    }
    Verdict::Admitted.into()
}

struct Outer {
    source: [u8; 4],
    ip_len: u16,
    udp_len: u16,
    is_fragment: bool,
}

/// The outer header if it is VXLAN to us by address and port.
#[inline(always)]
fn outer(head: &[u8; UDP_HEAD]) -> Option<Outer> {
    let config = maps::config()?;
    let u16_at = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    let addr_at = |at: usize| [head[at], head[at + 1], head[at + 2], head[at + 3]];
    let fragment = u16_at(ETH_LEN + 6);
    let ours = u16_at(12) == EtherType::IPV4.as_u16()
        // No VTEP sends IPv4 options. Should the kernel's tunnel device take them, `tunnel_in` will not.
        && head[ETH_LEN] == IPV4_WITHOUT_OPTIONS
        && head[ETH_LEN + 9] == IPPROTO_UDP
        // Only a first fragment has ports.
        && fragment & FRAGMENT_OFFSET == 0
        && mapped_v4(addr_at(ETH_LEN + 16)) == config.local
        && [head[ETH_LEN + IPV4_LEN + 2], head[ETH_LEN + IPV4_LEN + 3]] == config.udp_port;
    if !ours {
        return None;
    }
    Some(Outer {
        source: addr_at(ETH_LEN + 12),
        ip_len: u16_at(ETH_LEN + 2),
        udp_len: u16_at(ETH_LEN + IPV4_LEN + 4),
        is_fragment: fragment & MORE_FRAGMENTS != 0,
    })
}

#[inline(always)]
fn check(frame: &impl Frame, outer: &Outer) -> Result<(), Verdict> {
    const PAYLOAD_MIN: u32 = (OUTER_LEN - ETH_LEN - IPV4_LEN) as u32;
    if outer.is_fragment {
        return Err(Verdict::OuterFragment);
    }
    // The lengths of a super-packet that the receive path merged may exceed 16 bits.
    if frame.gso_size() != 0 {
        return Ok(());
    }
    let udp_len = u32::from(outer.udp_len);
    let ip_len = u32::from(outer.ip_len);
    let consistent = udp_len >= PAYLOAD_MIN
        && udp_len + IPV4_LEN as u32 == ip_len
        // Ethernet may pad a short packet.
        && ip_len + ETH_LEN as u32 <= frame.len();
    if consistent { Ok(()) } else { Err(Verdict::OuterMalformed) }
}
