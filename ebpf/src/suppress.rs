//! Answers ARP requests and neighbour solicitations for addresses that the agent knows, so that they need not be flooded.
//! What a station says of itself is flooded always, and reported; so is which MAC asks from which address.

use vtep_abi::{AddrBytes, Event, EventKind, PortValue, Target, mapped_v4};
use vtep_outer::checksum::{self, fold};

use crate::context::{Frame as _, Refused, Skb};
use crate::header::{ETH_LEN, EtherType, Ethernet, IPV6_LEN, Mac};
use crate::maps;
use crate::police;

/// A neighbour solicitation without options, and an advertisement with the one that it needs.
const NS_LEN: usize = ETH_LEN + IPV6_LEN + 24;
const NA_LEN: usize = NS_LEN + 8;
const ICMPV6: u8 = 58;
/// RFC 4861 §7.1.1: who sends it is on this link.
const HOPS: u8 = 255;
const SRC: u32 = ETH_LEN as u32 + 8;
const TARGET: u32 = (ETH_LEN + IPV6_LEN) as u32 + 8;

/// Where a frame that would be flooded comes from.
#[derive(Clone, Copy)]
pub(crate) struct Origin {
    pub(crate) vni: u32,
    pub(crate) bd: u32,
    pub(crate) ifindex: u32,
    pub(crate) vlan: u16,
    pub(crate) local_port: u32,
    pub(crate) buckets: u32,
}

impl Origin {
    #[inline(always)]
    pub(crate) fn port(frame: Skb, port: &PortValue, vlan: u16) -> Self {
        let PortValue { vni, bd, local_port, buckets, .. } = *port;
        Self { vni, bd, ifindex: frame.ifindex(), vlan, local_port, buckets }
    }

    #[inline(never)]
    fn report(&self, kind: EventKind, ethernet: &Ethernet, address: &AddrBytes) {
        if police::event(self.buckets) {
            let Self { vni, ifindex, vlan, .. } = *self;
            let (mac, address) = (ethernet.src_bytes(), *address);
            maps::report(Event { kind: kind as u32, vni, ifindex, vlan, mac, address });
        }
    }

    /// The MAC to answer with, or zero: one that is known to live elsewhere than behind the port that asks.
    #[inline(never)]
    fn neighbour(&self, address: &AddrBytes) -> u64 {
        let Some(mac) = maps::neighbour(self.vni, *address) else {
            return 0;
        };
        match maps::lookup::<Skb>(self.bd, self.vni, Mac::new(mac)) {
            Some(entry) if entry.master() != Target::LocalPort(self.local_port) => {
                let mut bytes = [0; 8];
                bytes[2..].copy_from_slice(&mac);
                u64::from_be_bytes(bytes)
            }
            _ => 0,
        }
    }
}

/// Whether the frame is an answer by now, for who asked; otherwise it is to be flooded.
#[inline(never)]
pub(crate) fn answer(frame: Skb, origin: &Origin, ethernet: &Ethernet) -> bool {
    hear(frame, origin, ethernet);
    match ethernet.ether_type() {
        EtherType::ARP => arp(frame, origin, ethernet),
        EtherType::IPV6 => solicitation(frame, origin, ethernet),
        EtherType::RARP => {
            origin.report(EventKind::Announced, ethernet, &[0; 16]);
            false
        }
        _ => false,
    }
}

/// Reports the address from which a station asks for another, unless it is known.
#[inline(never)]
fn hear(frame: Skb, origin: &Origin, ethernet: &Ethernet) {
    let address = match ethernet.ether_type() {
        EtherType::ARP => arp_asker(frame, ethernet),
        EtherType::IPV6 => solicitation_asker(frame),
        _ => None,
    };
    if let Some(address) = address
        && maps::neighbour(origin.vni, address) != Some(ethernet.src_bytes())
    {
        origin.report(EventKind::AddressHeard, ethernet, &address);
    }
}

#[inline(always)]
fn arp_asker(frame: Skb, ethernet: &Ethernet) -> Option<AddrBytes> {
    let (operation, mac) = (frame.load::<2>(20)?, frame.load::<6>(22)?);
    let (sender, wanted) = (frame.load::<4>(28)?, frame.load::<4>(38)?);
    let asks = operation == [0, 1] && mac == ethernet.src_bytes() && sender != [0; 4] && sender != wanted;
    asks.then(|| mapped_v4(sender))
}

#[inline(always)]
fn solicitation_asker(frame: Skb) -> Option<AddrBytes> {
    const SOLICITATION: u8 = 135;
    let next = frame.load::<2>(ETH_LEN as u32 + 6)?;
    if next != [ICMPV6, HOPS] || frame.byte((ETH_LEN + IPV6_LEN) as u32)? != SOLICITATION {
        return None;
    }
    frame.load::<16>(SRC).filter(|asker| *asker != [0; 16])
}

/// Reports what a station elsewhere says of itself. Who asks there has a host of its own to answer.
///
/// Apart from [`answer`], for the little stack that is left of the paths from the underlay.
#[inline(never)]
pub(crate) fn note(frame: Skb, vni: u32, ethernet: &Ethernet) {
    const ADVERTISEMENT: u8 = 136;
    let mut address = [0; 16];
    match ethernet.ether_type() {
        EtherType::ARP => {
            let (Some([_, operation]), Some(sender), Some(wanted)) =
                (frame.load::<2>(20), frame.load::<4>(28), frame.load::<4>(38))
            else {
                return;
            };
            if operation != 2 && sender != wanted {
                return;
            }
            address = mapped_v4(sender);
        }
        EtherType::IPV6 => {
            let next = frame.load::<2>(ETH_LEN as u32 + 6);
            if next != Some([ICMPV6, HOPS]) || frame.byte((ETH_LEN + IPV6_LEN) as u32) != Some(ADVERTISEMENT)
            {
                return;
            }
            match frame.load(TARGET) {
                Some(target) => address = target,
                None => return,
            }
        }
        EtherType::RARP => {}
        _ => return,
    }
    if police::event(0) {
        let kind = EventKind::Announced as u32;
        maps::report(Event { kind, vni, ifindex: 0, vlan: 0, mac: ethernet.src_bytes(), address });
    }
}

/// RFC 826.
#[inline(never)]
fn arp(frame: Skb, origin: &Origin, ethernet: &Ethernet) -> bool {
    const ETHERNET_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];
    const REQUEST: [u8; 2] = [0, 1];
    const REPLY: [u8; 2] = [0, 2];
    let (Some(kind), Some(operation), Some(pair), Some(wanted)) =
        (frame.load::<6>(14), frame.load::<2>(20), frame.load::<10>(22), frame.load::<4>(38))
    else {
        return false;
    };
    let (mac, address) =
        ([pair[0], pair[1], pair[2], pair[3], pair[4], pair[5]], [pair[6], pair[7], pair[8], pair[9]]);
    if kind != ETHERNET_IPV4 || mac != ethernet.src_bytes() {
        return false;
    }
    if operation == REPLY || address == wanted {
        origin.report(EventKind::Announced, ethernet, &mapped_v4(address));
        return false;
    }
    if operation != REQUEST {
        return false;
    }
    if address == [0; 4] {
        origin.report(EventKind::Probed, ethernet, &mapped_v4(wanted));
        return false;
    }
    let neighbour = origin.neighbour(&mapped_v4(wanted));
    if neighbour == 0 {
        return false;
    }
    let [_, _, mac @ ..] = neighbour.to_be_bytes();
    let mut ends = [0; 12];
    ends[..6].copy_from_slice(&ethernet.src_bytes());
    ends[6..].copy_from_slice(&mac);
    let mut body = [0; 22];
    body[..2].copy_from_slice(&REPLY);
    body[2..8].copy_from_slice(&mac);
    body[8..12].copy_from_slice(&wanted);
    body[12..].copy_from_slice(&pair);
    frame.write(0, &ends).and_then(|()| frame.write(20, &body)).is_ok()
}

/// RFC 4861 §4.3, §4.4.
#[inline(never)]
fn solicitation(frame: Skb, origin: &Origin, ethernet: &Ethernet) -> bool {
    const SOLICITATION: u8 = 135;
    const ADVERTISEMENT: u8 = 136;
    let (Some(next), Some([kind, code]), Some(target)) = (
        frame.load::<2>(ETH_LEN as u32 + 6),
        frame.load::<2>((ETH_LEN + IPV6_LEN) as u32),
        frame.load::<16>(TARGET),
    ) else {
        return false;
    };
    if next != [ICMPV6, HOPS] || code != 0 {
        return false;
    }
    if kind == ADVERTISEMENT {
        origin.report(EventKind::Announced, ethernet, &target);
        return false;
    }
    let Some(asker) = frame.load::<16>(SRC) else {
        return false;
    };
    if kind != SOLICITATION {
        return false;
    }
    if asker == [0; 16] {
        origin.report(EventKind::Probed, ethernet, &target);
        return false;
    }
    // A router is known by its link-local address, and an answer that does not call it one would make its hosts forget it
    // (RFC 4861 §7.2.5).
    let is_link_local = target[0] == 0xfe && target[1] & 0xc0 == 0x80;
    if is_link_local {
        return false;
    }
    let neighbour = origin.neighbour(&target);
    neighbour != 0 && advertise(frame, ethernet, neighbour).is_ok()
}

/// In place of a solicitation. In two halves, for the stack.
#[inline(never)]
fn advertise(frame: Skb, ethernet: &Ethernet, neighbour: u64) -> Result<(), Refused> {
    const HEAD: usize = ETH_LEN + IPV6_LEN;
    const ICMP_LEN: usize = NA_LEN - HEAD;
    /// Neighbour advertisement, solicited and to override what is known; the target's link-layer address, in 8 bytes.
    const WORDS: [u16; 3] = [0x8800, 0x6000, 0x0201];
    let [_, _, mac @ ..] = neighbour.to_be_bytes();
    let target = frame.load::<16>(TARGET).ok_or(Refused)?;
    let asker = frame.load::<16>(SRC).ok_or(Refused)?;

    let mut head = [0; HEAD];
    head[..6].copy_from_slice(&ethernet.src_bytes());
    head[6..12].copy_from_slice(&mac);
    head[12..14].copy_from_slice(&ethernet.0[6].to_ne_bytes());
    head[14] = 0x60;
    head[19] = ICMP_LEN as u8;
    head[20] = ICMPV6;
    head[21] = HOPS;
    head[22..38].copy_from_slice(&target);
    head[38..54].copy_from_slice(&asker);
    frame.set_len(NA_LEN as u32)?;
    frame.write(0, &head)?;

    let mut icmp = [0; ICMP_LEN];
    icmp[..2].copy_from_slice(&WORDS[0].to_be_bytes());
    icmp[4..6].copy_from_slice(&WORDS[1].to_be_bytes());
    icmp[8..24].copy_from_slice(&target);
    icmp[24..26].copy_from_slice(&WORDS[2].to_be_bytes());
    icmp[26..32].copy_from_slice(&mac);
    // The pseudo-header (RFC 8200 §8.1) has the addresses, the length and the protocol; the target stands in the body again.
    let addresses = 2 * words(&target) + words(&asker);
    let mac_words =
        (neighbour >> 32) as u32 + ((neighbour >> 16) as u32 & 0xffff) + (neighbour as u32 & 0xffff);
    let fixed = WORDS.iter().map(|word| u32::from(*word)).sum::<u32>() + ICMP_LEN as u32 + u32::from(ICMPV6);
    let checksum = !fold(addresses + mac_words + fixed);
    icmp[2..4].copy_from_slice(&checksum.to_be_bytes());
    frame.write(HEAD as u32, &icmp)
}

/// A call of its own: unrolled where it stands it would keep each byte on the stack.
#[inline(never)]
fn words(address: &AddrBytes) -> u32 {
    checksum::words(address, 0, address.len())
}
