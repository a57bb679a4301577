//! Questions for addresses that are known: ARP (RFC 826) and neighbour discovery (RFC 4861).

use std::net::{IpAddr, Ipv6Addr};

use super::{
    Mac,
    header::{Ethernet, TYPE_ARP, TYPE_IPV6, internet_checksum},
    security::{v4, v6},
    tables::{Binding, Place, Tables},
};

/// None: the question has to be flooded.
pub(super) fn answer(tables: &Tables, binding: &Binding, frame: &[u8]) -> Option<Vec<u8>> {
    let ethernet = Ethernet::parse(frame)?;
    match ethernet.kind() {
        TYPE_ARP => arp(tables, binding, ethernet, frame),
        TYPE_IPV6 => solicitation(tables, binding, ethernet),
        _ => None,
    }
}

/// Who answers for an address, if that is known and lives elsewhere than behind the port that asks.
fn neighbour(tables: &Tables, binding: &Binding, address: IpAddr) -> Option<Mac> {
    let mac = *tables.neighbours.get(&(binding.vni, address))?;
    let entry = tables.fdb.get(&(binding.vni, mac))?;
    (entry.master != Place::Port(binding.local_port)).then_some(mac)
}

fn arp(tables: &Tables, binding: &Binding, ethernet: Ethernet<'_>, frame: &[u8]) -> Option<Vec<u8>> {
    let packet = ethernet.payload();
    let is_request = packet.len() >= 28 && packet[..8] == [0, 1, 8, 0, 6, 4, 0, 1];
    if !is_request || packet[8..14] != ethernet.source() {
        return None;
    }
    let (asker, wanted) = (v4(packet, 14), v4(packet, 24));
    // An announcement, or a probe (RFC 5227 §1.1).
    if asker == wanted || asker.is_unspecified() {
        return None;
    }
    let mac = neighbour(tables, binding, wanted)?;
    let mut answer = [&ethernet.source(), &mac, &frame[12..20], &[0, 2]].concat();
    answer.extend([&mac, &packet[24..28], &packet[8..18]].concat());
    answer.extend(&packet[28..]);
    Some(answer)
}

fn solicitation(tables: &Tables, binding: &Binding, ethernet: Ethernet<'_>) -> Option<Vec<u8>> {
    let packet = ethernet.payload();
    let is_solicitation = packet.len() >= 64 && packet[6..8] == [58, 255] && packet[40..42] == [135, 0];
    if !is_solicitation {
        return None;
    }
    let (asker, wanted) = (v6(packet, 8), v6(packet, 48));
    let IpAddr::V6(target) = wanted else { return None };
    // A probe (RFC 4862 §5.4), and a router's own address: of routers an answer would have to say more.
    if asker.is_unspecified() || is_of_link(target) {
        return None;
    }
    let mac = neighbour(tables, binding, wanted)?;
    let mut icmp = vec![136, 0, 0, 0, 0x60, 0, 0, 0];
    icmp.extend(target.octets());
    icmp.extend([2, 1]);
    icmp.extend(mac);
    let ends = [&packet[48..64], &packet[8..24]].concat();
    let sum = internet_checksum(&[ends.as_slice(), &[0, 0, 0, 32, 0, 0, 0, 58], &icmp].concat());
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut answer = [ethernet.source(), mac].concat();
    answer.extend(TYPE_IPV6.to_be_bytes());
    answer.extend([0x60, 0, 0, 0, 0, 32, 58, 255]);
    Some([answer, ends, icmp].concat())
}

fn is_of_link(address: Ipv6Addr) -> bool {
    address.is_unicast_link_local()
}
