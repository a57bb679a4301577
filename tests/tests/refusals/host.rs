//! A host that lacks something, or has something of another: the agent does not start, and says why.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use vtep_agent::kernel::{Kernel, Settings};
use vtep_tests::{
    deadline::wait_for,
    lab::{
        Agent, AgentConfig, AgentSource, Fabric, Machine, Stream,
        rig::{Rig, SOON, VNI, network, table},
    },
    link::{Link, Vxlan},
    netns::output,
    process::binary,
};

/// An operator who types `run` has the answer while he looks.
const AT_ONCE: Duration = Duration::from_secs(5);
/// What is found out once the programs are loaded, whom the verifier walks through first.
const LOADED: Duration = Duration::from_secs(30);

/// A host with an agent that was not started yet.
struct Host {
    agent: Agent,
    machine: Machine,
    _fabric: Fabric,
}

impl Host {
    fn new() -> Self {
        let mut fabric = Fabric::new().unwrap();
        let machine = fabric.machine("host", 1).unwrap();
        let source = AgentSource::Table(table(&[("tor", 11)], &network("blue", VNI, &["tor"])));
        let config = AgentConfig { name: "host", source, ports: Vec::new(), dataplane: "macs_max = 1000" };
        Self { agent: Agent::new(&machine, &config).unwrap(), machine, _fabric: fabric }
    }

    /// `run` ends with exit code 1, and every one of `expected` in what it prints.
    #[track_caller]
    fn check_refused(&self, expected: &[&str]) {
        self.check_refused_within(AT_ONCE, expected);
    }

    #[track_caller]
    fn check_refused_within(&self, limit: Duration, expected: &[&str]) {
        check_refused(&mut self.agent.run().unwrap(), limit, expected);
        assert!(!self.agent.socket().exists());
    }

    /// All interfaces and pins.
    fn present(&self) -> (String, String) {
        let links = self.machine.netns.ip("-brief address show").unwrap();
        let pins = output(Command::new("find").arg(self.agent.pins().parent().unwrap())).unwrap();
        (links, pins)
    }
}

#[track_caller]
fn check_refused(command: &mut Command, limit: Duration, expected: &[&str]) {
    let start = Instant::now();
    let done = command.output().unwrap();
    let took = start.elapsed();
    let printed = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(1), "{printed}");
    for part in expected {
        assert!(printed.contains(part), "{part:?} is not in:\n{printed}");
    }
    assert!(!printed.contains("panicked"), "{printed}");
    assert!(took < limit, "it took {took:?} to say:\n{printed}");
}

#[test]
fn an_unknown_key_is_shown_with_its_line_and_a_caret() {
    let host = Host::new();
    let before = host.present();
    host.agent.reconfigure(|text| text.replace("macs_max", "mac_max")).unwrap();
    let text = fs::read_to_string(host.agent.config_path()).unwrap();
    let line = text.lines().position(|line| line.starts_with("mac_max")).unwrap() + 1;
    host.check_refused(&["agent.toml is refused", &format!("line {line}"), "mac_max", "^^^", "macs_max"]);
    assert_eq!(host.present(), before);
}

#[test]
fn values_out_of_range_are_shown_with_the_range() {
    for (from, to, expected) in [
        ("macs_max = 1000", "macs_max = 16000001", "16000001 is out of range; expected 1 to 16000000"),
        ("address = \"192.0.2.1\"", "address = \"224.0.0.1\"", "expected a unicast IP address"),
        ("address = \"192.0.2.1\"", "address = \"fe80::1\"", "expected a unicast IP address"),
        ("uplinks = [\"uplink\"]", "uplinks = []", "expected at least one interface"),
        ("name = \"host\"", "name = \"host", "line 2"),
    ] {
        let host = Host::new();
        host.agent.reconfigure(|text| text.replace(from, to)).unwrap();
        host.check_refused(&["agent.toml is refused", expected]);
    }
}

#[test]
fn a_second_agent_names_the_first_and_does_not_disturb_it() {
    let mut rig = Rig::new().unwrap();
    let first = rig.agent.daemon().unwrap().pid().to_string();
    let attached = rig.agent.json(&["status"]).unwrap()["attached"].clone();
    let stream = Stream::start(&rig.vm, &rig.far, Duration::from_millis(1)).unwrap();
    for _ in 0..3 {
        check_refused(
            &mut rig.agent.run().unwrap(),
            AT_ONCE,
            &["another agent", &format!("process {first}")],
        );
    }
    let report = stream.finish().unwrap();
    assert_eq!(report.received, report.sent);
    let status = rig.agent.json(&["status"]).unwrap();
    assert_eq!((&status["attached"], status["pid"].to_string()), (&attached, first));
}

#[test]
fn a_process_without_root_is_told_what_it_lacks() {
    let host = Host::new();
    // The user must be able to read what root has made, or that would be the complaint.
    let everybody = fs::Permissions::from_mode(0o755);
    fs::set_permissions(host.agent.folder(), everybody).unwrap();
    let program = host.agent.folder().join("vtep-agent");
    fs::copy(binary("vtep-agent").unwrap(), &program).unwrap();
    let before = host.present();
    let mut nobody = host.machine.netns.command("setpriv");
    nobody.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program);
    nobody.arg("run").arg("--config").arg(host.agent.config_path());
    check_refused(&mut nobody, AT_ONCE, &["CAP_BPF", "CAP_NET_ADMIN", "missing", "run as root"]);
    assert_eq!(host.present(), before);
}

#[test]
fn a_pin_folder_off_bpffs_is_refused_with_the_mount_command() {
    let host = Host::new();
    let before = host.present();
    let elsewhere = host.agent.folder().join("bpf/vtepd");
    let pins = host.agent.pins().display().to_string();
    host.agent.reconfigure(|text| text.replace(&pins, &elsewhere.display().to_string())).unwrap();
    let mount = format!("mount -t bpf bpf {}", elsewhere.parent().unwrap().display());
    host.check_refused(&[&elsewhere.display().to_string(), "is on no BPF filesystem", &mount]);
    assert!(!Path::new(&elsewhere).exists());
    assert_eq!(host.present(), before);
}

#[test]
fn a_missing_uplink_is_an_alarm_until_it_comes() {
    let mut host = Host::new();
    host.agent.reconfigure(|text| text.replace("[\"uplink\"]", "[\"later\"]")).unwrap();
    host.agent.start().unwrap();
    let status = || host.agent.json(&["status"]).ok();
    wait_for("the alarm", SOON, || {
        let status = status()?;
        let alarms = status["alarms"].as_array()?;
        let missing = alarms.iter().find(|alarm| alarm["kind"] == "uplink_missing")?;
        (missing["subject"] == "later" && missing["message"] == "the interface does not exist").then_some(())
    })
    .unwrap();
    assert_eq!(status().unwrap()["ready"], false);
    Link::bridge(&host.machine.netns, "later").unwrap();
    wait_for("readiness, and no alarm", SOON, || {
        let status = status()?;
        (status["ready"] == true && status["counts"]["alarms"] == 0).then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}: {:?}", status()));
}

#[test]
fn a_device_of_another_that_has_our_name_is_not_touched() {
    let host = Host::new();
    Link::bridge(&host.machine.netns, "vtepd-vxlan").unwrap();
    let shown = host.machine.netns.ip("link show dev vtepd-vxlan").unwrap();
    host.check_refused_within(LOADED, &["interface vtepd-vxlan is a bridge device", "it was not touched"]);
    assert_eq!(host.machine.netns.ip("link show dev vtepd-vxlan").unwrap(), shown);
}

#[test]
fn a_vxlan_device_of_another_on_our_port_is_named() {
    let host = Host::new();
    let other = Link::vxlan(&host.machine.netns, "other", &Vxlan::new(7, host.machine.address)).unwrap();
    host.check_refused_within(LOADED, &["UDP port 4789 is taken by VXLAN device other"]);
    assert!(!host.machine.netns.ip("-brief link show").unwrap().contains("vtepd-vxlan"));
    other.delete().unwrap();
    Link::add(&host.machine.netns, "other", "type vxlan external dstport 4789").unwrap();
    host.check_refused_within(LOADED, &["UDP port 4789 is taken by VXLAN device other"]);
}

/// The kernel here is not old: strace answers for it as an old one would.
#[test]
fn a_kernel_that_is_too_old_is_told_with_the_version_it_takes() {
    let host = Host::new();
    let before = host.present();
    let mut strace = host.machine.netns.command("strace");
    strace.args(["--follow-forks", "--quiet=all", "--output=/dev/null"]);
    strace.args(["--trace=bpf", "--inject=bpf:error=EINVAL:when=1"]).arg(binary("vtep-agent").unwrap());
    strace.arg("run").arg("--config").arg(host.agent.config_path());
    check_refused(&mut strace, AT_ONCE, &["the kernel lacks tcx", "which came with Linux 6.6"]);
    assert_eq!(host.present(), before);
}

#[test]
fn an_agent_without_its_programs_says_what_to_type() {
    let settings = Settings { object: None, ..Settings::new("/sys/fs/bpf/vtepd-none") };
    let Err(error) = Kernel::open(&settings) else { panic!("it opened") };
    assert!(error.to_string().contains("type `cargo xtask build-ebpf`"), "{error}");
}

#[test]
fn check_lists_all_that_is_wrong_and_touches_nothing() {
    let host = Host::new();
    let edit = |text: String| {
        let text = text.replace("[\"uplink\"]", "[\"absent\"]").replace("\"192.0.2.1\"", "\"192.0.2.99\"");
        text.replace("macs_max = 1000", "macs_max = 1")
    };
    host.agent.reconfigure(edit).unwrap();
    let bad = [network("blue", VNI, &["tor", "ghost"]), network("blue", 0, &[])].concat();
    let macs = ["01:00:00:00:00:01", "02:00:00:00:00:01", "02:00:00:00:00:02"]
        .map(|mac| format!("\n[[mac]]\nlogical_switch = \"blue\"\nmac = \"{mac}\"\nmaster = \"tor\"\n"));
    host.agent.write_table(&table(&[("tor", 11)], &(bad + &macs.concat()))).unwrap();
    let before = host.present();
    let mut check = host.machine.netns.command(&binary("vtep-agent").unwrap().display().to_string());
    let done = check.arg("check").arg("--config").arg(host.agent.config_path()).output().unwrap();
    let printed = String::from_utf8_lossy(&done.stdout);
    assert_eq!(done.status.code(), Some(5), "{printed}");
    for expected in [
        "ok      kernel type information",
        "failed  address 192.0.2.99: no interface has it",
        "failed  uplink absent: no such interface",
        "logical_switch[0].flood[1]: \"ghost\"; expected the name of a VTEP",
        "logical_switch[1].name: \"blue\"; expected a name that no earlier logical switch has",
        "mac[0].mac: \"01:00:00:00:00:01\"; expected the address of one station",
        "2 MACs; expected at most 1 (dataplane.macs_max)",
    ] {
        assert!(printed.contains(expected), "{expected:?} is not in:\n{printed}");
    }
    assert_eq!(host.present(), before);
}

#[test]
fn check_finds_nothing_on_a_host_that_is_right() {
    let host = Host::new();
    let before = host.present();
    let mut check = host.machine.netns.command(&binary("vtep-agent").unwrap().display().to_string());
    let done = check.arg("check").arg("--config").arg(host.agent.config_path()).output().unwrap();
    let printed = String::from_utf8_lossy(&done.stdout);
    assert_eq!(done.status.code(), Some(0), "{printed}");
    assert!(!printed.contains("failed"), "{printed}");
    assert_eq!(host.present(), before);
}

#[test]
fn check_beside_a_running_agent_does_not_disturb_it() {
    let rig = Rig::new().unwrap();
    let stream = Stream::start(&rig.vm, &rig.far, Duration::from_millis(1)).unwrap();
    let before = rig.agent.json(&["status"]).unwrap()["attached"].clone();
    let mut check = rig.host.netns.command(&binary("vtep-agent").unwrap().display().to_string());
    let done = check.arg("check").arg("--config").arg(rig.agent.config_path()).output().unwrap();
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stdout));
    assert_eq!(rig.agent.json(&["status"]).unwrap()["attached"], before);
    let report = stream.finish().unwrap();
    assert_eq!(report.received, report.sent);
}
