//! Control packets of BFD. Those that count for a session keep its VTEP alive, also while no agent runs: a timer that
//! each of them starts anew takes the VTEP down. They go up to the agent; while it is silent the program answers in its
//! stead, so that the peer keeps holding us for alive.

use vtep_abi::{
    AddrBytes, BfdHeard, BfdReceived, BfdScratch, BfdSession, Config, Event, EventKind, Template, Verdict,
    VtepAdj, mapped_v4,
};
use vtep_outer::checksum::{fold, words};
use vtep_outer::{ETH_LEN, IPV4_LEN, IPV6_LEN, Shape, UDP_LEN};

use crate::End;
use crate::context::{self, Frame, Skb};
use crate::header::{EtherType, Ethernet, Mac};
use crate::maps;

/// Where a peer sends to inside a tunnel, unless it was told otherwise (`vtep(5)`, `bfd_config_remote`).
pub(crate) const INNER_MAC: Mac = Mac::new([0x00, 0x23, 0x20, 0x00, 0x00, 0x01]);
const SINGLE_HOP_PORT: u16 = 3784;
const MULTI_HOP_PORT: u16 = 4784;
const IPPROTO_UDP: u8 = 17;
/// Version and header length in words.
const IPV4_WITHOUT_OPTIONS: u8 = 0x45;
const TTL: u8 = 255;
const STATE: u8 = 3 << 6;
const STATE_UP: u8 = 3 << 6;
const POLL: u8 = 0x20;
const FINAL: u8 = 0x10;
/// What one VTEP may hand up: a thousand a second on average.
const PACE_NS: u64 = 1_000_000;
const BURST: u64 = 64;

type Packet = [u8; BfdSession::PACKET_LEN];

/// Of a packet that is for no tunnel of ours.
#[inline(always)]
pub(crate) fn beside_tunnels(frame: &impl Frame, config: &Config) -> End {
    if config.flags & Config::BFD != 0
        && let Some(skb) = frame.skb()
        && let Some(scratch) = maps::bfd_scratch()
        && plain(skb, config, scratch)
    {
        return take(skb, scratch);
    }
    Verdict::NotOurs.into()
}

#[inline(always)]
pub(crate) fn is_inner(config: &Config, ethernet: &Ethernet) -> bool {
    config.flags & Config::BFD != 0 && ethernet.dst() == INNER_MAC && ethernet.ether_type() == EtherType::IPV4
}

#[inline(always)]
pub(crate) fn in_tunnel(frame: &impl Frame, outer_len: u32, vni: u32, source: &AddrBytes) -> End {
    let Some(skb) = frame.skb() else { return Verdict::Passed.into() };
    if let Some(scratch) = maps::bfd_scratch() {
        (scratch.received.vni, scratch.received.source) = (vni, *source);
        if inner(skb, outer_len + ETH_LEN as u32, scratch) {
            return take(skb, scratch);
        }
    }
    Verdict::OuterMalformed.into()
}

/// A call of its own, as those below: what it puts on the stack is gone when the next one begins.
#[inline(never)]
fn plain(skb: Skb, config: &Config, scratch: &mut BfdScratch) -> bool {
    scratch.received.vni = 0;
    scratch.ip_at = ETH_LEN as u32;
    match skb.ether_type() {
        EtherType::IPV4 => {
            if !ipv4(skb, scratch) || word(&scratch.head, 16) != u32::from_be_bytes(config.local_v4) {
                return false;
            }
            let [a, b, c, d] = word(&scratch.head, 12).to_be_bytes();
            scratch.received.source = mapped_v4([a, b, c, d]);
        }
        EtherType::IPV6 => {
            if !ipv6(skb, scratch, config) {
                return false;
            }
        }
        _ => return false,
    }
    scratch.received.transport = match scratch.received.port {
        SINGLE_HOP_PORT => BfdSession::SINGLE_HOP,
        MULTI_HOP_PORT => BfdSession::MULTI_HOP,
        _ => return false,
    };
    true
}

#[inline(never)]
fn inner(skb: Skb, ip_at: u32, scratch: &mut BfdScratch) -> bool {
    scratch.ip_at = ip_at;
    scratch.received.transport = BfdSession::VXLAN;
    ipv4(skb, scratch) && scratch.received.port == SINGLE_HOP_PORT
}

#[inline(always)]
fn ipv4(skb: Skb, scratch: &mut BfdScratch) -> bool {
    /// All but "don't fragment".
    const FRAGMENT: u16 = 0xbfff;
    let at = scratch.ip_at;
    if skb.load_to(at, &mut scratch.head[..IPV4_LEN + UDP_LEN]).is_err() {
        return false;
    }
    let head = &scratch.head;
    if head[0] != IPV4_WITHOUT_OPTIONS || head[9] != IPPROTO_UDP || half(head, 6) & FRAGMENT != 0 {
        return false;
    }
    scratch.received.ttl = head[8];
    scratch.received.port = half(head, IPV4_LEN + 2);
    scratch.received.len = half(head, IPV4_LEN + 4).wrapping_sub(UDP_LEN as u16);
    scratch.udp_at = at + IPV4_LEN as u32;
    true
}

#[inline(always)]
fn ipv6(skb: Skb, scratch: &mut BfdScratch, config: &Config) -> bool {
    let at = scratch.ip_at;
    if skb.load_to(at, &mut scratch.head).is_err() {
        return false;
    }
    let head = &scratch.head;
    let mut local = [0; 16];
    local.copy_from_slice(&head[24..40]);
    if head[0] >> 4 != 6 || head[6] != IPPROTO_UDP || local != config.local_v6 {
        return false;
    }
    scratch.received.ttl = head[7];
    scratch.received.source.copy_from_slice(&head[8..24]);
    scratch.received.port = half(head, IPV6_LEN + 2);
    scratch.received.len = half(head, IPV6_LEN + 4).wrapping_sub(UDP_LEN as u16);
    scratch.udp_at = at + IPV6_LEN as u32;
    true
}

#[inline(always)]
fn take(skb: Skb, scratch: &mut BfdScratch) -> End {
    let Some(vtep) = maps::sender(0, scratch.received.source) else { return Verdict::NotOurs.into() };
    match maps::bfd_session(vtep) {
        Some(session) if session.transport == scratch.received.transport => {}
        // The host may have sessions of its own.
        _ => return Verdict::NotOurs.into(),
    }
    scratch.received.vtep = vtep;
    if hear(skb, scratch) { answer(skb, scratch) } else { Verdict::Bfd.into() }
}

/// Whether the packet is to be answered.
#[inline(never)]
fn hear(skb: Skb, scratch: &mut BfdScratch) -> bool {
    let vtep = scratch.received.vtep;
    let Some(session) = maps::bfd_session(vtep) else { return false };
    let now = context::now_ns();
    scratch.received.at_ns = now;
    // One that is cut short is the agent's to complain of.
    if skb.load_to(scratch.udp_at + UDP_LEN as u32, &mut scratch.received.packet).is_err() {
        scratch.received.packet = [0; BfdSession::PACKET_LEN];
    }
    let received = &scratch.received;
    let within_ns = if counts(session, received) { detection_ns(session, &received.packet) } else { 0 };
    let mut answers = false;
    let mut admitted = false;
    maps::with_heard(vtep, |heard| {
        if within_ns != 0 {
            heard.heard_ns = now;
            heard.detect_ns = within_ns;
            heard.packet = received.packet;
            heard.heard += 1;
            answers = is_silent(session, heard, now);
        }
        if within_ns == 0 && takes_leave(session, received) {
            heard.detect_ns = u64::MAX;
        }
        let next = if heard.paid_ns > now { heard.paid_ns } else { now } + PACE_NS;
        admitted = next <= now + BURST * PACE_NS;
        if admitted {
            heard.paid_ns = next;
        }
    });
    if within_ns != 0 {
        maps::expect_again(vtep, within_ns, expired);
    }
    if admitted {
        maps::hand_up(received);
    }
    answers
}

/// Whether the packet shows that the peer lives and hears us: in state Up.
#[inline(always)]
fn counts(session: &BfdSession, received: &BfdReceived) -> bool {
    /// Of a peer that asks for no packets it is not known when the next one comes.
    const DEMAND: u8 = 0x02;
    received.packet[1] & (STATE | DEMAND) == STATE_UP && is_in_order(session, received)
}

/// Whether the peer says that it goes out of service on purpose, which is no word on the path (RFC 5882 §4.1.1).
#[inline(always)]
fn takes_leave(session: &BfdSession, received: &BfdReceived) -> bool {
    received.packet[1] & STATE == 0 && is_in_order(session, received)
}

/// As the agent has it (`bfd/src/packet.rs`, RFC 5880 §6.8.6), and of our session, from where it should come.
#[inline(always)]
fn is_in_order(session: &BfdSession, received: &BfdReceived) -> bool {
    const AUTHENTICATED: u8 = 0x04;
    const MULTIPOINT: u8 = 0x01;
    let packet = &received.packet;
    let ours = session.flags & BfdSession::WATCHED != 0
        && (received.ttl == TTL || received.transport == BfdSession::MULTI_HOP)
        && received.len as usize >= BfdSession::PACKET_LEN
        && word(packet, 8) == word(&session.packet, 4);
    ours && packet[0] >> 5 == 1
        && packet[1] & (AUTHENTICATED | MULTIPOINT) == 0
        && packet[1] & (POLL | FINAL) != POLL | FINAL
        && packet[2] != 0
        && packet[3] as usize == BfdSession::PACKET_LEN
        && word(packet, 4) != 0
}

#[inline(always)]
const fn word<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[inline(always)]
const fn half<const N: usize>(bytes: &[u8; N], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// RFC 5880 §6.8.4.
#[inline(always)]
fn detection_ns(session: &BfdSession, packet: &Packet) -> u64 {
    let theirs = word(packet, 12);
    let interval = if theirs > session.required_min_rx_us { theirs } else { session.required_min_rx_us };
    u64::from(packet[2]) * u64::from(interval) * 1000
}

/// Whether the agent has not sent for longer than it would, and the program neither. Two programs whose agents are both
/// silent do not answer each other's answers: their last word is too young then.
#[inline(always)]
fn is_silent(session: &BfdSession, heard: &BfdHeard, now: u64) -> bool {
    now.saturating_sub(session.sent_ns) >= session.silence_ns
        && now.saturating_sub(heard.answered_ns) >= session.silence_ns / 2
}

/// The kernel calls it on some CPU, without a frame. It refuses BTF of a function whose argument has no name.
extern "C" fn expired(_map: *mut core::ffi::c_void, vtep: &u32, heard: &mut BfdHeard) -> u64 {
    let vtep = *vtep;
    let Some(session) = maps::bfd_session(vtep) else { return 0 };
    // Another CPU may have heard something while this one came here, even since it read the clock.
    let silent = context::now_ns().saturating_sub(heard.heard_ns) >= heard.detect_ns;
    // An index that got another session since has another discriminator.
    let same = word(&heard.packet, 8) == word(&session.packet, 4);
    if session.flags & BfdSession::WATCHED == 0 || !silent || !same {
        return 0;
    }
    if session.flags & BfdSession::IF_RX != 0 {
        let received = maps::received_frames(vtep);
        if received != heard.received {
            heard.received = received;
            maps::wait_again(heard);
            return 0;
        }
    }
    if !maps::take_down(vtep) {
        return 0;
    }
    heard.expired += 1;
    let address = maps::adjacency(vtep).map_or([0; 16], |adj| adj.remote);
    maps::report(Event {
        kind: EventKind::VtepSilent as u32,
        vni: 0,
        ifindex: 0,
        vlan: 0,
        mac: [0; 6],
        address,
    });
    0
}

/// Turns the peer's packet round, with what our agent last said in it.
#[inline(always)]
fn answer(skb: Skb, scratch: &mut BfdScratch) -> End {
    // Bytes behind the packet would be in a checksum, too.
    if scratch.received.len as usize != BfdSession::PACKET_LEN || !turn_packet(skb, scratch) {
        return Verdict::Bfd.into();
    }
    if scratch.received.transport == BfdSession::VXLAN && !turn_outer(skb, scratch) {
        return Verdict::Bfd.into();
    }
    let ifindex = turn_ethernet(skb, scratch.received.vtep);
    if ifindex == 0 {
        return Verdict::Bfd.into();
    }
    End::redirect(Verdict::BfdAnswered, ifindex)
}

/// IP, UDP and the packet itself.
#[inline(never)]
fn turn_packet(skb: Skb, scratch: &mut BfdScratch) -> bool {
    let vtep = scratch.received.vtep;
    let Some(session) = maps::bfd_session(vtep) else { return false };
    scratch.packet = session.packet;
    // A poll is answered, and answers do not poll (RFC 5880 §6.5).
    let answers = if scratch.received.packet[1] & POLL != 0 { FINAL } else { 0 };
    scratch.packet[1] = (scratch.packet[1] & !(POLL | FINAL)) | answers;
    let port = scratch.received.port.to_be_bytes();
    let ports = [session.source_port[0], session.source_port[1], port[0], port[1]];
    let is_ipv6 = scratch.udp_at - scratch.ip_at == IPV6_LEN as u32;
    let checksum = if is_ipv6 { turn_ipv6(skb, scratch, ports) } else { turn_ipv4(skb, scratch) };
    let Some(checksum) = checksum else { return false };
    let udp_at = scratch.udp_at;
    let written = skb.write(udp_at, &ports).is_ok()
        && skb.write(udp_at + 6, &checksum.to_be_bytes()).is_ok()
        && skb.write(udp_at + UDP_LEN as u32, &scratch.packet).is_ok();
    if written {
        maps::with_heard(vtep, |heard| {
            heard.answered_ns = scratch.received.at_ns;
            heard.answered += 1;
        });
    }
    written
}

/// IP and UDP around a tunnel.
#[inline(never)]
fn turn_outer(skb: Skb, scratch: &mut BfdScratch) -> bool {
    scratch.ip_at = ETH_LEN as u32;
    let checksum = match skb.ether_type() {
        EtherType::IPV4 if ipv4(skb, scratch) => turn_ipv4(skb, scratch),
        EtherType::IPV6 => turn_outer_ipv6(skb, scratch),
        _ => return false,
    };
    let Some(checksum) = checksum else { return false };
    skb.write(scratch.udp_at + 6, &checksum.to_be_bytes()).is_ok()
}

/// As all that we send in tunnels over IPv6 it has no checksum for UDP (RFC 6935).
#[inline(always)]
fn turn_outer_ipv6(skb: Skb, scratch: &mut BfdScratch) -> Option<u16> {
    let at = scratch.ip_at;
    skb.load_to(at, &mut scratch.head).ok()?;
    let head = &scratch.head;
    if head[6] != IPPROTO_UDP {
        return None;
    }
    scratch.udp_at = at + IPV6_LEN as u32;
    let pseudo = turn_ipv6_addresses(skb, head, at, u32::from(half(head, IPV6_LEN + 4)))?;
    let came = half(head, IPV6_LEN + 6);
    Some(if fold(pseudo) == came { came } else { 0 })
}

/// Addresses change places, which leaves the IP checksum as it is; the TTL does not. Returns the checksum for UDP.
#[inline(always)]
fn turn_ipv4(skb: Skb, scratch: &BfdScratch) -> Option<u16> {
    let (head, at) = (&scratch.head, scratch.ip_at);
    // RFC 1624, equation 3.
    let old_ttl = u16::from(head[8]) << 8;
    let sum = u32::from(!half(head, 10)) + u32::from(!old_ttl) + (u32::from(TTL) << 8);
    let [high, low] = (!fold(sum)).to_be_bytes();
    skb.write(at + 8, &[TTL, head[9], high, low]).ok()?;
    skb.write(at + 12, &word(head, 16).to_be_bytes()).ok()?;
    skb.write(at + 16, &word(head, 12).to_be_bytes()).ok()?;
    // Where a device is to complete the checksum, the field has the sum of the pseudo header, and keeps it.
    let pseudo = words(head, 12, 20) + u32::from(IPPROTO_UDP) + u32::from(half(head, IPV4_LEN + 4));
    let came = half(head, IPV4_LEN + 6);
    Some(if fold(pseudo) == came { came } else { 0 })
}

/// Returns the checksum for UDP, without which IPv6 does not go.
#[inline(always)]
fn turn_ipv6(skb: Skb, scratch: &BfdScratch, ports: [u8; 4]) -> Option<u16> {
    let (head, at) = (&scratch.head, scratch.ip_at);
    let len = (UDP_LEN + BfdSession::PACKET_LEN) as u32;
    let pseudo = turn_ipv6_addresses(skb, head, at, len)?;
    let came = half(head, IPV6_LEN + 6);
    if fold(pseudo) == came {
        return Some(came);
    }
    let rest = u32::from(half(&ports, 0)) + u32::from(half(&ports, 2)) + len;
    Some(!fold(pseudo + rest + words(&scratch.packet, 0, BfdSession::PACKET_LEN)))
}

/// Returns the sum of the pseudo header, which stays as it is.
#[inline(always)]
fn turn_ipv6_addresses(skb: Skb, head: &[u8; IPV6_LEN + UDP_LEN], at: u32, udp_len: u32) -> Option<u32> {
    let from: &[u8; 16] = head[8..24].first_chunk()?;
    let to: &[u8; 16] = head[24..40].first_chunk()?;
    skb.write(at + 7, &[TTL]).ok()?;
    skb.write(at + 8, to).ok()?;
    skb.write(at + 24, from).ok()?;
    Some(words(head, 8, 40) + udp_len + u32::from(IPPROTO_UDP))
}

/// The way that the VTEP's frames take, if there is one; otherwise back to where it came from. 0: it cannot be written.
#[inline(never)]
fn turn_ethernet(skb: Skb, vtep: u32) -> u32 {
    let Some(came) = skb.load::<12>(0) else { return 0 };
    let mut macs = [0; 12];
    macs[..6].copy_from_slice(&came[6..]);
    macs[6..].copy_from_slice(&came[..6]);
    let mut ifindex = skb.ifindex();
    if let Some(adj) = maps::adjacency(vtep).filter(|adj| adj.is(VtepAdj::RESOLVED)) {
        ifindex = adj.ifindex;
        match Shape::from_len(adj.outer_len) {
            Some(Shape::Ipv4Udp) => copy_macs::<{ Shape::IPV4_UDP_LEN }>(adj, &mut macs),
            Some(Shape::Ipv6Udp) => copy_macs::<{ Shape::IPV6_UDP_LEN }>(adj, &mut macs),
            Some(Shape::Ipv4Gre) => copy_macs::<{ Shape::IPV4_GRE_LEN }>(adj, &mut macs),
            Some(Shape::Ipv6Gre) => copy_macs::<{ Shape::IPV6_GRE_LEN }>(adj, &mut macs),
            None => return 0,
        }
    }
    if skb.write(0, &macs).is_ok() { ifindex } else { 0 }
}

/// Of a template of a length that the verifier knows.
#[inline(always)]
fn copy_macs<const OUTER_LEN: usize>(adj: &VtepAdj, macs: &mut [u8; 12]) {
    let at = Template::LEN - OUTER_LEN;
    macs.copy_from_slice(&adj.template.bytes[at..at + 12]);
}
