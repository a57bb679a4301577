//! The way to every remote VTEP: interface, next hop and MTU, as the kernel's routes and neighbours have it.
//!
//! The kernel is asked to resolve next hops and to keep them resolved. Entries that somebody else configured are read
//! and left alone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use tokio::sync::watch;
use tracing::{debug, warn};
use vtep_api::MacAddr;

use crate::netlink::{Changes, Group, Link, Neighbours, Netlink, NetlinkError, PROTOCOL, Route};

const GROUPS: [Group; 9] = [
    Group::Link,
    Group::Neigh,
    Group::Ipv4Ifaddr,
    Group::Ipv4Route,
    Group::Ipv4Rule,
    Group::Ipv6Ifaddr,
    Group::Ipv6Route,
    Group::Ipv6Rule,
    Group::Nexthop,
];
/// A burst of notices is one change.
const SETTLE: Duration = Duration::from_millis(10);
/// A path MTU is learnt and expires without a notice.
const REREAD: Duration = Duration::from_secs(30);
const RETRY: Duration = Duration::from_secs(1);

/// The ways that exist. A target without one has no route.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Underlay {
    /// What was looked up. Of other addresses it is not known that they have no route.
    pub targets: BTreeSet<IpAddr>,
    pub paths: BTreeMap<IpAddr, Path>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    pub ifindex: u32,
    /// Of the interface.
    pub src_mac: MacAddr,
    /// Of the next hop; none as long as it is unresolved.
    pub dst_mac: Option<MacAddr>,
    /// Largest IP packet on the way.
    pub mtu: u32,
    /// The source that the kernel would choose, or was given.
    pub local: Option<IpAddr>,
}

/// Follows the ways to `targets`, from the one of `locals` that is of the same family, until nobody watches. The first state has been read when this returns.
pub async fn watch(
    locals: Vec<IpAddr>,
    targets: watch::Receiver<BTreeSet<IpAddr>>,
) -> Result<watch::Receiver<Underlay>, NetlinkError> {
    let mut follower = Follower { sockets: Sockets::open()?, locals, targets };
    let (sender, receiver) = watch::channel(follower.read().await?);
    tokio::spawn(async move {
        loop {
            let result = tokio::select! {
                () = sender.closed() => return,
                result = follower.changed() => result,
            };
            let result = match result {
                Ok(()) => follower.publish(&sender).await,
                Err(error) => Err(error),
            };
            if let Err(error) = result {
                warn!(error = &error as &dyn std::error::Error, "the underlay is not followed");
                tokio::time::sleep(RETRY).await;
                if let Ok(fresh) = Sockets::open() {
                    follower.sockets = fresh;
                    follower.publish(&sender).await.ok();
                }
            }
        }
    });
    Ok(receiver)
}

/// Leaves every next hop to the kernel again, for a host on which nobody watches. Returns how many we kept resolved.
pub async fn release() -> Result<usize, NetlinkError> {
    let netlink = Netlink::open()?;
    let neighbours = netlink.neighbours().await?;
    let mut released = 0;
    for (ifindex, address) in ours(&neighbours) {
        match netlink.manage(ifindex, address, false).await {
            Ok(()) => released += 1,
            Err(error) => {
                debug!(ifindex, %address, error = &error as &dyn std::error::Error, "a next hop is still kept fresh");
            }
        }
    }
    Ok(released)
}

struct Follower {
    sockets: Sockets,
    locals: Vec<IpAddr>,
    targets: watch::Receiver<BTreeSet<IpAddr>>,
}

struct Sockets {
    changes: Changes,
    netlink: Netlink,
}

impl Sockets {
    /// Listens before it reads, so that no change falls between.
    fn open() -> Result<Self, NetlinkError> {
        Ok(Self { changes: Changes::open(&GROUPS)?, netlink: Netlink::open()? })
    }
}

impl Follower {
    /// Waits for a hint.
    async fn changed(&mut self) -> Result<(), NetlinkError> {
        tokio::select! {
            result = self.sockets.changes.changed() => {
                result.map_err(NetlinkError::Open)?;
                tokio::time::sleep(SETTLE).await;
            }
            Ok(()) = self.targets.changed() => {}
            () = tokio::time::sleep(REREAD) => {}
        }
        Ok(())
    }

    async fn publish(&mut self, sender: &watch::Sender<Underlay>) -> Result<(), NetlinkError> {
        let underlay = self.read().await?;
        sender.send_if_modified(|last| {
            let changed = *last != underlay;
            *last = underlay;
            changed
        });
        Ok(())
    }

    fn local(&self, target: IpAddr) -> Option<IpAddr> {
        self.locals.iter().copied().find(|local| local.is_ipv4() == target.is_ipv4())
    }

    async fn read(&mut self) -> Result<Underlay, NetlinkError> {
        let netlink = &self.sockets.netlink;
        let targets = self.targets.borrow_and_update().clone();
        let mut routes = BTreeMap::new();
        for &target in &targets {
            if let Some(route) = netlink.route(target, self.local(target)).await? {
                routes.insert(target, route);
            }
        }
        let links: BTreeMap<u32, Link> =
            netlink.links().await?.into_values().map(|link| (link.ifindex, link)).collect();
        let neighbours = netlink.neighbours().await?;
        let (resolve, release) = upkeep(&routes, &links, &neighbours);
        for (managed, hops) in [(true, resolve), (false, release)] {
            for (ifindex, address) in hops {
                // A device that is just going down refuses; the notice of that brings us here again.
                if let Err(error) = netlink.manage(ifindex, address, managed).await {
                    debug!(ifindex, %address, error = &error as &dyn std::error::Error, "a next hop is not kept fresh");
                }
            }
        }
        Ok(Underlay { targets, paths: paths(&routes, &links, &neighbours, |target| self.local(target)) })
    }
}

fn paths(
    routes: &BTreeMap<IpAddr, Route>,
    links: &BTreeMap<u32, Link>,
    neighbours: &Neighbours,
    local: impl Fn(IpAddr) -> Option<IpAddr>,
) -> BTreeMap<IpAddr, Path> {
    let path = |target: IpAddr, route: &Route| {
        let link = links.get(&route.ifindex)?;
        Some(Path {
            ifindex: route.ifindex,
            src_mac: link.mac?,
            dst_mac: neighbours.get(&(route.ifindex, route.next_hop)).and_then(|neighbour| neighbour.mac),
            mtu: route.mtu.map_or(link.mtu, |mtu| mtu.min(link.mtu)),
            local: local(target).or(route.source),
        })
    };
    routes.iter().filter_map(|(target, route)| Some((*target, path(*target, route)?))).collect()
}

type Hops = BTreeSet<(u32, IpAddr)>;

/// Next hops that the kernel is to keep resolved, and those that it need not any more. Only entries that the kernel or
/// we made are among them.
fn upkeep(
    routes: &BTreeMap<IpAddr, Route>,
    links: &BTreeMap<u32, Link>,
    neighbours: &Neighbours,
) -> (Hops, Hops) {
    let resolvable = |ifindex: u32| links.get(&ifindex).is_some_and(|link| link.up && !link.no_arp);
    let wanted: Hops = routes
        .values()
        .map(|route| (route.ifindex, route.next_hop))
        .filter(|(ifindex, _)| resolvable(*ifindex))
        .collect();
    let is_free = |hop: &(u32, IpAddr)| {
        neighbours
            .get(hop)
            .is_none_or(|found| !found.fixed && !found.managed && [0, PROTOCOL].contains(&found.protocol))
    };
    let resolve = wanted.iter().copied().filter(is_free).collect();
    let release = ours(neighbours).filter(|hop| !wanted.contains(hop)).collect();
    (resolve, release)
}

fn ours(neighbours: &Neighbours) -> impl Iterator<Item = (u32, IpAddr)> {
    let ours = neighbours.iter().filter(|(_, found)| found.managed && found.protocol == PROTOCOL);
    ours.map(|(hop, _)| *hop)
}
