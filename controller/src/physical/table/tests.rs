use vtep_api::{Placement, Row};

use super::*;

fn name(text: &str) -> ControllerName {
    text.try_into().unwrap()
}

fn mac(number: u16) -> MacAddr {
    let [high, low] = number.to_be_bytes();
    MacAddr::new([2, 0, 0, 0, high, low])
}

fn put(number: u16, master: &str) -> (MacAddr, Change) {
    let placement = Placement { master: master.try_into().unwrap(), slaves: vec![] };
    (mac(number), Change::Put(Row { placement: Arc::new(placement), ips: [].into() }))
}

fn update(term: u64, from: Option<u64>, to: u64, changes: Vec<(MacAddr, Change)>) -> TableUpdate {
    TableUpdate {
        logical_switch: "X".try_into().unwrap(),
        term: Term(term),
        from: from.map(Version),
        to: Version(to),
        complete: true,
        changes,
        end: true,
    }
}

fn install(table: &mut Table, update: TableUpdate) -> Installed {
    table.install(&name("a"), update, Now::default())
}

fn with(rows: u16) -> Table {
    let mut table = Table::default();
    install(&mut table, update(1, None, 5, (0..rows).map(|number| put(number, "v")).collect()));
    table
}

#[test]
fn nothing_goes_before_the_end_mark() {
    let mut table = with(3);
    let part = TableUpdate { end: false, ..update(1, None, 6, vec![put(7, "v")]) };
    assert_eq!(install(&mut table, part), Installed::Nothing);
    assert_eq!((table.published.len(), table.published.version()), (3, Version(5)));
    install(&mut table, update(1, None, 6, vec![]));
    assert_eq!((table.published.len(), table.published.row(mac(7)).is_some()), (1, true));
}

#[test]
fn absence_from_a_table_that_is_not_whole_removes_nothing() {
    let mut table = with(3);
    let part = TableUpdate { complete: false, ..update(2, None, 1, vec![put(7, "v")]) };
    install(&mut table, part);
    assert_eq!((table.published.len(), table.complete), (4, false));
    install(&mut table, update(2, None, 1, vec![put(7, "v")]));
    assert_eq!((table.published.len(), table.complete), (1, true));
}

#[test]
fn a_gap_asks_for_a_snapshot_once() {
    let mut table = with(1);
    assert_eq!(install(&mut table, update(1, Some(6), 7, vec![])), Installed::Resync);
    assert_eq!(install(&mut table, update(1, Some(7), 8, vec![])), Installed::Nothing);
    install(&mut table, update(1, None, 8, vec![put(0, "v")]));
    assert_eq!(install(&mut table, update(1, Some(8), 9, vec![])), Installed::Changed { names_more: false });
    assert_eq!(table.published.version(), Version(9));
}

#[test]
fn a_lower_term_is_refused_and_so_is_another_controller_of_the_same() {
    let mut table = with(1);
    let lower = table.install(&name("a"), update(0, None, 50, vec![]), Now::default());
    assert!(matches!(lower, Installed::Refused(Refusal::LowerTerm { .. })));
    let other = table.install(&name("b"), update(1, None, 50, vec![]), Now::default());
    assert!(matches!(other, Installed::Refused(Refusal::SameTerm { .. })));
    let successor = table.install(&name("b"), update(2, None, 1, vec![put(0, "w")]), Now::default());
    assert!(matches!(successor, Installed::Changed { names_more: true }));
    let late = table.install(&name("a"), update(1, Some(5), 6, vec![]), Now::default());
    assert!(matches!(late, Installed::Refused(Refusal::LowerTerm { .. })));
}

#[test]
fn a_snapshot_that_leaves_out_most_rows_waits_for_the_operator() {
    let mut table = with(1000);
    let rest: Vec<_> = (0..100).map(|number| put(number, "w")).collect();
    let kept = install(&mut table, update(1, None, 6, rest.clone()));
    assert_eq!(kept, Installed::Kept { names_more: true, rows: 900 });
    assert_eq!(table.published.len(), 1000);
    assert_eq!(table.published.row(mac(0)).unwrap().placement.master.as_str(), "w");
    install(
        &mut table,
        update(1, Some(6), 7, vec![(mac(500), Change::Remove(Cause::Withdrawn)), put(501, "w")]),
    );
    assert_eq!((table.published.len(), table.kept()), (999, 898));
    assert_eq!(table.release(), 898);
    assert_eq!(table.published.len(), 101);
    assert!(!table.is_exact_at(Version(7)), "who has this version has rows that went since");
}

#[test]
fn changes_that_say_what_they_remove_are_not_held_up() {
    let mut table = with(1000);
    let removals = (0..900).map(|number| (mac(number), Change::Remove(Cause::Withdrawn))).collect();
    install(&mut table, update(1, Some(5), 6, removals));
    assert_eq!(table.published.len(), 100);
}

#[test]
fn equal_placements_are_kept_once() {
    let table = with(1000);
    assert_eq!(table.placements(), 1);
    let placement = &table.published.row(mac(1)).unwrap().placement;
    assert_eq!(Arc::strong_count(placement), 1001);
}
