//! What an operator may want to see. Nothing here changes anything.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use vtep_api::{
    ControllerName, Ips, LogicalSwitchName, MacAddr, Role, Session, Term, Version, Vni, VtepName, VtepState,
};

use super::ledger::Flags;
use super::select::{Reason, reason};
use super::{Logical, OperateError, What};
use crate::published::Published;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VtepView {
    pub name: VtepName,
    pub physical_controller: Option<ControllerName>,
    pub session: Session,
    /// For so long there has been no session.
    pub lost_for_ms: Option<u64>,
    pub dead: bool,
    pub address: Option<IpAddr>,
    pub skew_ms: Option<i64>,
    /// What the storm guard holds of it is in force.
    pub storm: bool,
    /// Its claims, by network.
    pub claims: BTreeMap<LogicalSwitchName, usize>,
    /// Claims above the quota.
    pub refused: u64,
    pub networks: Vec<LogicalSwitchName>,
    pub state: VtepState,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkView {
    pub name: LogicalSwitchName,
    pub vni: Vni,
    pub macs: usize,
    pub claims: usize,
    pub version: Version,
    /// Tables are handed on.
    pub started: bool,
    /// Every VTEP that takes part has been heard.
    pub complete: bool,
    pub members: Vec<VtepName>,
    /// Of those, who has not told all that it claims.
    pub unheard: Vec<VtepName>,
    /// MACs that the mass-withdraw guard keeps.
    pub kept: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableRow {
    pub mac: MacAddr,
    pub master: VtepName,
    pub slaves: Vec<VtepName>,
    pub ips: Ips,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conflict {
    pub logical_switch: LogicalSwitchName,
    pub mac: MacAddr,
    pub kind: ConflictKind,
    pub master: Option<VtepName>,
    /// Who else has a claim that matters here.
    pub others: Vec<VtepName>,
    pub reason: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConflictKind {
    /// Several claim to be master.
    Masters,
    /// Pinned, but claimed by another.
    Pinned,
    Duplicate,
    /// Set aside by the storm guard.
    SetAside,
    /// Kept by the mass-withdraw guard.
    Kept,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    pub wall_ms: i64,
    pub mac: MacAddr,
    pub vtep: VtepName,
    pub what: What,
}

/// How far a VTEP is with a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncView {
    pub vtep: VtepName,
    pub logical_switch: LogicalSwitchName,
    pub physical_controller: Option<ControllerName>,
    pub desired: Version,
    /// To its physical controller.
    pub sent: Option<Version>,
    pub sent_at_ms: Option<i64>,
    /// By this it forwards.
    pub acknowledged: Option<Version>,
    pub acknowledged_term: Option<Term>,
    pub acknowledged_at_ms: Option<i64>,
    /// Versions that it does not forward by yet. Unknown before its first acknowledgement in this term.
    pub lag: Option<u64>,
}

/// A condition that holds as long as it is listed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Alarm {
    pub kind: AlarmKind,
    /// A VTEP, a logical switch, a MAC in one.
    pub subject: String,
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlarmKind {
    VtepLost,
    VtepDead,
    VtepFault,
    Storm,
    MassWithdraw,
    DuplicateMac,
    PinConflict,
    AddressConflict,
    QuotaExceeded,
    PhysicalControllerLost,
    /// etcd is not reached, or this process is no member of its cluster.
    ClusterAway,
    /// etcd was put back: what controllers say is refused.
    TermsOutdated,
}

impl AlarmKind {
    /// As it stands in metrics and in `--json`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::VtepLost => "vtep_lost",
            Self::VtepDead => "vtep_dead",
            Self::VtepFault => "vtep_fault",
            Self::Storm => "storm",
            Self::MassWithdraw => "mass_withdraw",
            Self::DuplicateMac => "duplicate_mac",
            Self::PinConflict => "pin_conflict",
            Self::AddressConflict => "address_conflict",
            Self::QuotaExceeded => "quota_exceeded",
            Self::PhysicalControllerLost => "physical_controller_lost",
            Self::ClusterAway => "cluster_away",
            Self::TermsOutdated => "terms_outdated",
        }
    }
}

impl Logical {
    pub fn vteps(&self, now: crate::Now) -> Vec<VtepView> {
        let declared = self.vteps.iter().filter(|(_, vtep)| vtep.declared.is_some());
        let mut views: Vec<VtepView> = declared
            .map(|(id, vtep)| {
                let with_claims = self.switches.iter().filter(|(_, switch)| switch.ledger.share(id) > 0);
                let tellers = self.switches.values().filter_map(|switch| switch.tellers.get(&id));
                let networks = self.switches.iter().filter(|(_, switch)| switch.members.contains(&id));
                VtepView {
                    name: vtep.name.clone(),
                    physical_controller: vtep.peer.clone(),
                    session: if vtep.cut_ms.is_some() { Session::Lost } else { vtep.status.session },
                    lost_for_ms: vtep
                        .lost_ms
                        .map(|at| now.mono_ms.saturating_add_signed(at.saturating_neg())),
                    dead: vtep.dead,
                    address: vtep.address(),
                    skew_ms: vtep.status.skew_ms,
                    storm: vtep.storm.tripped,
                    claims: with_claims.map(|(name, s)| (name.clone(), s.ledger.share(id))).collect(),
                    refused: tellers.map(|teller| teller.refused).sum(),
                    networks: networks.map(|(name, _)| name.clone()).collect(),
                    state: vtep.status.state.clone(),
                }
            })
            .collect();
        views.sort_by(|a, b| a.name.cmp(&b.name));
        views
    }

    pub fn networks(&self) -> Vec<NetworkView> {
        let name = |vtep: &super::VtepId| self.vteps[*vtep].name.clone();
        let view = |switch: &super::Switch| {
            let mut members: Vec<VtepName> = switch.members.iter().map(name).collect();
            let mut unheard: Vec<VtepName> =
                switch.members.iter().filter(|v| !switch.has_heard(**v)).map(name).collect();
            members.sort();
            unheard.sort();
            NetworkView {
                name: switch.name.clone(),
                vni: switch.declared.vni,
                macs: switch.published.len(),
                claims: switch.ledger.len(),
                version: switch.published.version(),
                started: switch.started,
                complete: switch.complete_from.is_some(),
                members,
                unheard,
                kept: switch.departures.kept.len(),
            }
        };
        self.switches.values().map(view).collect()
    }

    /// As it was published, by MAC.
    /// As it is handed on.
    pub fn published(&self, logical_switch: &LogicalSwitchName) -> Option<&Published> {
        self.switches.get(logical_switch).map(|switch| &switch.published)
    }

    pub fn table(&self, logical_switch: &LogicalSwitchName) -> Result<Vec<TableRow>, OperateError> {
        let switch = self.find_switch(logical_switch)?;
        let row = |(mac, row): (MacAddr, &vtep_api::Row)| TableRow {
            mac,
            master: row.placement.master.clone(),
            slaves: row.placement.slaves.clone(),
            ips: row.ips.clone(),
        };
        let mut rows: Vec<TableRow> = switch.published.iter().map(row).collect();
        rows.sort_unstable_by_key(|row| row.mac);
        Ok(rows)
    }

    /// Oldest first.
    pub fn history(
        &self,
        logical_switch: &LogicalSwitchName,
        mac: MacAddr,
    ) -> Result<Vec<HistoryEntry>, OperateError> {
        let switch = self.find_switch(logical_switch)?;
        let entry = |entry: &super::history::Entry| HistoryEntry {
            wall_ms: entry.wall_ms,
            mac: entry.mac,
            vtep: self.vteps[entry.vtep].name.clone(),
            what: entry.what,
        };
        Ok(switch.history.of(mac).map(entry).collect())
    }

    /// By network, kind and MAC.
    pub fn conflicts(&self) -> Vec<Conflict> {
        let mut conflicts: Vec<Conflict> =
            self.switches.values().flat_map(|s| self.conflicts_of(s)).collect();
        conflicts.sort_by(|a, b| {
            (&a.logical_switch, a.kind, a.mac, &a.others).cmp(&(&b.logical_switch, b.kind, b.mac, &b.others))
        });
        conflicts
    }

    fn conflicts_of(&self, switch: &super::Switch) -> Vec<Conflict> {
        let mut conflicts = Vec::new();
        let mut contenders = Vec::new();
        let policy = &self.declared.policy;
        for mac in switch.ledger.iter_macs() {
            let slots: Vec<_> = switch.ledger.of_mac(mac).collect();
            let with = |flag| slots.iter().filter(move |&&slot| switch.ledger[slot].flags.has(flag));
            let masters = slots.iter().filter(|&&slot| {
                let record = &switch.ledger[slot];
                record.role() == Role::Master
                    && record.flags.has(Flags::OWN)
                    && !record.flags.has(Flags::HELD)
            });
            let name = |slot: &super::ledger::Slot| self.vteps[switch.ledger[*slot].vtep].name.clone();
            let pinned = with(Flags::PINNED).count();
            let marked = switch.flap.is_marked(mac);
            let odd = with(Flags::HELD).count() + with(Flags::KEPT).count() > 0;
            if slots.len() < 2 && !odd && !marked {
                continue;
            }
            switch.claims().contenders(mac, &self.vteps, policy, &mut contenders);
            super::select::rank(&mut contenders, policy.time);
            let master = contenders.first().map(|first| first.vtep.clone());
            let why = reason(&contenders, policy.time).as_ref().map(Reason::to_string).unwrap_or_default();
            let mut add = |kind, others: Vec<VtepName>, reason: &str| {
                let (logical_switch, master, reason) =
                    (switch.name.clone(), master.clone(), reason.to_owned());
                conflicts.push(Conflict { logical_switch, mac, kind, master, others, reason });
            };
            let mut rivals: Vec<VtepName> =
                masters.map(name).filter(|vtep| Some(vtep) != master.as_ref()).collect();
            rivals.sort();
            if pinned > 0 && (!rivals.is_empty() || pinned > 1) {
                let mut others: Vec<VtepName> = with(Flags::PINNED).map(name).chain(rivals).collect();
                others.retain(|vtep| Some(vtep) != master.as_ref());
                others.sort();
                others.dedup();
                add(ConflictKind::Pinned, others, &why);
            } else if !rivals.is_empty() {
                add(ConflictKind::Masters, rivals, &why);
            }
            if marked {
                let frozen = switch.frozen.contains_key(&mac);
                let text = if frozen { "moves too often; it keeps its master" } else { "moves too often" };
                add(ConflictKind::Duplicate, Vec::new(), text);
            }
            let held: Vec<VtepName> = with(Flags::HELD).map(name).collect();
            if !held.is_empty() {
                add(ConflictKind::SetAside, held, "claimed in a storm; set aside until it is released");
            }
            let kept: Vec<VtepName> = with(Flags::KEPT).map(name).collect();
            if !kept.is_empty() {
                add(ConflictKind::Kept, kept, "withdrawn with too many others; kept until it is released");
            }
        }
        conflicts
    }

    pub fn sync(&self) -> Vec<SyncView> {
        let mut views = Vec::new();
        let only = self.only_peer();
        for (name, switch) in &self.switches {
            for &member in &switch.members {
                let vtep = &self.vteps[member];
                let server = self.server(member, only.as_ref());
                let cursor =
                    server.and_then(|peer| self.peers.get(peer)).and_then(|peer| peer.cursors.get(name));
                let applied = vtep.applied.get(name);
                let desired = switch.published.version();
                let current = applied.filter(|applied| applied.term == self.term);
                views.push(SyncView {
                    vtep: vtep.name.clone(),
                    logical_switch: name.clone(),
                    physical_controller: server.cloned(),
                    desired,
                    sent: cursor.and_then(|cursor| cursor.at),
                    sent_at_ms: cursor.and_then(|cursor| cursor.sent_wall_ms),
                    acknowledged: applied.map(|applied| applied.version),
                    acknowledged_term: applied.map(|applied| applied.term),
                    acknowledged_at_ms: applied.map(|applied| applied.wall_ms),
                    lag: current.map(|applied| desired.0.saturating_sub(applied.version.0)),
                });
            }
        }
        views.sort_by(|a, b| (&a.vtep, &a.logical_switch).cmp(&(&b.vtep, &b.logical_switch)));
        views
    }

    /// What holds at present.
    pub fn alarms(&self) -> Vec<Alarm> {
        let mut alarms = Vec::new();
        let mut add = |kind, subject: &dyn ToString, message: String| {
            alarms.push(Alarm { kind, subject: subject.to_string(), message });
        };
        for (id, vtep) in self.vteps.iter().filter(|(_, vtep)| vtep.declared.is_some()) {
            if vtep.dead {
                add(
                    AlarmKind::VtepDead,
                    &vtep.name,
                    "its session is lost and its address unreachable".to_owned(),
                );
            } else if vtep.status.session == Session::Lost
                || (vtep.cut_ms.is_some() && vtep.status.session == Session::Up)
            {
                add(AlarmKind::VtepLost, &vtep.name, "its session is lost".to_owned());
            }
            for fault in &vtep.status.state.faults {
                add(AlarmKind::VtepFault, &vtep.name, fault.clone());
            }
            if vtep.storm.tripped {
                let message =
                    "it claimed too many MACs of others; they are set aside until they are released";
                add(AlarmKind::Storm, &vtep.name, message.to_owned());
            }
            if let Some((first, address)) = self.address_conflicts.get(&id) {
                let message = format!("its tunnel address {address} is that of {}", self.vteps[*first].name);
                add(AlarmKind::AddressConflict, &vtep.name, message);
            }
        }
        for (name, switch) in &self.switches {
            let kept = switch.departures.kept.len();
            if kept > 0 {
                add(
                    AlarmKind::MassWithdraw,
                    name,
                    format!("{kept} MACs that were withdrawn are kept until they are released"),
                );
            }
            for (vtep, teller) in switch.tellers.iter().filter(|(_, teller)| teller.refused > 0) {
                let message = format!("{} claims above its quota in {name} are refused", teller.refused);
                add(AlarmKind::QuotaExceeded, &self.vteps[*vtep].name, message);
            }
            for mac in switch.flap.marked() {
                let frozen = switch.frozen.get(&mac).map(|vtep| &self.vteps[*vtep].name);
                let message = frozen.map_or("it moves too often".to_owned(), |vtep| {
                    format!("it moves too often and stays at {vtep}")
                });
                add(AlarmKind::DuplicateMac, &format!("{mac} in {name}"), message);
            }
        }
        for conflict in self.pin_conflicts() {
            let subject = format!("{} in {}", conflict.mac, conflict.logical_switch);
            let others: Vec<&str> = conflict.others.iter().map(VtepName::as_str).collect();
            add(
                AlarmKind::PinConflict,
                &subject,
                format!("it is pinned, but stands at {} too", others.join(", ")),
            );
        }
        for name in self.terms.keys().filter(|name| !self.peers.contains_key(*name)) {
            add(AlarmKind::PhysicalControllerLost, name, "it is not connected".to_owned());
        }
        alarms.sort();
        alarms
    }

    /// Pinned MACs that others claim to be master of, or that are pinned twice.
    fn pin_conflicts(&self) -> Vec<Conflict> {
        let mut conflicts = BTreeMap::new();
        for pin in &self.pinned {
            let Some(switch) = self.switches.get(&pin.logical_switch) else { continue };
            let rivals = switch.ledger.of_mac(pin.mac).filter(|&slot| {
                let record = &switch.ledger[slot];
                let rival = record.flags.has(Flags::PINNED)
                    || (record.flags.has(Flags::OWN) && record.role() == Role::Master);
                rival && !record.flags.has(Flags::MASTER)
            });
            let mut others: Vec<VtepName> =
                rivals.map(|slot| self.vteps[switch.ledger[slot].vtep].name.clone()).collect();
            if others.is_empty() {
                continue;
            }
            others.sort();
            let (logical_switch, mac) = (pin.logical_switch.clone(), pin.mac);
            let kind = ConflictKind::Pinned;
            conflicts.insert(
                (logical_switch.clone(), mac),
                Conflict { logical_switch, mac, kind, master: None, others, reason: String::new() },
            );
        }
        conflicts.into_values().collect()
    }

    pub(super) fn find_switch(&self, name: &LogicalSwitchName) -> Result<&super::Switch, OperateError> {
        self.switches.get(name).ok_or_else(|| OperateError::NoLogicalSwitch { name: name.clone() })
    }
}
