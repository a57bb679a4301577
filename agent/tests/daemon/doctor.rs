//! `vtep-agent doctor`: what stands in the way of a host is named, and a sound one has none of it.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use aya::programs::links::LinkOrder;
use aya::programs::tc::TcAttachOptions;
use aya::programs::xdp::XdpMode;
use aya::programs::{SchedClassifier, TcAttachType, Xdp, loaded_programs};
use aya::{Ebpf, EbpfLoader};
use serde_json::Value;
use vtep_agent::config::Config;
use vtep_agent::doctor::frames;
use vtep_agent::kernel::{OBJECT, Program};
use vtep_tests::deadline::wait_for;
use vtep_tests::netns::output;
use vtep_tests::process::Daemon;

use crate::host::{BINARY, Host, PATIENCE};

fn doctor(host: &Host, words: &[&str]) -> Output {
    let mut command = host.netns.command(BINARY);
    command.arg("doctor").arg("--config").arg(host.folder.path().join("agent.toml")).args(words);
    command.output().unwrap()
}

struct Report {
    code: Option<i32>,
    json: Value,
}

impl Report {
    #[track_caller]
    fn of(host: &Host, words: &[&str]) -> Self {
        Self::with_frames(host, &[words, &["--no-frames"]].concat())
    }

    #[track_caller]
    fn with_frames(host: &Host, words: &[&str]) -> Self {
        Self::read(&doctor(host, &[words, &["--json"]].concat()))
    }

    #[track_caller]
    fn read(output: &Output) -> Self {
        let json =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
        Self { code: output.status.code(), json }
    }

    fn findings(&self) -> &[Value] {
        self.json["findings"].as_array().unwrap()
    }

    /// `subject` is empty where the group has but one.
    #[track_caller]
    fn check(&self, (group, subject, check): (&str, &str, &str), level: &str, says: &str) {
        let of = |finding: &&Value| {
            finding["group"] == group
                && finding["subject"].as_str().unwrap_or_default() == subject
                && finding["check"] == check
        };
        let found: Vec<&Value> = self.findings().iter().filter(of).collect();
        let fits = |finding: &&Value| finding["level"] == level && finding.to_string().contains(says);
        assert!(found.iter().any(fits), "expected {level} with {says:?}; found {found:#?}");
    }
}

/// A host whose uplink has room for outer headers.
fn sound() -> Host {
    let host = Host::new("");
    host.netns.ip("link set dev uplink mtu 1600").unwrap();
    host
}

#[test]
fn a_sound_host_has_no_problem_with_the_daemon_and_without() {
    let host = sound();
    let without = Report::of(&host, &[]);
    assert_eq!(
        (without.code, &without.json["problems"], &without.json["warnings"]),
        (Some(0), &0.into(), &0.into())
    );
    for group in ["kernel", "capabilities", "config", "underlay", "hooks", "uplink", "port"] {
        assert!(without.findings().iter().any(|finding| finding["group"] == group), "no {group}");
    }
    for finding in without.findings() {
        let keys: Vec<&str> = finding.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["check", "expected", "group", "level", "remedy", "subject", "value"]);
        assert!(["ok", "note", "warning", "problem"].contains(&finding["level"].as_str().unwrap()));
    }
    without.check(("config", "", "daemon"), "note", "does not answer");
    without.check(("hooks", "tap0", "tcx_ingress"), "ok", "free");
    without.check(("port", "tap0", "mtu"), "ok", "1500 + 50 = 1550 over uplink's 1600");
    without.check(("port", "tap0", "decap"), "ok", "program (auto: veth)");

    let daemon = host.start();
    let with = Report::of(&host, &["--port", "tap0"]);
    assert_eq!((with.code, &with.json["warnings"]), (Some(0), &0.into()), "{:#}", with.json);
    with.check(("config", "", "daemon"), "ok", "runs");
    for interface in ["tap0", "uplink", "vtepd-vxlan"] {
        with.check(("hooks", interface, "tcx_ingress"), "ok", "ours is the first");
    }
    drop(daemon);

    let text = String::from_utf8(doctor(&host, &["--no-frames"]).stdout).unwrap();
    assert!(text.contains("\nport tap0\n") && text.ends_with("0 problems, 0 warnings\n"), "{text}");
}

#[test]
fn the_other_end_of_a_veth_is_asked_in_its_own_namespace() {
    let host = sound();
    let finding = ("port", "tap0", "mtu_far_end");
    Report::of(&host, &[]).check(finding, "ok", "1500, as on this side");
    host.peer.ip("link set dev vm mtu 1400").unwrap();
    Report::of(&host, &[]).check(finding, "warning", "1500, its other end has 1400");
    host.netns.ip("link set dev tap0 mtu 1400").unwrap();
    Report::of(&host, &[]).check(finding, "ok", "1400");
}

/// A program of the object, loaded by somebody else.
fn foreign() -> Ebpf {
    let object = OBJECT.expect("`cargo xtask build-ebpf` has been run");
    EbpfLoader::new().map_max_entries("FDB", 1).load(object).unwrap()
}

#[test]
fn programs_of_others_are_named() {
    let host = sound();
    let mut at_tcx = foreign();
    let program: &mut SchedClassifier = at_tcx.program_mut("tunnel_in").unwrap().try_into().unwrap();
    program.load().unwrap();
    let tcx = format!("program {} (tunnel_in)", program.info().unwrap().id());
    for (link, at) in [("tap0", TcAttachType::Ingress), ("uplink", TcAttachType::Egress)] {
        let order = TcAttachOptions::TcxOrder(LinkOrder::default());
        host.netns.within(|| program.attach_with_options(link, at, order).unwrap()).unwrap();
    }
    let mut at_xdp = foreign();
    let program: &mut Xdp = at_xdp.program_mut("uplink_xdp").unwrap().try_into().unwrap();
    program.load().unwrap();
    let xdp = format!("program {} (uplink_xdp)", program.info().unwrap().id());
    host.netns.within(|| program.attach("uplink", XdpMode::Driver).unwrap()).unwrap();
    host.netns.run("tc qdisc add dev tap0 clsact").unwrap();
    let mut filter = host.netns.command("tc");
    filter.args("filter add dev tap0 ingress bpf da bytecode".split(' ')).arg("1,6 0 0 4294967295");
    output(&mut filter).unwrap();

    let before = Report::of(&host, &[]);
    assert_eq!(before.code, Some(0), "a warning is no problem");
    before.check(("hooks", "tap0", "tcx_ingress"), "warning", &format!("{tcx}; ours will come after"));
    before.check(("hooks", "uplink", "tcx_egress"), "note", &tcx);
    before.check(("hooks", "uplink", "xdp"), "warning", &format!("{xdp} runs before ours"));
    before.check(("hooks", "tap0", "filters"), "note", "bpf at ingress of tap0");
    let daemon = host.start();
    Report::of(&host, &[]).check(("hooks", "tap0", "tcx_ingress"), "warning", &format!("{tcx} before ours"));
    drop(daemon);
}

#[test]
fn an_uplink_without_room_and_names_of_nothing_are_problems() {
    let host = sound();
    host.netns.ip("link set dev uplink mtu 1500").unwrap();
    let tight = Report::of(&host, &[]);
    tight.check(("port", "tap0", "mtu"), "warning", "ip link set dev uplink mtu 1550");
    host.netns.ip("link set dev uplink mtu 1300").unwrap();
    let small = Report::of(&host, &[]);
    assert_eq!(small.code, Some(1));
    small.check(("uplink", "uplink", "mtu"), "problem", "at least 1330");

    let nowhere = Report::of(&host, &["--port", "tap9"]);
    assert_eq!(nowhere.code, Some(1));
    nowhere.check(("port", "tap9", "interface"), "problem", "no port of this host's");
    host.netns.ip("link delete tap0").unwrap();
    Report::of(&host, &[]).check(("port", "tap0", "interface"), "problem", "no such interface");
    host.netns.ip("link delete uplink").unwrap();
    let bare = Report::of(&host, &[]);
    bare.check(("uplink", "uplink", "interface"), "problem", "no such interface");
    bare.check(("underlay", "", "address"), "problem", "no interface has 192.0.2.1");

    std::fs::remove_file(host.folder.path().join("agent.toml")).unwrap();
    let unread = Report::of(&host, &[]);
    assert_eq!(unread.code, Some(1));
    unread.check(("config", "", "file"), "problem", "cannot be read");
}

#[test]
fn a_capability_that_is_missing_is_a_problem() {
    let host = sound();
    let mut command = host.netns.command("setpriv");
    command.args(["--bounding-set", "-perfmon,-sys_admin", BINARY, "doctor", "--json"]);
    command.arg("--config").arg(host.folder.path().join("agent.toml"));
    let lacking = Report::read(&command.output().unwrap());
    assert_eq!(lacking.code, Some(1));
    lacking.check(("capabilities", "", "cap_perfmon"), "problem", "missing");
    lacking.check(("capabilities", "", "cap_bpf"), "ok", "held");
}

#[test]
fn frames_arrive_by_every_way_and_nothing_is_left() {
    let host = sound();
    let daemon = host.start();
    let links = || host.netns.ip("-o link").unwrap();
    let (before, status) = (links(), host.status().unwrap());
    let report = Report::with_frames(&host, &[]);
    assert_eq!((report.code, &report.json["warnings"]), (Some(0), &0.into()), "{:#}", report.json);
    let both = ["path", "udp_out", "udp_in", "tcp_out", "tcp_in", "too_big_v4", "too_big_v6"];
    for way in ["device", "tap", "program", "xdp"] {
        for probe in both {
            report.check(("frames", way, probe), "ok", "");
        }
        for probe in ["vlan_out", "vlan_in"].iter().filter(|_| way != "xdp") {
            report.check(("frames", way, probe), "ok", "tag 20");
        }
        report.check(("frames", way, "too_big_v4"), "ok", "the VM was told 1550 by ICMP");
    }
    report.check(("port", "tap0", "frames"), "ok", "all arrive (frames program)");
    assert_eq!(links(), before);
    let after = host.status().unwrap();
    assert_eq!((&after["counts"], &after["attached"]), (&status["counts"], &status["attached"]));
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains("/run/bpf"), "{mounts}");
    drop(daemon);
}

/// What the library's examination says of a way, after a line of the shell was run on the host or where the VMs are.
struct Meddled(Vec<frames::Sent>);

impl Meddled {
    fn new(on_vms: bool, command: &str) -> Self {
        let text = "[underlay]\naddress = \"192.0.2.1\"\nuplinks = [\"uplink\"]\n\
                    [source]\nkind = \"file\"\npath = \"t.toml\"\n";
        let config = Config::parse(text, Path::new("agent.toml"), &[]).unwrap();
        let run = || {
            let mut shell = Command::new("sh");
            output(shell.args(["-e", "-c", command])).map(drop).map_err(std::io::Error::other)
        };
        let sent = frames::send(&config, 1500, |lab| if on_vms { lab.on_vms(run) } else { lab.on_host(run) });
        Self(sent.unwrap())
    }

    /// The probes that fail by a way, with what they say.
    fn failed(&self, way: &str) -> Vec<(&'static str, &str)> {
        let of_way = self.0.iter().filter(|sent| sent.lane == way);
        of_way.filter_map(|sent| Some((sent.probe.name(), sent.outcome.as_ref().err()?.as_str()))).collect()
    }
}

#[test]
fn a_host_that_drops_what_its_tunnel_device_should_take_fails_by_the_device_alone() {
    // The host's own IP asks it, to which the programs leave nothing that they take.
    let blackhole =
        "nft 'table inet fw { chain input { type filter hook input priority 0; udp dport 4789 drop; }; }'";
    let meddled = Meddled::new(false, blackhole);
    let failed = meddled.failed("device");
    let names: Vec<_> = failed.iter().map(|(probe, _)| *probe).collect();
    assert_eq!(
        names,
        ["udp_out", "udp_in", "tcp_out", "tcp_in", "vlan_in"],
        "no answer comes to the VM: {failed:?}"
    );
    assert!(failed[0].1.contains("nothing arrived"), "{failed:?}");
    for way in ["program", "xdp"] {
        assert_eq!(meddled.failed(way), []);
    }
}

#[test]
fn a_way_that_is_narrower_than_its_interface_says_is_found() {
    let meddled = Meddled::new(false, "ip link set up0 mtu 1400");
    for way in ["device", "tap", "program"] {
        let failed = meddled.failed(way);
        let told = |(probe, says): &(&str, &str)| {
            *probe == "too_big_v4" && says.starts_with("the VM was told 1350, expected 1450")
        };
        assert!(failed.iter().any(told), "{failed:?}");
    }
    assert_eq!(meddled.failed("xdp"), [], "it has another uplink");
}

#[test]
fn a_port_without_segmentation_offload_is_no_proof_of_super_frames() {
    let meddled = Meddled::new(true, "ip link set vm1 gso_max_segs 1");
    let failed = meddled.failed("program");
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert!(failed[0].0 == "tcp_out" && failed[0].1.contains("expected super-frames"), "{failed:?}");
    assert_eq!(meddled.failed("device"), []);
}

#[test]
fn nothing_is_left_of_an_examination_that_was_killed() {
    let host = sound();
    let mut command = host.netns.command(BINARY);
    command.arg("doctor").arg("--config").arg(host.folder.path().join("agent.toml"));
    let mut child = Daemon::spawn("doctor", &mut command).unwrap();
    let descriptors = format!("/proc/{}/fdinfo", child.pid());
    let loaded = |within| -> BTreeSet<u32> {
        let files = std::fs::read_dir(within).into_iter().flatten().flatten();
        let texts = files.filter_map(|file| std::fs::read_to_string(file.path()).ok());
        let ids = texts.filter_map(|text| {
            text.lines().find_map(|line| line.strip_prefix("prog_id:")?.trim().parse().ok())
        });
        ids.collect()
    };
    let ours = child.wait_for("programs", PATIENCE, || {
        Some(loaded(&descriptors)).filter(|ids| ids.len() >= Program::ALL.len())
    });
    let ours = ours.unwrap();
    child.kill().unwrap();
    wait_for("the end of its programs", PATIENCE, || {
        let all: BTreeSet<u32> = loaded_programs().filter_map(|program| Some(program.ok()?.id())).collect();
        ours.is_disjoint(&all).then_some(())
    })
    .unwrap();
}
