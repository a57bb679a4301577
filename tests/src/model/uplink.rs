//! From the underlay, outer headers and all.

use std::net::IpAddr;

use vtep_abi::Verdict;

use super::{
    ecn,
    encap::{GENEVE_PORT, TYPE_BRIDGED},
    header::{ETHERNET, Ethernet, IPV4, IPV6, TUNNEL, TYPE_IPV4, TYPE_IPV6, UDP, internet_checksum, word},
    outcome::{Outcome, Way},
    security::{v4, v6},
    tables::{Encapsulation, Tables},
    tunnel::{Arrival, Decision},
};

pub(super) fn enter(tables: &Tables, at_xdp: bool, tag: Option<(u16, u16)>, frame: &[u8]) -> Outcome {
    let ended = |verdict| Outcome::ended(0, frame.len(), verdict);
    // A VLAN of the underlay has an interface of its own.
    let datagram = if tag.is_some() { None } else { Datagram::to_us(tables, frame) };
    let Some(datagram) = datagram else {
        return Outcome { way: Way::On, by_xdp: false, ..ended(Verdict::NotOurs) };
    };
    if datagram.more_fragments {
        return ended(Verdict::OuterFragment);
    }
    let inside = match datagram.inside(tables.host.strict) {
        Ok(inside) => inside,
        Err(verdict) => return ended(verdict),
    };
    decided(tables, at_xdp, &datagram, &inside)
}

/// IP for our address, with a tunnel in it that somebody uses.
struct Datagram<'a> {
    encapsulation: Encapsulation,
    source: IpAddr,
    tos: u8,
    more_fragments: bool,
    /// The header's checksum is right.
    sound: bool,
    /// What IP says of its length without its own header, and what there is behind it.
    length: usize,
    payload: &'a [u8],
}

/// A tunnel's own header, and what is behind it and its options.
struct Inside<'a> {
    vni: u32,
    frame: &'a [u8],
}

impl Inside<'_> {
    /// With less than an IP header behind the inner Ethernet header, it is more than the program at TC can take.
    fn is_runt(&self) -> bool {
        let ethernet = Ethernet::parse(self.frame).expect("it is longer than an Ethernet header");
        ethernet.payload().len() < if ethernet.kind() == TYPE_IPV6 { IPV6 } else { IPV4 }
    }
}

impl<'a> Datagram<'a> {
    fn to_us(tables: &Tables, frame: &'a [u8]) -> Option<Self> {
        let ethernet = Ethernet::parse(frame)?;
        let packet = ethernet.payload();
        let host = &tables.host;
        let (protocol, mut datagram) = match ethernet.kind() {
            // No VTEP sends options.
            TYPE_IPV4 if packet.len() >= IPV4 + UDP && packet[0] == 0x45 => {
                let ours = host.v4.is_some_and(|ours| v4(packet, 16) == ours);
                let fragment = word(packet, 6);
                let is_first = fragment << 3 == 0;
                (ours && is_first).then(|| {
                    (
                        packet[9],
                        Self {
                            encapsulation: Encapsulation::Vxlan,
                            source: v4(packet, 12),
                            tos: packet[1],
                            more_fragments: fragment & 0x2000 != 0,
                            // RFC 1071: over its own checksum, too.
                            sound: internet_checksum(&packet[..IPV4]) == 0,
                            length: usize::from(word(packet, 2)).saturating_sub(IPV4),
                            payload: &packet[IPV4..],
                        },
                    )
                })
            }
            TYPE_IPV6 if packet.len() >= IPV6 + UDP && packet[0] >> 4 == 6 => {
                let ours = host.v6.is_some_and(|ours| v6(packet, 24) == ours);
                ours.then(|| {
                    (
                        packet[6],
                        Self {
                            encapsulation: Encapsulation::Vxlan,
                            source: v6(packet, 8),
                            tos: packet[0] << 4 | packet[1] >> 4,
                            more_fragments: false,
                            sound: true,
                            length: usize::from(word(packet, 4)),
                            payload: &packet[IPV6..],
                        },
                    )
                })
            }
            _ => None,
        }?;
        let port = word(datagram.payload, 2);
        datagram.encapsulation = match protocol {
            17 if port == host.udp_port => Encapsulation::Vxlan,
            17 if port == GENEVE_PORT && host.geneve => Encapsulation::Geneve,
            // With a key (RFC 2890 §2).
            47 if port == TYPE_BRIDGED && datagram.payload[0] & 0x20 != 0 && host.nvgre => {
                Encapsulation::Nvgre
            }
            _ => return None,
        };
        Some(datagram)
    }

    fn is_in_udp(&self) -> bool {
        self.encapsulation != Encapsulation::Nvgre
    }

    /// No program can verify a UDP checksum.
    fn is_checksummed(&self) -> bool {
        self.is_in_udp() && word(self.payload, 6) != 0
    }

    /// Whether the frame goes on behind the packet. The device cuts it off.
    fn is_trailed(&self) -> bool {
        self.end() < self.payload.len()
    }

    /// Of a datagram, by its own length: IP may go on behind it.
    fn end(&self) -> usize {
        if self.is_in_udp() { usize::from(word(self.payload, 4)) } else { self.length }
    }

    fn inside(&self, strict: bool) -> Result<Inside<'a>, Verdict> {
        let before = if self.is_in_udp() { UDP } else { 0 };
        let agree = self.end() <= self.length;
        let whole = self.end() >= before + TUNNEL + ETHERNET && self.length <= self.payload.len();
        if !agree || !whole || !self.sound {
            return Err(Verdict::OuterMalformed);
        }
        let (header, rest) = self.payload[before..self.end()].split_at(TUNNEL);
        let options = self.options(header, strict)?;
        // Options may not leave less than an Ethernet header.
        let frame = rest.get(options..).filter(|frame| frame.len() >= ETHERNET);
        let frame = frame.ok_or(Verdict::OuterMalformed)?;
        Ok(Inside { vni: u32::from_be_bytes([0, header[4], header[5], header[6]]), frame })
    }

    /// Their length.
    fn options(&self, header: &[u8], strict: bool) -> Result<usize, Verdict> {
        let (reserved, options) = match self.encapsulation {
            Encapsulation::Vxlan => {
                // Flag I (RFC 7348 §5).
                if header[0] & 8 == 0 {
                    return Err(Verdict::VxlanFlags);
                }
                (header[0] & 0xf7 | header[1] | header[2] | header[3] | header[7], 0)
            }
            Encapsulation::Geneve => {
                if header[0] >> 6 != 0 || word(header, 2) != TYPE_BRIDGED {
                    return Err(Verdict::TunnelHeader);
                }
                // A control packet, or critical options (RFC 8926 §3.4).
                if header[1] & 0xc0 != 0 {
                    return Err(Verdict::GeneveCritical);
                }
                (header[1] & 0x3f | header[7], usize::from(header[0] & 0x3f) * 4)
            }
            Encapsulation::Nvgre => {
                // No checksum, no routing, no sequence number, version 0 (RFC 7637 §3.2).
                if header[0] & 0xd0 != 0 || header[1] & 7 != 0 {
                    return Err(Verdict::TunnelHeader);
                }
                (header[0] & 0x0f | header[1] & 0xf8, 0)
            }
        };
        if strict && reserved != 0 { Err(Verdict::ReservedBits) } else { Ok(options) }
    }
}

fn decided(tables: &Tables, at_xdp: bool, datagram: &Datagram<'_>, inside: &Inside<'_>) -> Outcome {
    let arrival =
        Arrival { tables, vni: inside.vni, sender: datagram.source, kept: None, frame: inside.frame };
    // There is a device for VXLAN only; it verifies checksums, which XDP does without.
    let is_vxlan = datagram.encapsulation == Encapsulation::Vxlan;
    let left = |outcome| Outcome { way: Way::On, by_xdp: false, ..outcome };
    let (admitted, decision) = match arrival.admitted() {
        Ok(admitted) => admitted,
        // The device takes the tag out with the frame.
        Err((bd, Verdict::ExtraTag)) if is_vxlan && arrival.is_carried() => {
            return left(arrival.ended(bd, Verdict::Admitted));
        }
        Err((bd, verdict)) => return arrival.ended(bd, verdict),
    };
    let ecn = ecn::field(inside.frame);
    let combined = ecn::leaving_tunnel(ecn.unwrap_or(ecn::NOT_ECT), datagram.tos & 3);
    if ecn.is_some() && combined.is_none() {
        return arrival.ended(admitted.network.bd, Verdict::EcnCongested);
    }
    let port = match decision {
        Decision::Port(index) => tables.local_port(index, inside.vni),
        Decision::Flood => None,
    };
    let by_program = port.is_some_and(|port| {
        // What is too long there, TC counts.
        if at_xdp { port.takes_xdp && port.takes(inside.frame.len()) } else { port.decap_in_program }
    });
    let is_runt = !at_xdp && inside.is_runt();
    let by_device = !by_program || datagram.is_trailed() || is_runt || datagram.is_checksummed() && !at_xdp;
    if (is_vxlan || at_xdp) && by_device {
        return left(arrival.ended(admitted.network.bd, Verdict::Admitted));
    }
    let frame = match (ecn, combined) {
        (Some(_), Some(combined)) => ecn::with(inside.frame, combined),
        _ => inside.frame.to_vec(),
    };
    let arrival = Arrival { frame: &frame, ..arrival };
    if is_runt {
        return arrival.stuck(&admitted);
    }
    let outcome = arrival.delivered(&admitted, decision);
    let is_ip = Ethernet::parse(&frame).is_some_and(|frame| [TYPE_IPV4, TYPE_IPV6].contains(&frame.kind()));
    if is_ip { outcome } else { outcome.by_interface() }
}
