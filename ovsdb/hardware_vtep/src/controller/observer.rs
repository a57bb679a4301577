//! What a TOR says of itself, and of it what is news.

mod local;
mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use ovsdb::{Row, Uuid};
use vtep_api::{LocalMac, LogicalSwitchName, MacAddr, VtepName, VtepState};

use self::local::{Told, derive};
use super::index::Index;
use crate::mirror::{Changes, Mirror};
use crate::rows::{LogicalSwitch, MacText, PhysicalPort, PhysicalSwitch, Tunnel, UcastMacLocal};
use crate::view::{Reason, Refusal, cut, unicast_address};

/// What an update of the database means.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// [`Tor::state`](super::Tor::state) differs from before.
    pub state_changed: bool,
    /// The first: `macs` is all that there is. After a reconnect there are only differences.
    pub snapshot: bool,
    /// By logical switch and MAC. `None`: the TOR has it no longer.
    pub macs: Vec<(LogicalSwitchName, MacAddr, Option<LocalMac>)>,
}

#[derive(Debug)]
pub(super) struct Observer {
    device: VtepName,
    began: bool,
    addresses: Addresses,
    told: HashMap<Uuid, ToldSwitch, RandomState>,
    /// How many local rows, of whichever switch, point at a locator.
    pointed_at: BTreeMap<Uuid, usize>,
    refused: BTreeMap<Uuid, Reason>,
    /// Tunnel addresses with a session of BFD that was up.
    alive_once: BTreeSet<IpAddr>,
    state: VtepState,
}

#[derive(Debug)]
struct ToldSwitch {
    name: LogicalSwitchName,
    macs: HashMap<MacAddr, Told, RandomState>,
}

/// Tunnel addresses: one database may front several switches.
#[derive(Debug, Default, PartialEq, Eq)]
struct Addresses {
    own: BTreeSet<IpAddr>,
    others: BTreeSet<IpAddr>,
}

type News = BTreeMap<(LogicalSwitchName, MacAddr), Option<LocalMac>>;

impl Observer {
    pub(super) fn new(device: VtepName) -> Self {
        Self {
            device,
            began: false,
            addresses: Addresses::default(),
            told: HashMap::default(),
            pointed_at: BTreeMap::new(),
            refused: BTreeMap::new(),
            alive_once: BTreeSet::new(),
            state: VtepState::default(),
        }
    }

    pub(super) fn take(&mut self, mirror: &Mirror, index: &Index, changes: &Changes) -> Observed {
        let mut news = News::new();
        let refused_before = (!self.refused.is_empty()).then(|| self.refused.clone());
        let anew = self.look_at_switches(mirror, changes) | self.forget_renamed(index, changes, &mut news);
        let keys = self.note_rows(mirror, changes);
        let keys = if anew { self.all_rows(mirror, index) } else { keys };
        for key in keys {
            self.look(mirror, index, key, &mut news);
        }
        let snapshot = !std::mem::replace(&mut self.began, true);
        let touched = changes.touch::<PhysicalSwitch>()
            || changes.touch::<PhysicalPort>()
            || changes.touch::<LogicalSwitch>()
            || changes.touch::<Tunnel>();
        let refusals_changed = refused_before.unwrap_or_default() != self.refused;
        let moved = self.state.address != self.address(mirror);
        let mut state_changed = snapshot;
        if snapshot || touched || refusals_changed || moved {
            self.note_alive(mirror);
            let state = self.derive_state(mirror);
            state_changed |= state != self.state;
            self.state = state;
        }
        let macs = news.into_iter().map(|((switch, mac), local)| (switch, mac, local)).collect();
        Observed { state_changed, snapshot, macs }
    }

    pub(super) fn state(&self) -> &VtepState {
        &self.state
    }

    /// All that is told.
    pub(super) fn macs(&self) -> impl Iterator<Item = (&LogicalSwitchName, MacAddr, &LocalMac)> {
        self.told
            .values()
            .flat_map(|switch| switch.macs.iter().map(|(&mac, told)| (&switch.name, mac, &told.local)))
    }

    /// Whether another row's meaning may have changed with the switches' addresses.
    fn look_at_switches(&mut self, mirror: &Mirror, changes: &Changes) -> bool {
        if !changes.touch::<PhysicalSwitch>() {
            return false;
        }
        let mut addresses = Addresses::default();
        for (_, row) in mirror.physical_switches.iter() {
            let own = row.name == self.device.as_str();
            let these = if own { &mut addresses.own } else { &mut addresses.others };
            these.extend(row.tunnel_ips.iter().filter_map(|text| unicast_address(text)));
        }
        std::mem::replace(&mut self.addresses, addresses) != self.addresses
    }

    /// A logical switch that has another name, or is no more.
    fn forget_renamed(&mut self, index: &Index, changes: &Changes, news: &mut News) -> bool {
        if !changes.touch::<LogicalSwitch>() {
            return false;
        }
        let mut renamed = false;
        self.told.retain(|uuid, told| {
            let same = index.switch_names.get(uuid) == Some(&told.name);
            if !same {
                renamed |= index.switch_names.contains_key(uuid);
                news.extend(told.macs.keys().map(|&mac| ((told.name.clone(), mac), None)));
            }
            same
        });
        renamed
    }

    /// The logical switches and MACs that rows were changed of.
    fn note_rows(&mut self, mirror: &Mirror, changes: &Changes) -> BTreeSet<(Uuid, MacAddr)> {
        let mut keys = BTreeSet::new();
        for was in &changes.ucast_local {
            self.refused.remove(&was.row);
            if let Some(old) = &was.old {
                self.point(old.locator, false);
                keys.extend(old.mac.mac().map(|mac| (old.logical_switch, mac)));
            }
            if let Some(new) = mirror.ucast_local.row(was.row) {
                self.point(new.locator, true);
                match new.mac.mac() {
                    Some(mac) => {
                        keys.insert((new.logical_switch, mac));
                    }
                    None => self.refuse_malformed(mirror, was.row),
                }
            }
        }
        keys
    }

    fn all_rows(&mut self, mirror: &Mirror, index: &Index) -> BTreeSet<(Uuid, MacAddr)> {
        self.refused.clear();
        let told =
            self.told.iter().flat_map(|(&switch, told)| told.macs.keys().map(move |&mac| (switch, mac)));
        let mut keys: BTreeSet<_> = told.collect();
        for (switch, rows) in index.local.iter() {
            keys.extend(rows.macs.keys().map(|&mac| (switch, mac)));
            for &row in &rows.malformed {
                self.refuse_malformed(mirror, row);
            }
        }
        keys
    }

    fn point(&mut self, locator: Uuid, at: bool) {
        let rows = self.pointed_at.entry(locator).or_default();
        *rows = if at { *rows + 1 } else { rows.saturating_sub(1) };
        if *rows == 0 {
            self.pointed_at.remove(&locator);
        }
    }

    fn refuse_malformed(&mut self, mirror: &Mirror, uuid: Uuid) {
        let Some(row) = mirror.ucast_local.row(uuid) else { return };
        let elsewhere = matches!(self.owns(mirror, row.locator), Ok(false));
        if let (MacText::Malformed(text), false) = (&row.mac, elsewhere) {
            self.refused.insert(uuid, Reason::Mac { text: cut(text) });
        }
    }

    fn look(&mut self, mirror: &Mirror, index: &Index, (switch, mac): (Uuid, MacAddr), news: &mut News) {
        // One whose name cannot be is refused itself.
        let Some(name) = index.switch_names.get(&switch) else { return };
        let rows = index.local.rows(switch, mac);
        let before = self.told.get_mut(&switch).and_then(|told| told.macs.remove(&mac));
        let told = derive(self, mirror, rows, before.as_ref());
        let local = told.as_ref().map(|told| &told.local);
        if local != before.as_ref().map(|before| &before.local) {
            match local {
                Some(local) => {
                    news.insert((name.clone(), mac), Some(local.clone()));
                }
                // A switch that was made anew under its name may have it.
                None => {
                    news.entry((name.clone(), mac)).or_insert(None);
                }
            }
        }
        if let Some(told) = told {
            let empty = || ToldSwitch { name: name.clone(), macs: HashMap::default() };
            self.told.entry(switch).or_insert_with(empty).macs.insert(mac, told);
        } else if self.told.get(&switch).is_some_and(|told| told.macs.is_empty()) {
            self.told.remove(&switch);
        }
    }

    /// Whether a locator is an address of this switch, not of another in the database.
    fn owns(&self, mirror: &Mirror, locator: Uuid) -> Result<bool, Reason> {
        let row = mirror.locators.row(locator).ok_or(Reason::NoLocator)?;
        let address =
            unicast_address(&row.dst_ip).ok_or_else(|| Reason::Address { text: cut(&row.dst_ip) })?;
        if self.addresses.own.contains(&address) {
            Ok(true)
        } else if self.addresses.others.contains(&address) {
            Ok(false)
        } else {
            Err(Reason::NoSwitchLocator { address })
        }
    }

    /// The one that its local rows point at, mostly; else the lowest of those that it names.
    fn address(&self, mirror: &Mirror) -> Option<IpAddr> {
        let mut rows_at = BTreeMap::<IpAddr, usize>::new();
        for (&locator, rows) in &self.pointed_at {
            if let Some(address) = mirror.locators.row(locator).and_then(|row| unicast_address(&row.dst_ip))
                && self.addresses.own.contains(&address)
            {
                *rows_at.entry(address).or_default() += rows;
            }
        }
        let most = rows_at.into_iter().max_by_key(|&(address, rows)| (rows, std::cmp::Reverse(address)));
        most.map(|(address, _)| address).or_else(|| self.addresses.own.first().copied())
    }

    fn row_refusals(&self) -> impl Iterator<Item = Refusal> {
        self.refused.iter().map(|(&row, reason)| Refusal {
            table: UcastMacLocal::TABLE,
            row,
            reason: reason.clone(),
        })
    }
}
