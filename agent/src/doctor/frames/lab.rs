//! ```text
//!  vms          host, with the agent                        far ends
//!  vm0 ── p0 ─┐ decap by the device    ┌─ up0 ── uplink ── vx0, vx1: VNI 1, 2; trunks vx10, vx11: VNI 11, 12
//!  vm1 ── p1 ─┤ decap by the program   │
//!  vm3 ── p3 ─┤ a tap, by the device   │  and the same for the tap
//!  vm2 ── p2 ─┘ packet-rate mode       └─ up1 ── uplink ── vx2: VNI 3
//! ```
//!
//! No link between a host and a far end has offloads: what is on it is what would be on a wire.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::os::fd::AsFd;
use std::path::Path;

use tokio::runtime::Handle;
use vtep_api::MacAddr;

use super::place::{BPFFS, FILES, Place};
use super::{FramesError, cable};
use crate::config::Config;
use crate::desired::decap::Way;
use crate::genetlink::Genetlink;
use crate::netlink::{End, FarVxlan, Netlink};
use crate::table::Encapsulation;

/// One way of decapsulation at one kind of port, with a VM and a network of its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lane {
    pub(super) name: &'static str,
    pub(super) way: Way,
    number: u8,
    /// Which of the far ends, and of the uplinks.
    far: usize,
    is_tap: bool,
    /// XDP sees no tag at a veth, so a port with bindings of VLANs is refused packet-rate mode.
    pub(super) is_trunk: bool,
}

/// The lane of a tap that goes the way which is its own, with virtio's headers.
pub(in crate::doctor) const TAP: &str = "tap";

const LANES: [Lane; 4] = [
    Lane { name: "device", way: Way::Device, number: 0, far: 0, is_tap: false, is_trunk: true },
    Lane { name: TAP, way: Way::Device, number: 3, far: 0, is_tap: true, is_trunk: true },
    Lane { name: "program", way: Way::Program, number: 1, far: 0, is_tap: false, is_trunk: true },
    Lane { name: "xdp", way: Way::Xdp, number: 2, far: 1, is_tap: false, is_trunk: false },
];
/// A kernel without taps has no port of that kind.
pub(super) fn lanes() -> impl Iterator<Item = Lane> {
    let has_taps = Path::new("/dev/net/tun").exists();
    LANES.into_iter().filter(move |lane| has_taps || !lane.is_tap)
}

pub(super) const VLAN: u16 = 20;
const UPLINKS: [&str; 2] = ["up0", "up1"];
pub(super) const FAR_UPLINK: &str = "uplink";
const ANY_TEXT: &str = "a string takes any text";

impl Lane {
    pub(super) fn port(self) -> String {
        format!("p{}", self.number)
    }

    pub(super) fn vm_link(self) -> String {
        format!("vm{}", self.number)
    }

    fn far_link(self) -> String {
        format!("vx{}", self.number)
    }

    pub(super) fn trunk_link(self) -> String {
        format!("vx1{}", self.number)
    }

    pub(super) fn vni(self) -> u32 {
        1 + u32::from(self.number)
    }

    pub(super) fn trunk_vni(self) -> u32 {
        10 + self.vni()
    }

    fn port_mac(self) -> MacAddr {
        MacAddr::new([2, 0, 0, 2, self.number, 0])
    }

    pub(super) fn vm_mac(self) -> MacAddr {
        MacAddr::new([2, 0, 0, 0, self.number, 1])
    }

    pub(super) fn far_mac(self) -> MacAddr {
        MacAddr::new([2, 0, 0, 0, self.number, 2])
    }

    pub(super) fn trunk_mac(self) -> MacAddr {
        MacAddr::new([2, 0, 0, 0, self.number, 3])
    }

    /// Of the range for measurements (RFC 2544).
    pub(super) fn vm_address(self) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, self.number, 1)
    }

    pub(super) fn far_address(self) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, self.number, 2)
    }
}

/// As the configuration has it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Underlay {
    own: IpAddr,
    fars: [IpAddr; 2],
    pub(super) udp_port: u16,
    pub(super) mtu: u32,
}

impl Underlay {
    /// From what every host takes (RFC 1122 §3.3.2), tunnel and all, to jumbo frames: a loopback's MTU is no uplink's.
    const MTUS: RangeInclusive<u32> = 576 + 70..=9000;

    pub(super) fn new(config: &Config, mtu: u32) -> Self {
        let v6 = config.underlay.address.first().is_ipv6();
        let address = |host: u8| -> IpAddr {
            if v6 { [0x2001, 0xdb8, 0, 0, 0, 0, 0, host.into()].into() } else { [192, 0, 2, host].into() }
        };
        Self {
            own: address(1),
            fars: [address(11), address(12)],
            udp_port: config.underlay.udp_port.as_u16(),
            mtu: mtu.clamp(*Self::MTUS.start(), *Self::MTUS.end()),
        }
    }

    /// The largest inner IP packet.
    pub(super) fn room(&self) -> u32 {
        let overhead = super::super::judge::room::overhead(Encapsulation::Vxlan, self.own.is_ipv6());
        self.mtu.saturating_sub(overhead)
    }

    fn prefix(&self) -> u8 {
        if self.own.is_ipv6() { 128 } else { 32 }
    }
}

/// The hosts and what connects them.
#[derive(Debug)]
pub struct Lab {
    pub(super) host: Place,
    pub(super) vms: Place,
    fars: [Place; 2],
    pub(super) underlay: Underlay,
}

impl Lab {
    /// The calling thread is on `host`.
    pub(super) fn build(host: Place, underlay: Underlay, runtime: &Handle) -> Result<Self, FramesError> {
        let lab = Self { host, vms: Place::new()?, fars: [Place::new()?, Place::new()?], underlay };
        for lane in lanes().filter(|lane| lane.is_tap) {
            cable::lay((&lab.host, &lane.port()), (&lab.vms, &lane.vm_link()))?;
        }
        runtime.block_on(lab.build_host())?;
        lab.vms.within(|| runtime.block_on(lab.build_vms()))?;
        for (far, place) in lab.fars.iter().enumerate() {
            place.within(|| runtime.block_on(lab.build_far(far)))?;
        }
        Ok(lab)
    }

    pub(super) fn far(&self, lane: Lane) -> &Place {
        &self.fars[lane.far]
    }

    /// Without its link a tap's file ends the cable, and holds its namespace no longer.
    pub(super) fn cut_cables(&self, runtime: &Handle) -> Result<(), FramesError> {
        let cut = async |name: fn(Lane) -> String| {
            let netlink = Netlink::open()?;
            let links = netlink.links().await?;
            for lane in lanes().filter(|lane| lane.is_tap) {
                if let Some(link) = links.get(&name(lane)) {
                    netlink.remove_link(link.ifindex).await?;
                }
            }
            Ok(())
        };
        self.host.within(|| runtime.block_on(cut(Lane::port)))?;
        self.vms.within(|| runtime.block_on(cut(Lane::vm_link)))
    }

    /// Work on the host that has the agent.
    pub fn on_host<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        self.host.within(work)
    }

    /// Work where the VMs are.
    pub fn on_vms<T: Send>(&self, work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        self.vms.within(work)
    }

    async fn build_host(&self) -> Result<(), FramesError> {
        let (netlink, mtu) = (Netlink::open()?, self.underlay.mtu);
        let uplink = |number, name| End { name, mac: MacAddr::new([2, 0, 0, 1, number, 0]), mtu };
        let uplinks = UPLINKS.iter().zip([(0, 2), (1, 3)]);
        for ((name, (own, far)), place) in uplinks.zip(&self.fars) {
            netlink.add_veth(&uplink(own, name), &uplink(far, FAR_UPLINK), place.as_fd()).await?;
        }
        for lane in lanes() {
            let (port, vm) = (lane.port(), lane.vm_link());
            let port = End { name: &port, mac: lane.port_mac(), mtu };
            let vm = End { name: &vm, mac: lane.vm_mac(), mtu };
            if !lane.is_tap {
                netlink.add_veth(&port, &vm, self.vms.as_fd()).await?;
            } else if let Some(link) = netlink.links().await?.get(port.name) {
                netlink.set_end(link.ifindex, &port).await?;
            }
        }
        up(&netlink).await?;
        let links = netlink.links().await?;
        for (name, far) in UPLINKS.iter().zip(self.underlay.fars) {
            let Some(link) = links.get(*name) else { continue };
            netlink.add_address(link.ifindex, self.underlay.own, self.underlay.prefix()).await?;
            netlink.add_host_route(far, link.ifindex).await?;
            without_offloads(link.ifindex)?;
        }
        for lane in lanes().filter(|lane| lane.is_trunk) {
            // Otherwise a tag on its way to the VM lies beside the frame, where nobody else sees it.
            let Some(link) = links.get(&lane.port()) else { continue };
            Genetlink::open()?.set_offload(link.ifindex, "tx-vlan-hw-insert", false)?;
        }
        Ok(())
    }

    async fn build_vms(&self) -> Result<(), FramesError> {
        let netlink = Netlink::open()?;
        let links = netlink.links().await?;
        for lane in lanes().filter(|lane| lane.is_tap) {
            let name = lane.vm_link();
            let Some(link) = links.get(&name) else { continue };
            let end = End { name: &name, mac: lane.vm_mac(), mtu: self.underlay.mtu };
            netlink.set_end(link.ifindex, &end).await?;
        }
        up(&netlink).await?;
        for lane in lanes() {
            let Some(link) = links.get(&lane.vm_link()) else { continue };
            netlink.add_address(link.ifindex, lane.vm_address().into(), 24).await?;
            if lane.way == Way::Xdp {
                without_offloads(link.ifindex)?;
                with_napi(link.ifindex)?;
            }
        }
        Ok(())
    }

    async fn build_far(&self, far: usize) -> Result<(), FramesError> {
        let (netlink, underlay) = (Netlink::open()?, &self.underlay);
        for lane in lanes().filter(|lane| lane.far == far) {
            // What has a checksum of outer UDP is left to the device by the program.
            let checksum = lane.way == Way::Device;
            let trunk = lane.is_trunk.then(|| (lane.trunk_link(), lane.trunk_vni(), lane.trunk_mac()));
            for (name, vni, mac) in [(lane.far_link(), lane.vni(), lane.far_mac())].into_iter().chain(trunk) {
                let end = End { name: &name, mac, mtu: underlay.room() };
                let (local, remote, udp_port) = (underlay.fars[far], underlay.own, underlay.udp_port);
                netlink.add_far_vxlan(&FarVxlan { end, vni, local, remote, udp_port, checksum }).await?;
            }
        }
        up(&netlink).await?;
        let links = netlink.links().await?;
        if let Some(link) = links.get(FAR_UPLINK) {
            netlink.add_address(link.ifindex, underlay.fars[far], underlay.prefix()).await?;
            netlink.add_host_route(underlay.own, link.ifindex).await?;
            without_offloads(link.ifindex)?;
            with_napi(link.ifindex)?;
        }
        for lane in lanes().filter(|lane| lane.far == far) {
            let Some(link) = links.get(&lane.far_link()) else { continue };
            netlink.add_address(link.ifindex, lane.far_address().into(), 24).await?;
        }
        Ok(())
    }

    /// That of the host's agent: the outer headers and the MAC table of `config`, the rest of this lab.
    pub(super) fn agent_config(&self, config: &Config) -> Result<Config, String> {
        let table = Path::new(FILES).join("table.toml");
        fs::write(&table, self.table()).map_err(|error| error.to_string())?;
        let (first, second) = (UPLINKS[0], UPLINKS[1]);
        let mut text = format!(
            "[agent]\nname = \"doctor\"\nstate = \"{FILES}/state\"\n[underlay]\naddress = \"{}\"\n\
             uplinks = [\"{first}\", \"{second}\"]\npacket_rate = [\"{second}\"]\n\
             [dataplane]\nbpffs = \"{BPFFS}/doctor\"\nmacs_max = 1024\nvteps_max = 16\nvnis_max = 64\nports_max = 64\n\
             [control]\nsocket = \"{FILES}/agent.sock\"\n[metrics]\nenabled = false\n\
             [source]\nkind = \"file\"\npath = \"{}\"\n",
            self.underlay.own,
            table.display()
        );
        for lane in lanes() {
            let way = match lane.way {
                Way::Device => "decap = \"device\"",
                Way::Program => "decap = \"program\"",
                Way::Xdp => "packet_rate = true",
            };
            write!(text, "[[port]]\nname = \"{}\"\nmacs = [\"{}\"]\n{way}\n", lane.port(), lane.vm_mac())
                .expect(ANY_TEXT);
        }
        let mut own =
            Config::parse(&text, Path::new("agent.toml"), &[]).map_err(|error| error.to_string())?;
        let (address, uplinks) = (own.underlay.address, std::mem::take(&mut own.underlay.uplinks));
        let packet_rate = std::mem::take(&mut own.underlay.packet_rate);
        own.underlay = crate::config::Underlay { address, uplinks, packet_rate, ..config.underlay.clone() };
        own.dataplane.mac_table = config.dataplane.mac_table;
        Ok(own)
    }

    fn table(&self) -> String {
        let mut text = "version = 1\n".to_owned();
        for (far, address) in self.underlay.fars.iter().enumerate() {
            write!(text, "[[vtep]]\nname = \"far{far}\"\naddress = \"{address}\"\n").expect(ANY_TEXT);
        }
        for lane in lanes() {
            let trunk = lane.is_trunk.then_some((lane.trunk_vni(), lane.trunk_mac(), VLAN));
            for (vni, mac, vlan) in [(lane.vni(), lane.far_mac(), 0)].into_iter().chain(trunk) {
                let (far, port) = (lane.far, lane.port());
                write!(
                    text,
                    "[[logical_switch]]\nname = \"n{vni}\"\nvni = {vni}\nflood = [\"far{far}\"]\n\
                     [[mac]]\nlogical_switch = \"n{vni}\"\nmac = \"{mac}\"\nmaster = \"far{far}\"\n\
                     [[binding]]\nport = \"{port}\"\nvlan = {vlan}\nlogical_switch = \"n{vni}\"\n"
                )
                .expect(ANY_TEXT);
            }
        }
        text
    }
}

async fn up(netlink: &Netlink) -> Result<(), FramesError> {
    for link in netlink.links().await?.into_values() {
        netlink.set_up(link.ifindex).await?;
    }
    Ok(())
}

/// Checksums and segments are made before a frame is on the link.
fn without_offloads(ifindex: u32) -> Result<(), FramesError> {
    Ok(Genetlink::open()?.set_offload(ifindex, "tx-checksum-ip-generic", false)?)
}

/// So that XDP may send to the other end.
fn with_napi(ifindex: u32) -> Result<(), FramesError> {
    Ok(Genetlink::open()?.set_offload(ifindex, "rx-gro", true)?)
}
