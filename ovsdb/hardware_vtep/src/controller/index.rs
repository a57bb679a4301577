//! Which rows there are of a MAC, and of an address, kept with the mirror: a table of 100,000 rows is not searched for
//! one of them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use ovsdb::{Table, Uuid};
use vtep_api::{LogicalSwitchName, MacAddr};

use crate::mirror::{Changes, Mirror, Was};
use crate::rows::{LogicalSwitch, PhysicalLocator, UcastMacLocal, UcastMacRemote, VXLAN};
use crate::view::unicast_address;

#[derive(Debug, Default)]
pub(super) struct Index {
    pub local: MacIndex,
    pub remote: MacIndex,
    pub locators: HashMap<IpAddr, Rows, RandomState>,
    /// Those with a name that can be.
    pub switch_names: HashMap<Uuid, LogicalSwitchName, RandomState>,
    pub switches: HashMap<LogicalSwitchName, Uuid, RandomState>,
}

impl Index {
    pub(super) fn take(&mut self, mirror: &Mirror, changes: &Changes) {
        self.local.take(&mirror.ucast_local, &changes.ucast_local);
        self.remote.take(&mirror.ucast_remote, &changes.ucast_remote);
        for Was { row, old } in &changes.locators {
            if let Some(address) = old.as_ref().and_then(plain_address)
                && let Some(rows) = self.locators.get_mut(&address)
                && rows.remove(*row)
            {
                self.locators.remove(&address);
            }
            if let Some(address) = mirror.locators.row(*row).and_then(plain_address) {
                self.locators.entry(address).or_default().insert(*row);
            }
        }
        if changes.touch::<LogicalSwitch>() {
            self.switch_names.clear();
            for (uuid, row) in mirror.logical_switches.iter() {
                if let Ok(name) = LogicalSwitchName::try_from(row.name.as_str()) {
                    self.switch_names.insert(uuid, name);
                }
            }
            self.switches = self.switch_names.iter().map(|(&uuid, name)| (name.clone(), uuid)).collect();
        }
    }

    /// A locator that any network can refer to.
    pub(super) fn locator(&self, address: IpAddr) -> Option<Uuid> {
        self.locators.get(&address)?.as_slice().first().copied()
    }
}

fn plain_address(row: &PhysicalLocator) -> Option<IpAddr> {
    let plain = row.encapsulation_type == VXLAN && row.tunnel_key.is_none();
    plain.then(|| unicast_address(&row.dst_ip))?
}

/// The rows of a MAC table by logical switch and MAC.
#[derive(Debug, Default)]
pub(super) struct MacIndex(HashMap<Uuid, SwitchRows, RandomState>);

#[derive(Debug, Default)]
pub(super) struct SwitchRows {
    pub macs: HashMap<MacAddr, Rows, RandomState>,
    /// Rows whose MAC is none.
    pub malformed: BTreeSet<Uuid>,
}

pub(super) trait MacRow {
    fn logical_switch(&self) -> Uuid;
    fn mac(&self) -> Option<MacAddr>;
}

impl MacRow for UcastMacLocal {
    fn logical_switch(&self) -> Uuid {
        self.logical_switch
    }

    fn mac(&self) -> Option<MacAddr> {
        self.mac.mac()
    }
}

impl MacRow for UcastMacRemote {
    fn logical_switch(&self) -> Uuid {
        self.logical_switch
    }

    fn mac(&self) -> Option<MacAddr> {
        self.mac.mac()
    }
}

impl MacIndex {
    fn take<R: MacRow + ovsdb::Row>(&mut self, table: &Table<R>, changes: &[Was<R>]) {
        for Was { row, old } in changes {
            if let Some(old) = old {
                self.remove(*row, old);
            }
            if let Some(new) = table.row(*row) {
                let rows = self.0.entry(new.logical_switch()).or_default();
                match new.mac() {
                    Some(mac) => rows.macs.entry(mac).or_default().insert(*row),
                    None => {
                        rows.malformed.insert(*row);
                    }
                }
            }
        }
    }

    fn remove(&mut self, row: Uuid, old: &impl MacRow) {
        let Some(rows) = self.0.get_mut(&old.logical_switch()) else { return };
        match old.mac() {
            Some(mac) => {
                if rows.macs.get_mut(&mac).is_some_and(|rows| rows.remove(row)) {
                    rows.macs.remove(&mac);
                }
            }
            None => {
                rows.malformed.remove(&row);
            }
        }
        if rows.macs.is_empty() && rows.malformed.is_empty() {
            self.0.remove(&old.logical_switch());
        }
    }

    /// Lowest first.
    pub(super) fn rows(&self, switch: Uuid, mac: MacAddr) -> &[Uuid] {
        self.0.get(&switch).and_then(|rows| rows.macs.get(&mac)).map_or(&[], Rows::as_slice)
    }

    pub(super) fn switch(&self, switch: Uuid) -> Option<&SwitchRows> {
        self.0.get(&switch)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Uuid, &SwitchRows)> {
        self.0.iter().map(|(&switch, rows)| (switch, rows))
    }
}

/// Nearly always one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Rows {
    One([Uuid; 1]),
    /// In order.
    More(Vec<Uuid>),
}

impl Default for Rows {
    fn default() -> Self {
        Self::More(Vec::new())
    }
}

impl Rows {
    pub(super) fn as_slice(&self) -> &[Uuid] {
        match self {
            Self::One(one) => one,
            Self::More(rows) => rows,
        }
    }

    pub(super) fn insert(&mut self, row: Uuid) {
        let mut rows = self.as_slice().to_vec();
        if let Err(place) = rows.binary_search(&row) {
            rows.insert(place, row);
            *self = rows.into();
        }
    }

    /// Whether none is left.
    fn remove(&mut self, row: Uuid) -> bool {
        let rows: Vec<_> = self.as_slice().iter().copied().filter(|&other| other != row).collect();
        *self = rows.into();
        self.as_slice().is_empty()
    }
}

impl From<Vec<Uuid>> for Rows {
    fn from(rows: Vec<Uuid>) -> Self {
        if let [one] = rows[..] { Self::One([one]) } else { Self::More(rows) }
    }
}
