//! What an operator can ask of a physical controller.

use std::collections::BTreeMap;

use serde::Serialize;
use vtep_api::{
    ControllerName, LogicalSwitchName, MacAddr, Network, Row, Session, Term, Version, VtepName, VtepState,
};

use super::vtep::Counters;
use super::{Physical, SessionId};
use crate::Now;

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VtepView {
    pub vtep: VtepName,
    pub session: Session,
    pub session_id: Option<SessionId>,
    /// It is connected, and no logical controller has declared it yet.
    pub waits_for_declaration: bool,
    /// It is connected, and another physical controller serves it.
    pub stands_by: bool,
    pub since_wall_ms: i64,
    /// With what of its records was set aside or is kept back, among its own refusals.
    pub state: VtepState,
    pub skew_ms: Option<i64>,
    pub macs: BTreeMap<LogicalSwitchName, usize>,
    /// It has told all that is behind it, at least once.
    pub heard: bool,
    /// Messages that it has not taken.
    pub untaken: u32,
    pub counters: Counters,
}

/// How far one VTEP is with one logical switch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SyncView {
    pub vtep: VtepName,
    pub logical_switch: LogicalSwitchName,
    pub desired: Option<(Term, Version)>,
    pub sent: Option<(Term, Version)>,
    pub sent_wall_ms: Option<i64>,
    pub acknowledged: Option<(Term, Version)>,
    pub acknowledged_wall_ms: Option<i64>,
    /// Versions that it has not acknowledged; unknown across terms.
    pub lag_versions: Option<u64>,
    /// Since when there is one.
    pub lag_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NetworkView {
    pub logical_switch: LogicalSwitchName,
    pub owner: ControllerName,
    pub network: Network,
    pub members: Vec<VtepName>,
    pub term: Option<Term>,
    pub version: Option<Version>,
    pub complete: bool,
    pub rows: usize,
    /// Rows that the mass-withdraw guard keeps.
    pub kept: usize,
    pub placements: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableView {
    pub logical_switch: LogicalSwitchName,
    pub term: Term,
    pub version: Version,
    pub complete: bool,
    /// By MAC.
    pub rows: Vec<(MacAddr, Row)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PeerView {
    pub logical_controller: ControllerName,
    pub connected: bool,
    pub since_wall_ms: i64,
    pub term: Term,
    pub outline_version: Option<Version>,
    pub logical_switches: usize,
    pub untaken: u32,
    pub refused: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CountersView {
    pub vteps: BTreeMap<VtepName, Counters>,
    /// Messages of sessions that had ended.
    pub stale_messages: u64,
    /// Sessions closed because nobody declares the VTEP.
    pub undeclared: u64,
    /// Changes that a slow logical controller was told as one.
    pub merged: u64,
    pub refused_tables: u64,
    pub refused_outlines: u64,
    /// Logical controllers by a lower term than was obeyed.
    pub refused_welcomes: u64,
    /// Snapshots that were asked for because an update did not fit.
    pub resyncs: u64,
    pub sightings_lost: u64,
}

impl Physical {
    pub fn vteps(&self) -> Vec<VtepView> {
        let view = |(name, vtep): (&VtepName, &super::vtep::Vtep)| {
            let outside = vtep.mirror.outside(self.roster.memberships.get(name));
            let status = vtep.present_status(&outside);
            let session = vtep.session.as_ref();
            VtepView {
                vtep: name.clone(),
                session: status.session,
                session_id: session.map(|session| session.id),
                waits_for_declaration: session.is_some_and(|session| !session.admitted && !session.stands_by),
                stands_by: session.is_some_and(|session| session.stands_by),
                since_wall_ms: vtep.since_wall_ms,
                state: status.state,
                skew_ms: vtep.skew.estimate_ms(),
                macs: vtep.mirror.logical_switches().map(|(name, macs)| (name.clone(), macs)).collect(),
                heard: vtep.mirror.heard(),
                untaken: session.map_or(0, |session| session.untaken),
                counters: vtep.counters.clone(),
            }
        };
        self.vteps.iter().map(view).collect()
    }

    pub fn sync(&self, now: Now) -> Vec<SyncView> {
        let mut views = Vec::new();
        for (name, networks) in &self.roster.memberships {
            let Some(vtep) = self.vteps.get(name) else { continue };
            for logical_switch in networks {
                let table = self.tables.get(logical_switch).filter(|table| table.owner.is_some());
                let desired = table.map(|table| (table.term, table.published.version()));
                let session = vtep.session.as_ref();
                let cursor = session.and_then(|session| session.cursors.get(logical_switch));
                let known = vtep.acknowledged.get(logical_switch);
                let acknowledged = known.map(|known| (known.term, known.version));
                let lag_versions = match (desired, acknowledged) {
                    (Some((term, to)), Some((known, at))) if term == known => Some(to.0.saturating_sub(at.0)),
                    _ => None,
                };
                let behind_since_ms =
                    session.and_then(|session| session.behind_since_ms.get(logical_switch)).copied();
                let behind = desired.is_some() && desired != acknowledged;
                views.push(SyncView {
                    vtep: name.clone(),
                    logical_switch: logical_switch.clone(),
                    desired,
                    sent: cursor.map(|cursor| (cursor.term, cursor.version)),
                    sent_wall_ms: cursor.map(|cursor| cursor.sent_wall_ms),
                    acknowledged,
                    acknowledged_wall_ms: known.map(|known| known.wall_ms),
                    lag_versions,
                    lag_ms: behind_since_ms
                        .filter(|_| behind)
                        .map_or(0, |since| now.mono_ms.saturating_sub(since)),
                });
            }
        }
        views
    }

    pub fn networks(&self) -> Vec<NetworkView> {
        let view = |(name, owned): (&LogicalSwitchName, &super::roster::Owned)| {
            let table = self.tables.get(name);
            NetworkView {
                logical_switch: name.clone(),
                owner: owned.owner.clone(),
                network: owned.outline.network.clone(),
                members: owned.outline.members.iter().cloned().collect(),
                term: table.map(|table| table.term),
                version: table.map(|table| table.published.version()),
                complete: table.is_some_and(|table| table.complete),
                rows: table.map_or(0, |table| table.published.len()),
                kept: table.map_or(0, super::Table::kept),
                placements: table.map_or(0, super::Table::placements),
            }
        };
        self.roster.networks.iter().map(view).collect()
    }

    pub fn table(&self, logical_switch: &LogicalSwitchName) -> Option<TableView> {
        let table = self.tables.get(logical_switch).filter(|table| table.owner.is_some())?;
        let mut rows: Vec<_> = table.published.iter().map(|(mac, row)| (mac, row.clone())).collect();
        rows.sort_unstable_by_key(|(mac, _)| *mac);
        Some(TableView {
            logical_switch: logical_switch.clone(),
            term: table.term,
            version: table.published.version(),
            complete: table.complete,
            rows,
        })
    }

    pub fn peers(&self) -> Vec<PeerView> {
        let view = |(name, peer): (&ControllerName, &super::Peer)| PeerView {
            logical_controller: name.clone(),
            connected: peer.connected,
            since_wall_ms: peer.since_wall_ms,
            term: peer.term,
            outline_version: peer.outline.as_ref().map(|outline| outline.version),
            logical_switches: self.roster.networks.values().filter(|owned| owned.owner == *name).count(),
            untaken: peer.outbox.untaken,
            refused: peer.refused,
        };
        self.peers.iter().map(view).collect()
    }

    pub fn counters(&self) -> CountersView {
        let total = &self.counters;
        CountersView {
            vteps: self.vteps.iter().map(|(name, vtep)| (name.clone(), vtep.counters.clone())).collect(),
            stale_messages: total.stale_messages,
            undeclared: total.undeclared,
            merged: total.merged,
            refused_tables: total.refused_tables,
            refused_outlines: total.refused_outlines,
            refused_welcomes: total.refused_welcomes,
            resyncs: total.resyncs,
            sightings_lost: total.sightings_lost,
        }
    }
}
