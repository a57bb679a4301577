use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use vtep_api::{Cause, Network, Placement, Replication, UnknownUnicast, Vni};

use super::*;

fn name(text: &str) -> VtepName {
    text.try_into().unwrap()
}

fn switch(text: &str) -> LogicalSwitchName {
    text.try_into().unwrap()
}

fn mac(last: u8) -> MacAddr {
    MacAddr::new([2, 0, 0, 0, 0, last])
}

fn row(master: &str) -> Change {
    let placement = Arc::new(Placement { master: name(master), slaves: Vec::new() });
    Change::Put(Row { placement, ips: Box::default() })
}

fn outline(switches: &[&str]) -> ToVtep {
    let network = |vni| Network {
        vni: Vni::try_from(vni).unwrap(),
        unknown_unicast: UnknownUnicast::Flood,
        replication: Replication::SourceNode,
        flood: BTreeSet::default(),
        unheard: BTreeSet::new(),
    };
    let networks = switches.iter().zip(1_u32..).map(|(name, vni)| (switch(name), network(vni)));
    let networks: BTreeMap<_, _> = networks.collect();
    ToVtep::Outline(VtepOutline { complete: true, networks, ..VtepOutline::default() })
}

fn incomplete(outline: ToVtep) -> ToVtep {
    let ToVtep::Outline(outline) = outline else { unreachable!("an outline is an outline") };
    ToVtep::Outline(VtepOutline { complete: false, ..outline })
}

/// An update of `ls0` in term 3, whole and complete.
fn update(from: Option<u64>, to: u64, changes: Vec<(MacAddr, Change)>) -> TableUpdate {
    TableUpdate {
        logical_switch: switch("ls0"),
        term: Term(3),
        from: from.map(Version),
        to: Version(to),
        complete: true,
        changes,
        end: true,
    }
}

fn told(updates: impl IntoIterator<Item = TableUpdate>) -> Told {
    let mut told = Told::new(name("tor1"));
    told.take(outline(&["ls0"])).unwrap();
    for update in updates {
        told.take(ToVtep::Table(update)).unwrap();
    }
    told
}

fn macs(told: &Told) -> Vec<MacAddr> {
    let mut macs: Vec<_> = told.tables().values().flat_map(|table| table.rows.keys().copied()).collect();
    macs.sort_unstable();
    macs
}

fn rows(macs: &[MacAddr]) -> Effect {
    Effect::Table { logical_switch: switch("ls0"), macs: macs.to_vec(), completed: false }
}

fn held(told: &Told) -> Vec<(u64, u64)> {
    let FromVtep::Hello { tables, .. } = told.hello() else { unreachable!("a hello is a hello") };
    tables.iter().map(|held| (held.term.0, held.version.0)).collect()
}

#[test]
fn a_snapshot_removes_nothing_before_its_end_has_come() {
    let mut told = told([update(None, 1, vec![(mac(1), row("a")), (mac(2), row("a"))])]);
    let part = TableUpdate { end: false, ..update(None, 5, vec![(mac(2), row("b"))]) };
    assert_eq!(told.take(ToVtep::Table(part)), Ok(Effect::None));
    assert_eq!((macs(&told), held(&told)), (vec![mac(1), mac(2)], vec![(3, 1)]));
    let last = update(None, 5, vec![(mac(3), row("b"))]);
    assert_eq!(told.take(ToVtep::Table(last)), Ok(rows(&[mac(1), mac(2), mac(3)])));
    assert_eq!((macs(&told), held(&told)), (vec![mac(2), mac(3)], vec![(3, 5)]));
}

#[test]
fn an_incomplete_snapshot_removes_nothing() {
    let mut told = told([update(None, 1, vec![(mac(1), row("a"))])]);
    let incomplete = TableUpdate { complete: false, ..update(None, 2, vec![(mac(2), row("a"))]) };
    assert_eq!(told.take(ToVtep::Table(incomplete)), Ok(rows(&[mac(2)])));
    assert_eq!(macs(&told), [mac(1), mac(2)]);
    assert_eq!(told.take(ToVtep::Table(update(None, 3, vec![(mac(2), row("a"))]))), Ok(rows(&[mac(1)])));
}

#[test]
fn a_delta_that_does_not_fit_is_answered_once_until_a_snapshot_comes() {
    let mut told = told([update(None, 1, vec![])]);
    let resync = Effect::Answer(FromVtep::Resync { logical_switch: switch("ls0") });
    let gap = || ToVtep::Table(update(Some(2), 3, vec![(mac(1), row("a"))]));
    assert_eq!(told.take(gap()), Ok(resync.clone()));
    assert_eq!(told.take(gap()), Ok(Effect::None));
    assert_eq!(macs(&told), []);
    told.take(ToVtep::Table(update(None, 7, vec![]))).unwrap();
    assert_eq!(told.take(gap()), Ok(resync));
}

#[test]
fn a_delta_of_several_parts_reaches_its_version_with_the_last() {
    let mut told = told([update(None, 1, vec![(mac(1), row("a"))])]);
    let part =
        TableUpdate { end: false, ..update(Some(1), 2, vec![(mac(1), Change::Remove(Cause::Withdrawn))]) };
    assert_eq!(told.take(ToVtep::Table(part)), Ok(rows(&[mac(1)])));
    assert_eq!(held(&told), [(3, 1)]);
    told.take(ToVtep::Table(update(Some(1), 2, vec![(mac(2), row("a"))]))).unwrap();
    assert_eq!((macs(&told), held(&told)), (vec![mac(2)], vec![(3, 2)]));
}

#[test]
fn what_is_told_again_changes_nothing() {
    let mut told = told([update(None, 1, vec![(mac(1), row("a"))])]);
    assert_eq!(told.take(ToVtep::Table(update(Some(1), 2, vec![(mac(1), row("a"))]))), Ok(Effect::None));
    assert_eq!(told.take(ToVtep::Table(update(None, 2, vec![(mac(1), row("a"))]))), Ok(Effect::None));
    assert_eq!(held(&told), [(3, 2)]);
}

#[test]
fn lower_terms_are_refused_and_named() {
    let mut told = told([update(None, 1, vec![])]);
    let old = TableUpdate { term: Term(2), ..update(None, 9, vec![(mac(1), row("a"))]) };
    let refused = told.take(ToVtep::Table(old)).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "a table of logical switch ls0 is of term 2, and one of term 3 was obeyed"
    );
    assert_eq!(macs(&told), []);
    let welcome = |term| ToVtep::Welcome {
        protocol: PROTOCOL,
        name: "pc".try_into().unwrap(),
        term: Term(term),
        elected: false,
    };
    told.take(welcome(7)).unwrap();
    assert_eq!(told.take(welcome(6)), Err(Refused::Controller { found: Term(6), obeyed: Term(7) }));
}

#[test]
fn a_network_that_was_left_is_forgotten_and_late_rows_of_it_are_nothing() {
    let mut told = told([update(None, 1, vec![(mac(1), row("a"))])]);
    assert_eq!(told.take(outline(&[])), Ok(Effect::Outline));
    assert_eq!(told.take(ToVtep::Table(update(Some(1), 2, vec![(mac(2), row("a"))]))), Ok(Effect::None));
    assert_eq!((macs(&told), held(&told)), (vec![], vec![]));
}

#[test]
fn a_network_that_an_incomplete_outline_does_not_name_stays() {
    let mut told = told([update(None, 1, vec![(mac(1), row("a"))])]);
    told.take(incomplete(outline(&["ls1"]))).unwrap();
    assert_eq!(told.present_outline().networks.len(), 2);
    assert_eq!(macs(&told), [mac(1)]);
    told.take(outline(&["ls1"])).unwrap();
    assert_eq!((told.present_outline().networks.len(), macs(&told)), (1, vec![]));
}

#[test]
fn parts_of_a_session_that_ended_are_not_completed_by_the_next() {
    let mut told = told([]);
    let part = TableUpdate { end: false, ..update(None, 5, vec![(mac(1), row("a"))]) };
    told.take(ToVtep::Table(part)).unwrap();
    told.forget_parts();
    told.take(ToVtep::Table(update(None, 5, vec![(mac(2), row("a"))]))).unwrap();
    assert_eq!(macs(&told), [mac(2)]);
}
