use std::collections::BTreeMap;

use ovsdb::{Row, Uuid};
use vtep_api::{LogicalSwitchName, Vni};

use super::refusal::{Reason, Refusals};
use super::{LogicalSwitchView, Replication};
use crate::mirror::Mirror;
use crate::rows::{LogicalSwitch, ReplicationText};

/// The logical switches, by row.
pub(super) struct Switches {
    pub ready: BTreeMap<Uuid, (LogicalSwitchName, LogicalSwitchView)>,
    pub waiting: BTreeMap<Uuid, LogicalSwitchName>,
}

pub(super) fn derive(mirror: &Mirror, refusals: &mut Refusals) -> Switches {
    let mut waiting = BTreeMap::new();
    // Who had a key first keeps it; of those that a dump showed at once, the first by name.
    let mut keyed = BTreeMap::new();
    for (uuid, row) in mirror.logical_switches.iter() {
        let mut refuse = |reason| refusals.push(LogicalSwitch::TABLE, uuid, reason);
        let name = match LogicalSwitchName::try_from(row.name.as_str()) {
            Ok(name) => name,
            Err(error) => {
                refuse(error.into());
                continue;
            }
        };
        // OVN sets the key of a switch that is not used to 0.
        let key = row.tunnel_key.unwrap_or_default();
        if key == 0 {
            waiting.insert(uuid, name);
            continue;
        }
        match Vni::try_from(key) {
            Ok(vni) => {
                keyed.insert((mirror.keyed_at(uuid), name), (uuid, vni, row.replication_mode));
            }
            Err(source) => refuse(Reason::Vni { name, source }),
        }
    }
    let mut holders = BTreeMap::new();
    let mut ready = BTreeMap::new();
    for ((_, name), (uuid, vni, mode)) in keyed {
        if let Some(holder) = holders.get(&vni) {
            let holder = LogicalSwitchName::clone(holder);
            refusals.push(LogicalSwitch::TABLE, uuid, Reason::VniTaken { name, vni, holder });
            continue;
        }
        holders.insert(vni, name.clone());
        let replication = match mode {
            None | Some(ReplicationText::ServiceNode) => Replication::ServiceNode,
            Some(ReplicationText::SourceNode) => Replication::SourceNode,
            Some(ReplicationText::Other) => {
                refusals.push(LogicalSwitch::TABLE, uuid, Reason::ReplicationMode { name: name.clone() });
                Replication::ServiceNode
            }
        };
        let view = LogicalSwitchView {
            row: uuid,
            vni,
            replication,
            unicast: hashbrown::HashMap::default(),
            flood: std::collections::BTreeSet::new(),
        };
        ready.insert(uuid, (name, view));
    }
    Switches { ready, waiting }
}
