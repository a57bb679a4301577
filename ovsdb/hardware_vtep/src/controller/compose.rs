use std::collections::BTreeMap;

use ovsdb::{Cells, Datum, Mutation, Reference, Row, Transaction, Uuid};
use vtep_api::{LogicalSwitchName, MacAddr, Replication};

use super::plan::{Room, Sight, slaves};
use super::{Batch, LOCK, Remote, Write, mark};
use crate::batch::{Compose, Locators, named};
use crate::rows::{
    LogicalSwitch, McastMacRemote, PhysicalLocatorSet, PhysicalPort, Tunnel, UNKNOWN_DST, UcastMacRemote,
};

pub(super) fn compose(sight: Sight<'_>, writes: Vec<Write>) -> Batch {
    let mut transaction = Transaction::new();
    transaction.assert_lock(LOCK);
    Batch::compose(transaction, writes, &mut Composer { sight, locators: Locators::default() })
}

struct Composer<'a> {
    sight: Sight<'a>,
    locators: Locators,
}

impl Compose<Write> for Composer<'_> {
    fn prepare(&mut self, write: &Write, transaction: &mut Transaction) {
        match write {
            Write::AddFlood { switch, .. } | Write::UpdateFlood { switch, .. } => {
                self.flood(switch, transaction);
            }
            Write::AddMac { switch, mac, .. } | Write::UpdateMac { switch, mac, .. } => {
                self.place(switch, *mac, transaction);
            }
            _ => {}
        }
    }

    fn write(&mut self, index: usize, write: &Write, transaction: &mut Transaction) {
        match write {
            Write::AddSwitch { switch } => {
                let cells = self.switch_cells(switch).with("name", switch.as_str());
                let room = mark::has_room(self.sight.mirror);
                let cells = if room { mark::created(cells) } else { cells };
                transaction.insert(LogicalSwitch::TABLE, None, cells);
            }
            Write::UpdateSwitch { switch, row } => {
                transaction.update(LogicalSwitch::TABLE, *row, self.switch_cells(switch));
                if mark::has_room(self.sight.mirror) {
                    transaction.mutate(LogicalSwitch::TABLE, *row, mark::manage());
                }
            }
            Write::Bind { port_row, vlan, switch, row, .. } => {
                let (key, vlan) = (mark::binding_key(*vlan), i64::from(vlan.as_u16()));
                let mutations = vec![
                    // An insert leaves a pair alone whose key is there.
                    Mutation::delete("vlan_bindings", [vlan]),
                    Mutation::insert("vlan_bindings", Datum::map([(vlan, *row)])),
                    Mutation::delete("other_config", [key.clone()]),
                    Mutation::insert("other_config", Datum::map([(key, switch.as_str())])),
                ];
                transaction.mutate(PhysicalPort::TABLE, *port_row, mutations);
            }
            Write::Unbind { port_row, vlan, bound, .. } => {
                let mut mutations = vec![Mutation::delete("other_config", [mark::binding_key(*vlan)])];
                if *bound {
                    mutations.push(Mutation::delete("vlan_bindings", [i64::from(vlan.as_u16())]));
                }
                transaction.mutate(PhysicalPort::TABLE, *port_row, mutations);
            }
            Write::AddFlood { switch, row } => {
                let set = self.locator_set(index, switch, transaction);
                let cells = Cells::new().with("MAC", UNKNOWN_DST).with("logical_switch", *row);
                transaction.insert(McastMacRemote::TABLE, None, cells.with("locator_set", set));
            }
            Write::UpdateFlood { switch, row, surplus } => {
                let set = self.locator_set(index, switch, transaction);
                transaction.update(McastMacRemote::TABLE, *row, Cells::new().with("locator_set", set));
                delete(transaction, McastMacRemote::TABLE, surplus);
            }
            Write::RemoveFlood { rows, .. } => delete(transaction, McastMacRemote::TABLE, rows),
            Write::AddMac { switch, row, mac } => {
                let cells = self.place(switch, *mac, transaction);
                let cells = cells.with("MAC", mac.to_string()).with("logical_switch", *row);
                transaction.insert(UcastMacRemote::TABLE, None, cells);
            }
            Write::UpdateMac { switch, mac, row, surplus } => {
                let cells = self.place(switch, *mac, transaction);
                transaction.update(UcastMacRemote::TABLE, *row, cells);
                delete(transaction, UcastMacRemote::TABLE, surplus);
            }
            Write::RemoveMac { rows, .. } => delete(transaction, UcastMacRemote::TABLE, rows),
            Write::AskTunnel { row, address } => {
                let wanted = self.sight.desired.tunnels.get(address).copied().unwrap_or_default();
                ask_tunnel(*row, &mark::asked(&wanted), transaction);
            }
            Write::LeaveTunnel { row, .. } => ask_tunnel(*row, &BTreeMap::new(), transaction),
            Write::RemoveRow { row } => transaction.delete(UcastMacRemote::TABLE, *row),
            Write::ReleaseSwitch { row } => {
                transaction.mutate(LogicalSwitch::TABLE, *row, mark::release());
            }
            Write::RemoveSwitch { row } => transaction.delete(LogicalSwitch::TABLE, *row),
        }
    }
}

impl Composer<'_> {
    fn switch_cells(&self, switch: &LogicalSwitchName) -> Cells {
        let outline = &self.sight.desired.switches[switch].outline;
        let mode = match outline.replication {
            Replication::SourceNode => "source_node",
            Replication::ServiceNode => "service_node",
        };
        Cells::new().with("tunnel_key", i64::from(outline.vni.as_u32())).with("replication_mode", mode)
    }

    /// The locators of a flood list.
    fn flood(&mut self, switch: &LogicalSwitchName, transaction: &mut Transaction) -> Vec<Reference> {
        let Self { sight, locators } = self;
        let flood = &sight.desired.switches[switch].outline.flood;
        let refer = |&address| locators.refer(address, || sight.index.locator(address), transaction);
        flood.difference(sight.own).map(refer).collect()
    }

    /// Sets are never changed: each list is a new one.
    fn locator_set(
        &mut self,
        index: usize,
        switch: &LogicalSwitchName,
        transaction: &mut Transaction,
    ) -> Reference {
        let cells = Cells::new().with("locators", self.flood(switch, transaction));
        let (name, reference) = named("flood", index);
        transaction.insert(PhysicalLocatorSet::TABLE, Some(name), cells);
        reference
    }

    /// What a row says of a MAC.
    fn place(&mut self, switch: &LogicalSwitchName, mac: MacAddr, transaction: &mut Transaction) -> Cells {
        let sight = self.sight;
        let remote: &Remote = &sight.desired.switches[switch].macs[&mac];
        let mut refer = |address| self.locators.refer(address, || sight.index.locator(address), transaction);
        let master = refer(remote.master);
        let ipaddr = remote.ips.first().map(ToString::to_string).unwrap_or_default();
        let mut cells = Cells::new().with("locator", master).with("ipaddr", ipaddr);
        let room = Room::of(sight);
        if room.slaves {
            let slaves: Vec<_> = slaves(sight, remote).into_iter().map(refer).collect();
            cells = cells.with("slave_locators", slaves);
        }
        if room.role {
            cells = cells.with("role", Datum::optional(remote.own_role.map(vtep_api::Role::as_str)));
        }
        cells
    }
}

fn ask_tunnel(row: Uuid, params: &BTreeMap<String, String>, transaction: &mut Transaction) {
    let params = Datum::map(params.iter().map(|(key, value)| (key.as_str(), value.as_str())));
    transaction.update(Tunnel::TABLE, row, Cells::new().with("bfd_params", params));
}

fn delete(transaction: &mut Transaction, table: &'static str, rows: &[Uuid]) {
    for &row in rows {
        transaction.delete(table, row);
    }
}
