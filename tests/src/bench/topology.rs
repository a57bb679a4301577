//! What the dataplane benches share: a host with a VM on a port, and at the other end of its uplink a kernel VTEP with a
//! VM.

use std::net::Ipv4Addr;

use anyhow::Result;
use vtep_api::MacAddr;

use crate::{
    lab::{Machine, Vm},
    link::{Link, Vxlan},
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
        let ends = Ends::new(name, members, "")?;
        let (mut vm, port) = Vm::new(&ends.host.netns, "port", 1)?;
        ends.introduce(&mut vm)?;
        let Ends { host, far, far_vm } = ends;
        Ok(Self { host, vm, port, far, far_vm })
    }
}

/// But for the VM on a port.
pub(in crate::bench) struct Ends {
    pub(in crate::bench) host: Machine,
    pub(in crate::bench) far: Machine,
    pub(in crate::bench) far_vm: Vm,
}

impl Ends {
    /// `options`: of the far VTEP's VXLAN device.
    pub(in crate::bench) fn new(name: &str, members: u32, options: &'static str) -> Result<Self> {
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
        let (mut far_vm, far_port) = Vm::new(&far.netns, "port", 2)?;
        let vxlan = Vxlan { options, ..Vxlan::new(VNI, FAR) };
        far_port.set_bridge(&far.kernel_vtep_with(&vxlan, &[HOST])?)?;
        far_vm.eth0.set_mac(FAR_VM_MAC)?;
        far_vm.mac = FAR_VM_MAC;
        Ok(Self { host, far, far_vm })
    }

    /// Makes a VM the one that the far one knows.
    pub(in crate::bench) fn introduce(&self, vm: &mut Vm) -> Result<()> {
        vm.eth0.set_mac(VM_MAC)?;
        vm.mac = VM_MAC;
        vm.eth0.add_neighbour(self.far_vm.address, FAR_VM_MAC)?;
        self.far_vm.eth0.add_neighbour(vm.address, VM_MAC)
    }

    /// Segmentation of tunnelled TCP by the uplinks, or by us: with an outer checksum, as the kernel's device makes them,
    /// and without.
    pub(in crate::bench) fn set_tunnel_offload(host: &Machine, far: &Machine, on: bool) -> Result<()> {
        for uplink in [&host.uplink, &far.uplink] {
            uplink.set_offload("tx-udp_tnl-segmentation", on)?;
            uplink.set_offload("tx-udp_tnl-csum-segmentation", on)?;
        }
        Ok(())
    }
}

/// The address of a VTEP beyond the uplink.
pub(in crate::bench) fn member(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(FAR) + number)
}
