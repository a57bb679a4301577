//! What a controller tells us apart from MACs, in our own words.

use std::collections::{BTreeMap, BTreeSet};

use vtep_api::{LogicalSwitchName, PortName, Row, VtepName, VtepOutline};

use super::received::Received;
use crate::source::Refusals;
use crate::table::{LogicalSwitch, MacEntry, Outline, TunnelTerms, Vtep};
use crate::tunnel_address::TunnelAddress;

/// The directory: VTEPs to which frames can go.
pub(super) fn vteps(
    own: &VtepName,
    outline: &VtepOutline,
    refusals: &mut Refusals,
) -> BTreeMap<VtepName, Vtep> {
    let mut vteps = BTreeMap::new();
    let mut of_address = BTreeMap::new();
    for (name, locator) in outline.vteps.iter().filter(|(name, _)| *name != own) {
        match TunnelAddress::try_from(locator.address) {
            Ok(address) => {
                let (address, encapsulation) = (address.ip(), locator.encapsulation);
                let (first, one) = *of_address.entry(address).or_insert((name, encapsulation));
                if one == encapsulation {
                    vteps.insert(
                        name.clone(),
                        Vtep { address, encapsulation, bfd: locator.bfd, tunnel: TunnelTerms::default() },
                    );
                } else {
                    let expected = format!("{one}, which {first} with the same address has");
                    refusals.push(|| format!("encapsulation of VTEP {name}"), &encapsulation, expected);
                }
            }
            Err(error) => refusals.note(format!("VTEP {name}"), error.to_string()),
        }
    }
    vteps
}

pub(super) fn translate(
    own: &VtepName,
    outline: &VtepOutline,
    tables: &BTreeMap<LogicalSwitchName, Received>,
    refusals: &mut Refusals,
) -> Outline {
    let vteps = vteps(own, outline, refusals);
    let switch = |(name, network): (&LogicalSwitchName, &vtep_api::Network)| {
        let flood: BTreeSet<VtepName> = network.flood.iter().filter(|vtep| *vtep != own).cloned().collect();
        let (known, unknown): (BTreeSet<_>, BTreeSet<_>) =
            flood.into_iter().partition(|vtep| vteps.contains_key(vtep));
        for vtep in unknown {
            refusals
                .note(format!("flood list of {name}"), format!("{vtep:?}; expected a VTEP of the directory"));
        }
        let switch = LogicalSwitch {
            vni: network.vni,
            unknown_unicast: network.unknown_unicast,
            replication: network.replication,
            flood: known,
            macs: hashbrown::HashMap::default(),
            partial: !network.unheard.is_empty() || tables.get(name).is_none_or(Received::is_partial),
            flood_partial: !network.unheard.is_empty(),
        };
        (name.clone(), switch)
    };
    let logical_switches = outline.networks.iter().map(switch).collect();
    let mut bindings = BTreeMap::new();
    for binding in &outline.bindings {
        let path = || format!("binding of port {:?} VLAN {}", binding.port, binding.vlan);
        let port = match PortName::try_from(binding.port.as_str()) {
            Ok(port) => port,
            Err(error) => {
                refusals.note(path(), format!("{error}; expected a network interface"));
                continue;
            }
        };
        if !outline.networks.contains_key(&binding.logical_switch) {
            refusals.push(path, &binding.logical_switch, "a logical switch of the outline");
            continue;
        }
        if bindings.insert((port, binding.vlan), binding.logical_switch.clone()).is_some() {
            refusals.push(path, &binding.logical_switch, "one logical switch for a port and a VLAN");
        }
    }
    Outline { vteps, logical_switches, bindings, partial: !outline.complete }
}

/// Where frames for a MAC go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Way {
    /// It is behind us: our ports know it.
    Here,
    There(MacEntry),
    /// Its master is not in the directory.
    Unknown,
}

pub(super) fn way(own: &VtepName, row: &Row, vteps: &BTreeMap<VtepName, Vtep>) -> Way {
    let Row { placement, ips } = row;
    if placement.master == *own {
        return Way::Here;
    }
    if !vteps.contains_key(&placement.master) {
        return Way::Unknown;
    }
    let slave = placement.slaves.iter().find(|slave| *slave != own && vteps.contains_key(*slave));
    Way::There(MacEntry { master: placement.master.clone(), slave: slave.cloned(), ips: ips.clone() })
}
