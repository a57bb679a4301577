use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::framer::{Framer, Limits, Piece};

crate::row! {
    #[derive(Debug)]
    struct Thing in "Thing" {
        name: String = "name",
        set: BTreeSet<i64> = "set",
        map: BTreeMap<String, i64> = "map",
    }
    optional {
        key: Option<i64> = "key",
    }
}

fn batches(rows: &[(u128, &str)]) -> Vec<RowBatch> {
    let rows: Vec<_> =
        rows.iter().map(|(uuid, row)| format!("\"{}\":{row}", Uuid::from_u128(*uuid))).collect();
    let mut framer = Framer::new(Limits::default());
    let message = format!(r#"{{"result":{{"Thing":{{{}}}}}}}"#, rows.join(","));
    framer.buffer().extend_from_slice(message.as_bytes());
    let mut batches = Vec::new();
    while let Some(piece) = framer.next_piece().unwrap() {
        if let Piece::Rows(batch) = piece {
            batches.push(batch);
        }
    }
    batches
}

fn stage(table: &mut Table<Thing>, rows: &[(u128, &str)]) {
    for batch in batches(rows) {
        table.stage(&batch);
    }
}

/// The changes as (uuid, old name, new name).
type Changes = Vec<(u128, Option<String>, Option<String>)>;

fn note(changes: &mut Changes) -> impl FnMut(Changed<'_, Thing>) {
    |changed| {
        let name = |row: &Thing| row.name.clone();
        changes.push((changed.uuid.as_u128(), changed.old.map(name), changed.new.map(name)));
    }
}

#[test]
fn a_modification_is_merged_into_the_row_as_it_was() {
    let mut table = Table::<Thing>::default();
    let initial =
        r#"{"initial":{"name":"a","set":["set",[1,2]],"map":["map",[["x",1],["y",2]]],"key":9,"other":1}}"#;
    stage(&mut table, &[(1, initial)]);
    table.commit_snapshot(|_| {});
    stage(
        &mut table,
        &[(1, r#"{"modify":{"set":["set",[2,3]],"map":["map",[["x",1],["y",5]]],"key":["set",[]]}}"#)],
    );
    table.commit(|_| {});
    let expected = Thing {
        name: "a".into(),
        set: BTreeSet::from([1, 3]),
        map: BTreeMap::from([("y".into(), 5)]),
        key: None,
    };
    assert_eq!(table.row(Uuid::from_u128(1)), Some(&expected));
}

#[test]
fn an_update_of_rfc_7047_replaces_the_whole_row() {
    let mut table = Table::<Thing>::default();
    stage(&mut table, &[(1, r#"{"new":{"name":"a","set":7}}"#), (2, r#"{"new":{"name":"b"}}"#)]);
    table.commit_snapshot(|_| {});
    let mut changes = Changes::new();
    stage(
        &mut table,
        &[(1, r#"{"old":{"name":"a"},"new":{"name":"c","set":7}}"#), (2, r#"{"old":{"name":"b"}}"#)],
    );
    table.commit(note(&mut changes));
    changes.sort();
    assert_eq!(changes, [(1, Some("a".into()), Some("c".into())), (2, Some("b".into()), None)]);
}

#[test]
fn a_second_dump_tells_only_what_differs() {
    let mut table = Table::<Thing>::default();
    let row = |name| format!(r#"{{"initial":{{"name":"{name}"}}}}"#);
    stage(&mut table, &[(1, &row("a")), (2, &row("b")), (3, &row("c"))]);
    table.commit_snapshot(|_| {});
    let mut changes = Changes::new();
    stage(&mut table, &[(4, &row("d")), (1, &row("a")), (2, &row("x"))]);
    table.commit_snapshot(note(&mut changes));
    changes.sort();
    let (b, c, d, x) = (Some("b".into()), Some("c".into()), Some("d".into()), Some("x".into()));
    assert_eq!(changes, [(2, b, x), (3, c, None), (4, None, d)]);
    assert_eq!(table.len(), 3);
}

#[test]
fn a_dump_that_is_cut_off_changes_nothing() {
    let mut table = Table::<Thing>::default();
    stage(&mut table, &[(1, r#"{"initial":{"name":"a"}}"#)]);
    table.commit_snapshot(|_| {});
    stage(&mut table, &[(2, r#"{"initial":{"name":"b"}}"#)]);
    table.discard();
    table.commit(|_| panic!("nothing was staged"));
    assert_eq!(table.len(), 1);
}

#[test]
fn a_row_that_cannot_be_is_set_aside_and_the_rest_kept() {
    let deep = format!(r#"{{"initial":{{"set":{}{}}}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let malformed = [
        r"{}",
        r#"{"initial":{"name":5}}"#,
        r#"{"initial":7}"#,
        r#"{"became":{}}"#,
        r#"{"initial":{}x}"#,
        &deep,
    ];
    for row in malformed {
        let mut table = Table::<Thing>::default();
        stage(&mut table, &[(1, row), (2, r#"{"initial":{"name":"b"}}"#), (3, r#"{"modify":{"name":"c"}}"#)]);
        table.commit(|_| {});
        let refused: Vec<_> = table.refused().collect();
        assert!(matches!(refused[0], RowError::Malformed { table: "Thing", .. }), "{row}");
        assert!(matches!(refused[1], RowError::Unknown { table: "Thing", .. }), "{row}");
        assert_eq!(table.iter().map(|(uuid, _)| uuid.as_u128()).collect::<Vec<_>>(), [2]);
    }
}

#[test]
fn a_row_that_was_set_aside_is_known_again_once_it_can_be_read() {
    let mut table = Table::<Thing>::default();
    stage(&mut table, &[(1, r#"{"initial":{"name":5}}"#), (2, r#"{"initial":{"name":5}}"#)]);
    table.commit_snapshot(|_| {});
    assert_eq!(table.refused().count(), 2);
    stage(&mut table, &[(1, r#"{"insert":{"name":"a"}}"#)]);
    table.commit(|_| {});
    assert_eq!((table.refused().count(), table.len()), (1, 1));
    stage(&mut table, &[(1, r#"{"initial":{"name":"a"}}"#)]);
    table.commit_snapshot(|_| panic!("nothing changed"));
    assert_eq!(table.refused().count(), 0);
}

proptest! {
    #[test]
    fn a_table_holds_what_a_map_would(updates in prop::collection::vec(prop::collection::btree_map(0_u128..12, any::<Option<u8>>(), 0..6), 0..20)) {
        let mut table = Table::<Thing>::default();
        let mut model = BTreeMap::new();
        for update in updates {
            let texts: Vec<_> = update.iter().map(|(uuid, name)| (*uuid, match name {
                Some(name) => format!(r#"{{"insert":{{"name":"{name}"}}}}"#),
                None => r#"{"delete":null}"#.to_owned(),
            })).collect();
            stage(&mut table, &texts.iter().map(|(uuid, text)| (*uuid, text.as_str())).collect::<Vec<_>>());
            table.commit(|_| {});
            for (uuid, name) in update {
                match name {
                    Some(name) => { model.insert(uuid, name.to_string()); }
                    None => { model.remove(&uuid); }
                }
            }
            let held: BTreeMap<_, _> = table.iter().map(|(uuid, row)| (uuid.as_u128(), row.name.clone())).collect();
            prop_assert_eq!(&held, &model);
            for uuid in 0..12 {
                prop_assert_eq!(table.row(Uuid::from_u128(uuid)).map(|row| &row.name), model.get(&uuid));
            }
        }
    }
}
