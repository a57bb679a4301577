//! What a port may send from: the MACs and IP addresses that it was given.

use vtep_abi::{AddrBytes, AllowedKey, Event, EventKind, PortValue, Verdict, mapped_v4};

use crate::context::Frame;
use crate::header::{ETH_LEN, EtherType, Ethernet, IPV4_LEN, IPV6_LEN};
use crate::maps;
use crate::police;

const ARP_LEN: usize = ETH_LEN + 28;

/// Refuses a frame from or for an address that the port was not given.
#[inline(always)]
pub(crate) fn check<F: Frame>(
    frame: &F,
    port: &PortValue,
    vlan: u16,
    ethernet: &Ethernet,
) -> Result<(), Verdict> {
    source(frame, port, vlan, ethernet)?;
    let checks_target = port.flags & PortValue::CHECK_IPS != 0 && ethernet.ether_type() == EtherType::IPV6;
    if checks_target { target(frame, port, vlan, ethernet) } else { Ok(()) }
}

/// A call of its own, as [`target`], for the headers on its stack.
#[inline(never)]
fn source<F: Frame>(frame: &F, port: &PortValue, vlan: u16, ethernet: &Ethernet) -> Result<(), Verdict> {
    let mut event = event(frame, port, vlan, ethernet);
    let mac_allowed = |mac| maps::is_allowed(AllowedKey::mac(event.ifindex, mac));
    if port.flags & PortValue::CHECK_MACS != 0 && !mac_allowed(event.mac) {
        report(port, event);
        return Err(Verdict::MacRefused);
    }
    if port.flags & PortValue::CHECK_IPS == 0 {
        return Ok(());
    }
    match claimed(frame, ethernet) {
        Claimed::Nothing => Ok(()),
        Claimed::Address(address) if is_allowed(event.ifindex, address) => Ok(()),
        Claimed::Address(address) => {
            event.kind = EventKind::IpRefused as u32;
            event.address = address;
            report(port, event);
            Err(Verdict::IpRefused)
        }
        Claimed::Unreadable => Err(Verdict::IpRefused),
    }
}

/// Of a neighbour advertisement, which says that its target is here (RFC 4861 §4.4).
#[inline(never)]
fn target<F: Frame>(frame: &F, port: &PortValue, vlan: u16, ethernet: &Ethernet) -> Result<(), Verdict> {
    const NEXT_HEADER: u32 = ETH_LEN as u32 + 6;
    const ICMP: u32 = (ETH_LEN + IPV6_LEN) as u32;
    const TARGET: u32 = ICMP + 8;
    const ICMPV6: u8 = 58;
    const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
    if frame.byte(NEXT_HEADER) != Some(ICMPV6) || frame.byte(ICMP) != Some(NEIGHBOUR_ADVERTISEMENT) {
        return Ok(());
    }
    // Without one it says nothing.
    let Some(address) = frame.load(TARGET) else { return Ok(()) };
    let mut event = event(frame, port, vlan, ethernet);
    if is_allowed(event.ifindex, address) {
        return Ok(());
    }
    event.kind = EventKind::IpRefused as u32;
    event.address = address;
    report(port, event);
    Err(Verdict::IpRefused)
}

#[inline(always)]
fn event<F: Frame>(frame: &F, port: &PortValue, vlan: u16, ethernet: &Ethernet) -> Event {
    Event {
        kind: EventKind::MacRefused as u32,
        vni: port.vni,
        ifindex: frame.ifindex(),
        vlan,
        mac: ethernet.src_bytes(),
        address: [0; 16],
    }
}

#[inline(always)]
fn is_allowed(ifindex: u32, address: AddrBytes) -> bool {
    // Who has no address yet asks for one from zero (RFC 2131, RFC 5227 §2.1.1, RFC 4862 §5.4).
    address == [0; 16] || address == mapped_v4([0; 4]) || maps::is_allowed(AllowedKey::ip(ifindex, address))
}

enum Claimed {
    Nothing,
    Address(AddrBytes),
    /// It is cut short, or contradicts itself.
    Unreadable,
}

#[inline(always)]
fn claimed<F: Frame>(frame: &F, ethernet: &Ethernet) -> Claimed {
    match ethernet.ether_type() {
        EtherType::IPV4 => match frame.head::<{ ETH_LEN + IPV4_LEN }>() {
            Some(head) => Claimed::Address(mapped_v4([head[26], head[27], head[28], head[29]])),
            None => Claimed::Unreadable,
        },
        EtherType::ARP => match frame.head::<ARP_LEN>() {
            // The sender's hardware address is the frame's, or a table of another station would be poisoned by it.
            Some(head)
                if [head[22], head[23], head[24], head[25], head[26], head[27]] == ethernet.src_bytes() =>
            {
                Claimed::Address(mapped_v4([head[28], head[29], head[30], head[31]]))
            }
            _ => Claimed::Unreadable,
        },
        EtherType::IPV6 => match frame.load(ETH_LEN as u32 + 8) {
            // Like the others it needs its whole header.
            Some(address) if frame.len() >= (ETH_LEN + IPV6_LEN) as u32 => Claimed::Address(address),
            _ => Claimed::Unreadable,
        },
        _ => Claimed::Nothing,
    }
}

#[inline(always)]
fn report(port: &PortValue, event: Event) {
    if police::event(port.buckets) {
        maps::report(event);
    }
}
