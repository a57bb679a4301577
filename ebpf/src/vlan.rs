//! Tags: which of them select a binding, which go on inside a tunnel, and where these may come out again.

use vtep_abi::{LocalPort, PortValue, Verdict, VniValue};

use crate::context::{Frame, Refused, Skb};
use crate::maps;
use crate::recent;

const ETH_P_8021Q: u16 = 0x8100;
const VLAN_ID: u16 = 0x0fff;

/// A tag that was taken off a frame and goes on with it. One at most.
#[derive(Clone, Copy)]
pub(crate) struct Tag {
    tpid: u16,
    tci: u16,
}

impl Tag {
    pub(crate) const LEN: u32 = 4;
    pub(crate) const NONE: Self = Self { tpid: 0, tci: 0 };

    #[inline(always)]
    pub(crate) const fn is_none(self) -> bool {
        self.tpid == 0
    }

    #[inline(always)]
    pub(crate) const fn len(self) -> u16 {
        if self.is_none() { 0 } else { Self::LEN as u16 }
    }

    #[inline(always)]
    const fn vlan(self) -> Option<u16> {
        // A provider tag (IEEE 802.1ad) selects no binding.
        if self.tpid == ETH_P_8021Q { Some(self.tci & VLAN_ID) } else { None }
    }

    #[inline(always)]
    fn of(frame: &impl Frame) -> Self {
        match frame.tag() {
            Some((tpid, tci)) => Self { tpid, tci },
            None => Self::NONE,
        }
    }
}

/// The binding of a frame of a port.
pub(crate) struct Bound {
    pub(crate) port: PortValue,
    pub(crate) vlan: u16,
    pub(crate) kept: Tag,
}

/// Finds it, and takes off every tag: left on, one would end up on the outer frame, in a VLAN of the underlay.
#[inline(always)]
pub(crate) fn bind<F: Frame>(frame: &mut F, bound: &mut Bound) -> Result<(), Verdict> {
    let tag = Tag::of(frame);
    // There it is only noted, and the frame still passes on as it came.
    if !tag.is_none() && frame.skb().is_none() {
        frame.pop_tag().map_err(|Refused| Verdict::VlanFailed)?;
    }
    let vlan = if tag.is_none() { Some(0) } else { tag.vlan() };
    let own = match vlan {
        Some(0) => recent::untagged(frame.ifindex()),
        Some(vlan) => maps::port(frame.ifindex(), vlan),
        None => None,
    };
    let is_own = own.is_some();
    bound.port = match own {
        Some(port) => port,
        None => untagged(frame.ifindex()).ok_or(Verdict::Unbound)?,
    };
    if tag.is_none() {
        return Ok(());
    }
    frame.pop_tag().map_err(|Refused| Verdict::VlanFailed)?;
    let flags = bound.port.flags;
    if is_own {
        bound.vlan = vlan.unwrap_or(0);
        if flags & PortValue::KEEP_TAG != 0 {
            bound.kept = tag;
        } else if flags & PortValue::CARRY_TAG != 0 && bound.vlan != 0 {
            bound.kept = Tag::of(frame);
            if !bound.kept.is_none() && frame.skb().is_some() {
                frame.pop_tag().map_err(|Refused| Verdict::VlanFailed)?;
            }
        }
    } else {
        bound.kept = if flags & PortValue::CARRY_TAG != 0 { tag } else { Tag::NONE };
    }
    // XDP has no place beside a frame for its tag.
    if !bound.kept.is_none() && frame.skb().is_none() { Err(Verdict::Passed) } else { Ok(()) }
}

/// The binding that takes frames whose tag has none of its own.
#[inline(always)]
fn untagged(ifindex: u32) -> Option<PortValue> {
    maps::port(ifindex, 0).filter(|port| port.flags & (PortValue::POP_TAG | PortValue::CARRY_TAG) != 0)
}

/// Takes the tag off a frame that came out of a tunnel, where its network has ports for it.
#[inline(always)]
pub(crate) fn take_inner(mut frame: Skb, network: &VniValue) -> Result<Tag, Verdict> {
    let tag = Tag::of(&frame);
    if tag.is_none() {
        return Ok(tag);
    }
    if network.flags & VniValue::CARRIES_TAGS == 0 {
        return Err(Verdict::ExtraTag);
    }
    frame.pop_tag().map_err(|Refused| Verdict::VlanFailed)?;
    // The kernel moves a second tag to where the first one was.
    if frame.tag().is_some() { Err(Verdict::ExtraTag) } else { Ok(tag) }
}

/// Whether a port takes a kept tag.
///
/// It opens no network: it comes out where it says nothing else than the binding, or behind the binding's tag, or where
/// no binding has it.
#[inline(always)]
pub(crate) fn comes_out(port: &LocalPort, kept: Tag) -> bool {
    keeps(port, kept)
        || port.flags & LocalPort::CARRY_TAG != 0
            && (port.vlan != 0 || kept.vlan().is_none_or(|vlan| maps::port(port.ifindex, vlan).is_none()))
}

#[inline(always)]
fn keeps(port: &LocalPort, kept: Tag) -> bool {
    port.flags & LocalPort::KEEP_TAG != 0 && kept.vlan() == Some(port.vlan)
}

/// Gives a frame the tags with which it leaves to a port that takes its kept one. How many.
#[inline(always)]
pub(crate) fn put_on(mut frame: Skb, port: &LocalPort, kept: Tag) -> Result<u32, Refused> {
    frame.push_tag_of(kept.tpid, kept.tci)?;
    if port.vlan == 0 || keeps(port, kept) {
        return Ok(1);
    }
    if frame.push_tag(port.vlan).is_err() {
        // The next copy of a flood must start from the bare frame.
        let _ = frame.pop_tag();
        return Err(Refused);
    }
    Ok(2)
}

/// Puts the tag beside the frame, for the kernel's tunnel device to put it inside.
#[inline(always)]
pub(crate) fn put_back(frame: Skb, kept: Tag) -> Result<(), Refused> {
    frame.push_tag_of(kept.tpid, kept.tci)
}
