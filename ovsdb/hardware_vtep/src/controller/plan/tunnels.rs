use super::super::{Conflict, Subject, Write, mark};
use super::{Sight, Structure};
use crate::tunnel;

/// The rows are the TOR's; of them we write `bfd_params`, unless somebody else has.
pub(super) fn plan(sight: Sight<'_>, structure: &mut Structure) {
    let Some((_, switch)) = sight.mirror.physical_switch(sight.device) else { return };
    for (address, found) in tunnel::rows(sight.mirror, switch) {
        let (row, params) = (found.uuid, &found.row.bfd_params);
        let ours = mark::is_asked(params);
        match sight.desired.tunnels.get(&address) {
            Some(wanted) if *params == mark::asked(wanted) => {}
            Some(_) if ours || params.is_empty() => {
                structure.additions.push(Write::AskTunnel { row, address });
            }
            Some(_) => {
                structure.conflicts.push((Subject::Tunnel(address), Conflict::TunnelForeign { address }));
            }
            None if ours && sight.desired.complete => {
                structure.removals.push(Write::LeaveTunnel { row, address });
            }
            None => {}
        }
    }
}
