//! One copy for each member of a flood list: broadcast, multicast and unknown unicast.

use vtep_abi::{FLOOD_MEMBERS_MAX, FloodScratch, LocalPort, PortValue, Target, Verdict, VniValue, VtepAdj};
use vtep_outer::{Inner, InnerIp, Shape};

use crate::End;
use crate::admission;
use crate::context::{self, Frame as _, Refused, Skb, repeat};
use crate::encap;
use crate::header::Ethernet;
use crate::maps;
use crate::port::{self, Entrant};
use crate::tagged;
use crate::vlan::{Bound, Tag};

/// What the loops share.
pub(crate) struct Copies {
    pub(crate) frame: Skb,
    pub(crate) inner: Inner,
    generation: u16,
    first: u16,
    /// The local port that the frame came from, 0 from the underlay.
    pub(crate) from: u32,
    sent: u16,
    failed: u16,
    too_big: u16,
    /// A port's MTU was too small.
    too_long: bool,
    /// Length of the outer headers that those share who wait for the second loop: room is made once. 0 as long as none waits.
    outer_len: u8,
}

/// To the VNI's local ports, but for the one that it came from, and to its VTEPs.
///
/// A call of its own, for the room on the stack that a frame with one destination needs for its headers.
#[inline(never)]
pub(crate) fn from_port(frame: Skb, port: &PortValue, network: &VniValue, ethernet: Ethernet) -> End {
    maps::with_flood_scratch(FloodScratch::clear);
    let inner = encap::inner(&frame, frame.len(), port.vni, ethernet);
    let mut copies = Copies::new(frame, inner, network, port.local_port);
    copies.inner.identification = context::random() as u16;
    // Local ports and VTEPs that the kernel must resolve take the frame as it is, so they come first. Who is left to the
    // second loop is asked no more: a next hop that comes or goes meanwhile would cost a copy, or make two.
    repeat(limit(network.flood_members), &mut copies, copy_plain);
    if copies.outer_len > 0 {
        let vteps = limit(network.flood_members.saturating_sub(network.flood_local));
        copies.first = network.flood_local;
        if Shape::from_len(copies.outer_len).is_some_and(|shape| frame.push_outer(shape).is_ok()) {
            repeat(vteps, &mut copies, copy_encapsulated);
        } else {
            // The kernel would not make room for outer headers.
            repeat(vteps, &mut copies, copy_waiting);
        }
    }
    copies.end(Verdict::Flooded)
}

/// To the VNI's local ports only (split horizon).
#[inline(always)]
pub(crate) fn from_underlay(frame: &Skb, vni: u32, network: &VniValue, ethernet: Ethernet) -> End {
    let mut copies = Copies::new(*frame, bare(vni, ethernet), network, 0);
    repeat(limit(network.flood_local), &mut copies, copy_local);
    copies.end(Verdict::DeliveredFlood)
}

/// Of a frame that keeps a tag.
#[inline(never)]
pub(crate) fn tagged_from_port(frame: Skb, entrant: &Entrant, network: &VniValue) -> End {
    let &Entrant { bound: Bound { ref port, kept, .. }, ethernet } = entrant;
    let inner = tagged::inner(&frame, port.vni, ethernet);
    let copies = Copies::new(frame, inner, network, port.local_port);
    let mut copies = tagged::Copies { shared: copies, kept, refused: false };
    repeat(limit(network.flood_members), &mut copies, tagged::copy);
    copies.end(Verdict::Flooded)
}

/// The same from a tunnel.
#[inline(always)]
pub(crate) fn tagged_from_underlay(
    frame: &Skb,
    vni: u32,
    network: &VniValue,
    ethernet: Ethernet,
    kept: Tag,
) -> End {
    let copies = Copies::new(*frame, bare(vni, ethernet), network, 0);
    let mut copies = tagged::Copies { shared: copies, kept, refused: false };
    repeat(limit(network.flood_local), &mut copies, tagged::copy);
    copies.end(Verdict::DeliveredFlood)
}

/// Of what no outer header is made.
#[inline(always)]
fn bare(vni: u32, ethernet: Ethernet) -> Inner {
    Inner {
        ethernet: ethernet.0,
        vni,
        len: 0,
        packet_len: 0,
        ip: InnerIp::NONE,
        flow_hash: 0,
        identification: 0,
    }
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
            too_long: false,
            outer_len: 0,
        }
    }

    #[inline(always)]
    pub(crate) fn end(&self, verdict: Verdict) -> End {
        match (self.sent, self.failed, self.too_big) {
            (0, 0, 0) if self.too_long => Verdict::PortMtu.into(),
            (0, 0, 0) if admission::is_link_local(Ethernet(self.inner.ethernet).dst()) => {
                Verdict::LinkLocal.into()
            }
            (0, 0, 0) => Verdict::NoMembers.into(),
            (0, 0, _) => Verdict::TooBig.into(),
            (0, _, _) => Verdict::EncapFailed.into(),
            _ => verdict.into(),
        }
    }

    #[inline(always)]
    pub(crate) fn member(&self, index: u32) -> Target {
        maps::flood_member(self.inner.vni, self.generation, self.place(index))
    }

    /// In the list, of what a loop counts as `index`.
    #[inline(always)]
    fn place(&self, index: u32) -> u16 {
        self.first.wrapping_add(index as u16)
    }

    #[inline(always)]
    pub(crate) fn count(&mut self, sent: Result<(), Refused>) {
        match sent {
            Ok(()) => self.sent += 1,
            Err(Refused) => self.failed += 1,
        }
    }

    #[inline(always)]
    pub(crate) fn count_port(&mut self, to: u32, sent: Result<(), Refused>) {
        let bytes = self.frame.len();
        maps::with_port_stats(to, |stats| match sent {
            Ok(()) => stats.sent.count(bytes),
            Err(Refused) => stats.copy_errors += 1,
        });
        self.count(sent);
    }

    #[inline(always)]
    pub(crate) fn count_too_long(&mut self, to: u32) {
        self.too_long = true;
        maps::count_too_big(to);
    }

    #[inline(always)]
    pub(crate) fn count_too_big(&mut self, vtep: u32) {
        self.too_big += 1;
        maps::with_vtep_stats(vtep, |stats| stats.copies_too_big += 1);
    }

    #[inline(always)]
    pub(crate) fn count_vtep(&mut self, vtep: u32, sent: Result<(), Refused>) {
        let bytes = self.inner.len;
        maps::with_vtep_stats(vtep, |stats| match sent {
            Ok(()) => stats.sent.count(bytes),
            Err(Refused) => stats.copy_errors += 1,
        });
        self.count(sent);
    }
}

/// A VTEP that can take a copy, and how to reach it. One that is down or has no route gets none.
#[inline(always)]
pub(crate) fn reachable(vtep: u32) -> Option<&'static VtepAdj> {
    if !maps::vtep_is_up(vtep) {
        return None;
    }
    maps::adjacency(vtep).filter(|adj| adj.is(VtepAdj::ROUTED))
}

extern "C" fn copy_plain(index: u32, copies: &mut Copies) -> u64 {
    match copies.member(index) {
        Target::LocalPort(to) if to != copies.from => copy_to_port(copies, to),
        Target::Vtep(vtep) => {
            if let Some(adj) = reachable(vtep) {
                copy_plain_to_vtep(copies, copies.place(index), vtep, adj);
            }
        }
        Target::LocalPort(_) | Target::None => {}
    }
    0
}

extern "C" fn copy_local(index: u32, copies: &mut Copies) -> u64 {
    if let Target::LocalPort(to) = copies.member(index) {
        copy_to_port(copies, to);
    }
    0
}

#[inline(always)]
fn copy_to_port(copies: &mut Copies, to: u32) {
    match maps::local_port(to, copies.inner.vni) {
        Some(port) if !takes(copies, port) => {}
        Some(port) if port::fits(&copies.frame, copies.frame.len(), port) => {
            let sent = copy_tagged(copies, port);
            copies.count_port(to, sent);
        }
        Some(_) => copies.count_too_long(to),
        // The index may be another network's by now, which must not count it.
        None => copies.count(Err(Refused)),
    }
}

/// The second loop serves those whose outer headers are as long as the first one's. Tables list VTEPs that the device
/// does not serve first, so that it is their length.
#[inline(always)]
fn copy_plain_to_vtep(copies: &mut Copies, place: u16, vtep: u32, adj: &VtepAdj) {
    if !copies.inner.fits(adj) {
        copies.count_too_big(vtep);
        return;
    }
    let shared = copies.outer_len == 0 || copies.outer_len == adj.outer_len;
    if adj.is(VtepAdj::RESOLVED) && shared {
        copies.outer_len = adj.outer_len;
        maps::with_flood_scratch(|scratch| scratch.wait(place, vtep));
    } else {
        let sent = copy_through_device(copies, adj);
        copies.count_vtep(vtep, sent);
    }
}

extern "C" fn copy_encapsulated(index: u32, copies: &mut Copies) -> u64 {
    if let Some(vtep) = waiting(index, copies) {
        let sent = copy_resolved(copies, vtep);
        copies.count_vtep(vtep, sent);
    }
    0
}

/// The VTEP at this place if the first loop left it to the second.
#[inline(always)]
fn waiting(index: u32, copies: &Copies) -> Option<u32> {
    let place = copies.place(index);
    maps::with_flood_scratch(|scratch| scratch.waits(place))?
}

/// With the headers that the first loop saw, should the agent have written others since.
#[inline(always)]
fn copy_resolved(copies: &Copies, vtep: u32) -> Result<(), Refused> {
    let serves = |adj: &VtepAdj| adj.is(VtepAdj::RESOLVED) && adj.outer_len == copies.outer_len;
    let adj = maps::adjacency_or_replaced(vtep, serves).ok_or(Refused)?;
    let shape = Shape::from_len(copies.outer_len).ok_or(Refused)?;
    encap::write_outer(&copies.frame, adj, shape, &copies.inner)?;
    copies.frame.copy_to(adj.ifindex)
}

extern "C" fn copy_waiting(index: u32, copies: &mut Copies) -> u64 {
    if let Some(vtep) = waiting(index, copies) {
        let adj = maps::adjacency(vtep).ok_or(Refused);
        let sent = adj.and_then(|adj| copy_through_device(copies, adj));
        copies.count_vtep(vtep, sent);
    }
    0
}

/// Control frames of one link go to ports that ask for them.
#[inline(always)]
pub(crate) fn takes(copies: &Copies, port: &LocalPort) -> bool {
    !admission::is_link_local(Ethernet(copies.inner.ethernet).dst())
        || port.flags & LocalPort::LINK_LOCAL != 0
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
pub(crate) fn copy_through_device(copies: &Copies, adj: &VtepAdj) -> Result<(), Refused> {
    if adj.encap != VtepAdj::VXLAN {
        return Err(Refused);
    }
    let device = encap::address_device(&copies.frame, adj, &copies.inner)?;
    copies.frame.copy_to(device)
}
