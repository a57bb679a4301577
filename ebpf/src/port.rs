//! From a port of this host.

use vtep_abi::{Event, EventKind, LocalPort, PortValue, Target, Verdict, VniValue};

use crate::admission;
use crate::choice::{self, Serving};
use crate::context::{Frame, Refused};
use crate::encap::{self, Destined};
use crate::flood;
use crate::header::{ETH_LEN, Ethernet, is_group, is_station};
use crate::maps;
use crate::{Account, End};

const ETH_P_8021Q: u16 = 0x8100;
const VLAN_ID: u16 = 0x0fff;

#[inline(always)]
pub(crate) fn enter<F: Frame>(frame: &mut F, account: &mut Account) -> End {
    let tag = frame.tag();
    let vlan = match tag {
        None => 0,
        Some((ETH_P_8021Q, tci)) => tci & VLAN_ID,
        // A provider tag (IEEE 802.1ad) selects no binding.
        Some(_) => return Verdict::Unbound.into(),
    };
    let Some(port) = maps::port(frame.ifindex(), vlan) else {
        return Verdict::Unbound.into();
    };
    account.bd = port.bd;
    // The tag told the network; left on, it would end up on the outer frame, in a VLAN of the underlay.
    if tag.is_some() && frame.pop_tag().is_err() {
        return Verdict::VlanFailed.into();
    }
    let Some(head) = frame.head::<ETH_LEN>() else {
        return Verdict::InnerTruncated.into();
    };
    let ethernet = Ethernet(head);
    // The kernel moves a second tag to where the first one was.
    if frame.tag().is_some() || ethernet.is_tagged() {
        return Verdict::ExtraTag.into();
    }
    if !is_station(ethernet.src()) {
        return Verdict::GroupSource.into();
    }
    if admission::is_link_local(ethernet.dst()) && port.flags & PortValue::LINK_LOCAL == 0 {
        return Verdict::LinkLocal.into();
    }
    if port.flags & PortValue::LEARN != 0 {
        learn(frame, &port, vlan, ethernet.src());
    }
    if frame.is_unfinished(0, ethernet.ether_type()) {
        return Verdict::Passed.into();
    }
    match way(&port, &ethernet) {
        Way::LocalPort(to) if to == port.local_port => Verdict::SamePort.into(),
        Way::LocalPort(to) => deliver(frame, port.vni, to, Verdict::Local),
        Way::Vtep(vtep, verdict) => encap::send(*frame, &Destined { vni: port.vni, vtep, verdict, ethernet }),
        Way::Flood(network) => match frame.skb() {
            Some(skb) => flood::from_port(skb, &port, &network, ethernet),
            None => Verdict::Passed.into(),
        },
        Way::Nowhere(verdict) => verdict.into(),
    }
}

enum Way {
    LocalPort(u32),
    Vtep(u32, Verdict),
    Flood(VniValue),
    Nowhere(Verdict),
}

#[inline(always)]
fn way(port: &PortValue, ethernet: &Ethernet) -> Way {
    let group = is_group(ethernet.dst());
    if !group && let Some(entry) = maps::lookup(port.bd, port.vni, ethernet.dst()) {
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

/// To a port of this host, tagged as its binding says.
#[inline(always)]
pub(crate) fn deliver<F: Frame>(frame: &F, vni: u32, to: u32, verdict: Verdict) -> End {
    match maps::local_port(to, vni) {
        None => Verdict::PortGone.into(),
        Some(port) if port.flags & F::PORT_NEEDS != F::PORT_NEEDS => Verdict::Passed.into(),
        Some(port) => leave(frame, port, verdict),
    }
}

/// To a port that takes this kind of frame.
#[inline(always)]
pub(crate) fn leave(frame: &impl Frame, port: &LocalPort, verdict: Verdict) -> End {
    let tagged = if port.vlan != 0 { frame.push_tag(port.vlan) } else { frame.settle() };
    match tagged {
        Ok(()) => End::redirect(verdict, port.ifindex),
        Err(Refused) => Verdict::VlanFailed.into(),
    }
}

/// Reports a source MAC that the FDB does not show on this port.
#[inline(always)]
fn learn(frame: &impl Frame, port: &PortValue, vlan: u16, mac: [u8; 6]) {
    let entry = maps::lookup(port.bd, port.vni, mac);
    let known = entry.is_some_and(|entry| entry.master() == Target::LocalPort(port.local_port));
    if !known {
        maps::report(Event {
            kind: EventKind::MacSeen as u32,
            vni: port.vni,
            ifindex: frame.ifindex(),
            vlan,
            mac,
        });
    }
}
