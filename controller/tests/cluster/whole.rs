//! Operators may ask any controller: it answers for all, or says what is missing.

use std::process::Output;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;
use vtep_api::grpc::{TlsFiles, endpoint, inquiry_client};
use vtep_api::{Answer, ControllerName, Question};
use vtep_tests::deadline::wait_for;
use vtep_tests::lab::ControllerRole::{self, Logical, Physical};
use vtep_tests::pki::{self, Pki};

use super::logical::other;
use super::site::Site;
use super::tors::{SOON, Switch, Tor, declared};

const SWITCHES: [&str; 6] = ["ls0", "ls1", "ls2", "ls3", "ls4", "ls5"];
const INCOMPLETE: i32 = 6;
const CONTROLLERS: [(&str, ControllerRole); 3] = [("lc1", Logical), ("lc2", Logical), ("pc1", Physical)];

const LISTS: [&[&str]; 8] = [
    &["fdb"],
    &["conflicts"],
    &["ls"],
    &["vteps"],
    &["sync"],
    &["alarms"],
    &["what-if", "--vtep-down", "tor1"],
    &["what-if", "--policy", "vtep-time"],
];

fn mac(switch: usize, number: usize) -> String {
    format!("02:00:00:00:{switch:02x}:{number:02x}")
}

/// Of each logical switch, one MAC is behind tor1, two are behind tor2, and both claim the first.
fn world(lease_secs: u16, pki: Option<&Pki>) -> (Tor, Tor, Site) {
    inhabited(Site::with(1, &CONTROLLERS, lease_secs, pki), "")
}

fn all_declared(policy: &str, [a, b]: [&Tor; 2]) -> String {
    let switches: Vec<Switch<'_>> = SWITCHES
        .iter()
        .zip(0..)
        .map(|(name, number)| (*name, 5000 + u32::from(number), vec![(a, "p1", number), (b, "p1", number)]))
        .collect();
    declared(policy, [a, b], &switches)
}

fn inhabited(mut site: Site, policy: &str) -> (Tor, Tor, Site) {
    let (a, b) = (Tor::new(1).unwrap(), Tor::new(2).unwrap());
    site.apply("lc1", &all_declared(policy, [&a, &b]));
    for tor in [&a, &b] {
        for switch in SWITCHES {
            tor.wait_for_switch(switch).unwrap();
        }
    }
    for (number, switch) in SWITCHES.into_iter().enumerate() {
        a.claim(switch, &mac(number, 1)).unwrap();
        b.expect(switch, &[(&mac(number, 1), &a)], SOON);
        for own in [2, 3] {
            b.claim(switch, &mac(number, own)).unwrap();
        }
        a.expect(switch, &[(&mac(number, 2), &b), (&mac(number, 3), &b)], SOON);
    }
    spread(&mut site);
    wait_listed(&site, "lc1");
    (a, b, site)
}

/// All that was claimed is distributed, as that controller lists it.
fn wait_listed(site: &Site, asked: &str) {
    wait_for("every MAC", SOON, || {
        let listed = site.controllers[asked].json(&["fdb"]).ok()?;
        (listed.as_array()?.len() == 3 * SWITCHES.len()).then_some(())
    })
    .unwrap();
}

/// Each has shards with logical switches.
fn spread(site: &mut Site) {
    let first = site.reign("lc1", "ls0").unwrap().0;
    let mut second = SWITCHES.iter().map(|switch| site.reign("lc1", switch).unwrap().0);
    let second = second.find(|shard| *shard != first).unwrap();
    for (shard, to) in [(first, "lc1"), (second, "lc2")] {
        site.move_office("lc1", &["--shard", &shard.to_string(), to]);
    }
    wait_for("shards on both", SOON, || {
        let rows = site.controllers["lc1"].json(&["shards"]).ok()?;
        let has = |shard: u64, name: &str| {
            rows.as_array().unwrap().iter().any(|row| row["shard"] == shard && row["holder"] == name)
        };
        (has(first, "lc1") && has(second, "lc2")).then_some(())
    })
    .unwrap();
}

fn rows(output: &Output) -> Vec<Value> {
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn every_command_has_the_same_answer_at_each_controller() {
    let pki = Pki::new().unwrap();
    let (a, b, mut site) = world(3, Some(&pki));
    // Everything that there can be of each list.
    a.claim("ls0", &mac(0, 2)).unwrap();
    site.at("lc1").print(&["pin", "ls1", &mac(1, 1), "tor2"]).unwrap();
    site.at("lc2").print(&["pin", "ls0", &mac(0, 9), "tor2"]).unwrap();
    a.expect("ls0", &[(&mac(0, 3), &b), (&mac(0, 9), &b)], SOON);
    let (_, first) = site.reign("lc1", "ls0").unwrap();
    let text = site.at(other(&first.holder)).print(&["explain", "ls0", &mac(0, 9)]).unwrap();
    assert!(text.contains("is behind tor2: pinned by the operator"), "{text}");
    let explain: [&str; 3] = ["explain", "ls0", &mac(0, 1)];
    let history: [&str; 3] = ["history", "ls1", &mac(1, 1)];
    let lists = LISTS.into_iter().chain([&explain[..], &history, &["fdb", "ls2"], &["fdb", "ls3"]]);
    for words in lists {
        for format in [&[][..], &["--json"]] {
            let words = [words, format].concat();
            let same = wait_for("one answer", SOON, || {
                let [one, two] = ["lc1", "lc2"].map(|name| site.controllers[name].print(&words));
                let (one, two) = (one.ok()?, two.ok()?);
                (!one.is_empty() && one == two).then_some(())
            });
            same.unwrap_or_else(|error| {
                let both = ["lc1", "lc2"].map(|name| site.controllers[name].command(&words).unwrap());
                panic!("{words:?}: {error}: {both:?}");
            });
        }
    }
    let json = |name: &str, words: &[&str]| site.controllers[name].json(words).unwrap();
    let names = |rows: &Value, key: &str| -> Vec<String> {
        rows.as_array().unwrap().iter().map(|row| row[key].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&json("lc1", &["ls"]), "name"), SWITCHES);
    assert_eq!(names(&json("lc2", &["vteps"]), "name"), ["tor1", "tor2"]);
    let listed = json("lc1", &["fdb"]);
    let order: Vec<_> = names(&listed, "logical_switch").into_iter().zip(names(&listed, "mac")).collect();
    assert!(order.is_sorted(), "{order:?}");
    assert_eq!(order.len(), 3 * SWITCHES.len() + 1);
    let conflicts = json("lc2", &["conflicts"]).to_string();
    assert!(conflicts.contains("ls0") && conflicts.contains("ls1"), "{conflicts}");
    // Of any member, another alarm may come for the moment for which etcd is silent.
    wait_for("one alarm", SOON, || {
        let alarms = site.controllers["lc1"].json(&["alarms"]).ok()?;
        (names(&alarms, "kind") == ["pin_conflict"]).then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}: {}", json("lc1", &["alarms"])));
    let claims = &json("lc1", &["vteps"])[0]["claims"];
    assert_eq!(claims.as_object().unwrap().len(), SWITCHES.len(), "{claims}");

    // What a physical controller does not know itself it asks for.
    for words in [&["conflicts"][..], &["what-if", "--vtep-down", "tor1"], &explain, &["alarms"]] {
        wait_for("one answer", SOON, || {
            let [one, two] = ["pc1", "lc1"].map(|name| site.controllers[name].json(words).ok());
            (one? == two?).then_some(())
        })
        .unwrap_or_else(|error| panic!("{words:?}: {error}: {}", json("pc1", words)));
    }
    for name in ["lc1", "lc2", "pc1"] {
        let foretold = json(name, &["what-if", "--vtep-down", "tor2"]);
        let moved = |row: &Value| {
            let moves: u64 = row["moves"].as_object().unwrap().values().filter_map(Value::as_u64).sum();
            moves + row["orphaned"].as_u64().unwrap()
        };
        let counted: u64 = foretold.as_array().unwrap().iter().map(moved).sum();
        let fdb = json("lc1", &["fdb"]);
        let behind = fdb.as_array().unwrap().iter().filter(|row| row["master"] == "tor2").count();
        assert_eq!(counted, u64::try_from(behind).unwrap(), "{foretold}");
    }

    // What is changed at the wrong one is changed at the right one, and a mistake is told alike.
    site.at("pc1").print(&["unpin", "ls1", &mac(1, 1)]).unwrap();
    for (words, code, sentence) in [
        (&["unpin", "ls1", &mac(1, 1)][..], 3, "is not pinned"),
        (&["fdb", "nowhere"], 3, "logical switch nowhere is not declared"),
        (&["what-if", "--vtep-down", "tor9"], 3, "VTEP tor9 is not declared"),
        (&["release", "--storm", "tor1"], 3, "nothing that tor1 claims is set aside"),
        (&["release", "--withdrawals", "ls1"], 3, "nothing is kept in ls1"),
        (&["clear-duplicate", "ls1", &mac(1, 1)], 3, "is no duplicate in ls1"),
        (&["pin", "ls1", "01:00:5e:00:00:01", "tor1"], 1, "is a group address"),
    ] {
        // A physical controller lists its own tables.
        for name in ["lc1", "lc2", "pc1"].into_iter().filter(|name| *name != "pc1" || words[0] != "fdb") {
            let refused = site.at(name).command(words).unwrap();
            let said = said(&refused);
            assert!(refused.status.code() == Some(code) && said.contains(sentence), "{words:?}: {said}");
        }
    }
}

#[test]
fn what_a_killed_controller_has_is_named_as_missing_until_another_takes_it_over() {
    let (_a, _b, mut site) = world(30, None);
    let (shard, first) = site.reign("lc1", "ls0").unwrap();
    let dead = first.holder;
    let asked = other(&dead);
    site.at(&dead).kill().unwrap();
    for words in LISTS {
        let part = site.at(asked).command(words).unwrap();
        let told = said(&part);
        assert_eq!(part.status.code(), Some(INCOMPLETE), "{words:?}: {told}");
        let named = told.contains(&format!("of {dead} (at 127.0.0.1:")) && told.contains("it is not reached");
        assert!(named && told.contains("this is not all; missing: shard"), "{words:?}: {told}");
        let part = site.at(asked).command(&[words, &["--json"]].concat()).unwrap();
        assert_eq!(part.status.code(), Some(INCOMPLETE), "{words:?}: {}", said(&part));
        let rows = rows(&part);
        let (last, before) = rows.split_last().unwrap();
        assert!(before.iter().all(|row| row["missing"].is_null()), "{words:?}: {rows:?}");
        let missing = &last["missing"][0];
        assert_eq!(missing["controller"], dead.as_str(), "{words:?}: {rows:?}");
        assert!(missing["shards"].as_array().unwrap().contains(&shard.into()), "{words:?}: {rows:?}");
    }
    let pin = mac(0, 8);
    for (words, sentence) in [
        (&["explain", "ls0", &pin][..], "logical switch ls0 is out of reach: shard"),
        (&["pin", "ls0", &pin, "tor1"], "nothing is changed there"),
    ] {
        let part = site.at(asked).command(words).unwrap();
        let told = said(&part);
        assert!(part.status.code() == Some(INCOMPLETE) && told.contains(sentence), "{words:?}: {told}");
        assert!(part.stdout.is_empty(), "{words:?}: {part:?}");
    }
    site.wait_reign(asked, "ls0", |reign| reign.holder == asked);
    for words in LISTS {
        wait_for("the whole answer", SOON, || site.controllers[asked].json(words).ok())
            .unwrap_or_else(|error| panic!("{words:?}: {error}"));
    }
    wait_listed(&site, asked);
}

/// One shard's controller does not reach etcd for a while, and goes by the declared file that it knows.
#[test]
fn shards_that_refuse_while_others_answer_are_named_as_missing() {
    let own = |name: &str, all: &[String]| if name == "lc2" { all[2..].to_vec() } else { all[..2].to_vec() };
    let (a, b, mut site) = inhabited(Site::with_endpoints(3, &CONTROLLERS, 60, None, own), "");
    let held = site.controllers["lc1"].json(&["shards"]).unwrap();
    let held = held.as_array().unwrap().iter().filter(|row| row["holder"] == "lc2");
    let held: Vec<Value> = held.map(|row| row["shard"].clone()).collect();
    site.etcd.freeze(2).unwrap();
    let declared = all_declared("", [&a, &b]) + "\n[[vtep]]\nname = \"hv9\"\n";
    wait_for("etcd beside its third member", SOON, || site.at("lc1").apply(&declared).ok()).unwrap();
    let words = ["what-if", "--vtep-down", "hv9", "--json"];
    // By each of them, as soon as the one knows the new file and the other one that it may not know it.
    for (asked, address) in [("lc1", Value::from("127.0.0.1:9501")), ("lc2", Value::Null)] {
        let part = wait_for("a part of the answer", SOON, || {
            let part = site.controllers[asked].command(&words).unwrap();
            let missing = rows(&part).last()?["missing"].as_array()?.clone();
            // A core of lc1's own hears of the file a moment later.
            (part.status.code() == Some(INCOMPLETE) && missing.len() == 1).then(|| missing[0].clone())
        });
        let missing = part.unwrap_or_else(|error| panic!("{error}: {:?}", site.at(asked).command(&words)));
        assert_eq!((&missing["controller"], &missing["address"]), (&"lc2".into(), &address), "{missing}");
        assert_eq!(missing["shards"].as_array().unwrap(), &held, "{missing}");
        let reason = missing["reason"].as_str().unwrap();
        assert_eq!(reason, "it refuses: VTEP hv9 is not declared");
    }
    // Nobody else's alarms are lacking, but who they are is not known.
    let part = site.at("lc2").command(&["alarms", "--json"]).unwrap();
    assert_eq!(part.status.code(), Some(INCOMPLETE), "{part:?}");
    let rows = rows(&part);
    let (last, alarms) = rows.split_last().unwrap();
    assert!(alarms.iter().any(|alarm| alarm["kind"] == "cluster_away"), "{rows:?}");
    assert_eq!(last["missing"].as_array().unwrap().len(), 1, "{last}");
    assert_eq!(last["missing"][0]["controller"], Value::Null, "{last}");
    site.etcd.thaw(2).unwrap();
    for asked in ["lc1", "lc2"] {
        wait_for("the whole answer", SOON, || site.controllers[asked].json(&words[..3]).ok()).unwrap();
    }
}

#[test]
fn withdrawals_are_released_by_whoever_keeps_them_wherever_that_is_typed() {
    let guard = "mass_withdraw = { entries = 1, percent = 1, window_secs = 3600 }";
    let (a, b, mut site) = inhabited(Site::with(1, &CONTROLLERS, 3, None), guard);
    let gone: Vec<String> =
        [2, 3].iter().map(|own| format!("del-ucast-local ls2 {}", mac(2, *own))).collect();
    b.ctl(&gone.join(" -- ")).unwrap();
    let kept = |site: &Site| {
        let rows = site.controllers["lc1"].json(&["ls"]).ok()?;
        rows.as_array()?.iter().find(|row| row["name"] == "ls2")?["kept"].as_u64()
    };
    wait_for("what the guard keeps", SOON, || kept(&site).filter(|kept| *kept > 0)).unwrap();
    let released = site.at("pc1").print(&["release", "--withdrawals", "ls2"]).unwrap();
    assert!(released.contains("what was kept in ls2 is gone"), "{released}");
    a.expect("ls2", &[], SOON);
    assert_eq!(kept(&site), Some(0));
    let again = site.at("pc1").command(&["release", "--withdrawals", "ls2"]).unwrap();
    assert!(again.status.code() == Some(3) && said(&again).contains("nothing is kept in ls2"), "{again:?}");
}

#[test]
fn a_controller_that_is_silent_holds_an_answer_up_for_seconds_only() {
    let (_a, _b, mut site) = world(60, None);
    let (_, first) = site.reign("lc1", "ls0").unwrap();
    let silent = first.holder;
    let asked = other(&silent);
    site.signal(&silent, Signal::SIGSTOP);
    let begun = Instant::now();
    let part = site.at(asked).command(&["ls", "--json"]).unwrap();
    let took = begun.elapsed();
    let told = said(&part);
    assert_eq!(part.status.code(), Some(INCOMPLETE), "{told}");
    assert!(
        told.contains(&format!("of {silent} (at ")) && told.contains("it does not answer within"),
        "{told}"
    );
    assert!(took < Duration::from_secs(20), "it took {took:?}");
    assert!(rows(&part).len() > 1, "what came is printed: {part:?}");
    let pinned = site.at(asked).command(&["pin", "ls0", &mac(0, 8), "tor1"]).unwrap();
    assert!(said(&pinned).contains("whether it was done there is not known"), "{pinned:?}");
    site.signal(&silent, Signal::SIGCONT);
    wait_for("the whole answer", SOON, || site.controllers[asked].json(&["ls"]).ok()).unwrap();
}

/// What a controller says to a question of another.
async fn ask(address: &str, files: &pki::TlsFiles, from: &str, request: &str) -> Result<Vec<Answer>, String> {
    let pki::TlsFiles { private_key, certificate, ca_certificate } = files.clone();
    let files = TlsFiles { private_key, certificate, ca_certificate };
    let channel = endpoint(address, Some(&files)).unwrap().connect().await.map_err(|e| e.to_string())?;
    let from = ControllerName::try_from(from).unwrap();
    let question = Question { from, request: request.as_bytes().to_vec(), shards: (0..4).collect() };
    let answered = inquiry_client(channel).ask(tonic::Request::new(question)).await;
    let mut stream = answered.map_err(|status| status.message().to_owned())?.into_inner();
    let mut answers = Vec::new();
    while let Some(answer) = stream.message().await.map_err(|status| status.message().to_owned())? {
        answers.push(answer);
    }
    Ok(answers)
}

#[test]
fn only_members_may_ask_of_each_other_and_whoever_is_asked_asks_nobody() {
    let pki = Pki::new().unwrap();
    let (_a, _b, site) = world(3, Some(&pki));
    let [lc1, hv9] = ["lc1", "hv9"].map(|name| pki.issue(name).unwrap());
    let address = site.address("lc2").replace("http:", "https:");
    let list = r#"{"command":"logical_switches"}"#;
    let apply = r#"{"command":"apply","name":"x.toml","text":"version = 1","dry_run":false}"#;
    let cases = [
        (&lc1, "lc2", list, "calls itself \"lc2\"; expected one of its certificate's names [\"lc1\"]"),
        (&hv9, "hv9", list, "hv9 is no member of the cluster"),
        (&lc1, "lc1", apply, "it is no question to another controller"),
        (&lc1, "lc1", r#"{"command":"dance"}"#, "the request is not understood"),
    ];
    for (files, from, request, expected) in cases {
        let refused = site.inside(async || ask(&address, files, from, request).await).unwrap_err();
        assert!(refused.contains(expected), "{from}: {refused}");
    }
    let answers = site.inside(async || ask(&address, &lc1, "lc1", list).await).unwrap();
    let Some((Answer::End { shards, refusals }, rows)) = answers.split_last() else {
        panic!("{answers:?}");
    };
    assert!(refusals.is_empty(), "{refusals:?}");
    let held = site.controllers["lc1"].json(&["shards"]).unwrap();
    let held = held.as_array().unwrap().iter().filter(|row| row["holder"] == "lc2");
    let held: Vec<u64> = held.map(|row| row["shard"].as_u64().unwrap()).collect();
    assert_eq!(shards.iter().copied().map(u64::from).collect::<Vec<_>>(), held, "its own only");
    let text: String = rows
        .iter()
        .map(|answer| match answer {
            Answer::Rows(rows) => String::from_utf8(rows.clone()).unwrap(),
            Answer::End { .. } => panic!("{answers:?}"),
        })
        .collect();
    assert!((1..SWITCHES.len()).contains(&text.lines().count()), "{text}");
}
