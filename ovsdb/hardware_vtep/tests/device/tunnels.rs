//! Tunnels: the device's rows, what a controller asks for in them, what the device tells of sessions.

use std::collections::BTreeMap;

use crate::device::{Device, OWN, ip, name};
use crate::schema::stock;
use crate::server::Server;
use crate::tunnel_row::add_tunnel;

const PEERS: [&str; 2] = ["192.0.2.11", "192.0.2.12"];

async fn with_peers() -> (Server, Device) {
    let server = Server::start(stock());
    let mut device = Device::observe(&server).await;
    device.desired.tunnels = PEERS.map(|peer| (ip(peer), status("down"))).into();
    device.settle().await;
    (server, device)
}

fn status(state: &str) -> BTreeMap<String, String> {
    [("enabled", "true"), ("state", state)].map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

/// The row that leads there, as `vtep-ctl` wants it.
fn row(device: &Device, peer: &str) -> String {
    let mirror = &device.mirror;
    let leads = |locator| mirror.locators.row(locator).is_some_and(|row| row.dst_ip == peer);
    mirror.tunnels.iter().find(|(_, row)| leads(row.remote)).unwrap().0.to_string()
}

fn asked(device: &Device, peer: &str) -> hardware_vtep::tunnel::TunnelBfd {
    device.view().tunnels[&ip(peer)]
}

#[tokio::test]
async fn each_far_end_has_a_row_of_its_state_and_a_gone_one_has_none() {
    let (server, mut device) = with_peers().await;
    assert_eq!(
        server.ctl(&["--bare", "--columns=bfd_status", "list", "Tunnel"]).matches("state=down").count(),
        2
    );
    for (key, expected) in [("bfd_dst_mac", "00:23:20:00:00:01"), ("bfd_dst_ip", "169.254.1.0")] {
        for peer in PEERS {
            let told =
                server.ctl(&["get", "Tunnel", &row(&device, peer), &format!("bfd_config_local:{key}")]);
            assert_eq!(told.trim().trim_matches('"'), expected, "{peer}");
        }
    }
    device.desired.tunnels.insert(ip(PEERS[0]), status("up"));
    device.settle().await;
    let up = row(&device, PEERS[0]);
    assert!(server.ctl(&["get", "Tunnel", &up, "bfd_status:state"]).contains("up"));
    device.desired.tunnels.clear();
    device.settle().await;
    device.catch_up().await;
    assert_eq!((device.mirror.tunnels.len(), device.mirror.locators.len()), (0, 0));
}

#[tokio::test]
async fn what_a_controller_asks_for_is_read_and_what_is_wrong_is_named() {
    let (server, mut device) = with_peers().await;
    let (first, second) = (row(&device, PEERS[0]), row(&device, PEERS[1]));
    assert_eq!(asked(&device, PEERS[0]).enabled, None);
    server.ctl(&[
        "set",
        "Tunnel",
        &first,
        "bfd_params:enable=true",
        "bfd_params:min_rx=150",
        "bfd_params:cpath_down=true",
        "bfd_params:decay_min_rx=150",
        "bfd_params:forwarding_if_rx=true",
        "bfd_params:check_tnl_key=true",
        "bfd_config_remote:bfd_dst_ip=169.254.7.1",
        "bfd_config_remote:bfd_dst_mac=\"02:00:00:00:00:07\"",
    ]);
    server.ctl(&[
        "set",
        "Tunnel",
        &second,
        "bfd_params:enable=perhaps",
        "bfd_params:min_tx=0",
        "bfd_params:decay_min_rx=500",
        "bfd_params:forwarding_if_rx=1",
    ]);
    device.catch_up().await;
    let bfd = asked(&device, PEERS[0]);
    assert_eq!((bfd.enabled, bfd.min_rx_ms, bfd.min_tx_ms), (Some(true), 150, 100));
    assert!(bfd.cpath_down && bfd.check_tnl_key && bfd.forwarding_if_rx);
    assert_eq!(bfd.decay_min_rx_ms, 150);
    assert_eq!(bfd.dst_ip.unwrap().to_string(), "169.254.7.1");
    assert_eq!(bfd.dst_mac.unwrap().to_string(), "02:00:00:00:00:07");
    assert_eq!(asked(&device, PEERS[1]).enabled, None);
    let refused: Vec<_> = device.view().refusals.iter().map(ToString::to_string).collect();
    for expected in [
        "enable of BFD is \"perhaps\"; expected true or false",
        "min_tx of BFD is \"0\"; expected milliseconds from 1",
        "decay_min_rx of BFD is \"500\"; expected 0, or no less than min_rx",
        "forwarding_if_rx of BFD is \"1\"; expected true or false",
    ] {
        assert!(refused.iter().any(|text| text.contains(expected)), "{expected} in {refused:#?}");
    }
}

#[tokio::test]
async fn a_row_that_somebody_else_made_is_told_of_and_stays() {
    let server = Server::start(stock());
    server.ctl(&["add-ps", "host1", "--", "set", "Physical_Switch", "host1", &format!("tunnel_ips={OWN}")]);
    add_tunnel(&server, "host1", [OWN, PEERS[0]], &["bfd_params:enable=true"]);
    let mut device = Device::observe(&server).await;
    assert_eq!(device.desired.name, name("host1"));
    device.desired.tunnels = BTreeMap::from([(ip(PEERS[0]), status("up"))]);
    device.settle().await;
    assert_eq!(asked(&device, PEERS[0]).enabled, Some(true));
    assert_eq!(device.mirror.tunnels.iter().next().unwrap().1.bfd_status, status("up"));
    device.desired.tunnels.clear();
    device.settle().await;
    device.catch_up().await;
    assert_eq!(device.mirror.tunnels.len(), 1);
}
