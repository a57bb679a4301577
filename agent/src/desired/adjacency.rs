//! How frames to one VTEP are sent.

use std::net::{IpAddr, Ipv6Addr};

use vtep_abi::{AddrBytes, VtepAdj};
use vtep_api::MacAddr;
use vtep_outer::Tunnel;

use super::vtep::Endpoint;
use crate::config;
use crate::table::Encapsulation;
use crate::underlay::Path;

/// The adjacency of `vtep` over `path`, or one that says that there is no way. `None`: we have no address of its family.
pub(super) fn adjacency(
    settings: &config::Underlay,
    vtep: &Endpoint,
    path: Option<&Path>,
) -> Option<VtepAdj> {
    let tunnel = Tunnel {
        encapsulation: match vtep.encapsulation {
            Encapsulation::Vxlan => vtep_outer::Encapsulation::Vxlan,
            Encapsulation::Geneve => vtep_outer::Encapsulation::Geneve,
            Encapsulation::Nvgre => vtep_outer::Encapsulation::Nvgre,
        },
        local: settings.address.toward(vtep.address)?,
        remote: vtep.address,
        udp_port: settings.udp_port.as_u16(),
    };
    let mut adj = tunnel.adjacency(&settings.policy())?;
    if let Some(path) = path {
        adj.flags |= VtepAdj::ROUTED;
        adj.ifindex = path.ifindex;
        adj.mtu = u16::try_from(path.mtu).unwrap_or(u16::MAX);
        let next_hop = path.dst_mac.map(MacAddr::octets);
        if next_hop.is_some() {
            adj.flags |= VtepAdj::RESOLVED;
        }
        adj.set_macs(next_hop.unwrap_or_default(), path.src_mac.octets());
    }
    Some(adj)
}

/// The VTEP that an adjacency leads to.
pub(super) fn vtep(adj: &VtepAdj) -> Endpoint {
    Endpoint { address: ip(adj.remote), encapsulation: encapsulation(adj.encap) }
}

pub(crate) fn encapsulation(code: u8) -> Encapsulation {
    match code {
        VtepAdj::GENEVE => Encapsulation::Geneve,
        VtepAdj::NVGRE => Encapsulation::Nvgre,
        _ => Encapsulation::Vxlan,
    }
}

/// The address that stands in a map.
pub fn ip(bytes: AddrBytes) -> IpAddr {
    Ipv6Addr::from(bytes).to_canonical()
}
