//! A small data centre in namespaces: a fabric, hosts with an agent, TORs made of the kernel's own bridge and VXLAN
//! device, and VMs.

mod agent;
mod controller;
pub mod figure5;
pub mod herd;
mod place;
mod port;
mod rack;
pub mod rig;
mod segments;
mod site;
mod tap;
mod tor;
mod traffic;
mod transfer;
mod vrrp;

pub use agent::{Agent, AgentConfig, AgentSource};
pub use controller::{Controller, ControllerConfig, ControllerRole};
pub use place::Place;
pub use port::{PortKind, VmPort};
pub use rack::{Rack, RackHost, RackPlan, Side};
pub use segments::udp_segments;
pub use site::{Controllers, Layout, NetworkLayout, Pair, RackLayout, Site, Takeover};
pub use tap::{Offloads, TapVm};
pub use tor::Tor;
pub use traffic::{Pace, Stream, StreamReport, round_trips, tcp_megabits};
pub use transfer::transfer;
pub use vrrp::{Transition, Vrrp};

use std::net::{Ipv4Addr, Ipv6Addr};

use anyhow::Result;
use vtep_api::MacAddr;

use crate::{
    frame::{self, Endpoint},
    link::{Link, Vxlan},
    netns::Netns,
    packet::PacketSocket,
};

/// The underlay: one broadcast domain, 192.0.2.0/24.
pub struct Fabric {
    netns: Netns,
    bridge: Link,
    ports: u32,
}

/// A machine on the fabric: a namespace and its uplink, which has the tunnel address.
pub struct Machine {
    pub netns: Netns,
    pub uplink: Link,
    pub address: Ipv4Addr,
}

/// A station: a namespace with one interface, `eth0`.
pub struct Vm {
    pub netns: Netns,
    pub eth0: Link,
    pub mac: MacAddr,
    pub address: Ipv4Addr,
}

impl Fabric {
    pub fn new() -> Result<Self> {
        let netns = Netns::new("fabric")?;
        let bridge = Link::bridge(&netns, "br0")?;
        Ok(Self { netns, bridge, ports: 0 })
    }

    /// A machine with tunnel address 192.0.2.`number` and the fabric's MTU.
    pub fn machine(&mut self, role: &str, number: u8) -> Result<Machine> {
        let netns = Netns::new(role)?;
        let address = Ipv4Addr::new(192, 0, 2, number);
        let mut machine = Machine { uplink: Link::named(&netns, "uplink"), netns, address };
        (machine.uplink, _) = self.connect(&machine, "uplink")?;
        machine.uplink.add_address(&format!("{address}/24"))?;
        Ok(machine)
    }

    /// One more interface of a machine, without an address. Returns it with the fabric's end.
    pub fn connect(&mut self, machine: &Machine, name: &str) -> Result<(Link, Link)> {
        self.ports += 1;
        let (link, port) = Link::veth(&machine.netns, name, &self.netns, &format!("port{}", self.ports))?;
        port.set_bridge(&self.bridge)?;
        Ok((link, port))
    }

    /// Where the last machine is connected.
    pub fn last_port(&self) -> Link {
        Link::named(&self.netns, &format!("port{}", self.ports))
    }

    /// From here on nothing gets from one machine to the other, which nobody is told.
    pub fn cut(&self, from: &Machine, to: &Machine) -> Result<()> {
        self.netns.run("nft add table bridge cut")?;
        self.netns.run("nft add chain bridge cut forward { type filter hook forward priority 0 ; }")?;
        let rule = format!("ip saddr {} ip daddr {} drop", from.address, to.address);
        self.netns.run(&format!("nft add rule bridge cut forward {rule}")).map(drop)
    }

    /// Of the ports to which machines are connected.
    pub fn set_offload(&self, feature: &str, on: bool) -> Result<()> {
        for port in 1..=self.ports {
            Link::named(&self.netns, &format!("port{port}")).set_offload(feature, on)?;
        }
        Ok(())
    }

    pub fn set_mtu(&self, mtu: u32) -> Result<()> {
        for port in 1..=self.ports {
            Link::named(&self.netns, &format!("port{port}")).set_mtu(mtu)?;
        }
        self.bridge.set_mtu(mtu)
    }
}

impl Machine {
    /// `2001:db8::/64` and this number, usable at once.
    pub fn add_ipv6(&self, number: u16) -> Result<Ipv6Addr> {
        for conf in ["all", "default", self.uplink.name()] {
            self.netns.sysctl(&format!("net.ipv6.conf.{conf}.accept_dad"), "0")?;
            self.netns.sysctl(&format!("net.ipv6.conf.{conf}.disable_ipv6"), "0")?;
        }
        let address = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number);
        self.uplink.add_address(&format!("{address}/64 nodad"))?;
        Ok(address)
    }

    /// The kernel's bridge `br-VNI` with its VXLAN device `vx-VNI`; what it does not know goes to `flood`.
    pub fn kernel_vtep(&self, vni: u32, flood: &[Ipv4Addr]) -> Result<Link> {
        self.kernel_vtep_with(&Vxlan::new(vni, self.address), flood)
    }

    pub fn kernel_vtep_with(&self, vxlan: &Vxlan, flood: &[Ipv4Addr]) -> Result<Link> {
        let vni = vxlan.vni;
        let bridge = Link::bridge(&self.netns, &format!("br-{vni}"))?;
        let device = Link::vxlan(&self.netns, &format!("vx-{vni}"), vxlan)?;
        for &remote in flood {
            device.append_fdb(MacAddr::new([0; 6]), remote)?;
        }
        device.set_bridge(&bridge)?;
        Ok(bridge)
    }
}

impl Vm {
    /// 10.1.0.`number` with MAC 02:00:00:00:00:`number`, on a new port of a host. Its MTU leaves room for the outer
    /// headers.
    pub fn new(host: &Netns, port: &str, number: u8) -> Result<(Self, Link)> {
        let netns = Netns::new(&format!("vm{number}"))?;
        let (port, eth0) = Link::veth(host, port, &netns, "eth0")?;
        Ok((Self::with(netns, eth0, number)?, port))
    }

    /// The same with an interface that is there.
    fn with(netns: Netns, eth0: Link, number: u8) -> Result<Self> {
        let mac = MacAddr::new([2, 0, 0, 0, 0, number]);
        let address = Ipv4Addr::new(10, 1, 0, number);
        eth0.set_mac(mac)?;
        eth0.set_mtu(1450)?;
        eth0.add_address(&format!("{address}/24"))?;
        Ok(Self { netns, eth0, mac, address })
    }

    /// The address of [`frame::v6`], usable at once.
    pub fn add_ipv6(&self) -> Result<Ipv6Addr> {
        for conf in ["all", "default", self.eth0.name()] {
            self.netns.sysctl(&format!("net.ipv6.conf.{conf}.disable_ipv6"), "0")?;
        }
        let address = frame::v6(self.address);
        self.eth0.add_address(&format!("{address}/64 nodad"))?;
        Ok(address)
    }

    /// Broadcasts a gratuitous ARP, so that switches learn where it is.
    pub fn announce(&self) -> Result<()> {
        PacketSocket::bind(&self.eth0)?.send(&self.announcement())
    }

    fn announcement(&self) -> Vec<u8> {
        frame::arp_request(Endpoint { mac: self.mac, address: self.address, port: 0 }, self.address)
    }

    /// Whether `count` echo requests, which are sent whatever becomes of the first, all come back.
    pub fn pings(&self, other: Ipv4Addr, count: u32) -> bool {
        self.pings_with("", other, count)
    }

    /// With further options.
    pub fn pings_with(&self, options: &str, other: Ipv4Addr, count: u32) -> bool {
        // One by one: `-W` counts only while nothing was answered, and the last of several would have 10 ms.
        let ping = format!("ping -n -q -c 1 -W 1 {options} {other}");
        let comes_back = |_: &u32| self.netns.run(&ping).is_ok_and(|printed| printed.contains("1 received"));
        (0..count).filter(comes_back).count() == count as usize
    }
}
