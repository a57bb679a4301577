use proptest::prelude::*;

use super::*;
use crate::Uuid;

const FIRST: &str = "00000000-0000-0000-0000-000000000001";
const SECOND: &str = "00000000-0000-0000-0000-000000000002";

/// A message as a consumer sees it: its skeleton, and its rows as table, UUID and text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Seen {
    skeleton: String,
    rows: Vec<(String, Uuid, String)>,
}

fn frame<'a>(chunks: impl IntoIterator<Item = &'a [u8]>, limits: Limits) -> Result<Vec<Seen>, FrameError> {
    let mut framer = Framer::new(limits);
    let mut messages = Vec::new();
    let mut rows = Vec::new();
    for chunk in chunks {
        framer.buffer().extend_from_slice(chunk);
        while let Some(piece) = framer.next_piece()? {
            match piece {
                Piece::Rows(batch) => rows.extend(batch.iter().map(|(uuid, row)| {
                    (batch.table().to_owned(), uuid, String::from_utf8(row.to_vec()).unwrap())
                })),
                Piece::Message(skeleton) => messages.push(Seen {
                    skeleton: String::from_utf8(skeleton.to_vec()).unwrap(),
                    rows: std::mem::take(&mut rows),
                }),
            }
        }
    }
    Ok(messages)
}

fn whole(text: &str) -> Result<Vec<Seen>, FrameError> {
    frame([text.as_bytes()], Limits::default())
}

#[track_caller]
fn check(text: &str, skeleton: &str, rows: &[(&str, &str, &str)]) {
    let rows =
        rows.iter().map(|&(table, uuid, row)| (table.into(), uuid.parse().unwrap(), row.into())).collect();
    assert_eq!(whole(text), Ok(vec![Seen { skeleton: skeleton.into(), rows }]));
}

#[test]
fn rows_are_cut_out_of_each_kind_of_table_updates() {
    check(
        &format!(
            r#"{{"id":1,"result":{{"T":{{"{FIRST}":{{"initial":{{}}}}, "{SECOND}": {{"new":{{"a":"}}"}}}}}},"U":{{}}}},"error":null}}"#
        ),
        r#"{"id":1,"result":{"T":{},"U":{}},"error":null}"#,
        &[("T", FIRST, r#"{"initial":{}}"#), ("T", SECOND, r#"{"new":{"a":"}"}}"#)],
    );
    check(
        &format!(
            r#"{{"id":null,"method":"update3","params":[["m"],"x",{{"T":{{"{FIRST}":{{"delete":null}}}}}}]}}"#
        ),
        r#"{"id":null,"method":"update3","params":[["m"],"x",{"T":{}}]}"#,
        &[("T", FIRST, r#"{"delete":null}"#)],
    );
}

#[test]
fn brackets_and_quotes_in_strings_are_text() {
    let message = r#"{"a":"}]{[\"\\","b":["\\\"}"]}"#;
    check(message, message, &[]);
}

#[test]
fn a_schema_and_a_transaction_reply_stay_whole() {
    for message in [
        r#"{"id":1,"result":{"tables":{"T":{"columns":{"a":{"type":"string"}}}}},"error":null}"#,
        r#"{"id":1,"result":[{"uuid":["uuid","00000000-0000-0000-0000-000000000001"]}],"error":null}"#,
    ] {
        check(message, message, &[]);
    }
}

#[test]
fn messages_need_no_space_between_them() {
    let seen = whole("{} {\"a\":1}{}\n").unwrap();
    let skeletons: Vec<_> = seen.iter().map(|seen| seen.skeleton.as_str()).collect();
    assert_eq!(skeletons, ["{}", "{\"a\":1}", "{}"]);
}

#[test]
fn what_is_no_message_is_refused_by_offset() {
    for (text, offset) in [("[]", 0), ("{}x", 0), ("{]", 1), ("{\"a\":[}", 6)] {
        match whole(text) {
            Err(FrameError::Unexpected { offset: found, .. }) => assert_eq!(found, offset, "{text}"),
            other => panic!("{text}: {other:?}"),
        }
    }
    let among_rows = format!(r#"{{"result":{{"T":{{"{FIRST}":{{}},"name":{{}}}}}}}}"#);
    assert!(matches!(whole(&among_rows), Err(FrameError::Unexpected { .. })));
}

#[test]
fn limits_hold_for_depth_for_what_is_held_and_for_the_message() {
    let limits = Limits { message_len_max: 1000, held_len_max: 100, depth_max: 8 };
    let deep = "{\"a\":".repeat(9);
    assert_eq!(frame([deep.as_bytes()], limits), Err(FrameError::TooDeep { depth_max: 8 }));
    let deep_row = format!(r#"{{"result":{{"T":{{"{FIRST}":{deep}"#);
    assert_eq!(frame([deep_row.as_bytes()], limits), Err(FrameError::TooDeep { depth_max: 8 }));
    let wide = "x".repeat(200);
    for held in
        [format!(r#"{{"a":"{wide}"}}"#), format!(r#"{{"result":{{"T":{{"{FIRST}":{{"a":"{wide}"}}}}}}}}"#)]
    {
        for chunk_len in [1, 7, 1000] {
            let framed = frame(held.as_bytes().chunks(chunk_len), limits);
            assert_eq!(framed, Err(FrameError::HeldTooLong { len_max: 100 }));
        }
    }
    let rows = vec![format!(r#""{FIRST}":{{}}"#); 20].join(",");
    let long = format!(r#"{{"result":{{"T":{{{rows}}}}}}}"#);
    let limits = Limits { message_len_max: 500, ..limits };
    for chunk_len in [1, 50, 2000] {
        let framed = frame(long.as_bytes().chunks(chunk_len), limits);
        assert_eq!(framed, Err(FrameError::MessageTooLong { len_max: 500 }));
    }
}

fn text() -> impl Strategy<Value = String> {
    proptest::string::string_regex(r#"([a-z{}\[\]:,]|\\"|\\\\|\\u00e4|é){0,12}"#).unwrap()
}

fn row() -> impl Strategy<Value = String> {
    prop_oneof![
        text().prop_map(|text| format!(
            r#"{{"initial":{{"name":"{text}","set":["set",[["uuid","{FIRST}"]]]}}}}"#
        )),
        text().prop_map(|text| format!(r#"{{"modify": {{ "m":["map",[["{text}","{text}"]]]}} }}"#)),
        Just(r#"{"delete":null}"#.to_owned()),
    ]
}

fn message() -> impl Strategy<Value = String> {
    let tables = || prop::collection::vec(prop::collection::vec((any::<u128>(), row()), 0..4), 0..3);
    let updates = || {
        tables().prop_map(|tables| {
            let table = |(index, rows): (usize, &Vec<(u128, String)>)| {
                let rows: Vec<_> =
                    rows.iter().map(|(uuid, row)| format!("\"{}\":{row}", Uuid::from_u128(*uuid))).collect();
                format!("\"T{index}\":{{{}}}", rows.join(", "))
            };
            format!("{{{}}}", tables.iter().enumerate().map(table).collect::<Vec<_>>().join(","))
        })
    };
    prop_oneof![
        updates().prop_map(|updates| format!(r#"{{"id":3,"result":{updates},"error":null}}"#)),
        updates()
            .prop_map(|updates| format!(r#"{{"id":null,"method":"update2","params":["m", {updates}]}}"#)),
        text().prop_map(|text| format!(r#"{{"id":"echo","method":"echo","params":["{text}"]}}"#)),
    ]
}

proptest! {
    #[test]
    fn every_split_of_the_stream_gives_the_same_messages(
        messages in prop::collection::vec(message(), 1..4),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let stream = messages.concat();
        let stream = stream.as_bytes();
        let expected = frame([stream], Limits::default());
        prop_assert_eq!(expected.as_ref().map(Vec::len), Ok(messages.len()));
        for cut in 0..stream.len() {
            prop_assert_eq!(&frame([&stream[..cut], &stream[cut..]], Limits::default()), &expected);
        }
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len())).collect();
        cuts.sort_unstable();
        cuts.insert(0, 0);
        cuts.push(stream.len());
        prop_assert_eq!(&frame(cuts.windows(2).map(|cut| &stream[cut[0]..cut[1]]), Limits::default()), &expected);
        prop_assert_eq!(&frame(stream.chunks(1), Limits::default()), &expected);
    }

    #[test]
    fn any_bytes_give_messages_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..400), text in r#"[{}\[\]",:a0\\]{0,300}"#) {
        let limits = Limits { message_len_max: 200, held_len_max: 100, depth_max: 5 };
        for stream in [bytes.as_slice(), text.as_bytes()] {
            let mut framer = Framer::new(limits);
            for chunk in stream.chunks(7) {
                framer.buffer().extend_from_slice(chunk);
                loop {
                    match framer.next_piece() {
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(_) => return Ok(()),
                    }
                }
            }
        }
    }
}
