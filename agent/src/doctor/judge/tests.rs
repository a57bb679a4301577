use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::super::facts::{Frames, Interface, Refused, TableFacts, XdpOccupant};
use super::super::finding::Level;
use super::super::frames::{Probe, Sent};
use super::*;
use crate::config::Config;
use crate::genetlink::XdpFeatures;
use crate::kernel::Occupant;
use crate::netlink::{Filter, Link, Vxlan};
use crate::packet_rate;
use crate::table::Encapsulation;

const PORT: &str = "[[port]]\nname = \"tap0\"\n";

fn interface(kind: Option<&str>, mtu: u32) -> Interface {
    Interface {
        link: Link::of_kind(kind, mtu),
        driver: None,
        features: Ok(packet_rate::Facts {
            xdp: XdpFeatures(1 | 2 | 4 | 32 | 64),
            ..packet_rate::Facts::default()
        }),
        vnet_header: (kind == Some("tun")).then_some(true),
        master: None,
        far_mtu: None,
        tcx_ingress: Ok(Vec::new()),
        tcx_egress: Ok(Vec::new()),
        xdp: Ok(Vec::new()),
        filters: Ok(Vec::new()),
        rp_filter: Some(0),
    }
}

fn occupant(id: u32, name: &str) -> Occupant {
    Occupant { id, name: Some(name.to_owned()), ours: name.ends_with("_in") }
}

/// A sound host: an uplink `eth0` of MTU 1600, a tap and no daemon.
fn facts(lines: &str) -> Facts {
    let text = format!(
        "[source]\nkind = \"file\"\npath = \"t.toml\"\n\
         [underlay]\naddress = \"192.0.2.1\"\nuplinks = [\"eth0\"]\n{lines}"
    );
    let config = Config::parse(&text, Path::new("agent.toml"), &[]).unwrap();
    let mut eth0 = interface(None, 1600);
    eth0.driver = Some("virtio_net".to_owned());
    let interfaces = [("eth0".to_owned(), eth0), ("tap0".to_owned(), interface(Some("tun"), 1500))];
    let host = Host {
        ports: Some(config.ports.iter().cloned().collect()),
        asked: None,
        table: TableFacts::default(),
        daemon_runs: false,
        addresses: config.underlay.address.iter().map(|address| (address, true)).collect(),
        links: Ok(Links::default()),
        interfaces: BTreeMap::from(interfaces),
        frames: Frames::NotAsked,
        config,
    };
    let kernel = KernelFacts {
        release: "6.18.0".to_owned(),
        type_information: true,
        vxlan: true,
        jit: Some("1".to_owned()),
        refused: Vec::new(),
    };
    Facts { kernel, capabilities: Ok(Vec::new()), config: Ok(host) }
}

fn host(facts: &mut Facts) -> &mut Host {
    facts.config.as_mut().unwrap()
}

fn at<'a>(facts: &'a mut Facts, name: &str) -> &'a mut Interface {
    host(facts).interfaces.get_mut(name).unwrap()
}

/// The level of one finding, and text that must stand in it.
#[track_caller]
fn check(facts: &Facts, (group, subject, check): (Group, Option<&str>, &str), level: Level, says: &str) {
    let findings = judge(facts);
    let found: Vec<_> = findings
        .iter()
        .filter(|finding| {
            (finding.group, finding.subject.as_deref(), finding.check) == (group, subject, check)
        })
        .collect();
    let text = |finding: &Finding| {
        format!(
            "{} {} {}",
            finding.value,
            finding.expected.as_deref().unwrap_or_default(),
            finding.remedy.as_deref().unwrap_or_default()
        )
    };
    let fits = found.iter().any(|finding| finding.level == level && text(finding).contains(says));
    assert!(fits, "expected {level:?} with {says:?}; found {found:#?}");
}

#[test]
fn a_sound_host_has_no_warning_and_every_group() {
    let findings = judge(&facts(PORT));
    let groups: BTreeSet<Group> = findings.iter().map(|finding| finding.group).collect();
    assert_eq!(groups.len(), 7, "{groups:?}");
    let bad: Vec<_> = findings.iter().filter(|finding| finding.level > Level::Note).collect();
    assert!(bad.is_empty(), "{bad:#?}");
}

#[test]
fn a_port_that_filters_macs_is_a_warning_unless_it_takes_all() {
    let promiscuity = (Group::Port, Some("tap0"), "promiscuity");
    for kind in [None, Some("macvlan")] {
        let mut facts = facts(PORT);
        at(&mut facts, "tap0").link = Link::of_kind(kind, 1500);
        check(&facts, promiscuity, Level::Warning, "promisc on");
        at(&mut facts, "tap0").link.promiscuous = true;
        check(&facts, promiscuity, Level::Ok, "on");
    }
    let tap = judge(&facts(PORT));
    assert!(!tap.iter().any(|finding| finding.check == "promiscuity"), "a tap filters nothing");
}

#[test]
fn a_section_of_a_network_that_is_not_here_is_noted() {
    let mut facts = facts("[[network]]\nvni = 5001\n[[network]]\nvni = 5002\n[[network]]\n");
    let noted = |facts: &Facts| judge(facts).into_iter().find(|finding| finding.check == "networks");
    assert_eq!(noted(&facts), None, "it is not known which are here");
    host(&mut facts).table.vnis = Some(BTreeSet::from([5001]));
    check(
        &facts,
        (Group::Config, None, "networks"),
        Level::Note,
        "[[network]] of VNI 5002: counts for nothing",
    );
    host(&mut facts).table.vnis = Some(BTreeSet::from([5001, 5002]));
    assert_eq!(noted(&facts), None);
}

#[test]
fn what_the_device_takes_all_the_same_is_said_of_each_way() {
    let decap = (Group::Port, Some("tap0"), "decap");
    let mut facts = facts(PORT);
    check(&facts, decap, Level::Ok, "device (auto: tap)");
    at(&mut facts, "tap0").link = Link::of_kind(Some("veth"), 1500);
    check(&facts, decap, Level::Ok, "by device all the same: floods, tags inside, padding, joined");
}

#[test]
fn what_the_kernel_and_the_process_lack_is_a_problem() {
    let mut lacking = facts(PORT);
    lacking.kernel.vxlan = false;
    lacking.kernel.type_information = false;
    lacking.kernel.jit = Some("0".to_owned());
    lacking.kernel.refused.push(Refused { check: "tcx", message: "the kernel lacks tcx".to_owned() });
    lacking.capabilities = Ok(vec!["CAP_BPF".to_owned()]);
    check(&lacking, (Group::Kernel, None, "vxlan"), Level::Problem, "modprobe vxlan");
    check(&lacking, (Group::Kernel, None, "type_information"), Level::Problem, "CONFIG_DEBUG_INFO_BTF");
    check(&lacking, (Group::Kernel, None, "jit"), Level::Warning, "bpf_jit_enable=1");
    check(&lacking, (Group::Kernel, None, "tcx"), Level::Problem, "lacks tcx");
    check(&lacking, (Group::Capabilities, None, "cap_bpf"), Level::Problem, "missing");
    check(&lacking, (Group::Capabilities, None, "cap_perfmon"), Level::Ok, "held");
}

#[test]
fn a_configuration_that_is_refused_ends_the_examination() {
    let mut refused = facts(PORT);
    refused.config = Err("line 3".to_owned());
    check(&refused, (Group::Config, None, "file"), Level::Problem, "line 3");
    assert!(judge(&refused).iter().all(|finding| finding.group < Group::Underlay));
}

#[test]
fn without_knowing_which_programs_are_ours_none_is_called_foreign() {
    let mut unread = facts(PORT);
    let denied = || "which programs are ours: Permission denied".to_owned();
    let tap = at(&mut unread, "tap0");
    (tap.tcx_ingress, tap.tcx_egress, tap.xdp) = (Err(denied()), Err(denied()), Err(denied()));
    for name in ["tcx_ingress", "tcx_egress", "xdp"] {
        check(&unread, (Group::Hooks, Some("tap0"), name), Level::Warning, "cannot be read: which programs");
    }
    let findings = judge(&unread);
    assert!(!findings.iter().any(|finding| format!("{finding:?}").contains("xdp off")), "{findings:#?}");
}

#[test]
fn others_at_the_hooks_are_named_by_their_place() {
    let mut others = facts(PORT);
    at(&mut others, "tap0").tcx_ingress =
        Ok(vec![occupant(7, "spy"), occupant(8, "port_in"), occupant(9, "late")]);
    at(&mut others, "tap0").xdp = Ok(vec![XdpOccupant { program: occupant(5, "guard"), generic: true }]);
    at(&mut others, "eth0").tcx_ingress = Ok(vec![occupant(7, "spy")]);
    at(&mut others, "eth0").tcx_egress = Ok(vec![occupant(6, "meter")]);
    let filter = Filter { egress: true, kind: "bpf".to_owned(), name: Some("old.o".to_owned()) };
    at(&mut others, "eth0").filters = Ok(vec![filter]);
    let tap = Some("tap0");
    check(&others, (Group::Hooks, tap, "tcx_ingress"), Level::Warning, "program 7 (spy) before ours");
    check(&others, (Group::Hooks, tap, "tcx_ingress"), Level::Note, "program 9 (late) after ours");
    check(
        &others,
        (Group::Hooks, tap, "xdp"),
        Level::Warning,
        "program 5 (guard) (generic) runs before ours",
    );
    check(&others, (Group::Hooks, tap, "xdp"), Level::Warning, "ip link set dev tap0 xdpgeneric off");
    let eth = Some("eth0");
    check(
        &others,
        (Group::Hooks, eth, "tcx_ingress"),
        Level::Warning,
        "program 7 (spy); ours will come after",
    );
    check(&others, (Group::Hooks, eth, "tcx_egress"), Level::Note, "program 6 (meter)");
    check(&others, (Group::Hooks, eth, "filters"), Level::Note, "bpf (old.o) at egress");
    host(&mut others).daemon_runs = true;
    check(&others, (Group::Hooks, eth, "tcx_ingress"), Level::Problem, "ours is not there");
    at(&mut others, "eth0").tcx_ingress = Err("EPERM".to_owned());
    check(&others, (Group::Hooks, eth, "tcx_ingress"), Level::Warning, "cannot be read: EPERM");
}

#[test]
fn mtus_are_added_up_for_each_port() {
    let uplink_of = |mtu, lines: &str| {
        let mut facts = facts(lines);
        at(&mut facts, "eth0").link.mtu = mtu;
        facts
    };
    let (port, eth) = ((Group::Port, Some("tap0"), "mtu"), (Group::Uplink, Some("eth0"), "mtu"));
    check(&uplink_of(1550, PORT), port, Level::Ok, "1500 + 50 = 1550");
    check(&uplink_of(1549, PORT), port, Level::Warning, "ip link set dev eth0 mtu 1550; or MTU 1499");
    check(
        &uplink_of(1550, &format!("{PORT}keep_tag = true")),
        port,
        Level::Warning,
        "54 with a tag inside = 1554",
    );
    check(&uplink_of(1330, PORT), eth, Level::Ok, "over IPv4 VXLAN and Geneve 1280, NVGRE 1288");
    check(&uplink_of(1329, PORT), eth, Level::Problem, "at least 1330");

    let mut both = uplink_of(1550, PORT);
    host(&mut both).config.underlay.address =
        toml::from_str::<BTreeMap<String, _>>("a = [\"192.0.2.1\", \"2001:db8::1\"]").unwrap()["a"];
    check(&both, port, Level::Warning, "1500 + 70 = 1570");
    check(&both, eth, Level::Ok, "over IPv6 VXLAN and Geneve 1480, NVGRE 1488");
    host(&mut both).table.encapsulations = Some([Encapsulation::Nvgre].into());
    check(&both, port, Level::Warning, "1500 + 62 = 1562");
}

#[test]
fn a_far_end_of_another_mtu_is_named_and_one_that_cannot_be_asked_is_noted() {
    let mut facts = facts(PORT);
    let finding = (Group::Port, Some("tap0"), "mtu_far_end");
    let mut with = |far: Result<u32, String>, level, says| {
        at(&mut facts, "tap0").far_mtu = Some(far);
        check(&facts, finding, level, says);
    };
    with(Ok(1500), Level::Ok, "1500");
    with(Ok(9000), Level::Warning, "1500, its other end has 9000");
    with(Err("who knows".to_owned()), Level::Note, "cannot be asked: who knows");
}

#[test]
fn a_smaller_port_of_the_same_logical_switch_is_named() {
    let mut facts = facts(PORT);
    let network = |name: &str| [name.to_owned()].into();
    let host = host(&mut facts);
    host.table.networks = [("tap0", "blue"), ("tap1", "blue"), ("tap2", "red")]
        .map(|(port, name)| (port.to_owned(), network(name)))
        .into();
    let links = [("tap0", 1500), ("tap1", 1400), ("tap2", 1300)]
        .map(|(name, mtu)| (name.to_owned(), Link::of_kind(Some("tun"), mtu)));
    host.links = Ok(Links { by_name: links.into() });
    let finding = (Group::Port, Some("tap0"), "mtu_of_ports");
    check(&facts, finding, Level::Warning, "tap1 of the same logical switch has 1400");
}

#[test]
fn what_is_not_there_is_a_problem() {
    let mut absent = facts("[[port]]\nname = \"tap9\"\n");
    host(&mut absent).interfaces.remove("eth0");
    check(&absent, (Group::Port, Some("tap9"), "interface"), Level::Problem, "no such interface");
    check(&absent, (Group::Uplink, Some("eth0"), "interface"), Level::Problem, "no such interface");
    host(&mut absent).ports = None;
    host(&mut absent).asked = Some("tap8".to_owned());
    check(&absent, (Group::Port, Some("tap8"), "interface"), Level::Problem, "no port of this host's");
    for is_here in host(&mut absent).addresses.values_mut() {
        *is_here = false;
    }
    check(
        &absent,
        (Group::Underlay, None, "address"),
        Level::Problem,
        "ip address add 192.0.2.1/24 dev eth0",
    );
}

#[test]
fn another_vxlan_device_on_our_udp_port_is_a_problem_while_it_is_up() {
    let vxlan =
        Vxlan { udp_port: 4789, collect_metadata: false, source_ports: (0, 0), zero_checksum6: false };
    let mut facts = facts(PORT);
    let mut link = Link { vxlan: Some(vxlan), ..Link::of_kind(Some("vxlan"), 1450) };
    let other = |facts: &mut Facts, link: &Link| {
        host(facts).links = Ok(Links { by_name: [("vx9".to_owned(), link.clone())].into() });
    };
    other(&mut facts, &link);
    check(&facts, (Group::Underlay, None, "udp_port"), Level::Problem, "VXLAN device vx9");
    link.up = false;
    other(&mut facts, &link);
    check(&facts, (Group::Underlay, None, "udp_port"), Level::Warning, "which is down");
}

#[test]
fn offloads_that_break_tunnels_are_warned_of_where_they_do() {
    let mut joining = facts(PORT);
    let on = ["rx-lro", "rx-udp-gro-forwarding", "rx-gro"].map(str::to_owned);
    at(&mut joining, "eth0").features.as_mut().unwrap().offloads = on.into();
    let eth = Some("eth0");
    check(&joining, (Group::Uplink, eth, "rx_lro"), Level::Warning, "ethtool -K eth0 lro off");
    check(&joining, (Group::Uplink, eth, "udp_gro"), Level::Note, "VXLAN is not concerned");
    check(&joining, (Group::Uplink, eth, "tunnel_offloads"), Level::Note, "tx-udp_tnl-segmentation");
    host(&mut joining).table.encapsulations = Some([Encapsulation::Geneve].into());
    check(&joining, (Group::Uplink, eth, "udp_gro"), Level::Warning, "rx-udp-gro-forwarding off");
}

#[test]
fn each_port_is_told_its_way_and_whether_packet_rate_mode_is_safe() {
    let (decap, rate) = ((Group::Port, Some("tap0"), "decap"), (Group::Port, Some("tap0"), "packet_rate"));
    let mut tap = facts(PORT);
    check(&tap, decap, Level::Ok, "device (auto: tap)");
    check(&tap, rate, Level::Ok, "off; would be safe");
    at(&mut tap, "tap0").features.as_mut().unwrap().offloads = ["tx-checksum-ip-generic".to_owned()].into();
    check(&tap, rate, Level::Note, "off; would be refused: its VM deals in unfinished checksums");

    let alone = facts(&format!("{PORT}packet_rate = true"));
    check(&alone, decap, Level::Ok, "device (auto: tap, and no uplink is in packet-rate mode)");
    let mut wanted = facts(&format!("packet_rate = [\"eth0\"]\n{PORT}packet_rate = true"));
    check(&wanted, rate, Level::Ok, "on, and safe");
    check(&wanted, decap, Level::Ok, "xdp (auto: packet-rate mode)");
    let veth = Link::of_kind(Some("veth"), 1500);
    at(&mut wanted, "tap0").link = Link { is_elsewhere: true, ..veth.clone() };
    check(&wanted, (Group::Port, Some("tap0"), "packet_rate_unseen"), Level::Note, "tx off tso off");
    at(&mut wanted, "tap0").link = veth;
    host(&mut wanted).table.trunks.insert("tap0".to_owned());
    check(&wanted, rate, Level::Warning, "bindings of VLANs");
    check(&wanted, decap, Level::Ok, "program (auto: veth)");

    let forced = facts(&format!("{PORT}decap = \"program\""));
    check(&forced, decap, Level::Warning, "decap = \"auto\"");
}

#[test]
fn strict_reverse_path_filtering_matters_with_several_uplinks() {
    let mut one = facts(PORT);
    at(&mut one, "eth0").rp_filter = Some(1);
    assert!(judge(&one).iter().all(|finding| finding.check != "rp_filter"));
    host(&mut one).config.underlay.uplinks.push("eth1".try_into().unwrap());
    check(&one, (Group::Uplink, Some("eth0"), "rp_filter"), Level::Warning, "rp_filter=2");
}

#[test]
fn frames_that_fail_are_a_problem_where_a_port_goes_that_way() {
    let sent = |lane, outcome: Result<&str, &str>| Sent {
        lane,
        probe: Probe::TcpOut,
        outcome: outcome.map(str::to_owned).map_err(str::to_owned),
    };
    let mut tried = facts(PORT);
    let way = |name| (Group::Frames, Some(name), "tcp_out");
    host(&mut tried).frames = Frames::Sent(vec![
        sent("device", Ok("4 MiB")),
        sent("tap", Ok("4 MiB")),
        sent("program", Err("nothing arrived")),
    ]);
    check(&tried, way("device"), Level::Ok, "4 MiB");
    check(&tried, way("program"), Level::Warning, "nothing arrived");
    check(&tried, (Group::Port, Some("tap0"), "frames"), Level::Ok, "all arrive (frames tap)");
    at(&mut tried, "tap0").link = Link::of_kind(Some("veth"), 1500);
    check(&tried, way("program"), Level::Problem, "nothing arrived");
    check(&tried, (Group::Port, Some("tap0"), "frames"), Level::Problem, "tcp_out fail (frames program)");

    host(&mut tried).frames = Frames::NotTried("EPERM".to_owned());
    check(&tried, (Group::Frames, None, "namespaces"), Level::Warning, "EPERM");
}
