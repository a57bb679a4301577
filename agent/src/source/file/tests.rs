use super::*;
use crate::table::Encapsulation;
use crate::tunnel_address::TunnelAddress;

const GOOD: &str = r#"
version = 1
[[vtep]]
name = "tor-a"
address = "192.0.2.11"
[[vtep]]
name = "tor-b"
address = "192.0.2.12"
[[logical_switch]]
name = "blue"
vni = 5001
flood = ["tor-a", "tor-b"]
[[mac]]
logical_switch = "blue"
mac = "02:00:00:00:00:01"
master = "tor-a"
slave = "tor-b"
[[mac]]
logical_switch = "blue"
mac = "02:00:00:00:00:02"
master = "tor-b"
[[binding]]
port = "tap0"
logical_switch = "blue"
"#;

fn parse(text: &str, previous: &Table) -> (Table, Refusals) {
    let document = Document::parse(text, Path::new("table.toml")).unwrap();
    build(document, own(), previous)
}

fn good() -> Table {
    let (table, refusals) = parse(GOOD, &Table::default());
    assert_eq!(refusals, Refusals::default());
    table
}

/// One wrong row is refused by name, and the table stays what it was.
#[track_caller]
fn check_kept(wrong: &str, path: &str, expected: &str) {
    let (table, refusals) = parse(wrong, &good());
    let found: Vec<String> = refusals.first().iter().map(ToString::to_string).collect();
    assert!(found.iter().any(|text| text.starts_with(path) && text.contains(expected)), "{found:#?}");
    assert_eq!(table, good());
}

#[track_caller]
fn check_added(row: &str, path: &str, expected: &str) {
    check_kept(&format!("{GOOD}\n{row}"), path, expected);
}

#[test]
fn toml_and_json_say_the_same() {
    let value: toml::Value = toml::from_str(GOOD).unwrap();
    let json = serde_json::to_string(&value).unwrap();
    let document = Document::parse(&json, Path::new("table.json")).unwrap();
    assert_eq!(build(document, own(), &Table::default()).0, good());
}

#[test]
fn a_vni_out_of_range_or_taken_is_refused_and_the_old_one_stays() {
    check_kept(&GOOD.replace("5001", "0"), "logical_switch[0].vni: \"0\"", "1 to 16777215");
    check_kept(&GOOD.replace("5001", "16777216"), "logical_switch[0].vni: \"16777216\"", "1 to 16777215");
    check_added("[[logical_switch]]\nname='red'\nvni=5001", "logical_switch[1].vni", "\"blue\" has this one");
}

#[test]
fn a_mac_that_names_no_station_is_refused() {
    let row = |mac: &str| format!("[[mac]]\nlogical_switch='blue'\nmac='{mac}'\nmaster='tor-a'");
    check_added(&row("01:00:5e:00:00:01"), "mac[2].mac: \"01:00:5e:00:00:01\"", "one station");
    check_added(&row("00:00:00:00:00:00"), "mac[2].mac", "one station");
    check_added(&row("02:00:00:00:00"), "mac[2].mac", "six octets");
    check_added(&row("02:00:00:00:00:01"), "mac[2].mac", "an earlier row stands");
}

#[test]
fn a_name_that_dangles_is_refused_and_the_old_row_stays() {
    check_kept(
        &GOOD.replace("master = \"tor-a\"", "master = \"tor-c\""),
        "mac[0].master: \"tor-c\"",
        "a VTEP",
    );
    check_kept(&GOOD.replace("slave = \"tor-b\"", "slave = \"tor-c\""), "mac[0].slave: \"tor-c\"", "a VTEP");
    check_added(
        "[[binding]]\nport='tap1'\nlogical_switch='red'",
        "binding[1].logical_switch",
        "a logical switch",
    );
    check_added(
        "[[mac]]\nlogical_switch='red'\nmac='02::'\nmaster='tor-a'",
        "mac[2].logical_switch",
        "a logical",
    );
}

#[test]
fn a_vtep_address_that_cannot_be_one_is_refused_and_the_old_one_stays() {
    check_kept(&GOOD.replace("192.0.2.11", "192.0.2"), "vtep[0].address", "malformed");
    check_kept(&GOOD.replace("192.0.2.11", "fe80::1"), "vtep[0].address", "no single station");
    check_kept(&GOOD.replace("192.0.2.11", "224.0.0.1"), "vtep[0].address", "unicast");
    check_added("[[vtep]]\nname='tor-a'\naddress='192.0.2.99'", "vtep[2].name", "no earlier VTEP");
    check_added("[[vtep]]\nname='here'\naddress='192.0.2.1'", "vtep[2].address", "this host's own");
}

#[test]
fn a_vtep_may_name_its_encapsulation_and_an_address_has_one() {
    let text = GOOD.replace("192.0.2.11\"", "192.0.2.11\"\nencapsulation = \"geneve\"");
    let document = Document::parse(&text, Path::new("table.toml")).unwrap();
    let (table, refusals) = build(document, own(), &Table::default());
    assert!(refusals.first().is_empty());
    let of = |name: &str| table.vteps[&vtep_api::VtepName::try_from(name).unwrap()].encapsulation;
    assert_eq!((of("tor-a"), of("tor-b")), (Encapsulation::Geneve, Encapsulation::Vxlan));
    check_added(
        "[[vtep]]\nname='twin'\naddress='192.0.2.11'\nencapsulation='nvgre'",
        "vtep[2].encapsulation: \"nvgre\"",
        "vxlan, which \"tor-a\" with the same address has",
    );
    let unknown = text.replace("geneve", "gre");
    let error = chain(&Document::parse(&unknown, Path::new("table.toml")).unwrap_err());
    assert!(error.contains("unknown variant `gre`, expected one of `vxlan`, `geneve`, `nvgre`"), "{error}");
}

#[test]
fn a_flood_list_beyond_the_limit_is_refused_and_the_old_one_stays() {
    let members = vec!["\"tor-a\""; 129].join(",");
    let wrong = GOOD.replace("\"tor-a\", \"tor-b\"]", &format!("{members}]"));
    check_kept(&wrong, "logical_switch[0].flood: \"129 members\"", "at most 128");
    // One of them makes the copies.
    let right = wrong.replace("vni = 5001", "vni = 5001\nreplication = \"service_node\"");
    assert_ne!(right, wrong);
    let document = Document::parse(&right, Path::new("table.toml")).unwrap();
    assert!(build(document, own(), &Table::default()).1.first().is_empty());
}

#[test]
fn a_vlan_out_of_range_and_a_second_binding_are_refused() {
    check_added(
        "[[binding]]\nport='tap1'\nvlan=4095\nlogical_switch='blue'",
        "binding[1].vlan: \"4095\"",
        "4094",
    );
    check_added(
        "[[binding]]\nport='tap0'\nlogical_switch='blue'",
        "binding[1]: \"tap0 VLAN 0\"",
        "one binding",
    );
    check_added("[[binding]]\nport='a/b'\nlogical_switch='blue'", "binding[1].port", "slash");
}

#[test]
fn a_row_that_is_gone_is_withdrawn() {
    let (table, refusals) = parse("version = 1", &good());
    assert_eq!((table, refusals.count()), (Table::default(), 0));
}

#[test]
fn a_file_cut_at_any_byte_is_an_error_or_its_whole_rows() {
    for end in (0..GOOD.len()).filter(|&end| GOOD.is_char_boundary(end)) {
        if let Ok(document) = Document::parse(&GOOD[..end], Path::new("table.toml")) {
            assert_eq!(document.version, 1);
        }
    }
    let json = r#"{"version": 1, "mac": []}"#;
    for end in 0..json.len() {
        assert!(Document::parse(&json[..end], Path::new("table.json")).is_err());
    }
}

#[test]
fn an_unknown_key_an_unknown_version_and_missing_rows_refuse_the_file() {
    let parse = |text: &str| Document::parse(text, Path::new("table.toml"));
    assert!(matches!(parse("version = 2"), Err(DocumentError::Version { found: 2, .. })));
    assert!(matches!(parse("version = 1\nvteps = []"), Err(DocumentError::Toml { .. })));
    assert!(matches!(parse("version = 1\nrows = 1"), Err(DocumentError::Rows { found: 0, expected: 1, .. })));
    assert!(matches!(parse(""), Err(DocumentError::Toml { .. })));
}

#[tokio::test]
async fn a_rename_over_the_file_is_noticed_and_a_cut_file_keeps_the_last_good() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("table.toml");
    std::fs::write(&path, GOOD).unwrap();
    let (sender, mut events) = mpsc::channel(4);
    let reload = Arc::new(Notify::new());
    let task = tokio::spawn(follow(path.clone(), own(), sender, Arc::clone(&reload)));
    let mut next =
        async || tokio::time::timeout(Duration::from_secs(10), events.recv()).await.unwrap().unwrap();

    assert!(matches!(next().await, SourceEvent::Snapshot { table, .. } if *table == good()));
    let beside = directory.path().join("table.new");
    std::fs::write(&beside, &GOOD[..GOOD.len() - 10]).unwrap();
    std::fs::rename(&beside, &path).unwrap();
    assert!(matches!(next().await, SourceEvent::Lost { reason } if reason.contains("line 24")));
    std::fs::write(&beside, GOOD.replace("5001", "0")).unwrap();
    std::fs::rename(&beside, &path).unwrap();
    assert!(matches!(next().await, SourceEvent::Snapshot { table, refusals } if *table == good()
        && refusals.count() == 1));
    reload.notify_one();
    assert!(matches!(next().await, SourceEvent::Snapshot { .. }));
    task.abort();
}

fn own() -> OwnAddresses {
    "192.0.2.1".parse::<TunnelAddress>().unwrap().into()
}
