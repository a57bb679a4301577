//! Sources that the table has behind another VTEP than the one that sends from them: told to the agent, and let be.

use vtep_abi::{Event, EventKind, FdbValue, Target};

use crate::context;
use crate::header::Mac;
use crate::maps;

/// `entry` is the MAC's, which nobody learnt, and its master another than `vtep`.
#[inline(always)]
pub(crate) fn note(vni: u32, vtep: u32, entry: FdbValue, mac: Mac) {
    let is_behind_a_vtep = matches!(entry.master(), Target::Vtep(_));
    if !is_behind_a_vtep || !maps::is_witness_due(vtep, vni, mac.word(), context::now_coarse()) {
        return;
    }
    let Some(adj) = maps::adjacency(vtep) else { return };
    let at_slave = entry.slave() == Target::Vtep(vtep);
    let kind = if at_slave { EventKind::SourceAtSlave } else { EventKind::SourceElsewhere } as u32;
    maps::report(Event { kind, vni, ifindex: 0, vlan: 0, mac: mac.bytes(), address: adj.remote });
}
