//! One copy for each member of a flood list: broadcast, multicast and unknown unicast.

use vtep_abi::{
    FLOOD_MEMBERS_MAX, FloodValue, LocalPort, PortValue, Target, Verdict, VniValue, VtepAdj, VtepAdmin,
};
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
    list: &'static FloodValue,
    pub(crate) inner: Inner,
    /// The local port that the frame came from, 0 from the underlay.
    pub(crate) from: u32,
    /// Of [`FLOOD_MEMBERS_MAX`] at most; so for the next three.
    sent: u8,
    failed: u8,
    too_big: u8,
    /// How many are left to the second loop.
    waiting: u8,
    /// A port's MTU was too small.
    too_long: bool,
    /// Length of the outer headers that those share who wait for the second loop: room is made once.
    outer_len: u8,
}

/// To the VNI's local ports, but for the one that it came from, and to its VTEPs.
///
/// A call of its own, for the room on the stack that a frame with one destination needs for its headers.
#[inline(never)]
pub(crate) fn from_port(frame: Skb, port: &PortValue, network: &VniValue, ethernet: Ethernet) -> End {
    let Some(list) = list(port.vni, network) else {
        return nobody(ethernet).into();
    };
    let inner = encap::inner(&frame, frame.len(), port.vni, ethernet);
    let mut copies = Copies::new(frame, list, inner, port.local_port);
    copies.inner.identification = context::random() as u16;
    // Local ports and VTEPs that the kernel must resolve take the frame as it is, so they come first. Who is left to the
    // second loop is asked no more: a next hop that comes or goes meanwhile would cost a copy, or make two.
    repeat(limit(network.flood_members), &mut copies, copy_plain);
    let waiting = copies.waiting.into();
    if waiting > 0 {
        if Shape::from_len(copies.outer_len).is_some_and(|shape| frame.push_outer(shape).is_ok()) {
            repeat(waiting, &mut copies, copy_encapsulated);
        } else {
            // The kernel would not make room for outer headers.
            repeat(waiting, &mut copies, copy_waiting);
        }
    }
    copies.end(Verdict::Flooded)
}

/// To the VNI's local ports only (split horizon).
#[inline(always)]
pub(crate) fn from_underlay(frame: &Skb, vni: u32, network: &VniValue, ethernet: Ethernet) -> End {
    let Some(list) = list(vni, network) else {
        return nobody(ethernet).into();
    };
    let mut copies = Copies::new(*frame, list, bare(vni, ethernet), 0);
    repeat(limit(network.flood_local), &mut copies, copy_local);
    copies.end(Verdict::DeliveredFlood)
}

/// Of a frame that keeps a tag.
#[inline(never)]
pub(crate) fn tagged_from_port(frame: Skb, entrant: &Entrant, network: &VniValue) -> End {
    let &Entrant { bound: Bound { ref port, kept, .. }, ethernet } = entrant;
    let Some(list) = list(port.vni, network) else {
        return nobody(ethernet).into();
    };
    let shared = Copies::new(frame, list, bare(port.vni, ethernet), port.local_port);
    let mut copies = tagged::Copies { shared, kept, refused: false };
    look_inside(&mut copies.shared.inner, frame);
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
    let Some(list) = list(vni, network) else {
        return nobody(ethernet).into();
    };
    let copies = Copies::new(*frame, list, bare(vni, ethernet), 0);
    let mut copies = tagged::Copies { shared: copies, kept, refused: false };
    repeat(limit(network.flood_local), &mut copies, tagged::copy);
    copies.end(Verdict::DeliveredFlood)
}

/// A call of its own, for what it puts on the stack.
#[inline(never)]
fn look_inside(inner: &mut Inner, frame: Skb) {
    *inner = tagged::inner(&frame, inner.vni, Ethernet(inner.ethernet));
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

/// None stands there for a network of which nobody is a member.
///
/// A call of its own, for the key on its stack.
#[inline(never)]
fn list(vni: u32, network: &VniValue) -> Option<&'static FloodValue> {
    maps::flood_list(vni, network.flood_generation)
}

/// The verdict if nobody can take a copy.
#[inline(always)]
fn nobody(ethernet: Ethernet) -> Verdict {
    if admission::is_link_local(ethernet.dst()) { Verdict::LinkLocal } else { Verdict::NoMembers }
}

#[inline(always)]
fn limit(members: u16) -> u32 {
    const { assert!(FLOOD_MEMBERS_MAX <= u8::MAX as u32) };
    u32::from(members).min(FLOOD_MEMBERS_MAX)
}

impl Copies {
    #[inline(always)]
    fn new(frame: Skb, list: &'static FloodValue, inner: Inner, from: u32) -> Self {
        Self {
            frame,
            list,
            inner,
            from,
            sent: 0,
            failed: 0,
            too_big: 0,
            waiting: 0,
            too_long: false,
            outer_len: 0,
        }
    }

    #[inline(always)]
    pub(crate) fn end(&self, verdict: Verdict) -> End {
        match (self.sent, self.failed, self.too_big) {
            (0, 0, 0) if self.too_long => Verdict::PortMtu.into(),
            (0, 0, 0) => nobody(Ethernet(self.inner.ethernet)).into(),
            (0, 0, _) => Verdict::TooBig.into(),
            (0, _, _) => Verdict::EncapFailed.into(),
            _ => verdict.into(),
        }
    }

    #[inline(always)]
    pub(crate) fn member(&self, index: u32) -> Target {
        self.list.target(index)
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
    reachable_at(vtep).map(|(_, adj)| adj)
}

/// The same, and its place among the adjacencies.
#[inline(always)]
fn reachable_at(vtep: u32) -> Option<(u32, &'static VtepAdj)> {
    maps::adjacency_if_up(vtep).filter(|(_, adj)| adj.is(VtepAdj::ROUTED))
}

extern "C" fn copy_plain(index: u32, copies: &mut Copies) -> u64 {
    match copies.member(index) {
        Target::LocalPort(to) if to != copies.from => copy_to_port(copies, to),
        Target::Vtep(vtep) => {
            if let Some((place, adj)) = reachable_at(vtep) {
                copy_plain_to_vtep(copies, vtep, place, adj);
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
fn copy_plain_to_vtep(copies: &mut Copies, vtep: u32, place: u32, adj: &VtepAdj) {
    if !copies.inner.fits(adj) {
        copies.count_too_big(vtep);
        return;
    }
    let shared = copies.waiting == 0 || copies.outer_len == adj.outer_len;
    if adj.is(VtepAdj::RESOLVED) && shared {
        copies.outer_len = adj.outer_len;
        maps::with_flood_scratch(|scratch| scratch.wait(copies.waiting.into(), place));
        copies.waiting += 1;
    } else {
        let sent = copy_through_device(copies, adj);
        copies.count_vtep(vtep, sent);
    }
}

extern "C" fn copy_encapsulated(index: u32, copies: &mut Copies) -> u64 {
    if let Some(place) = waiting(index) {
        let sent = copy_resolved(copies, place);
        copies.count_vtep(VtepAdmin::vtep_of(place), sent);
    }
    0
}

/// Where the adjacency is of one that the first loop left to the second.
#[inline(always)]
fn waiting(index: u32) -> Option<u32> {
    maps::with_flood_scratch(|scratch| scratch.waits(index))
}

/// With the headers that the first loop saw, should the agent have written others since.
#[inline(always)]
fn copy_resolved(copies: &Copies, place: u32) -> Result<(), Refused> {
    let serves = |adj: &VtepAdj| adj.is(VtepAdj::RESOLVED) && adj.outer_len == copies.outer_len;
    let adj = maps::adjacency_at(place, serves).ok_or(Refused)?;
    let shape = Shape::from_len(copies.outer_len).ok_or(Refused)?;
    encap::write_outer(&copies.frame, adj, shape, &copies.inner)?;
    copies.frame.copy_to(adj.ifindex)
}

extern "C" fn copy_waiting(index: u32, copies: &mut Copies) -> u64 {
    if let Some(vtep) = waiting(index).map(VtepAdmin::vtep_of) {
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
