//! What stands at an interface beside its programs of tcx: XDP programs, filters of traffic control, a bridge.

use std::collections::BTreeMap;

use netlink_packet_route::link::{
    InfoData, InfoTun, LinkAttribute, LinkInfo, LinkMessage, LinkXdp, XdpAttached,
};
use netlink_packet_route::tc::{TcAttribute, TcFilterBpfOption, TcMessage, TcOption};
use rtnetlink::packet_core::Nla;

use super::{Netlink, NetlinkError, collect};

/// Of one interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    pub xdp: Vec<Xdp>,
    /// The interface that has it as its port: a bridge, a bond.
    pub master: Option<u32>,
    /// Whether the holder of a tap gives and takes super-frames; none for other kinds.
    pub vnet_header: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Xdp {
    pub program: u32,
    /// After the kernel made an skb, instead of in the driver.
    pub generic: bool,
}

/// A filter of clsact or of the ingress qdisc.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Filter {
    pub egress: bool,
    /// `bpf`, `flower` and so on.
    pub kind: String,
    pub name: Option<String>,
}

impl Netlink {
    /// By interface number.
    pub async fn standing(&self) -> Result<BTreeMap<u32, Standing>, NetlinkError> {
        let messages = collect("reading interfaces", self.handle.link().get().execute()).await?;
        Ok(messages.into_iter().map(standing).collect())
    }

    pub async fn filters(&self, ifindex: u32) -> Result<Vec<Filter>, NetlinkError> {
        let Ok(index) = i32::try_from(ifindex) else { return Ok(Vec::new()) };
        let mut filters = Vec::new();
        for egress in [false, true] {
            let request = self.handle.traffic_filter(index).get();
            let request = if egress { request.egress() } else { request.ingress() };
            match collect("reading filters", request.execute()).await {
                Ok(messages) => {
                    filters.extend(messages.into_iter().filter_map(|message| filter(message, egress)));
                }
                // There is no qdisc that could have filters, or the kernel was built without them.
                Err(error)
                    if matches!(error.errno(), Some(libc::EINVAL | libc::ENOENT | libc::EOPNOTSUPP)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filters)
    }
}

fn standing(message: LinkMessage) -> (u32, Standing) {
    let mut standing = Standing::default();
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::Controller(master) => standing.master = Some(master).filter(|master| *master != 0),
            LinkAttribute::Xdp(attributes) => standing.xdp = xdp(&attributes),
            LinkAttribute::LinkInfo(kinds) => {
                for kind in kinds {
                    if let LinkInfo::Data(InfoData::Tun(values)) = kind {
                        standing.vnet_header = vnet_header(&values);
                    }
                }
            }
            _ => {}
        }
    }
    (message.header.index, standing)
}

/// One in the driver, its hardware or after it, or one at each (`rtnl_xdp_fill` in the kernel's `rtnetlink.c`).
fn xdp(attributes: &[LinkXdp]) -> Vec<Xdp> {
    let generic = attributes.contains(&LinkXdp::Attached(XdpAttached::SocketBuffer));
    let several = attributes.contains(&LinkXdp::Attached(XdpAttached::Multiple));
    let programs = attributes.iter().filter_map(|attribute| match *attribute {
        LinkXdp::ProgId(program) if !several => Some(Xdp { program, generic }),
        LinkXdp::DrvProgId(program) | LinkXdp::HwProgId(program) if several => {
            Some(Xdp { program, generic: false })
        }
        LinkXdp::SkbProgId(program) if several => Some(Xdp { program, generic: true }),
        _ => None,
    });
    programs.filter(|xdp| xdp.program != 0).collect()
}

pub(super) fn vnet_header(values: &[InfoTun]) -> Option<bool> {
    const IFLA_TUN_VNET_HDR: u16 = 5;
    values.iter().find_map(|value| {
        let mut bytes = vec![0; value.value_len()];
        value.emit_value(&mut bytes);
        (value.kind() == IFLA_TUN_VNET_HDR).then(|| bytes.first() == Some(&1))
    })
}

/// The kernel lists each filter's head without a handle before it.
fn filter(message: TcMessage, egress: bool) -> Option<Filter> {
    let mut filter = Filter { egress, kind: String::new(), name: None };
    if u32::from(message.header.handle) == 0 {
        return None;
    }
    for attribute in message.attributes {
        match attribute {
            TcAttribute::Kind(kind) => filter.kind = kind,
            TcAttribute::Options(options) => {
                filter.name = filter.name.or(options.into_iter().find_map(|option| match option {
                    TcOption::Bpf(TcFilterBpfOption::ProgName(name)) => Some(name),
                    _ => None,
                }));
            }
            _ => {}
        }
    }
    Some(filter)
}
