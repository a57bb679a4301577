use std::net::IpAddr;

use ovsdb::{Cells, Datum, Mutation, Reference, Row, Transaction};

use super::plan::Room;
use super::{BFD_DST_IP, BFD_DST_MAC, CREATED_BY, DesiredDevice, LocalMac, Write};
use crate::batch::{Batch, Compose, Locators, named};
use crate::mirror::Mirror;
use crate::rows::{
    Global, McastMacLocal, PhysicalLocator, PhysicalLocatorSet, PhysicalPort, PhysicalSwitch, Tunnel,
    UNKNOWN_DST, UcastMacLocal, VXLAN,
};
use crate::view::unicast_address;

pub(super) fn compose(mirror: &Mirror, desired: &DesiredDevice, writes: Vec<Write>) -> Batch<Write> {
    let mut composer = Composer { mirror, desired, locators: Locators::default(), set: None };
    Batch::compose(Transaction::new(), writes, &mut composer)
}

struct Composer<'a> {
    mirror: &'a Mirror,
    desired: &'a DesiredDevice,
    locators: Locators,
    set: Option<Reference>,
}

impl Compose<Write> for Composer<'_> {
    fn prepare(&mut self, write: &Write, batch: &mut Transaction) {
        match write {
            Write::AddFlood { .. } | Write::RepointFlood { .. } => {
                self.locator_set(batch);
            }
            Write::AddMac { .. } | Write::UpdateMac { .. } => {
                self.locator(batch);
            }
            Write::AddTunnel { address, .. } => {
                self.locator(batch);
                self.locator_of(*address, batch);
            }
            _ => {}
        }
    }

    fn write(&mut self, index: usize, write: &Write, batch: &mut Transaction) {
        match write {
            Write::AddSwitch => self.add_switch(batch),
            Write::UpdateSwitch { row, tunnel_ips } => {
                let cells = Cells::new()
                    .with("tunnel_ips", Datum::set(tunnel_ips.iter().map(String::as_str)))
                    .with("switch_fault_status", self.desired.faults.clone());
                batch.update(PhysicalSwitch::TABLE, *row, cells);
            }
            Write::AddPort { switch, port } => {
                let (name, reference) = named("port", index);
                let faults = self.desired.ports.get(port).map(|port| port.faults.clone()).unwrap_or_default();
                let cells = Cells::new()
                    .with("name", port.as_str())
                    .with("other_config", Datum::map([CREATED_BY]))
                    .with("port_fault_status", faults);
                batch.insert(PhysicalPort::TABLE, Some(name), cells);
                batch.mutate(PhysicalSwitch::TABLE, *switch, vec![Mutation::insert("ports", [reference])]);
            }
            Write::UpdatePort { port, row } => {
                let faults = self.desired.ports.get(port).map(|port| port.faults.clone()).unwrap_or_default();
                batch.update(PhysicalPort::TABLE, *row, Cells::new().with("port_fault_status", faults));
            }
            Write::AddFlood { row, .. } => {
                let cells = Cells::new().with("MAC", UNKNOWN_DST).with("logical_switch", *row);
                let cells = cells.with("locator_set", self.locator_set(batch));
                batch.insert(McastMacLocal::TABLE, None, cells);
            }
            Write::RepointFlood { row, .. } => {
                let cells = Cells::new().with("locator_set", self.locator_set(batch));
                batch.update(McastMacLocal::TABLE, *row, cells);
            }
            Write::AddMac { switch, row, mac } => {
                let cells = Cells::new().with("MAC", mac.to_string()).with("logical_switch", *row);
                let wanted = self.wanted(switch, *mac);
                let cells = cells.with("locator", self.locator(batch));
                let cells = self.claim(cells, wanted);
                batch.insert(UcastMacLocal::TABLE, None, cells);
            }
            Write::UpdateMac { switch, row, mac } => {
                let wanted = self.wanted(switch, *mac);
                let cells = Cells::new().with("locator", self.locator(batch));
                let cells = self.claim(cells, wanted);
                batch.update(UcastMacLocal::TABLE, *row, cells);
            }
            Write::AddTunnel { switch, address } => {
                let (name, reference) = named("tunnel", index);
                let cells = Cells::new()
                    .with("local", self.locator(batch))
                    .with("remote", self.locator_of(*address, batch))
                    .with("bfd_config_local", Datum::map([CREATED_BY, BFD_DST_MAC, BFD_DST_IP]))
                    .with("bfd_status", self.status(*address));
                batch.insert(Tunnel::TABLE, Some(name), cells);
                batch.mutate(PhysicalSwitch::TABLE, *switch, vec![Mutation::insert("tunnels", [reference])]);
            }
            Write::UpdateTunnel { row, address } => {
                batch.update(Tunnel::TABLE, *row, Cells::new().with("bfd_status", self.status(*address)));
            }
            Write::RemoveTunnel { switch, row } => {
                batch.mutate(PhysicalSwitch::TABLE, *switch, vec![Mutation::delete("tunnels", [*row])]);
            }
            Write::RemoveMac { row } => batch.delete(UcastMacLocal::TABLE, *row),
            Write::RemoveFlood { row } => batch.delete(McastMacLocal::TABLE, *row),
            Write::RemovePort { switch, row } => {
                batch.mutate(PhysicalSwitch::TABLE, *switch, vec![Mutation::delete("ports", [*row])]);
            }
        }
    }
}

impl Composer<'_> {
    fn add_switch(&self, batch: &mut Transaction) {
        let (name, reference) = named("device", 0);
        let cells = Cells::new()
            .with("name", self.desired.name.as_str())
            .with("tunnel_ips", [self.desired.tunnel_address.to_string()])
            .with("switch_fault_status", self.desired.faults.clone());
        batch.insert(PhysicalSwitch::TABLE, Some(name), cells);
        match self.mirror.global.iter().next() {
            Some((global, _)) => {
                batch.mutate(Global::TABLE, global, vec![Mutation::insert("switches", [reference])]);
            }
            None => batch.insert(Global::TABLE, None, Cells::new().with("switches", [reference])),
        }
    }

    fn wanted(&self, switch: &vtep_api::LogicalSwitchName, mac: vtep_api::MacAddr) -> LocalMac {
        self.desired.networks.get(switch).and_then(|macs| macs.get(&mac)).copied().unwrap_or_default()
    }

    fn claim(&self, cells: Cells, wanted: LocalMac) -> Cells {
        let room = Room::of(self.mirror);
        let role = || Datum::optional(wanted.role.map(crate::view::Role::as_str));
        let cells = cells.with("ipaddr", wanted.address());
        let cells = if room.role { cells.with("role", role()) } else { cells };
        match wanted.claimed_at_ms {
            Some(at) if room.claimed_at => cells.with("claimed_at", at),
            _ => cells,
        }
    }

    /// The device's locator.
    fn locator(&mut self, batch: &mut Transaction) -> Reference {
        self.locator_of(self.desired.tunnel_address, batch)
    }

    fn status(&self, address: IpAddr) -> Datum {
        let status = self.desired.tunnels.get(&address).into_iter().flatten();
        Datum::map(status.map(|(key, value)| (key.as_str(), value.as_str())))
    }

    fn locator_of(&mut self, address: IpAddr, batch: &mut Transaction) -> Reference {
        let present = || {
            let plain = |row: &PhysicalLocator| row.encapsulation_type == VXLAN && row.tunnel_key.is_none();
            let here = |row: &PhysicalLocator| plain(row) && unicast_address(&row.dst_ip) == Some(address);
            self.mirror.locators.iter().find(|(_, row)| here(row)).map(|(uuid, _)| uuid)
        };
        self.locators.refer(address, present, batch)
    }

    fn locator_set(&mut self, batch: &mut Transaction) -> Reference {
        if let Some(set) = &self.set {
            return set.clone();
        }
        let locator = self.locator(batch);
        let alone = |locators: &std::collections::BTreeSet<_>| {
            locators.len() == 1 && locators.iter().all(|&only| Reference::Uuid(only) == locator)
        };
        let present = self.mirror.locator_sets.iter().find(|(_, row)| alone(&row.locators));
        let set = if let Some((uuid, _)) = present {
            uuid.into()
        } else {
            let (name, reference) = named("flood", 0);
            let cells = Cells::new().with("locators", [locator]);
            batch.insert(PhysicalLocatorSet::TABLE, Some(name), cells);
            reference
        };
        self.set.insert(set).clone()
    }
}
