use vtep_api::Encapsulation;

use super::*;

const SMALL: &str = r#"version = 1
[[vtep]]
name = "tor-a"
ovsdb = "tcp:198.51.100.11:6640"
address = "192.0.2.11"
[[vtep]]
name = "hv1"
[[logical_switch]]
name = "blue"
vni = 5001
[[binding]]
vtep = "tor-a"
port = "Ethernet1"
vlan = 100
logical_switch = "blue"
[[subscription]]
vtep = "hv1"
logical_switch = "blue"
[[pin]]
logical_switch = "blue"
mac = "02:00:00:00:00:01"
vtep = "tor-a"
"#;

/// Each expected problem: its line, and a part of what is said of it.
#[track_caller]
fn check(name: &str, text: &str, expected: &[(usize, &str)]) {
    let error = parse(name, text).expect_err("the file is wrong");
    let found: Vec<_> =
        error.problems.iter().map(|problem| (problem.line, problem.message.as_str())).collect();
    assert_eq!(found.len(), expected.len(), "{error}");
    for ((line, message), (expected_line, part)) in found.iter().zip(expected) {
        assert_eq!(line, expected_line, "{error}");
        assert!(message.contains(part), "{part:?} is not in:\n{error}");
    }
}

#[track_caller]
fn check_toml(text: &str, expected: &[(usize, &str)]) {
    check("deployment.toml", text, expected);
}

/// The small file with one line replaced.
fn with(line: usize, text: &str) -> String {
    let lines = SMALL.lines().enumerate();
    lines.map(|(at, was)| if at + 1 == line { text } else { was }).collect::<Vec<_>>().join("\n")
}

#[test]
fn what_is_written_is_what_is_declared() {
    let declared = parse("deployment.toml", SMALL).unwrap();
    assert_eq!(declared.vteps.len(), 2);
    let tor = declared.vteps.values().find(|vtep| vtep.ovsdb.is_some()).unwrap();
    assert_eq!(tor.ovsdb.as_deref(), Some("tcp:198.51.100.11:6640"));
    assert_eq!(declared.logical_switches.values().next().unwrap().vni.as_u32(), 5001);
    let binding = declared.bindings.values().flatten().next().unwrap();
    assert_eq!((binding.port.as_str(), binding.vlan.as_u16()), ("Ethernet1", 100));
    assert_eq!((declared.subscriptions.len(), declared.pins.len()), (1, 1));
    assert_eq!(declared.policy, crate::declared::Policy::default());
}

#[test]
fn the_sample_is_a_good_file() {
    let sample = include_str!("../../../../dist/deployment.toml");
    let declared = parse("dist/deployment.toml", sample).unwrap();
    assert_eq!((declared.vteps.len(), declared.bindings.len()), (3, 3));
    // Its comments too: with them it says more, and the policy nothing but the defaults.
    let keys = |line: &str| line.contains(" = ") || line.starts_with("# [[");
    let bare: Vec<_> = sample
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(commented) if keys(line) => commented.replace("\"hv2\"", "\"hv1\""),
            _ => line.to_owned(),
        })
        .collect();
    let whole = parse("dist/deployment.toml", &bare.join("\n")).unwrap();
    assert_eq!((whole.pins.len(), whole.subscriptions.len()), (1, 1));
    assert_eq!(whole.policy, declared.policy);
}

#[test]
fn json_declares_the_same_and_its_errors_have_lines_too() {
    let value: toml::Value = toml::from_str(SMALL).unwrap();
    let json = serde_json::to_string_pretty(&value).unwrap();
    assert_eq!(parse("d.json", &json).unwrap(), parse("d.toml", SMALL).unwrap());
    let line = 1 + json.lines().position(|line| line.contains("5001")).unwrap();
    check("d.json", &json.replace("5001", "0"), &[(line, "VNI 0 is out of range")]);
    check("d.json", &json.replace("\"vni\": 5001", "\"vni\": 5001, \"vni\": 1"), &[(line, "stands twice")]);
    check("d.json", "{\n\"version\": 1,,}", &[(2, "key must be a string")]);
}

#[test]
fn every_error_is_listed_with_its_line() {
    let text =
        "version = 1\n[[vtep]]\nname = \"a\"\ncolour = 1\naddress = \"::\"\n[[logical_switch]]\nvni = 0\n";
    check_toml(
        text,
        &[
            (4, "unknown field `colour`"),
            (5, "tunnel address \"::\" is no unicast IP address; expected"),
            (7, "VNI 0 is out of range; expected 1 to 16777215"),
        ],
    );
    let error = parse("deployment.toml", text).unwrap_err().to_string();
    assert!(
        error.starts_with("deployment.toml is refused, and nothing of it is applied: 3 errors"),
        "{error}"
    );
    assert!(error.contains("line 7: ") && error.contains("   7 | vni = 0"), "{error}");
}

#[test]
fn a_long_list_of_errors_is_cut_and_counted() {
    let vteps = "[[vtep]]\nname = \"\"\n".repeat(50);
    let error = parse("d.toml", &format!("version = 1\n{vteps}")).unwrap_err();
    assert_eq!((error.count, error.problems.len()), (50, 20));
    assert!(error.to_string().ends_with("and 30 more"));
}

#[test]
fn another_version_is_refused() {
    check_toml(&with(1, "version = 2"), &[(1, "version 2; expected 1")]);
    check_toml(&with(1, ""), &[(1, "no version")]);
    check("deployment.yaml", SMALL, &[(1, "expected .toml or .json")]);
    check_toml(&with(3, "name = "), &[(3, "")]);
}

#[test]
fn a_vtep_may_name_its_encapsulation() {
    let host = with(7, "name = \"hv1\"\nencapsulation = \"geneve\"");
    let declared = parse("deployment.toml", &host).unwrap();
    let encapsulations = declared.vteps.values().map(|vtep| vtep.encapsulation).collect::<Vec<_>>();
    assert_eq!(encapsulations, [Encapsulation::Geneve, Encapsulation::Vxlan]);
    let unknown = with(7, "name = \"hv1\"\nencapsulation = \"gre\"");
    check_toml(&unknown, &[(8, "unknown variant `gre`, expected one of `vxlan`, `geneve`, `nvgre`")]);
    let tor = with(5, "address = \"192.0.2.11\"\nencapsulation = \"nvgre\"");
    check_toml(&tor, &[(2, "VTEP \"tor-a\" has encapsulation \"nvgre\"; expected \"vxlan\"")]);
}

#[test]
fn a_name_a_vni_and_an_address_are_had_once() {
    check_toml(
        &with(7, "name = \"tor-a\""),
        &[(6, "VTEP \"tor-a\" stands twice, first in line 2"), (16, "there is no VTEP \"hv1\"")],
    );
    let switch = format!("{SMALL}[[logical_switch]]\nname = \"red\"\nvni = 5001\n");
    check_toml(&switch, &[(23, "logical switch \"red\" has VNI 5001, which \"blue\" has (line 8)")]);
    let address = with(7, "name = \"hv1\"\naddress = \"192.0.2.11\"");
    check_toml(&address, &[(6, "VTEP \"hv1\" has the address 192.0.2.11, which \"tor-a\" has (line 2)")]);
    let binding = format!(
        "{SMALL}[[binding]]\nvtep = \"tor-a\"\nport = \"Ethernet1\"\nvlan = 100\nlogical_switch = \"blue\"\n"
    );
    check_toml(
        &binding,
        &[(23, "VLAN 100 at port \"Ethernet1\" of VTEP \"tor-a\" stands twice, first in line 11")],
    );
}

#[test]
fn a_name_that_nobody_has_is_refused() {
    check_toml(
        &with(12, "vtep = \"tor-z\""),
        &[(11, "there is no VTEP \"tor-z\"; expected one of \"hv1\", \"tor-a\"")],
    );
    check_toml(
        &with(15, "logical_switch = \"bleu\""),
        &[(11, "there is no logical switch \"bleu\"; expected one of \"blue\"")],
    );
    check_toml(&with(18, "logical_switch = \"red\""), &[(16, "no logical switch \"red\"")]);
    check_toml(&with(22, "vtep = \"hv2\""), &[(19, "no VTEP \"hv2\"")]);
    let nodes = with(10, "vni = 5001\nreplication = \"service_node\"\nservice_nodes = [\"x\"]");
    check_toml(&nodes, &[(8, "no VTEP \"x\"")]);
}

#[test]
fn values_out_of_range_say_what_was_expected() {
    check_toml(&with(4, "ovsdb = \"udp:1.2.3.4\""), &[(4, "expected unix:, tcp:, ssl:, ptcp: or pssl:")]);
    check_toml(
        &with(14, "vlan = 4095"),
        &[(14, "VLAN id 4095 is out of range; expected 0 (untagged) to 4094")],
    );
    check_toml(
        &with(21, "mac = \"01:00:5e:00:00:01\""),
        &[(21, "names no station; expected a unicast address")],
    );
    check_toml(&with(13, ""), &[(11, "this binding has no `port`")]);
    check_toml(
        &with(9, "name = 7"),
        &[(9, "expected a string"), (11, "no logical switch"), (16, ""), (19, "")],
    );
    check_toml(&with(1, "version = 1\npolicy.hold_secs = -1"), &[(2, "-1")]);
    check_toml(
        &with(1, "version = 1\n[policy]\ntime = \"latest\"\n[policy.storm]\ntakes = 1"),
        &[(3, "expected one of `arrival`"), (5, "unknown field `takes`")],
    );
    check_toml(
        &with(1, "version = 1\n[policy]\nmass_withdraw = { percent = 101 }"),
        &[(2, "101; expected 0 to 100")],
    );
    check_toml(&with(1, "version = 1\nvteps = []"), &[(2, "unknown section `vteps`")]);
}

#[test]
fn a_service_node_is_named_where_one_is_needed() {
    check_toml(&with(10, "vni = 5001\nreplication = \"service_node\""), &[(8, "expected service_nodes too")]);
    check_toml(&with(10, "vni = 5001\nservice_nodes = [\"hv1\"]"), &[(8, "expected replication")]);
}

#[test]
fn the_difference_is_told_object_by_object() {
    let old = parse("d.toml", SMALL).unwrap();
    assert!(crate::declared::diff(&old, &old).is_empty());
    let text = with(10, "vni = 5002")
        .replace("vlan = 100", "vlan = 200")
        .replace("\"tor-a\"\novsdb", "\"tor-a\"\n#");
    let text =
        text.replace("version = 1", "version = 1\npolicy.hold_secs = 60") + "\n[[vtep]]\nname = \"new\"\n";
    let new = parse("d.toml", &text).unwrap();
    let lines: Vec<_> = crate::declared::diff(&old, &new).iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "~ policy: hold_secs = 60, was 300",
            "+ vtep \"new\"",
            "~ vtep \"tor-a\": no ovsdb, was \"tcp:198.51.100.11:6640\"",
            "~ logical_switch \"blue\": vni = 5002, was 5001",
            "- binding of \"tor-a\", port \"Ethernet1\", VLAN 100",
            "+ binding of \"tor-a\", port \"Ethernet1\", VLAN 200: logical_switch = \"blue\"",
        ]
    );
}

#[test]
fn what_is_declared_of_bfd_is_in_bounds_and_a_tors_travels_in_the_tunnel() {
    let declared =
        parse("deployment.toml", &format!("{SMALL}[bfd]\nenabled = true\nmin_tx_ms = 100")).unwrap();
    assert_eq!(declared.bfd.min_tx_ms.map(u32::from), Some(100));
    let of = |name: &str| declared.bfd_of(&declared.vteps[&name.parse().unwrap()]).transport;
    assert_eq!((of("tor-a"), of("hv1")), (Some(vtep_api::BfdTransport::Vxlan), None));
    let silent = parse("deployment.toml", SMALL).unwrap();
    assert!(silent.bfd_of(&silent.vteps[&"tor-a".parse().unwrap()]).is_silent());

    let with = with(7, "name = \"hv1\"\nbfd = { enabled = true, min_rx_ms = 49 }");
    check_toml(&with, &[(8, "49 is out of range; expected 50 to 60000")]);
    check_toml(
        &format!("{SMALL}[bfd]\nmultiplier = 1\nhold = 3"),
        &[(24, "2 to 255"), (25, "unknown field `hold`")],
    );
}
