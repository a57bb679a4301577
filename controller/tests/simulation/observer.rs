//! Looks on, and objects: what must hold after every step, told from the messages and from the tables of the logical
//! controllers, never from what a core says of itself.

use std::collections::{BTreeMap, BTreeSet};

use vtep_api::{
    Change, ControllerName, FromLogical, LogicalSwitchName, MacAddr, Row, TableUpdate, Term, ToVtep, Version,
    VtepName,
};

use crate::vtep::Table;

#[derive(Debug, Default)]
pub(crate) struct Observer {
    published: BTreeMap<LogicalSwitchName, History>,
    /// What each physical controller was told last, by who told it.
    outlines: BTreeMap<(ControllerName, ControllerName), Outline>,
    /// The streams of tables to every receiver: of an update, the next one's `from`.
    streams: BTreeMap<Stream, (Term, Version)>,
    /// The highest term of a logical switch that a physical controller passed on in this reign of its own.
    passed_on: BTreeMap<(ControllerName, LogicalSwitchName), Term>,
    /// No master may change, and no entry go.
    pub(crate) frozen: bool,
    /// VTEPs that are gone: what they claimed last may come and go with the memory of controllers.
    pub(crate) gone: BTreeSet<VtepName>,
}

/// What was published of a MAC: a row, or that there is none.
type Log = Vec<(Version, Option<Row>)>;

/// Everything that was ever published of a logical switch.
#[derive(Debug, Default)]
struct History {
    term: Term,
    version: Version,
    rows: BTreeMap<MacAddr, Row>,
    rows_most: usize,
    log: BTreeMap<(Term, MacAddr), Log>,
    complete_from: BTreeMap<Term, Version>,
    removals: Vec<u64>,
}

#[derive(Debug, Default)]
struct Outline {
    at: (Term, Version),
    members: BTreeMap<LogicalSwitchName, BTreeSet<VtepName>>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Stream {
    Physical { from: ControllerName, to: ControllerName, logical_switch: LogicalSwitchName },
    Vtep { from: ControllerName, to: VtepName, logical_switch: LogicalSwitchName },
}

/// How much may leave within how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Guard {
    pub(crate) entries: u32,
    pub(crate) percent: u8,
    pub(crate) window_ms: u64,
}

pub(crate) type Verdict = Result<(), String>;

impl Observer {
    /// The table of a logical switch after a step of its owner.
    pub(crate) fn publishes<'a>(
        &mut self,
        logical_switch: &LogicalSwitchName,
        term: Term,
        version: Version,
        rows: impl Iterator<Item = (MacAddr, &'a Row)>,
        at: u64,
        guard: Option<Guard>,
    ) -> Verdict {
        let history = self.published.entry(logical_switch.clone()).or_default();
        if (term, version) == (history.term, history.version) {
            return Ok(());
        }
        if (term, version) < (history.term, history.version) {
            return Err(format!(
                "{logical_switch} goes back from {:?} {:?} to {term:?} {version:?}",
                history.term, history.version
            ));
        }
        let rows: BTreeMap<MacAddr, Row> = rows.map(|(mac, row)| (mac, row.clone())).collect();
        let before = if term == history.term { std::mem::take(&mut history.rows) } else { BTreeMap::new() };
        for (mac, row) in &rows {
            let placement = &row.placement;
            let slaves: BTreeSet<_> = placement.slaves.iter().collect();
            if slaves.len() != placement.slaves.len() || slaves.contains(&placement.master) {
                return Err(format!("{logical_switch} {mac} names a VTEP twice: {placement:?}"));
            }
            if before.get(mac) != Some(row) {
                if self.frozen
                    && before.get(mac).is_some_and(|old| {
                        old.placement.master != placement.master && !self.gone.contains(&old.placement.master)
                    })
                {
                    return Err(format!(
                        "{logical_switch} {mac} moved although nobody claimed: {:?} to {placement:?}",
                        before[mac]
                    ));
                }
                history.log.entry((term, *mac)).or_default().push((version, Some(row.clone())));
            }
        }
        if term != history.term {
            history.rows_most = 0;
            // Guards begin anew with their controller.
            history.removals.clear();
        }
        for mac in before.keys().filter(|mac| !rows.contains_key(mac)) {
            if self.frozen && !self.gone.contains(&before[mac].placement.master) {
                return Err(format!("{logical_switch} {mac} went although nobody withdrew it"));
            }
            history.log.entry((term, *mac)).or_default().push((version, None));
            history.removals.push(at);
        }
        history.rows_most = history.rows_most.max(before.len()).max(rows.len());
        if let Some(guard) = guard {
            history.removals.retain(|removed| removed + guard.window_ms > at);
            let share = history.rows_most * usize::from(guard.percent) / 100;
            let most = share.max(guard.entries as usize);
            if history.removals.len() > most {
                let count = history.removals.len();
                return Err(format!(
                    "{count} MACs of {logical_switch} left within the guard's window, {most} may"
                ));
            }
        } else {
            history.removals.clear();
        }
        (history.term, history.version, history.rows) = (term, version, rows);
        Ok(())
    }

    /// The table of one that was succeeded and does not know it.
    pub(crate) fn publishes_late<'a>(
        &mut self,
        logical_switch: &LogicalSwitchName,
        term: Term,
        version: Version,
        rows: impl Iterator<Item = (MacAddr, &'a Row)>,
    ) {
        let history = self.published.entry(logical_switch.clone()).or_default();
        let mut rows: BTreeMap<MacAddr, &Row> = rows.collect();
        for ((_, mac), log) in history.log.iter_mut().filter(|((of, _), _)| *of == term) {
            let row = rows.remove(mac);
            if log.last().is_some_and(|(_, last)| last.as_ref() != row) {
                log.push((version, row.cloned()));
            }
        }
        for (mac, row) in rows {
            history.log.insert((term, mac), vec![(version, Some(row.clone()))]);
        }
    }

    pub(crate) fn latest(
        &self,
        logical_switch: &LogicalSwitchName,
    ) -> Option<(Term, Version, &BTreeMap<MacAddr, Row>)> {
        self.published.get(logical_switch).map(|history| (history.term, history.version, &history.rows))
    }

    pub(crate) fn releases(&mut self) {
        self.published.values_mut().for_each(|history| history.removals.clear());
    }

    /// A session begins: the receiver says which tables it has.
    pub(crate) fn physical_begins(&mut self, from: &ControllerName, to: &ControllerName) {
        self.streams.retain(
            |stream, _| !matches!(stream, Stream::Physical { from: f, to: t, .. } if f == from && t == to),
        );
    }

    pub(crate) fn physical_has(&mut self, from: &ControllerName, to: &ControllerName, held: &vtep_api::Held) {
        let logical_switch = held.logical_switch.clone();
        self.streams.insert(
            Stream::Physical { from: from.clone(), to: to.clone(), logical_switch },
            (held.term, held.version),
        );
    }

    pub(crate) fn vtep_begins(&mut self, from: &ControllerName, to: &VtepName) {
        self.streams.retain(
            |stream, _| !matches!(stream, Stream::Vtep { to: t, from: f, .. } if t == to && f == from),
        );
    }

    pub(crate) fn vtep_has(&mut self, from: &ControllerName, to: &VtepName, held: &vtep_api::Held) {
        let logical_switch = held.logical_switch.clone();
        self.streams.insert(
            Stream::Vtep { from: from.clone(), to: to.clone(), logical_switch },
            (held.term, held.version),
        );
    }

    /// A reign of a physical controller begins.
    pub(crate) fn physical_starts(&mut self, name: &ControllerName) {
        self.passed_on.retain(|(physical, _), _| physical != name);
        self.outlines.retain(|(physical, _), _| physical != name);
    }

    pub(crate) fn logical_sends(
        &mut self,
        from: &ControllerName,
        own: Term,
        to: &ControllerName,
        message: &FromLogical,
        told: &mut BTreeMap<LogicalSwitchName, usize>,
    ) -> Verdict {
        match message {
            FromLogical::Outline(outline) => {
                *told = outline
                    .networks
                    .iter()
                    .map(|(name, network)| (name.clone(), network.members.len()))
                    .collect();
                Ok(())
            }
            FromLogical::Table(update) => {
                if update.term != own {
                    return Err(format!("{from} of {own:?} sends a table of {:?}", update.term));
                }
                if told.get(&update.logical_switch).is_none_or(|members| *members == 0) {
                    return Err(format!(
                        "{to} gets a table of {}, where it has no member",
                        update.logical_switch
                    ));
                }
                if update.complete && update.from.is_none() {
                    self.complete_from(update);
                }
                let logical_switch = update.logical_switch.clone();
                self.follows(
                    Stream::Physical { from: from.clone(), to: to.clone(), logical_switch },
                    update,
                )?;
                self.says_what_was_published(update, &format!("{from} to {to}"))
            }
            _ => Ok(()),
        }
    }

    /// From here on absence from the table says something.
    pub(crate) fn complete_from(&mut self, update: &TableUpdate) {
        let history = self.published.entry(update.logical_switch.clone()).or_default();
        history.complete_from.entry(update.term).or_insert(update.to);
    }

    /// A physical controller takes an outline.
    pub(crate) fn outline_arrives(
        &mut self,
        from: &ControllerName,
        to: &ControllerName,
        outline: &vtep_api::Outline,
    ) {
        let members =
            outline.networks.iter().map(|(name, network)| (name.clone(), network.members.clone())).collect();
        let at = (outline.term, outline.version);
        let known = self.outlines.entry((to.clone(), from.clone())).or_default();
        // One that was overtaken tells nothing.
        if at >= known.at {
            *known = Outline { at, members };
        }
    }

    pub(crate) fn physical_sends(
        &mut self,
        from: &ControllerName,
        to: &VtepName,
        message: &ToVtep,
    ) -> Verdict {
        let ToVtep::Table(update) = message else { return Ok(()) };
        let name = &update.logical_switch;
        let member = self
            .outlines
            .iter()
            .filter(|((physical, _), _)| physical == from)
            .any(|(_, outline)| outline.members.get(name).is_some_and(|members| members.contains(to)));
        if !member {
            return Err(format!("{to} gets a table of {name} from {from}, and is no member"));
        }
        let passed_on = self.passed_on.entry((from.clone(), name.clone())).or_default();
        if update.term < *passed_on {
            return Err(format!("{from} passes on {:?} of {name} after {passed_on:?}", update.term));
        }
        *passed_on = update.term;
        if update.complete && update.from.is_none() {
            let complete_from =
                self.published.get(name).and_then(|history| history.complete_from.get(&update.term));
            if complete_from.is_none_or(|first| *first > update.to) {
                return Err(format!(
                    "{from} calls {name} {:?} {:?} complete, its owner did not",
                    update.term, update.to
                ));
            }
        }
        self.follows(
            Stream::Vtep { from: from.clone(), to: to.clone(), logical_switch: name.clone() },
            update,
        )?;
        self.says_what_was_published(update, &format!("{from} to {to}"))
    }

    /// Consecutive: what is sent begins where the last one ended.
    fn follows(&mut self, stream: Stream, update: &TableUpdate) -> Verdict {
        let before = self.streams.get(&stream).copied();
        if let Some(from) = update.from
            && before != Some((update.term, from))
        {
            return Err(format!("{stream:?}: from {:?} {from:?} after {before:?}", update.term));
        }
        if update.from.is_some_and(|from| from >= update.to) {
            return Err(format!("{stream:?}: from {:?} to {:?}", update.from, update.to));
        }
        let mut macs = BTreeSet::new();
        if let Some((mac, _)) = update.changes.iter().find(|(mac, _)| !macs.insert(*mac)) {
            return Err(format!("{stream:?}: {mac} twice in one update"));
        }
        if update.end {
            self.streams.insert(stream, (update.term, update.to));
        }
        Ok(())
    }

    fn says_what_was_published(&self, update: &TableUpdate, whose: &str) -> Verdict {
        let Some(history) = self.published.get(&update.logical_switch) else {
            return Err(format!("{whose}: {} was never published", update.logical_switch));
        };
        for (mac, change) in &update.changes {
            let published = history.row(update.term, update.to, *mac);
            // Who waited for his turn may be told of a MAC what is known of it by now; what else changed follows.
            let good = match change {
                Change::Put(row) => {
                    history.rows_since(update.term, update.to, *mac).any(|published| published == Some(row))
                        || Self::was_before(history, update, *mac, row)
                }
                Change::Remove(_) if published.is_none() => history.is_complete(update.term, update.to),
                Change::Remove(_) => {
                    history.rows_since(update.term, update.to, *mac).any(|row| row.is_none())
                }
            };
            if !good {
                let (name, term, to) = (&update.logical_switch, update.term, update.to);
                return Err(format!(
                    "{whose}: {name} {term:?} {to:?} says {mac} {change:?}, published was {published:?}"
                ));
            }
        }
        Ok(())
    }

    /// Kept of an earlier term, because nobody knows yet that it is gone.
    fn was_before(history: &History, update: &TableUpdate, mac: MacAddr, row: &Row) -> bool {
        history.row(update.term, update.to, mac).flatten().is_none()
            && !(update.complete && update.from.is_none())
            && history.log.iter().any(|((term, logged), rows)| {
                *term <= update.term
                    && *logged == mac
                    && rows.iter().any(|(_, old)| old.as_ref() == Some(row))
            })
    }

    /// A receiver has carried out an update; these are the MACs that it has no more.
    pub(crate) fn reached(
        &self,
        name: &LogicalSwitchName,
        table: &Table,
        removed: &[MacAddr],
        whose: &VtepName,
    ) -> Verdict {
        let Some(history) = self.published.get(name) else { return Ok(()) };
        for (_, mac) in history.log.keys().filter(|(term, _)| *term == table.term) {
            let has = table.rows.get(mac);
            let mut rows = history.rows_since(table.term, table.version, *mac).peekable();
            if rows.peek().is_some() && rows.clone().all(|row| row != has) {
                let left =
                    !table.complete && history.row(table.term, table.version, *mac).flatten().is_none();
                if !left {
                    let (term, version) = (table.term, table.version);
                    return Err(format!(
                        "{whose} has {name} {mac} as {has:?} at {term:?} {version:?}, published was another"
                    ));
                }
            }
        }
        let known = |mac: &MacAddr| history.log.contains_key(&(table.term, *mac));
        if let Some(mac) = table.rows.keys().find(|mac| table.complete && !known(mac)) {
            return Err(format!("{whose} has {name} {mac}, which was never published in {:?}", table.term));
        }
        for mac in removed {
            let known_gone = history.row(table.term, table.version, *mac) == Some(None);
            if !known_gone && !history.is_complete(table.term, table.version) {
                return Err(format!(
                    "{whose} lost {name} {mac} out of absence, at {:?} {:?}",
                    table.term, table.version
                ));
            }
            if self.frozen && self.gone.is_empty() {
                return Err(format!("{whose} lost {name} {mac} although nobody withdrew it"));
            }
        }
        Ok(())
    }
}

impl History {
    /// `None`: never published in this term.
    #[expect(clippy::option_option, reason = "never published is not the same as gone")]
    fn row(&self, term: Term, version: Version, mac: MacAddr) -> Option<Option<&Row>> {
        let log = self.log.get(&(term, mac))?;
        let after = log.partition_point(|(at, _)| *at <= version);
        log[..after].last().map(|(_, row)| row.as_ref())
    }

    /// At a version, and later.
    fn rows_since(
        &self,
        term: Term,
        version: Version,
        mac: MacAddr,
    ) -> impl Iterator<Item = Option<&Row>> + Clone {
        let log = self.log.get(&(term, mac)).map_or(&[][..], Vec::as_slice);
        let after = log.partition_point(|(at, _)| *at <= version);
        // Not published as yet is as good as gone.
        let unborn = (after == 0).then_some(None);
        unborn.into_iter().chain(log[after.saturating_sub(1)..].iter().map(|(_, row)| row.as_ref()))
    }

    fn is_complete(&self, term: Term, version: Version) -> bool {
        self.complete_from.get(&term).is_some_and(|from| *from <= version)
    }
}
