//! A MAC table takes the place of another one while frames are forwarded: each of them arrives.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fmt::Write as _, time::Duration};

use bytemuck::Zeroable as _;
use nix::sys::signal::Signal;
use vtep_abi::{MacKey, MacTabControl, MacTabGeometry, map};
use vtep_agent::kernel::Mapped;
use vtep_api::MacAddr;
use vtep_tests::{
    deadline::wait_for,
    lab::{
        Stream,
        rig::{Rig, SOON},
    },
};

/// Between two datagrams of a stream.
const INTERVAL: Duration = Duration::from_micros(200);
/// Entries beside those of the VMs, so that there is something to copy.
const MACS: u32 = 5000;

#[test]
fn another_size_and_another_kind_of_table_lose_no_frame() {
    check_restarts(false);
}

#[test]
fn another_size_and_another_kind_of_table_lose_no_frame_of_packet_rate_mode() {
    check_restarts(true);
}

fn check_restarts(packet_rate: bool) {
    const TABLES: [&str; 5] = [
        "macs_max = 8000",
        "macs_max = 20000",
        "macs_max = 20000\nmac_table = \"hash\"",
        "macs_max = 9000\nmac_table = \"bucketed\"",
        "macs_max = 8000",
    ];
    let mut rig = Rig::with(TABLES[0]).unwrap();
    if packet_rate {
        switch_on(&mut rig);
    }
    add_macs(&rig, (0..MACS).map(mac));
    let streams = streams(&rig);
    for tables in TABLES.windows(2) {
        flow(&streams);
        let before = rig.agent.daemon().unwrap().pid();
        assert!(rig.agent.daemon().unwrap().terminate(SOON).unwrap().success());
        rig.agent
            .reconfigure(|text| text.replace(&format!("{}\n", tables[0]), &format!("{}\n", tables[1])))
            .unwrap();
        rig.agent.start().unwrap();
        assert_ne!(rig.agent.daemon().unwrap().pid(), before);
        rig.agent.daemon().unwrap().wait_for_log("maps got another size", SOON).unwrap();
        wait_for_macs(&rig, MACS + 2);
        if packet_rate {
            wait_for_packet_rate(&rig);
        }
        flow(&streams);
    }
    check_whole(streams);
    if packet_rate {
        assert_eq!(rig.agent.json(&["port", "show"]).unwrap()[0]["packet_rate"], "on");
    }
}

#[test]
fn macs_that_find_no_room_under_a_seed_find_it_under_the_next_and_no_frame_is_lost() {
    let rig = Rig::with("macs_max = 8000").unwrap();
    add_macs(&rig, (0..MACS).map(mac));
    wait_for_macs(&rig, MACS + 2);
    let streams = streams(&rig);
    flow(&streams);

    let seeded = geometry(&rig);
    let crowd = crowd(&rig);
    add_macs(&rig, (0..MACS).map(mac).chain(crowd));
    wait_for_macs(&rig, MACS + 62);
    flow(&streams);
    check_whole(streams);

    assert_ne!(geometry(&rig), seeded, "the table has its old seed");
    let metrics = rig.agent.metrics().unwrap();
    assert!(metrics.contains("\nvtepd_agent_mac_table_reseeds_total 1\n"), "{metrics}");
    let status = rig.agent.json(&["status"]).unwrap();
    assert!(!status.to_string().contains("kernel_refused"), "{status}");
}

#[test]
fn a_restart_after_a_new_seed_finds_the_same_table() {
    let mut rig = Rig::with("macs_max = 8000").unwrap();
    let first = geometry(&rig);
    add_macs(&rig, crowd(&rig));
    wait_for_macs(&rig, 62);
    let seeded = geometry(&rig);
    assert_ne!(seeded, first);
    rig.agent.daemon().unwrap().signal(Signal::SIGKILL).unwrap();
    rig.agent.daemon().unwrap().wait(SOON).unwrap();
    rig.agent.start().unwrap();
    wait_for_macs(&rig, 62);
    assert_eq!(geometry(&rig), seeded);
    assert!(rig.vm.pings(rig.far.address, 10));
}

/// Both ways.
fn streams(rig: &Rig) -> [Stream; 2] {
    [(&rig.vm, &rig.far), (&rig.far, &rig.vm)].map(|(from, to)| Stream::start(from, to, INTERVAL).unwrap())
}

/// Until both have brought more.
fn flow(streams: &[Stream; 2]) {
    for stream in streams {
        let before = stream.received();
        wait_for("more datagrams", SOON, || (stream.received() > before + 500).then_some(())).unwrap();
    }
}

fn check_whole(streams: [Stream; 2]) {
    for stream in streams {
        let report = stream.finish().unwrap();
        assert_eq!(report.received, report.sent, "{report:?}");
        assert!(report.sent > 1000, "{report:?}");
    }
}

fn wait_for_macs(rig: &Rig, macs: u32) {
    wait_for(&format!("{macs} MACs"), SOON, || {
        (rig.agent.json(&["status"]).ok()?["counts"]["macs"].as_u64()? == u64::from(macs)).then_some(())
    })
    .unwrap_or_else(|error| panic!("{error}: {:?}", rig.agent.json(&["status"])));
}

/// Behind the TOR, beside the VM's there.
fn add_macs(rig: &Rig, macs: impl IntoIterator<Item = MacAddr>) {
    const MARK: &str = "\n# more\n";
    let text = std::fs::read_to_string(rig.agent.table_path()).unwrap();
    let mut text = text.split(MARK).next().unwrap().to_owned() + MARK;
    for mac in macs {
        write!(text, "[[mac]]\nlogical_switch = \"blue\"\nmac = \"{mac}\"\nmaster = \"tor\"\n").unwrap();
    }
    rig.agent.write_table(&text).unwrap();
}

fn mac(number: u32) -> MacAddr {
    let [a, b, c, d] = number.to_be_bytes();
    MacAddr::new([2, 1, a, b, c, d])
}

fn other_mac(number: u32) -> MacAddr {
    let [a, b, c, d] = number.to_be_bytes();
    MacAddr::new([2, 2, a, b, c, d])
}

/// Whoever knows the seed can crowd a few buckets: 60 MACs in room for 40.
fn crowd(rig: &Rig) -> Vec<MacAddr> {
    let geometry = geometry(rig);
    let bd = rig.agent.json(&["vni", "show"]).unwrap()[0]["bridge_domain"].as_u64().unwrap();
    let collides = |mac: &MacAddr| {
        let key = MacKey::new(u32::try_from(bd).unwrap(), mac.octets()).unwrap();
        geometry.buckets_of(key).iter().all(|bucket| *bucket < 10)
    };
    (0..u32::MAX).map(other_mac).filter(collides).take(60).collect()
}

/// Of the pinned table.
fn geometry(rig: &Rig) -> MacTabGeometry {
    let words = Mapped::open::<MacTabControl>(&rig.agent.pins().join("v1/maps").join(map::MACCTL)).unwrap();
    let mut control = MacTabControl::zeroed();
    let to: &mut [u64] = bytemuck::cast_slice_mut(std::slice::from_mut(&mut control));
    for (to, from) in to.iter_mut().zip(words.iter()) {
        *to = from.load(std::sync::atomic::Ordering::Acquire);
    }
    control.geometry
}

/// Packet-rate mode.
fn switch_on(rig: &mut Rig) {
    for vm in [&rig.vm, &rig.far] {
        vm.eth0.set_offload("tx", false).unwrap();
        vm.eth0.set_offload("gro", true).unwrap();
    }
    rig.fabric.set_offload("gro", true).unwrap();
    let edit = |text: String| {
        text.replace("uplinks = [\"uplink\"]", "uplinks = [\"uplink\"]\npacket_rate = [\"uplink\"]")
            .replace("name = \"p1\"", "name = \"p1\"\npacket_rate = true")
    };
    rig.agent.reconfigure(edit).unwrap();
    rig.agent.daemon().unwrap().signal(Signal::SIGHUP).unwrap();
    wait_for_packet_rate(rig);
}

fn wait_for_packet_rate(rig: &Rig) {
    wait_for("packet-rate mode", SOON, || {
        (rig.agent.json(&["port", "show"]).ok()?[0]["packet_rate"] == "on").then_some(())
    })
    .unwrap();
}
