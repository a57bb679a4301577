//! Toward a VTEP.

use vtep_abi::{Verdict, VtepAdj};
use vtep_outer::{Inner, InnerIp, Shape, UDP_LEN};

use crate::End;
use crate::context::{self, Frame, Refused, Skb};
use crate::header::{ETH_LEN, EtherType, Ethernet};
use crate::maps;

/// Where a frame goes, and the verdict if all goes well.
pub(crate) struct Destined<'a> {
    pub(crate) vni: u32,
    pub(crate) vtep: u32,
    pub(crate) verdict: Verdict,
    pub(crate) ethernet: &'a Ethernet,
    /// The frame's.
    pub(crate) len: u32,
}

/// Headers and keys on its stack need not share 512 bytes with the loops of a flood.
#[inline(never)]
pub(crate) fn send_apart<F: Frame>(frame: F, destined: &Destined<'_>) -> End {
    send(frame, destined)
}

/// Encapsulates a frame.
#[inline(always)]
pub(crate) fn send<F: Frame>(frame: F, destined: &Destined<'_>) -> End {
    let &Destined { vni, vtep, verdict, ethernet, len } = destined;
    let Some(adj) = maps::adjacency(vtep) else {
        return Verdict::NoRoute.into();
    };
    if !adj.is(VtepAdj::ROUTED) {
        return Verdict::NoRoute.into();
    }
    let Some(shape) = Shape::from_len(adj.outer_len) else {
        return Verdict::NoRoute.into();
    };
    let mut inner = inner(&frame, len, vni, *ethernet);
    if !adj.is(VtepAdj::DONT_FRAGMENT) {
        inner.identification = context::random() as u16;
    }
    let leaves = adj.flags & F::ADJ_NEEDS == F::ADJ_NEEDS;
    if !inner.fits(adj) {
        return if frame.skb().is_some() { Verdict::TooBig.into() } else { Verdict::Passed.into() };
    }
    let resolved = adj.is(VtepAdj::RESOLVED);
    let by_device = adj.encap == VtepAdj::VXLAN;
    let cramped = resolved && leaves && frame.push_outer(shape).is_err();
    if (!resolved && by_device) || !leaves || cramped {
        let Some(skb) = frame.skb() else {
            return if cramped { End::without_headroom() } else { Verdict::Passed.into() };
        };
        if !by_device {
            return Verdict::EncapFailed.into();
        }
        count_sent(vtep, verdict, inner.len);
        return match address_device(&skb, adj, &inner) {
            Ok(device) => End::redirect(Verdict::Device, device),
            Err(Refused) => Verdict::EncapFailed.into(),
        };
    }
    if !resolved {
        // The kernel looks for the next hop of IP packets only, and it goes by what the frame was.
        if frame.skb().is_none() {
            return Verdict::Passed.into();
        }
        if !inner.ip.is_ip {
            return Verdict::Unresolved.into();
        }
        if frame.push_outer(shape).is_err() {
            return Verdict::EncapFailed.into();
        }
    }
    count_sent(vtep, verdict, inner.len);
    match write_outer(&frame, adj, shape, &inner) {
        Ok(()) if resolved => End::redirect(verdict, adj.ifindex),
        Ok(()) => End::resolve(Verdict::Device, adj.ifindex),
        Err(_) => Verdict::EncapFailed.into(),
    }
}

#[inline(always)]
pub(crate) fn count_sent(vtep: u32, verdict: Verdict, bytes: u32) {
    maps::with_vtep_stats(vtep, |stats| {
        stats.sent.count(bytes);
        if matches!(verdict, Verdict::Slave) {
            stats.served_as_slave += 1;
        }
    });
}

/// Into the room that [`Frame::push_outer`] made for `shape`.
#[inline(always)]
pub(crate) fn write_outer(
    frame: &impl Frame,
    adj: &VtepAdj,
    shape: Shape,
    inner: &Inner,
) -> Result<(), Refused> {
    match shape {
        Shape::Ipv4Udp => {
            let mut room = frame.room::<{ Shape::IPV4_UDP_LEN + ETH_LEN }>()?;
            inner.put(adj, Shape::Ipv4Udp, &mut room);
        }
        Shape::Ipv6Udp => {
            let mut room = frame.room::<{ Shape::IPV6_UDP_LEN + ETH_LEN }>()?;
            inner.put(adj, Shape::Ipv6Udp, &mut room);
        }
        Shape::Ipv4Gre => {
            let mut room = frame.room::<{ Shape::IPV4_GRE_LEN + ETH_LEN }>()?;
            inner.put(adj, Shape::Ipv4Gre, &mut room);
        }
        Shape::Ipv6Gre => {
            let mut room = frame.room::<{ Shape::IPV6_GRE_LEN + ETH_LEN }>()?;
            inner.put(adj, Shape::Ipv6Gre, &mut room);
        }
    }
    Ok(())
}

/// Readies a frame for the kernel's tunnel device and returns the device. It encapsulates what the program cannot: it
/// resolves the neighbour and keeps the frame meanwhile, and it takes frames that are encapsulated already.
#[inline(always)]
pub(crate) fn address_device(frame: &Skb, adj: &VtepAdj, inner: &Inner) -> Result<u32, Refused> {
    let config = maps::config().ok_or(Refused)?;
    frame.set_tunnel_key(adj, inner)?;
    Ok(config.tunnel_ifindex)
}

#[inline(always)]
pub(crate) fn inner(frame: &impl Frame, len: u32, vni: u32, ethernet: Ethernet) -> Inner {
    Inner {
        ethernet: ethernet.0,
        vni,
        len,
        packet_len: packet_len(frame, len, ethernet.ether_type()),
        ip: inner_ip(frame, ethernet.ether_type()),
        flow_hash: frame.flow_hash(),
        identification: 0,
    }
}

/// A super-packet's segments repeat its IP and transport headers.
#[inline(always)]
fn packet_len(frame: &impl Frame, len: u32, ether_type: EtherType) -> u32 {
    const IPPROTO_TCP: u8 = 6;
    const IPV6_LEN: u32 = 40;
    let payload = match frame.gso_size() {
        0 => return len - ETH_LEN as u32,
        payload => payload,
    };
    let at = |offset: u32| frame.byte(ETH_LEN as u32 + offset).unwrap_or(0);
    let (ip_len, protocol) = match ether_type {
        EtherType::IPV4 => (u32::from(at(0) & 0xf) * 4, at(9)),
        _ => (IPV6_LEN, at(6)),
    };
    let transport_len = match protocol {
        IPPROTO_TCP => u32::from(at(ip_len + 12) >> 4) * 4,
        _ => UDP_LEN as u32,
    };
    ip_len + transport_len + payload
}

#[inline(always)]
fn inner_ip(frame: &impl Frame, ether_type: EtherType) -> InnerIp {
    const DONT_FRAGMENT: u8 = 0x40;
    if !ether_type.is_ip() {
        return InnerIp::NONE;
    }
    let Some([first, second, .., fragment, hop_limit, ttl]) = frame.ip_head() else {
        return InnerIp::NONE;
    };
    if ether_type == EtherType::IPV4 {
        InnerIp { is_ip: true, tos: second, ttl, dont_fragment: fragment & DONT_FRAGMENT != 0 }
    } else {
        // The traffic class lies across the first two bytes (RFC 8200 §3).
        InnerIp { is_ip: true, tos: (first << 4) | (second >> 4), ttl: hop_limit, dont_fragment: true }
    }
}
