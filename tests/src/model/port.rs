//! From a port of this host.

use vtep_abi::Verdict;

use super::{
    encap::{self, By},
    header::{Ethernet, TYPE_VLAN, is_group, is_link_local, is_station},
    outcome::{Leaving, Outcome, VtepCount, Way},
    tables::{Binding, Entry, LocalPort, Network, Place, Tables},
};

pub(super) fn enter(tables: &Tables, ifindex: u32, tag: Option<(u16, u16)>, frame: &[u8]) -> Outcome {
    let at = Arrived { tables, frame };
    let vlan = match tag {
        None => 0,
        // The upper four bits are priority and drop eligibility (IEEE 802.1Q).
        Some((TYPE_VLAN, tci)) => tci & 0x0fff,
        Some(_) => return at.ended(0, Verdict::Unbound),
    };
    let Some(binding) = tables.bindings.get(&(ifindex, vlan)) else {
        return at.ended(0, Verdict::Unbound);
    };
    let Some(ethernet) = Ethernet::parse(frame) else {
        return at.ended(binding.bd, Verdict::InnerTruncated);
    };
    if ethernet.is_tagged() {
        return at.ended(binding.bd, Verdict::ExtraTag);
    }
    if !is_station(ethernet.source()) {
        return at.ended(binding.bd, Verdict::GroupSource);
    }
    if is_link_local(ethernet.destination()) {
        return at.ended(binding.bd, Verdict::LinkLocal);
    }
    at.forwarded(binding, ethernet)
}

struct Arrived<'a> {
    tables: &'a Tables,
    frame: &'a [u8],
}

impl Arrived<'_> {
    fn forwarded(&self, binding: &Binding, ethernet: Ethernet<'_>) -> Outcome {
        let destination = ethernet.destination();
        let known =
            (!is_group(destination)).then(|| self.tables.fdb.get(&(binding.vni, destination))).flatten();
        if let Some(entry) = known {
            return self.to_station(binding, entry);
        }
        match self.tables.networks.get(&binding.vni) {
            None => self.ended(binding.bd, Verdict::UnknownVni),
            Some(network) if network.drops_unknown && !is_group(destination) => {
                self.ended(binding.bd, Verdict::UnknownUnicast)
            }
            Some(network) => self.flooded(binding, network),
        }
    }

    /// Master first, slave while the master is down.
    fn to_station(&self, binding: &Binding, entry: &Entry) -> Outcome {
        if (entry.master, entry.slave) == (Place::Nowhere, Place::Nowhere) {
            return self.ended(binding.bd, Verdict::UnknownUnicast);
        }
        for (place, verdict) in [(entry.master, Verdict::Master), (entry.slave, Verdict::Slave)] {
            match place {
                Place::Port(port) if port == binding.local_port => {
                    return self.ended(binding.bd, Verdict::SamePort);
                }
                Place::Port(port) => return self.to_port(binding, port),
                Place::Vtep(vtep) if self.tables.is_up(vtep) => {
                    return self.to_vtep(binding, vtep, verdict);
                }
                Place::Vtep(_) | Place::Nowhere => {}
            }
        }
        self.ended(binding.bd, Verdict::BothDown)
    }

    fn to_port(&self, binding: &Binding, port: u32) -> Outcome {
        match self.tables.local_port(port, binding.vni) {
            None => self.ended(binding.bd, Verdict::PortGone),
            Some(port) => {
                let way = Way::To(at_port(self.frame, port));
                Outcome { way, ..self.ended(binding.bd, Verdict::Local) }
            }
        }
    }

    fn to_vtep(&self, binding: &Binding, index: u32, verdict: Verdict) -> Outcome {
        let vtep = &self.tables.vteps[&index];
        if !vtep.routed {
            return self.ended(binding.bd, Verdict::NoRoute);
        }
        if !encap::fits(self.frame, vtep) {
            return self.ended(binding.bd, Verdict::TooBig);
        }
        let count = VtepCount { served_as_slave: u64::from(verdict == Verdict::Slave), ..self.one_sent() };
        let (verdict, leaving) = match encap::by(self.frame, vtep) {
            By::Program => (verdict, encap::encapsulated(self.frame, binding.vni, vtep)),
            By::Device => (Verdict::Device, Leaving::plain(self.tables.host.tunnel, self.frame.to_vec())),
        };
        Outcome { way: Way::To(leaving), vteps: vec![(index, count)], ..self.ended(binding.bd, verdict) }
    }

    /// One copy for each member that can take one, but not back.
    fn flooded(&self, binding: &Binding, network: &Network) -> Outcome {
        let mut copies = Vec::new();
        let mut vteps = Vec::new();
        let (mut failed, mut too_big) = (false, false);
        for member in &network.flood {
            match *member {
                Place::Port(port) if port == binding.local_port => {}
                Place::Port(port) => match self.tables.local_port(port, binding.vni) {
                    Some(port) => copies.push(at_port(self.frame, port)),
                    None => failed = true,
                },
                Place::Vtep(index) if self.tables.is_up(index) && self.tables.vteps[&index].routed => {
                    let vtep = &self.tables.vteps[&index];
                    if !encap::fits(self.frame, vtep) {
                        too_big = true;
                        vteps.push((index, VtepCount { copy_errors: 1, ..VtepCount::default() }));
                        continue;
                    }
                    vteps.push((index, self.one_sent()));
                    copies.push(match encap::by(self.frame, vtep) {
                        By::Program => encap::encapsulated(self.frame, binding.vni, vtep),
                        By::Device => Leaving::plain(self.tables.host.tunnel, self.frame.to_vec()),
                    });
                }
                Place::Vtep(_) | Place::Nowhere => {}
            }
        }
        let verdict = match (copies.is_empty(), failed, too_big) {
            (false, _, _) => Verdict::Flooded,
            (true, true, _) => Verdict::EncapFailed,
            (true, false, true) => Verdict::TooBig,
            (true, false, false) => Verdict::NoMembers,
        };
        let way = if copies.is_empty() { Way::Dropped } else { Way::Copies(copies) };
        Outcome { way, vteps, ..self.ended(binding.bd, verdict) }
    }

    fn one_sent(&self) -> VtepCount {
        VtepCount { sent: 1, sent_bytes: self.frame.len() as u64, ..VtepCount::default() }
    }

    fn ended(&self, bd: u32, verdict: Verdict) -> Outcome {
        Outcome { verdict, bd, bytes: self.frame.len() as u64, way: Way::Dropped, vteps: Vec::new() }
    }
}

/// With the tag of its binding, if that has one.
pub(super) fn at_port(frame: &[u8], port: &LocalPort) -> Leaving {
    let vlan = (port.vlan != 0).then_some(port.vlan);
    Leaving { vlan, ..Leaving::plain(port.ifindex, frame.to_vec()) }
}
