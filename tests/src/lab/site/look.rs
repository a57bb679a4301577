//! What VTEPs have, by their own word.

use anyhow::Result;
use serde_json::{Value, json};

use super::{Site, network};
use crate::{
    frame,
    lab::{Agent, Place, Tor, Vm},
};

impl Site {
    /// Whether every VTEP has bound all ports that are declared for it.
    pub fn is_bound(&self) -> Option<()> {
        let ports = |agent: &Agent| {
            let rows = agent.json(&["port", "show"]).ok()?;
            Some(rows.as_array()?.iter().filter(|row| row["vni"].is_u64() && row["attached"] == true).count())
        };
        let racks = self
            .racks
            .iter()
            .all(|rack| rack.tors.iter().all(|tor| ports(&tor.agent) == Some(rack.hosts().len())));
        (racks && ports(&self.sfe) == Some(1)).then_some(())
    }

    /// Whether all of these VTEPs forward by exactly this table: VMs, and behind whom they are.
    pub fn forwards_by(&self, vni: u32, vteps: &[&str], table: &[(&str, &str)]) -> Option<()> {
        let mut agents = self.agents().filter(|(name, _)| vteps.contains(name));
        let row = |vtep, vm, master| (self.vm(vm).mac, self.place(vtep, master));
        let same = agents.all(|(vtep, agent)| {
            let expected = table.iter().map(|(vm, master)| row(vtep, vm, master)).collect();
            agent.places(vni).is_ok_and(|places| places == expected)
        });
        same.then_some(())
    }

    /// Whether all of these VTEPs have these VMs there, whatever else they have.
    pub fn places(&self, vni: u32, vteps: &[&str], table: &[(&str, &str)]) -> Option<()> {
        let mut agents = self.agents().filter(|(name, _)| vteps.contains(name));
        let all = agents.all(|(vtep, agent)| {
            let places = agent.places(vni).unwrap_or_default();
            let has = |vm, master| places.get(&self.vm(vm).mac) == Some(&self.place(vtep, master));
            table.iter().all(|(vm, master)| has(vm, master))
        });
        all.then_some(())
    }

    /// Whether all of these VTEPs know the other TOR of its rack as the slave of each of these VMs. That one claims for
    /// itself, and what it says may come later than all that its master says.
    pub fn knows_slaves(&self, vni: u32, vteps: &[&str], table: &[(&str, &str)]) -> Option<()> {
        let knows = |vtep: &str, vm: &str, slave: &str| {
            let (mac, address) = (self.vm(vm).mac.to_string(), self.address(slave).to_string());
            if vtep == "sfe" {
                let row = self.sfe.json(&["fdb", "get", &vni.to_string(), &mac]).unwrap_or_default();
                return row["slave"]["vtep"]["address"] == address;
            }
            let select = |table, wanted| self.tor(vtep).ovsdb.select(table, &wanted).unwrap_or_default();
            let rows = select("Ucast_Macs_Remote", json!([["MAC", "==", mac]]));
            let of_slave = select("Physical_Locator", json!([["dst_ip", "==", address]]));
            rows.iter().any(|row| {
                let told = |locator: &Value| row["slave_locators"] == locator["_uuid"];
                if vtep == slave { row["role"] == "slave" } else { of_slave.iter().any(told) }
            })
        };
        let all = vteps.iter().all(|vtep| {
            let of_others = table.iter().filter(|(_, master)| master != vtep && *master != "sfe");
            of_others.map(|(vm, master)| (vm, self.beside(master))).all(|(vm, slave)| knows(vtep, vm, slave))
        });
        all.then_some(())
    }

    /// The other TOR of its rack.
    fn beside(&self, tor: &str) -> &str {
        let mut racks = self.racks.iter().map(|rack| [&rack.tors[0], &rack.tors[1]].map(Tor::name));
        let [one, other] = racks.find(|names| names.contains(&tor)).expect("a TOR of the layout");
        if one == tor { other } else { one }
    }

    /// As `vtep` has it.
    fn place(&self, vtep: &str, master: &str) -> Place {
        if vtep == master { Place::Here } else { Place::At(self.address(master)) }
    }

    /// Whether a frame on the fabric is for this VM, in that network.
    pub fn carries(&self, frame: &[u8], vni: u32, vm: &Vm) -> bool {
        let for_vm = |inner: &[u8]| inner.starts_with(&vm.mac.octets());
        frame::decap(frame).is_ok_and(|(outer, inner)| outer.vni == vni && for_vm(&inner))
    }

    /// What a TOR reports, with the versions of its rows.
    pub fn reports(&self, tor: &str) -> Result<Vec<Value>> {
        rows(self.tor(tor), "Ucast_Macs_Local")
    }

    /// All rows of a network's MACs, with their versions, whoever has them.
    pub fn rows_of(&self, wanted: &str) -> Result<Vec<Value>> {
        let vms = self.layout.vms.iter().filter(|(_, _, host)| network(host) == wanted);
        let macs: Vec<_> = vms.map(|(name, ..)| self.vm(name).mac.to_string()).collect();
        let is_wanted = |row: &Value| macs.iter().any(|mac| row["MAC"] == mac.as_str());
        let mut all = Vec::new();
        for tor in self.tors() {
            for table in ["Ucast_Macs_Local", "Ucast_Macs_Remote"] {
                all.extend(rows(tor, table)?.into_iter().filter(is_wanted));
            }
        }
        Ok(all)
    }

    /// What these VTEPs were told: every row that a controller writes, with its version, or how many updates came.
    pub fn told(&self, vteps: &[&str]) -> Result<Vec<Value>> {
        let mut all = Vec::new();
        for tor in self.tors().filter(|tor| vteps.contains(&tor.name())) {
            for table in ["Logical_Switch", "Ucast_Macs_Remote", "Mcast_Macs_Remote", "Physical_Locator"] {
                all.extend(rows(tor, table)?);
            }
        }
        if vteps.contains(&"sfe") {
            let source = &self.sfe.json(&["status"])?["source"];
            all.extend([source["snapshots"].clone(), source["deltas"].clone()]);
        }
        Ok(all)
    }
}

/// With their versions: the server gives a row another whenever it is written (RFC 7047 §3.2).
fn rows(tor: &Tor, table: &str) -> Result<Vec<Value>> {
    let mut rows = tor.ovsdb.select(table, &json!([]))?;
    rows.sort_by_key(Value::to_string);
    Ok(rows)
}
