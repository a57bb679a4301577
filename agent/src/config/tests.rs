use vtep_abi::VtepAdj;

use super::*;
use crate::table::TunnelTerms;

const SMALL: &str = r#"
[underlay]
address = "192.0.2.1"
uplinks = ["eth0"]

[source]
kind = "file"
path = "/etc/vtepd/table.toml"
"#;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("agent.toml"), &[])
}

#[track_caller]
fn check_refused(text: &str, expected: &[&str]) {
    let error = anyhow::Error::from(parse(text).expect_err("the file is wrong"));
    let message = format!("{error:#}");
    assert!(message.matches("parse error").count() <= 1, "it says so once: {message}");
    for part in expected {
        assert!(message.contains(part), "{part:?} is not in:\n{message}");
    }
}

#[test]
fn the_smallest_file_gets_the_documented_defaults() {
    let config = parse(SMALL).unwrap();
    assert_eq!(config.underlay.udp_port.as_u32(), 4789);
    assert_eq!(config.dataplane.macs_max.as_u32(), 1_000_000);
    assert_eq!((config.dataplane.senders_max(), config.dataplane.flood_max()), (69_632, 2048));
    assert_eq!(config.control.socket, Path::new("/run/vtepd/agent.sock"));
    assert_eq!(config.metrics.listen.to_string(), "127.0.0.1:9475");
    assert_eq!(config.ports.iter().count(), 0);
}

#[test]
fn an_unknown_key_is_shown_with_line_and_caret() {
    check_refused(
        &format!("{SMALL}\n[dataplane]\nmacs_mx = 5\n"),
        &["agent.toml", "line 11", "macs_mx", "^"],
    );
    check_refused(&SMALL.replace("path =", "pfad ="), &["line 8", "pfad", "^"]);
    check_refused(&format!("{SMALL}\n[[port]]\nname = \"tap0\"\nmac = []\n"), &["line 12", "mac", "^"]);
}

#[test]
fn a_value_out_of_range_is_shown_with_line_and_what_was_expected() {
    check_refused(
        &format!("{SMALL}\n[dataplane]\nvnis_max = 0\n"),
        &["line 11", "0 is out of range; expected 1 to"],
    );
    check_refused(
        &SMALL.replace("192.0.2.1", "fe80::1"),
        &["line 3", "fe80::1 names no single station", "^"],
    );
    check_refused(
        &format!("{SMALL}\n[[port]]\nname = \"tap0\"\nmacs = [\"01:00:5e:00:00:01\"]\n"),
        &["01:00:5e:00:00:01", "unicast"],
    );
}

#[test]
fn an_underlay_has_one_address_of_each_family() {
    let with = |address: &str| SMALL.replace("\"192.0.2.1\"", address);
    for address in ["\"2001:db8::1\"", "[\"192.0.2.1\"]", "[\"2001:db8::1\", \"192.0.2.1\"]"] {
        parse(&with(address)).unwrap();
    }
    let expected = "expected one, or an IPv4 and an IPv6 address";
    check_refused(&with("[\"192.0.2.1\", \"192.0.2.2\"]"), &["line 3", expected, "^"]);
    check_refused(&with("[]"), &["line 3", expected]);
    check_refused(&with("7"), &["line 3", "an IP address, or a list of an IPv4 and an IPv6 address"]);
}

#[test]
fn outer_fields_are_fixed_or_inherited() {
    let with = |keys: &str| SMALL.replace("uplinks", &format!("{keys}\nuplinks"));
    let policy = |keys: &str| parse(&with(keys)).unwrap().underlay.policy();
    let default = policy("");
    assert_eq!((default.ttl, default.dscp, default.flags), (64, 0, VtepAdj::DONT_FRAGMENT));
    assert_eq!(default.source_ports, (49152, 65535));
    let fixed = policy("ttl = 7\ndscp = 46\ndf = \"clear\"\nsource_ports = \"5000-5999\"");
    assert_eq!((fixed.ttl, fixed.dscp, fixed.flags, fixed.source_ports), (7, 46, 0, (5000, 5999)));
    let inherited = policy("ttl = \"inherit\"\ndscp = \"inherit\"\ndf = \"inherit\"");
    let flags = VtepAdj::INHERIT_TTL | VtepAdj::INHERIT_DSCP | VtepAdj::INHERIT_DONT_FRAGMENT;
    assert_eq!((inherited.ttl, inherited.dscp, inherited.flags), (64, 0, flags));
    check_refused(&with("ttl = 0"), &["line 4", "0 is no value; expected 1 to 255, or \"inherit\"", "^"]);
    check_refused(&with("dscp = \"copy\""), &["\"copy\" is no value; expected 0 to 63, or \"inherit\""]);
    check_refused(&with("df = \"on\""), &["unknown variant `on`", "`set`, `clear`, `inherit`"]);
    for ports in ["0-9", "9-8", "1-65536", "9", "-"] {
        check_refused(&with(&format!("source_ports = \"{ports}\"")), &[ports, "two of 1 to 65535 in order"]);
    }
}

#[test]
fn a_source_says_which_of_its_keys_is_missing_or_foreign() {
    check_refused(
        &SMALL.replace("path = \"", "remote = \"unix:"),
        &["source.remote has no meaning for kind \"file\""],
    );
    check_refused(&SMALL.replace("table.toml", "table.yaml"), &["expected .toml or .json"]);
    check_refused(&SMALL.replace("\"file\"", "\"ovsdb\""), &["source.path has no meaning"]);
}

#[test]
fn a_controller_needs_tls_off_loopback_or_the_explicit_word() {
    let source = |keys: &str| {
        let (head, _) = SMALL.split_once("[source]").unwrap();
        format!("{head}[source]\nkind = \"controller\"\n{keys}\n")
    };
    let local = parse(&source("address = \"http://[::1]:9480\"")).unwrap();
    let Source::Controller(local) = local.source else { panic!("a controller") };
    assert_eq!((local.addresses, local.tls), (vec!["http://[::1]:9480".to_owned()], None));
    let remote = source("addresses = [\"http://192.0.2.7:9480\"]");
    check_refused(&remote, &["192.0.2.7", "not on the loopback", "allow_plaintext"]);
    assert!(parse(&format!("{remote}allow_plaintext = true\n")).is_ok());
    check_refused(&source("address = \"https://pc:9480\""), &["source.private_key is missing"]);
    check_refused(
        &source("address = \"pc:9480\""),
        &["\"pc:9480\" is malformed; expected one like https://"],
    );
    check_refused(&source("address = \"https://pc\""), &["\"https://pc\" is malformed"]);
    check_refused(&source(""), &["source.address is missing"]);
    check_refused(&source("remote = \"tcp:192.0.2.7:6640\""), &["source.remote has no meaning"]);
}

#[test]
fn metrics_off_loopback_need_the_explicit_word() {
    let open = format!("{SMALL}\n[metrics]\nlisten = \"0.0.0.0:9475\"\n");
    check_refused(&open, &["0.0.0.0:9475", "allow_remote"]);
    assert!(parse(&format!("{open}allow_remote = true\n")).is_ok());
}

#[test]
fn neither_an_uplink_nor_the_tunnel_device_can_be_a_port() {
    check_refused(&format!("{SMALL}\n[[port]]\nname = \"vtepd-vxlan\"\n"), &["nor the tunnel device"]);
    check_refused(&format!("{SMALL}\n[[port]]\nname = \"eth0\"\n"), &["eth0", "not one of underlay.uplinks"]);
}

#[test]
fn a_port_learns_unless_its_macs_are_listed() {
    let learns = |keys: &str| {
        let config = parse(&format!("{SMALL}\n[[port]]\nname = \"tap0\"\n{keys}")).unwrap();
        config.ports.iter().next().unwrap().learn
    };
    assert!(learns(""));
    assert!(!learns("macs = [\"02:00:00:00:00:aa\"]"));
    assert!(learns("macs = [\"02:00:00:00:00:aa\"]\nlearn = true"));
    assert!(!learns("learn = false"));
}

#[test]
fn every_value_tells_its_origin() {
    let text = format!("{SMALL}\n[log]\nlevel = \"warn\"\n");
    let overrides = [Override::LogLevel(LogLevel::Debug, Origin::Flag)];
    let config = Config::parse(&text, Path::new("agent.toml"), &overrides).unwrap();
    let settings = settings(&config, &text, &overrides);
    let origin = |key: &str| settings.iter().find(|setting| setting.key == key).map(|setting| setting.origin);
    assert_eq!(origin("log.level"), Some(Origin::Flag));
    assert_eq!(origin("underlay.address"), Some(Origin::File));
    assert_eq!(origin("underlay.ttl"), Some(Origin::Default));
    assert_eq!(origin("source.path"), Some(Origin::File));
    assert_eq!(origin("log.levels"), None);
}

#[test]
fn a_network_without_a_section_gets_the_one_without_a_vni() {
    let text = format!("{SMALL}\n[[network]]\ncheck_source = true\n[[network]]\nvni = 5001\n");
    let config = parse(&text).unwrap();
    assert!(!config.networks.of(5001).check_source);
    assert!(config.networks.of(5002).check_source);
    check_refused(&format!("{text}[[network]]\nvni = 5001\n"), &["VNI 5001 stands twice"]);
    check_refused(&format!("{text}[[network]]\n"), &["two [[network]] sections have no vni"]);
    check_refused(&format!("{SMALL}\n[[network]]\nvni = 0\n"), &["line 11"]);
    let deaf = format!("{SMALL}\n[[network]]\nvni = 7\ncheck_source = true\nlearn_underlay = true\n");
    check_refused(&deaf, &["network.learn_underlay of 7 = true", "check_source = false"]);
}

/// The file's word on a VTEP, over the source's, over what the file says of all: key by key.
#[test]
fn whose_word_on_bfd_counts_is_found_key_by_key() {
    let bfd = |text: &str| parse(&format!("{SMALL}\n{text}")).unwrap().bfd;
    let source: vtep_api::BfdWord =
        toml::from_str("enabled = true\nmin_tx_ms = 100\nmin_rx_ms = 100\ntransport = \"vxlan\"").unwrap();
    let of = |bfd: &Bfd, name: &str| {
        bfd.of(&vtep_api::VtepName::try_from(name).unwrap(), &source, &TunnelTerms::default())
    };
    let millis = |settings: BfdSettings| {
        let parameters = settings.parameters;
        (
            parameters.desired_min_tx_us() / 1000,
            parameters.required_min_rx_us() / 1000,
            parameters.detect_mult(),
        )
    };

    let obedient = of(&bfd("[bfd]\nmultiplier = 5\nmin_tx_ms = 200"), "a").unwrap();
    assert_eq!((millis(obedient), obedient.origin), ((100, 100, 5), BfdOrigin::Source));
    let own = bfd("[[bfd.vtep]]\nname = \"a\"\nmin_rx_ms = 50\ntransport = \"single-hop\"");
    let over = of(&own, "a").unwrap();
    assert_eq!((millis(over), over.origin), ((100, 50, 3), BfdOrigin::FileAndSource));
    assert_eq!(
        (over.transport, of(&own, "b").unwrap().transport),
        (BfdTransport::SingleHop, BfdTransport::Vxlan)
    );
    assert_eq!(of(&bfd("[[bfd.vtep]]\nname = \"a\"\nenabled = false"), "a"), None);
    assert_eq!(of(&bfd("[bfd]\nheed_source = false"), "a"), None);
    let deaf = of(&bfd("[bfd]\nenabled = true\nheed_source = false"), "a").unwrap();
    assert_eq!((millis(deaf), deaf.origin), ((300, 300, 3), BfdOrigin::General));
}

#[test]
fn what_would_let_no_frame_through_is_refused() {
    let port = |keys: &str| format!("{SMALL}\n[[port]]\nname = \"tap0\"\n{keys}\n");
    check_refused(
        &port("enforce_macs = true"),
        &["\"tap0\" has enforce_macs = true and no macs; expected macs"],
    );
    assert!(parse(&port("enforce_macs = true\nmacs = [\"02:00:00:00:00:aa\"]")).is_ok());
    check_refused(&port("allowed_ips = []"), &["\"tap0\" has allowed_ips = []; expected an address"]);
    assert!(parse(&port("allowed_ips = [\"192.0.2.5\"]")).is_ok());
}

#[test]
fn an_interface_is_listed_once() {
    let twice = SMALL.replace("uplinks = [\"eth0\"]", "uplinks = [\"eth0\", \"eth0\"]");
    check_refused(&twice, &["underlay.uplinks = \"eth0\" twice", "each interface once"]);
    let twice =
        SMALL.replace("uplinks = [\"eth0\"]", "uplinks = [\"eth0\"]\npacket_rate = [\"eth0\", \"eth0\"]");
    check_refused(&twice, &["underlay.packet_rate = \"eth0\" twice"]);
}
