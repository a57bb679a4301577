//! One copy for each member of a flood list: broadcast, multicast and unknown unicast.

use vtep_abi::{FLOOD_MEMBERS_MAX, LocalPort, PortValue, Target, Verdict, VniValue, VtepAdj};

use crate::End;
use crate::admission;
use crate::context::{Frame as _, Refused, Skb, repeat};
use crate::encap;
use crate::header::{self, Ethernet, Inner};
use crate::maps;

/// What the loops share.
struct Copies {
    frame: Skb,
    inner: Inner,
    generation: u16,
    first: u16,
    /// The local port that the frame came from, 0 from the underlay.
    from: u32,
    sent: u16,
    failed: u16,
    too_big: u16,
    /// VTEPs that wait for the second loop, which sends encapsulated copies.
    pending: u16,
    /// The kernel would not make room for outer headers: its tunnel device takes what the second loop would have.
    resolved_by_device: bool,
}

/// To the VNI's local ports, but for the one that it came from, and to its VTEPs.
#[inline(always)]
pub(crate) fn from_port(frame: &Skb, port: &PortValue, network: &VniValue, ethernet: Ethernet) -> End {
    let inner = encap::inner(frame, port.vni, ethernet);
    let mut copies = Copies::new(*frame, inner, network, port.local_port);
    // Local ports and VTEPs that the kernel must resolve take the frame as it is, so they come first.
    repeat(limit(network.flood_members), &mut copies, copy_plain);
    if copies.pending > 0 {
        let vteps = limit(network.flood_members.saturating_sub(network.flood_local));
        copies.first = network.flood_local;
        if frame.push_outer().is_ok() {
            repeat(vteps, &mut copies, copy_encapsulated);
        } else {
            copies.resolved_by_device = true;
            repeat(vteps, &mut copies, copy_plain);
        }
    }
    copies.end(Verdict::Flooded)
}

/// To the VNI's local ports only (split horizon).
#[inline(always)]
pub(crate) fn from_underlay(frame: &Skb, vni: u32, network: &VniValue, ethernet: Ethernet) -> End {
    let inner = Inner { ethernet, vni, len: 0, packet_len: 0, ecn: 0, flow_hash: 0 };
    let mut copies = Copies::new(*frame, inner, network, 0);
    repeat(limit(network.flood_local), &mut copies, copy_plain);
    copies.end(Verdict::DeliveredFlood)
}

#[inline(always)]
fn limit(members: u16) -> u32 {
    u32::from(members).min(FLOOD_MEMBERS_MAX)
}

impl Copies {
    #[inline(always)]
    fn new(frame: Skb, inner: Inner, network: &VniValue, from: u32) -> Self {
        Self {
            frame,
            inner,
            generation: network.flood_generation,
            first: 0,
            from,
            sent: 0,
            failed: 0,
            too_big: 0,
            pending: 0,
            resolved_by_device: false,
        }
    }

    #[inline(always)]
    fn end(&self, verdict: Verdict) -> End {
        match (self.sent, self.failed, self.too_big) {
            (0, 0, 0) if admission::is_link_local(self.inner.ethernet.dst()) => Verdict::LinkLocal.into(),
            (0, 0, 0) => Verdict::NoMembers.into(),
            (0, 0, _) => Verdict::TooBig.into(),
            (0, _, _) => Verdict::EncapFailed.into(),
            _ => verdict.into(),
        }
    }

    #[inline(always)]
    fn member(&self, index: u32) -> Target {
        maps::flood_member(self.inner.vni, self.generation, self.first.wrapping_add(index as u16))
    }

    #[inline(always)]
    fn count(&mut self, sent: Result<(), Refused>) {
        match sent {
            Ok(()) => self.sent += 1,
            Err(Refused) => self.failed += 1,
        }
    }

    #[inline(always)]
    fn count_vtep(&mut self, vtep: u32, sent: Result<(), Refused>) {
        let bytes = u64::from(self.inner.len);
        maps::with_vtep_stats(vtep, |stats| match sent {
            Ok(()) => {
                stats.sent.packets += 1;
                stats.sent.bytes += bytes;
            }
            Err(Refused) => stats.copy_errors += 1,
        });
        self.count(sent);
    }
}

/// A VTEP that can take a copy, and how to reach it. One that is down or has no route gets none.
#[inline(always)]
fn reachable(vtep: u32) -> Option<&'static VtepAdj> {
    if !maps::vtep_is_up(vtep) {
        return None;
    }
    maps::adjacency(vtep).filter(|adj| adj.is(VtepAdj::ROUTED))
}

extern "C" fn copy_plain(index: u32, copies: &mut Copies) -> u64 {
    match copies.member(index) {
        Target::LocalPort(to) if to != copies.from => {
            if let Some(sent) = copy_to_port(copies, to) {
                copies.count(sent);
            }
        }
        Target::Vtep(vtep) => {
            if let Some(adj) = reachable(vtep) {
                let resolved = adj.is(VtepAdj::RESOLVED);
                if !copies.inner.fits(adj) {
                    copies.too_big += 1;
                    maps::with_vtep_stats(vtep, |stats| stats.copy_errors += 1);
                } else if resolved == copies.resolved_by_device {
                    let sent = copy_through_device(copies, adj);
                    copies.count_vtep(vtep, sent);
                } else if resolved {
                    copies.pending += 1;
                }
            }
        }
        Target::LocalPort(_) | Target::None => {}
    }
    0
}

extern "C" fn copy_encapsulated(index: u32, copies: &mut Copies) -> u64 {
    if let Target::Vtep(vtep) = copies.member(index)
        && let Some(adj) = reachable(vtep)
        && adj.is(VtepAdj::RESOLVED)
        && copies.inner.fits(adj)
    {
        let outer = header::outer(adj, &copies.inner);
        let written = copies.frame.write(0, &outer);
        let sent = if written.is_ok() { copies.frame.copy_to(adj.ifindex) } else { written };
        copies.count_vtep(vtep, sent);
    }
    0
}

/// None: the port takes no frame of this kind.
#[inline(always)]
fn copy_to_port(copies: &Copies, to: u32) -> Option<Result<(), Refused>> {
    let Some(port) = maps::local_port(to, copies.inner.vni) else {
        return Some(Err(Refused));
    };
    if admission::is_link_local(copies.inner.ethernet.dst()) && port.flags & LocalPort::LINK_LOCAL == 0 {
        return None;
    }
    Some(copy_tagged(copies, port))
}

#[inline(always)]
fn copy_tagged(copies: &Copies, port: &LocalPort) -> Result<(), Refused> {
    let mut frame = copies.frame;
    if port.vlan == 0 {
        return frame.copy_to(port.ifindex);
    }
    frame.push_tag(port.vlan)?;
    let sent = frame.copy_to(port.ifindex);
    // The next copy must start from the bare frame.
    frame.pop_tag()?;
    sent
}

#[inline(always)]
fn copy_through_device(copies: &Copies, adj: &VtepAdj) -> Result<(), Refused> {
    let device = encap::address_device(&copies.frame, adj, &copies.inner)?;
    copies.frame.copy_to(device)
}
