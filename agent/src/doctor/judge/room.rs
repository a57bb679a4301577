//! What fits through an uplink.

use std::collections::BTreeSet;

use vtep_outer::Shape;

use crate::config::{Config, InnerTag, Port, UnboundTag};
use crate::table::Encapsulation;

/// Of a tag that goes inside a tunnel.
const TAG_LEN: u32 = 4;

/// Bytes between an inner and an outer IP packet: the inner Ethernet header is as long as the outer one.
pub(in crate::doctor) fn overhead(encapsulation: Encapsulation, v6: bool) -> u32 {
    let shape = match (encapsulation, v6) {
        (Encapsulation::Nvgre, false) => Shape::Ipv4Gre,
        (Encapsulation::Nvgre, true) => Shape::Ipv6Gre,
        (_, false) => Shape::Ipv4Udp,
        (_, true) => Shape::Ipv6Udp,
    };
    u32::try_from(shape.outer_len()).unwrap_or(u32::MAX)
}

/// The most that any tunnel of this host may need: of the encapsulations that are in use, over the families of our
/// addresses.
pub(super) fn largest_overhead(config: &Config, known: Option<&BTreeSet<Encapsulation>>) -> u32 {
    let v6 = config.underlay.address.v6().is_some();
    let known = known.filter(|known| !known.is_empty());
    let used = known.map_or_else(|| vec![Encapsulation::Vxlan], |known| known.iter().copied().collect());
    used.into_iter().map(|encapsulation| overhead(encapsulation, v6)).max().unwrap_or_default()
}

pub(super) fn tag_len(port: &Port) -> u32 {
    let keeps = port.keep_tag || port.unbound_tag == UnboundTag::Keep || port.inner_tag == InnerTag::Keep;
    if keeps { TAG_LEN } else { 0 }
}

/// `VXLAN and Geneve 1450, NVGRE 1458`, over each family of our addresses.
pub(super) fn described(config: &Config, mtu: u32) -> String {
    let families =
        [(config.underlay.address.v4().is_some(), false), (config.underlay.address.v6().is_some(), true)];
    let of = |v6: bool| {
        let family = if v6 { "IPv6" } else { "IPv4" };
        let room = |encapsulation| mtu.saturating_sub(overhead(encapsulation, v6));
        let (udp, gre) = (room(Encapsulation::Vxlan), room(Encapsulation::Nvgre));
        format!("over {family} VXLAN and Geneve {udp}, NVGRE {gre}")
    };
    families.into_iter().filter(|(has, _)| *has).map(|(_, v6)| of(v6)).collect::<Vec<_>>().join("; ")
}
