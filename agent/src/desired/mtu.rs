//! Whether the packets of a port fit into the underlay, and into the other ports of its VNI.

use std::collections::BTreeMap;

use vtep_abi::{PortValue, VtepAdj};

use super::{Desired, Inputs};
use crate::alarm::{Alarm, AlarmKind};
use crate::dataplane::{Dataplane, PortId};

/// Of a tag that goes inside a tunnel.
const TAG_LEN: u16 = 4;

/// The largest IP packet of a VNI that every VTEP of it can be sent; none where it has no VTEP with a route.
pub fn path_mtu(dataplane: &Dataplane, vni: u32) -> Option<u16> {
    let senders = dataplane.senders.iter().filter(|(key, _)| key.vni == vni);
    let adjacencies = senders.filter_map(|(_, index)| dataplane.vteps.get(index)).map(|row| &row.adj);
    adjacencies.filter(|adj| adj.is(VtepAdj::ROUTED)).map(VtepAdj::room).min()
}

pub(super) fn alarms(inputs: &Inputs<'_>, desired: &mut Desired) {
    of_paths(inputs, desired);
    between_ports(desired);
}

/// The smallest and the largest of each VNI.
fn between_ports(desired: &mut Desired) {
    let mut by_vni = BTreeMap::<u32, Vec<(u32, &str)>>::new();
    for port in desired.dataplane.local_ports.values() {
        let id = PortId { ifindex: port.ifindex, vlan: port.vlan };
        let Some(name) = desired.names.ports.get(&id) else { continue };
        by_vni.entry(port.vni).or_default().push((port.mtu, name));
    }
    for (vni, ports) in by_vni {
        let (Some(least), Some(most)) = (ports.iter().min(), ports.iter().max()) else { continue };
        if least.0 == most.0 {
            continue;
        }
        let message = format!(
            "the MTU of {} is {}, that of {} is {}; expected one for all ports of VNI {vni}: what is longer than a \
             port's own does not reach it",
            least.1, least.0, most.1, most.0
        );
        let subject =
            desired.names.networks.get(&vni).map_or_else(|| format!("VNI {vni}"), ToString::to_string);
        desired.alarms.insert(Alarm::new(AlarmKind::MtuDiffers, &subject, message));
    }
}

/// A VM that believes its port's MTU sends what is dropped.
fn of_paths(inputs: &Inputs<'_>, desired: &mut Desired) {
    let mut paths = BTreeMap::new();
    for (id, port) in &desired.dataplane.ports {
        let path = *paths.entry(port.vni).or_insert_with(|| path_mtu(&desired.dataplane, port.vni));
        let link = inputs.links.by_index(id.ifindex);
        let (Some(path), Some((name, link))) = (path, link) else { continue };
        let tagged = port.flags & (PortValue::KEEP_TAG | PortValue::CARRY_TAG) != 0;
        let path = path.saturating_sub(if tagged { TAG_LEN } else { 0 });
        if link.mtu > u32::from(path) {
            let message = format!("its MTU is {}; the underlay of VNI {} takes {path}", link.mtu, port.vni);
            desired.alarms.insert(Alarm::new(AlarmKind::MtuTooBig, name, message));
        }
    }
}
