//! Frames that keep a tag inside the tunnel. The kernel's tunnel device puts it there and takes it out again: to VTEPs
//! that are not VXLAN they cannot be sent.

use vtep_abi::{LocalPort, Target, Verdict, VniValue, VtepAdj};
use vtep_outer::Inner;

use crate::End;
use crate::context::{Frame as _, Refused, Skb};
use crate::encap;
use crate::flood;
use crate::header::Ethernet;
use crate::maps;
use crate::police;
use crate::port::{self, Entrant};
use crate::vlan::{self, Bound, Tag};

/// A call of its own: what it puts on the stack is gone when other frames are encapsulated.
#[inline(never)]
pub(crate) fn send(frame: Skb, entrant: &Entrant, vtep: u32, verdict: Verdict) -> End {
    let &Entrant { bound: Bound { ref port, kept, .. }, ethernet } = entrant;
    let Some(adj) = maps::adjacency(vtep).filter(|adj| adj.is(VtepAdj::ROUTED)) else {
        return Verdict::NoRoute.into();
    };
    if adj.encap != VtepAdj::VXLAN {
        return Verdict::EncapFailed.into();
    }
    let inner = inner(&frame, port.vni, ethernet);
    if !inner.fits(adj) {
        return Verdict::TooBig.into();
    }
    encap::count_sent(vtep, verdict, inner.len);
    let addressed = vlan::put_back(frame, kept).and_then(|()| encap::address_device(&frame, adj, &inner));
    match addressed {
        Ok(device) => End::redirect(Verdict::Device, device),
        Err(Refused) => Verdict::EncapFailed.into(),
    }
}

/// With the tag, which is beside the frame still.
#[inline(always)]
pub(crate) fn inner(frame: &Skb, vni: u32, ethernet: Ethernet) -> Inner {
    let mut inner = encap::inner(frame, frame.len(), vni, ethernet);
    inner.len += Tag::LEN;
    inner.packet_len += Tag::LEN;
    inner
}

/// A call of its own, for what it puts on the stack.
#[inline(never)]
pub(crate) fn deliver_apart(frame: Skb, entrant: &Entrant, to: u32, verdict: Verdict) -> End {
    deliver(frame, entrant.bound.port.vni, to, entrant.bound.kept, verdict)
}

/// To a port of this host, by [`vlan::put_on`].
#[inline(always)]
pub(crate) fn deliver(frame: Skb, vni: u32, to: u32, kept: Tag, verdict: Verdict) -> End {
    let Some(port) = maps::local_port(to, vni) else {
        return Verdict::PortGone.into();
    };
    if !vlan::comes_out(port, kept) {
        return Verdict::ExtraTag.into();
    }
    if !fits(frame, port.ifindex, port.frame_max()) {
        maps::count_too_big(to);
        return Verdict::PortMtu.into();
    }
    let bytes = frame.len();
    match vlan::put_on(frame, port, kept) {
        Ok(_) => {
            maps::count_to_port(to, bytes);
            End::redirect(verdict, port.ifindex)
        }
        Err(Refused) => Verdict::VlanFailed.into(),
    }
}

/// From the tunnel device, tag taken off.
#[inline(always)]
pub(crate) fn flood(frame: Skb, vni: u32, network: &VniValue, ethernet: &Ethernet, kept: Tag) -> End {
    match police::vni_flood(network) {
        Ok(()) => flood::tagged_from_underlay(&frame, vni, network, *ethernet, kept),
        Err(verdict) => verdict.into(),
    }
}

/// What the loop shares.
pub(crate) struct Copies {
    pub(crate) shared: flood::Copies,
    pub(crate) kept: Tag,
    /// A port does not take the tag.
    pub(crate) refused: bool,
}

impl Copies {
    #[inline(always)]
    pub(crate) fn end(&self, verdict: Verdict) -> End {
        match self.shared.end(verdict) {
            End { verdict: Verdict::NoMembers, .. } if self.refused => Verdict::ExtraTag.into(),
            end => end,
        }
    }
}

/// One member's copy.
pub(crate) extern "C" fn copy(index: u32, tagged: &mut Copies) -> u64 {
    let copies = &tagged.shared;
    match copies.member(index) {
        Target::LocalPort(to) if to != copies.from => match maps::local_port(to, copies.inner.vni) {
            Some(port) if flood::takes(copies, port) => copy_to_port(tagged, to, port),
            Some(_) => {}
            None => tagged.shared.count(Err(Refused)),
        },
        Target::Vtep(vtep) => {
            if let Some(adj) = flood::reachable(vtep) {
                copy_to_vtep(tagged, vtep, adj);
            }
        }
        Target::LocalPort(_) | Target::None => {}
    }
    0
}

#[inline(always)]
fn copy_to_port(tagged: &mut Copies, to: u32, port: &LocalPort) {
    let &mut Copies { shared: ref mut copies, kept, ref mut refused } = tagged;
    if !vlan::comes_out(port, kept) {
        *refused = true;
        return;
    }
    let mut frame = copies.frame;
    if !port::fits(&frame, frame.len(), port) {
        copies.count_too_long(to);
        return;
    }
    let sent = vlan::put_on(frame, port, kept).and_then(|tags| {
        let sent = frame.copy_to(port.ifindex);
        // The next copy must start from the bare frame.
        let bare = frame.pop_tag().and_then(|()| if tags > 1 { frame.pop_tag() } else { Ok(()) });
        bare.and(sent)
    });
    copies.count_port(to, sent);
}

#[inline(always)]
fn copy_to_vtep(tagged: &mut Copies, vtep: u32, adj: &VtepAdj) {
    let &mut Copies { shared: ref mut copies, kept, .. } = tagged;
    if !copies.inner.fits(adj) {
        copies.count_too_big(vtep);
        return;
    }
    let mut frame = copies.frame;
    let sent = vlan::put_back(frame, kept).and_then(|()| {
        let sent = flood::copy_through_device(copies, adj);
        frame.pop_tag().and(sent)
    });
    copies.count_vtep(vtep, sent);
}

/// As [`port::fits`]. A call of its own, by values: the verifier walks what follows less often.
#[inline(never)]
fn fits(frame: Skb, ifindex: u32, frame_max: u64) -> bool {
    u64::from(frame.len()) <= frame_max || frame.has_segments_for(ifindex)
}
