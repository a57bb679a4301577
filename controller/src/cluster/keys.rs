//! How keys are called in etcd. Below `cluster/` stands what is read whole.

use vtep_api::{ControllerName, LogicalSwitchName, MacAddr, VtepName};

use super::Office;
use super::etcd::Range;

#[derive(Debug, Clone)]
pub(crate) struct Keys {
    prefix: String,
}

/// A key below `cluster/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Key {
    Settings,
    Member(ControllerName),
    Office(Office),
    Move(Office),
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.trim_end_matches('/').to_owned() }
    }

    pub(super) fn cluster(&self) -> Range {
        Range::prefix(format!("{}/cluster/", self.prefix))
    }

    pub(super) fn settings(&self) -> String {
        format!("{}/cluster/settings", self.prefix)
    }

    pub(super) fn member(&self, name: &ControllerName) -> String {
        format!("{}/cluster/members/{name}", self.prefix)
    }

    pub(super) fn office(&self, office: &Office) -> String {
        format!("{}/cluster/{}", self.prefix, path(office))
    }

    pub(super) fn moved(&self, office: &Office) -> String {
        format!("{}/cluster/moves/{}", self.prefix, path(office))
    }

    pub(super) fn declared(&self) -> String {
        format!("{}/declared", self.prefix)
    }

    /// What outlives the reigns of an office.
    pub(super) fn state(&self, office: &Office) -> Range {
        Range::prefix(format!("{}/state/{}/", self.prefix, path(office)))
    }

    pub(super) fn durable(&self, office: &Office) -> String {
        format!("{}durable", self.state(office).key)
    }

    pub(super) fn master(&self, office: &Office, network: &LogicalSwitchName, mac: MacAddr) -> String {
        format!("{}masters/{mac}/{network}", self.state(office).key)
    }

    /// The inverse of `master`.
    pub(super) fn read_master(&self, office: &Office, key: &str) -> Option<(LogicalSwitchName, MacAddr)> {
        let rest = key.strip_prefix(&self.state(office).key)?.strip_prefix("masters/")?;
        let (mac, network) = rest.split_once('/')?;
        Some((LogicalSwitchName::try_from(network).ok()?, mac.parse().ok()?))
    }

    /// What a key below `cluster/` is; `None`: nothing that this release knows.
    pub(super) fn read(&self, key: &str) -> Option<Key> {
        let rest = key.strip_prefix(&self.cluster().key)?;
        if rest == "settings" {
            return Some(Key::Settings);
        }
        if let Some(name) = rest.strip_prefix("members/") {
            return ControllerName::try_from(name).ok().map(Key::Member);
        }
        match rest.strip_prefix("moves/") {
            Some(moved) => read_path(moved).map(Key::Move),
            None => read_path(rest).map(Key::Office),
        }
    }
}

fn path(office: &Office) -> String {
    match office {
        Office::Shard(number) => format!("shards/{number}"),
        Office::Vtep(vtep) => format!("vteps/{vtep}"),
    }
}

fn read_path(path: &str) -> Option<Office> {
    let (kind, name) = path.split_once('/')?;
    match kind {
        "shards" => name.parse().ok().map(Office::Shard),
        "vteps" => VtepName::try_from(name).ok().map(Office::Vtep),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_read_as_it_was_written() {
        let keys = Keys::new("/vtepd/");
        let lc = ControllerName::try_from("lc-1").unwrap();
        assert_eq!(keys.read("/vtepd/cluster/settings"), Some(Key::Settings));
        assert_eq!(keys.read(&keys.member(&lc)), Some(Key::Member(lc)));
        let office = Office::Shard(7);
        for office in [office.clone(), Office::Vtep(VtepName::try_from("tor a/b").unwrap())] {
            assert_eq!(keys.read(&keys.office(&office)), Some(Key::Office(office.clone())));
            assert_eq!(keys.read(&keys.moved(&office)), Some(Key::Move(office)));
        }
        assert_eq!(keys.read("/vtepd/cluster/other/1"), None);
        let network = LogicalSwitchName::try_from("Kunde 7/b").unwrap();
        let mac = "02:00:00:00:00:01".parse().unwrap();
        let key = keys.master(&office, &network, mac);
        assert_eq!(keys.read_master(&office, &key), Some((network, mac)));
        assert_eq!(keys.read_master(&office, &keys.durable(&office)), None);
    }
}
