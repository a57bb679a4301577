//! Making links, addresses and routes, for hosts that last for one examination.

use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_route::address::{AddressAttribute, AddressFlags};
use netlink_packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkMessage};
use netlink_packet_route::route::RouteScope;
use rtnetlink::{LinkMessageBuilder, LinkUnspec, LinkVeth, LinkVxlan, RouteMessageBuilder};
use vtep_api::MacAddr;

use super::{Netlink, NetlinkError, collect, finish};

/// One end of a veth, down.
#[derive(Debug, Clone)]
pub struct End<'a> {
    pub name: &'a str,
    pub mac: MacAddr,
    pub mtu: u32,
}

impl End<'_> {
    fn message<T>(&self, builder: LinkMessageBuilder<T>) -> LinkMessageBuilder<T> {
        builder.name(self.name).address(self.mac.octets().to_vec()).mtu(self.mtu)
    }
}

/// The kernel's VXLAN device with one remote, as a far end has it.
#[derive(Debug, Clone)]
pub struct FarVxlan<'a> {
    pub end: End<'a>,
    pub vni: u32,
    pub local: IpAddr,
    pub remote: IpAddr,
    pub udp_port: u16,
    /// Whether outer UDP has one.
    pub checksum: bool,
}

impl Netlink {
    /// The other end comes to be in `netns`.
    pub async fn add_veth(
        &self,
        end: &End<'_>,
        other: &End<'_>,
        netns: BorrowedFd<'_>,
    ) -> Result<(), NetlinkError> {
        let other =
            other.message(LinkUnspec::new_with_name(other.name)).setns_by_fd(netns.as_raw_fd()).build();
        let veth = end.message(LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth));
        let veth = veth.set_info_data(InfoData::Veth(InfoVeth::Peer(other))).build();
        finish("adding a veth", self.handle.link().add(veth).execute()).await
    }

    /// Of one that is there, and down.
    pub async fn set_end(&self, ifindex: u32, end: &End<'_>) -> Result<(), NetlinkError> {
        let set = end.message(LinkUnspec::new_with_index(ifindex)).build();
        finish("changing an interface", self.handle.link().set(set).execute()).await
    }

    pub async fn add_far_vxlan(&self, far: &FarVxlan<'_>) -> Result<(), NetlinkError> {
        let device = LinkVxlan::new(far.end.name, far.vni).port(far.udp_port).udp_zero_csum6_rx(true);
        let device = device.udp_csum(far.checksum).udp_zero_csum6_tx(!far.checksum);
        let device = match (far.local, far.remote) {
            (IpAddr::V4(local), IpAddr::V4(remote)) => device.local(local).remote(remote),
            (IpAddr::V6(local), IpAddr::V6(remote)) => device.local6(local).remote6(remote),
            _ => return Ok(()),
        };
        finish("adding a VXLAN device", self.handle.link().add(far.end.message(device).build()).execute())
            .await
    }

    /// Without duplicate address detection: it is usable at once.
    pub async fn add_address(&self, ifindex: u32, address: IpAddr, prefix: u8) -> Result<(), NetlinkError> {
        let mut request = self.handle.address().add(ifindex, address, prefix);
        if address.is_ipv6() {
            request.message_mut().attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        finish("adding an address", request.execute()).await
    }

    /// To one host on the link.
    pub async fn add_host_route(&self, to: IpAddr, ifindex: u32) -> Result<(), NetlinkError> {
        let route = match to {
            IpAddr::V4(to) => RouteMessageBuilder::<std::net::Ipv4Addr>::new()
                .destination_prefix(to, 32)
                .output_interface(ifindex)
                .scope(RouteScope::Link)
                .build(),
            IpAddr::V6(to) => RouteMessageBuilder::<std::net::Ipv6Addr>::new()
                .destination_prefix(to, 128)
                .output_interface(ifindex)
                .build(),
        };
        finish("adding a route", self.handle.route().add(route).execute()).await
    }

    /// Packets and bytes that an interface received.
    pub async fn received(&self, ifindex: u32) -> Result<(u64, u64), NetlinkError> {
        let request = self.handle.link().get().match_index(ifindex);
        let messages: Vec<LinkMessage> = collect("reading an interface", request.execute()).await?;
        let mut attributes = messages.into_iter().flat_map(|message| message.attributes);
        let stats = attributes.find_map(|attribute| match attribute {
            LinkAttribute::Stats64(stats) => Some((stats.rx_packets, stats.rx_bytes)),
            _ => None,
        });
        Ok(stats.unwrap_or_default())
    }
}
