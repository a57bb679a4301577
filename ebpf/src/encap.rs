//! Toward a VTEP.

use vtep_abi::{Verdict, VtepAdj};

use crate::End;
use crate::context::{Frame, Refused, Skb};
use crate::header::{self, ETH_LEN, EtherType, Ethernet, Inner, UDP_LEN};
use crate::maps;

/// Where a frame goes, and the verdict if all goes well.
pub(crate) struct Destined {
    pub(crate) vni: u32,
    pub(crate) vtep: u32,
    pub(crate) verdict: Verdict,
    pub(crate) ethernet: Ethernet,
}

/// Encapsulates a frame.
///
/// A call of its own: headers and keys on its stack need not share 512 bytes with the loops of a flood.
#[inline(never)]
pub(crate) fn send<F: Frame>(frame: F, destined: &Destined) -> End {
    let &Destined { vni, vtep, verdict, ethernet } = destined;
    let Some(adj) = maps::adjacency(vtep) else {
        return Verdict::NoRoute.into();
    };
    if !adj.is(VtepAdj::ROUTED) {
        return Verdict::NoRoute.into();
    }
    let inner = inner(&frame, vni, ethernet);
    let leaves = adj.flags & F::ADJ_NEEDS == F::ADJ_NEEDS;
    if !inner.fits(adj) {
        return if frame.skb().is_some() { Verdict::TooBig.into() } else { Verdict::Passed.into() };
    }
    if !adj.is(VtepAdj::RESOLVED) || !leaves || frame.push_outer().is_err() {
        let Some(skb) = frame.skb() else {
            return Verdict::Passed.into();
        };
        count_sent(vtep, verdict, inner.len);
        return match address_device(&skb, adj, &inner) {
            Ok(device) => End::redirect(Verdict::Device, device),
            Err(Refused) => Verdict::EncapFailed.into(),
        };
    }
    count_sent(vtep, verdict, inner.len);
    match frame.write(0, &header::outer(adj, &inner)) {
        Ok(()) => End::redirect(verdict, adj.ifindex),
        Err(_) => Verdict::EncapFailed.into(),
    }
}

#[inline(always)]
fn count_sent(vtep: u32, verdict: Verdict, bytes: u32) {
    maps::with_vtep_stats(vtep, |stats| {
        stats.sent.packets += 1;
        stats.sent.bytes += u64::from(bytes);
        if matches!(verdict, Verdict::Slave) {
            stats.served_as_slave += 1;
        }
    });
}

/// Readies a frame for the kernel's tunnel device and returns the device. It encapsulates what the program cannot: it
/// resolves the neighbour and keeps the frame meanwhile, and it takes frames that are encapsulated already.
#[inline(always)]
pub(crate) fn address_device(frame: &Skb, adj: &VtepAdj, inner: &Inner) -> Result<u32, Refused> {
    let config = maps::config().ok_or(Refused)?;
    frame.set_tunnel_key(inner.vni, adj, adj.dscp | inner.ecn)?;
    Ok(config.tunnel_ifindex)
}

#[inline(always)]
pub(crate) fn inner(frame: &impl Frame, vni: u32, ethernet: Ethernet) -> Inner {
    Inner {
        ethernet,
        vni,
        len: frame.len(),
        packet_len: packet_len(frame, ethernet.ether_type()),
        ecn: ecn(frame, ethernet.ether_type()),
        flow_hash: frame.flow_hash(),
    }
}

/// A super-packet's segments repeat its IP and transport headers.
#[inline(always)]
fn packet_len(frame: &impl Frame, ether_type: EtherType) -> u32 {
    const IPPROTO_TCP: u8 = 6;
    const IPV6_LEN: u32 = 40;
    let payload = match frame.gso_size() {
        0 => return frame.len() - ETH_LEN as u32,
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

/// The ECN field of an inner IP packet; 0 for anything else.
#[inline(always)]
fn ecn(frame: &impl Frame, ether_type: EtherType) -> u8 {
    const TOS: usize = ETH_LEN + 1;
    if !ether_type.is_ip() {
        return 0;
    }
    match frame.head::<{ TOS + 1 }>() {
        Some(head) if ether_type == EtherType::IPV4 => head[TOS] & 3,
        // The traffic class lies across the first two bytes (RFC 8200 §3).
        Some(head) => (head[TOS] >> 4) & 3,
        None => 0,
    }
}
