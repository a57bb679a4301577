use ovsdb::{Cells, Datum, Mutation, Reference, Row, Transaction};

use super::plan::Room;
use super::{CREATED_BY, DesiredDevice, LocalMac, Write};
use crate::mirror::Mirror;
use crate::rows::{
    Global, McastMacLocal, PhysicalLocator, PhysicalLocatorSet, PhysicalPort, PhysicalSwitch, UNKNOWN_DST,
    UcastMacLocal, VXLAN,
};
use crate::view::unicast_address;

/// Writes that go into one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    writes: Vec<Write>,
    transaction: Transaction,
    /// To which write each operation belongs; none for a locator that several share.
    owners: Vec<Option<usize>>,
}

impl Batch {
    pub(super) fn compose(mirror: &Mirror, desired: &DesiredDevice, writes: Vec<Write>) -> Self {
        let mut composer = Composer { mirror, desired, batch: Transaction::new(), locator: None, set: None };
        let mut owners = Vec::new();
        for (index, write) in writes.iter().enumerate() {
            composer.prepare(write);
            owners.resize(composer.batch.len(), None);
            composer.write(index, write);
            owners.resize(composer.batch.len(), Some(index));
        }
        Self { writes, transaction: composer.batch, owners }
    }

    pub fn transaction(&self) -> &Transaction {
        &self.transaction
    }

    pub fn writes(&self) -> &[Write] {
        &self.writes
    }

    /// The write that an operation belongs to.
    pub(super) fn owner(&self, operation: usize) -> Option<&Write> {
        self.writes.get((*self.owners.get(operation)?)?)
    }
}

struct Composer<'a> {
    mirror: &'a Mirror,
    desired: &'a DesiredDevice,
    batch: Transaction,
    locator: Option<Reference>,
    set: Option<Reference>,
}

impl Composer<'_> {
    /// Sees to it that what the write refers to is there.
    fn prepare(&mut self, write: &Write) {
        match write {
            Write::AddFlood { .. } | Write::RepointFlood { .. } => {
                self.locator_set();
            }
            Write::AddMac { .. } | Write::UpdateMac { .. } => {
                self.locator();
            }
            _ => {}
        }
    }

    fn write(&mut self, index: usize, write: &Write) {
        match write {
            Write::AddSwitch => self.add_switch(),
            Write::UpdateSwitch { row, tunnel_ips } => {
                let cells = Cells::new()
                    .with("tunnel_ips", Datum::set(tunnel_ips.iter().map(String::as_str)))
                    .with("switch_fault_status", self.desired.faults.clone());
                self.batch.update(PhysicalSwitch::TABLE, *row, cells);
            }
            Write::AddPort { switch, port } => {
                let (name, reference) = named("port", index);
                let faults = self.desired.ports.get(port).map(|port| port.faults.clone()).unwrap_or_default();
                let cells = Cells::new()
                    .with("name", port.as_str())
                    .with("other_config", Datum::map([CREATED_BY]))
                    .with("port_fault_status", faults);
                self.batch.insert(PhysicalPort::TABLE, Some(name), cells);
                self.batch.mutate(
                    PhysicalSwitch::TABLE,
                    *switch,
                    vec![Mutation::insert("ports", [reference])],
                );
            }
            Write::UpdatePort { port, row } => {
                let faults = self.desired.ports.get(port).map(|port| port.faults.clone()).unwrap_or_default();
                self.batch.update(PhysicalPort::TABLE, *row, Cells::new().with("port_fault_status", faults));
            }
            Write::AddFlood { row, .. } => {
                let cells = Cells::new().with("MAC", UNKNOWN_DST).with("logical_switch", *row);
                let cells = cells.with("locator_set", self.locator_set());
                self.batch.insert(McastMacLocal::TABLE, None, cells);
            }
            Write::RepointFlood { row, .. } => {
                let cells = Cells::new().with("locator_set", self.locator_set());
                self.batch.update(McastMacLocal::TABLE, *row, cells);
            }
            Write::AddMac { switch, row, mac } => {
                let cells = Cells::new().with("MAC", mac.to_string()).with("logical_switch", *row);
                let wanted = self.wanted(switch, *mac);
                let cells = cells.with("locator", self.locator());
                let cells = self.claim(cells, wanted);
                self.batch.insert(UcastMacLocal::TABLE, None, cells);
            }
            Write::UpdateMac { switch, row, mac } => {
                let wanted = self.wanted(switch, *mac);
                let cells = Cells::new().with("locator", self.locator());
                let cells = self.claim(cells, wanted);
                self.batch.update(UcastMacLocal::TABLE, *row, cells);
            }
            Write::RemoveMac { row } => self.batch.delete(UcastMacLocal::TABLE, *row),
            Write::RemoveFlood { row } => self.batch.delete(McastMacLocal::TABLE, *row),
            Write::RemovePort { switch, row } => {
                self.batch.mutate(PhysicalSwitch::TABLE, *switch, vec![Mutation::delete("ports", [*row])]);
            }
        }
    }

    fn add_switch(&mut self) {
        let (name, reference) = named("device", 0);
        let cells = Cells::new()
            .with("name", self.desired.name.as_str())
            .with("tunnel_ips", [self.desired.tunnel_address.to_string()])
            .with("switch_fault_status", self.desired.faults.clone());
        self.batch.insert(PhysicalSwitch::TABLE, Some(name), cells);
        match self.mirror.global.iter().next() {
            Some((global, _)) => {
                self.batch.mutate(Global::TABLE, global, vec![Mutation::insert("switches", [reference])]);
            }
            None => self.batch.insert(Global::TABLE, None, Cells::new().with("switches", [reference])),
        }
    }

    fn wanted(&self, switch: &vtep_api::LogicalSwitchName, mac: vtep_api::MacAddr) -> LocalMac {
        self.desired.networks.get(switch).and_then(|macs| macs.get(&mac)).copied().unwrap_or_default()
    }

    fn claim(&self, cells: Cells, wanted: LocalMac) -> Cells {
        let room = Room::of(self.mirror);
        let role = || Datum::optional(wanted.role.map(crate::view::Role::as_str));
        let cells = if room.role { cells.with("role", role()) } else { cells };
        match wanted.claimed_at_ms {
            Some(at) if room.claimed_at => cells.with("claimed_at", at),
            _ => cells,
        }
    }

    /// The device's locator: that which is there, whoever made it, since a second one like it would fail the whole
    /// transaction.
    fn locator(&mut self) -> Reference {
        if let Some(locator) = &self.locator {
            return locator.clone();
        }
        let address = self.desired.tunnel_address;
        let present = self.mirror.locators.iter().find(|(_, row)| {
            let plain = row.encapsulation_type == VXLAN && row.tunnel_key.is_none();
            plain && unicast_address(&row.dst_ip) == Some(address)
        });
        let locator = if let Some((uuid, _)) = present {
            uuid.into()
        } else {
            let (name, reference) = named("locator", 0);
            let cells = Cells::new().with("encapsulation_type", VXLAN).with("dst_ip", address.to_string());
            self.batch.insert(PhysicalLocator::TABLE, Some(name), cells);
            reference
        };
        self.locator.insert(locator).clone()
    }

    fn locator_set(&mut self) -> Reference {
        if let Some(set) = &self.set {
            return set.clone();
        }
        let locator = self.locator();
        let alone = |locators: &std::collections::BTreeSet<_>| {
            locators.len() == 1 && locators.iter().all(|&only| Reference::Uuid(only) == locator)
        };
        let present = self.mirror.locator_sets.iter().find(|(_, row)| alone(&row.locators));
        let set = if let Some((uuid, _)) = present {
            uuid.into()
        } else {
            let (name, reference) = named("flood", 0);
            let cells = Cells::new().with("locators", [locator]);
            self.batch.insert(PhysicalLocatorSet::TABLE, Some(name), cells);
            reference
        };
        self.set.insert(set).clone()
    }
}

fn named(kind: &str, index: usize) -> (String, Reference) {
    let name = format!("{kind}{index}");
    (name.clone(), Reference::Named(name))
}
