use std::collections::{BTreeMap, BTreeSet};

use vtep_abi::{AllowedKey, LocalPort, PortValue};
use vtep_api::{MacAddr, PortName};

use super::allocation::{Indices, LocalPortKey, Room};
use super::decap;
use super::deliver;
use super::network::Numbered;
use super::tags::Tags;
use super::{Desired, Inputs, TUNNEL_DEVICE, neighbours};
use crate::alarm::{Alarm, AlarmKind};
use crate::config::{Config, FloodLimit, Port, Source};
use crate::dataplane::PortId;

/// A binding whose interface exists.
pub(super) struct Bound {
    pub(super) vni: u32,
    pub(super) local_port: u32,
    /// It takes frames with a tag inside.
    pub(super) carries_tags: bool,
    pub(super) macs: BTreeSet<MacAddr>,
}

pub(super) type BoundPorts = BTreeMap<PortId, Bound>;

/// What a binding wants before it has its number.
struct Wish {
    port: Port,
    key: LocalPortKey,
    bd: u32,
    /// Who removes the outer headers, as flags of [`LocalPort`].
    decap: u16,
    to_peer: bool,
    mtu: u32,
}

pub(super) fn add(
    inputs: &Inputs<'_>,
    networks: &Numbered<'_>,
    indices: &mut Indices<LocalPortKey>,
    desired: &mut Desired,
) -> BoundPorts {
    let wishes = wishes(inputs, networks, desired);
    let ports_max = inputs.config.dataplane.ports_max.as_u32();
    let room =
        Room { index_max: ports_max, installed: inputs.installed.local_ports.keys().copied().collect() };
    let mut wanted: BTreeSet<LocalPortKey> = wishes.iter().map(|wish| wish.key).collect();
    if inputs.table.partial {
        let key = |port: &LocalPort| {
            let id = PortId { ifindex: port.ifindex, vlan: port.vlan };
            LocalPortKey { port: id, vni: port.vni }
        };
        wanted.extend(inputs.installed.local_ports.values().map(key));
    }
    let assigned = indices.assign(&wanted, &room, inputs.now);
    let mut bound = BoundPorts::new();
    let mut buckets = BTreeMap::<u32, u32>::new();
    for Wish { port, key, bd, decap, to_peer, mtu } in wishes {
        let LocalPortKey { port: id, vni } = key;
        let Some(&local_port) = assigned.by_key.get(&key) else {
            let message = format!("no room in the port table (dataplane.ports_max = {ports_max})");
            desired.alarms.insert(Alarm::new(AlarmKind::PortTableFull, &label(&port, id), message));
            continue;
        };
        let tags = Tags::of(&port, id.vlan);
        let mut flags = decap;
        flags |= if port.link_local { LocalPort::LINK_LOCAL } else { 0 };
        flags |= tags.leaving();
        flags |= if to_peer { LocalPort::TO_PEER } else { 0 };
        let local = LocalPort { ifindex: id.ifindex, vni, vlan: id.vlan, flags, bd, mtu };
        desired.dataplane.local_ports.insert(local_port, local);
        let mut flags = if learns(inputs, &port, id, desired) { PortValue::LEARN } else { 0 };
        flags |= if port.link_local { PortValue::LINK_LOCAL } else { 0 };
        flags |= tags.entering();
        flags |= allow(&port, id.ifindex, &mut desired.dataplane.allowed);
        let flood = port.flood_limit.map(FloodLimit::limit).unwrap_or_default();
        let buckets = *buckets.entry(id.ifindex).or_insert(local_port);
        let value = PortValue { vni, bd, local_port, flags, flood, buckets, pad: 0 };
        desired.dataplane.ports.insert(id, value);
        bound.insert(id, Bound { vni, local_port, carries_tags: tags.carries(), macs: port.macs });
    }
    bound
}

fn wishes(inputs: &Inputs<'_>, networks: &Numbered<'_>, desired: &mut Desired) -> Vec<Wish> {
    let mut wishes = Vec::new();
    for ((name, vlan), logical_switch) in &inputs.table.bindings {
        let Some(network) = networks.get(logical_switch) else { continue };
        let listed = inputs.config.ports.named(name);
        if let Some(reason) = refused(inputs.config, name, listed) {
            let message = format!("{reason}; the binding is ignored");
            desired.alarms.insert(Alarm::new(AlarmKind::RowsRefused, name, message));
            continue;
        }
        let port = listed.cloned().unwrap_or_else(|| Port::unnamed(name.clone()));
        let Some(link) = inputs.links.by_name.get(name.as_str()) else {
            desired.alarms.insert(Alarm::new(AlarmKind::PortMissing, name, "the interface does not exist"));
            continue;
        };
        let id = PortId { ifindex: link.ifindex, vlan: vlan.as_u16() };
        desired.names.ports.insert(id, name.as_str().to_owned());
        let decap = decap::choose(inputs.config, &port, link, inputs.packet_rate).flags;
        let key = LocalPortKey { port: id, vni: network.vni };
        let to_peer = deliver::to_peer(&port, link, inputs.packet_rate) == Some(Ok(()));
        wishes.push(Wish { port, key, bd: network.bd, decap, to_peer, mtu: link.mtu });
    }
    wishes
}

/// A controller may bind what the operator offers it; a table file is the operator's own.
fn refused(config: &Config, name: &PortName, listed: Option<&Port>) -> Option<&'static str> {
    if config.underlay.uplinks.contains(name) {
        return Some("an uplink cannot be a port");
    }
    if name.as_str() == TUNNEL_DEVICE {
        return Some("the tunnel device cannot be a port");
    }
    match &config.source {
        _ if listed.is_some() => None,
        Source::File(_) => None,
        Source::Ovsdb(_) => Some("a database may bind only ports of the configuration ([[port]])"),
        Source::Controller(_) => Some("a controller may bind only ports of the configuration ([[port]])"),
    }
}

/// What a full port has is noted still.
fn learns(inputs: &Inputs<'_>, port: &Port, id: PortId, desired: &mut Desired) -> bool {
    let learn_max = port.learn_max.as_u32();
    let full = inputs.learnt.count(id.ifindex) >= learn_max;
    if port.learn && full {
        let message = format!("{learn_max} MACs learnt, no more are (learn_max)");
        desired.alarms.insert(Alarm::new(AlarmKind::LearnLimit, &port.name, message));
    }
    port.learn
}

/// Lets a port send from its addresses. Which of them are checked, as flags.
fn allow(port: &Port, ifindex: u32, allowed: &mut BTreeSet<AllowedKey>) -> u32 {
    let mut flags = 0;
    if port.enforce_macs {
        flags |= PortValue::CHECK_MACS;
        allowed.extend(port.macs.iter().map(|mac| AllowedKey::mac(ifindex, mac.octets())));
    }
    if let Some(ips) = &port.allowed_ips {
        flags |= PortValue::CHECK_IPS;
        allowed.extend(ips.iter().map(|ip| AllowedKey::ip(ifindex, neighbours::bytes(*ip))));
    }
    flags
}

fn label(port: &Port, id: PortId) -> String {
    if id.vlan == 0 { port.name.to_string() } else { format!("{} VLAN {}", port.name, id.vlan) }
}
