//! One VTEP: what it said last, which outlives its session, and the session.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use vtep_api::{
    Away, Cause, ControllerName, Held, LogicalSwitchName, MacAddr, Session, Term, Version, VtepOutline,
    VtepState, VtepStatus,
};

use super::SessionId;
use super::mirror::{Mirror, Staged};
use super::skew::Skew;

#[derive(Debug, Default)]
pub(super) struct Vtep {
    pub(super) mirror: Mirror,
    /// Rises when the mirror is forgotten: stamps that were given before tell nothing of those after.
    pub(super) epoch: u64,
    pub(super) state: Option<VtepState>,
    pub(super) session: Option<Live>,
    pub(super) skew: Skew,
    /// As logical controllers know it.
    pub(super) status: VtepStatus,
    /// Since when it has no session, or since when we look for it.
    pub(super) away_since_ms: u64,
    /// Of the last change of `status.session`.
    pub(super) since_wall_ms: i64,
    pub(super) acknowledged: BTreeMap<LogicalSwitchName, Acknowledged>,
    /// What of its records was set aside last, and why.
    pub(super) refused: Option<String>,
    pub(super) counters: Counters,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counters {
    /// Sessions that began.
    pub sessions: u64,
    pub claims: u64,
    /// Of addresses alone.
    pub updates: u64,
    pub withdrawals: u64,
    /// Records that were told again.
    pub re_reports: u64,
    /// Records that were set aside.
    pub refused: u64,
    /// Parts of tables that were sent.
    pub pushes: u64,
    pub rows_pushed: u64,
    pub snapshots: u64,
    pub resyncs: u64,
    /// MACs that it saw frames of from another VTEP than the table says.
    pub sightings: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Acknowledged {
    pub(super) term: Term,
    pub(super) version: Version,
    pub(super) wall_ms: i64,
}

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "what is due to a session is independent of each other")]
pub(super) struct Live {
    pub(super) id: SessionId,
    pub(super) began_ms: u64,
    /// Of its last message.
    pub(super) heard_ms: u64,
    /// It is declared and ours. Before that nothing is said of it to others.
    pub(super) admitted: bool,
    /// It was told that it is not ours, and whose it is.
    pub(super) stands_by: bool,
    pub(super) server_told: Option<(ControllerName, Term)>,
    pub(super) untaken: u32,
    pub(super) staged: Option<Staged>,
    pub(super) staged_records: usize,
    /// Its first inventory came to an end.
    pub(super) inventoried: bool,
    pub(super) welcomed: bool,
    pub(super) seal: Seal,
    pub(super) heartbeat: bool,
    pub(super) outline_due: bool,
    pub(super) outline: Option<VtepOutline>,
    /// What it had when the session began.
    pub(super) held: BTreeMap<LogicalSwitchName, Held>,
    pub(super) cursors: BTreeMap<LogicalSwitchName, Cursor>,
    pub(super) sending: Option<Sending>,
    pub(super) no_change: BTreeSet<LogicalSwitchName>,
    /// Since when there is a version that it has not acknowledged.
    pub(super) behind_since_ms: BTreeMap<LogicalSwitchName, u64>,
    due: VecDeque<LogicalSwitchName>,
    is_due: BTreeSet<LogicalSwitchName>,
}

/// Whether a VTEP whose server is elected may still hear somebody else, and whether we have all that it may have heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Seal {
    /// Whoever served it before may tell it more than we know.
    Open,
    /// It obeys us. These logical controllers have not answered the question that was asked then.
    Sealed { asked: u64, awaited: BTreeSet<ControllerName> },
}

/// Up to where a table was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) generation: u32,
    pub(super) term: Term,
    pub(super) version: Version,
    /// It has no row that the version has not.
    pub(super) exact: bool,
    pub(super) sent_wall_ms: i64,
}

/// An update of which parts are still to be sent. It names MACs; their rows are those of the moment of sending, which are
/// never older than `to`, and what is newer comes again with the next update.
#[derive(Debug)]
pub(super) struct Sending {
    pub(super) logical_switch: LogicalSwitchName,
    pub(super) generation: u32,
    pub(super) from: Option<Version>,
    pub(super) to: Version,
    pub(super) complete: bool,
    pub(super) exact: bool,
    pub(super) rest: std::vec::IntoIter<(MacAddr, Option<Cause>)>,
}

impl Live {
    pub(super) fn new(id: SessionId, now_ms: u64, held: Vec<Held>) -> Self {
        Self {
            id,
            began_ms: now_ms,
            heard_ms: now_ms,
            admitted: false,
            stands_by: false,
            server_told: None,
            untaken: 0,
            staged: None,
            staged_records: 0,
            inventoried: false,
            welcomed: false,
            seal: Seal::Open,
            heartbeat: false,
            outline_due: true,
            outline: None,
            held: held.into_iter().map(|held| (held.logical_switch.clone(), held)).collect(),
            cursors: BTreeMap::new(),
            sending: None,
            no_change: BTreeSet::new(),
            behind_since_ms: BTreeMap::new(),
            due: VecDeque::new(),
            is_due: BTreeSet::new(),
        }
    }

    /// Another one serves it from now on. We go on listening. What it has at least of the tables that we led it to, it has
    /// acknowledged.
    fn stand_by(&mut self, acknowledged: &BTreeMap<LogicalSwitchName, Acknowledged>) {
        let parts = (self.staged.take(), self.staged_records);
        let (untaken, inventoried, heard_ms) = (self.untaken, self.inventoried, self.heard_ms);
        let exact = self.cursors.iter().filter(|(_, cursor)| cursor.exact);
        let held = exact.filter_map(|(name, cursor)| {
            let &Acknowledged { term, version, .. } = acknowledged.get(name)?;
            let held = Held { logical_switch: name.clone(), term, version };
            (term == cursor.term && version <= cursor.version).then_some(held)
        });
        *self = Self::new(self.id, self.began_ms, held.collect());
        (self.staged, self.staged_records) = parts;
        (self.untaken, self.inventoried, self.heard_ms) = (untaken, inventoried, heard_ms);
    }

    /// The table of a logical switch may have something for it.
    pub(super) fn mark(&mut self, logical_switch: &LogicalSwitchName) {
        if self.is_due.insert(logical_switch.clone()) {
            self.due.push_back(logical_switch.clone());
        }
    }

    /// A known mistake.
    #[cfg(feature = "seeded-bugs")]
    pub(super) fn skip_due(&mut self, tables: &BTreeMap<LogicalSwitchName, super::table::Table>) {
        while let Some(due) = self.next_due() {
            if let (Some(cursor), Some(table)) = (self.cursors.get_mut(&due), tables.get(&due)) {
                cursor.version = table.published.version();
            }
        }
    }

    /// The logical switch whose turn it is.
    pub(super) fn next_due(&mut self) -> Option<LogicalSwitchName> {
        let next = self.due.pop_front()?;
        self.is_due.remove(&next);
        Some(next)
    }
}

impl Vtep {
    pub(super) fn is_up(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.admitted)
    }

    /// Another one serves it from now on. Returns whether there is a session.
    pub(super) fn stand_by(&mut self) -> bool {
        let Some(session) = &mut self.session else { return false };
        session.stand_by(&self.acknowledged);
        true
    }

    /// Its status as it is by now; `outside` are logical switches in which it has MACs and may not.
    pub(super) fn present_status(&self, outside: &[LogicalSwitchName]) -> VtepStatus {
        // Before it has said what it is, nothing is known of it: to call it up would say that it has no address.
        let session = match (self.is_up() && self.state.is_some(), self.status.session) {
            (true, _) => Session::Up,
            (false, Session::Awaited) => Session::Awaited,
            (false, _) => Session::Lost,
        };
        let mut state = self.state.clone().unwrap_or_default();
        let kept_back = outside
            .iter()
            .take(REFUSALS_MAX)
            .map(|name| format!("logical switch {name}: its MACs are kept back, for it takes no part there"));
        state.refusals.extend(kept_back);
        state.refusals.extend(self.refused.clone());
        VtepStatus { session, state, skew_ms: self.skew.told_ms(), away: None }
    }

    /// As a logical controller is told of it by now.
    pub(super) fn told_status(&self, mono_ms: u64) -> VtepStatus {
        let mut status = self.status.clone();
        status.away = (status.session != Session::Up).then(|| Away {
            ms: if self.session.is_some() { 0 } else { mono_ms.saturating_sub(self.away_since_ms) },
            unheard: !self.mirror.heard(),
        });
        status
    }
}

const REFUSALS_MAX: usize = 16;
