//! A thin layer over rtnetlink: the one file that knows its messages. Everything above sees the types below.
//!
//! An event is only a hint. [`Changes`] says that something changed, or that the kernel dropped notices because the
//! socket was full, and the listener reads everything again: one path for both.

mod construct;
mod far_end;
mod standing;

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::IpAddr;

use futures_util::{Stream, TryStreamExt};
use netlink_packet_route::link::{InfoData, InfoVxlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteProtocol, RouteType, RouteVia,
};
use rtnetlink::sys::protocols::{NETLINK_GENERIC, NETLINK_ROUTE};
use rtnetlink::sys::{Socket, SocketAddr};
use rtnetlink::{Handle, LinkUnspec, LinkVxlan, RouteMessageBuilder};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use vtep_api::MacAddr;

pub use construct::{End, FarVxlan};
pub use rtnetlink::MulticastGroup as Group;
pub use standing::{Filter, Standing, Xdp};

use crate::genetlink::{Genetlink, GenetlinkError};

/// Who owns a neighbour entry (`NDA_PROTOCOL`): a number that no daemon in iproute2's `rt_protos` has.
pub const PROTOCOL: u8 = 118;

#[derive(Debug, thiserror::Error)]
pub enum NetlinkError {
    #[error("a netlink socket cannot be opened")]
    Open(#[source] io::Error),
    #[error("{what} failed")]
    Request { what: &'static str, source: rtnetlink::Error },
}

/// A socket for requests, in the network namespace of the thread that opened it.
#[derive(Debug, Clone)]
pub struct Netlink {
    handle: Handle,
}

/// A network interface.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag or an attribute of the kernel's")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub ifindex: u32,
    /// None where the interface has no Ethernet address.
    pub mac: Option<MacAddr>,
    pub mtu: u32,
    /// As the operator wants it.
    pub up: bool,
    pub carrier: bool,
    /// Its neighbours are never resolved.
    pub no_arp: bool,
    /// `veth`, `vxlan` and so on; none for hardware.
    pub kind: Option<String>,
    pub alias: Option<String>,
    pub vxlan: Option<Vxlan>,
    /// The interface below it, or a veth's other end, if that is in the same network namespace.
    pub below: Option<u32>,
    /// That is in another network namespace.
    pub is_elsewhere: bool,
    /// The queueing discipline of what it sends.
    pub qdisc: Option<String>,
    /// Whether the holder of a tap gives and takes super-frames; none for other kinds.
    pub vnet_header: Option<bool>,
    /// Takes frames to any MAC, and of any group.
    pub promiscuous: bool,
}

impl Link {
    /// Whether it takes frames to the MACs of others: the VMs and hosts that a port stands for, and those that these send to.
    /// None: it filters nothing.
    pub fn takes_others(&self) -> Option<bool> {
        match self.kind.as_deref() {
            // What their other end or holder sends is taken as it is.
            Some("veth" | "tun") => None,
            _ => Some(self.promiscuous),
        }
    }
}

#[cfg(test)]
impl Link {
    /// Interface 7, up, with nothing beneath it.
    pub(crate) fn of_kind(kind: Option<&str>, mtu: u32) -> Self {
        Self {
            ifindex: 7,
            mac: None,
            mtu,
            up: true,
            carrier: true,
            no_arp: false,
            kind: kind.map(str::to_owned),
            alias: None,
            vxlan: None,
            below: None,
            is_elsewhere: false,
            qdisc: None,
            vnet_header: None,
            promiscuous: false,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vxlan {
    pub udp_port: u16,
    pub collect_metadata: bool,
    /// Of UDP, first and last.
    pub source_ports: (u16, u16),
    /// Takes packets over IPv6 without a UDP checksum.
    pub zero_checksum6: bool,
}

/// What the kernel answers when it is asked for the way to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    pub ifindex: u32,
    /// The gateway, or the address itself.
    pub next_hop: IpAddr,
    /// The source the kernel would choose.
    pub source: Option<IpAddr>,
    /// Of the route, or found by path MTU discovery.
    pub mtu: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbour {
    /// None as long as it is unresolved or after it failed.
    pub mac: Option<MacAddr>,
    /// The kernel keeps the entry fresh.
    pub managed: bool,
    /// Somebody configured the entry, or it needs no resolution.
    pub fixed: bool,
    /// `NDA_PROTOCOL`, 0 for what the kernel made itself.
    pub protocol: u8,
}

/// Interface and address.
pub type Neighbours = BTreeMap<(u32, IpAddr), Neighbour>;

impl Netlink {
    /// In a runtime, on which the socket is served.
    pub fn open() -> Result<Self, NetlinkError> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(NetlinkError::Open)?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    pub async fn links(&self) -> Result<BTreeMap<String, Link>, NetlinkError> {
        let messages = collect("reading interfaces", self.handle.link().get().execute()).await?;
        Ok(messages.into_iter().filter_map(link).collect())
    }

    /// None if no route leads there, or if `source` is none of the host's addresses.
    pub async fn route(&self, to: IpAddr, source: Option<IpAddr>) -> Result<Option<Route>, NetlinkError> {
        let answers = self.handle.route().get(route_query(to, source)).execute();
        match collect("looking up a route", answers).await {
            Ok(messages) => Ok(messages.into_iter().next().and_then(|message| route(to, message))),
            Err(error) if error.is_unreachable() => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub async fn neighbours(&self) -> Result<Neighbours, NetlinkError> {
        let messages = collect("reading neighbours", self.handle.neighbours().get().execute()).await?;
        Ok(messages.into_iter().filter_map(neighbour).collect())
    }

    /// Has the kernel resolve a neighbour and keep it resolved (`NTF_EXT_MANAGED`), or leaves it to itself again.
    pub async fn manage(&self, ifindex: u32, address: IpAddr, managed: bool) -> Result<(), NetlinkError> {
        let mut request =
            self.handle.neighbours().add(ifindex, address).replace().state(NeighbourState::None);
        let flags = if managed { NeighbourFlags::empty() } else { NeighbourFlags::Use };
        let message = request.message_mut();
        message.header.flags = flags;
        message.attributes.push(NeighbourAttribute::Protocol(RouteProtocol::from(PROTOCOL)));
        if managed {
            message.attributes.push(NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed));
        }
        finish("resolving a neighbour", request.execute()).await
    }

    /// A VXLAN device that takes and gives its tunnel's addresses per packet, down.
    pub async fn add_vxlan(
        &self,
        name: &str,
        udp_port: u16,
        source_ports: (u16, u16),
        mtu: u32,
    ) -> Result<(), NetlinkError> {
        // RFC 7348 section 5: reserved bits are ignored on receipt. The kernel drops frames that set one of
        // `reserved_bits`, from Linux 6.14 on; an older one ignores the attribute and drops frames that set any.
        let device = LinkVxlan::new(name, 0)
            .port(udp_port)
            .collect_metadata(true)
            .port_range(source_ports.0, source_ports.1)
            .udp_zero_csum6_rx(true)
            .learning(false)
            .reserved_bits(0)
            .mtu(mtu);
        finish("adding a VXLAN device", self.handle.link().add(device.build()).execute()).await
    }

    pub async fn set_alias(&self, ifindex: u32, alias: &str) -> Result<(), NetlinkError> {
        let aliased = LinkUnspec::new_with_index(ifindex).alias(alias).build();
        finish("naming an interface", self.handle.link().set(aliased).execute()).await
    }

    pub async fn set_up(&self, ifindex: u32) -> Result<(), NetlinkError> {
        let up = LinkUnspec::new_with_index(ifindex).up().build();
        finish("setting an interface up", self.handle.link().set(up).execute()).await
    }

    pub async fn remove_link(&self, ifindex: u32) -> Result<(), NetlinkError> {
        finish("removing an interface", self.handle.link().del(ifindex).execute()).await
    }
}

impl NetlinkError {
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Open(error) => error.raw_os_error(),
            Self::Request { source: rtnetlink::Error::NetlinkError(message), .. } => {
                message.code.map(|code| -code.get())
            }
            Self::Request { .. } => None,
        }
    }

    /// What the kernel answers for unreachable, prohibit and blackhole routes, and for a source that is not ours.
    fn is_unreachable(&self) -> bool {
        matches!(self.errno(), Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EACCES | libc::EINVAL))
    }
}

/// Notices of changes.
#[derive(Debug)]
pub struct Changes {
    socket: AsyncFd<Socket>,
}

impl Changes {
    /// In the network namespace of the calling thread, in a runtime.
    pub fn open(groups: &[Group]) -> Result<Self, NetlinkError> {
        let groups: Vec<u32> = groups.iter().map(|group| *group as u32).collect();
        Self::of(NETLINK_ROUTE, &groups)
    }

    /// Of what drivers can do with XDP.
    pub fn of_xdp() -> Result<Self, GenetlinkError> {
        let group = Genetlink::open()?.xdp_notices()?;
        Self::of(NETLINK_GENERIC, &[group]).map_err(|error| match error {
            NetlinkError::Open(source) => GenetlinkError::Socket(source),
            NetlinkError::Request { what, source } => {
                GenetlinkError::Refused { what, source: io::Error::other(source) }
            }
        })
    }

    #[expect(
        deprecated,
        reason = "its successor asks for unsafe code; a socket keeps its descriptor until it is dropped"
    )]
    fn of(protocol: isize, groups: &[u32]) -> Result<Self, NetlinkError> {
        let open = || {
            let mut socket = Socket::new(protocol)?;
            socket.set_non_blocking(true)?;
            socket.bind(&SocketAddr::new(0, 0))?;
            for group in groups {
                socket.add_membership(*group)?;
            }
            AsyncFd::with_interest(socket, Interest::READABLE)
        };
        Ok(Self { socket: open().map_err(NetlinkError::Open)? })
    }

    /// Returns after at least one change, and forgets all up to then.
    pub async fn changed(&mut self) -> io::Result<()> {
        let mut notice = Vec::with_capacity(64);
        loop {
            let mut guard = self.socket.readable().await?;
            let mut any = false;
            loop {
                notice.clear();
                match guard.try_io(|socket| socket.get_ref().recv(&mut notice, libc::MSG_TRUNC)) {
                    Ok(Ok(_)) => any = true,
                    // Notices were dropped (netlink(7)): that something changed is all that is asked.
                    Ok(Err(error)) if error.raw_os_error() == Some(libc::ENOBUFS) => any = true,
                    Ok(Err(error)) => return Err(error),
                    Err(_would_block) => break,
                }
            }
            if any {
                return Ok(());
            }
        }
    }
}

async fn collect<T>(
    what: &'static str,
    answers: impl Stream<Item = Result<T, rtnetlink::Error>>,
) -> Result<Vec<T>, NetlinkError> {
    answers.try_collect().await.map_err(|source| NetlinkError::Request { what, source })
}

async fn finish(
    what: &'static str,
    request: impl Future<Output = Result<(), rtnetlink::Error>>,
) -> Result<(), NetlinkError> {
    request.await.map_err(|source| NetlinkError::Request { what, source })
}

fn link(message: LinkMessage) -> Option<(String, Link)> {
    let flags = message.header.flags;
    let mut name = None;
    let mut link = Link {
        ifindex: message.header.index,
        mac: None,
        mtu: 0,
        up: flags.contains(LinkFlags::Up),
        carrier: flags.contains(LinkFlags::LowerUp),
        no_arp: flags.contains(LinkFlags::Noarp),
        kind: None,
        alias: None,
        vxlan: None,
        below: None,
        is_elsewhere: false,
        qdisc: None,
        vnet_header: None,
        promiscuous: false,
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(value) => name = Some(value),
            LinkAttribute::Address(octets) => link.mac = mac(&octets),
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Link(below) => link.below = Some(below).filter(|below| *below != 0),
            LinkAttribute::LinkNetNsId(_) => link.is_elsewhere = true,
            LinkAttribute::Promiscuity(users) => link.promiscuous = users > 0,
            LinkAttribute::Qdisc(kind) => link.qdisc = Some(kind),
            LinkAttribute::IfAlias(alias) => link.alias = Some(alias),
            LinkAttribute::LinkInfo(kinds) => {
                for kind in kinds {
                    match kind {
                        LinkInfo::Kind(kind) => link.kind = Some(kind.to_string()),
                        LinkInfo::Data(InfoData::Vxlan(values)) => link.vxlan = Some(vxlan(&values)),
                        LinkInfo::Data(InfoData::Tun(values)) => {
                            link.vnet_header = standing::vnet_header(&values);
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    link.below = link.below.filter(|_| !link.is_elsewhere);
    Some((name?, link))
}

fn vxlan(values: &[InfoVxlan]) -> Vxlan {
    let mut vxlan =
        Vxlan { udp_port: 0, collect_metadata: false, source_ports: (0, 0), zero_checksum6: false };
    for value in values {
        match value {
            InfoVxlan::Port(port) => vxlan.udp_port = *port,
            InfoVxlan::CollectMetadata(on) => vxlan.collect_metadata = *on,
            InfoVxlan::PortRange(range) => vxlan.source_ports = *range,
            InfoVxlan::UDPZeroCsumRX(on) => vxlan.zero_checksum6 = *on,
            _ => {}
        }
    }
    vxlan
}

fn route_query(to: IpAddr, source: Option<IpAddr>) -> RouteMessage {
    const WHOLE: &str = "a whole address is a prefix of its own family";
    let bits = |address: IpAddr| if address.is_ipv4() { 32 } else { 128 };
    let mut query = RouteMessageBuilder::<IpAddr>::new().destination_prefix(to, bits(to)).expect(WHOLE);
    if let Some(source) = source.filter(|source| source.is_ipv4() == to.is_ipv4()) {
        query = query.source_prefix(source, bits(source)).expect(WHOLE);
    }
    let mut query = query.build();
    query.header.flags = RouteFlags::LookupTable;
    query
}

fn route(to: IpAddr, message: RouteMessage) -> Option<Route> {
    if message.header.kind != RouteType::Unicast {
        return None;
    }
    let mut route = Route { ifindex: 0, next_hop: to, source: None, mtu: None };
    for attribute in message.attributes {
        match attribute {
            RouteAttribute::Oif(ifindex) => route.ifindex = ifindex,
            RouteAttribute::Gateway(RouteAddress::Inet(address))
            | RouteAttribute::Via(RouteVia::Inet(address)) => {
                route.next_hop = address.into();
            }
            RouteAttribute::Gateway(RouteAddress::Inet6(address))
            | RouteAttribute::Via(RouteVia::Inet6(address)) => {
                route.next_hop = address.into();
            }
            RouteAttribute::PrefSource(RouteAddress::Inet(address)) => route.source = Some(address.into()),
            RouteAttribute::PrefSource(RouteAddress::Inet6(address)) => route.source = Some(address.into()),
            RouteAttribute::Metrics(metrics) => {
                route.mtu = metrics.into_iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(mtu) if mtu > 0 => Some(mtu),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    (route.ifindex != 0).then_some(route)
}

fn neighbour(message: NeighbourMessage) -> Option<((u32, IpAddr), Neighbour)> {
    let state = message.header.state;
    let resolved = matches!(
        state,
        NeighbourState::Reachable
            | NeighbourState::Stale
            | NeighbourState::Delay
            | NeighbourState::Probe
            | NeighbourState::Permanent
            | NeighbourState::Noarp
    );
    let fixed = matches!(state, NeighbourState::Permanent | NeighbourState::Noarp)
        || message.header.flags.intersects(NeighbourFlags::ExtLearned | NeighbourFlags::Proxy);
    let mut address = None;
    let mut neighbour = Neighbour { mac: None, managed: false, fixed, protocol: 0 };
    for attribute in message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(value)) => address = Some(value.into()),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(value)) => address = Some(value.into()),
            NeighbourAttribute::LinkLayerAddress(octets) if resolved => neighbour.mac = mac(&octets),
            NeighbourAttribute::ExtFlags(flags) => {
                neighbour.managed = flags.contains(NeighbourExtFlags::Managed);
            }
            NeighbourAttribute::Protocol(protocol) => neighbour.protocol = protocol.into(),
            _ => {}
        }
    }
    Some(((message.header.ifindex, address?), neighbour))
}

fn mac(octets: &[u8]) -> Option<MacAddr> {
    octets.try_into().ok().map(MacAddr::new)
}
