//! What should be known before it is needed: a VTEP that is silent, a slave that could not serve.

use std::collections::BTreeSet;

use vtep_abi::{Target, VtepAdj};

use super::{Desired, Inputs, adjacency};
use crate::alarm::{Alarm, AlarmKind};

pub(super) fn alarms(inputs: &Inputs<'_>, desired: &mut Desired) {
    let mut alarms = Vec::new();
    for (index, known) in inputs.liveness {
        let Some(row) = desired.dataplane.vteps.get(index) else { continue };
        if adjacency::ip(row.adj.remote) != known.address {
            continue;
        }
        let message = if known.suspect {
            format!("its BFD session is {} ({}); slaves serve its MACs", known.standing, known.diagnostic)
        } else if known.overdue {
            let complaint = known.complaint.as_deref().unwrap_or("nothing is heard");
            format!("its BFD session does not come up: {complaint}")
        } else {
            continue;
        };
        alarms.push(Alarm::new(AlarmKind::BfdDown, &known.address, message));
    }
    let slaves: BTreeSet<u32> = desired
        .dataplane
        .fdb
        .values()
        .filter_map(|target| if let Target::Vtep(index) = target.slave { Some(index) } else { None })
        .collect();
    for index in slaves {
        let Some(row) = desired.dataplane.vteps.get(&index) else { continue };
        let reason = if !row.up {
            "no route leads to it"
        } else if row.suspect {
            "it is silent, or its uplink has no carrier"
        } else if !row.adj.is(VtepAdj::RESOLVED) {
            "its next hop is not resolved"
        } else {
            continue;
        };
        let message = format!("it is a slave, and would fail its MACs: {reason}");
        alarms.push(Alarm::new(AlarmKind::SlaveWouldFail, &adjacency::ip(row.adj.remote), message));
    }
    desired.alarms.extend(alarms);
}
