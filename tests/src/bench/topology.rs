//! What the dataplane benches share: a host with a VM on a port, and at the other end of its uplink a kernel VTEP with a
//! VM.

use std::net::Ipv4Addr;

use anyhow::Result;
use vtep_api::MacAddr;

use crate::{
    lab::{Machine, Vm},
    link::Link,
    netns::Netns,
};

pub(in crate::bench) const VNI: u32 = 5001;
pub(in crate::bench) const HOST: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
pub(in crate::bench) const FAR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// The generator writes the last three bytes of a destination.
pub(in crate::bench) const HOST_MAC: MacAddr = MacAddr::new([2, 0xaa, 0, 0, 0, 0]);
pub(in crate::bench) const FAR_MAC: MacAddr = MacAddr::new([2, 0xbb, 0, 0, 0, 0]);
pub(in crate::bench) const VM_MAC: MacAddr = MacAddr::new([2, 0, 1, 0, 0, 0]);
/// Behind the far VTEP: 02:00:00 and a number; number 0 is a VM.
pub(in crate::bench) const FAR_VM_MAC: MacAddr = MacAddr::new([2, 0, 0, 0, 0, 0]);

pub(in crate::bench) struct Topology {
    pub(in crate::bench) host: Machine,
    pub(in crate::bench) vm: Vm,
    pub(in crate::bench) port: Link,
    pub(in crate::bench) far: Machine,
    pub(in crate::bench) far_vm: Vm,
}

impl Topology {
    /// The host knows the neighbours at so many addresses, the far VTEP's first.
    pub(in crate::bench) fn new(name: &str, members: u32) -> Result<Self> {
        let host = Netns::new(name)?;
        let far = Netns::new("far")?;
        let (uplink, far_uplink) = Link::veth(&host, "uplink", &far, "uplink")?;
        for (link, mac, address) in [(&uplink, HOST_MAC, HOST), (&far_uplink, FAR_MAC, FAR)] {
            link.set_mac(mac)?;
            link.add_address(&format!("{address}/24"))?;
        }
        // The sink takes every frame, ARP too.
        for number in 0..members {
            uplink.add_neighbour(member(number), FAR_MAC)?;
        }
        far_uplink.add_neighbour(HOST, HOST_MAC)?;
        let host = Machine { netns: host, uplink, address: HOST };
        let far = Machine { netns: far, uplink: far_uplink, address: FAR };

        let (mut vm, port) = Vm::new(&host.netns, "port", 1)?;
        let (mut far_vm, far_port) = Vm::new(&far.netns, "port", 2)?;
        far_port.set_bridge(&far.kernel_vtep(VNI, &[HOST])?)?;
        for (vm, mac) in [(&mut vm, VM_MAC), (&mut far_vm, FAR_VM_MAC)] {
            vm.eth0.set_mac(mac)?;
            vm.mac = mac;
        }
        vm.eth0.add_neighbour(far_vm.address, FAR_VM_MAC)?;
        far_vm.eth0.add_neighbour(vm.address, VM_MAC)?;
        Ok(Self { host, vm, port, far, far_vm })
    }
}

/// The address of a VTEP beyond the uplink.
pub(in crate::bench) fn member(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(FAR) + number)
}
