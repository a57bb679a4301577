//! Short words for what tests speak of.

use std::collections::{BTreeMap, BTreeSet};

use vtep_api::{
    Binding, ControllerName, LogicalSwitchName, MacAddr, Replication, Role, SwitchPortName, UnknownUnicast,
    VlanId, Vni, VtepName,
};
use vtep_controller::declared::{Declared, DeclaredSwitch, DeclaredVtep, Pin, WitnessPolicy};

pub fn pc(name: &str) -> ControllerName {
    name.parse().unwrap()
}

pub fn vtep(name: &str) -> VtepName {
    name.parse().unwrap()
}

pub fn ls(name: &str) -> LogicalSwitchName {
    name.parse().unwrap()
}

pub fn mac(number: u32) -> MacAddr {
    let [a, b, c, d] = number.to_be_bytes();
    MacAddr::new([2, 0, a, b, c, d])
}

pub fn pin(network: &str, number: u32, at: &str) -> Pin {
    Pin { logical_switch: ls(network), mac: mac(number), vtep: vtep(at) }
}

pub const M: Role = Role::Master;
pub const S: Role = Role::Slave;

/// VTEPs by physical controller, and who takes part in which network. Addresses are 192.0.2.1 and so on, in order.
pub fn declared(servers: &[(&str, &[&str])], networks: &[(&str, &[&str])]) -> Declared {
    let mut declared = Declared::default();
    let mut next = 0;
    for (server, vteps) in servers {
        for name in *vteps {
            next += 1;
            let address = Some(std::net::Ipv4Addr::new(192, 0, 2, next).into());
            let physical_controller = Some(pc(server));
            declared
                .vteps
                .insert(vtep(name), DeclaredVtep { address, physical_controller, ..DeclaredVtep::default() });
        }
    }
    for (number, (name, members)) in (1_i64..).zip(networks) {
        let vni = Vni::try_from(100 + number).unwrap();
        let switch = DeclaredSwitch {
            vni,
            logical_controller: None,
            unknown_unicast: UnknownUnicast::default(),
            replication: Replication::default(),
            service_nodes: BTreeSet::new(),
            witness: WitnessPolicy::default(),
        };
        declared.logical_switches.insert(ls(name), switch);
        for member in *members {
            let binding = Binding {
                port: SwitchPortName::try_from("p0").unwrap(),
                vlan: VlanId::try_from(number).unwrap(),
                logical_switch: ls(name),
            };
            declared.bindings.entry(vtep(member)).or_default().insert(binding);
        }
    }
    declared
}

/// The masters of a table, for comparison.
pub fn masters(rows: &[(u32, &str)]) -> BTreeMap<MacAddr, VtepName> {
    rows.iter().map(|(number, name)| (mac(*number), vtep(name))).collect()
}
