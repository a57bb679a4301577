//! What a whole comparison would do about a few MACs of remote VTEPs, when nothing else changed.

use vtep_abi::{FdbKey, Target, VtepByIpKey};
use vtep_api::{LogicalSwitchName, MacAddr};

use super::Names;
use super::quota::Room;
use crate::dataplane::{Dataplane, FdbTarget};
use crate::learnt::Learnt;
use crate::plan::{Plan, Step};
use crate::table::{MacEntry, Table};

/// What the last comparison left.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Present<'a> {
    pub(crate) names: &'a Names,
    pub(crate) learnt: &'a Learnt,
    pub(crate) installed: &'a Dataplane,
    pub(crate) room: &'a Room,
}

/// With the room that is left; what leaves gives none back before the next comparison.
///
/// `None` where more than the entries themselves is concerned: a whole comparison has to decide. Senders that have lost
/// their last MAC are left to the next comparison too.
pub(crate) fn shortcut(
    changed: &[(LogicalSwitchName, MacAddr, Option<MacEntry>)],
    table: &Table,
    present: Present<'_>,
    macs_max: usize,
) -> Option<(Plan, Room)> {
    let Present { names, learnt, installed, room } = present;
    let mut room = room.clone();
    let (mut puts, mut removals) = (Vec::new(), Vec::new());
    for (name, mac, entry) in changed {
        let vni = table.logical_switches.get(name)?.vni.as_u32();
        installed.networks.get(&vni).filter(|_| names.networks.get(&vni) == Some(name))?;
        let key = FdbKey::new(vni, mac.octets());
        let present = installed.fdb.get(&key);
        let claimed = entry.is_none() && learnt.contains(&key);
        if claimed || present.is_some_and(|present| matches!(present.master, Target::LocalPort(_))) {
            return None;
        }
        match entry {
            Some(entry) => {
                let master = vtep(names, installed, vni, entry)?;
                if present == Some(&master) {
                    continue;
                }
                match (room.take(vni, present, &master), present) {
                    (true, _) => puts.push((key, master)),
                    // The next comparison says so.
                    (false, None) => {}
                    (false, Some(_)) => return None,
                }
            }
            None => removals.extend(present.map(|_| key)),
        }
    }
    if installed.fdb.len() + puts.len() > macs_max {
        return None;
    }
    let puts = (!puts.is_empty()).then_some(Step::PutFdb(puts));
    let removals = (!removals.is_empty()).then_some(Step::RemoveFdb(removals));
    Some((Plan { steps: puts.into_iter().chain(removals).collect() }, room))
}

fn vtep(names: &Names, installed: &Dataplane, vni: u32, entry: &MacEntry) -> Option<FdbTarget> {
    let admitted = |name| {
        let index = *names.vtep_indices.get(name)?;
        let address = installed.vteps.get(&index)?.adj.remote;
        installed.senders.contains_key(&VtepByIpKey { vni, address }).then_some(index)
    };
    let master = admitted(&entry.master)?;
    let slave = match &entry.slave {
        None => Target::None,
        Some(slave) => match admitted(slave)? {
            slave if slave == master => Target::None,
            slave => Target::Vtep(slave),
        },
    };
    Some(FdbTarget { master: Target::Vtep(master), slave, flags: 0 })
}
