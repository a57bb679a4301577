//! What packet-rate mode needs to know of its interfaces, read anew before each comparison.

use std::collections::BTreeSet;

use tracing::{info, warn};

use super::host::Host;
use crate::alarm::{Alarm, AlarmKind};
use crate::config::{Config, Deliver};
use crate::genetlink::{Genetlink, GenetlinkError};
use crate::links::{Link, Links};
use crate::packet_rate::{Facts, PacketRate, Role, State, state};

impl Host {
    /// Says what became of each interface that is to be in packet-rate mode, in alarms while it is not.
    pub(super) fn read_packet_rate(&mut self) {
        let read = read(&self.config, &self.links, &self.trunks());
        for (&ifindex, state) in &read.by_ifindex {
            if self.packet_rate.state(ifindex) != Some(state) {
                info!(interface = self.interface(ifindex), ?state, "packet-rate mode");
            }
            let message = match state {
                State::Refused(reason) => reason.clone(),
                State::On { takes_none: Some(reason) } => format!("frames to it go by way of TC: {reason}"),
                State::On { takes_none: None } => continue,
            };
            self.kernel_alarms.insert(Alarm::new(AlarmKind::PacketRate, &self.interface(ifindex), message));
        }
        self.packet_rate = read;
    }

    /// By the table, or by what is installed until there is one.
    fn trunks(&self) -> BTreeSet<String> {
        if let Some(table) = &self.table {
            let tagged = table.bindings.keys().filter(|(_, vlan)| vlan.as_u16() != 0);
            tagged.map(|(name, _)| name.to_string()).collect()
        } else {
            let tagged = self.installed.ports.keys().filter(|port| port.vlan != 0);
            tagged.map(|port| self.interface(port.ifindex)).collect()
        }
    }
}

/// Interfaces that do not exist have alarms of their own. `trunks` are the ports with bindings of a VLAN.
pub(crate) fn read(config: &Config, links: &Links, trunks: &BTreeSet<String>) -> PacketRate {
    let uplinks = config.underlay.packet_rate.iter().map(|name| (name.as_str(), Role::Uplink));
    let ports = config.ports.iter().filter(|port| port.packet_rate).map(|port| {
        let trunk = trunks.contains(port.name.as_str());
        (port.name.as_str(), Role::Port { trunk })
    });
    let wanted = uplinks.chain(ports);
    let present: Vec<_> = wanted.filter_map(|(name, role)| Some((links.by_name.get(name)?, role))).collect();
    let passed_by = config.ports.iter().filter(|port| port.deliver == Deliver::Peer);
    let passed_by: Vec<_> =
        passed_by.filter_map(|port| links.by_name.get(port.name.as_str())).map(|link| link.ifindex).collect();
    if present.is_empty() && passed_by.is_empty() {
        return PacketRate::default();
    }
    let netlink = Genetlink::open();
    let features = |ifindex: u32| {
        let netlink = netlink.as_ref().map_err(chain)?;
        netlink.xdp_features(ifindex).map_err(|error| chain(&error))
    };
    let of = |link: &Link, role| {
        let facts =
            netlink.as_ref().map_err(chain).and_then(|netlink| facts(netlink, link).map_err(|e| chain(&e)));
        match facts {
            Ok(facts) => state(link, &facts, role),
            Err(error) => {
                warn!(error, "an interface cannot be asked");
                State::Refused(error)
            }
        }
    };
    let states: Vec<_> =
        present.into_iter().map(|(link, role)| (link.ifindex, role, of(link, role))).collect();
    let is_uplink = |role: &Role, state: &State| matches!((role, state), (Role::Uplink, State::On { .. }));
    PacketRate {
        has_uplink: states.iter().any(|(_, role, state)| is_uplink(role, state)),
        by_ifindex: states.into_iter().map(|(ifindex, _, state)| (ifindex, state)).collect(),
        passed_by: passed_by
            .into_iter()
            .filter_map(|ifindex| match features(ifindex) {
                Ok(features) => Some((ifindex, features)),
                Err(error) => {
                    warn!(error, ifindex, "an interface cannot be asked");
                    None
                }
            })
            .collect(),
    }
}

pub(crate) fn facts(netlink: &Genetlink, link: &Link) -> Result<Facts, GenetlinkError> {
    let peer = link.below.filter(|_| link.kind.as_deref() == Some("veth"));
    Ok(Facts {
        xdp: netlink.xdp_features(link.ifindex)?,
        offloads: netlink.offloads(link.ifindex)?,
        driver_flags: netlink.private_flags(link.ifindex)?,
        peer_offloads: peer.map(|peer| netlink.offloads(peer)).transpose()?,
    })
}

fn chain(error: &GenetlinkError) -> String {
    vtep_api::daemon::chain(error)
}
