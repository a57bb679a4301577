use super::*;
use vtep_api::daemon::{LogLevel, Origin};

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("controller.toml"), &[])
}

#[track_caller]
fn check_refused(text: &str, expected: &[&str]) {
    let error = anyhow::Error::from(parse(text).expect_err("the file is wrong"));
    let message = format!("{error:#}");
    for part in expected {
        assert!(message.contains(part), "{part:?} is not in:\n{message}");
    }
}

#[test]
fn an_empty_file_is_a_whole_controller_for_this_host() {
    let config = parse("").unwrap();
    assert_eq!(config.controller.role, Role::Both);
    assert_eq!(config.listen.address.to_string(), "127.0.0.1:9480");
    assert_eq!(config.metrics.listen.to_string(), "127.0.0.1:9476");
    assert_eq!(config.control.socket, Path::new("/run/vtepd/controller.sock"));
    assert_eq!(config.controller.state, Path::new("/var/lib/vtepd"));
    assert_eq!(config.ovsdb.probe_ms.as_u32(), 5000);
}

#[test]
fn an_unknown_key_is_shown_with_line_and_caret() {
    check_refused("[controller]\nnmae = \"c1\"\n", &["controller.toml", "line 2", "nmae", "^"]);
    check_refused("[tls]\nprivate_key = \"k\"\n", &["line 1", "certificate"]);
    check_refused("[controller]\nrole = \"chief\"\n", &["line 2", "chief", "both"]);
    check_refused("[ovsdb]\nprobe_ms = -1\n", &["line 2", "-1 is out of range; expected 0 to 3600000"]);
}

#[test]
fn plaintext_off_this_host_needs_the_explicit_word() {
    let open = "listen.address = \"192.0.2.1:9480\"\n";
    check_refused(open, &["listen.address = \"192.0.2.1:9480\"", "[tls]", "allow_plaintext"]);
    assert!(parse(&format!("controller.allow_plaintext = true\n{open}")).is_ok());
    let tls = "[tls]\nprivate_key = \"k\"\ncertificate = \"c\"\nca_certificate = \"a\"\n";
    assert!(parse(&format!("{open}{tls}")).is_ok());
    let peer = "controller.role = \"physical\"\n[[logical]]\naddress = \"lc1.example:9480\"\n";
    check_refused(peer, &["logical.address = \"lc1.example:9480\"", "[tls]"]);
    assert!(parse(&format!("{peer}{tls}")).is_ok());
}

#[test]
fn a_role_and_whom_it_joins_belong_together() {
    check_refused("controller.role = \"physical\"\n", &["controller.role", "[[logical]]"]);
    let peer = "[[logical]]\naddress = \"127.0.0.1:9480\"\n";
    check_refused(&format!("controller.role = \"logical\"\n{peer}"), &["only a physical controller joins"]);
    assert!(parse(&format!("controller.role = \"physical\"\n{peer}")).is_ok());
}

#[test]
fn etcd_needs_its_members_and_nothing_that_contradicts_it() {
    let etcd = |more: &str| format!("[store]\nkind = \"etcd\"\n{more}");
    let local = "endpoints = [\"http://127.0.0.1:2379\"]\n";
    assert!(parse(&etcd(local)).is_ok());
    assert!(parse(&format!("controller.role = \"physical\"\n{}", etcd(local))).is_ok());
    check_refused(&etcd(""), &["store.endpoints = []", "etcd's members"]);
    check_refused(&format!("[store]\n{local}"), &["store.endpoints", "store.kind = \"etcd\""]);
    check_refused(&etcd("endpoints = [\"127.0.0.1:2379\"]\n"), &["\"127.0.0.1:2379\"", "http://HOST:PORT"]);
    check_refused(&etcd("endpoints = [\"http://etcd1:2379\"]\n"), &["http://etcd1:2379", "store.tls"]);
    check_refused(&etcd(&format!("{local}lease_secs = 1\n")), &["1 is out of range; expected 2 to 60"]);
    check_refused(&etcd(&format!("{local}prefix = \"vtepd\"\n")), &["store.prefix", "slash"]);
    let everywhere = "controller.allow_plaintext = true\nlisten.address = \"0.0.0.0:9480\"\n";
    check_refused(&format!("{everywhere}{}", etcd(local)), &["listen.address", "store.advertise"]);
    let peer = "[[logical]]\naddress = \"127.0.0.1:9480\"\n";
    check_refused(&format!("{}{peer}", etcd(local)), &["logical.address", "no [[logical]]"]);
    check_refused(
        &format!("controller.record = \"/r\"\n{}", etcd(local)),
        &["controller.record", "embedded"],
    );
}

#[test]
fn the_store_is_chosen_by_a_flag_as_by_the_file() {
    let chosen: StoreChoice = "etcd=http://127.0.0.1:1,http://127.0.0.1:2".parse().unwrap();
    assert_eq!(chosen.endpoints, ["http://127.0.0.1:1", "http://127.0.0.1:2"]);
    let flag = [Override::Store(chosen, Origin::Flag)];
    let config = Config::parse("", Path::new("controller.toml"), &flag).unwrap();
    assert_eq!((config.store.kind, config.store.endpoints.len()), (StoreKind::Etcd, 2));
    for text in ["etcd", "etcd=", "redis=x"] {
        let error = text.parse::<StoreChoice>().unwrap_err().to_string();
        assert!(error.contains(text) && error.contains("expected"), "{error}");
    }
}

#[test]
fn the_address_of_a_peer_is_a_host_and_a_port() {
    let parsed = |text: &str| text.parse::<PeerAddress>().map(|address| address.to_string());
    for text in ["lc1.example:9480", "[::1]:1", "192.0.2.1:65535"] {
        assert_eq!(parsed(text).as_deref(), Ok(text));
    }
    for text in ["", "lc1", "lc1:", "lc1:0", "lc1:65536", ":9480", "::1:9480", "[h]:1", "http://h:1"] {
        assert_eq!(parsed(text), Err(PeerAddressError { text: text.to_owned() }));
    }
}

#[test]
fn every_value_tells_its_origin() {
    let text = "[log]\nlevel = \"warn\"\n[ovsdb]\nprobe_ms = 1\n";
    let overrides = [
        Override::LogLevel(LogLevel::Debug, Origin::Environment),
        Override::Record("/tmp/r".into(), Origin::Flag),
    ];
    let config = Config::parse(text, Path::new("controller.toml"), &overrides).unwrap();
    let settings = settings(&config, text, &overrides);
    let origin = |key: &str| settings.iter().find(|setting| setting.key == key).map(|setting| setting.origin);
    assert_eq!(origin("log.level"), Some(Origin::Environment));
    assert_eq!(origin("controller.record"), Some(Origin::Flag));
    assert_eq!(origin("ovsdb.probe_ms"), Some(Origin::File));
    assert_eq!(origin("controller.role"), Some(Origin::Default));
}
