//! How many MACs of the table a VTEP may have in a VNI, where that is limited: one that claims without end takes no room of
//! others.

use std::collections::BTreeMap;

use vtep_abi::{FdbKey, Target};

use super::network::Numbered;
use super::{Desired, Inputs};
use crate::alarm::{Alarm, AlarmKind};
use crate::dataplane::FdbTarget;

/// By VNI and VTEP index, how many more MACs there may be. Of limited VNIs only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Room {
    max: BTreeMap<u32, usize>,
    taken: BTreeMap<(u32, u32), usize>,
}

impl Room {
    /// Whether an entry may become that of a VTEP, whose it may be already.
    pub(crate) fn take(&mut self, vni: u32, before: Option<&FdbTarget>, target: &FdbTarget) -> bool {
        let (Some(max), Some(index)) = (self.max.get(&vni), owner(target)) else { return true };
        if before.and_then(owner) == Some(index) {
            return true;
        }
        let taken = self.taken.entry((vni, index)).or_default();
        let has_room = *taken < *max;
        *taken += usize::from(has_room);
        has_room
    }
}

/// By VNI and VTEP index, MACs, those that are installed first.
type Candidates = BTreeMap<(u32, u32), Vec<(bool, [u8; 6])>>;

/// While there are only the table's entries.
pub(super) fn apply(inputs: &Inputs<'_>, networks: &Numbered<'_>, desired: &mut Desired) {
    let limit = |vni: u32| inputs.config.networks.of(vni).macs_per_vtep_max.map(|max| (vni, max.as_usize()));
    let max: BTreeMap<u32, usize> = networks.values().filter_map(|network| limit(network.vni)).collect();
    if max.is_empty() {
        return;
    }
    let mut taken = BTreeMap::<(u32, u32), usize>::new();
    for (key, target) in &desired.dataplane.fdb {
        if let (true, Some(index)) = (max.contains_key(&key.vni), owner(target)) {
            *taken.entry((key.vni, index)).or_default() += 1;
        }
    }
    let beyond = taken.iter().filter(|((vni, _), count)| **count > max[vni]);
    let mut beyond: Candidates = beyond.map(|(of, count)| (*of, Vec::with_capacity(*count))).collect();
    if !beyond.is_empty() {
        choose(inputs, &mut beyond, desired);
    }
    for ((vni, index), mut macs) in beyond {
        let (wanted, max) = (macs.len(), max[&vni]);
        macs.select_nth_unstable(max);
        for (_, mac) in &macs[max..] {
            desired.dataplane.fdb.remove(&FdbKey::new(vni, *mac));
        }
        taken.insert((vni, index), max);
        desired.refused += wanted - max;
        let name = desired.names.vteps.get(&index).map_or("a VTEP", |name| name.as_str());
        let message = format!(
            "{wanted} MACs of VNI {vni}; {max} are taken (macs_per_vtep_max), {} are refused",
            wanted - max
        );
        desired.alarms.insert(Alarm::new(AlarmKind::VtepQuota, name, message));
    }
    desired.room = Room { max, taken };
}

/// Those that are installed behind the VTEP come first, then those with the lowest addresses.
fn choose(inputs: &Inputs<'_>, beyond: &mut Candidates, desired: &Desired) {
    for (key, target) in &desired.dataplane.fdb {
        let Some(index) = owner(target) else { continue };
        if let Some(macs) = beyond.get_mut(&(key.vni, index)) {
            let is_there = inputs.installed.fdb.get(key).is_some_and(|there| owner(there) == Some(index));
            macs.push((!is_there, key.mac));
        }
    }
}

fn owner(target: &FdbTarget) -> Option<u32> {
    match (target.master, target.slave) {
        (Target::Vtep(index), _) | (Target::None, Target::Vtep(index)) => Some(index),
        _ => None,
    }
}
