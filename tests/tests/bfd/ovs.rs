//! BFD inside VXLAN, with Open vSwitch as the peer.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use vtep_tests::{
    deadline::wait_for,
    lab::{
        Agent, AgentConfig, AgentSource, Fabric, Vm,
        rig::{SOON, VNI, binding, network, table},
    },
    ovs::Ovs,
};

#[test]
fn a_session_inside_a_tunnel_with_open_vswitch_outlives_its_agent() {
    check(false);
}

#[test]
fn a_session_inside_a_tunnel_over_ipv6_with_open_vswitch_outlives_its_agent() {
    check(true);
}

fn check(ipv6: bool) {
    let mut fabric = Fabric::new().unwrap();
    let host = fabric.machine("host", 1).unwrap();
    let tor = fabric.machine("ovs", 11).unwrap();
    // Open vSwitch verifies checksums, which a veth leaves for a device to compute.
    host.uplink.set_offload("tx", false).unwrap();
    let (vm, _) = Vm::new(&host.netns, "p1", 1).unwrap();
    let ovs = Ovs::start(&tor).unwrap();
    let (ours, theirs): (IpAddr, IpAddr) = if ipv6 {
        let theirs = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 11);
        ovs.add_ipv6(theirs).unwrap();
        (host.add_ipv6(1).unwrap().into(), theirs.into())
    } else {
        (host.address.into(), tor.address.into())
    };
    let timers = ["enable=true", "min_tx=100", "min_rx=100"];
    ovs.add_tunnel(VNI, theirs, ours, &timers).unwrap();

    let rest = format!("{}{}", network("blue", VNI, &["ovs"]), binding("p1", 0, "blue"));
    let macs = format!("macs = [\"{}\"]", vm.mac);
    let config = AgentConfig {
        name: "host",
        source: AgentSource::Table(
            table(&[("ovs", 11)], &rest).replace("\"192.0.2.11\"", &format!("\"{theirs}\"")),
        ),
        ports: vec![("p1", &macs)],
        dataplane: "macs_max = 1000",
    };
    let mut agent = Agent::new(&host, &config).unwrap();
    let section = format!(
        "\n[bfd]\ntransport = \"vxlan\"\nmin_tx_ms = 100\nmin_rx_ms = 100\n[[bfd.vtep]]\nname = \"ovs\"\nenabled = true\nvni = {VNI}\n"
    );
    agent.reconfigure(|text| text.replace("\"192.0.2.1\"", &format!("\"{ours}\"")) + &section).unwrap();
    agent.start().unwrap();
    let session = |agent: &Agent| agent.row(&["bfd", "show", "ovs"]);
    let up = |agent: &Agent| {
        wait_for("the session", SOON, || {
            let session = session(agent)?;
            (session["state"] == "up" && session["heard"].as_u64()? > 5).then_some(session)
        })
        .unwrap_or_else(|error| panic!("{error}: {:?}, {:?}", session(agent), ovs.bfd_status("diagnostic")))
    };
    up(&agent);
    wait_for("their word", SOON, || (ovs.bfd_status("forwarding").ok()? == "true").then_some(())).unwrap();
    assert_eq!(
        (ovs.bfd_status("state").unwrap(), ovs.bfd_status("remote_state").unwrap()),
        ("up".into(), "up".into())
    );
    let flaps = ovs.bfd_status("flap_count").unwrap();

    agent.daemon().unwrap().kill().unwrap();
    // Many detection times.
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(ovs.bfd_status("state").unwrap(), "up", "the programs answer");
    agent.start().unwrap();
    let session = up(&agent);
    assert!(session["answered"].as_u64().unwrap() > 5, "{session}");
    assert_eq!((&session["failures"], &session["expired"]), (&0.into(), &0.into()), "{session}");
    assert_eq!(ovs.bfd_status("flap_count").unwrap(), flaps);

    ovs.vsctl("set interface vx0 bfd:enable=false").unwrap();
    wait_for("silence", SOON, || {
        let rows = agent.json(&["vtep", "show", "ovs"]).ok()?;
        (rows.as_array()?[0]["suspect"] == true).then_some(())
    })
    .unwrap();
}
