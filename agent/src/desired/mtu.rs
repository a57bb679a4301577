//! Whether the packets of a port fit into the underlay.

use vtep_abi::{PortValue, VtepAdj};

use super::{Desired, Inputs};
use crate::alarm::{Alarm, AlarmKind};
use crate::dataplane::Dataplane;

/// Of a tag that goes inside a tunnel.
const TAG_LEN: u16 = 4;

/// The largest IP packet of a VNI that every VTEP of it can be sent; none where it has no VTEP with a route.
pub fn path_mtu(dataplane: &Dataplane, vni: u32) -> Option<u16> {
    let senders = dataplane.senders.iter().filter(|(key, _)| key.vni == vni);
    let adjacencies = senders.filter_map(|(_, index)| dataplane.vteps.get(index)).map(|row| &row.adj);
    adjacencies.filter(|adj| adj.is(VtepAdj::ROUTED)).map(VtepAdj::room).min()
}

/// A VM that believes its port's MTU sends what is dropped.
pub(super) fn alarms(inputs: &Inputs<'_>, desired: &mut Desired) {
    let mut paths = std::collections::BTreeMap::new();
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
