//! Toward a VTEP.

use vtep_abi::{Verdict, VtepAdj};

use crate::End;
use crate::context::Frame;
use crate::header::{self, ETH_LEN, EtherType, Ethernet, Inner};
use crate::maps;

/// Encapsulates a frame to `vtep`, with `verdict` if all goes well.
#[inline(always)]
pub(crate) fn send(frame: &Frame, vni: u32, ethernet: Ethernet, vtep: u32, verdict: Verdict) -> End {
    let Some(adj) = maps::adjacency(vtep) else {
        return Verdict::NoRoute.into();
    };
    if !adj.is(VtepAdj::ROUTED) {
        return Verdict::NoRoute.into();
    }
    let inner = inner(frame, vni, ethernet);
    if !inner.fits(adj) {
        return Verdict::TooBig.into();
    }
    maps::with_vtep_stats(vtep, |stats| {
        stats.sent.packets += 1;
        stats.sent.bytes += u64::from(frame.len());
        if matches!(verdict, Verdict::Slave) {
            stats.served_as_slave += 1;
        }
    });
    if !adj.is(VtepAdj::RESOLVED) || frame.push_outer().is_err() {
        return through_device(frame, adj, &inner);
    }
    match frame.write(0, &header::outer(adj, &inner)) {
        Ok(()) => End::redirect(verdict, adj.ifindex),
        Err(_) => Verdict::EncapFailed.into(),
    }
}

/// The kernel's tunnel device encapsulates what the program cannot: it resolves the neighbour and keeps the frame
/// meanwhile, and it takes frames that are encapsulated already.
#[inline(always)]
pub(crate) fn through_device(frame: &Frame, adj: &VtepAdj, inner: &Inner) -> End {
    let Some(config) = maps::config() else {
        return Verdict::EncapFailed.into();
    };
    match frame.set_tunnel_key(inner.vni, header::v4(&adj.remote), adj.ttl, adj.dscp | inner.ecn) {
        Ok(()) => End::redirect(Verdict::Device, config.tunnel_ifindex),
        Err(_) => Verdict::EncapFailed.into(),
    }
}

#[inline(always)]
pub(crate) fn inner(frame: &Frame, vni: u32, ethernet: Ethernet) -> Inner {
    Inner {
        ethernet,
        vni,
        len: frame.len(),
        segment: frame.gso_size(),
        ecn: ecn(frame, ethernet.ether_type()),
        flow_hash: frame.flow_hash(),
    }
}

/// The ECN field of an inner IP packet; 0 for anything else.
#[inline(always)]
fn ecn(frame: &Frame, ether_type: EtherType) -> u8 {
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
