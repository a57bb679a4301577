//! From the underlay, outer headers and all. What is not for our tunnels goes to the host untouched.

use vtep_abi::{Config, Verdict, VniValue};
use vtep_outer::read::{self, Packet, TAIL, Words};
use vtep_outer::{Encapsulation, IPV4_LEN, IPV6_LEN, Shape, TUNNEL_LEN, UDP_LEN, ecn};

use crate::admission::Sender;
use crate::context::{Frame, Place, Refused};
use crate::flood;
use crate::header::{Address, ETH_LEN, EtherType, Ethernet};
use crate::liveness;
use crate::maps;
use crate::police;
use crate::port;
use crate::recent::{self, Membership};
use crate::tunnel::{self, Destination};
use crate::{Account, End};

#[inline(always)]
pub(crate) fn enter<F: Frame>(frame: &mut F, account: &mut Account) -> End {
    // Of a VLAN of the underlay, which has an interface of its own.
    if frame.tag().is_some() {
        return Verdict::NotOurs.into();
    }
    let Some(config) = maps::config() else {
        return Verdict::NotOurs.into();
    };
    let mut arrival = Place::new();
    let received = if F::APART {
        receive_apart(frame, account.bytes, config, &mut arrival)
    } else {
        receive(frame, account.bytes, config, &mut arrival)
    };
    match (received, arrival.get()) {
        (Ok(()), Some(arrival)) if liveness::is_inner(config, &arrival.ethernet) => liveness::in_tunnel(
            frame,
            arrival.outer_len,
            arrival.vni,
            bytemuck::must_cast_ref(&arrival.source),
        ),
        (Ok(()), Some(arrival)) => {
            account.bytes = arrival.inner_len();
            let end = if F::APART {
                decide_apart(frame, arrival, account)
            } else {
                decide(frame, arrival, account)
            };
            match end {
                // Behind the device the tag is beside the frame, to be taken off.
                End { verdict: Verdict::ExtraTag, .. } if is_carried(arrival) => admit(frame),
                end => end,
            }
        }
        (Err(Verdict::NotOurs) | Ok(()), _) => liveness::beside_tunnels(frame, config),
        (Err(verdict), _) => verdict.into(),
    }
}

#[inline(always)]
fn receive<F: Frame>(
    frame: &mut F,
    len: u32,
    config: &Config,
    place: &mut Place<Arrival>,
) -> Result<(), Verdict> {
    let packet = packet(frame, config).ok_or(Verdict::NotOurs)?;
    place.fill(arrival(frame, len, &packet, config)?);
    Ok(())
}

#[inline(never)]
fn receive_apart<F: Frame>(
    frame: &mut F,
    len: u32,
    config: &Config,
    place: &mut Place<Arrival>,
) -> Result<(), Verdict> {
    receive(frame, len, config, place)
}

#[inline(always)]
fn packet(frame: &impl Frame, config: &Config) -> Option<Packet> {
    let head = frame.head_words::<{ read::IPV4_HEAD }>()?;
    match EtherType::from_be(head[ETH_LEN / 2 - 1]) {
        EtherType::IPV4 => read::ipv4(&head, config),
        EtherType::IPV6 => read::ipv6(&frame.head_words()?, config),
        _ => None,
    }
}

/// A frame of a tunnel that is in order.
///
/// The verifier remembers the bounds of a number in memory only where eight bytes begin, and offsets need theirs.
#[repr(C, align(8))]
struct Arrival {
    /// With Geneve's options.
    outer_len: u32,
    encapsulation: Encapsulation,
    /// Where the inner frame ends.
    end: u32,
    vni: u32,
    source: Address,
    ethernet: Ethernet,
    outer_tos: u8,
    checksummed: bool,
    /// The frame goes on behind the inner one.
    trailed: bool,
}

impl Arrival {
    /// Where the inner IP header begins.
    #[inline(always)]
    fn inner_ip(&self) -> u32 {
        self.outer_len + ETH_LEN as u32
    }

    #[inline(always)]
    fn inner_len(&self) -> u32 {
        self.end - self.outer_len
    }

    /// Without an IP header's length behind the inner Ethernet header, `bpf_skb_adjust_room` refuses (`len_min` there, in
    /// the kernel's `net/core/filter.c`).
    #[inline(always)]
    fn is_runt(&self) -> bool {
        let min = if self.ethernet.ether_type() == EtherType::IPV6 { IPV6_LEN } else { IPV4_LEN };
        self.inner_len() < (ETH_LEN + min) as u32
    }
}

#[inline(always)]
fn arrival(frame: &impl Frame, len: u32, packet: &Packet, config: &Config) -> Result<Arrival, Verdict> {
    let end = packet.end(len, frame.gso_size() != 0)?;
    let tail = tail(frame, packet.shape).ok_or(Verdict::OuterMalformed)?;
    // Both are there: a tail is as long as the two.
    let (Some(header), Some(&ethernet)) = (tail.first_chunk(), tail.last_chunk()) else {
        return Err(Verdict::OuterMalformed);
    };
    let header = read::tunnel(packet.encapsulation, header, config)?;
    let mut ethernet = Ethernet(ethernet);
    let outer_len = packet.shape.outer_len() as u32 + u32::from(header.options_len);
    if header.options_len != 0 {
        if outer_len + ETH_LEN as u32 > end {
            return Err(Verdict::OuterMalformed);
        }
        ethernet = Ethernet::new(frame.load(outer_len).ok_or(Verdict::OuterMalformed)?);
    }
    Ok(Arrival {
        encapsulation: packet.encapsulation,
        outer_len,
        end,
        vni: header.vni,
        source: packet.source,
        ethernet,
        outer_tos: packet.tos,
        checksummed: packet.checksummed,
        trailed: end != len,
    })
}

/// The tunnel's header, and what is the inner Ethernet header if there are no options.
///
/// The head of one shape is read in place, which is fastest; each further one would take its length of the stack.
#[inline(always)]
fn tail(frame: &impl Frame, shape: Shape) -> Option<Words<TAIL>> {
    match shape {
        Shape::Ipv4Udp => {
            let head = frame.head_words::<{ Shape::IPV4_UDP_LEN / 2 + ETH_LEN / 2 }>()?;
            head.last_chunk().copied()
        }
        Shape::Ipv6Udp | Shape::Ipv4Gre | Shape::Ipv6Gre => {
            let bytes = frame.load::<{ 2 * TAIL }>((shape.outer_len() - TUNNEL_LEN) as u32)?;
            Some(bytemuck::must_cast(bytes))
        }
    }
}

/// Whether its network has ports for frames with a tag inside, and the kernel a device that takes them out.
#[inline(always)]
fn is_carried(arrival: &Arrival) -> bool {
    matches!(arrival.encapsulation, Encapsulation::Vxlan)
        && maps::network(arrival.vni).is_some_and(|network| network.flags & VniValue::CARRIES_TAGS != 0)
}

#[inline(never)]
fn decide_apart<F: Frame>(frame: &F, arrival: &Arrival, account: &mut Account) -> End {
    decide(frame, arrival, account)
}

#[inline(always)]
fn decide<F: Frame>(frame: &F, arrival: &Arrival, account: &mut Account) -> End {
    let &Arrival { vni, ethernet, .. } = arrival;
    let Membership { network, vtep } = match recent::membership(vni, arrival.source, &mut account.bd) {
        Ok(membership) => membership,
        Err(verdict) => return verdict.into(),
    };
    let destination = tunnel::destination::<F>(Sender { vni, vtep }, &network, &ethernet);
    let port = match destination {
        Destination::Port(to) => maps::local_port(to, vni),
        Destination::Flood => None,
        Destination::Nowhere(verdict) => return verdict.into(),
    };
    // There is a device for VXLAN only. It verifies a UDP checksum, which no program can; that a receiver may do without
    // (RFC 7348 §5), whoever asks for packet-rate mode has chosen.
    let has_device = matches!(arrival.encapsulation, Encapsulation::Vxlan);
    let by_program = if has_device || frame.skb().is_none() {
        port.is_some_and(|port| port.flags & F::DECAP_FLAG != 0)
            && (frame.skb().is_some() || port.is_some_and(|port| port::takes_len(account.bytes, port)))
            && !(frame.skb().is_some() && (arrival.checksummed && has_device || arrival.is_runt()))
            && !arrival.trailed
            && !frame.is_unfinished(arrival.outer_len as usize, ethernet.ether_type())
    } else {
        true
    };
    let tos = match combined_tos(frame, arrival) {
        Ok(tos) => tos,
        Err(verdict) => return verdict.into(),
    };
    if !by_program {
        // The device combines, behind the checksum.
        return admit(frame);
    }
    if frame.gso_size() != 0 {
        match datagrams(frame, arrival) {
            Datagrams::None => {}
            Datagrams::ForDevice => return admit(frame),
            Datagrams::Stuck => return Verdict::InnerSegments.into(),
        }
    }
    if tos.is_some_and(|tos| set_tos(frame, arrival, &tos).is_err()) {
        return Verdict::DecapFailed.into();
    }
    if arrival.trailed && frame.skb().is_some_and(|skb| skb.set_len(arrival.end).is_err()) {
        return Verdict::DecapFailed.into();
    }
    tunnel::count_received(vtep, account.bytes);
    if frame.pop_outer(arrival.outer_len, ethernet.ether_type()).is_err() {
        return if arrival.is_runt() { Verdict::InnerShort } else { Verdict::DecapFailed }.into();
    }
    if frame.write_ethernet(&ethernet).is_err() {
        return Verdict::DecapFailed.into();
    }
    match (port, destination, frame.skb()) {
        (Some(port), Destination::Port(to), _) => {
            // At XDP that was the condition for coming here.
            let end = match frame.skb() {
                Some(skb) => port::leave(&skb, account.bytes, to, port, Verdict::Delivered),
                None => port::leave_fitting(frame, account.bytes, to, port, Verdict::Delivered),
            };
            // The kernel holds what is not IP for what was around it until an interface looks again.
            if ethernet.ether_type().is_ip() { end } else { end.by_interface() }
        }
        (None, Destination::Flood, Some(skb)) => match police::vni_flood(&network) {
            Ok(()) => flood::from_underlay(&skb, vni, &network, ethernet),
            Err(verdict) => verdict.into(),
        },
        _ => Verdict::PortGone.into(),
    }
}

/// Several datagrams of a VM's in one packet, not taken apart yet (`UDP_SEGMENT`).
enum Datagrams {
    None,
    /// Which takes the tunnel off.
    ForDevice,
    /// In a tunnel that nobody can take off without spoiling them.
    Stuck,
}

/// They stay marked as a tunnel's when a program takes the outer headers off, and who takes them apart later takes the inner
/// UDP header for the tunnel's (`udp4_ufo_fragment` in the kernel's `net/ipv4/udp_offload.c`). The device removes the mark.
#[inline(never)]
fn datagrams<F: Frame>(frame: &F, arrival: &Arrival) -> Datagrams {
    const IPPROTO_TCP: u8 = 6;
    let protocol = if arrival.ethernet.ether_type() == EtherType::IPV6 { 6 } else { 9 };
    if frame.byte(arrival.inner_ip() + protocol) == Some(IPPROTO_TCP) {
        return Datagrams::None;
    }
    match arrival.encapsulation {
        Encapsulation::Vxlan => Datagrams::ForDevice,
        Encapsulation::Geneve if become_vxlan(frame, arrival).is_ok() => Datagrams::ForDevice,
        Encapsulation::Geneve => Datagrams::Stuck,
        Encapsulation::Nvgre => Datagrams::None,
    }
}

/// A Geneve header without options is as long as VXLAN's, for which there is a device.
#[inline(always)]
fn become_vxlan(frame: &impl Frame, arrival: &Arrival) -> Result<(), Refused> {
    const UDP: [u32; 2] = [Shape::IPV4_UDP_LEN as u32, Shape::IPV6_UDP_LEN as u32];
    const FLAG_I: u8 = 8;
    let &Arrival { outer_len, vni, .. } = arrival;
    if arrival.checksummed || !UDP.contains(&outer_len) {
        return Err(Refused);
    }
    let config = maps::config().ok_or(Refused)?;
    let [_, a, b, c] = vni.to_be_bytes();
    frame.write(outer_len - TUNNEL_LEN as u32, &[FLAG_I, 0, 0, 0, a, b, c, 0])?;
    frame.write(outer_len - (TUNNEL_LEN + UDP_LEN) as u32 + 2, &config.udp_port)
}

/// `tunnel_in` decides again, on the bare frame, and counts what becomes of it.
#[inline(always)]
fn admit(frame: &impl Frame) -> End {
    if let Some(skb) = frame.skb() {
        skb.mark_admitted();
    }
    Verdict::Admitted.into()
}

/// The inner packet's TOS or traffic class.
struct Tos {
    old: u8,
    new: u8,
    /// The bytes in which it stands.
    first: u8,
    second: u8,
}

/// What RFC 6040 §4.2 makes of both ECN fields, where that is something new.
#[inline(always)]
fn combined_tos(frame: &impl Frame, arrival: &Arrival) -> Result<Option<Tos>, Verdict> {
    let ether_type = arrival.ethernet.ether_type();
    if !ecn::concerns(arrival.outer_tos) || !ether_type.is_ip() {
        return Ok(None);
    }
    // A packet too short for a field is for its receiver to refuse. What lies behind it may be long enough.
    let at = arrival.inner_ip();
    let field = if at + 2 <= arrival.end { frame.load::<2>(at) } else { None };
    let Some([first, second]) = field else { return Ok(None) };
    let old = if ether_type == EtherType::IPV4 { second } else { (first << 4) | (second >> 4) };
    let Some(combined) = ecn::combine(old, arrival.outer_tos) else {
        return Err(Verdict::EcnCongested);
    };
    let new = ecn::with(old, combined);
    Ok(if new == old { None } else { Some(Tos { old, new, first, second }) })
}

/// While the outer headers are still there.
#[inline(always)]
fn set_tos(frame: &impl Frame, arrival: &Arrival, tos: &Tos) -> Result<(), Refused> {
    const CHECKSUM: u32 = 10;
    let &Tos { old, new, first, second } = tos;
    let at = arrival.inner_ip();
    if arrival.ethernet.ether_type() != EtherType::IPV4 {
        return frame.write_summed(at, &[(first & 0xf0) | (new >> 4), (new << 4) | (second & 0x0f)]);
    }
    let Some(checksum) = frame.load(at + CHECKSUM) else { return Ok(()) };
    let checksum = ecn::checksum(u16::from_be_bytes(checksum), old, new);
    // What both fields do to a checksum over the whole packet cancels out.
    frame.write(at, &[first, new])?;
    frame.write(at + CHECKSUM, &checksum.to_be_bytes())
}
