//! From the underlay, outer headers gone: whose frame it is, and where it goes.

use std::net::IpAddr;

use vtep_abi::Verdict;

use super::{
    header::{Ethernet, is_group, is_link_local, is_station},
    outcome::{Outcome, Paid, PortCount, VtepCount, Way},
    tables::{Network, Place, Storm, Tables, Tag},
    tags::AtPort,
};

/// What the kernel's tunnel device says of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Decapsulated {
    pub vni: u32,
    pub sender: IpAddr,
    /// Whether the program at the uplink let it in.
    pub admitted: bool,
}

pub(super) fn enter(tables: &Tables, tunnel: Decapsulated, tag: Option<Tag>, frame: &[u8]) -> Outcome {
    let arrival = Arrival { tables, vni: tunnel.vni, sender: tunnel.sender, kept: tag, frame };
    if !tunnel.admitted {
        return arrival.ended(0, Verdict::NotAdmitted);
    }
    let admitted = match arrival.from() {
        Ok(admitted) => admitted,
        Err((bd, verdict)) => return arrival.ended(bd, verdict),
    };
    let dropped = |verdict| Outcome {
        vteps: vec![(admitted.vtep, arrival.one_received())],
        ..arrival.ended(admitted.network.bd, verdict)
    };
    if tag.is_some() && !admitted.network.carries_tags {
        return dropped(Verdict::ExtraTag);
    }
    match arrival.destination(&admitted) {
        Ok(decision) => arrival.delivered(&admitted, decision),
        Err(verdict) => dropped(verdict),
    }
}

pub(super) struct Arrival<'a> {
    pub(super) tables: &'a Tables,
    pub(super) vni: u32,
    pub(super) sender: IpAddr,
    /// A tag that was inside the tunnel, and is not in the frame.
    pub(super) kept: Option<Tag>,
    pub(super) frame: &'a [u8],
}

pub(super) struct Admitted<'a> {
    pub(super) network: &'a Network,
    vtep: u32,
}

#[derive(Clone, Copy)]
pub(super) enum Decision {
    Port(u32),
    Flood,
}

impl<'a> Arrival<'a> {
    /// Or the bridge domain and the verdict with which it ends.
    pub(super) fn admitted(&self) -> Result<(Admitted<'a>, Decision), (u32, Verdict)> {
        let admitted = self.from()?;
        match self.destination(&admitted) {
            Ok(decision) => Ok((admitted, decision)),
            Err(verdict) => Err((admitted.network.bd, verdict)),
        }
    }

    /// Whether its network has ports that take a tag inside.
    pub(super) fn is_carried(&self) -> bool {
        self.tables.networks.get(&self.vni).is_some_and(|network| network.carries_tags)
    }

    fn from(&self) -> Result<Admitted<'a>, (u32, Verdict)> {
        let Some(network) = self.tables.networks.get(&self.vni) else {
            return Err((0, Verdict::UnknownVni));
        };
        match self.tables.senders.get(&(self.vni, self.sender)) {
            Some(&vtep) => Ok(Admitted { network, vtep }),
            None if self.tables.senders.contains_key(&(0, self.sender)) => {
                Err((network.bd, Verdict::SenderNotInVni))
            }
            None => Err((network.bd, Verdict::UnknownSender)),
        }
    }

    fn destination(&self, admitted: &Admitted<'_>) -> Result<Decision, Verdict> {
        let ethernet = Ethernet::parse(self.frame).ok_or(Verdict::InnerTruncated)?;
        let (source, destination) = (ethernet.source(), ethernet.destination());
        if ethernet.is_tagged() {
            return Err(Verdict::ExtraTag);
        }
        if !is_station(source) {
            return Err(Verdict::GroupSource);
        }
        let entry = self.tables.fdb.get(&(self.vni, source));
        // A MAC of our own ports, from elsewhere: a loop, or a forgery.
        if entry.is_some_and(|entry| matches!(entry.master, Place::Port(_))) {
            return Err(Verdict::LocalSource);
        }
        let theirs = Place::Vtep(admitted.vtep);
        let is_theirs = entry.is_some_and(|entry| [entry.master, entry.slave].contains(&theirs));
        if admitted.network.checks_source && !is_theirs {
            return Err(Verdict::WrongSource);
        }
        if is_group(destination) {
            return Ok(Decision::Flood);
        }
        match self.tables.fdb.get(&(self.vni, destination)) {
            None if admitted.network.drops_unknown => Err(Verdict::UnknownUnicast),
            None => Ok(Decision::Flood),
            // Never back to the underlay.
            Some(entry) => {
                let port = [entry.master, entry.slave].into_iter().find_map(port);
                port.map(Decision::Port).ok_or(Verdict::SplitHorizon)
            }
        }
    }

    pub(super) fn delivered(&self, admitted: &Admitted<'_>, decision: Decision) -> Outcome {
        let bd = admitted.network.bd;
        let outcome = match decision {
            Decision::Port(index) => match self.tables.local_port(index, self.vni) {
                None => self.ended(bd, Verdict::PortGone),
                Some(port) => match AtPort::of(self.tables, self.frame, port, self.kept) {
                    AtPort::Leaves(leaving) => {
                        let ports = vec![(index, PortCount::one_sent(self.frame))];
                        let way = Way::To(leaving);
                        Outcome { way, ports, by_xdp: port.takes_xdp, ..self.ended(bd, Verdict::Delivered) }
                    }
                    AtPort::Untaken => self.ended(bd, Verdict::ExtraTag),
                    AtPort::TooLong => {
                        let ports = vec![(index, PortCount::TOO_BIG)];
                        Outcome { ports, by_xdp: false, ..self.ended(bd, Verdict::PortMtu) }
                    }
                },
            },
            Decision::Flood => self.flooded(admitted.network),
        };
        Outcome { vteps: vec![(admitted.vtep, self.one_received())], ..outcome }
    }

    /// Received, and not to be had out of its tunnel.
    pub(super) fn stuck(&self, admitted: &Admitted<'_>) -> Outcome {
        let outcome = self.ended(admitted.network.bd, Verdict::InnerShort);
        Outcome { vteps: vec![(admitted.vtep, self.one_received())], ..outcome }
    }

    /// To ports of this host only.
    fn flooded(&self, network: &Network) -> Outcome {
        let bd = network.bd;
        if network.storm.is_some_and(Storm::is_over) {
            return self.ended(bd, Verdict::VniStorm);
        }
        let link_local = Ethernet::parse(self.frame).is_some_and(|frame| is_link_local(frame.destination()));
        let (mut copies, mut ports) = (Vec::new(), Vec::new());
        let (mut failed, mut too_long, mut untaken) = (false, false, false);
        for index in network.flood.iter().copied().filter_map(port) {
            match self.tables.local_port(index, self.vni) {
                Some(port) if link_local && !port.link_local => {}
                Some(port) => match AtPort::of(self.tables, self.frame, port, self.kept) {
                    AtPort::Leaves(copy) => {
                        ports.push((index, PortCount::one_sent(self.frame)));
                        copies.push(copy);
                    }
                    AtPort::Untaken => untaken = true,
                    AtPort::TooLong => {
                        ports.push((index, PortCount::TOO_BIG));
                        too_long = true;
                    }
                },
                None => failed = true,
            }
        }
        let verdict = match (copies.is_empty(), failed) {
            (false, _) => Verdict::DeliveredFlood,
            (true, true) => Verdict::EncapFailed,
            (true, false) if too_long => Verdict::PortMtu,
            (true, false) if link_local => Verdict::LinkLocal,
            (true, false) if untaken => Verdict::ExtraTag,
            (true, false) => Verdict::NoMembers,
        };
        let way = if copies.is_empty() { Way::Dropped } else { Way::Copies(copies) };
        let paid = Paid { interface: None, vni: Some(self.vni) };
        Outcome { way, paid, ports, by_xdp: false, ..self.ended(bd, verdict) }
    }

    fn one_received(&self) -> VtepCount {
        VtepCount { received: 1, received_bytes: self.frame.len() as u64, ..VtepCount::default() }
    }

    pub(super) fn ended(&self, bd: u32, verdict: Verdict) -> Outcome {
        Outcome::ended(bd, self.frame.len(), verdict)
    }
}

fn port(place: Place) -> Option<u32> {
    match place {
        Place::Port(index) => Some(index),
        Place::Vtep(_) | Place::Nowhere => None,
    }
}
