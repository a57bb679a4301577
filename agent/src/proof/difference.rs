//! In what two dataplanes differ, entry by entry, in words.

use std::collections::BTreeMap;
use std::hash::Hash;

use hashbrown::HashMap;
use serde::{Deserialize, Serialize};
use vtep_abi::map;
use vtep_api::MacAddr;

use super::entry::{self, Entry, Words};
use crate::dataplane::{Dataplane, PortId};
use crate::desired;

/// An entry of a map that is not what was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    pub map: String,
    pub vni: Option<u32>,
    pub key: String,
    pub kind: DifferenceKind,
    pub written: Option<Entry>,
    pub found: Option<Entry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DifferenceKind {
    /// It was written, and is not there.
    Missing,
    /// It is there, and was not written.
    Superfluous,
    Different,
}

impl DifferenceKind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Superfluous => "superfluous",
            Self::Different => "different",
        }
    }
}

/// The first `limit` of them, and how many there are. Where learnt MACs are seen is left out: programs write there.
pub fn differences(
    written: &Dataplane,
    found: &Dataplane,
    interface: &dyn Fn(u32) -> String,
    limit: usize,
) -> (Vec<Difference>, usize) {
    let words = Words { interface, dataplanes: [written, found] };
    let mut list = List { rows: Vec::new(), limit, count: 0 };
    let config = |dataplane: &Dataplane| dataplane.config.map(|config| ((), config)).into_iter().collect();
    list.compare(map::CONFIG, &config(written), &config(found), |()| (None, "host".to_owned()), entry::host);
    let vtep = |index: &u32| (None, words.vtep(*index));
    list.compare(map::VTEP_ADJ, &written.vteps, &found.vteps, vtep, |row| words.vtep_row(row));
    let binding = |id: &PortId| (None, words.binding(*id));
    list.compare(map::PORT, &written.ports, &found.ports, binding, entry::binding);
    let port = |index: &u32| (None, format!("port #{index}"));
    list.compare(map::LOCAL_PORT, &written.local_ports, &found.local_ports, port, |port| {
        words.local_port(port)
    });
    let network = |vni: &u32| (Some(*vni), vni.to_string());
    list.compare(map::VNI, &written.networks, &found.networks, network, |network| words.network(network));
    list.compare(
        map::NEIGH,
        &written.neighbours,
        &found.neighbours,
        |key| (Some(key.vni), desired::ip(key.address).to_string()),
        |mac| Entry::default().with("mac", MacAddr::new(*mac).to_string()),
    );
    let allowed = |dataplane: &Dataplane| -> BTreeMap<_, _> {
        dataplane.allowed.iter().map(|key| (*key, true)).collect()
    };
    let address = |key: &_| (None, words.allowed(key));
    let may = |may: &bool| Entry::default().with("allowed", *may);
    list.compare(map::ALLOWED, &allowed(written), &allowed(found), address, may);
    list.compare_hashed(
        map::VTEP_BY_IP,
        &written.senders,
        &found.senders,
        |key| (Some(key.vni).filter(|vni| *vni != 0), desired::ip(key.address).to_string()),
        |vtep| Entry::default().with("sender", words.vtep(*vtep)),
    );
    list.compare_hashed(
        map::FDB,
        &written.fdb,
        &found.fdb,
        |key| (Some(key.vni), MacAddr::new(key.mac).to_string()),
        |target| words.mac(target),
    );
    (list.rows, list.count)
}

struct List {
    rows: Vec<Difference>,
    limit: usize,
    count: usize,
}

impl List {
    fn compare<K: Ord, V: PartialEq>(
        &mut self,
        map: &str,
        written: &BTreeMap<K, V>,
        found: &BTreeMap<K, V>,
        key: impl Fn(&K) -> (Option<u32>, String),
        value: impl Fn(&V) -> Entry,
    ) {
        for (at, wrote) in written {
            self.note(map, || key(at), Some(wrote), found.get(at), &value);
        }
        for (at, there) in found.iter().filter(|(at, _)| !written.contains_key(at)) {
            self.note(map, || key(at), None, Some(there), &value);
        }
    }

    fn compare_hashed<K: Eq + Hash, V: PartialEq, S: std::hash::BuildHasher>(
        &mut self,
        map: &str,
        written: &HashMap<K, V, S>,
        found: &HashMap<K, V, S>,
        key: impl Fn(&K) -> (Option<u32>, String),
        value: impl Fn(&V) -> Entry,
    ) {
        for (at, wrote) in written {
            self.note(map, || key(at), Some(wrote), found.get(at), &value);
        }
        for (at, there) in found.iter().filter(|(at, _)| !written.contains_key(*at)) {
            self.note(map, || key(at), None, Some(there), &value);
        }
    }

    fn note<V: PartialEq>(
        &mut self,
        map: &str,
        key: impl Fn() -> (Option<u32>, String),
        written: Option<&V>,
        found: Option<&V>,
        value: impl Fn(&V) -> Entry,
    ) {
        if written == found {
            return;
        }
        self.count += 1;
        if self.rows.len() >= self.limit {
            return;
        }
        let kind = match (written, found) {
            (Some(_), None) => DifferenceKind::Missing,
            (None, _) => DifferenceKind::Superfluous,
            _ => DifferenceKind::Different,
        };
        let (vni, key) = key();
        let (written, found) = (written.map(&value), found.map(&value));
        self.rows.push(Difference { map: map.to_owned(), vni, key, kind, written, found });
    }
}

#[cfg(test)]
mod tests {
    use vtep_abi::{FdbKey, Target};

    use super::*;
    use crate::dataplane::FdbTarget;

    #[test]
    fn each_kind_is_told_with_what_was_written_and_found() {
        let (mut written, mut found) = (Dataplane::default(), Dataplane::default());
        let target = |vtep| FdbTarget { master: Target::Vtep(vtep), slave: Target::None, flags: 0 };
        let key = |mac| FdbKey::new(7, [2, 0, 0, 0, 0, mac]);
        written.fdb.extend([(key(1), target(1)), (key(2), target(1)), (key(4), target(1))]);
        found.fdb.extend([(key(2), target(2)), (key(3), target(1)), (key(4), target(1))]);
        let name = |ifindex: u32| ifindex.to_string();
        let (mut rows, count) = differences(&written, &found, &name, 10);
        rows.sort_by(|a, b| a.key.cmp(&b.key));
        let words = |entry: &Option<Entry>| entry.as_ref().map(ToString::to_string);
        let told: Vec<_> = rows
            .iter()
            .map(|row| (row.key.as_str(), row.kind, words(&row.written), words(&row.found)))
            .collect();
        let at = |vtep| Some(format!("learnt no, master VTEP #{vtep}, slave none"));
        assert_eq!(count, 3);
        assert_eq!(
            told,
            [
                ("02:00:00:00:00:01", DifferenceKind::Missing, at(1), None),
                ("02:00:00:00:00:02", DifferenceKind::Different, at(1), at(2)),
                ("02:00:00:00:00:03", DifferenceKind::Superfluous, None, at(1)),
            ]
        );
        assert!(rows.iter().all(|row| row.vni == Some(7) && row.map == map::FDB));
        let (rows, count) = differences(&written, &found, &name, 1);
        assert_eq!((rows.len(), count), (1, 3), "the list is bounded, the count is not");
    }
}
