//! That the fixtures do what the end-to-end tests take for granted. Needs root.

use std::{net::Ipv4Addr, process::Command, time::Duration};

use anyhow::Result;
use nix::sys::{
    signal::Signal,
    statfs::{BPF_FS_MAGIC, statfs},
};
use vtep_tests::{
    bpffs::Bpffs,
    deadline::wait_for,
    frame::{self, Endpoint},
    lab::{Fabric, RackPlan, Side},
    link::{Link, Vxlan},
    netns::Netns,
    ovsdb::OvsdbServer,
    packet::PacketSocket,
    process::Daemon,
};

const SOON: Duration = Duration::from_secs(20);
/// Long enough for a frame to cross a veth, and for a test to tell that none comes.
const SILENCE: Duration = Duration::from_millis(200);
const PING: &str = "ping -c 3 -i 0.01 -W 2";
const VM: Endpoint = Endpoint::new([2, 0, 0, 0, 0, 1], [10, 0, 0, 1], 1000);
const PEER: Endpoint = Endpoint::new([2, 0, 0, 0, 0, 2], [10, 0, 0, 2], 2000);

fn from_vm(frame: &[u8]) -> bool {
    frame[6..12] == VM.mac.octets()
}

/// Two namespaces, one veth, 192.0.2.1 and 192.0.2.2.
fn pair() -> Result<[Link; 2]> {
    let (one, other) = (Netns::new("one")?, Netns::new("other")?);
    let (one, other) = Link::veth(&one, "eth0", &other, "eth0")?;
    one.add_address("192.0.2.1/24")?;
    other.add_address("192.0.2.2/24")?;
    Ok([one, other])
}

#[test]
fn namespaces_ping_across_a_veth() -> Result<()> {
    let [one, _other] = pair()?;
    one.netns().run(&format!("{PING} 192.0.2.2"))?;
    Ok(())
}

#[test]
fn kernel_vxlan_devices_ping_each_other() -> Result<()> {
    let ends = pair()?;
    for (at, end) in ends.iter().enumerate() {
        let (own, remote) = (at + 1, 2 - at);
        let vxlan = Vxlan::new(100, Ipv4Addr::new(192, 0, 2, u8::try_from(own)?));
        let device = Link::vxlan(end.netns(), "vxlan100", &vxlan)?;
        device.append_fdb("00:00:00:00:00:00".parse()?, Ipv4Addr::new(192, 0, 2, u8::try_from(remote)?))?;
        device.add_address(&format!("10.0.0.{own}/24"))?;
    }
    ends[0].netns().run(&format!("{PING} 10.0.0.2"))?;
    assert!(Link::named(ends[1].netns(), "vxlan100").counters()?.received_packets >= 3);
    Ok(())
}

#[test]
fn a_kernel_vxlan_device_sends_what_the_frame_builder_builds() -> Result<()> {
    let [one, other] = pair()?;
    let vxlan = Vxlan {
        options: "noudpcsum remote 192.0.2.2",
        ..Vxlan::new(0x00ab_cdef, Ipv4Addr::new(192, 0, 2, 1))
    };
    let device = Link::vxlan(one.netns(), "vxlan0", &vxlan)?;
    one.add_neighbour(Ipv4Addr::new(192, 0, 2, 2), other.mac()?)?;
    let wire = PacketSocket::bind(&other)?;
    let inner = frame::udp(VM, PEER, b"to the far end");
    PacketSocket::bind(&device)?.send(&inner)?;

    let received = wire.receive_where(SOON, |frame| frame::decap(frame).is_ok())?.unwrap();
    let (outer, decapped) = frame::decap(&received)?;
    assert_eq!(decapped, inner);
    let built = frame::vxlan(outer.from, outer.to, 0x00ab_cdef, &inner);
    assert_eq!(frame::decap(&built)?.0, frame::Outer { dont_fragment: true, ..outer.clone() });
    assert_eq!((outer.vni, outer.flags, outer.to.mac), (0x00ab_cdef, 8, other.mac()?));
    Ok(())
}

#[test]
fn a_packet_socket_hears_only_what_arrives() -> Result<()> {
    let [one, other] = pair()?;
    let (here, there) = (PacketSocket::bind(&one)?, PacketSocket::bind(&other)?);
    let frame = frame::udp(VM, PEER, b"payload");
    here.send(&frame)?;
    assert_eq!(there.receive_where(SOON, from_vm)?, Some(frame));
    assert_eq!(here.receive_where(Duration::ZERO, from_vm)?, None);
    Ok(())
}

#[test]
fn the_leaving_socket_sees_the_tag_that_an_arriving_frame_had() -> Result<()> {
    let [one, other] = pair()?;
    let (back, _end) = Link::veth(other.netns(), "back0", one.netns(), "back1")?;
    let redirect = "u32 match u32 0 0 action mirred egress redirect dev back0";
    other.netns().run("tc qdisc add dev eth0 ingress")?;
    other.netns().run(&format!("tc filter add dev eth0 parent ffff: protocol all {redirect}"))?;
    let (arriving, leaving) = (PacketSocket::bind(&other)?, PacketSocket::leaving(&back)?);
    let tagged = frame::udp_tagged(VM, PEER, 7, b"payload");
    PacketSocket::bind(&one)?.send(&tagged)?;
    assert_eq!(arriving.receive_where(SOON, from_vm)?, Some(frame::udp(VM, PEER, b"payload")));
    assert_eq!(leaving.receive_where(SOON, from_vm)?, Some(tagged));
    Ok(())
}

#[test]
fn vtep_ctl_writes_to_a_real_server_that_keeps_it_over_a_restart() -> Result<()> {
    let mut server = OvsdbServer::start()?;
    server.vtep_ctl("add-ps host1")?;
    assert_eq!(server.vtep_ctl("list-ps")?, "host1");
    server.restart()?;
    assert_eq!(server.vtep_ctl("list-ps")?, "host1");
    let found = server.transact(&serde_json::json!([
        {"op": "select", "table": "Physical_Switch", "where": [], "columns": ["name"]}
    ]))?;
    assert_eq!(found, serde_json::json!([{"rows": [{"name": "host1"}]}]));
    Ok(())
}

#[test]
fn a_server_listens_inside_a_namespace() -> Result<()> {
    let netns = Netns::new("tor")?;
    let server = OvsdbServer::start_in(&netns, &["ptcp:6640:127.0.0.1"])?;
    server.vtep_ctl("add-ps tor1")?;
    let listed = netns.run("vtep-ctl --db=tcp:127.0.0.1:6640 --timeout=10 list-ps")?;
    assert_eq!(listed.trim(), "tor1");
    Ok(())
}

#[test]
fn a_bpffs_is_seen_inside_a_namespace_and_gone_after_drop() -> Result<()> {
    let netns = Netns::new("host")?;
    let bpffs = Bpffs::new()?;
    let path = bpffs.path().to_owned();
    assert_eq!(statfs(&path)?.filesystem_type(), BPF_FS_MAGIC);
    std::fs::create_dir(path.join("v1"))?;
    netns.run(&format!("test -d {}/v1", path.display()))?;
    drop(bpffs);
    assert!(!path.exists());
    Ok(())
}

#[test]
fn a_namespace_is_gone_with_its_last_clone() -> Result<()> {
    let netns = Netns::new("host")?;
    let (path, clone) = (netns.path(), netns.clone());
    drop(netns);
    assert!(path.exists());
    drop(clone);
    assert!(!path.exists());
    Ok(())
}

#[test]
fn a_rack_host_uses_one_link_and_a_vm_takes_its_own_along() -> Result<()> {
    let mut fabric = Fabric::new()?;
    let rack = RackPlan::new(&mut fabric, [("a", 11), ("b", 12)], &["hx", "hy"])?;
    let (one, other) = (rack.host("hx"), rack.host("hy"));
    let hear = |port: &str, side| PacketSocket::bind(&Link::named(&rack.machine(side).netns, port));
    let [a, b] = [hear("hx", Side::Left)?, hear("hx", Side::Right)?];
    let vm = one.vm(1)?;
    let from_vm = |frame: &[u8]| frame[6..12] == vm.mac.octets();
    let heard = |socket: &PacketSocket| socket.receive_where(SILENCE, from_vm).map(|frame| frame.is_some());

    vm.announce()?;
    assert_eq!([heard(&a)?, heard(&b)?], [true, false]);
    one.use_link(Side::Right)?;
    vm.announce()?;
    assert_eq!([heard(&a)?, heard(&b)?], [false, true]);
    one.announce_over(&vm, Side::Left)?;
    assert_eq!([heard(&a)?, heard(&b)?], [true, false]);

    let elsewhere = hear("hy", Side::Left)?;
    one.migrate(&vm, other)?;
    assert_eq!([heard(&elsewhere)?, heard(&a)?, heard(&b)?], [true, false, false]);
    Ok(())
}

#[test]
fn a_daemon_is_terminated_and_its_log_kept() -> Result<()> {
    let mut command = Command::new("sh");
    command.args(["-c", "echo out; echo err >&2; exec cat /dev/zero > /dev/null"]);
    let mut daemon = Daemon::spawn("talker", &mut command)?;
    daemon.wait_for_log("err", SOON)?;
    assert_eq!(daemon.log()?, "out\nerr\n");
    let status = daemon.terminate(SOON)?;
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(Signal::SIGTERM as i32));
    Ok(())
}

#[test]
fn waiting_for_a_daemon_that_ended_fails_early_with_its_log() -> Result<()> {
    let mut daemon = Daemon::spawn("failer", Command::new("sh").args(["-c", "echo no such table; exit 3"]))?;
    let error = daemon.wait_for("its socket", Duration::from_mins(1), || None::<()>).unwrap_err().to_string();
    assert!(error.contains("failer ended") && error.contains("no such table"), "{error}");
    Ok(())
}

#[test]
fn a_dropped_daemon_does_not_run_on() -> Result<()> {
    let daemon = Daemon::spawn("sleeper", Command::new("sleep").arg("600"))?;
    let process = format!("/proc/{}", daemon.pid());
    drop(daemon);
    wait_for("the end of the process", SOON, || (!std::fs::exists(&process).ok()?).then_some(()))
}
