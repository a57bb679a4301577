//! For whom the programs answer ARP requests and neighbour solicitations.

use std::collections::BTreeSet;
use std::net::IpAddr;

use vtep_abi::{NEIGHBOURS_MAX, NeighbourKey, mapped_v4};

use super::network::Numbered;
use super::{Desired, Inputs};
use crate::alarm::{Alarm, AlarmKind};

pub(super) fn add(inputs: &Inputs<'_>, networks: &Numbered<'_>, desired: &mut Desired) {
    let answered = |vni| inputs.config.networks.of(vni).suppress;
    let mut disputed = BTreeSet::new();
    let neighbours = &mut desired.dataplane.neighbours;
    for network in networks.values().filter(|network| answered(network.vni)) {
        for (mac, entry) in &network.logical_switch.macs {
            for ip in &entry.ips {
                let key = NeighbourKey { vni: network.vni, address: bytes(*ip) };
                if *neighbours.entry(key).or_insert(mac.octets()) != mac.octets() {
                    disputed.insert(key);
                }
            }
        }
        if inputs.table.partial || network.logical_switch.partial {
            let kept = inputs.installed.neighbours.iter().filter(|(key, _)| key.vni == network.vni);
            for (key, mac) in kept {
                neighbours.entry(*key).or_insert(*mac);
            }
        }
    }
    for (key, said) in inputs.announced.iter().filter(|(key, _)| answered(key.vni)) {
        match neighbours.get(&key) {
            Some(mac) if *mac != said.mac => {
                disputed.insert(key);
            }
            None if said.here && desired.names.networks.contains_key(&key.vni) => {
                neighbours.insert(key, said.mac);
            }
            Some(_) | None => {}
        }
    }
    neighbours.retain(|key, _| !disputed.contains(key));
    let wanted = neighbours.len();
    if wanted > NEIGHBOURS_MAX as usize {
        let beyond = neighbours.keys().nth(NEIGHBOURS_MAX as usize).copied();
        if let Some(beyond) = beyond {
            neighbours.split_off(&beyond);
        }
        let message =
            format!("{wanted} addresses, of which {NEIGHBOURS_MAX} have room; others are flooded for");
        desired.alarms.insert(Alarm::new(AlarmKind::NeighbourTableFull, &inputs.config.agent.name, message));
    }
}

pub(super) fn bytes(ip: IpAddr) -> vtep_abi::AddrBytes {
    match ip {
        IpAddr::V4(ip) => mapped_v4(ip.octets()),
        IpAddr::V6(ip) => ip.octets(),
    }
}
