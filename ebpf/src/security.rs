//! What a port may send from: the MACs and IP addresses that it was given.

use vtep_abi::{AddrBytes, AllowedKey, Event, EventKind, PortValue, Verdict, mapped_v4};

use crate::context::Frame;
use crate::header::{ETH_LEN, EtherType, Ethernet, IPV4_LEN, IPV6_LEN};
use crate::maps;
use crate::police;

const ARP_LEN: usize = ETH_LEN + 28;

/// Refuses a frame whose source address the port was not given.
///
/// A call of its own, for the headers on its stack.
#[inline(never)]
pub(crate) fn check<F: Frame>(
    frame: &F,
    port: &PortValue,
    vlan: u16,
    ethernet: &Ethernet,
) -> Result<(), Verdict> {
    let ifindex = frame.ifindex();
    let mut event = Event {
        kind: EventKind::MacRefused as u32,
        vni: port.vni,
        ifindex,
        vlan,
        mac: ethernet.src(),
        address: [0; 16],
    };
    let mac_allowed = |mac| maps::is_allowed(AllowedKey::mac(ifindex, mac));
    if port.flags & PortValue::CHECK_MACS != 0 && !mac_allowed(ethernet.src()) {
        report(port, event);
        return Err(Verdict::MacRefused);
    }
    if port.flags & PortValue::CHECK_IPS == 0 {
        return Ok(());
    }
    let claimed = claimed(frame, ethernet);
    let allowed = |address: AddrBytes| {
        // Who has no address yet asks for one from zero (RFC 2131, RFC 5227 §2.1.1, RFC 4862 §5.4).
        address == [0; 16]
            || address == mapped_v4([0; 4])
            || maps::is_allowed(AllowedKey::ip(ifindex, address))
    };
    match claimed {
        Claimed::Nothing => Ok(()),
        Claimed::Address(address) if allowed(address) => Ok(()),
        Claimed::Address(address) => {
            event.kind = EventKind::IpRefused as u32;
            event.address = address;
            report(port, event);
            Err(Verdict::IpRefused)
        }
        Claimed::Unreadable => Err(Verdict::IpRefused),
    }
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
            Some(head) if [head[22], head[23], head[24], head[25], head[26], head[27]] == ethernet.src() => {
                Claimed::Address(mapped_v4([head[28], head[29], head[30], head[31]]))
            }
            _ => Claimed::Unreadable,
        },
        EtherType::IPV6 => claimed_v6(frame),
        _ => Claimed::Nothing,
    }
}

#[inline(always)]
fn claimed_v6<F: Frame>(frame: &F) -> Claimed {
    const NEXT_HEADER: u32 = ETH_LEN as u32 + 6;
    const SRC: u32 = ETH_LEN as u32 + 8;
    const ICMP: u32 = (ETH_LEN + IPV6_LEN) as u32;
    const TARGET: u32 = ICMP + 8;
    const ICMPV6: u8 = 58;
    const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
    let advertises =
        frame.byte(NEXT_HEADER) == Some(ICMPV6) && frame.byte(ICMP) == Some(NEIGHBOUR_ADVERTISEMENT);
    let target = if advertises { frame.load(TARGET) } else { None };
    match target.or_else(|| frame.load(SRC)) {
        Some(address) => Claimed::Address(address),
        None => Claimed::Unreadable,
    }
}

#[inline(always)]
fn report(port: &PortValue, event: Event) {
    if police::event(port.buckets) {
        maps::report(event);
    }
}
