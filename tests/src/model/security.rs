//! What a port may send from.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use vtep_abi::Verdict;

use super::{
    header::{Ethernet, TYPE_ARP, TYPE_IPV4, TYPE_IPV6},
    tables::{Address, Binding, Tables},
};

pub(super) fn refuses(tables: &Tables, ifindex: u32, binding: &Binding, frame: &[u8]) -> Option<Verdict> {
    let ethernet = Ethernet::parse(frame)?;
    let allowed = |address| tables.allowed.contains(&(ifindex, address));
    if binding.checks_macs && !allowed(Address::Mac(ethernet.source())) {
        return Some(Verdict::MacRefused);
    }
    if !binding.checks_ips {
        return None;
    }
    let may_claim = |address: IpAddr| {
        // Who has no address yet asks for one from none.
        address.is_unspecified() || allowed(Address::Ip(address))
    };
    let is_right = match claimed(ethernet) {
        Claim::Nothing => true,
        Claim::Of(address) => may_claim(address) && advertised(ethernet).is_none_or(may_claim),
        Claim::Unreadable => false,
    };
    (!is_right).then_some(Verdict::IpRefused)
}

enum Claim {
    Nothing,
    Of(IpAddr),
    Unreadable,
}

fn claimed(ethernet: Ethernet<'_>) -> Claim {
    let packet = ethernet.payload();
    let address = match ethernet.kind() {
        TYPE_IPV4 if packet.len() >= 20 => v4(packet, 12),
        // The sender's hardware address has to be the frame's.
        TYPE_ARP if packet.len() >= 28 && packet[8..14] == ethernet.source() => v4(packet, 14),
        TYPE_IPV6 if packet.len() >= 40 => v6(packet, 8),
        TYPE_IPV4 | TYPE_ARP | TYPE_IPV6 => return Claim::Unreadable,
        _ => return Claim::Nothing,
    };
    Claim::Of(address)
}

/// A neighbour advertisement claims its target, too (RFC 4861 §4.4).
fn advertised(ethernet: Ethernet<'_>) -> Option<IpAddr> {
    let packet = ethernet.payload();
    let advertises =
        ethernet.kind() == TYPE_IPV6 && packet.len() >= 64 && packet[6] == 58 && packet[40] == 136;
    advertises.then(|| v6(packet, 48))
}

pub(super) fn v4(packet: &[u8], at: usize) -> IpAddr {
    Ipv4Addr::from(<[u8; 4]>::try_from(&packet[at..at + 4]).expect("four bytes")).into()
}

pub(super) fn v6(packet: &[u8], at: usize) -> IpAddr {
    Ipv6Addr::from(<[u8; 16]>::try_from(&packet[at..at + 16]).expect("sixteen bytes")).into()
}
