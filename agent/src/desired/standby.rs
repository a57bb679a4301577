//! What should be known before it is needed: a VTEP that is silent, one that answers nothing, a slave that could not serve.

use std::collections::BTreeSet;

use vtep_abi::{Target, VtepAdj};
use vtep_bfd::State;

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
        } else if inputs.drill == Some(index) {
            "its own failover is rehearsed"
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
    alarms.extend(one_way(inputs, desired));
    desired.alarms.extend(alarms);
}

/// Where BFD says nothing, or that all is well.
fn one_way(inputs: &Inputs<'_>, desired: &Desired) -> Vec<Alarm> {
    let sound = desired.dataplane.vteps.iter().filter(|(_, row)| row.up && !row.suspect);
    let told = sound.filter_map(|(index, row)| {
        let vtep = adjacency::ip(row.adj.remote);
        let frames = inputs.one_way.unanswered(vtep)?;
        let up = inputs.liveness.get(index).is_some_and(|known| known.state == State::Up);
        let bfd = if up { ", though its BFD session is up" } else { "" };
        let message = format!("{frames} frames went there since one came back{bfd}; is its dataplane alive?");
        Some(Alarm::new(AlarmKind::OneWay, &vtep, message))
    });
    told.collect()
}
