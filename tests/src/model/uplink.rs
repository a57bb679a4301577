//! From the underlay.

use std::net::{IpAddr, Ipv4Addr};

use vtep_abi::Verdict;

use super::{
    ecn,
    header::{ETHERNET, Ethernet, IPV4, TYPE_IPV4, TYPE_IPV6, UDP, VXLAN, is_group, is_station, word},
    outcome::{Outcome, VtepCount, Way},
    port::at_port,
    tables::{Entry, Place, Tables},
};

pub(super) fn enter(tables: &Tables, tag: Option<(u16, u16)>, frame: &[u8]) -> Outcome {
    let bare = Outcome {
        verdict: Verdict::NotOurs,
        bd: 0,
        bytes: frame.len() as u64,
        way: Way::On,
        vteps: Vec::new(),
    };
    // A VLAN of the underlay has an interface of its own.
    let datagram = if tag.is_some() { None } else { Datagram::to_us(tables, frame) };
    let Some(datagram) = datagram else {
        return bare;
    };
    let dropped = |verdict| Outcome { verdict, way: Way::Dropped, ..bare.clone() };
    if datagram.more_fragments {
        return dropped(Verdict::OuterFragment);
    }
    let Some(payload) = datagram.payload() else {
        return dropped(Verdict::OuterMalformed);
    };
    // Flag I (RFC 7348 §5); the others are reserved and ignored.
    if payload[0] & 8 == 0 {
        return dropped(Verdict::VxlanFlags);
    }
    let arrival = Arrival {
        vni: u32::from_be_bytes([0, payload[4], payload[5], payload[6]]),
        sender: IpAddr::V4(datagram.source),
        ecn: datagram.tos & 3,
        is_checksummed: datagram.is_checksummed(),
        is_trailed: datagram.is_trailed(),
        inner: &payload[VXLAN..],
    };
    arrival.admitted(tables)
}

/// UDP in IPv4 for our address and port.
struct Datagram<'a> {
    source: Ipv4Addr,
    tos: u8,
    more_fragments: bool,
    /// From its IP header to the end of the frame.
    packet: &'a [u8],
}

impl<'a> Datagram<'a> {
    fn to_us(tables: &Tables, frame: &'a [u8]) -> Option<Self> {
        let ethernet = Ethernet::parse(frame)?;
        let packet = ethernet.payload();
        // No VTEP sends options.
        let whole = packet.len() >= IPV4 + UDP && packet[0] == 0x45;
        if ethernet.kind() != TYPE_IPV4 || !whole {
            return None;
        }
        let address =
            |at: usize| Ipv4Addr::from(<[u8; 4]>::try_from(&packet[at..at + 4]).expect("four bytes"));
        let fragment = word(packet, 6);
        let offset = fragment & 0x1fff;
        let to_us = packet[9] == 17
            && offset == 0
            && address(16) == tables.host.address
            && word(packet, IPV4 + 2) == tables.host.udp_port;
        to_us.then(|| Self {
            source: address(12),
            tos: packet[1],
            more_fragments: fragment & 0x2000 != 0,
            packet,
        })
    }

    fn is_checksummed(&self) -> bool {
        word(self.packet, IPV4 + 6) != 0
    }

    /// Whether the frame goes on behind the packet.
    fn is_trailed(&self) -> bool {
        usize::from(word(self.packet, 2)) < self.packet.len()
    }

    /// What UDP carries, if both lengths agree, the frame has as much, and a VXLAN and an Ethernet header are in it.
    fn payload(&self) -> Option<&'a [u8]> {
        let ip_length = usize::from(word(self.packet, 2));
        let udp_length = usize::from(word(self.packet, IPV4 + 4));
        let agree = ip_length == IPV4 + udp_length && ip_length <= self.packet.len();
        (agree && udp_length >= UDP + VXLAN + ETHERNET).then(|| &self.packet[IPV4 + UDP..ip_length])
    }
}

struct Arrival<'a> {
    vni: u32,
    sender: IpAddr,
    ecn: u8,
    /// No program can verify a UDP checksum.
    is_checksummed: bool,
    /// The device cuts off what is behind the packet.
    is_trailed: bool,
    inner: &'a [u8],
}

impl Arrival<'_> {
    fn admitted(&self, tables: &Tables) -> Outcome {
        let ended = |bd, verdict| Outcome {
            verdict,
            bd,
            bytes: self.inner.len() as u64,
            way: Way::Dropped,
            vteps: Vec::new(),
        };
        let Some(network) = tables.networks.get(&self.vni) else {
            return ended(0, Verdict::UnknownVni);
        };
        let bd = network.bd;
        let Some(&vtep) = tables.senders.get(&(self.vni, self.sender)) else {
            let elsewhere = tables.senders.contains_key(&(0, self.sender));
            return ended(bd, if elsewhere { Verdict::SenderNotInVni } else { Verdict::UnknownSender });
        };
        let ethernet = Ethernet::parse(self.inner).expect("the payload has an Ethernet header");
        let destination = ethernet.destination();
        if ethernet.is_tagged() {
            return ended(bd, Verdict::ExtraTag);
        }
        if !is_station(ethernet.source()) {
            return ended(bd, Verdict::GroupSource);
        }
        // A MAC of our own ports, from elsewhere: a loop, or a forgery.
        if let Some(Entry { master: Place::Port(_), .. }) = tables.fdb.get(&(self.vni, ethernet.source())) {
            return ended(bd, Verdict::LocalSource);
        }
        let inner_ecn = ecn::field(self.inner);
        let combined = ecn::leaving_tunnel(inner_ecn.unwrap_or(ecn::NOT_ECT), self.ecn);
        let to_device = match (inner_ecn, combined) {
            (Some(_), None) => ended(bd, Verdict::EcnCongested),
            _ => Outcome { way: Way::On, ..ended(bd, Verdict::Admitted) },
        };
        if is_group(destination) {
            return to_device;
        }
        let entry = match tables.fdb.get(&(self.vni, destination)) {
            None if network.drops_unknown => return ended(bd, Verdict::UnknownUnicast),
            None => return to_device,
            Some(entry) => entry,
        };
        // Never back to the underlay.
        let Some(index) = [entry.master, entry.slave].into_iter().find_map(port) else {
            return ended(bd, Verdict::SplitHorizon);
        };
        let port = tables.local_port(index, self.vni).filter(|port| port.decap_in_program);
        match (port, inner_ecn, combined) {
            (None, ..) | (_, Some(_), None) => to_device,
            _ if self.is_checksummed || self.is_trailed || self.is_runt() => to_device,
            (Some(port), field, combined) => {
                let inner = match (field, combined) {
                    (Some(_), Some(combined)) => ecn::with(self.inner, combined),
                    _ => self.inner.to_vec(),
                };
                Outcome {
                    way: Way::To(at_port(&inner, port)),
                    vteps: vec![(vtep, self.one_received())],
                    ..ended(bd, Verdict::Delivered)
                }
            }
        }
    }

    /// Less than an IP header behind the inner Ethernet header is more than the program can take.
    fn is_runt(&self) -> bool {
        let ethernet = Ethernet::parse(self.inner).expect("the payload has an Ethernet header");
        ethernet.payload().len() < if ethernet.kind() == TYPE_IPV6 { 40 } else { 20 }
    }

    fn one_received(&self) -> VtepCount {
        VtepCount { received: 1, received_bytes: self.inner.len() as u64, ..VtepCount::default() }
    }
}

fn port(place: Place) -> Option<u32> {
    match place {
        Place::Port(index) => Some(index),
        Place::Vtep(_) | Place::Nowhere => None,
    }
}
