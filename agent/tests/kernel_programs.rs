//! The programs at their hooks: across restarts, recreated interfaces and beside other people's. As root.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use aya::programs::tc::TcAttachOptions;
use aya::programs::{LinkOrder, SchedClassifier, TcAttachType};
use aya::{Ebpf, EbpfLoader};
use caps::{CapSet, Capability, CapsHashSet};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use vtep_abi::{PortValue, Verdict, VniValue, map};
use vtep_agent::dataplane::{Network, PortId};
use vtep_agent::kernel::{
    self, AttachError, Attached, Kernel, KernelError, OBJECT, Opened, Program, Settings, Sizes,
};
use vtep_agent::plan::Step;
use vtep_tests::bpffs::Bpffs;
use vtep_tests::link::Link;
use vtep_tests::netns::Netns;

const SIZES: Sizes =
    Sizes { macs_max: 100, vteps_max: 16, vnis_max: 8, ports_max: 16, senders_max: 64, flood_max: 16 };

#[test]
fn a_program_stays_where_it_is_when_its_agent_goes() {
    let (netns, link) = port();
    let bpffs = Bpffs::new().unwrap();
    let ifindex = link.index().unwrap();
    let (mut kernel, _) = open(&bpffs).unwrap();
    assert_eq!(attach(&netns, &mut kernel, ifindex).unwrap(), Attached::New);
    assert_eq!(attach(&netns, &mut kernel, ifindex).unwrap(), Attached::Kept);
    let first = at_ingress(&netns, link.name());
    assert_eq!(first.len(), 1);
    drop(kernel);
    assert_eq!(at_ingress(&netns, link.name()), first, "the pin alone holds it");
}

#[test]
fn a_restart_puts_its_programs_on_the_pinned_links() {
    let (netns, link) = port();
    let bpffs = Bpffs::new().unwrap();
    let ifindex = link.index().unwrap();
    let (mut kernel, _) = open(&bpffs).unwrap();
    attach(&netns, &mut kernel, ifindex).unwrap();
    let first = at_ingress(&netns, link.name());
    drop(kernel);

    let (mut kernel, opened) = open(&bpffs).unwrap();
    assert_eq!((opened.adopted, opened.links), (true, 1));
    let second = at_ingress(&netns, link.name());
    assert!(second.len() == 1 && second != first, "{first:?} was replaced by {second:?}");
    assert_eq!(attach(&netns, &mut kernel, ifindex).unwrap(), Attached::Kept);
    let attached = netns.within(|| kernel.attached().unwrap()).unwrap();
    assert_eq!(
        attached.iter().map(|one| (one.ifindex, one.program)).collect::<Vec<_>>(),
        [(ifindex, Program::PortIn)]
    );
}

#[test]
fn more_room_moves_the_links_to_programs_with_the_new_maps() {
    let (netns, link) = port();
    let bpffs = Bpffs::new().unwrap();
    let ifindex = link.index().unwrap();
    let (mut kernel, _) = open(&bpffs).unwrap();
    attach(&netns, &mut kernel, ifindex).unwrap();
    let first = at_ingress(&netns, link.name());
    drop(kernel);

    let mut settings = settings(&bpffs);
    settings.sizes.macs_max *= 2;
    let (_kernel, opened) = Kernel::open(&settings).unwrap();
    assert_eq!((opened.resized.len(), opened.links), (2, 1), "MACs, and when they were seen");
    let second = at_ingress(&netns, link.name());
    assert!(second.len() == 1 && second != first);
}

#[test]
fn an_interface_that_was_deleted_is_forgotten_and_its_successor_attached() {
    let (netns, link) = port();
    let bpffs = Bpffs::new().unwrap();
    let old = link.index().unwrap();
    let (mut kernel, _) = open(&bpffs).unwrap();
    attach(&netns, &mut kernel, old).unwrap();
    link.delete().unwrap();
    assert!(matches!(attach(&netns, &mut kernel, old), Err(AttachError::Gone { ifindex }) if ifindex == old));
    assert!(kernel.attached().unwrap().is_empty());

    let link = Link::add(&netns, link.name(), "type bridge").unwrap();
    assert_eq!(attach(&netns, &mut kernel, link.index().unwrap()).unwrap(), Attached::New);
    assert_eq!(at_ingress(&netns, link.name()).len(), 1);
    link.delete().unwrap();
    assert_eq!(kernel.drop_severed().unwrap().len(), 1);
    assert!(kernel.drop_severed().unwrap().is_empty());
}

#[test]
fn a_link_that_was_severed_while_no_agent_ran_is_unpinned() {
    let (netns, link) = port();
    let bpffs = Bpffs::new().unwrap();
    let (mut kernel, _) = open(&bpffs).unwrap();
    attach(&netns, &mut kernel, link.index().unwrap()).unwrap();
    drop(kernel);
    link.delete().unwrap();
    let (_kernel, opened) = open(&bpffs).unwrap();
    assert_eq!((opened.adopted, opened.links), (true, 0));
    assert_eq!(std::fs::read_dir(bpffs.path().join("vtepd/v1/links")).unwrap().count(), 0);
}

#[test]
fn a_foreign_program_survives_ours_coming_and_going() {
    let (netns, link) = port();
    let bpffs = Bpffs::new().unwrap();
    let foreign = Foreign::attach(&netns, link.name());
    let (mut kernel, _) = open(&bpffs).unwrap();
    attach(&netns, &mut kernel, link.index().unwrap()).unwrap();
    assert_eq!(at_ingress(&netns, link.name()).len(), 2);
    let attached = netns.within(|| kernel.attached().unwrap()).unwrap();
    assert_eq!(attached[0].foreign, [foreign.id]);
    drop(kernel);
    let (kernel, _) = open(&bpffs).unwrap();
    kernel.remove().unwrap();
    assert_eq!(at_ingress(&netns, link.name()), [foreign.id]);
}

#[test]
fn detaching_one_interface_leaves_the_others() {
    let (netns, link) = port();
    let other = Link::add(&netns, "port1", "type bridge").unwrap();
    let bpffs = Bpffs::new().unwrap();
    let (mut kernel, _) = open(&bpffs).unwrap();
    for link in [&link, &other] {
        attach(&netns, &mut kernel, link.index().unwrap()).unwrap();
    }
    let ifindex = link.index().unwrap();
    assert!(kernel.detach(ifindex, Program::PortIn).unwrap());
    assert!(!kernel.detach(ifindex, Program::PortIn).unwrap());
    assert!(at_ingress(&netns, link.name()).is_empty());
    assert_eq!(at_ingress(&netns, other.name()).len(), 1);
}

#[test]
fn removal_by_a_process_that_runs_no_agent_detaches() {
    let (netns, link) = port();
    let bpffs = Bpffs::new().unwrap();
    let (mut kernel, _) = open(&bpffs).unwrap();
    attach(&netns, &mut kernel, link.index().unwrap()).unwrap();
    drop(kernel);
    kernel::remove(&settings(&bpffs).pin_root).unwrap();
    assert!(at_ingress(&netns, link.name()).is_empty());
}

#[test]
fn an_unmounted_bpffs_stops_nothing_and_its_successor_gets_the_pins() {
    let (netns, link) = port();
    let bpffs = Bpffs::new().unwrap();
    let (mut kernel, _) = open(&bpffs).unwrap();
    attach(&netns, &mut kernel, link.index().unwrap()).unwrap();
    let first = at_ingress(&netns, link.name());
    assert_eq!(kernel.ensure_pinned().unwrap(), 0);

    umount2(bpffs.path(), MntFlags::MNT_DETACH).unwrap();
    assert_eq!(at_ingress(&netns, link.name()), first, "the descriptors hold it");
    assert!(matches!(kernel.ensure_pinned(), Err(KernelError::NotBpffs { .. })));
    mount(Some("bpf"), bpffs.path(), Some("bpf"), MsFlags::empty(), None::<&str>).unwrap();
    assert_eq!(kernel.ensure_pinned().unwrap(), map::ALL.len() + 1);
    assert!(matches!(open(&bpffs), Err(KernelError::Locked { .. })), "and is locked");
    drop(kernel);
    assert_eq!(at_ingress(&netns, link.name()), first);
    let (_kernel, opened) = open(&bpffs).unwrap();
    assert_eq!((opened.adopted, opened.links), (true, 1));
}

#[test]
fn a_check_tells_all_that_is_missing_and_touches_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = Settings::new(folder.path().join("vtepd"));
    settings.object = None;
    let found: Vec<String> = kernel::check(&settings).iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("cargo xtask build-ebpf") && found[1].contains("mount -t bpf"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// `CAP_BPF` for maps and programs, `CAP_NET_ADMIN` for the hooks, `CAP_PERFMON` for pointer arithmetic.
#[test]
fn three_capabilities_suffice() {
    let (netns, link) = port();
    let bpffs = Bpffs::new().unwrap();
    let ifindex = link.index().unwrap();
    let kernel = netns.within(|| {
        let kept: CapsHashSet =
            [Capability::CAP_BPF, Capability::CAP_NET_ADMIN, Capability::CAP_PERFMON].into_iter().collect();
        caps::set(None, CapSet::Effective, &kept).unwrap();
        caps::set(None, CapSet::Permitted, &kept).unwrap();
        for _ in 0..2 {
            let (mut kernel, _) = open(&bpffs).unwrap();
            kernel.attach(ifindex, Program::PortIn).unwrap();
            assert_eq!(kernel.attached().unwrap().len(), 1);
            kernel.installed().unwrap();
        }
        let (kernel, opened) = open(&bpffs).unwrap();
        assert_eq!((opened.adopted, opened.links), (true, 1));
        kernel.remove().unwrap()
    });
    assert!(kernel.unwrap() > 0);
}

#[test]
fn without_capabilities_the_kernel_refuses_and_nothing_is_left() {
    let bpffs = Bpffs::new().unwrap();
    let netns = Netns::new("host").unwrap();
    netns
        .within(|| {
            caps::clear(None, CapSet::Effective).unwrap();
            let error = open(&bpffs).map(drop).unwrap_err();
            assert_eq!(error.to_string(), "the process lacks CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON");
        })
        .unwrap();
    let (_, opened) = open(&bpffs).unwrap();
    assert!(!opened.adopted);
}

#[test]
fn a_test_run_counts_its_verdict_for_the_port_it_names() {
    let (netns, link) = port();
    let bpffs = Bpffs::new().unwrap();
    let ifindex = link.index().unwrap();
    let (mut kernel, _) = open(&bpffs).unwrap();
    let mut frame = [0_u8; 64];
    frame[..6].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
    frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    let run = |kernel: &mut Kernel| {
        netns.within(|| kernel.test_run(Program::PortIn, &frame, ifindex, 1).unwrap()).unwrap()
    };
    run(&mut kernel);
    assert_eq!(kernel.vni_stats(0).unwrap()[Verdict::Unbound as usize].packets, 1);

    let network = Network { bd: 2, flags: VniValue::DROP_UNKNOWN, ..Network::default() };
    let port = PortValue { vni: 100, bd: 2, local_port: 1, ..PortValue::UNBOUND };
    kernel.apply(&Step::PutNetworks(vec![(100, network)])).unwrap();
    kernel.apply(&Step::PutPorts(vec![(PortId { ifindex, vlan: 0 }, port)])).unwrap();
    run(&mut kernel);
    let counter = kernel.vni_stats(2).unwrap()[Verdict::UnknownUnicast as usize];
    assert_eq!((counter.packets, counter.bytes), (1, 64));
}

#[tokio::test]
async fn a_learning_port_reports_a_mac_it_has_not_seen() {
    let (netns, link) = port();
    let bpffs = Bpffs::new().unwrap();
    let ifindex = link.index().unwrap();
    let (mut kernel, _) = open(&bpffs).unwrap();
    let mut events = kernel.take_events().unwrap().unwrap();
    assert!(kernel.take_events().unwrap().is_none());
    let port = PortValue { vni: 100, bd: 2, local_port: 1, flags: PortValue::LEARN, ..PortValue::UNBOUND };
    let network = Network { bd: 2, flags: VniValue::DROP_UNKNOWN, ..Network::default() };
    kernel.apply(&Step::PutNetworks(vec![(100, network)])).unwrap();
    kernel.apply(&Step::PutPorts(vec![(PortId { ifindex, vlan: 0 }, port)])).unwrap();

    let mut frame = [0_u8; 64];
    frame[..6].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
    frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    netns.within(|| kernel.test_run(Program::PortIn, &frame, ifindex, 1).unwrap()).unwrap();
    let mut seen = Vec::new();
    let deadline = std::time::Duration::from_secs(20);
    tokio::time::timeout(deadline, events.read(&mut seen, 16)).await.unwrap().unwrap();
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].vni, seen[0].ifindex, seen[0].mac), (100, ifindex, [2, 0, 0, 0, 0, 1]));
}

/// A namespace with one interface to attach to.
fn port() -> (Netns, Link) {
    let netns = Netns::new("host").unwrap();
    let link = Link::add(&netns, "port0", "type bridge").unwrap();
    (netns, link)
}

fn settings(bpffs: &Bpffs) -> Settings {
    Settings { sizes: SIZES, ..Settings::new(bpffs.path().join("vtepd")) }
}

fn open(bpffs: &Bpffs) -> Result<(Kernel, Opened), KernelError> {
    Kernel::open(&settings(bpffs))
}

/// In the interface's namespace, by which the kernel looks it up.
fn attach(netns: &Netns, kernel: &mut Kernel, ifindex: u32) -> Result<Attached, AttachError> {
    netns.within(|| kernel.attach(ifindex, Program::PortIn)).unwrap()
}

/// Identifiers of the programs at an interface's ingress.
fn at_ingress(netns: &Netns, link: &str) -> Vec<u32> {
    let query = || SchedClassifier::query_tcx(link, TcAttachType::Ingress);
    // The kernel answers ENOENT where no program ever was.
    let (_, programs) = netns.within(query).unwrap().unwrap_or_default();
    programs.iter().map(aya::programs::ProgramInfo::id).collect()
}

/// Somebody else's program, on an unpinned link.
struct Foreign {
    id: u32,
    _program: Ebpf,
}

impl Foreign {
    fn attach(netns: &Netns, link: &str) -> Self {
        let object = OBJECT.expect("`cargo xtask build-ebpf` has been run");
        let mut ebpf = EbpfLoader::new().map_max_entries("FDB", 1).load(object).unwrap();
        let program: &mut SchedClassifier = ebpf.program_mut("tunnel_in").unwrap().try_into().unwrap();
        program.load().unwrap();
        let id = program.info().unwrap().id();
        let order = TcAttachOptions::TcxOrder(LinkOrder::default());
        netns.within(|| program.attach_with_options(link, TcAttachType::Ingress, order).unwrap()).unwrap();
        Self { id, _program: ebpf }
    }
}
