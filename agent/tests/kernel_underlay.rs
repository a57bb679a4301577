//! Interfaces, routes and neighbours, followed on the running kernel. As root.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;
use vtep_agent::links::{self, Links, Tunnel, TunnelError};
use vtep_agent::netlink::{Netlink, PROTOCOL};
use vtep_agent::underlay::{self, Path, Underlay};
use vtep_api::MacAddr;
use vtep_tests::deadline::wait_for;
use vtep_tests::link::Link;
use vtep_tests::netns::Netns;

/// The kernel says so within milliseconds; a busy machine takes its time.
const PROMPTLY: Duration = Duration::from_secs(20);
/// The kernel's first resolution of a neighbour waits for nothing but the other side.
const RESOLVED: Duration = Duration::from_secs(20);

const HOST: &str = "192.0.2.1";
const NEAR: &str = "192.0.2.2";
const ROUTER: &str = "192.0.2.3";
const FAR: &str = "198.51.100.7";

#[test]
fn a_next_hop_is_resolved_without_traffic_and_kept_so() {
    let lab = Lab::new();
    lab.run(async || {
        let (_targets, mut underlay) = follow([NEAR]).await;
        let path = settled(&mut underlay, RESOLVED, NEAR, |path| path.dst_mac.is_some()).await;
        let expected = Path {
            ifindex: lab.uplink.index().unwrap(),
            src_mac: lab.uplink.mac().unwrap(),
            dst_mac: Some(lab.near.mac().unwrap()),
            mtu: 1500,
            local: Some(address(HOST)),
        };
        assert_eq!(path, expected);
        let neighbours = Netlink::open().unwrap().neighbours().await.unwrap();
        let found = neighbours[&(path.ifindex, address(NEAR))];
        assert!(found.managed && found.protocol == PROTOCOL, "{found:?}");
    });
}

#[test]
fn a_next_hop_of_nobody_is_left_to_the_kernel_again() {
    let lab = Lab::new();
    lab.run(async || {
        let (targets, mut underlay) = follow([NEAR]).await;
        let path = settled(&mut underlay, RESOLVED, NEAR, |path| path.dst_mac.is_some()).await;
        targets.send(BTreeSet::new()).unwrap();
        eventually(&mut underlay, PROMPTLY, |underlay| underlay.paths.is_empty()).await;
        let netlink = Netlink::open().unwrap();
        let found = netlink.neighbours().await.unwrap()[&(path.ifindex, address(NEAR))];
        assert!(!found.managed && found.mac == path.dst_mac, "resolved still, but not kept so: {found:?}");
    });
}

#[test]
fn whoever_leaves_releases_the_next_hops_that_we_keep_and_no_others() {
    let lab = Lab::new();
    lab.host.ip(&format!("neigh add {ROUTER} dev up0 managed")).unwrap();
    lab.run(async || {
        let (targets, mut underlay) = follow([NEAR]).await;
        let path = settled(&mut underlay, RESOLVED, NEAR, |path| path.dst_mac.is_some()).await;
        drop((targets, underlay));
        assert_eq!(underlay::release().await.unwrap(), 1);
        let neighbours = Netlink::open().unwrap().neighbours().await.unwrap();
        assert!(!neighbours[&(path.ifindex, address(NEAR))].managed);
        assert!(neighbours[&(path.ifindex, address(ROUTER))].managed, "the operator's");
        assert_eq!(underlay::release().await.unwrap(), 0);
    });
}

#[test]
fn an_address_without_a_route_has_no_path_until_there_is_one() {
    let lab = Lab::new();
    lab.run(async || {
        let (_targets, mut underlay) = follow([FAR, NEAR]).await;
        assert!(!underlay.borrow().paths.contains_key(&address(FAR)));
        lab.host.ip(&format!("route add 198.51.100.0/24 via {ROUTER}")).unwrap();
        let router = lab.near.mac().unwrap();
        settled(&mut underlay, RESOLVED, FAR, |path| path.dst_mac == Some(router)).await;
        lab.host.ip("route del 198.51.100.0/24").unwrap();
        eventually(&mut underlay, PROMPTLY, |underlay| !underlay.paths.contains_key(&address(FAR))).await;
        assert!(underlay.borrow().paths.contains_key(&address(NEAR)));
    });
}

#[test]
fn a_changed_route_is_followed() {
    let lab = Lab::new();
    let (other, _) = Link::veth(&lab.host, "up1", &lab.router, "down1").unwrap();
    lab.host.ip("addr add 203.0.113.1/24 dev up1").unwrap();
    lab.router.ip("addr add 203.0.113.3/24 dev down1").unwrap();
    lab.run(async || {
        lab.host.ip(&format!("route add {FAR} via {ROUTER}")).unwrap();
        let (_targets, mut underlay) = follow([FAR]).await;
        settled(&mut underlay, RESOLVED, FAR, |path| path.dst_mac.is_some()).await;
        lab.host.ip(&format!("route replace {FAR} via 203.0.113.3")).unwrap();
        let index = other.index().unwrap();
        settled(&mut underlay, PROMPTLY, FAR, |path| path.ifindex == index).await;
        lab.host.ip("link set up1 down").unwrap();
        eventually(&mut underlay, PROMPTLY, |underlay| underlay.paths.is_empty()).await;
    });
}

#[test]
fn the_mtu_of_a_route_and_of_its_interface_is_followed() {
    let lab = Lab::new();
    lab.run(async || {
        let (_targets, mut underlay) = follow([NEAR]).await;
        lab.host.ip(&format!("route add {NEAR} dev up0 mtu 1400")).unwrap();
        settled(&mut underlay, PROMPTLY, NEAR, |path| path.mtu == 1400).await;
        lab.host.ip("link set up0 mtu 1300").unwrap();
        settled(&mut underlay, PROMPTLY, NEAR, |path| path.mtu == 1300).await;
    });
}

#[test]
fn a_next_hop_that_changes_its_address_is_followed() {
    let lab = Lab::new();
    lab.run(async || {
        let (_targets, mut underlay) = follow([NEAR]).await;
        settled(&mut underlay, RESOLVED, NEAR, |path| path.dst_mac.is_some()).await;
        lab.near.netns().ip("link set down0 address 02:00:00:00:00:77").unwrap();
        // The new address is announced by the first packet.
        lab.near.netns().run(&format!("ping -c 1 -W 2 {HOST}")).unwrap();
        let new = MacAddr::new([2, 0, 0, 0, 0, 0x77]);
        settled(&mut underlay, PROMPTLY, NEAR, |path| path.dst_mac == Some(new)).await;
    });
}

#[test]
fn an_entry_that_the_operator_made_is_used_and_left_alone() {
    let lab = Lab::new();
    let shown = || lab.host.ip(&format!("neigh show {NEAR}")).unwrap();
    lab.host.ip(&format!("neigh add {NEAR} lladdr 02:00:00:00:00:99 dev up0 nud permanent")).unwrap();
    let before = shown();
    lab.run(async || {
        let (targets, underlay) = follow([NEAR]).await;
        let path = underlay.borrow().paths[&address(NEAR)].clone();
        assert_eq!(path.dst_mac, Some(MacAddr::new([2, 0, 0, 0, 0, 0x99])));
        targets.send(BTreeSet::new()).unwrap();
        let mut underlay = underlay;
        eventually(&mut underlay, PROMPTLY, |underlay| underlay.paths.is_empty()).await;
    });
    assert_eq!(shown(), before);
}

#[test]
fn an_address_that_is_not_ours_has_no_paths() {
    let lab = Lab::new();
    lab.run(async || {
        let (_targets, targets) = watch::channel(BTreeSet::from([address(NEAR)]));
        let mut underlay = underlay::watch(vec![address("192.0.2.9")], targets).await.unwrap();
        assert!(underlay.borrow().paths.is_empty());
        lab.host.ip("addr add 192.0.2.9/24 dev up0").unwrap();
        settled(&mut underlay, PROMPTLY, NEAR, |path| path.local == Some(address("192.0.2.9"))).await;
    });
}

#[test]
fn notices_that_were_lost_are_made_up_for() {
    let lab = Lab::new();
    lab.run(async || {
        let mut links = links::watch().await.unwrap();
        let (_targets, mut underlay) = follow([FAR]).await;
        // The one thread of the runtime does not read meanwhile, and the sockets overflow.
        let batch = (0..4000).fold(String::new(), |batch, n| {
            batch
                + &format!(
                    "link set up0 alias a{n}\nroute replace 198.18.{}.0/24 dev up0 metric {n}\n",
                    n % 250
                )
        });
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), batch).unwrap();
        lab.host.ip(&format!("-batch {}", file.path().display())).unwrap();
        lab.host.ip("link add last0 type bridge").unwrap();
        lab.host.ip(&format!("route add {FAR} via {ROUTER}")).unwrap();
        eventually(&mut underlay, RESOLVED, |underlay| underlay.paths.contains_key(&address(FAR))).await;
        eventually(&mut links, RESOLVED, |links| links.by_name.contains_key("last0")).await;
    });
}

#[test]
fn an_interface_that_comes_back_is_seen_as_another() {
    let lab = Lab::new();
    lab.run(async || {
        let mut links = links::watch().await.unwrap();
        let first = links.borrow().by_name["up0"].ifindex;
        assert_eq!(links.borrow().by_index(first).map(|(name, _)| name.to_owned()).as_deref(), Some("up0"));
        lab.host.ip("link del up0").unwrap();
        lab.host.ip("link add up0 type bridge").unwrap();
        let is_new =
            |links: &Links| links.by_name.get("up0").is_some_and(|link| link.ifindex != first && !link.up);
        eventually(&mut links, PROMPTLY, is_new).await;
        lab.host.ip("link set up0 up").unwrap();
        eventually(&mut links, PROMPTLY, |links: &Links| links.by_name["up0"].up).await;
    });
}

#[test]
fn a_tunnel_device_is_made_once_and_removed_by_its_maker() {
    let lab = Lab::new();
    let tunnel = tunnel(4789);
    lab.run(async || {
        let made = tunnel.ensure().await.unwrap();
        assert!(made.up && made.mtu > 65_000, "{made:?}");
        assert_eq!(tunnel.ensure().await.unwrap().ifindex, made.ifindex, "the second time it is adopted");
        assert!(tunnel.remove().await.unwrap());
        assert!(!tunnel.remove().await.unwrap());
    });
}

#[test]
fn a_tunnel_device_of_ours_follows_its_port() {
    let lab = Lab::new();
    lab.run(async || {
        let first = tunnel(4789).ensure().await.unwrap();
        let second = tunnel(4790).ensure().await.unwrap();
        assert_ne!(second.ifindex, first.ifindex);
        assert!(second.up && second.vxlan.is_some_and(|vxlan| vxlan.udp_port == 4790), "{second:?}");
        assert!(tunnel(4790).remove().await.unwrap(), "the new one is ours too");
    });
}

#[test]
fn a_foreign_tunnel_device_is_adopted_but_not_removed() {
    let lab = Lab::new();
    lab.host.ip("link add vtepd-vxlan type vxlan external dstport 4789").unwrap();
    lab.run(async || {
        assert!(tunnel(4789).ensure().await.unwrap().up);
        assert!(!tunnel(4789).remove().await.unwrap());
    });
    lab.host.ip("link show vtepd-vxlan").unwrap();
}

#[test]
fn a_device_of_the_tunnel_s_name_and_another_kind_is_not_touched() {
    #[track_caller]
    fn check(kind: &str, expected: &str) {
        let lab = Lab::new();
        lab.host.ip(&format!("link add vtepd-vxlan type {kind}")).unwrap();
        lab.run(async || {
            let error = tunnel(4789).ensure().await.unwrap_err();
            let expected = format!(
                "interface vtepd-vxlan is {expected}, expected a VXLAN device with external control on UDP port 4789; \
                 it was not touched"
            );
            assert_eq!(error.to_string(), expected);
        });
        assert!(!lab.host.ip("link show vtepd-vxlan").unwrap().contains("UP"));
    }
    check("bridge", "a bridge device");
    check("vxlan id 7 dstport 4789", "one without external control");
    check("vxlan external dstport 4790", "one on port 4790");
}

#[test]
fn whoever_holds_the_tunnel_s_port_is_named() {
    let lab = Lab::new();
    Link::add(&lab.host, "theirs", "type vxlan id 7 dstport 4789").unwrap();
    lab.run(async || {
        let error = tunnel(4789).ensure().await.unwrap_err();
        assert_eq!(error.to_string(), "UDP port 4789 is taken by VXLAN device theirs");
        let _socket = UdpSocket::bind("0.0.0.0:4791").unwrap();
        let error = tunnel(4791).ensure().await.unwrap_err();
        assert!(matches!(error, TunnelError::PortTaken { udp_port: 4791, by: None }), "{error}");
        let links = Netlink::open().unwrap().links().await.unwrap();
        assert!(!links.contains_key("vtepd-vxlan"), "a device that cannot be used is not left behind");
    });
}

#[test]
fn reserved_bits_of_a_vxlan_header_are_ignored() {
    let lab = Lab::new();
    lab.run(async || {
        tunnel(4789).ensure().await.unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        for header in [[0x08, 0, 0, 0, 0, 0, 100, 0], [0xf7 | 0x08, 0xff, 0xff, 0xff, 0, 0, 100, 0xff]] {
            // A broadcast of an experimental EtherType.
            let mut inner = [0; 60];
            inner[..14].copy_from_slice(&[255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 9, 0x88, 0xb5]);
            let before = received();
            socket.send_to(&[&header[..], &inner].concat(), "127.0.0.1:4789").unwrap();
            let came = wait_for("the frame", PROMPTLY, || (received() == before + 1).then_some(()));
            assert!(came.is_ok(), "{header:02x?}");
        }
    });
}

/// A host with an uplink to a neighbour, which is a router too.
struct Lab {
    host: Netns,
    router: Netns,
    uplink: Link,
    near: Link,
}

impl Lab {
    fn new() -> Self {
        let (host, router) = (Netns::new("host").unwrap(), Netns::new("router").unwrap());
        let (uplink, near) = Link::veth(&host, "up0", &router, "down0").unwrap();
        host.ip(&format!("addr add {HOST}/24 dev up0")).unwrap();
        router.ip(&format!("addr add {NEAR}/24 dev down0")).unwrap();
        router.ip(&format!("addr add {ROUTER}/24 dev down0")).unwrap();
        Self { host, router, uplink, near }
    }

    /// On one thread inside the host.
    fn run<F: Future<Output = ()>>(&self, test: impl FnOnce() -> F + Send) {
        let run = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(test());
        };
        self.host.within(run).unwrap();
    }
}

fn tunnel(udp_port: u16) -> Tunnel {
    Tunnel { name: "vtepd-vxlan".to_owned(), udp_port, source_ports: (49152, 65535) }
}

/// Frames that the device has delivered. Of the network namespace that the thread is in.
fn received() -> u64 {
    let devices = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let line = devices.lines().find_map(|line| line.trim_start().strip_prefix("vtepd-vxlan:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn address(text: &str) -> IpAddr {
    text.parse::<Ipv4Addr>().unwrap().into()
}

async fn follow<const N: usize>(
    targets: [&str; N],
) -> (watch::Sender<BTreeSet<IpAddr>>, watch::Receiver<Underlay>) {
    let (sender, targets) = watch::channel(targets.into_iter().map(address).collect());
    (sender, underlay::watch(vec![address(HOST)], targets).await.unwrap())
}

async fn settled(
    underlay: &mut watch::Receiver<Underlay>,
    within: Duration,
    target: &str,
    condition: impl Fn(&Path) -> bool,
) -> Path {
    let target = address(target);
    eventually(underlay, within, |underlay| underlay.paths.get(&target).is_some_and(&condition)).await;
    underlay.borrow().paths[&target].clone()
}

async fn eventually<T: std::fmt::Debug>(
    watched: &mut watch::Receiver<T>,
    within: Duration,
    condition: impl Fn(&T) -> bool,
) {
    let came = timeout(within, watched.wait_for(|value| condition(value))).await.is_ok();
    assert!(came, "it did not come to be within {within:?}; there is {:?}", watched.borrow());
}
