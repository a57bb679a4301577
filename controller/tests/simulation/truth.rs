//! What the VTEPs really claim, and from it what a right table says: the rules of selection once more, written down from
//! the design and sharing nothing with the controllers' code.
//!
//! Which of two masters is the latest is decided by when each claim first came to the logical controller, whatever was
//! told again since. Where that is not known for sure, such as across the restart of the logical controller, a claim has a
//! span in place of an instant, and whoever no other is certainly later than may be master.

use std::collections::{BTreeMap, BTreeSet};

use vtep_api::{Claim, MacAddr, Origin, Role};

/// A logical switch's number, and a MAC.
pub(crate) type Key = (usize, MacAddr);

#[derive(Debug, Default)]
pub(crate) struct Truth {
    claims: BTreeMap<Key, BTreeMap<usize, Vec<Claimed>>>,
    arrivals: u64,
    /// VTEPs that have told all in a logical switch to the present reign of its owner.
    heard: BTreeSet<(usize, usize)>,
    /// Logical switches whose owner began anew and has distributed nothing yet, with the last arrival before.
    windows: BTreeMap<usize, u64>,
}

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "what is known of it, one by one")]
struct Claimed {
    role: Role,
    origin: Option<Origin>,
    /// Its VTEP restarted since it was made.
    recovered: bool,
    live: bool,
    span: Option<Span>,
    /// The VTEP did not claim the MAC before.
    appeared: bool,
    received_at_ms: i64,
    /// Earlier, for another role of the same sight, which may count as that.
    sight_received_at_ms: i64,
    /// It has not been told in a snapshot.
    by_change: bool,
    /// Told within the window, and whether as the master that was.
    told: Option<bool>,
}

#[derive(Debug, Clone, Copy)]
struct Span {
    earliest: u64,
    latest: u64,
}

const UNKNOWN: Span = Span { earliest: 0, latest: u64::MAX };

/// Of one MAC.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    /// Each of them would be right.
    pub(crate) masters: BTreeSet<usize>,
    /// Everyone whom the row names.
    pub(crate) named: BTreeSet<usize>,
}

/// How the latest is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Latest {
    Arrival,
    ReceivedAt,
    /// By nothing that can be known here.
    Anyone,
}

impl Truth {
    pub(crate) fn claim(&mut self, vtep: usize, key: Key, role: Role, origin: Option<Origin>) {
        let appeared = self.live_mut(vtep, key).is_none();
        self.withdraw(vtep, key);
        let claimed = Claimed {
            role,
            origin,
            recovered: false,
            live: true,
            span: None,
            appeared,
            received_at_ms: 0,
            sight_received_at_ms: 0,
            by_change: false,
            told: None,
        };
        self.claims.entry(key).or_default().entry(vtep).or_default().push(claimed);
    }

    pub(crate) fn withdraw(&mut self, vtep: usize, key: Key) {
        if let Some(claimed) = self.live_mut(vtep, key) {
            claimed.live = false;
        }
    }

    /// The VTEP tells what it has from here on, without numbers.
    pub(crate) fn restarted(&mut self, vtep: usize) {
        for claimed in self.claims.values_mut().filter_map(|by_vtep| by_vtep.get_mut(&vtep)?.last_mut()) {
            claimed.recovered = claimed.live;
        }
    }

    /// A logical controller is told of a claim.
    ///
    /// A change that comes before the VTEP has told all in its session is not heeded, so that what is told once more in a
    /// snapshot may have arrived with that.
    pub(crate) fn arrived(&mut self, vtep: usize, key: Key, claim: &Claim, snapshot: bool) {
        let (told, received_at_ms, was_master) = (&claim.local, claim.received_at_ms, claim.was_master);
        self.arrivals += 1;
        let in_window = self.windows.contains_key(&key.0);
        let arrival = self.arrivals;
        let sight = self.outlived_sight(vtep, key, claim);
        let Some(history) = self.claims.get_mut(&key).and_then(|by_vtep| by_vtep.get_mut(&vtep)) else {
            return;
        };
        let is_told = |claimed: &&mut Claimed| {
            claimed.role == told.role
                && if told.origin.is_some() { claimed.origin == told.origin } else { claimed.recovered }
        };
        // A role that went and came back unseen is the same record told again.
        let twins = history.iter_mut().filter(|claimed| is_told(claimed)).count();
        let Some(claimed) = history.iter_mut().rev().find(is_told) else { return };
        if in_window {
            claimed.told = Some(was_master || claimed.told == Some(true));
        }
        if claimed.span.is_none() {
            let certain = told.origin.is_some() && !in_window && (twins == 1 || !snapshot);
            // What a VTEP tells first of all may be old, for all that its logical controller knows.
            let old = snapshot && !self.heard.contains(&(vtep, key.0));
            let earliest = if old { 0 } else { sight.map_or(arrival, |(earliest, _)| earliest) };
            claimed.span = Some(if certain { Span { earliest, latest: arrival } } else { UNKNOWN });
            claimed.received_at_ms = received_at_ms;
            claimed.sight_received_at_ms = sight.map_or(received_at_ms, |(_, at)| at.min(received_at_ms));
            claimed.by_change = !snapshot;
        } else if let Some(span) = claimed.span.as_mut().filter(|_| snapshot && claimed.by_change) {
            span.latest = span.latest.max(arrival);
            claimed.by_change = false;
        }
    }

    /// When a claim that differs from a former one by its role alone may really be of, and when that was received: another
    /// VTEP appeared with the MAC since.
    fn outlived_sight(&self, vtep: usize, key: Key, claim: &Claim) -> Option<(u64, i64)> {
        let by_vtep = self.claims.get(&key)?;
        let same = |claimed: &&Claimed| claimed.origin == claim.local.origin || claimed.recovered;
        let sight = by_vtep.get(&vtep)?.iter().filter(same).find(|claimed| claimed.span.is_some())?;
        let (earliest, received_at_ms) = (sight.span?.earliest, sight.sight_received_at_ms);
        let appeared = |claimed: &Claimed| {
            let later = claimed.span.is_none_or(|span| span.latest >= earliest);
            claimed.appeared && claimed.role == Role::Master && later
        };
        let others = by_vtep.iter().filter(|(other, _)| **other != vtep);
        others.flat_map(|(_, history)| history).any(appeared).then_some((earliest, received_at_ms))
    }

    /// A VTEP has told all that it claims.
    pub(crate) fn told_all(&mut self, vtep: usize, switch: usize) {
        self.heard.insert((vtep, switch));
    }

    /// The owner of the logical switch begins anew: what it knew of the order is gone.
    pub(crate) fn window_opens(&mut self, switch: usize) {
        self.arrivals += 1;
        self.windows.insert(switch, self.arrivals);
        self.heard.retain(|(_, at)| *at != switch);
        for claimed in self.all_mut(switch) {
            claimed.told = None;
        }
    }

    /// It has heard everybody, or has waited long enough.
    pub(crate) fn window_closes(&mut self, switch: usize) {
        let Some(opened) = self.windows.remove(&switch) else { return };
        self.arrivals += 1;
        let closed = self.arrivals;
        for claimed in self.all_mut(switch) {
            let Some(span) = &mut claimed.span else { continue };
            *span = match claimed.told {
                Some(true) => Span { earliest: opened, latest: closed },
                // It may be one that the logical controller remembers as master itself.
                Some(false) => Span { earliest: 0, latest: closed },
                None => UNKNOWN,
            };
        }
    }

    /// Nobody can say any more when the claims of a VTEP in a logical switch counted first.
    pub(crate) fn blur(&mut self, vtep: usize, switch: usize) {
        for (_, by_vtep) in self.claims.iter_mut().filter(|((at, _), _)| *at == switch) {
            for claimed in by_vtep.get_mut(&vtep).into_iter().flatten() {
                claimed.span = Some(UNKNOWN);
            }
        }
    }

    pub(crate) fn blur_all(&mut self, switch: usize) {
        self.all_mut(switch).for_each(|claimed| claimed.span = Some(UNKNOWN));
    }

    /// `counts`: whether what a VTEP says counts there at all.
    pub(crate) fn expected(
        &self,
        key: Key,
        counts: impl Fn(usize) -> bool,
        pinned: &BTreeSet<usize>,
        latest: Latest,
    ) -> Option<Expected> {
        let live = |history: &Vec<Claimed>| history.last().is_some_and(|claimed| claimed.live);
        let claimants: BTreeMap<usize, &Claimed> = self
            .claims
            .get(&key)
            .into_iter()
            .flatten()
            .filter(|(vtep, history)| counts(**vtep) && live(history))
            .map(|(vtep, history)| (*vtep, history.last().expect("it is live")))
            .collect();
        let named: BTreeSet<usize> = claimants.keys().copied().chain(pinned.iter().copied()).collect();
        if named.is_empty() {
            return None;
        }
        let masters: BTreeMap<usize, &Claimed> = claimants
            .iter()
            .filter(|(_, claimed)| claimed.role == Role::Master)
            .map(|(v, c)| (*v, *c))
            .collect();
        let masters = if !pinned.is_empty() {
            pinned.clone()
        } else if masters.is_empty() {
            claimants.keys().copied().collect()
        } else {
            latest_of(&masters, latest)
        };
        Some(Expected { masters, named })
    }

    fn live_mut(&mut self, vtep: usize, key: Key) -> Option<&mut Claimed> {
        self.claims.get_mut(&key)?.get_mut(&vtep)?.last_mut().filter(|claimed| claimed.live)
    }

    fn all_mut(&mut self, switch: usize) -> impl Iterator<Item = &mut Claimed> {
        self.claims
            .iter_mut()
            .filter(move |((at, _), _)| *at == switch)
            .flat_map(|(_, v)| v.values_mut().flatten())
    }
}

fn latest_of(masters: &BTreeMap<usize, &Claimed>, latest: Latest) -> BTreeSet<usize> {
    let span = |claimed: &Claimed| claimed.span.unwrap_or(UNKNOWN);
    let beats = |one: &Claimed, other: &Claimed| match latest {
        Latest::Arrival => span(one).earliest > span(other).latest,
        Latest::ReceivedAt => one.sight_received_at_ms > other.received_at_ms,
        Latest::Anyone => false,
    };
    masters
        .iter()
        .filter(|(_, claimed)| !masters.values().any(|other| beats(other, claimed)))
        .map(|(vtep, _)| *vtep)
        .collect()
}

impl Truth {
    /// All that is known of a MAC.
    pub(crate) fn tell(&self, key: Key) -> String {
        let lines = self.claims.get(&key).into_iter().flatten();
        let lines: Vec<_> =
            lines.map(|(vtep, claims)| format!("  vtep {vtep}: {:?}", claims.last())).collect();
        lines.join("\n")
    }
}
