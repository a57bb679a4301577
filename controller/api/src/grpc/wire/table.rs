//! Table updates: placements, and the names in them, are told once in each.

use std::collections::HashMap;
use std::sync::Arc;

use super::Malformed;
use super::parts::{at_most, cause, cause_to_wire, ips, ips_to_wire, name, names};
use super::proto::{self, table_update};
use crate::{Change, MacAddr, Placement, ROWS_MAX, Row, TableUpdate, Term, Version, VtepName};

/// Changes below are removals.
const PLACEMENTS: u32 = 16;

pub(super) fn update_to_wire(update: &TableUpdate) -> proto::TableUpdate {
    let mut dictionary = Dictionary::default();
    let mut macs = Vec::with_capacity(update.changes.len() * 6);
    let mut changes = Vec::with_capacity(update.changes.len());
    let mut addresses = Vec::new();
    for (at, (mac, change)) in (0..).zip(&update.changes) {
        macs.extend(mac.octets());
        changes.push(match change {
            Change::Put(row) => PLACEMENTS + dictionary.placement(&row.placement),
            Change::Remove(cause) => {
                u32::from(u8::try_from(i32::from(cause_to_wire(*cause))).expect("4 at most"))
            }
        });
        if let Change::Put(Row { ips, .. }) = change
            && !ips.is_empty()
        {
            addresses.push(table_update::Addresses { at, ips: ips_to_wire(ips) });
        }
    }
    proto::TableUpdate {
        logical_switch: update.logical_switch.to_string(),
        term: update.term.0,
        from: update.from.map(|version| version.0),
        to: update.to.0,
        complete: update.complete,
        end: update.end,
        names: dictionary.names,
        placements: dictionary.placements,
        macs,
        changes,
        addresses,
    }
}

pub(super) fn update(update: &proto::TableUpdate) -> Result<TableUpdate, Malformed> {
    at_most("table.changes", update.changes.len(), ROWS_MAX)?;
    let (macs, rest) = update.macs.as_chunks::<6>();
    if macs.len() != update.changes.len() || !rest.is_empty() {
        let expected = format!("6 for each of {} changes", update.changes.len());
        return Err(Malformed::value(
            "table.macs",
            format_args!("of {} octets", update.macs.len()),
            expected,
        ));
    }
    let placements = placements(update)?;
    let mut changes = Vec::with_capacity(macs.len());
    for (mac, &number) in macs.iter().zip(&update.changes) {
        let change = match number.checked_sub(PLACEMENTS) {
            None => Change::Remove(cause("table.changes", i32::try_from(number).unwrap_or_default())?),
            Some(index) => Change::Put(Row {
                placement: Arc::clone(at("table.changes", &placements, index)?),
                ips: Box::default(),
            }),
        };
        changes.push((MacAddr::new(*mac), change));
    }
    for addresses in &update.addresses {
        let row = usize::try_from(addresses.at).ok().and_then(|at| changes.get_mut(at));
        let Some((_, Change::Put(row))) = row else {
            let expected = "the place of a MAC that is put";
            return Err(Malformed::value("table.addresses.at", addresses.at, expected));
        };
        row.ips = ips("table.addresses.ips", &addresses.ips)?;
    }
    Ok(TableUpdate {
        logical_switch: name("table.logical_switch", &update.logical_switch)?,
        term: Term(update.term),
        from: update.from.map(Version),
        to: Version(update.to),
        complete: update.complete,
        changes,
        end: update.end,
    })
}

fn placements(update: &proto::TableUpdate) -> Result<Vec<Arc<Placement>>, Malformed> {
    const FIELD: &str = "table.placements";
    at_most(FIELD, update.placements.len(), ROWS_MAX)?;
    let names: Vec<VtepName> = names("table.names", &update.names)?;
    let placement = |placement: &table_update::Placement| {
        let slaves = placement.slaves.iter().map(|&slave| at(FIELD, &names, slave).cloned());
        let placement = Placement {
            master: at(FIELD, &names, placement.master)?.clone(),
            slaves: slaves.collect::<Result<_, _>>()?,
        };
        if placement.slaves.contains(&placement.master) {
            let value = format_args!("with {:?} as master and as slave", placement.master).to_string();
            return Err(Malformed::value(FIELD, value, "each VTEP once"));
        }
        Ok(Arc::new(placement))
    };
    update.placements.iter().map(placement).collect()
}

fn at<'a, T>(field: &'static str, list: &'a [T], index: u32) -> Result<&'a T, Malformed> {
    let found = usize::try_from(index).ok().and_then(|index| list.get(index));
    found.ok_or_else(|| {
        Malformed::value(field, format_args!("number {index}"), format!("below {}", list.len()))
    })
}

/// What was told of placements so far.
#[derive(Default)]
struct Dictionary<'a> {
    /// Most placements that are equal are one and the same.
    shared: HashMap<*const Placement, u32>,
    equal: HashMap<&'a Placement, u32>,
    placements: Vec<table_update::Placement>,
    places: HashMap<&'a VtepName, u32>,
    names: Vec<String>,
}

impl<'a> Dictionary<'a> {
    fn placement(&mut self, placement: &'a Arc<Placement>) -> u32 {
        let pointer = Arc::as_ptr(placement);
        if let Some(&index) = self.shared.get(&pointer) {
            return index;
        }
        let index = self.equal_placement(placement);
        self.shared.insert(pointer, index);
        index
    }

    fn equal_placement(&mut self, placement: &'a Placement) -> u32 {
        if let Some(&index) = self.equal.get(placement) {
            return index;
        }
        let master = self.name(&placement.master);
        let slaves = placement.slaves.iter().map(|slave| self.name(slave)).collect();
        let index = count(&self.placements);
        self.placements.push(table_update::Placement { master, slaves });
        self.equal.insert(placement, index);
        index
    }

    fn name(&mut self, name: &'a VtepName) -> u32 {
        let Self { places, names, .. } = self;
        *places.entry(name).or_insert_with(|| {
            names.push(name.to_string());
            count(names) - 1
        })
    }
}

fn count<T>(list: &[T]) -> u32 {
    u32::try_from(list.len()).expect("an update has fewer rows")
}
