use std::collections::BTreeSet;

use vtep_api::SwitchPortName;

use super::super::{Subject, Write, mark};
use super::{Conflict, Sight, Structure};
use crate::view::Refusals;

pub(super) fn plan(sight: Sight<'_>, structure: &mut Structure) {
    let ports = sight.mirror.ports::<SwitchPortName>(sight.device, &mut Refusals::default());
    for ((port, vlan), switch) in &sight.desired.bindings {
        let subject = || Subject::Binding(port.clone(), *vlan);
        let Some(&(port_row, found)) = ports.get(port) else {
            structure.conflicts.push((subject(), Conflict::NoPort { port: port.clone() }));
            continue;
        };
        // One that is not there yet is seen first.
        let Some(&row) = sight.index.switches.get(switch) else { continue };
        match mark::bound(sight.mirror, found, *vlan) {
            Some((bound, _)) if bound == switch.as_str() => {}
            Some((bound, false)) => {
                let (port, wanted) = (port.clone(), switch.clone());
                let conflict = Conflict::Bound { port, vlan: *vlan, bound: bound.to_owned(), wanted };
                structure.conflicts.push((subject(), conflict));
            }
            _ => structure.additions.push(Write::Bind {
                port: port.clone(),
                port_row,
                vlan: *vlan,
                switch: switch.clone(),
                row,
            }),
        }
    }
    if !sight.desired.complete {
        return;
    }
    let desired: BTreeSet<_> = sight.desired.bindings.keys().map(|(port, vlan)| (port, *vlan)).collect();
    for (port, &(port_row, found)) in &ports {
        for (vlan, _) in mark::bindings(found).filter(|&(vlan, _)| !desired.contains(&(port, vlan))) {
            let bound = mark::bound(sight.mirror, found, vlan).is_some_and(|(_, ours)| ours);
            structure.removals.push(Write::Unbind { port: port.clone(), port_row, vlan, bound });
        }
    }
}
