use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ovsdb::{Row, Uuid};
use vtep_api::{LogicalSwitchName, SwitchPortName, VtepState};

use super::super::mark;
use super::Observer;
use crate::mirror::Mirror;
use crate::rows::{LogicalSwitch, PhysicalSwitch, Tunnel};
use crate::tunnel;
use crate::view::{Reason, Refusals, cut, unicast_address};

impl Observer {
    pub(super) fn derive_state(&self, mirror: &Mirror) -> VtepState {
        let mut refusals = Refusals::default();
        let mut state = VtepState { address: self.address(mirror), ..VtepState::default() };
        if let Some((uuid, row)) = mirror.physical_switch(&self.device) {
            for text in row.tunnel_ips.iter().filter(|text| unicast_address(text).is_none()) {
                refusals.push(PhysicalSwitch::TABLE, uuid, Reason::OwnAddress { text: cut(text) });
            }
            let ports = mirror.ports::<SwitchPortName>(&self.device, &mut refusals);
            for (name, (_, port)) in ports {
                state.networks.extend(mark::foreign_bindings(mirror, port));
                state.faults.extend(port.faults.iter().map(|fault| format!("{fault} on {name}")));
                state.ports.insert(name);
            }
            state.faults.extend(row.faults.iter().cloned());
            state.bfd = sessions(mirror, row);
            (state.reachable, state.unreachable) = self.found(mirror, &row.tunnels, &mut refusals);
        } else {
            let reason = Reason::NoSwitch { name: self.device.clone() };
            refusals.push(PhysicalSwitch::TABLE, Uuid::ZERO, reason);
        }
        for (uuid, row) in mirror.logical_switches.iter() {
            if let Err(error) = LogicalSwitchName::try_from(row.name.as_str()) {
                refusals.push(LogicalSwitch::TABLE, uuid, error);
            }
        }
        for refusal in self.row_refusals() {
            refusals.push(refusal.table, refusal.row, refusal.reason);
        }
        state.refusals = refusals.iter().map(ToString::to_string).collect();
        state.refusals.extend(mirror.refused().iter().map(ToString::to_string));
        state
    }

    /// A session that is down may never have been up: then it says nothing of its peer.
    pub(super) fn note_alive(&mut self, mirror: &Mirror) {
        let before = std::mem::take(&mut self.alive_once);
        let Some((_, row)) = mirror.physical_switch(&self.device) else { return };
        for tunnel in row.tunnels.iter().filter_map(|&uuid| mirror.tunnels.row(uuid)) {
            let remote = mirror.locators.row(tunnel.remote);
            let Some(address) = remote.and_then(|row| unicast_address(&row.dst_ip)) else { continue };
            match tunnel.bfd_status.get("state") {
                Some(state) if state == "up" || before.contains(&address) => {
                    self.alive_once.insert(address);
                }
                _ => {}
            }
        }
    }

    /// Whom BFD finds alive and whom dead (`vtep(5)`, `Tunnel.bfd_status`).
    fn found(
        &self,
        mirror: &Mirror,
        tunnels: &BTreeSet<Uuid>,
        refusals: &mut Refusals,
    ) -> (BTreeSet<IpAddr>, BTreeSet<IpAddr>) {
        let (mut alive, mut dead) = (BTreeSet::new(), BTreeSet::new());
        for &uuid in tunnels {
            let Some(tunnel) = mirror.tunnels.row(uuid) else { continue };
            let is_alive = match tunnel.bfd_status.get("state").map(String::as_str) {
                Some("up") => true,
                Some("down") => false,
                _ => continue,
            };
            let remote = mirror.locators.row(tunnel.remote);
            match remote.map(|row| unicast_address(&row.dst_ip).ok_or(&row.dst_ip)) {
                Some(Ok(address)) if self.addresses.own.contains(&address) => {}
                Some(Ok(address)) if is_alive => {
                    alive.insert(address);
                }
                Some(Ok(address)) if self.alive_once.contains(&address) || fell_silent(tunnel) => {
                    dead.insert(address);
                }
                Some(Ok(_)) => {}
                Some(Err(text)) => refusals.push(Tunnel::TABLE, uuid, Reason::Address { text: cut(text) }),
                None => refusals.push(Tunnel::TABLE, uuid, Reason::NoLocator),
            }
        }
        (alive, dead)
    }
}

/// Of the tunnels that have a session, its state, and why if it is not up.
fn sessions(mirror: &Mirror, switch: &PhysicalSwitch) -> BTreeMap<IpAddr, String> {
    let rows = tunnel::rows(mirror, switch);
    let told = rows.into_iter().filter_map(|(address, found)| {
        let status = &found.row.bfd_status;
        let state = status.get("state").filter(|_| status.get("enabled").is_none_or(|on| on != "false"))?;
        let why = status.get("diagnostic").filter(|why| state != "up" && !why.is_empty());
        let why = why.map(|why| format!(": {}", cut(why))).unwrap_or_default();
        Some((address, format!("{}{why}", cut(state))))
    });
    told.collect()
}

/// By its diagnostic (RFC 5880 §4.1) the session was up, and ended by silence.
fn fell_silent(tunnel: &Tunnel) -> bool {
    let diagnostic = tunnel.bfd_status.get("diagnostic");
    diagnostic.is_some_and(|text| text.eq_ignore_ascii_case("Control Detection Time Expired"))
}
