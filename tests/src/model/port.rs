//! From a port of this host.

use vtep_abi::Verdict;

use super::{
    encap,
    header::{Ethernet, TYPE_IPV4, TYPE_IPV6, is_group, is_link_local, is_station},
    icmp,
    outcome::{Leaving, Outcome, Paid, PortCount, VtepCount, Way},
    security, suppress,
    tables::{Binding, Encapsulation, Entry, Mac, Network, Place, Storm, Tables, Tag},
    tags::{self, AtPort},
};

/// Whoever speaks to it inside a tunnel speaks to the VTEP (`vtep(5)`, `bfd_config_remote`).
const VTEPS_BFD: Mac = [0x00, 0x23, 0x20, 0x00, 0x00, 0x01];

pub(super) fn enter(tables: &Tables, ifindex: u32, tag: Option<Tag>, frame: &[u8]) -> Outcome {
    let ended = |bd, verdict| Outcome::ended(bd, frame.len(), verdict);
    let Some(bound) = tags::bound(tables, ifindex, tag, frame) else {
        return ended(0, Verdict::Unbound);
    };
    let outcome = entered(tables, ifindex, &bound);
    // XDP has no place for a tag beside the frame.
    let by_xdp = outcome.by_xdp && bound.kept.is_none();
    Outcome { bytes: frame.len() as u64, by_xdp, ..outcome }.at(bound.binding.local_port)
}

fn entered(tables: &Tables, ifindex: u32, bound: &tags::Bound<'_>) -> Outcome {
    let &tags::Bound { binding, kept, ref frame } = bound;
    let ended = |bd, verdict| Outcome::ended(bd, frame.len(), verdict);
    let Some(ethernet) = Ethernet::parse(frame) else {
        return ended(binding.bd, Verdict::InnerTruncated);
    };
    if ethernet.is_tagged() {
        return ended(binding.bd, Verdict::ExtraTag);
    }
    if !is_station(ethernet.source()) {
        return ended(binding.bd, Verdict::GroupSource);
    }
    if is_link_local(ethernet.destination()) && !binding.link_local {
        return ended(binding.bd, Verdict::LinkLocal);
    }
    if ethernet.destination() == VTEPS_BFD {
        return ended(binding.bd, Verdict::TenantBfd);
    }
    if let Some(refused) = security::refuses(tables, ifindex, binding, frame) {
        return ended(binding.bd, refused);
    }
    Arrived { tables, ifindex, binding, kept, ethernet, frame }.forwarded()
}

struct Arrived<'a> {
    tables: &'a Tables,
    ifindex: u32,
    binding: &'a Binding,
    /// Goes on with the frame, without being in it.
    kept: Option<Tag>,
    ethernet: Ethernet<'a>,
    frame: &'a [u8],
}

impl Arrived<'_> {
    fn forwarded(&self) -> Outcome {
        let destination = self.ethernet.destination();
        let vni = self.binding.vni;
        let known = (!is_group(destination)).then(|| self.tables.fdb.get(&(vni, destination))).flatten();
        if let Some(entry) = known {
            return self.to_station(entry);
        }
        match self.tables.networks.get(&vni) {
            None => self.ended(Verdict::UnknownVni),
            Some(network) if network.drops_unknown && !is_group(destination) => {
                self.ended(Verdict::UnknownUnicast)
            }
            Some(network) => Outcome { by_xdp: false, ..self.to_many(network) },
        }
    }

    /// Master first, slave while the master is down.
    fn to_station(&self, entry: &Entry) -> Outcome {
        if (entry.master, entry.slave) == (Place::Nowhere, Place::Nowhere) {
            return self.ended(Verdict::UnknownUnicast);
        }
        for (place, verdict) in [(entry.master, Verdict::Master), (entry.slave, Verdict::Slave)] {
            match place {
                Place::Port(port) if port == self.binding.local_port => {
                    return self.ended(Verdict::SamePort);
                }
                Place::Port(port) => return self.to_other_port(port),
                Place::Vtep(vtep) if self.tables.is_up(vtep) => return self.to_vtep(vtep, verdict),
                Place::Vtep(_) | Place::Nowhere => {}
            }
        }
        self.ended(Verdict::BothDown)
    }

    fn to_other_port(&self, index: u32) -> Outcome {
        let outcome = self.to_port(self.frame, index, Verdict::Local);
        if outcome.verdict != Verdict::PortMtu {
            return outcome;
        }
        let mtu = self.tables.local_port(index, self.binding.vni).map_or(0, |port| port.mtu);
        let room = u16::try_from(mtu).unwrap_or(u16::MAX);
        let mut told = self.told(room, Verdict::PortMtu, Verdict::PortMtuTold);
        told.ports.extend(outcome.ports);
        Outcome { by_xdp: false, ..told }
    }

    fn to_port(&self, frame: &[u8], index: u32, verdict: Verdict) -> Outcome {
        match self.tables.local_port(index, self.binding.vni) {
            None => self.ended(Verdict::PortGone),
            Some(port) => match AtPort::of(self.tables, frame, port, self.kept) {
                AtPort::Leaves(leaving) => {
                    let ports = vec![(index, PortCount::one_sent(frame))];
                    let way = Way::To(leaving);
                    Outcome { way, ports, by_xdp: port.takes_xdp, ..self.ended(verdict) }
                }
                AtPort::Untaken => self.ended(Verdict::ExtraTag),
                AtPort::TooLong => {
                    let ports = vec![(index, PortCount::TOO_BIG)];
                    Outcome { ports, by_xdp: false, ..self.ended(Verdict::PortMtu) }
                }
            },
        }
    }

    fn to_vtep(&self, index: u32, verdict: Verdict) -> Outcome {
        let vtep = &self.tables.vteps[&index];
        if !vtep.routed {
            return self.ended(Verdict::NoRoute);
        }
        let is_vxlan = vtep.encapsulation == Encapsulation::Vxlan;
        if self.kept.is_some() && !is_vxlan {
            return self.ended(Verdict::EncapFailed);
        }
        if !encap::fits(self.inside(), vtep) {
            let room = encap::room(vtep).saturating_sub(if self.kept.is_some() { 4 } else { 0 });
            return Outcome { by_xdp: false, ..self.told(room, Verdict::TooBig, Verdict::TooBigTold) };
        }
        let served_as_slave = u64::from(verdict == Verdict::Slave);
        let is_ip = [TYPE_IPV4, TYPE_IPV6].contains(&self.ethernet.kind());
        let encapsulated = || encap::encapsulated(self.frame, self.binding.vni, vtep);
        let (verdict, leaving) = match (vtep.resolved, is_vxlan) {
            _ if self.kept.is_some() => (Verdict::Device, self.by_device()),
            (true, _) => (verdict, encapsulated()),
            (false, true) => (Verdict::Device, self.by_device()),
            // The kernel resolves what is sent, if it knows what a next hop of it is.
            (false, false) if is_ip => (Verdict::Device, encapsulated()),
            (false, false) => return Outcome { by_xdp: false, ..self.ended(Verdict::Unresolved) },
        };
        let count = VtepCount { served_as_slave, ..self.one_sent() };
        Outcome {
            way: Way::To(leaving),
            vteps: vec![(index, count)],
            by_xdp: vtep.resolved && vtep.takes_xdp,
            ..self.ended(verdict)
        }
    }

    /// Of a frame that is too long for a path whose largest IP packet is `room`.
    fn told(&self, room: u16, untold: Verdict, told: Verdict) -> Outcome {
        let interface = self.tables.interfaces.get(&self.ifindex);
        let told_enough = interface.is_some_and(|interface| interface.told_enough);
        match icmp::too_big(self.frame, room) {
            Some(answer) if !told_enough => {
                let outcome = self.to_port(&answer, self.binding.local_port, told).by_interface();
                Outcome { tells: true, ..outcome }
            }
            _ => self.ended(untold),
        }
    }

    fn to_many(&self, network: &Network) -> Outcome {
        if network.suppresses
            && self.kept.is_none()
            && is_group(self.ethernet.destination())
            && let Some(answer) = suppress::answer(self.tables, self.binding, self.frame)
        {
            return self.to_port(&answer, self.binding.local_port, Verdict::Answered).by_interface();
        }
        let of_port = self.tables.interfaces.get(&self.ifindex).and_then(|interface| interface.storm);
        if of_port.is_some_and(Storm::is_over) {
            return self.ended(Verdict::PortStorm);
        }
        let paid = Paid { interface: Some(self.ifindex), vni: None };
        if network.storm.is_some_and(Storm::is_over) {
            return Outcome { paid, ..self.ended(Verdict::VniStorm) };
        }
        Outcome { paid: Paid { vni: Some(self.binding.vni), ..paid }, ..self.flooded(network) }
    }

    /// One copy for each member that can take one, but not back.
    fn flooded(&self, network: &Network) -> Outcome {
        let link_local = is_link_local(self.ethernet.destination());
        let mut copies = Vec::new();
        let (mut vteps, mut ports) = (Vec::new(), Vec::new());
        let (mut failed, mut too_big, mut too_long, mut untaken) = (false, false, false, false);
        // Room is made once, for outer headers of one length: of the first VTEP that can have them.
        let mut shared_length = None;
        for member in &network.flood {
            match *member {
                Place::Port(index) if index == self.binding.local_port => {}
                Place::Port(index) => match self.tables.local_port(index, self.binding.vni) {
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
                },
                Place::Vtep(index) if self.tables.is_up(index) && self.tables.vteps[&index].routed => {
                    let vtep = &self.tables.vteps[&index];
                    if !encap::fits(self.inside(), vtep) {
                        too_big = true;
                        vteps.push((index, VtepCount { copies_too_big: 1, ..VtepCount::default() }));
                    } else if vtep.resolved
                        && self.kept.is_none()
                        && *shared_length.get_or_insert(encap::outer_length(vtep))
                            == encap::outer_length(vtep)
                    {
                        vteps.push((index, self.one_sent()));
                        copies.push(encap::encapsulated(self.frame, self.binding.vni, vtep));
                    } else if vtep.encapsulation == Encapsulation::Vxlan {
                        vteps.push((index, self.one_sent()));
                        copies.push(self.by_device());
                    } else {
                        failed = true;
                        vteps.push((index, VtepCount { copy_errors: 1, ..VtepCount::default() }));
                    }
                }
                Place::Vtep(_) | Place::Nowhere => {}
            }
        }
        let verdict = match (copies.is_empty(), failed, too_big) {
            (false, _, _) => Verdict::Flooded,
            (true, true, _) => Verdict::EncapFailed,
            (true, false, true) => Verdict::TooBig,
            (true, false, false) if too_long => Verdict::PortMtu,
            (true, false, false) if link_local => Verdict::LinkLocal,
            (true, false, false) if untaken => Verdict::ExtraTag,
            (true, false, false) => Verdict::NoMembers,
        };
        let way = if copies.is_empty() { Way::Dropped } else { Way::Copies(copies) };
        Outcome { way, vteps, ports, ..self.ended(verdict) }
    }

    /// The kernel's tunnel device gets the frame as it is.
    fn by_device(&self) -> Leaving {
        Leaving { tag: self.kept, ..Leaving::plain(self.tables.host.tunnel, self.frame.to_vec()) }
    }

    /// As long as it is inside a tunnel.
    fn inside(&self) -> usize {
        self.frame.len() + if self.kept.is_some() { 4 } else { 0 }
    }

    fn one_sent(&self) -> VtepCount {
        VtepCount { sent: 1, sent_bytes: self.inside() as u64, ..VtepCount::default() }
    }

    fn ended(&self, verdict: Verdict) -> Outcome {
        Outcome::ended(self.binding.bd, self.frame.len(), verdict)
    }
}
