//! The model's tables as rows of the kernel's maps.

use std::{collections::BTreeMap, net::IpAddr};

use vtep_abi::{
    AllowedKey, Config, FdbKey, FdbValue, Limit, LocalPort, NeighbourKey, PortValue, Target, VniValue,
    VtepAdj, VtepByIpKey, mapped_v4,
};
use vtep_agent::{
    dataplane::{FdbTarget, Network, PortId, VtepRow},
    plan::Step,
};
use vtep_outer::{Encapsulation, Policy, Tunnel};

use crate::model::{self, Address, Place, Storm, Tables, Tags, Vtep};

/// More than 4 s: buckets that are filled more often get nothing back.
const STORM_INTERVAL_NS: u32 = u32::MAX;

pub(super) fn removals(tables: &Tables) -> Vec<Step> {
    vec![
        Step::RemovePorts(tables.bindings.keys().map(|at| port_id(*at)).collect()),
        Step::RemoveNetworks(tables.networks.keys().copied().collect()),
        Step::RemoveSenders(tables.senders.keys().map(|at| sender_key(*at)).collect()),
        Step::RemoveFdb(tables.fdb.keys().map(|at| fdb_key(*at)).collect()),
        Step::RemoveNeighbours(tables.neighbours.keys().map(|at| neighbour_key(*at)).collect()),
        Step::Forbid(tables.allowed.iter().map(|at| allowed_key(*at)).collect()),
        Step::RemoveLocalPorts(tables.local_ports.keys().copied().collect()),
        Step::RemoveVteps(tables.vteps.keys().copied().collect()),
    ]
}

pub(super) fn upserts(tables: &Tables) -> Vec<Step> {
    let first = vec![
        Step::SetConfig(config(tables)),
        Step::PutVteps(tables.vteps.iter().map(|(index, row)| (*index, vtep_row(row))).collect()),
        Step::PutLocalPorts(tables.local_ports.iter().map(|(at, row)| (*at, local_port(row))).collect()),
        Step::PutDomains(domains(tables)),
        Step::PutFdb(tables.fdb.iter().map(|(at, row)| (fdb_key(*at), fdb_target(row))).collect()),
        Step::PutNeighbours(tables.neighbours.iter().map(|(at, mac)| (neighbour_key(*at), *mac)).collect()),
        Step::Allow(tables.allowed.iter().map(|at| allowed_key(*at)).collect()),
        Step::PutSenders(tables.senders.iter().map(|(at, vtep)| (sender_key(*at), *vtep)).collect()),
    ];
    first.into_iter().chain(limits(tables)).collect()
}

/// What says how much may be flooded.
pub(super) fn limits(tables: &Tables) -> Vec<Step> {
    let ports = tables.bindings.iter().map(|(at, row)| (port_id(*at), port_value(tables, at.0, row)));
    vec![
        Step::PutNetworks(tables.networks.iter().map(|(vni, row)| (*vni, network(row))).collect()),
        Step::PutPorts(ports.collect()),
    ]
}

fn flags<const N: usize>(flags: [(bool, u32); N]) -> u32 {
    flags.iter().filter(|(is, _)| *is).fold(0, |all, (_, flag)| all | flag)
}

fn narrow(flags: u32) -> u16 {
    u16::try_from(flags).expect("these flags have 16 bits")
}

fn config(tables: &Tables) -> Config {
    let host = &tables.host;
    Config {
        local_v6: host.v6.map_or([0; 16], |address| address.octets()),
        local_v4: host.v4.map_or([0; 4], |address| address.octets()),
        tunnel_ifindex: host.tunnel,
        udp_port: host.udp_port.to_be_bytes(),
        flags: narrow(flags([
            (host.geneve, Config::GENEVE.into()),
            (host.nvgre, Config::NVGRE.into()),
            (host.strict, Config::STRICT_RESERVED.into()),
        ])),
    }
}

/// Of every VNI that has MACs.
fn domains(tables: &Tables) -> Vec<(u32, u32)> {
    let networks = tables.networks.iter().map(|(vni, network)| (*vni, network.bd));
    let bindings = tables.bindings.values().map(|binding| (binding.vni, binding.bd));
    networks.chain(bindings).collect::<BTreeMap<_, _>>().into_iter().collect()
}

fn vtep_row(vtep: &Vtep) -> VtepRow {
    let encapsulation = match vtep.encapsulation {
        model::Encapsulation::Vxlan => Encapsulation::Vxlan,
        model::Encapsulation::Geneve => Encapsulation::Geneve,
        model::Encapsulation::Nvgre => Encapsulation::Nvgre,
    };
    let tunnel = Tunnel { encapsulation, local: vtep.local, remote: vtep.remote, udp_port: vtep.udp_port };
    let model::Policy { ttl, inherits_ttl, dscp, inherits_dscp, dont_fragment, inherits_dont_fragment } =
        vtep.policy;
    let flags = narrow(flags([
        (inherits_ttl, VtepAdj::INHERIT_TTL.into()),
        (inherits_dscp, VtepAdj::INHERIT_DSCP.into()),
        (dont_fragment, VtepAdj::DONT_FRAGMENT.into()),
        (inherits_dont_fragment, VtepAdj::INHERIT_DONT_FRAGMENT.into()),
        (vtep.routed, VtepAdj::ROUTED.into()),
        (vtep.resolved, VtepAdj::RESOLVED.into()),
        (vtep.takes_xdp, VtepAdj::TAKES_XDP.into()),
    ]));
    let policy = Policy { ttl, dscp, flags, source_ports: vtep.source_ports };
    let mut adj = tunnel.adjacency(&policy).expect("both ends are of one family");
    adj.ifindex = vtep.uplink;
    adj.mtu = vtep.mtu;
    adj.set_macs(vtep.next_hop, vtep.uplink_mac);
    VtepRow { adj, up: vtep.up, suspect: false }
}

fn local_port(port: &model::LocalPort) -> LocalPort {
    let flags = narrow(flags([
        (port.decap_in_program, LocalPort::DECAP_IN_PROGRAM.into()),
        (port.link_local, LocalPort::LINK_LOCAL.into()),
        (port.takes_xdp, LocalPort::TAKES_XDP.into()),
        (port.to_peer, LocalPort::TO_PEER.into()),
        (port.tags == Tags::Kept, LocalPort::KEEP_TAG.into()),
        (port.tags == Tags::Carried, LocalPort::CARRY_TAG.into()),
    ]));
    LocalPort { ifindex: port.ifindex, vni: port.vni, vlan: port.vlan, flags, bd: port.bd, mtu: port.mtu }
}

fn network(network: &model::Network) -> Network {
    let flags = flags([
        (network.drops_unknown, VniValue::DROP_UNKNOWN),
        (network.checks_source, VniValue::CHECK_SOURCE),
        (network.suppresses, VniValue::SUPPRESS),
        (network.carries_tags, VniValue::CARRIES_TAGS),
    ]);
    let flood = network.flood.iter().copied().map(target).collect();
    Network { bd: network.bd, flags, flood_limit: limit(network.storm), flood }
}

fn limit(storm: Option<Storm>) -> Limit {
    let left = |storm: Storm| storm.burst.saturating_sub(storm.spent);
    storm.map_or(Limit::default(), |storm| Limit { interval_ns: STORM_INTERVAL_NS, burst: left(storm) })
}

fn port_value(tables: &Tables, ifindex: u32, binding: &model::Binding) -> PortValue {
    let flags = flags([
        (binding.learns, PortValue::LEARN),
        (binding.link_local, PortValue::LINK_LOCAL),
        (binding.checks_macs, PortValue::CHECK_MACS),
        (binding.checks_ips, PortValue::CHECK_IPS),
        (binding.tags == Tags::Popped, PortValue::POP_TAG),
        (binding.tags == Tags::Kept, PortValue::KEEP_TAG),
        (binding.tags == Tags::Carried, PortValue::CARRY_TAG),
    ]);
    PortValue {
        vni: binding.vni,
        bd: binding.bd,
        local_port: binding.local_port,
        flags,
        flood: limit(tables.interfaces.get(&ifindex).and_then(|interface| interface.storm)),
        buckets: ifindex,
        ..PortValue::UNBOUND
    }
}

fn fdb_key((vni, mac): (u32, model::Mac)) -> FdbKey {
    FdbKey::new(vni, mac)
}

fn fdb_target(entry: &model::Entry) -> FdbTarget {
    // An entry that names nobody has to say something else.
    FdbTarget { master: target(entry.master), slave: target(entry.slave), flags: FdbValue::LEARNT }
}

fn target(place: Place) -> Target {
    match place {
        Place::Nowhere => Target::None,
        Place::Vtep(index) => Target::Vtep(index),
        Place::Port(index) => Target::LocalPort(index),
    }
}

fn port_id((ifindex, vlan): (u32, u16)) -> PortId {
    PortId { ifindex, vlan }
}

fn sender_key((vni, address): (u32, IpAddr)) -> VtepByIpKey {
    VtepByIpKey { vni, address: bytes(address) }
}

fn neighbour_key((vni, address): (u32, IpAddr)) -> NeighbourKey {
    NeighbourKey { vni, address: bytes(address) }
}

fn allowed_key((ifindex, address): (u32, Address)) -> AllowedKey {
    match address {
        Address::Mac(mac) => AllowedKey::mac(ifindex, mac),
        Address::Ip(address) => AllowedKey::ip(ifindex, bytes(address)),
    }
}

fn bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => mapped_v4(address.octets()),
        IpAddr::V6(address) => address.octets(),
    }
}
