//! The words of which messages are made.

use std::net::IpAddr;

use super::proto::vtep_state::BfdState;
use super::{Malformed, proto};
use crate::{
    BfdTransport, BfdWord, Binding, Bounded, Cause, Encapsulation, Held, Ips, LocalMac, Locator,
    LogicalSwitchName, MacAddr, NameError, Network, Origin, Replication, Role, SIGHTINGS_MAX, Sighting, Term,
    UnknownUnicast, Version, VlanId, Vni, VtepState,
};

const A_MESSAGE: &str = "one";

pub(super) fn required<T>(field: &'static str, value: Option<T>) -> Result<T, Malformed> {
    value.ok_or(Malformed::Missing { field, expected: A_MESSAGE })
}

pub(super) fn kind<T>(field: &'static str, value: Option<T>, expected: &'static str) -> Result<T, Malformed> {
    value.ok_or(Malformed::Missing { field, expected })
}

pub(super) fn name<T>(field: &'static str, text: &str) -> Result<T, Malformed>
where
    T: for<'a> TryFrom<&'a str, Error = NameError>,
{
    T::try_from(text).map_err(|source| Malformed::Name { field, source })
}

/// A list of names, each of which counts once.
pub(super) fn names<T, C: FromIterator<T>>(field: &'static str, texts: &[String]) -> Result<C, Malformed>
where
    T: for<'a> TryFrom<&'a str, Error = NameError>,
{
    texts.iter().map(|text| name(field, text)).collect()
}

pub(super) fn texts<'a, T: ToString + 'a>(names: impl IntoIterator<Item = &'a T>) -> Vec<String> {
    names.into_iter().map(ToString::to_string).collect()
}

pub(super) fn mac_to_wire(mac: MacAddr) -> u64 {
    let mut octets = [0; 8];
    octets[2..].copy_from_slice(&mac.octets());
    u64::from_be_bytes(octets)
}

pub(super) fn mac(field: &'static str, number: u64) -> Result<MacAddr, Malformed> {
    match number.to_be_bytes() {
        [0, 0, octets @ ..] => Ok(MacAddr::new(octets)),
        _ => Err(Malformed::value(field, format_args!("{number:#x}"), "a MAC address of 48 bits")),
    }
}

pub(super) fn ip_to_wire(ip: &IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

pub(super) fn ip(field: &'static str, octets: &[u8]) -> Result<IpAddr, Malformed> {
    let v4 = <[u8; 4]>::try_from(octets).ok().map(IpAddr::from);
    let v6 = || <[u8; 16]>::try_from(octets).ok().map(IpAddr::from);
    v4.or_else(v6).ok_or_else(|| {
        Malformed::value(field, format_args!("of {} octets", octets.len()), "an IP address of 4 or 16")
    })
}

pub(super) fn ips(field: &'static str, ips: &[Vec<u8>]) -> Result<Ips, Malformed> {
    ips.iter().map(|octets| ip(field, octets)).collect()
}

pub(super) fn ips_to_wire<'a>(ips: impl IntoIterator<Item = &'a IpAddr>) -> Vec<Vec<u8>> {
    ips.into_iter().map(ip_to_wire).collect()
}

pub(super) fn at_most(field: &'static str, count: usize, max: usize) -> Result<(), Malformed> {
    if count <= max {
        return Ok(());
    }
    Err(Malformed::value(field, format_args!("of {count} rows"), format!("at most {max}")))
}

pub(super) fn role_to_wire(role: Role) -> i32 {
    let role = match role {
        Role::Master => proto::Role::Master,
        Role::Slave => proto::Role::Slave,
    };
    role.into()
}

pub(super) fn role(field: &'static str, number: i32) -> Result<Role, Malformed> {
    match proto::Role::try_from(number) {
        Ok(proto::Role::Master) => Ok(Role::Master),
        Ok(proto::Role::Slave) => Ok(Role::Slave),
        _ => Err(Malformed::value(field, number, "1 (master) or 2 (slave)")),
    }
}

pub(super) fn cause_to_wire(cause: Cause) -> proto::Cause {
    match cause {
        Cause::Withdrawn => proto::Cause::Withdrawn,
        Cause::ClaimMoved => proto::Cause::ClaimMoved,
        Cause::HoldExpired => proto::Cause::HoldExpired,
        Cause::Operator => proto::Cause::Operator,
    }
}

pub(super) fn cause(field: &'static str, number: i32) -> Result<Cause, Malformed> {
    match proto::Cause::try_from(number) {
        Ok(proto::Cause::Withdrawn) => Ok(Cause::Withdrawn),
        Ok(proto::Cause::ClaimMoved) => Ok(Cause::ClaimMoved),
        Ok(proto::Cause::HoldExpired) => Ok(Cause::HoldExpired),
        Ok(proto::Cause::Operator) => Ok(Cause::Operator),
        Ok(proto::Cause::Unspecified) | Err(_) => Err(Malformed::value(field, number, "a cause, 1 to 4")),
    }
}

pub(super) fn local_to_wire(local: &LocalMac) -> proto::LocalMac {
    proto::LocalMac {
        role: role_to_wire(local.role),
        claimed_at_ms: local.claimed_at_ms,
        origin: local.origin.map(|Origin(number)| proto::Origin { high: high(number), low: low(number) }),
        ips: ips_to_wire(&local.ips),
    }
}

pub(super) fn local(local: &proto::LocalMac) -> Result<LocalMac, Malformed> {
    let origin = |origin: proto::Origin| Origin(u128::from(origin.high) << 64 | u128::from(origin.low));
    Ok(LocalMac {
        role: role("local.role", local.role)?,
        claimed_at_ms: local.claimed_at_ms,
        origin: local.origin.map(origin),
        ips: ips("local.ips", &local.ips)?,
    })
}

fn high(number: u128) -> u64 {
    u64::try_from(number >> 64).expect("64 bits are left")
}

fn low(number: u128) -> u64 {
    u64::try_from(number & u128::from(u64::MAX)).expect("64 bits are left")
}

pub(super) fn held_to_wire(held: &Held) -> proto::Held {
    proto::Held {
        logical_switch: held.logical_switch.to_string(),
        term: held.term.0,
        version: held.version.0,
    }
}

pub(super) fn held(held: &proto::Held) -> Result<Held, Malformed> {
    Ok(Held {
        logical_switch: name("held.logical_switch", &held.logical_switch)?,
        term: Term(held.term),
        version: Version(held.version),
    })
}

pub(super) fn network_to_wire(network: &Network) -> proto::Network {
    let unknown_unicast = match network.unknown_unicast {
        UnknownUnicast::Flood => proto::UnknownUnicast::Flood,
        UnknownUnicast::Drop => proto::UnknownUnicast::Drop,
    };
    let replication = match network.replication {
        Replication::SourceNode => proto::Replication::SourceNode,
        Replication::ServiceNode => proto::Replication::ServiceNode,
    };
    proto::Network {
        vni: network.vni.as_u32(),
        unknown_unicast: unknown_unicast.into(),
        replication: replication.into(),
        flood: texts(&network.flood),
        unheard: texts(&network.unheard),
    }
}

pub(super) fn network(network: &proto::Network) -> Result<Network, Malformed> {
    let unknown_unicast = match network.unknown_unicast() {
        proto::UnknownUnicast::Flood => UnknownUnicast::Flood,
        proto::UnknownUnicast::Drop => UnknownUnicast::Drop,
        proto::UnknownUnicast::Unspecified => {
            return Err(Malformed::value(
                "network.unknown_unicast",
                network.unknown_unicast,
                "1 (flood) or 2 (drop)",
            ));
        }
    };
    let replication = match network.replication() {
        proto::Replication::SourceNode => Replication::SourceNode,
        proto::Replication::ServiceNode => Replication::ServiceNode,
        proto::Replication::Unspecified => {
            let expected = "1 (source node) or 2 (service node)";
            return Err(Malformed::value("network.replication", network.replication, expected));
        }
    };
    Ok(Network {
        vni: Vni::try_from(network.vni).map_err(|source| Malformed::Vni { field: "network.vni", source })?,
        unknown_unicast,
        replication,
        flood: names("network.flood", &network.flood)?,
        unheard: names("network.unheard", &network.unheard)?,
    })
}

pub(super) fn locator_to_wire(locator: &Locator) -> proto::Locator {
    let encapsulation = match locator.encapsulation {
        Encapsulation::Vxlan => proto::Encapsulation::Vxlan,
        Encapsulation::Geneve => proto::Encapsulation::Geneve,
        Encapsulation::Nvgre => proto::Encapsulation::Nvgre,
    };
    proto::Locator {
        address: ip_to_wire(&locator.address),
        encapsulation: encapsulation.into(),
        bfd: bfd_to_wire(&locator.bfd),
    }
}

pub(super) fn locator(locator: &proto::Locator) -> Result<Locator, Malformed> {
    let encapsulation = match proto::Encapsulation::try_from(locator.encapsulation) {
        Ok(proto::Encapsulation::Unspecified | proto::Encapsulation::Vxlan) => Encapsulation::Vxlan,
        Ok(proto::Encapsulation::Geneve) => Encapsulation::Geneve,
        Ok(proto::Encapsulation::Nvgre) => Encapsulation::Nvgre,
        Err(_) => {
            let expected = "1 (VXLAN), 2 (Geneve) or 3 (NVGRE)";
            return Err(Malformed::value("locator.encapsulation", locator.encapsulation, expected));
        }
    };
    let address = ip("locator.address", &locator.address)?;
    Ok(Locator { address, encapsulation, bfd: bfd(locator.bfd.as_ref())? })
}

pub(super) fn bfd_to_wire(word: &BfdWord) -> Option<proto::Bfd> {
    let transport = match word.transport {
        None => proto::BfdTransport::Unspecified,
        Some(BfdTransport::SingleHop) => proto::BfdTransport::SingleHop,
        Some(BfdTransport::MultiHop) => proto::BfdTransport::MultiHop,
        Some(BfdTransport::Vxlan) => proto::BfdTransport::Vxlan,
    };
    (!word.is_silent()).then(|| proto::Bfd {
        enabled: word.enabled,
        transport: transport.into(),
        min_tx_ms: word.min_tx_ms.map(Into::into),
        min_rx_ms: word.min_rx_ms.map(Into::into),
        multiplier: word.multiplier.map(Into::into),
        vni: word.vni.map(Into::into),
        hold_ms: word.hold_ms.map(Into::into),
        hold_max_ms: word.hold_max_ms.map(Into::into),
        revertive: word.revertive,
        decay_min_rx_ms: word.decay_min_rx_ms.map(Into::into),
        forwarding_if_rx: word.forwarding_if_rx,
    })
}

pub(super) fn bfd(word: Option<&proto::Bfd>) -> Result<BfdWord, Malformed> {
    let Some(word) = word else { return Ok(BfdWord::default()) };
    let transport = match proto::BfdTransport::try_from(word.transport) {
        Ok(proto::BfdTransport::Unspecified) => None,
        Ok(proto::BfdTransport::SingleHop) => Some(BfdTransport::SingleHop),
        Ok(proto::BfdTransport::MultiHop) => Some(BfdTransport::MultiHop),
        Ok(proto::BfdTransport::Vxlan) => Some(BfdTransport::Vxlan),
        Err(_) => {
            let expected = "1 (single hop), 2 (multi-hop) or 3 (VXLAN)";
            return Err(Malformed::value("bfd.transport", word.transport, expected));
        }
    };
    Ok(BfdWord {
        enabled: word.enabled,
        transport,
        min_tx_ms: bounded("bfd.min_tx_ms", word.min_tx_ms)?,
        min_rx_ms: bounded("bfd.min_rx_ms", word.min_rx_ms)?,
        multiplier: bounded("bfd.multiplier", word.multiplier)?,
        vni: bounded("bfd.vni", word.vni)?,
        hold_ms: bounded("bfd.hold_ms", word.hold_ms)?,
        hold_max_ms: bounded("bfd.hold_max_ms", word.hold_max_ms)?,
        revertive: word.revertive,
        decay_min_rx_ms: bounded("bfd.decay_min_rx_ms", word.decay_min_rx_ms)?,
        forwarding_if_rx: word.forwarding_if_rx,
    })
}

fn bounded<const MIN: u32, const MAX: u32>(
    field: &'static str,
    value: Option<u32>,
) -> Result<Option<Bounded<MIN, MAX>>, Malformed> {
    let bounded = value.map(|value| Bounded::try_from(i64::from(value))).transpose();
    bounded.map_err(|error| Malformed::value(field, error.value, format!("{MIN} to {MAX}")))
}

pub(super) fn binding_to_wire(binding: &Binding) -> proto::Binding {
    proto::Binding {
        port: binding.port.to_string(),
        vlan: binding.vlan.as_u16().into(),
        logical_switch: binding.logical_switch.to_string(),
    }
}

pub(super) fn binding(binding: &proto::Binding) -> Result<Binding, Malformed> {
    let vlan = VlanId::try_from(i64::from(binding.vlan));
    Ok(Binding {
        port: name("binding.port", &binding.port)?,
        vlan: vlan.map_err(|source| Malformed::Vlan { field: "binding.vlan", source })?,
        logical_switch: name::<LogicalSwitchName>("binding.logical_switch", &binding.logical_switch)?,
    })
}

pub(super) fn state_to_wire(state: &VtepState) -> proto::VtepState {
    proto::VtepState {
        address: state.address.as_ref().map(ip_to_wire),
        ports: texts(&state.ports),
        networks: texts(&state.networks),
        faults: texts(&state.faults),
        unreachable: ips_to_wire(&state.unreachable),
        reachable: ips_to_wire(&state.reachable),
        refusals: state.refusals.clone(),
        bfd: state
            .bfd
            .iter()
            .map(|(address, state)| BfdState { address: ip_to_wire(address), state: state.clone() })
            .collect(),
    }
}

pub(super) fn state(state: proto::VtepState) -> Result<VtepState, Malformed> {
    let bfd = state.bfd.into_iter().map(|bfd| Ok((ip("state.bfd.address", &bfd.address)?, bfd.state)));
    let unreachable = state.unreachable.iter().map(|octets| ip("state.unreachable", octets));
    let reachable = state.reachable.iter().map(|octets| ip("state.reachable", octets));
    Ok(VtepState {
        address: state.address.map(|octets| ip("state.address", &octets)).transpose()?,
        ports: names("state.ports", &state.ports)?,
        networks: names("state.networks", &state.networks)?,
        faults: state.faults.into_iter().collect(),
        unreachable: unreachable.collect::<Result<_, _>>()?,
        reachable: reachable.collect::<Result<_, _>>()?,
        refusals: state.refusals,
        bfd: bfd.collect::<Result<_, Malformed>>()?,
    })
}

pub(super) fn sightings_to_wire(sightings: &[Sighting]) -> proto::Sightings {
    let sighting = |sighting: &Sighting| proto::sightings::Sighting {
        logical_switch: sighting.logical_switch.to_string(),
        mac: mac_to_wire(sighting.mac),
        sender: sighting.sender.to_string(),
        as_slave: sighting.as_slave,
        count: sighting.count,
    };
    proto::Sightings { sightings: sightings.iter().map(sighting).collect() }
}

pub(super) fn sightings(message: proto::Sightings) -> Result<Vec<Sighting>, Malformed> {
    at_most("sightings", message.sightings.len(), SIGHTINGS_MAX)?;
    let sighting = |sighting: proto::sightings::Sighting| {
        Ok(Sighting {
            logical_switch: name("sightings.logical_switch", &sighting.logical_switch)?,
            mac: mac("sightings.mac", sighting.mac)?,
            sender: name("sightings.sender", &sighting.sender)?,
            as_slave: sighting.as_slave,
            count: sighting.count,
        })
    };
    message.sightings.into_iter().map(sighting).collect()
}
