//! A rack whose TORs run VRRP: keepalived's word moves the rack's MACs on every host. Needs root.

use std::{
    io::Write as _,
    thread,
    time::{Duration, SystemTime},
};

use vtep_tests::{
    deadline::wait_for,
    lab::{ControllerRole, Layout, NetworkLayout, Pair, RackLayout, Side, Site, Stream, Vrrp, figure5::X},
    link::Link,
};

const SOON: Duration = Duration::from_mins(1);
const RACK: Layout = Layout {
    controllers: &[("vtepd", ControllerRole::Both)],
    networks: &[NetworkLayout { name: "x", vni: X, controller: "vtepd" }],
    racks: &[RackLayout { tors: [("a", 11, "vtepd"), ("b", 12, "vtepd")], hosts: &[("h1x", Side::Left)] }],
    sfe_controller: "vtepd",
    vms: &[("VM1", 1, "h1x"), ("VM2", 2, "h1x")],
};
const VTEPS: [&str; 3] = ["a", "b", "sfe"];

#[test]
fn keepalived_moves_a_rack_to_the_other_tor_and_back() {
    let site = Site::new(&RACK).unwrap();
    let [a, b] = ["a", "b"].map(|name| site.tor(name));
    let (at_a, at_b) = Link::veth(&a.machine.netns, "peer0", &b.machine.netns, "peer0").unwrap();
    at_a.add_address("198.51.100.1/24").unwrap();
    at_b.add_address("198.51.100.2/24").unwrap();
    let rack = [site.rack_host("h1x")];
    let mut vrrp = [
        Vrrp::new(a, Side::Left, "peer0", 150, &rack).unwrap(),
        Vrrp::new(b, Side::Right, "peer0", 100, &rack).unwrap(),
    ];
    Vrrp::elect(&mut vrrp).unwrap();
    let [vrrp_a, vrrp_b] = &mut vrrp;

    site.declare().unwrap();
    wait_for("the network on all VTEPs", SOON, || site.is_bound()).unwrap();
    for vm in ["VM1", "VM2", "VM8"] {
        site.announce(vm).unwrap();
    }
    let all_at = |master| [("VM1", master), ("VM2", master), ("VM8", "sfe")];
    wait_for("the VMs behind a", SOON, || site.forwards_by(X, &VTEPS, &all_at("a"))).unwrap();
    let (vm1, vm8) = (site.vm("VM1"), site.vm("VM8"));
    let stream = Stream::start(vm8, vm1, Duration::from_millis(1)).unwrap();
    wait_for("the stream", SOON, || (stream.received() > 200).then_some(())).unwrap();

    let (arrivals, known) = (b.listen().unwrap(), vrrp_b.transitions().unwrap().len());
    let reported = site.reports("a").unwrap();
    let (killed, first) = thread::scope(|scope| {
        let first = scope.spawn(|| {
            let frame = arrivals.receive_where(SOON, |frame| site.carries(frame, X, vm1)).unwrap();
            frame.map(|_| SystemTime::now())
        });
        let killed = SystemTime::now();
        vrrp_a.kill().unwrap();
        (killed, first.join().unwrap().expect("VM8's frames reach TOR b"))
    });
    let elected = vrrp_b.wait_for("MASTER", known).unwrap().at;
    wait_for("the VMs behind b", SOON, || site.forwards_by(X, &VTEPS, &all_at("b"))).unwrap();
    assert_eq!(site.reports("a").unwrap(), reported, "whoever was killed withdraws nothing");
    let received = stream.received();
    wait_for("the stream behind b", SOON, || (stream.received() > received + 200).then_some(())).unwrap();
    let report = stream.finish().unwrap();
    // Around the capture of output: the figure is meant to be seen.
    writeln!(
        std::io::stderr(),
        "VRRP: {:.1} ms from the transition to the first frame at the new master ({:.1} ms after the kill); \
         of {} frames at 1000/s {} were lost, gap {:.1} ms",
        millis(elected, first),
        millis(killed, first),
        report.sent,
        report.sent - report.received,
        report.gap.as_secs_f64() * 1e3
    )
    .unwrap();

    let known = vrrp_a.transitions().unwrap().len();
    vrrp_a.start().unwrap();
    vrrp_a.wait_for("MASTER", known).unwrap();
    wait_for("the VMs behind a", SOON, || site.forwards_by(X, &VTEPS, &all_at("a"))).unwrap();
    wait_for("an echo", SOON, || vm8.pings(vm1.address, 1).then_some(())).unwrap();
    assert!(vm8.pings(vm1.address, 20), "VM8 lost echo replies from VM1 behind a");
}

/// BFD says that a TOR is dead, and VRRP says who is master instead: one after the other, and the same.
#[test]
fn bfd_moves_a_rack_in_the_kernel_and_keepalived_moves_it_everywhere() {
    let mut site = Site::new(&RACK).unwrap();
    let [a, b] = ["a", "b"].map(|name| site.tor(name));
    let (at_a, at_b) = Link::veth(&a.machine.netns, "peer0", &b.machine.netns, "peer0").unwrap();
    at_a.add_address("198.51.100.1/24").unwrap();
    at_b.add_address("198.51.100.2/24").unwrap();
    let rack = [site.rack_host("h1x")];
    let mut vrrp = [
        Vrrp::new(a, Side::Left, "peer0", 150, &rack).unwrap(),
        Vrrp::new(b, Side::Right, "peer0", 100, &rack).unwrap(),
    ];
    Vrrp::elect(&mut vrrp).unwrap();
    site.declare().unwrap();
    wait_for("the network on all VTEPs", SOON, || site.is_bound()).unwrap();
    for vm in ["VM1", "VM2", "VM8"] {
        site.announce(vm).unwrap();
    }
    let at = |master: &'static str| [("VM1", master), ("VM2", master), ("VM8", "sfe")];
    wait_for("the VMs behind a", SOON, || site.forwards_by(X, &VTEPS, &at("a"))).unwrap();
    site.watch_by_bfd(&["a", "b"]).unwrap();

    let all_at = |tor: &str| site.forwards_by(X, &VTEPS, &at(if tor == "a" { "a" } else { "b" }));
    let pair = Pair { vni: X, vm: "VM1", tors: ["a", "b"], all_at: &all_at };
    let reported = site.reports("a").unwrap();
    let takeover = site.take_over(&pair, &mut vrrp).unwrap();
    writeln!(std::io::stderr(), "VRRP and BFD: {takeover}").unwrap();
    assert!(takeover.first_frame < takeover.elected, "the kernel waited for VRRP");
    assert!(takeover.elected < takeover.agreed, "the claims waited for nobody");
    assert_eq!(site.reports("a").unwrap(), reported, "whoever is dead withdraws nothing");

    site.give_back(&pair, &mut vrrp).unwrap();
    // While BFD watches, a pause of 150 ms in its packets would send echoes to b, whose link the VM's host does not use.
    site.stop_watching(&["a", "b"]).unwrap();
    assert!(site.vm("VM8").pings(site.vm("VM1").address, 20), "VM8 lost echo replies from VM1 behind a");
}

fn millis(from: SystemTime, to: SystemTime) -> f64 {
    to.duration_since(from).map_or_else(|early| -early.duration().as_secs_f64(), |late| late.as_secs_f64())
        * 1e3
}
