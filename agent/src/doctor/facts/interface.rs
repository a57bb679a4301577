use std::fs;

use vtep_api::daemon::chain;

use crate::genetlink::{Genetlink, GenetlinkError};
use crate::kernel::{Occupant, Occupants};
use crate::netlink::{Filter, Link, Standing, Xdp};
use crate::packet_rate;

/// A port, an uplink or the tunnel device.
#[derive(Debug)]
pub(in crate::doctor) struct Interface {
    pub(in crate::doctor) link: Link,
    /// Of hardware.
    pub(in crate::doctor) driver: Option<String>,
    pub(in crate::doctor) features: Result<packet_rate::Facts, String>,
    /// Of a tap.
    pub(in crate::doctor) vnet_header: Option<bool>,
    /// The bridge or bond that it is a port of.
    pub(in crate::doctor) master: Option<String>,
    /// Of a veth's other end; none for other kinds.
    pub(in crate::doctor) far_mtu: Option<Result<u32, String>>,
    /// In the order in which they run.
    pub(in crate::doctor) tcx_ingress: Result<Vec<Occupant>, String>,
    pub(in crate::doctor) tcx_egress: Result<Vec<Occupant>, String>,
    pub(in crate::doctor) xdp: Result<Vec<XdpOccupant>, String>,
    pub(in crate::doctor) filters: Result<Vec<Filter>, String>,
    /// `net.ipv4.conf.*.rp_filter`: the stricter of its own and of all.
    pub(in crate::doctor) rp_filter: Option<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::doctor) struct XdpOccupant {
    pub(in crate::doctor) program: Occupant,
    pub(in crate::doctor) generic: bool,
}

impl Interface {
    /// All but what a netlink of routes has to be asked for.
    pub(super) fn read(
        name: &str,
        link: &Link,
        standing: &Standing,
        occupants: &Result<Occupants, String>,
    ) -> Self {
        let occupants = occupants.as_ref().map_err(String::clone);
        let xdp = occupants.clone().map(|occupants| {
            let occupant =
                |xdp: &Xdp| XdpOccupant { program: occupants.occupant(xdp.program), generic: xdp.generic };
            standing.xdp.iter().map(occupant).collect()
        });
        let ifindex = link.ifindex;
        let strict = ["all", name].into_iter().filter_map(|of| {
            fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{of}/rp_filter")).ok()?.trim().parse().ok()
        });
        Self {
            driver: link.kind.is_none().then(|| driver(name)).flatten(),
            features: features(link).map_err(|error| chain(&error)),
            vnet_header: standing.vnet_header,
            master: None,
            far_mtu: None,
            tcx_ingress: occupants
                .clone()
                .and_then(|all| all.tcx_ingress(ifindex).map_err(|error| error.to_string())),
            tcx_egress: occupants.and_then(|all| all.tcx_egress(ifindex).map_err(|error| error.to_string())),
            xdp,
            filters: Ok(Vec::new()),
            rp_filter: strict.max(),
            link: link.clone(),
        }
    }
}

fn driver(name: &str) -> Option<String> {
    let path = fs::read_link(format!("/sys/class/net/{name}/device/driver")).ok()?;
    Some(path.file_name()?.to_string_lossy().into_owned())
}

fn features(link: &Link) -> Result<packet_rate::Facts, GenetlinkError> {
    crate::daemon::packet_rate::facts(&Genetlink::open()?, link)
}
