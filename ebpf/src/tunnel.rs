//! From the underlay, once the outer headers are known: whose frame it is, and where it goes.

use vtep_abi::{AddrBytes, Verdict, VniValue};

use crate::admission::{self, Sender};
use crate::choice;
use crate::context::{self, Frame, Skb};
use crate::flood;
use crate::header::Ethernet;
use crate::maps;
use crate::police;
use crate::port;
use crate::recent::{self, Membership};
use crate::suppress;
use crate::tagged;
use crate::vlan;
use crate::{Account, End};

/// From the kernel's tunnel device, outer headers gone.
#[inline(always)]
pub(crate) fn enter(frame: &Skb, account: &mut Account) -> End {
    if !frame.take_admission() {
        return Verdict::NotAdmitted.into();
    }
    let Some(key) = frame.tunnel_key() else {
        return Verdict::OuterMalformed.into();
    };
    let Membership { network, vtep } = match recent::membership(key.vni, key.remote, &mut account.bd) {
        Ok(membership) => membership,
        Err(verdict) => return verdict.into(),
    };
    count_received(vtep, frame.len());
    let Some(ethernet) = frame.ethernet() else {
        return Verdict::InnerTruncated.into();
    };
    let kept = match vlan::take_inner(*frame, &network) {
        Ok(kept) => kept,
        Err(verdict) => return verdict.into(),
    };
    match destination::<Skb>(Sender { vni: key.vni, vtep }, &network, &ethernet) {
        Destination::Port(to) if !kept.is_none() => {
            tagged::deliver(*frame, key.vni, to, kept, Verdict::Delivered)
        }
        Destination::Flood if !kept.is_none() => tagged::flood(*frame, key.vni, &network, &ethernet, kept),
        Destination::Port(to) => port::deliver(frame, frame.len(), key.vni, to, Verdict::Delivered),
        Destination::Flood => flood(*frame, key.vni, &network, ethernet),
        Destination::Nowhere(verdict) => verdict.into(),
    }
}

#[inline(always)]
fn flood(frame: Skb, vni: u32, network: &VniValue, ethernet: Ethernet) -> End {
    if let Err(verdict) = police::vni_flood(network) {
        return verdict.into();
    }
    if network.flags & VniValue::SUPPRESS != 0 && ethernet.dst().is_group() {
        suppress::note(frame, vni, &ethernet);
    }
    flood::from_underlay(&frame, vni, network, ethernet)
}

/// Counts a frame that came from a VTEP and left its tunnel here.
#[inline(always)]
pub(crate) fn count_received(vtep: u32, bytes: u32) {
    maps::with_vtep_stats(vtep, |stats| {
        stats.received.count(bytes);
        let tick = context::tick();
        if stats.last_received_tick != tick {
            stats.last_received_tick = tick;
            stats.last_received_ns = context::now_coarse_ns();
        }
    });
}

/// The VTEP with this address, if it takes part in the VNI. No encapsulation authenticates anybody: a forged outer source must be
/// kept off the underlay by other means.
#[inline(always)]
pub(crate) fn known(vni: u32, sender: AddrBytes) -> Result<u32, Verdict> {
    match maps::sender(vni, sender) {
        Some(vtep) => Ok(vtep),
        None if maps::sender(0, sender).is_some() => Err(Verdict::SenderNotInVni),
        None => Err(Verdict::UnknownSender),
    }
}

pub(crate) enum Destination {
    Port(u32),
    Flood,
    Nowhere(Verdict),
}

#[inline(always)]
pub(crate) fn destination<F: Frame>(sender: Sender, network: &VniValue, ethernet: &Ethernet) -> Destination {
    if ethernet.is_tagged() {
        return Destination::Nowhere(Verdict::ExtraTag);
    }
    if !ethernet.src().is_station() {
        return Destination::Nowhere(Verdict::GroupSource);
    }
    if let Err(verdict) = admission::source::<F>(sender, network, ethernet.src()) {
        return Destination::Nowhere(verdict);
    }
    if ethernet.dst().is_group() {
        return Destination::Flood;
    }
    match maps::lookup::<F>(network.bd, sender.vni, ethernet.dst()) {
        Some(entry) => match choice::local(&entry) {
            Some(to) => Destination::Port(to),
            None => Destination::Nowhere(Verdict::SplitHorizon),
        },
        None if network.flags & VniValue::DROP_UNKNOWN != 0 => Destination::Nowhere(Verdict::UnknownUnicast),
        None => Destination::Flood,
    }
}
