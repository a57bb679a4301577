//! Logical networks: their numbers, their flood lists, and who may send into them.

use std::collections::{BTreeMap, BTreeSet};

use vtep_abi::{FLOOD_MEMBERS_MAX, Target, VniValue, VtepAdj, VtepByIpKey};
use vtep_api::LogicalSwitchName;

use super::allocation::{Indices, Room};
use super::port::BoundPorts;
use super::service_nodes::{ServiceNodes, SoundSince};
use super::vtep::VtepIndices;
use super::{Desired, Inputs, kept};
use crate::alarm::{Alarm, AlarmKind};
use crate::config::{self, FloodLimit};
use crate::dataplane::{Dataplane, Network};
use crate::table::{LogicalSwitch, Replication, UnknownUnicast};

/// A logical switch that has a bridge domain.
pub(super) struct NumberedNetwork<'a> {
    pub(super) vni: u32,
    pub(super) bd: u32,
    pub(super) logical_switch: &'a LogicalSwitch,
}

pub(super) type Numbered<'a> = BTreeMap<&'a LogicalSwitchName, NumberedNetwork<'a>>;

/// By VNI, the VTEPs that MACs point to.
pub(super) type Owners = BTreeMap<u32, BTreeSet<u32>>;

pub(super) fn number<'a>(
    inputs: &Inputs<'a>,
    indices: &mut Indices<u32>,
    desired: &mut Desired,
) -> Numbered<'a> {
    let mut wanted: BTreeSet<u32> =
        inputs.table.logical_switches.values().map(|switch| switch.vni.as_u32()).collect();
    if inputs.table.partial {
        wanted.extend(inputs.installed.networks.keys());
    }
    let vnis_max = inputs.config.dataplane.vnis_max.as_u32();
    let installed = inputs.installed.networks.values().map(|network| network.bd).collect();
    let room = Room { index_max: vnis_max, installed };
    let assigned = indices.assign(&wanted, &room, inputs.now);
    let mut numbered = Numbered::new();
    let mut taken = BTreeSet::new();
    for (name, logical_switch) in &inputs.table.logical_switches {
        let vni = logical_switch.vni.as_u32();
        match assigned.by_key.get(&vni) {
            // A source hands over one logical switch for each VNI.
            Some(&bd) if taken.insert(vni) => {
                desired.names.networks.insert(vni, name.clone());
                numbered.insert(name, NumberedNetwork { vni, bd, logical_switch });
            }
            Some(_) => {
                let message = format!("another logical switch has its VNI {vni}");
                desired.alarms.insert(Alarm::new(AlarmKind::RowsRefused, name, message));
            }
            None => {
                let message = format!("no room in the VNI table (dataplane.vnis_max = {vnis_max})");
                desired.alarms.insert(Alarm::new(AlarmKind::VniTableFull, name, message));
            }
        }
    }
    numbered
}

pub(super) fn add(
    inputs: &Inputs<'_>,
    vteps: &VtepIndices,
    networks: &Numbered<'_>,
    ports: &BoundPorts,
    sound: &SoundSince,
    desired: &mut Desired,
) {
    let mut local = BTreeMap::<u32, Vec<Target>>::new();
    let mut carrying = BTreeSet::new();
    for bound in ports.values() {
        if bound.carries_tags {
            carrying.insert(bound.vni);
        }
        local.entry(bound.vni).or_default().push(Target::LocalPort(bound.local_port));
    }
    for (name, network) in networks {
        let mut flood = local.remove(&network.vni).unwrap_or_default();
        flood.extend(remote_members(inputs, vteps, network, sound, &desired.dataplane).map(Target::Vtep));
        // The programs serve the lengths of outer headers that come first; the tunnel device serves the others, if they
        // are VXLAN.
        flood.sort_by_key(|target| match target {
            Target::Vtep(index) => {
                let row = desired.dataplane.vteps.get(index);
                row.map_or(2, |row| if row.adj.encap == VtepAdj::VXLAN { 2 } else { 1 })
            }
            Target::LocalPort(_) | Target::None => 0,
        });
        let members_max = FLOOD_MEMBERS_MAX as usize;
        if flood.len() > members_max {
            let message =
                format!("{} flood members, of which the first {members_max} are served", flood.len());
            desired.alarms.insert(Alarm::new(AlarmKind::FloodTooLong, name, message));
            flood.truncate(members_max);
        }
        let settings = inputs.config.networks.of(network.vni);
        let mut flags = flags(settings, network.logical_switch.unknown_unicast);
        flags |= if carrying.contains(&network.vni) { VniValue::CARRIES_TAGS } else { 0 };
        let flood_limit = settings.flood_limit.map(FloodLimit::limit).unwrap_or_default();
        desired.dataplane.networks.insert(network.vni, Network { bd: network.bd, flags, flood_limit, flood });
    }
}

fn flags(settings: &config::Network, unknown_unicast: UnknownUnicast) -> u32 {
    let unknown = match unknown_unicast {
        UnknownUnicast::Flood => 0,
        UnknownUnicast::Drop => VniValue::DROP_UNKNOWN,
    };
    let checked = if settings.check_source { VniValue::CHECK_SOURCE } else { 0 };
    let witness = if settings.witness { VniValue::WITNESS } else { 0 };
    let learns = if settings.learn_underlay { VniValue::LEARN_UNDERLAY } else { 0 };
    unknown | checked | witness | learns | if settings.suppress { VniValue::SUPPRESS } else { 0 }
}

/// All of them, or the one that makes the copies for us.
fn remote_members(
    inputs: &Inputs<'_>,
    vteps: &VtepIndices,
    network: &NumberedNetwork<'_>,
    sound: &SoundSince,
    dataplane: &Dataplane,
) -> impl Iterator<Item = u32> {
    let named = network.logical_switch.flood.iter().filter_map(|name| vteps.get(name).copied());
    let members: BTreeSet<u32> = named.chain(kept::flooded(inputs, network, dataplane)).collect();
    let chosen: BTreeSet<u32> = match network.logical_switch.replication {
        Replication::SourceNode => members,
        Replication::ServiceNode => {
            let before = inputs.installed.networks.get(&network.vni);
            let before = before.into_iter().flat_map(|network| &network.flood);
            let before = before.copied().find_map(|target| match target {
                Target::Vtep(index) => Some(index),
                _ => None,
            });
            let nodes = ServiceNodes { vni: network.vni, members, dataplane, sound, now: inputs.now };
            nodes.choose(before).into_iter().collect()
        }
    };
    chosen.into_iter()
}

/// Who may send into a VNI: its flood members and whoever has a MAC in it. Under VNI 0 stands every VTEP.
pub(super) fn admit(
    inputs: &Inputs<'_>,
    vteps: &VtepIndices,
    networks: &Numbered<'_>,
    mut owners: Owners,
    desired: &mut Desired,
) {
    let mut left = inputs.config.dataplane.senders_max() as usize;
    let dataplane = &mut desired.dataplane;
    let everywhere = (0, dataplane.vteps.keys().copied().collect());
    let each = networks.values().map(|network| {
        let flood = network.logical_switch.flood.iter().filter_map(|name| vteps.get(name));
        let mut senders = owners.remove(&network.vni).unwrap_or_default();
        senders.extend(flood.filter(|index| dataplane.vteps.contains_key(*index)));
        senders.extend(kept::flooded(inputs, network, dataplane));
        (network.vni, senders)
    });
    let mut rows = vec![everywhere];
    rows.extend(each);
    let wanted: usize = rows.iter().map(|(_, senders): &(u32, BTreeSet<u32>)| senders.len()).sum();
    for (vni, senders) in rows {
        for index in senders.into_iter().take(left) {
            left -= 1;
            if let Some(row) = dataplane.vteps.get(&index) {
                dataplane.senders.insert(VtepByIpKey { vni, address: row.adj.remote }, index);
            }
        }
    }
    if wanted > dataplane.senders.len() {
        let message = format!("{} of {wanted} pairs of VNI and VTEP have room", dataplane.senders.len());
        desired.alarms.insert(Alarm::new(AlarmKind::SenderTableFull, &inputs.config.agent.name, message));
    }
}
