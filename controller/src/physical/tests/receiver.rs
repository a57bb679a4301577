//! What a VTEP and a logical controller make of what they are told, as simply as can be.

use std::collections::BTreeMap;

use vtep_api::*;

/// A VTEP's tables.
#[derive(Debug, Default, Clone)]
pub(super) struct Receiver {
    pub(super) tables: BTreeMap<LogicalSwitchName, Installed>,
    staged: Option<TableUpdate>,
    pub(super) resyncs: Vec<LogicalSwitchName>,
}

#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Installed {
    pub(super) term: Term,
    pub(super) version: Version,
    pub(super) rows: BTreeMap<MacAddr, Row>,
}

impl Receiver {
    pub(super) fn held(&self) -> Vec<Held> {
        let held = |(name, table): (&LogicalSwitchName, &Installed)| Held {
            logical_switch: name.clone(),
            term: table.term,
            version: table.version,
        };
        self.tables.iter().map(held).collect()
    }

    /// A session's end voids what was half received.
    pub(super) fn disconnect(&mut self) {
        self.staged = None;
    }

    pub(super) fn take(&mut self, message: &ToVtep) {
        match message {
            ToVtep::Outline(outline) if outline.complete => {
                self.tables.retain(|name, _| outline.networks.contains_key(name));
            }
            ToVtep::Table(part) => self.part(part.clone()),
            _ => {}
        }
    }

    fn part(&mut self, part: TableUpdate) {
        assert!(part.changes.len() <= ROWS_MAX);
        let same = |staged: &TableUpdate| {
            (&staged.logical_switch, staged.term, staged.from, staged.to)
                == (&part.logical_switch, part.term, part.from, part.to)
        };
        let whole = match self.staged.take() {
            Some(mut staged) if same(&staged) => {
                staged.changes.extend(part.changes);
                TableUpdate { end: part.end, ..staged }
            }
            _ => part,
        };
        if !whole.end {
            self.staged = Some(whole);
            return;
        }
        let table = self.tables.entry(whole.logical_switch.clone()).or_default();
        assert!(whole.term >= table.term, "a term fell from {:?} to {:?}", table.term, whole.term);
        if whole.term == table.term {
            assert!(whole.to >= table.version, "a version fell from {:?} to {:?}", table.version, whole.to);
        }
        if whole.from.is_some_and(|from| (whole.term, from) != (table.term, table.version)) {
            self.resyncs.push(whole.logical_switch);
            return;
        }
        if whole.from.is_none() && whole.complete {
            table.rows.clear();
        }
        let mut told = std::collections::BTreeSet::new();
        for (mac, change) in whole.changes {
            assert!(told.insert(mac), "{mac} twice in one update");
            match change {
                Change::Put(row) => table.rows.insert(mac, row),
                Change::Remove(_) => table.rows.remove(&mac),
            };
        }
        (table.term, table.version) = (whole.term, whole.to);
    }
}

/// What a logical controller knows of claims.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Ledger {
    pub(super) claims: BTreeMap<(LogicalSwitchName, VtepName), BTreeMap<MacAddr, Claim>>,
    staged: BTreeMap<(LogicalSwitchName, VtepName), BTreeMap<MacAddr, Claim>>,
    /// Claims with a stamp that was not known for that MAC.
    pub(super) news: usize,
}

impl Ledger {
    pub(super) fn take(&mut self, claims: &Claims) {
        assert!(claims.records.len() <= ROWS_MAX);
        let pair = (claims.logical_switch.clone(), claims.vtep.clone());
        for (mac, report) in &claims.records {
            let known = self.claims.entry(pair.clone()).or_default();
            match report {
                Report::Claim(claim) => {
                    let claim = Claim { was_master: false, ..claim.clone() };
                    let earlier = known.get(mac).map(|known| known.stamp);
                    assert!(earlier <= Some(claim.stamp), "{mac}: {:?} after {earlier:?}", claim.stamp);
                    self.news += usize::from(earlier != Some(claim.stamp));
                    if claims.snapshot {
                        self.staged.entry(pair.clone()).or_default().insert(*mac, claim);
                    } else {
                        known.insert(*mac, claim);
                    }
                }
                Report::Withdraw { stamp, .. } => {
                    assert!(!claims.snapshot);
                    if known.get(mac).is_some_and(|known| known.stamp < *stamp) {
                        known.remove(mac);
                    }
                }
            }
        }
        if claims.snapshot && claims.end {
            self.claims.insert(pair.clone(), self.staged.remove(&pair).unwrap_or_default());
        }
    }

    /// Without what is empty.
    pub(super) fn records(&self) -> BTreeMap<(LogicalSwitchName, VtepName), BTreeMap<MacAddr, Claim>> {
        self.claims.clone().into_iter().filter(|(_, records)| !records.is_empty()).collect()
    }
}
