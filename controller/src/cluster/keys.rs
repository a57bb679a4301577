//! How keys are called in etcd. Below `cluster/` stands what is read whole.

use vtep_api::{ControllerName, LogicalSwitchName, MacAddr};

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
        let Office::Shard(number) = office;
        format!("{}/cluster/shards/{number}", self.prefix)
    }

    pub(super) fn moved(&self, office: &Office) -> String {
        let Office::Shard(number) = office;
        format!("{}/cluster/moves/shards/{number}", self.prefix)
    }

    pub(super) fn declared(&self) -> String {
        format!("{}/declared", self.prefix)
    }

    /// What outlives the reigns of a shard.
    pub(super) fn state(&self, office: &Office) -> Range {
        let Office::Shard(number) = office;
        Range::prefix(format!("{}/state/{number}/", self.prefix))
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
        let (kind, name) = rest.split_once('/').unwrap_or((rest, ""));
        let shard = |number: &str| number.parse().ok().map(Office::Shard);
        match kind {
            "settings" => Some(Key::Settings),
            "members" => ControllerName::try_from(name).ok().map(Key::Member),
            "shards" => shard(name).map(Key::Office),
            "moves" => shard(name.strip_prefix("shards/")?).map(Key::Move),
            _ => None,
        }
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
        assert_eq!(keys.read(&keys.office(&office)), Some(Key::Office(office.clone())));
        assert_eq!(keys.read(&keys.moved(&office)), Some(Key::Move(office.clone())));
        assert_eq!(keys.read("/vtepd/cluster/other/1"), None);
        let network = LogicalSwitchName::try_from("Kunde 7/b").unwrap();
        let mac = "02:00:00:00:00:01".parse().unwrap();
        let key = keys.master(&office, &network, mac);
        assert_eq!(keys.read_master(&office, &key), Some((network, mac)));
        assert_eq!(keys.read_master(&office, &keys.durable(&office)), None);
    }
}
