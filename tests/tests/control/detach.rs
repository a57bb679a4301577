//! Removing everything of ours from the kernel, and nothing else.

use std::{fs, process::Command, time::Duration};

use aya::programs::{SchedClassifier, TcAttachType};
use vtep_tests::{
    lab::{
        Stream,
        rig::{Rig, SOON},
    },
    link::Link,
    netns::output,
    process::binary,
};

/// Things of another owner: a pin beside our folder, one inside, a VXLAN device, a filter at our port.
struct Foreign {
    beside: std::path::PathBuf,
    inside: std::path::PathBuf,
    device: Link,
}

impl Foreign {
    fn new(rig: &Rig) -> Self {
        let pins = rig.agent.pins();
        let (beside, inside) = (pins.with_file_name("foreign"), pins.join("foreign"));
        for pin in [&beside, &inside] {
            let mut bpftool = Command::new("bpftool");
            bpftool.args(["map", "create"]).arg(pin);
            output(
                bpftool.args(["type", "hash", "key", "4", "value", "4", "entries", "1", "name", "foreign"]),
            )
            .unwrap();
        }
        let netns = &rig.host.netns;
        let device = Link::add(netns, "other-vxlan", "type vxlan id 9 local 192.0.2.1 dstport 8472").unwrap();
        netns.run("tc qdisc add dev p1 clsact").unwrap();
        netns
            .run("tc filter add dev p1 ingress protocol ip pref 7 u32 match ip dst 203.0.113.9 flowid 1:1")
            .unwrap();
        Self { beside, inside, device }
    }

    fn is_whole(&self, rig: &Rig) -> bool {
        let filters = rig.host.netns.run("tc filter show dev p1 ingress").unwrap();
        self.beside.exists()
            && self.inside.exists()
            && self.device.index().is_ok()
            && filters.contains("pref 7")
    }
}

/// Programs at the tcx ingress of the uplink and the port.
fn attached(rig: &Rig) -> usize {
    let query = |name| SchedClassifier::query_tcx(name, TcAttachType::Ingress);
    let programs = rig.host.netns.within(|| ["uplink", "p1"].map(query)).unwrap();
    programs.into_iter().map(|at| at.unwrap().1.len()).sum()
}

#[track_caller]
fn check_removed(rig: &Rig) {
    assert_eq!(attached(rig), 0);
    let ours = rig.agent.pins().join(format!("v{}", vtep_abi::ABI_VERSION));
    assert!(!ours.exists());
    let links = rig.host.netns.ip("-brief link show").unwrap();
    assert!(!links.contains("vtepd-vxlan"), "{links}");
    let neighbours = rig.host.netns.ip("neigh show").unwrap();
    assert!(!neighbours.contains("managed"), "{neighbours}");
    assert!(!rig.vm.pings(rig.far.address, 1));
}

#[test]
fn detach_by_the_daemon_removes_all_of_ours_and_ends_it() {
    let mut rig = Rig::new().unwrap();
    let foreign = Foreign::new(&rig);
    assert_eq!(attached(&rig), 2);
    let removed = rig.agent.json(&["detach"]).unwrap();
    assert!(removed["pins_removed"].as_u64().unwrap() > 10, "{removed}");
    assert_eq!(removed["tunnel_removed"], true);
    assert!(rig.agent.daemon().unwrap().wait(SOON).unwrap().success());
    check_removed(&rig);
    assert!(foreign.is_whole(&rig));
    assert!(!rig.agent.socket().exists());

    // And back again.
    rig.agent.start().unwrap();
    rig.wait_until_forwarding().unwrap();
    assert!(foreign.is_whole(&rig));
}

#[test]
fn detach_works_without_a_daemon_and_twice() {
    let mut rig = Rig::new().unwrap();
    let foreign = Foreign::new(&rig);
    rig.agent.daemon().unwrap().kill().unwrap();
    assert!(rig.vm.pings(rig.far.address, 5));
    let detach = || {
        let mut detach = rig.host.netns.command(&binary("vtep-agent").unwrap().display().to_string());
        detach
            .args(["detach", "--socket"])
            .arg(rig.agent.socket())
            .arg("--config")
            .arg(rig.agent.config_path());
        output(&mut detach).unwrap()
    };
    let printed = detach();
    assert!(
        printed.starts_with("removed ") && printed.ends_with("pins and the tunnel device\n"),
        "{printed}"
    );
    check_removed(&rig);
    assert_eq!(detach(), "removed 0 pins\n");
    assert!(foreign.is_whole(&rig));
    fs::remove_file(&foreign.inside).unwrap();
    detach();
    assert!(!rig.agent.pins().exists(), "our own empty folder goes too");
}

#[test]
fn detach_beside_a_daemon_that_is_not_asked_is_refused() {
    let mut rig = Rig::new().unwrap();
    let stream = Stream::start(&rig.vm, &rig.far, Duration::from_millis(1)).unwrap();
    let mut detach = rig.host.netns.command(&binary("vtep-agent").unwrap().display().to_string());
    detach.args(["detach", "--socket", "/nonexistent/agent.sock", "--config"]).arg(rig.agent.config_path());
    let done = detach.output().unwrap();
    let printed = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(1), "{printed}");
    let pid = rig.agent.daemon().unwrap().pid();
    assert!(printed.contains(&format!("another agent, process {pid}, holds")), "{printed}");
    let report = stream.finish().unwrap();
    assert_eq!(report.received, report.sent);
}

/// A host may have several agents, each in a namespace of its own.
#[test]
fn detach_asks_the_daemon_of_the_configuration_that_is_named() {
    let mut rig = Rig::new().unwrap();
    let other = Rig::new().unwrap();
    let mut detach = Command::new(binary("vtep-agent").unwrap());
    let printed = output(detach.arg("detach").arg("--config").arg(rig.agent.config_path())).unwrap();
    assert!(printed.ends_with("pins and the tunnel device\n"), "{printed}");
    assert!(rig.agent.daemon().unwrap().wait(SOON).unwrap().success());
    check_removed(&rig);

    let mut detach = Command::new(binary("vtep-agent").unwrap());
    rig.agent.reconfigure(|text| text.replace("[underlay]", "[underlay")).unwrap();
    let done = detach.arg("detach").arg("--config").arg(rig.agent.config_path()).output().unwrap();
    assert_eq!(done.status.code(), Some(1));
    assert!(other.vm.pings(other.far.address, 10));
}
