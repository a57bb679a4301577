//! From a port of this host.

use vtep_abi::{Limit, LocalPort, PortValue, Verdict, VniValue};

use crate::admission;
use crate::choice::{self, Serving};
use crate::context::{Frame, Refused, Skb};
use crate::encap::{self, Destined};
use crate::flood;
use crate::header::Ethernet;
use crate::learning;
use crate::liveness;
use crate::maps;
use crate::police;
use crate::security;
use crate::suppress::{self, Origin};
use crate::tagged;
use crate::too_big::{self, TooBig};
use crate::vlan::{self, Bound, Tag};
use crate::{Account, End};

/// A frame that a port let in.
pub(crate) struct Entrant {
    pub(crate) bound: Bound,
    pub(crate) ethernet: Ethernet,
}

impl Entrant {
    /// To be written over. Not zeros, which a program writes in a call and a loop over bytes; what is no constant it stores in words.
    #[inline(always)]
    const fn any(word: u32) -> Self {
        let flood = Limit { interval_ns: word, burst: word };
        let port =
            PortValue { vni: word, bd: word, local_port: word, flags: word, flood, buckets: word, pad: word };
        Self { bound: Bound { port, vlan: 0, kept: Tag::NONE }, ethernet: Ethernet([word as u16; 7]) }
    }
}

#[inline(always)]
pub(crate) fn enter<F: Frame>(frame: &mut F, account: &mut Account) -> End {
    let mut entrant = Entrant::any(frame.ifindex());
    let admitted = if F::APART { admit_apart(frame, &mut entrant) } else { admit(frame, &mut entrant) };
    // As TC counts, which has a tag beside the frame.
    account.bytes -= frame.noted_tag_len();
    if matches!(admitted, Err(Verdict::Unbound)) {
        return Verdict::Unbound.into();
    }
    let Entrant { bound: Bound { port, vlan, kept }, ethernet } = &entrant;
    account.bd = port.bd;
    account.local_port = port.local_port;
    if let Err(verdict) = admitted {
        return verdict.into();
    }
    if port.flags & (PortValue::CHECK_MACS | PortValue::CHECK_IPS) != 0
        && let Err(verdict) = security::check(frame, port, *vlan, ethernet)
    {
        return verdict.into();
    }
    if port.flags & PortValue::LEARN != 0 {
        learning::from_port(frame, port, *vlan, ethernet.src());
    }
    if frame.is_unfinished(0, ethernet.ether_type()) {
        return Verdict::Passed.into();
    }
    let way = if F::APART { way_apart::<F>(port, ethernet) } else { way::<F>(port, ethernet) };
    let end = match &way {
        Way::LocalPort(to) if *to == port.local_port => return Verdict::SamePort.into(),
        Way::LocalPort(to) => match frame.skb() {
            Some(skb) if !kept.is_none() => tagged::deliver_apart(skb, &entrant, *to, Verdict::Local),
            Some(skb) => deliver_apart(skb, port.vni, *to, Verdict::Local),
            None => deliver(frame, account.bytes, port.vni, *to, Verdict::Local),
        },
        Way::Vtep(vtep, verdict) => match frame.skb() {
            Some(skb) if !kept.is_none() => tagged::send(skb, &entrant, *vtep, *verdict),
            _ => {
                let (vtep, verdict) = (*vtep, *verdict);
                let destined = Destined { vni: port.vni, vtep, verdict, ethernet, len: account.bytes };
                if F::APART { encap::send_apart(*frame, &destined) } else { encap::send(*frame, &destined) }
            }
        },
        Way::Flood(network) => {
            return match frame.skb() {
                Some(skb) => flood(skb, &entrant, network),
                None => Verdict::Passed.into(),
            };
        }
        Way::Nowhere(verdict) => return (*verdict).into(),
    };
    match (end.verdict, frame.skb()) {
        (untold @ (Verdict::TooBig | Verdict::PortMtu), Some(skb)) => too_big(skb, &entrant, &way, untold),
        // For a tag neither; it is as it came.
        (verdict, None) if end.lacks_headroom() || matches!(verdict, Verdict::VlanFailed) => {
            maps::count_no_headroom(port.local_port);
            Verdict::Passed.into()
        }
        _ => end,
    }
}

/// Whose frame it is, and whether it may enter. Of a frame that is not [`Verdict::Unbound`] the port is known.
#[inline(always)]
fn admit<F: Frame>(frame: &mut F, entrant: &mut Entrant) -> Result<(), Verdict> {
    vlan::bind(frame, &mut entrant.bound)?;
    entrant.ethernet = frame.ethernet().ok_or(Verdict::InnerTruncated)?;
    let Entrant { bound: Bound { port, .. }, ethernet } = entrant;
    // The kernel moves a second tag to where the first one was.
    if frame.tag().is_some() || ethernet.is_tagged() {
        return Err(Verdict::ExtraTag);
    }
    if !ethernet.src().is_station() {
        return Err(Verdict::GroupSource);
    }
    if admission::is_link_local(ethernet.dst()) && port.flags & PortValue::LINK_LOCAL == 0 {
        return Err(Verdict::LinkLocal);
    }
    if ethernet.dst() == liveness::INNER_MAC {
        return Err(Verdict::TenantBfd);
    }
    Ok(())
}

#[inline(never)]
fn admit_apart<F: Frame>(frame: &mut F, entrant: &mut Entrant) -> Result<(), Verdict> {
    admit(frame, entrant)
}

enum Way {
    LocalPort(u32),
    Vtep(u32, Verdict),
    Flood(VniValue),
    Nowhere(Verdict),
}

#[inline(never)]
fn way_apart<F: Frame>(port: &PortValue, ethernet: &Ethernet) -> Way {
    way::<F>(port, ethernet)
}

#[inline(always)]
fn way<F: Frame>(port: &PortValue, ethernet: &Ethernet) -> Way {
    let group = ethernet.dst().is_group();
    if !group && let Some(entry) = maps::lookup::<F>(port.bd, port.vni, ethernet.dst()) {
        return match choice::serving(&entry) {
            Serving::LocalPort(to) => Way::LocalPort(to),
            Serving::Master(vtep) => Way::Vtep(vtep, Verdict::Master),
            Serving::Slave(vtep) => Way::Vtep(vtep, Verdict::Slave),
            Serving::BothDown => Way::Nowhere(Verdict::BothDown),
            Serving::Nobody => Way::Nowhere(Verdict::UnknownUnicast),
        };
    }
    match maps::network(port.vni) {
        Some(network) if !group && network.flags & VniValue::DROP_UNKNOWN != 0 => {
            Way::Nowhere(Verdict::UnknownUnicast)
        }
        Some(network) => Way::Flood(network),
        None => Way::Nowhere(Verdict::UnknownVni),
    }
}

/// Of a frame that ended as `untold` for its length.
#[inline(always)]
fn too_big(frame: Skb, entrant: &Entrant, way: &Way, untold: Verdict) -> End {
    let &Entrant { bound: Bound { ref port, kept, .. }, ref ethernet } = entrant;
    let room = match *way {
        Way::Vtep(vtep, _) => maps::adjacency(vtep).map(|adj| adj.room().saturating_sub(kept.len())),
        Way::LocalPort(to) => maps::local_port(to, port.vni).map(|to| to.mtu.min(u16::MAX.into()) as u16),
        Way::Flood(_) | Way::Nowhere(_) => None,
    };
    match room {
        Some(room) => too_big::tell(frame, &TooBig { port, ethernet, kept, room }, untold),
        None => untold.into(),
    }
}

#[inline(always)]
fn flood(frame: Skb, entrant: &Entrant, network: &VniValue) -> End {
    let &Entrant { bound: Bound { ref port, vlan, kept, .. }, ethernet } = entrant;
    // Inside the VNI a kept tag is another link, of whose addresses nothing is known.
    if network.flags & VniValue::SUPPRESS != 0 && ethernet.dst().is_group() && kept.is_none() {
        let origin = Origin::port(frame, port, vlan);
        if suppress::answer(frame, &origin, &ethernet) {
            return deliver_apart(frame, port.vni, port.local_port, Verdict::Answered).by_interface();
        }
    }
    match police::flood(port, network) {
        Ok(()) if !kept.is_none() => flood::tagged_from_port(frame, entrant, network),
        Ok(()) => flood::from_port(frame, port, network, ethernet),
        Err(verdict) => verdict.into(),
    }
}

/// A call of its own, for what it puts on the stack.
#[inline(never)]
pub(crate) fn deliver_apart(frame: Skb, vni: u32, to: u32, verdict: Verdict) -> End {
    deliver(&frame, frame.len(), vni, to, verdict)
}

/// To a port of this host, tagged as its binding says.
#[inline(always)]
pub(crate) fn deliver<F: Frame>(frame: &F, bytes: u32, vni: u32, to: u32, verdict: Verdict) -> End {
    match maps::local_port(to, vni) {
        None => Verdict::PortGone.into(),
        Some(port) if port.flags & F::PORT_NEEDS != F::PORT_NEEDS => Verdict::Passed.into(),
        Some(port) => leave(frame, bytes, to, port, verdict),
    }
}

/// To a port that takes this kind of frame, which is of so many bytes.
#[inline(always)]
pub(crate) fn leave<F: Frame>(frame: &F, bytes: u32, to: u32, port: &LocalPort, verdict: Verdict) -> End {
    if fits(frame, bytes, port) {
        return leave_fitting(frame, bytes, to, port, verdict);
    }
    // TC tells the sender.
    if frame.skb().is_none() {
        return Verdict::Passed.into();
    }
    maps::count_too_big(to);
    Verdict::PortMtu.into()
}

/// Whether the interface takes the frame. A device that does not says nothing.
#[inline(always)]
pub(crate) fn fits<F: Frame>(frame: &F, bytes: u32, port: &LocalPort) -> bool {
    takes_len(bytes, port) || frame.skb().is_some_and(|skb| skb.has_segments_for(port.ifindex))
}

/// The same of a frame that waits not for being cut into segments.
#[inline(always)]
pub(crate) fn takes_len(bytes: u32, port: &LocalPort) -> bool {
    u64::from(bytes) <= port.frame_max()
}

/// To a port that is known to take this very frame.
#[inline(always)]
pub(crate) fn leave_fitting(
    frame: &impl Frame,
    bytes: u32,
    to: u32,
    port: &LocalPort,
    verdict: Verdict,
) -> End {
    let tagged = if port.vlan != 0 { frame.push_tag(port.vlan) } else { frame.settle() };
    match tagged {
        Ok(()) => {
            maps::count_to_port(to, bytes);
            if frame.skb().is_some() && port.flags & LocalPort::TO_PEER != 0 {
                End::peer(verdict, port.ifindex)
            } else {
                End::redirect(verdict, port.ifindex)
            }
        }
        Err(Refused) => Verdict::VlanFailed.into(),
    }
}
