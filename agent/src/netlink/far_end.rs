//! The other end of a veth, in whichever network namespace it is.

use netlink_packet_route::link::{LinkAttribute, LinkMessage};

use super::{Netlink, NetlinkError, collect};

impl Netlink {
    /// The MTU of a veth's other end. None: its namespace has no number in ours by which the kernel could be asked.
    pub async fn far_mtu(&self, ifindex: u32) -> Result<Option<u32>, NetlinkError> {
        let (mut far, mut namespace) = (None, None);
        for attribute in self.link_in(None, ifindex).await? {
            match attribute {
                LinkAttribute::Link(index) => far = Some(index),
                LinkAttribute::LinkNetNsId(number) => namespace = Some(number),
                _ => {}
            }
        }
        // `NETNSA_NSID_NOT_ASSIGNED` is below zero.
        let Some(far) = far.filter(|_| namespace.is_none_or(|number| number >= 0)) else { return Ok(None) };
        let attributes = self.link_in(namespace, far).await?;
        Ok(attributes.into_iter().find_map(|attribute| match attribute {
            LinkAttribute::Mtu(mtu) => Some(mtu),
            _ => None,
        }))
    }

    async fn link_in(
        &self,
        namespace: Option<i32>,
        ifindex: u32,
    ) -> Result<Vec<LinkAttribute>, NetlinkError> {
        let mut request = self.handle.link().get().match_index(ifindex);
        request.message_mut().attributes.extend(namespace.map(LinkAttribute::IfNetnsId));
        let messages: Vec<LinkMessage> = collect("reading an interface", request.execute()).await?;
        Ok(messages.into_iter().flat_map(|message| message.attributes).collect())
    }
}
