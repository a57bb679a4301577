//! From the underlay, outer headers and all. What is not VXLAN to our address goes to the host untouched.

use vtep_abi::{LocalPort, Verdict, mapped_v4};

use crate::End;
use crate::context::Frame;
use crate::header::{
    ENCAP_LEN, ETH_LEN, EtherType, Ethernet, IPPROTO_UDP, IPV4_LEN, OUTER_LEN, UDP_LEN, VXLAN_FLAG_I,
};
use crate::maps;
use crate::port;
use crate::tunnel::{self, Destination};

/// Ethernet, IPv4 without options, UDP.
const UDP_HEAD: usize = ETH_LEN + IPV4_LEN + UDP_LEN;
const MORE_FRAGMENTS: u16 = 0x2000;
const FRAGMENT_OFFSET: u16 = 0x1fff;

#[inline(always)]
pub(crate) fn enter(frame: &Frame, bd: &mut u32) -> End {
    let Some(head) = frame.head::<UDP_HEAD>() else {
        return Verdict::NotOurs.into();
    };
    let Some(outer) = outer(&head) else {
        return Verdict::NotOurs.into();
    };
    if outer.has_options {
        // No VTEP sends IPv4 options; the kernel's tunnel device takes them, after the checks of `tunnel_in`.
        return Verdict::NotOurs.into();
    }
    match check(frame, &outer) {
        Ok(()) => {}
        Err(verdict) => return verdict.into(),
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
    decide(frame, vni, outer.source, ethernet, bd)
}

#[inline(always)]
fn decide(frame: &Frame, vni: u32, source: [u8; 4], ethernet: Ethernet, bd: &mut u32) -> End {
    let Some(network) = maps::network(vni) else {
        return Verdict::UnknownVni.into();
    };
    *bd = network.bd;
    let vtep = match tunnel::known(vni, source) {
        Ok(vtep) => vtep,
        Err(verdict) => return verdict.into(),
    };
    let to = match tunnel::destination(vni, &network, &ethernet) {
        Destination::Port(to) => to,
        Destination::Flood => return Verdict::Admitted.into(),
        Destination::Nowhere(verdict) => return verdict.into(),
    };
    if maps::local_port(to, vni).is_none_or(|port| port.flags & LocalPort::DECAP_IN_PROGRAM == 0) {
        // `tunnel_in` decides again, on the bare frame, and counts what becomes of it.
        return Verdict::Admitted.into();
    }
    tunnel::count_received(vtep, frame.len() - ENCAP_LEN as u32);
    if frame.pop_outer(ethernet.ether_type()).is_err() || frame.write(0, &ethernet.0).is_err() {
        return Verdict::DecapFailed.into();
    }
    port::deliver(frame, vni, to, Verdict::Delivered)
}

struct Outer {
    source: [u8; 4],
    ip_len: u16,
    udp_len: u16,
    is_fragment: bool,
    has_options: bool,
}

/// The outer header if it is VXLAN to us by address and port.
#[inline(always)]
fn outer(head: &[u8; UDP_HEAD]) -> Option<Outer> {
    let config = maps::config()?;
    let u16_at = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    let addr_at = |at: usize| [head[at], head[at + 1], head[at + 2], head[at + 3]];
    let fragment = u16_at(ETH_LEN + 6);
    let ours = u16_at(12) == EtherType::IPV4.as_u16()
        && head[ETH_LEN] >> 4 == 4
        && head[ETH_LEN + 9] == IPPROTO_UDP
        // Only a first fragment has ports.
        && fragment & FRAGMENT_OFFSET == 0
        && mapped_v4(addr_at(ETH_LEN + 16)) == config.local;
    if !ours {
        return None;
    }
    let has_options = head[ETH_LEN] & 0x0f != 5;
    let port = [head[ETH_LEN + IPV4_LEN + 2], head[ETH_LEN + IPV4_LEN + 3]];
    if !has_options && port != config.udp_port {
        return None;
    }
    Some(Outer {
        source: addr_at(ETH_LEN + 12),
        ip_len: u16_at(ETH_LEN + 2),
        udp_len: u16_at(ETH_LEN + IPV4_LEN + 4),
        is_fragment: fragment & MORE_FRAGMENTS != 0,
        has_options,
    })
}

#[inline(always)]
fn check(frame: &Frame, outer: &Outer) -> Result<(), Verdict> {
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
