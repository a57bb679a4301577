//! The XDP programs at their hook, which holds one program, and what the verifier makes of all programs. As root.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use aya::programs::Xdp;
use aya::programs::xdp::XdpMode;
use aya::{Ebpf, EbpfLoader};
use vtep_agent::kernel::{
    AttachError, Attached, Kernel, KernelError, OBJECT, Opened, Program, Settings, Sizes,
};
use vtep_tests::bpffs::Bpffs;
use vtep_tests::link::Link;
use vtep_tests::netns::Netns;

const SIZES: Sizes =
    Sizes { macs_max: 100, vteps_max: 16, vnis_max: 8, ports_max: 16, senders_max: 64, flood_max: 16 };

#[test]
fn an_xdp_program_outlives_its_agent_is_replaced_in_place_and_goes_with_detach() {
    let (netns, link, _far) = port();
    let bpffs = Bpffs::new().unwrap();
    let ifindex = link.index().unwrap();
    let (mut kernel, _) = open(&bpffs).unwrap();
    assert_eq!(attach(&netns, &mut kernel, ifindex).unwrap(), Attached::New);
    assert_eq!(attach(&netns, &mut kernel, ifindex).unwrap(), Attached::Kept);
    let first = at_xdp(&netns, &link);
    assert!(first.is_some());
    drop(kernel);
    assert_eq!(at_xdp(&netns, &link), first, "the pin alone holds it");

    let (mut kernel, opened) = open(&bpffs).unwrap();
    assert_eq!((opened.adopted, opened.links), (true, 1));
    let second = at_xdp(&netns, &link);
    assert!(second.is_some() && second != first, "{first:?} was replaced by {second:?}");
    assert!(kernel.detach(ifindex, Program::PortXdp).unwrap());
    assert_eq!(at_xdp(&netns, &link), None);
    attach(&netns, &mut kernel, ifindex).unwrap();
    kernel.remove().unwrap();
    assert_eq!(at_xdp(&netns, &link), None);
}

#[test]
fn a_foreign_xdp_program_is_seen_and_stays() {
    let (netns, link, _far) = port();
    let bpffs = Bpffs::new().unwrap();
    let ifindex = link.index().unwrap();
    let foreign = Foreign::attach(&netns, link.name());
    let (mut kernel, _) = open(&bpffs).unwrap();
    let error = attach(&netns, &mut kernel, ifindex).unwrap_err();
    assert!(matches!(error, AttachError::Taken { program: Program::PortXdp, .. }), "{error}");
    kernel.remove().unwrap();
    assert_eq!(at_xdp(&netns, &link), Some(foreign.id));
}

#[test]
fn an_interface_that_went_severs_its_xdp_link_and_its_successor_gets_a_new_one() {
    let (netns, link, far) = port();
    let bpffs = Bpffs::new().unwrap();
    let (mut kernel, _) = open(&bpffs).unwrap();
    let ifindex = link.index().unwrap();
    attach(&netns, &mut kernel, ifindex).unwrap();
    link.delete().unwrap();
    assert_eq!(kernel.drop_severed().unwrap(), [(ifindex, Program::PortXdp)]);
    let (link, _) = Link::veth(&netns, "port0", &far, "eth0").unwrap();
    assert_eq!(attach(&netns, &mut kernel, link.index().unwrap()).unwrap(), Attached::New);
    drop(kernel);
    link.delete().unwrap();
    let (_kernel, opened) = open(&bpffs).unwrap();
    assert_eq!((opened.adopted, opened.links), (true, 0));
}

/// The verifier gives up at a million. A program beyond its budget has grown a loop or lost a call of its own.
#[test]
fn each_program_is_within_its_budget_of_verified_instructions() {
    const BUDGETS: [(Program, u32); 5] = [
        (Program::PortIn, 190_000),
        (Program::TunnelIn, 90_000),
        (Program::UplinkIn, 220_000),
        (Program::PortXdp, 150_000),
        (Program::UplinkXdp, 120_000),
    ];
    let bpffs = Bpffs::new().unwrap();
    let (kernel, _) = open(&bpffs).unwrap();
    for (program, budget) in BUDGETS {
        let verified = kernel.verified_instructions(program).unwrap();
        println!("{program}: {verified} of {budget}");
        assert!(verified <= budget, "{program}: {verified} instructions verified, expected at most {budget}");
    }
}

/// A veth whose other end is elsewhere.
fn port() -> (Netns, Link, Netns) {
    let (netns, far) = (Netns::new("host").unwrap(), Netns::new("far").unwrap());
    let (link, _) = Link::veth(&netns, "port0", &far, "eth0").unwrap();
    (netns, link, far)
}

fn open(bpffs: &Bpffs) -> Result<(Kernel, Opened), KernelError> {
    Kernel::open(&Settings { sizes: SIZES, ..Settings::new(bpffs.path().join("vtepd")) })
}

fn attach(netns: &Netns, kernel: &mut Kernel, ifindex: u32) -> Result<Attached, AttachError> {
    netns.within(|| kernel.attach(ifindex, Program::PortXdp)).unwrap()
}

/// Identifier of the program at an interface's XDP hook.
fn at_xdp(netns: &Netns, link: &Link) -> Option<u64> {
    let shown = netns.ip(&format!("-j -d link show dev {}", link.name())).unwrap();
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    shown[0]["xdp"]["prog"]["id"].as_u64()
}

fn object() -> Ebpf {
    let object = OBJECT.expect("`cargo xtask build-ebpf` has been run");
    EbpfLoader::new().map_max_entries("FDB", 1).load(object).unwrap()
}

/// Somebody else's program.
struct Foreign {
    id: u64,
    _program: Ebpf,
}

impl Foreign {
    fn attach(netns: &Netns, link: &str) -> Self {
        let mut ebpf = object();
        let program: &mut Xdp = ebpf.program_mut("uplink_xdp").unwrap().try_into().unwrap();
        program.load().unwrap();
        let id = program.info().unwrap().id().into();
        netns.within(|| program.attach(link, XdpMode::Driver).unwrap()).unwrap();
        Self { id, _program: ebpf }
    }
}
